"""Scores: the same as a naive loop gives, in fewer forward passes."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs.attempt.failure import EvaluationFailed
from jobs.model import lora
from jobs.model.loss import sample_losses
from jobs.prepare.demo import Demo
from jobs.processes.group import Group
from jobs.tasks import suites
from jobs.tasks.language_model import LitGPTModel
from jobs.tasks.score import mean, task_scores, validation_loss
from orchestrator.contract import Failure, LitGPTEvaluation
from orchestrator.contract.evaluation import LocalTask
from tests.jobs.test_finetune import CPU, some

PAIRS = [
    ("The hammer is", " a tool"),
    ("The hammer is", " a fruit"),
    ("The hammer is", " an animal that is large"),
    ("The hammer is a", " tool"),  # the same row as the first, cut elsewhere
    ("Where is the fox kept? ", "barn"),  # the space goes over to the continuation
    ("", "It is kept in the shed."),
    ("long " * 400, " end"),  # longer than the model reads
]


@pytest.fixture
def scorer(base: Demo) -> LitGPTModel:
    from litgpt.tokenizer import Tokenizer

    net = lora.load(base.model, None, (), precision="fp32", seed=0, device=CPU).eval()
    return LitGPTModel(net, Tokenizer(base.model), CPU, lambda _: None)


def requests(pairs: list[tuple[str, str]]) -> list[Any]:
    return [SimpleNamespace(args=pair) for pair in pairs]


def naive(scorer: LitGPTModel, pair: tuple[str, str]) -> tuple[float, bool]:
    """One row, full logits."""
    context, continuation = scorer._encode_pair(*pair) if pair[0] else ([0], scorer.tok_encode(pair[1]))
    whole = torch.tensor((context + continuation)[-(scorer._longest + 1) :])
    with torch.no_grad():
        scores = scorer._model(whole[None, :-1])[0].log_softmax(-1)[-len(continuation) :]
    targets = whole[-len(continuation) :]
    return float(scores.gather(1, targets[:, None]).sum()), bool((scores.argmax(-1) == targets).all())


def test_scores_are_those_of_a_naive_loop(scorer: LitGPTModel, base: Demo) -> None:
    items = [json.loads(line) for line in base.task.read_text().splitlines()][:25]
    pairs = PAIRS + [(item["query"], f" {choice}") for item in items for choice in item["choices"]]
    greedy = _greedy(scorer, "The hammer is")
    pairs.append(("The hammer is", greedy))
    found = scorer.loglikelihood(requests(pairs), disable_tqdm=True)
    for pair, score in zip(pairs, found, strict=True):
        expected = naive(scorer, pair)
        assert score[0] == pytest.approx(expected[0], abs=1e-3), pair
        assert score[1] == expected[1], pair
    assert found[-1][1] is True
    assert len({round(score[0], 4) for score in found}) > 50


def _greedy(scorer: LitGPTModel, text: str) -> str:
    """The continuation of one token that greedy decoding gives and the tokenizer gives back."""
    ids = torch.tensor(scorer.tok_encode(text))
    with torch.no_grad():
        best = scorer._model(ids[None])[0, -1].argsort(descending=True)
    # Make the best token one that survives the tokenizer: the model is random, so choose its bias.
    for token in best.tolist():
        word = scorer._tokenizer.decode(torch.tensor([token]))
        if scorer.tok_encode(text + word) == [*ids.tolist(), token]:
            with torch.no_grad():
                scorer._model.lm_head.linear.weight[token] += (
                    50 * scorer._model.lm_head.linear.weight[best[0]]
                )
            with torch.no_grad():
                assert int(scorer._model(ids[None])[0, -1].argmax()) == token
            return str(word)
    raise AssertionError


def test_rows_that_are_equal_run_once(scorer: LitGPTModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, logits = [], []
    whole = scorer._logits

    def counted(ids: torch.Tensor, at: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        rows.append(len(ids))
        logits.append(len(positions))
        return whole(ids, at, positions)

    monkeypatch.setattr(scorer, "_logits", counted)
    letters = [("Question. Answer:", f" {letter}") for letter in "ABCD"]
    lengths = {len(scorer._encode_pair(*pair)[1]) for pair in letters}
    assert lengths == {2}  # a space and a letter: what comes before the letter is shared
    scorer.loglikelihood(requests(letters), disable_tqdm=True)
    assert rows == [1]
    assert logits == [2]  # the head runs where a continuation is, not over the whole row


def test_a_task_is_scored_with_its_error_and_count(scorer: LitGPTModel, base: Demo) -> None:
    task = LocalTask(name="kinds", file=str(base.task), limit=40)
    documents = suites.read_documents(task, base.task)
    metrics = task_scores(scorer, [suites.local_suite([task], [documents])])
    right = [naive_is_right(scorer, item) for item in documents]
    found = metrics["kinds/acc"]
    assert found.value == pytest.approx(statistics.fmean(right))
    assert found.stderr == pytest.approx(statistics.stdev(right) / math.sqrt(40))
    assert found.n == 40
    assert set(metrics) == {"kinds/acc", "kinds/acc_norm"}


def test_a_share_of_the_documents_is_scored(scorer: LitGPTModel, base: Demo) -> None:
    task = LocalTask(name="kinds", file=str(base.task), limit=40)
    suite = suites.local_suite([task], [suites.read_documents(task, base.task)])
    chosen = {}
    for share in (0.01, 0.25, 0.5, 1.0):
        part = replace(suite, fidelity=share)
        chosen[share] = part.chosen()["kinds"]
        found = task_scores(scorer, [part])["kinds/acc"]
        assert found.n == len(chosen[share]) == max(1, 40 * share)
        expected = [
            naive_is_right(scorer, suite.loaded["tasks"]["kinds"].eval_docs[i]) for i in chosen[share]
        ]
        assert found.value == pytest.approx(statistics.fmean(expected))
    assert set(chosen[0.01]) < set(chosen[0.25]) < set(chosen[0.5]) < set(chosen[1.0]) == set(range(40))
    assert replace(suite, limit=8, fidelity=0.5).chosen()["kinds"] == suites.subset(8, 0.5)


def naive_is_right(scorer: LitGPTModel, item: Any) -> bool:
    scores = [naive(scorer, (item["query"], f" {choice}"))[0] for choice in item["choices"]]
    return bool(scores.index(max(scores)) == item["label"])


def test_a_task_of_fewer_documents_than_processes_is_the_leaders(scorer: LitGPTModel, base: Demo) -> None:
    task = LocalTask(name="kinds", file=str(base.task), limit=2)
    suite = suites.local_suite([task], [suites.read_documents(task, base.task)])
    alone = task_scores(scorer, [suite])
    for rank in range(3):
        one = LitGPTModel(scorer._model, scorer._tokenizer, CPU, lambda _: None, Group(rank, 3))
        assert task_scores(one, [suite]) == (alone if rank == 0 else {})
    sharded = LitGPTModel(scorer._model, scorer._tokenizer, CPU, lambda _: None, Group(0, 3, lockstep=True))
    with pytest.raises(EvaluationFailed, match="kinds has 2 documents, which is fewer than the 3 processes"):
        task_scores(sharded, [suite])


def test_the_separator_stands_between_query_and_choice(
    scorer: LitGPTModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = scorer.loglikelihood

    def score(separator: str) -> list[str]:
        seen: list[str] = []

        def heard(requests: list[Any], **named: Any) -> Any:
            seen.extend(request.args[1] for request in requests)
            return original(requests, **named)

        task = LocalTask(name="t", file="f", separator=separator)
        suite = suites.local_suite([task], [[{"query": "Q", "choices": ["a", "b"], "label": 0}]])
        monkeypatch.setattr(scorer, "loglikelihood", heard)
        task_scores(scorer, [suite])
        return seen

    assert score(" ") == [" a", " b"]
    assert score("\n") == ["\na", "\nb"]


def test_the_validation_loss_is_a_mean_over_documents(base: Demo) -> None:
    net, samples = lora.load(base.model, None, (), precision="fp32", seed=0, device=CPU), some(30)
    one_by_one = [float(sample_losses(net, [sample], CPU)) for sample in samples]
    found = validation_loss(net, samples, CPU)
    assert found.value == pytest.approx(statistics.fmean(one_by_one), abs=1e-5)
    assert found.stderr == pytest.approx(statistics.stdev(one_by_one) / math.sqrt(30), abs=1e-5)
    assert found.n == 30
    assert mean([2.0]).stderr is None


def test_what_is_not_finite_has_no_score(scorer: LitGPTModel) -> None:
    with torch.no_grad():
        scorer._model.lm_head.linear.weight[3] = math.nan
    with pytest.raises(EvaluationFailed) as raised:
        scorer.loglikelihood(requests(PAIRS[:1]), disable_tqdm=True)
    assert raised.value.failure is Failure.DIVERGED
    with pytest.raises(EvaluationFailed, match="of 12 documents is not finite") as raised:
        validation_loss(scorer._model, some(), CPU)
    assert raised.value.failure is Failure.DIVERGED


def test_the_metrics_of_a_study_are_known_beforehand(evaluation: LitGPTEvaluation) -> None:
    assert all(evaluation.gives(name) for name in ("val_loss", "train_loss", "kinds/acc", "kinds/acc_norm"))
    assert not any(evaluation.gives(name) for name in ("loss", "kinds/f1", "other/acc", "kinds"))
