"""Which instructions are learnt from and which are held out: decided by their text, not by their place.

From the text of every instruction, and nothing else, two numbers are computed. One decides whether it is held
out: this does not change when others are added, left out or sorted anew, and copies are treated alike. The
other gives its place in the order of use, so that the first tenth of the instructions is part of the first
fifth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction

from jobs.data.instructions import Instruction


def line(instructions: Sequence[Instruction]) -> list[Instruction]:
    """The instructions in the order of use, which does not depend on their order here."""
    return sorted(instructions, key=lambda one: (_number(one, "line"), tuple(one.values())))


def split(
    instructions: Sequence[Instruction], val_fraction: float
) -> tuple[list[Instruction], list[Instruction]]:
    """Training and held-out instructions, each in the order of use.

    About the share `val_fraction` is held out, at least one. If all are copies of one instruction, none is
    left to train on.
    """
    ordered = line(instructions)
    chances = [_number(one, "held out") for one in ordered]
    distinct = sorted(set(chances))
    limit = max(val_fraction, distinct[0])
    if len(distinct) > 1:
        limit = min(limit, distinct[-2])  # at least one is left
    pairs = list(zip(ordered, chances, strict=True))
    return [one for one, chance in pairs if chance > limit], [one for one, chance in pairs if chance <= limit]


def mixed(parts: Sequence[Sequence[Instruction]], weights: Sequence[float]) -> list[Instruction]:
    """The parts, mixed in the proportions of their weights, which every beginning of the list has as well.

    The order is that of seats in the Sainte-Laguë method of proportional representation. Nothing is repeated:
    the mixture is as large as the part that runs out first allows.
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
    """A number in [0, 1) that follows from the text and `purpose`; evenly distributed over texts."""
    text = json.dumps([purpose, *(instruction[key] for key in ("instruction", "input", "output"))])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
