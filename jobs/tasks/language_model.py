"""A LitGPT model in memory behind lm-eval's interface: log-likelihoods of texts, and texts that it writes."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from litgpt.lora import GPT
from litgpt.tokenizer import Tokenizer
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from jobs.attempt.failure import diverged
from jobs.data.tokens import batches
from jobs.model.head import head_at
from jobs.processes.group import ALONE, Group
from jobs.tasks.generation import Prompt, generate
from jobs.tasks.writing import Writing

_LOGITS = 2**27  # elements at once: 512 MiB in fp32
_TOKENS = {"cpu": 2048, "cuda": 16384}  # in a batch

# Context and continuation: both as text, then the tokens of each.
Request = tuple[tuple[str, str], list[int], list[int]]


def tokens_at_once(device: torch.device, vocabulary: int = 0) -> int:
    """The largest number of padded tokens in a batch.

    Args:
        device: the device.
        vocabulary: size of the vocabulary, for batches with logits at every position; 0: at few positions
            only.
    """
    tokens = _TOKENS.get(device.type, _TOKENS["cpu"])
    return min(tokens, max(1, _LOGITS // vocabulary)) if vocabulary else tokens


class LitGPTModel(TemplateLM):  # type: ignore[misc]
    """Scores continuations of texts with a LitGPT model, and writes them."""

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        device: torch.device,
        progress: Callable[[str], None] = print,
        group: Group = ALONE,
    ) -> None:
        super().__init__()
        # lm-eval deals the documents out by these two, and gathers what each process found.
        self._rank, self._world_size, self.group = group.rank, group.size, group
        self._model, self._tokenizer, self._device, self._progress = model, tokenizer, device, progress
        self._longest = int(model.max_seq_length)
        self._begins = _begins_texts(tokenizer)

    def alone(self) -> LitGPTModel:
        """The same model, for use by this process alone."""
        return LitGPTModel(self._model, self._tokenizer, self._device, self._progress)

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The numbers of all processes, flattened and in the order of their ranks: (n,), on the CPU."""
        return torch.cat([one.reshape(-1) for one in self.group.gathered(tensor.cpu())])

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """On the process of rank `dst`: what each process gave, in the order of ranks; on others None."""
        found = self.group.gathered(obj)
        return found if self.group.rank == dst else None

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        self.group.gathered(None)

    @property
    def eot_token_id(self) -> int:
        """Id of the end-of-text token; 0 if the tokenizer names none."""
        return int(self._tokenizer.eos_id or 0)

    @property
    def prefix_token_id(self) -> int:
        """Id of the token that stands for an empty context: begin-of-text, or else end-of-text."""
        bos = self._tokenizer.bos_id
        return self.eot_token_id if bos is None else int(bos)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text, with the begin-of-text token if the texts of the model begin with it.

        Args:
            string: the text.
            add_special_tokens: False: without that token in any case.
            **_: further settings of lm-eval, which are ignored.
        """
        bos = self._begins and add_special_tokens is not False
        ids: list[int] = self._tokenizer.encode(string, bos=bos).tolist()
        return ids

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding gives it.

        lm-eval's own method makes the tokens; only its progress bars are switched off here.
        """
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return found

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
        groups = list(batches([len(row) for row in inputs], tokens_at_once(self._device)))
        for batch, counts in self.group.padded(groups, groups[-1]):
            scores = self._scored([(inputs[i], rows[inputs[i]]) for i in batch], requests)
            if not counts:
                continue
            for index, score in scores:
                found[index] = score
            done += len(batch)
            self._progress(f"{done} of {len(inputs)} rows for {len(requests)} requests")
        assert all(score is not None for score in found)
        return [score for score in found if score is not None]

    @torch.inference_mode()
    def _scored(
        self, batch: list[tuple[tuple[int, ...], list[int]]], requests: list[Request]
    ) -> list[tuple[int, tuple[float, bool]]]:
        """The scores of one batch.

        Args:
            batch: rows of input tokens, each with the indices of the requests that it answers.
            requests: all of them.

        Returns:
            For each request of the batch its index, log-likelihood, and whether greedy decoding gives it.
        """
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
        with head_at(self._model, rows.to(self._device), positions.to(self._device)):
            logits: torch.Tensor = self._model(ids.to(self._device))
        return logits.float()

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:  # noqa: ARG002
        """Log-likelihood of each whole text, read in consecutive windows as long as the model's context."""
        windows: list[Request] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            rolling = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self._longest,
                context_len=1,
            )
            for context, continuation in map(make_disjoint_window, rolling):
                windows.append((("", ""), context, continuation))
                owners.append(number)
        totals = [0.0] * len(requests)
        for owner, (score, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += score
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """What the model writes after each context, up to the first of the texts that end it."""
        drawn = Counter[str]()  # a task may ask for several texts after one context: each has its own seed
        prompts = []
        for request in requests:
            context, asked = request.args
            prompts.append(self._prompt(context, asked, drawn[context]))
            drawn[context] += 1
        written = generate(
            self._model,
            prompts,
            eos=self.eot_token_id,
            decode=self._decoded,
            device=self._device,
            group=self.group,
            progress=self._progress,
        )
        pairs = zip(map(self._decoded, written), prompts, strict=True)
        return [postprocess_generated_text(text, list(prompt.stop), None) for text, prompt in pairs]

    def _prompt(self, context: str, asked: dict[str, Any], draw: int = 0) -> Prompt:
        """The prompt of one request.

        Args:
            context: the text to go on from; its beginning is cut off if it is too long.
            asked: settings of the task for writing.
            draw: how many requests with the same context came before; each has a seed of its own.

        Raises:
            EvaluationFailed: the task has a setting that is not supported, or wants more tokens than the
                model reads.
        """
        how = Writing.of(asked, self._longest)
        named = f"{draw}:{context}" if draw else context
        seed = int.from_bytes(hashlib.sha256(named.encode()).digest()[:6], "big")
        ids = tuple(self.tok_encode(context)[-how.room :]) or (self.prefix_token_id,)
        return Prompt(ids, how.longest, how.stop, how.temperature, how.top_k, how.top_p, seed)

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(torch.tensor(ids)) if ids else ""
        return text


def _begins_texts(tokenizer: Tokenizer) -> bool:
    """True if a text to score begins with the begin-of-text token, as with lm-eval's Hugging Face model.

    There tokenizer.json alone decides, whatever tokenizer_config.json says. LitGPT removes the token that
    tokenizer.json adds, unless tokenizer_config.json or the model's name asks for it.
    """
    if tokenizer.backend != "huggingface":
        return bool(tokenizer.use_bos)
    return bool(tokenizer.processor.encode("a").ids[:1] == [tokenizer.bos_id])
