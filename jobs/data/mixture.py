"""What is learnt and what is held out: fixed by what an instruction says, not by its place in a file.

Every instruction has two numbers that follow from its text alone. One says whether it is held out: it stays
on its side whatever is added, left out or sorted anew, and so do its copies. The other is its place in line,
so that the first tenth is part of the first fifth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction

from jobs.data.instructions import Instruction


def line(instructions: Sequence[Instruction]) -> list[Instruction]:
    """The instructions in line."""
    return sorted(instructions, key=lambda one: (_number(one, "line"), tuple(one.values())))


def split(
    instructions: Sequence[Instruction], val_fraction: float
) -> tuple[list[Instruction], list[Instruction]]:
    """Training and held-out instructions, each in line; about `val_fraction` are held out, and one at least.

    If all are copies of one, none is left to train on.
    """
    ordered = line(instructions)
    chances = [_number(one, "held out") for one in ordered]
    distinct = sorted(set(chances))
    limit = max(val_fraction, distinct[0])
    if len(distinct) > 1:
        limit = min(limit, distinct[-2])  # one is left at least
    pairs = list(zip(ordered, chances, strict=True))
    return [one for one, chance in pairs if chance > limit], [one for one, chance in pairs if chance <= limit]


def mixed(parts: Sequence[Sequence[Instruction]], weights: Sequence[float]) -> list[Instruction]:
    """The parts in the proportions of their weights, so that every beginning of the list has them too.

    Nothing is repeated: the mixture is as large as the part that runs out first allows.
    """
    shares = [Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    whole = min(len(part) / share for part, share in zip(parts, shares, strict=True))
    places = [
        ((number + Fraction(1, 2)) / share, which, number)
        for which, (part, share) in enumerate(zip(parts, shares, strict=True))
        for number in range(min(len(part), round(whole * share)))
    ]
    return [parts[which][number] for _, which, number in sorted(places)]


def _number(instruction: Instruction, purpose: str) -> float:
    """In [0, 1), spread evenly."""
    text = json.dumps([purpose, *(instruction[key] for key in ("instruction", "input", "output"))])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
