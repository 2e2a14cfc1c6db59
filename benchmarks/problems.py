"""The problems by name, in four groups.

public    functions everyone publishes on (jobs/synthetic.py)
other     functions that are not among them (closed_forms.py), d = 2 to 10
lora      a made-up family that behaves as fine-tuning does (lora_family.py): each seed draws a member
emulator  the published LoRA evaluations, interpolated (emulator.py); only where the data lie
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from benchmarks import closed_forms, emulator, lora_family
from benchmarks.problem import Problem
from orchestrator.contract import synthetic
from orchestrator.space import SearchSpace
from orchestrator.space.space import Float

PUBLIC = ("branin", "rosenbrock2", "hartmann3", "shekel5", "hartmann6", "ackley5")


def closed_form(function: synthetic.Function, group: str) -> Problem:
    """Return the problem of minimizing a function over its box."""
    names = function.names
    return Problem(
        function.name,
        group,
        SearchSpace({name: Float(*side) for name, side in zip(names, function.bounds, strict=True)}),
        "minimize",
        function.minimum,
        dict(zip(names, function.where, strict=True)),
        lambda configurations: [function([float(c[name]) for name in names]) for c in configurations],
    )


def _fixed(function: synthetic.Function, group: str) -> Callable[[int], Problem]:
    return lambda _: closed_form(function, group)


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    **{name: _fixed(synthetic.FUNCTIONS[name], "public") for name in PUBLIC},
    **{name: _fixed(function, "other") for name, function in closed_forms.FUNCTIONS.items()},
    **{name: partial(lora_family.member, name) for name in lora_family.VARIANTS},
    **({"hellaswag-1b": lambda _: emulator.hellaswag()} if emulator.DATA.exists() else {}),
}
GROUPS: dict[str, tuple[str, ...]] = {
    "public": PUBLIC,
    "other": tuple(closed_forms.FUNCTIONS),
    "lora": tuple(lora_family.VARIANTS),
    **({"emulator": ("hellaswag-1b",)} if emulator.DATA.exists() else {}),
}


@cache
def problem(name: str, seed: int) -> Problem:
    """Return the problem a study with that seed is measured on; only members of "lora" differ between seeds.

    Raises:
        KeyError: no problem of that name.
    """
    return PROBLEMS[name](seed)


@cache
def random_regrets(name: str, seed: int) -> tuple[float, float]:
    """As `Problem.random_regrets`, drawn once."""
    if name not in lora_family.VARIANTS and seed:
        return random_regrets(name, 0)
    return problem(name, seed).random_regrets()
