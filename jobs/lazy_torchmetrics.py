"""torchmetrics, not loaded before it is needed: which it never is here.

LitGPT imports Lightning's trainer, which imports torchmetrics for two of its classes; and that imports
transformers, scikit-learn, SciPy's signals and matplotlib: 1,400 modules, almost half of the seconds that an
evaluation's imports take.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

_NAME = "torchmetrics"


class _Lazy(ModuleType):
    """In place of the package: what the trainer asks whether an object is one of; anything else loads it."""

    Metric = type("Metric", (), {})
    MetricCollection = type("MetricCollection", (), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)


def install() -> None:
    """From here on in this process; not if the package is there already, or not installed."""
    if _NAME in sys.modules or (spec := importlib.util.find_spec(_NAME)) is None:
        return
    package = _Lazy(_NAME)
    package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or ())
    package.__dict__["__version__"] = version(_NAME)
    sys.modules[_NAME] = package
