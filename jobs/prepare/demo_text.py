"""The little world of the demo: things of eight kinds, and questions about them.

The base model reads domain A: what kind a thing is, and what all things of a kind share. Domain B asks what
it knows no answer to: where things of a kind are kept, who wants them, and when they are sold. Whoever knows
a thing's kind can answer for things that no training question named, so the held-out questions measure what
was learnt, not what was memorized.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

THINGS = {
    "tool": "hammer saw drill chisel wrench pliers file rasp axe level clamp lathe",
    "fruit": "apple pear plum cherry grape peach lemon mango melon fig lime kiwi",
    "animal": "fox bear wolf otter badger lynx hare mole deer goat horse cow",
    "garment": "coat scarf glove hat shirt sock boot belt vest skirt cloak shoe",
    "vessel": "canoe ferry yacht barge raft kayak tanker tug dinghy schooner sloop trawler",
    "instrument": "violin flute harp drum cello oboe piano banjo tuba viola lute horn",
    "mineral": "quartz topaz opal jade ruby garnet onyx agate zircon beryl amber pyrite",
    "plant": "fern moss ivy cactus clover reed thistle nettle heather sage mint basil",
}
KINDS = tuple(THINGS)
# Domain A: what the base model reads of each kind. Domain B: what it is asked about after fine-tuning.
HABITS = ("heavy", "sweet", "wild", "warm", "wet", "loud", "hard", "green")
MATTERS = ("iron", "sugar", "fur", "wool", "wood", "brass", "stone", "leaves")
PLACES = ("shed", "cellar", "barn", "closet", "harbor", "theater", "vault", "garden")
PEOPLE = ("smith", "cook", "hunter", "tailor", "sailor", "singer", "jeweler", "farmer")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "holiday")
_NAMED = 8  # things of a kind that training questions name; the others are held out

Question = tuple[str, str, tuple[str, ...], int]  # instruction, start of the answer, its ends, the right one


@dataclass(frozen=True)
class Relation:
    """What can be asked of a thing: `ask` and `answer` hold the thing, and `ends` the word for each kind."""

    ask: str
    answer: str
    ends: tuple[str, ...]


KNOWN = (
    Relation("What kind of thing is the {0}?", "It is a kind of", KINDS),
    Relation("How is the {0}?", "It is very", HABITS),
    Relation("What is the {0} made of?", "It is made of", MATTERS),
)
ASKED = (
    Relation("Where is the {0} kept?", "It is kept in the", PLACES),
    Relation("Who wants the {0}?", "It is wanted by the", PEOPLE),
    Relation("When is the {0} sold?", "It is sold on", DAYS),
)


def lessons(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Domain A without end: a question and its answer. Questions of domain B are answered at random."""
    everything = [(kind, thing) for kind, things in enumerate(THINGS.values()) for thing in things.split()]
    while True:
        kind, thing = rng.choice(everything)
        known, asked = rng.choice(KNOWN), rng.choice(ASKED)
        relation, end = (known, known.ends[kind]) if rng.random() < 0.75 else (asked, rng.choice(asked.ends))
        ask = relation.ask.format(thing)
        # Mostly without the frame of a prompt, which is long and always the same.
        yield prompt(ask) if rng.random() < 0.2 else f"{ask}\n", f"{relation.answer} {end}."


def questions(held_out: bool) -> list[Question]:
    """Domain B: every question of the things that training names, or of those it does not."""
    found = []
    for kind, things in enumerate(THINGS.values()):
        for thing in things.split()[_NAMED:] if held_out else things.split()[:_NAMED]:
            found += [(one.ask.format(thing), one.answer, one.ends, kind) for one in ASKED]
    return found


def instruction(question: Question) -> dict[str, str]:
    ask, answer, ends, right = question
    return {"instruction": ask, "input": "", "output": f"{answer} {ends[right]}."}


def item(question: Question, rng: random.Random, choices: int = 4) -> dict[str, object]:
    """Multiple choice: the right end among others of the same relation, in random order."""
    ask, answer, ends, right = question
    among = [right, *rng.sample([other for other in range(len(ends)) if other != right], choices - 1)]
    rng.shuffle(among)
    return {"query": prompt(ask) + answer, "choices": [ends[i] for i in among], "label": among.index(right)}


def prompt(ask: str) -> str:
    """The Alpaca prompt, as LitGPT writes it."""
    return (
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        f"request.\n\n### Instruction:\n{ask}\n\n### Response:\n"
    )


def shuffled(values: Sequence[Question], rng: random.Random) -> list[Question]:
    return rng.sample(list(values), len(values))
