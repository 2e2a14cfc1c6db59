"""How a task wants texts to be generated, from the settings that it gives to lm-eval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from jobs.attempt.failure import EvaluationFailed
from orchestrator.contract import Failure

_LONGEST = 256  # tokens to write at most, where a task does not say: lm-eval's default


@dataclass(frozen=True, slots=True)
class Writing:
    """How a model writes text after a prompt.

    Attributes:
        room: most tokens of a prompt that fit into the model's context beside what is written.
        longest: tokens to write at most.
        stop: texts that end what is written.
        temperature: 0: always the likeliest token.
        top_k: only so many likeliest tokens are drawn from; 0: all.
        top_p: only the likeliest tokens that together have this probability are drawn from.
    """

    room: int
    longest: int
    stop: tuple[str, ...]
    temperature: float
    top_k: int
    top_p: float

    @classmethod
    def of(cls, asked: dict[str, Any], reads: int) -> Writing:
        """Read the settings of a task.

        Args:
            asked: what the task gives lm-eval as `generation_kwargs`.
            reads: tokens that the model reads at most.

        Raises:
            EvaluationFailed: the task has a setting that is not supported, or wants more tokens than the
                model reads.
        """
        settings = dict(normalize_gen_kwargs(asked, _LONGEST))
        longest, until = settings.pop("max_gen_toks"), settings.pop("until", None)
        sampled = settings.pop("do_sample", None)
        temperature = settings.pop("temperature", 0.0) if sampled is not False else 0.0
        top_k, top_p = settings.pop("top_k", 0) or 0, settings.pop("top_p", 1.0) or 1.0
        settings.pop("temperature", None)
        if settings:
            raise EvaluationFailed(
                Failure.BAD_DATA,
                f"a task scores text generated with {', '.join(sorted(settings))}, which this evaluation "
                "does not do: use another task, or a `command` evaluation of your own",
            )
        if (room := reads - longest) < 1:
            raise EvaluationFailed(
                Failure.BAD_DATA,
                f"a task has {longest} tokens written, and the model reads {reads}: "
                "lower max_gen_toks in a task file of your own, or take another model",
            )
        stop = tuple(handle_stop_sequences(until, eos=None))
        return cls(room, longest, stop, float(temperature), int(top_k), float(top_p))
