"""Our model in memory as lm-eval sees one: log-likelihoods of continuations, and nothing else."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from litgpt.lora import GPT
from litgpt.tokenizer import Tokenizer
from lm_eval.api.model import TemplateLM

from jobs.data import batches
from jobs.failure import EvaluationFailed, diverged
from orchestrator.trial import Failure

_LOGITS = 2**27  # elements at once: 512 MiB in fp32
_TOKENS = {"cpu": 2048, "cuda": 16384}  # in a batch

Request = tuple[tuple[str, str], list[int], list[int]]


def tokens_at_once(place: torch.device, vocabulary: int = 0) -> int:
    """Padded tokens of a batch; with `vocabulary`, of one whose every position gets its logits."""
    tokens = _TOKENS.get(place.type, _TOKENS["cpu"])
    return min(tokens, max(1, _LOGITS // vocabulary)) if vocabulary else tokens


class HeadAt(torch.nn.Module):
    """The vocabulary head, at chosen positions only: most positions of a batch are context or padding."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head
        self.at: tuple[torch.Tensor, torch.Tensor] | None = None  # rows (p,), positions (p,)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (p, vocabulary) of `hidden` (batch, length, width) at the p positions chosen."""
        chosen: torch.Tensor = self.head(hidden if self.at is None else hidden[self.at])
        return chosen


class LitGPTModel(TemplateLM):  # type: ignore[misc]
    """Scores continuations with a LitGPT model; what generates text is refused."""

    def __init__(
        self, model: GPT, tokenizer: Tokenizer, place: torch.device, progress: Callable[[str], None] = print
    ) -> None:
        super().__init__()
        self._model, self._tokenizer, self._device, self._progress = model, tokenizer, place, progress
        self._longest = int(model.max_seq_length)

    @property
    def eot_token_id(self) -> int:
        return int(self._tokenizer.eos_id or 0)

    @property
    def prefix_token_id(self) -> int:
        bos = self._tokenizer.bos_id
        return self.eot_token_id if bos is None else int(bos)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        bos = False if add_special_tokens is False else None  # None: as the tokenizer's files say
        ids: list[int] = self._tokenizer.encode(string, bos=bos).tolist()
        return ids

    def _loglikelihood_tokens(self, requests: list[Request], **_: Any) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding gives it."""
        # Choices that differ in their last token only, as one-letter answers do, are one row.
        rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, (_text, context, continuation) in enumerate(requests):
            whole = (context + continuation)[-(self._longest + 1) :]
            rows[tuple(whole[:-1])].append(index)
        inputs = list(rows)
        found: list[tuple[float, bool] | None] = [None] * len(requests)
        done = 0
        for batch in batches([len(row) for row in inputs], tokens_at_once(self._device)):
            for index, score in self._scored([(inputs[i], rows[inputs[i]]) for i in batch], requests):
                found[index] = score
            done += len(batch)
            self._progress(f"{done} of {len(inputs)} rows for {len(requests)} requests")
        assert all(score is not None for score in found)
        return [score for score in found if score is not None]

    @torch.inference_mode()
    def _scored(
        self, batch: list[tuple[tuple[int, ...], list[int]]], requests: list[Request]
    ) -> list[tuple[int, tuple[float, bool]]]:
        lengths = [min(max(len(requests[i][2]) for i in which), len(row)) for row, which in batch]
        ids = torch.zeros(len(batch), max(len(row) for row, _ in batch), dtype=torch.int64)
        for number, (row, _) in enumerate(batch):
            ids[number, : len(row)] = torch.tensor(row)
        at_rows = torch.tensor([n for n, length in enumerate(lengths) for _ in range(length)])
        positions = torch.tensor(
            [
                len(row) - length + k
                for (row, _), length in zip(batch, lengths, strict=True)
                for k in range(length)
            ]
        )
        logits = self._logits(ids, at_rows, positions)  # (sum of lengths, vocabulary)
        normalizers, best = logits.logsumexp(dim=-1), logits.argmax(dim=-1)
        results, first = [], 0
        for (_, which), length in zip(batch, lengths, strict=True):
            for index in which:
                continuation = requests[index][2][-length:]
                where = torch.arange(first + length - len(continuation), first + length, device=logits.device)
                targets = torch.tensor(continuation, device=logits.device)
                score = float((logits[where, targets] - normalizers[where]).sum())
                if not torch.isfinite(normalizers[where]).all() or not math.isfinite(score):
                    raise diverged(
                        f"the score of a continuation is {score}: the model's logits are not finite"
                    )
                results.append((index, (score, bool((best[where] == targets).all()))))
            first += length
        return results

    def _logits(self, ids: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Logits (p, vocabulary), fp32, of `ids` (batch, length) at p (row, position) pairs."""
        head = HeadAt(self._model.lm_head)
        head.at = rows.to(self._device), positions.to(self._device)
        self._model.lm_head = head
        try:
            logits: torch.Tensor = self._model(ids.to(self._device))
            return logits.float()
        finally:
            self._model.lm_head = head.head

    def loglikelihood_rolling(self, *_: Any, **__: Any) -> list[float]:
        raise refused("the likelihood of whole texts")

    def generate_until(self, *_: Any, **__: Any) -> list[str]:
        raise refused("generated text")


def refused(what: str) -> EvaluationFailed:
    return EvaluationFailed(
        Failure.BAD_DATA,
        f"a task scores {what}, which this evaluation does not do: "
        "use multiple-choice tasks, or a `command` evaluation of your own",
    )
