"""The published LoRA evaluations as an offline objective: extremely randomized trees on the records.

The 153 records of Llama-3.2-1B in davouse2025.csv ("_bis"), HellaSwag accuracy over the space its code used.
Every tree is grown until it is exact on all records, so the forest never exceeds their best: the optimum is
known without a search. To be said with any result: where nothing can be learnt, below lr = 1e-8, accuracy
still falls as alpha / rank grows, so this landscape is dominated by an artefact; the standard error is .005,
more than the regret of the best of 50 random points.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.problem import Problem
from orchestrator.contract.assignment import Configuration
from orchestrator.space import SearchSpace
from orchestrator.space.presets import PRESETS

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "davouse2025.csv"
TREES = 100


def records() -> pd.DataFrame:
    """The records of Llama-3.2-1B that were evaluated."""
    table = pd.read_csv(DATA)
    return table[table["run"].str.endswith("_bis") & table["hs"].notna()]


def features(configurations: Sequence[Configuration]) -> Any:
    """(n, 5): rank, alpha, dropout, log₁₀ learning rate, log₁₀ weight decay."""
    return np.array(
        [
            [
                float(c["lora_rank"]),
                float(c["lora_alpha"]),
                float(c["lora_dropout"]),
                math.log10(float(c["learning_rate"])),
                math.log10(float(c["weight_decay"])),
            ]
            for c in configurations
        ]
    )


def _configurations(table: pd.DataFrame) -> list[Configuration]:
    names = list(PRESETS["davouse2025-code"])
    rows = zip(*(table[column] for column in ("rank", "alpha", "dropout", "lr", "wd")), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _forest() -> Any:
    return importlib.import_module("sklearn.ensemble").ExtraTreesRegressor(TREES, random_state=0)


@cache
def hellaswag() -> Problem:
    """Return the problem of maximizing the emulated HellaSwag accuracy."""
    table = records()
    known = _configurations(table)
    forest = _forest().fit(features(known), table["hs"].to_numpy())
    fitted = forest.predict(features(known))
    best = int(np.argmax(fitted))
    return Problem(
        "hellaswag-1b",
        "emulator",
        SearchSpace(PRESETS["davouse2025-code"]),
        "maximize",
        float(fitted[best]),
        known[best],
        lambda configurations: [float(value) for value in forest.predict(features(configurations))],
        float(table["hs_se"].mean()),
    )


def r_squared() -> float:
    """R² on records it has not seen: 10-fold cross-validation, shuffled, pooled over the folds."""
    table = records()
    x, y = features(_configurations(table)), table["hs"].to_numpy()
    selection = importlib.import_module("sklearn.model_selection")
    folds = selection.KFold(10, shuffle=True, random_state=0)
    predicted = selection.cross_val_predict(_forest(), x, y, cv=folds)
    return float(1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2))
