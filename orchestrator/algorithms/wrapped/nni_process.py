"""The half of `tpe_nni` that runs in NNI's interpreter: a request on standard input, points on the last line.

Request: seed; n_init; options, per axis how many, 0 for the unit interval; history, [values, score or null
while pending] oldest first; count. NNI is made anew and given the history as if it had suggested it all.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main() -> None:
    """Read a request as JSON from standard input, and print the points that NNI's tuner draws, as JSON."""
    request = json.load(sys.stdin)
    tpe = importlib.import_module("nni.algorithms.hpo.tpe_tuner")
    tuner = tpe.TpeTuner("maximize", request["seed"], {"n_startup_jobs": request["n_init"]})
    names = [f"{axis:04d}" for axis in range(len(request["options"]))]
    # No `zip(strict=True)`: NNI has its own, perhaps older, Python.
    space = {name: _axis(n) for name, n in zip(names, request["options"])}  # noqa: B905
    tuner.update_search_space(space)
    tuner.dedup = _unchanged  # it raises at the end of a finite space; the caller looks at repetitions
    for identity, (values, score) in enumerate(request["history"]):
        parameters = dict(zip(names, values))  # noqa: B905
        # What generate_parameters notes of its own suggestions; import_data would leave the liar out.
        tuner._running_params[identity] = tpe.format_parameters(parameters, tuner.space)  # noqa: SLF001
        if score is not None:
            tuner.receive_trial_result(identity, parameters, score)
    first = len(request["history"])
    drawn = [tuner.generate_parameters(first + i) for i in range(request["count"])]
    print(json.dumps([[float(point[name]) for name in names] for point in drawn]))  # noqa: T201


def _axis(options: int) -> dict[str, Any]:
    if options:
        return {"_type": "choice", "_value": list(range(options))}
    return {"_type": "uniform", "_value": [0, 1]}


def _unchanged(parameters: Any) -> Any:
    return parameters


if __name__ == "__main__":
    main()
