"""A stand-in for torchmetrics that loads the library only when it is used, which no evaluation does.

LitGPT imports Lightning's trainer, which imports torchmetrics for two of its classes. torchmetrics imports
transformers, scikit-learn, SciPy's signal package and matplotlib: 1,400 modules, which take almost half of
the time of an evaluation's imports.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

_NAME = "torchmetrics"


class _Lazy(ModuleType):
    """The package's stand-in. It has the two classes that the trainer tests objects for with `isinstance`.

    Any other name loads the library.
    """

    Metric = type("Metric", (), {})
    MetricCollection = type("MetricCollection", (), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)


def install() -> None:
    """Use the stand-in in this process, unless torchmetrics is already imported or is not installed."""
    if _NAME in sys.modules or (spec := importlib.util.find_spec(_NAME)) is None:
        return
    package = _Lazy(_NAME)
    package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or ())
    package.__dict__["__version__"] = version(_NAME)
    sys.modules[_NAME] = package
