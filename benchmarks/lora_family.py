"""A family of problems that behave as LoRA fine-tuning does, each seed drawing a member.

The score is an accuracy. With e = log₁₀ lr + c · log₁₀(alpha / rank), the effective step:

    score = chance + gain · (1 − κ e^(−rank / τ)) · hill((e − e*) / w) − small terms

- a ridge: e* falls with log rank and is shifted by the choices; along it `alpha` hardly matters; w is wider
  below the ridge than above, and hill(t) = 1 / (1 + t²) still leads back from afar;
- a cliff: more than `cliff` above e* training diverges, always: no score; the last stretch before it, the
  score falls to chance;
- saturation: more rank helps ever less; on some members only ⌊log₂ rank⌋ counts, so that scores are plateaus;
- small terms: alpha / rank off its best, dropout off a best that grows with rank, weight decay off its best.

The band before the cliff lies off the top of the ridge, so for given rank, alpha and choices the best lr,
dropout and weight decay are known in closed form, and the optimum is exact: the best of all combinations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.problem import Problem
from orchestrator.contract.assignment import Configuration, Value
from orchestrator.space import SearchSpace
from orchestrator.space.space import Choice, Float, Int

CHANCE = 0.25
LAYERS = ("attention", "attention+mlp", "all")
SCHEDULES = ("cosine", "linear", "constant")
PARAMETERS: dict[str, Float | Int | Choice] = {
    "rank": Int(2, 64, log=True),
    "alpha": Int(1, 64),
    "dropout": Float(0.0, 0.5),
    "lr": Float(1e-6, 1e-1, log=True),
    "weight_decay": Float(1e-5, 1e-1, log=True),
}
CHOICES: dict[str, Float | Int | Choice] = {"layers": Choice(LAYERS), "schedule": Choice(SCHEDULES)}
RANGES = {  # what a member's numbers are drawn from, uniformly
    "gain": (0.2, 0.4),
    "scaling": (0.5, 1.0),
    "top": (-4.5, -2.5),
    "fall": (0.0, 0.8),
    "below": (0.8, 1.8),
    "above": (0.35, 0.8),
    "cliff": (0.6, 1.1),
    "band": (0.15, 0.35),
    "lack": (0.1, 0.5),
    "saturation": (4.0, 16.0),
    "ratio": (-0.2, 0.6),
    "bend": (0.01, 0.04),
    "dropout": (0.05, 0.4),
    "decay": (-4.5, -1.5),
}


@dataclass(frozen=True)
class Variant:
    """How a member is observed: see `Problem`."""

    stderr: float | None = None
    host_failures: float = 0.0
    choices: bool = False


VARIANTS = {
    "lora-clean": Variant(),
    "lora-noisy": Variant(stderr=0.005),
    "lora-heavy": Variant(stderr=0.02),
    "lora-choices": Variant(stderr=0.005, choices=True),
    "lora-hosts": Variant(stderr=0.005, host_failures=0.1),
}


@dataclass(frozen=True)
class Member:
    """One landscape; lengths along e and lr in decades.

    Attributes:
        gain: what the best fine-tuning adds to chance, about.
        scaling: c of the module's formula.
        top: e* at rank 8.
        fall: how much e* falls from rank 8 to 64.
        below, above: w on either side of the ridge.
        cliff: distance of the cliff from e*; band: of it, the stretch of bad scores.
        lack: κ; saturation: τ.
        plateaus: only ⌊log₂ rank⌋ counts.
        ratio: best log₁₀(alpha / rank); bend: loss per squared decade off it.
        dropout: best dropout at rank 64; decay: best log₁₀ weight decay.
        worth: (choice, option) -> its (loss, shift of e*).
    """

    gain: float
    scaling: float
    top: float
    fall: float
    below: float
    above: float
    cliff: float
    band: float
    lack: float
    saturation: float
    plateaus: bool
    ratio: float
    bend: float
    dropout: float
    decay: float
    worth: dict[tuple[str, Value], tuple[float, float]]

    @classmethod
    def draw(cls, seed: int, choices: Sequence[str]) -> Member:
        rng = np.random.default_rng([seed, 20_25])
        numbers = {name: float(rng.uniform(low, high)) for name, (low, high) in RANGES.items()}
        plateaus = bool(rng.random() < 0.5)
        worth: dict[tuple[str, Value], tuple[float, float]] = {}
        for name in choices:
            losses, shifts = rng.permutation([0.0, 0.01, 0.03]), rng.uniform(-0.3, 0.3, 3)
            parameter = CHOICES[name]
            assert isinstance(parameter, Choice)
            for option, loss, shift in zip(parameter.options, losses, shifts, strict=True):
                worth[name, option] = (float(loss), float(shift))
        return cls(plateaus=plateaus, worth=worth, **numbers)

    def ridge(self, configuration: Configuration) -> tuple[float, float]:
        """e* of this rank and these choices, and log₁₀(alpha / rank)."""
        rank, alpha = float(configuration["rank"]), float(configuration["alpha"])
        shift = sum(
            shift for (name, option), (_, shift) in self.worth.items() if configuration[name] == option
        )
        return self.top - self.fall * math.log(rank / 8, 8) + shift, math.log10(alpha / rank)

    def best_dropout(self, rank: float) -> float:
        return self.dropout * math.log2(rank) / 6

    def score(self, configuration: Configuration) -> float | None:
        """Noise-free score of a configuration; None if training diverges."""
        rank = float(configuration["rank"])
        top, ratio = self.ridge(configuration)
        off = math.log10(float(configuration["lr"])) + self.scaling * ratio - top
        if off > self.cliff:
            return None
        hill = 1 / (1 + (off / (self.above if off > 0 else self.below)) ** 2)
        hill *= min(1.0, (self.cliff - off) / self.band)
        effective = 2.0 ** math.floor(math.log2(rank)) if self.plateaus else rank
        reach = self.gain * (1 - self.lack * math.exp(-effective / self.saturation))
        loss = sum(loss for (name, option), (loss, _) in self.worth.items() if configuration[name] == option)
        loss += self.bend * (ratio - self.ratio) ** 2
        loss += 0.04 * (float(configuration["dropout"]) - self.best_dropout(rank)) ** 2
        loss += 0.001 * (math.log10(float(configuration["weight_decay"])) - self.decay) ** 2
        return CHANCE + reach * hill - loss

    def best(self, choices: Sequence[str]) -> tuple[float, Configuration]:
        """The optimum and a configuration that attains it: all combinations of what is discrete."""
        options = [CHOICES[name].options for name in choices]  # type: ignore[union-attr]
        found: tuple[float, Configuration] = (-math.inf, {})
        for rank, alpha, *chosen in product(range(2, 65), range(1, 65), *options):
            configuration: Configuration = {
                "rank": rank,
                "alpha": alpha,
                "dropout": self.best_dropout(rank),
                "weight_decay": 10.0**self.decay,
                **dict(zip(choices, chosen, strict=True)),
            }
            top, ratio = self.ridge(configuration)
            configuration["lr"] = min(max(10 ** (top - self.scaling * ratio), 1e-6), 1e-1)
            score = self.score(configuration)
            if score is not None and score > found[0]:
                found = (score, configuration)
        return found


def member(name: str, seed: int) -> Problem:
    """Return the problem of that variant that a study with that seed is measured on."""
    variant = VARIANTS[name]
    choices = tuple(CHOICES) if variant.choices else ()
    landscape = Member.draw(seed, choices)
    optimum, best = landscape.best(choices)
    return Problem(
        name,
        "lora",
        SearchSpace({**PARAMETERS, **{choice: CHOICES[choice] for choice in choices}}),
        "maximize",
        optimum,
        best,
        lambda configurations: [landscape.score(configuration) for configuration in configurations],
        variant.stderr,
        variant.host_failures,
    )
