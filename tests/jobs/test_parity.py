"""On real data, beside what others compute: lm-eval's Hugging Face model, and LitGPT's own training loop."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import parity
from jobs.data.tokens import Sample, tokenized
from jobs.model import lora as model
from jobs.training import finetune
from jobs.training.micro_batches import MicroBatches
from jobs.training.recipe import Recipe
from orchestrator.contract.evaluation import Hyperparameters
from tests.fakes.shared_data import shared_data

CPU = torch.device("cpu")
STEPS, BATCH, LENGTH, SEED = 20, 8, 192, 3
RECIPE = Recipe(
    steps=STEPS,
    batch_size=BATCH,
    micro_batch_size=None,
    learning_rate=1e-2,
    weight_decay=0.1,
    warmup_steps=3,
    cosine=True,
    shuffled=True,
    bf16=False,
)


@pytest.fixture(scope="module")
def sides() -> tuple[Any, Any]:
    base = shared_data("llm/base")
    return parity.ours(base), parity.theirs(base)


@pytest.mark.parametrize("name", parity.TASKS)
def test_likelihoods_are_those_of_lm_evals_own_model(sides: tuple[Any, Any], name: str) -> None:
    items = parity.documents(name, 25, shared_data("llm"))  # `benchmarks/parity.py` takes 500
    found = parity.compare(*sides, name, items)
    assert found.requests == sum(len(item["choices"]) for item in items)
    assert found.worst <= parity.WORST
    assert found.greedy == 0
    assert found.ours == found.theirs
    assert found.ours[f"{name}/acc"].n == 25


@pytest.fixture(scope="module")
def instructions() -> list[dict[str, str]]:
    """Fewer than the training sees: it begins a second epoch. Some are cut, and most are not."""
    entries = json.loads((shared_data("llm/sft") / "train.json").read_text(encoding="utf-8"))
    short = [one for one in entries if sum(map(len, one.values())) < 350][:120]
    return [{key: one.get(key) or "" for key in ("instruction", "input", "output")} for one in short]


def loaded() -> Any:
    wanted = Hyperparameters(lora_rank=8, lora_alpha=16, learning_rate=RECIPE.learning_rate)
    base = shared_data("llm/base")
    return model.load(base, wanted, ("query", "value", "mlp"), precision="fp32", seed=5, device=CPU)


@pytest.fixture(scope="module")
def litgpt_losses(
    instructions: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> list[float]:
    """Loss of each step of LitGPT's `fit` at micro-batch 1, in our order, at our learning rates."""
    import lightning
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.data import SFTDataset, get_sft_collate_fn
    from litgpt.finetune import lora
    from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
    from litgpt.tokenizer import Tokenizer
    from torch.utils.data import DataLoader

    base = shared_data("llm/base")
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="32-true")
    config = Config.from_file(
        base / "model_config.yaml", lora_r=8, lora_alpha=16, lora_query=True, lora_value=True, lora_mlp=True
    )
    net = GPT(config)
    mark_only_lora_as_trainable(net)
    net = fabric.setup_module(net)
    parameters = [one for one in net.parameters() if one.requires_grad]
    adamw = torch.optim.AdamW(parameters, lr=RECIPE.rate(0), betas=(0.9, 0.95), weight_decay=0.1)
    optimizer = fabric.setup_optimizers(adamw)
    lora.load_checkpoint(fabric, net, base / "lit_model.pth", strict=False)
    net.load_state_dict(model.adapters(loaded()), strict=False)
    done = iter(range(1, STEPS))

    def next_rate() -> None:
        optimizer.param_groups[0]["lr"] = RECIPE.rate(next(done, STEPS - 1))

    collate = get_sft_collate_fn(max_seq_length=LENGTH)
    data = SFTDataset(instructions, Tokenizer(base), "alpaca", max_seq_length=LENGTH, mask_prompt=False)
    order = list(
        islice(
            finetune._endless(len(data), torch.Generator().manual_seed(SEED)),
            STEPS * BATCH,
        )
    )
    train = DataLoader(data, batch_size=1, sampler=order, collate_fn=collate)
    logged: list[dict[str, Any]] = []
    fabric.log_dict = lambda metrics, step=None: logged.append(metrics)
    lora.fit(
        fabric=fabric,
        model=net,
        optimizer=optimizer,
        scheduler=SimpleNamespace(step=next_rate, get_last_lr=lambda: [0.0]),
        train_dataloader=train,
        val_dataloader=DataLoader(torch.utils.data.Subset(data, range(2)), batch_size=1, collate_fn=collate),
        devices=1,
        checkpoint_dir=base,
        out_dir=tmp_path_factory.mktemp("litgpt"),
        train=TrainArgs(
            save_interval=None,
            log_interval=1,
            global_batch_size=BATCH,
            micro_batch_size=1,
            epochs=10,
            max_steps=STEPS,
            max_seq_length=LENGTH,
        ),
        eval=EvalArgs(interval=1000, max_new_tokens=1, max_iters=1),
        data=None,
    )
    # LitGPT logs the mean over the last `BATCH` micro-batches.
    return [one["loss"] for one in logged if one.get("iter", 1) % BATCH == 0]


@pytest.mark.parametrize("rows", [1, 4, 8, None])
def test_training_losses_are_those_of_litgpt(
    instructions: list[dict[str, str]],
    litgpt_losses: list[float],
    rows: int | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    samples = tokenized(
        instructions,
        shared_data("llm/base"),
        prompt_style="alpaca",
        max_length=LENGTH,
        mask_prompt=False,
        cache=tmp_path,
    )
    assert len({len(sample.ids) for sample in samples}) > 10  # of equal lengths every mean is the same
    losses: list[float] = []
    step = finetune._Training.advance

    def heard(training: finetune._Training, batch: list[Sample]) -> float:
        losses.append(step(training, batch))
        return losses[-1]

    monkeypatch.setattr(finetune._Training, "advance", heard)
    monkeypatch.setattr(finetune, "_CLIP", math.inf)  # the command has no option to clip
    net = loaded()
    finetune.finetune(
        net, samples, RECIPE, seed=SEED, device=CPU, micro_batches=MicroBatches(rows, tokens=512)
    )
    assert len(losses) == len(litgpt_losses) == STEPS
    assert losses == pytest.approx(litgpt_losses, abs=1e-4)
    assert losses[0] - losses[-1] > 0.5  # it learns: every step's gradient is in the next steps' losses
