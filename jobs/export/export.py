"""A trial's adapter for other programs: merged into its base model, or beside it.

    litgpt   a LitGPT checkpoint with merged weights
    hf       the same as a Hugging Face checkpoint
    peft     the adapter alone, for `peft` on top of the Hugging Face model

Merged weights are those that were scored, in the evaluation's precision.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from jobs.attempt.failure import is_full_disk
from jobs.attempt.measured import OFFLINE
from jobs.export.adapter import Adapter
from jobs.inputs.manifest import library_files
from orchestrator.errors import InputError

if TYPE_CHECKING:
    import torch
    from litgpt.lora import GPT

Form = Literal["litgpt", "hf", "peft"]
FORMS: tuple[Form, ...] = get_args(Form)
FACTS = "orchestrator.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)  # safetensors puts these numbers into its text


def export(adapter: Adapter, form: Form, out: Path, facts: dict[str, Any], cache: Path) -> None:
    """Write `adapter` to the directory `out`, which appears whole.

    Args:
        adapter: the adapter to export.
        form: the format to write.
        out: the directory, which must not exist.
        facts: about the adapter, for people: the content of orchestrator.json.
        cache: the shared cache, for what libraries write.

    Raises:
        InputError: `out` exists, the adapter is damaged, its model cannot be written in that form, or the
            disk is full.
        EvaluationFailed: the model does not take the adapter.
    """
    _must_not_exist(out)
    os.environ.update(OFFLINE, **library_files(cache))
    if form != "litgpt":
        from jobs.export import hugging_face

        hugging_face.check(adapter.model)  # before gigabytes are read
    net = _loaded(adapter)
    out.parent.mkdir(parents=True, exist_ok=True)
    building = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    building.mkdir()
    try:
        if form == "peft":
            hugging_face.write_adapter(net, adapter, building)
        else:
            weights = _merged(net)
            if form == "hf":
                hugging_face.write_merged(net.config, weights, adapter, building)
            else:
                _write_litgpt(weights, adapter, building)
        text = json.dumps(facts, indent=2, allow_nan=False, ensure_ascii=False)
        (building / FACTS).write_text(f"{text}\n", encoding="utf-8")
        _as_ones_own(building)
        _must_not_exist(out)
        building.rename(out)
    except BaseException as error:
        shutil.rmtree(building, ignore_errors=True)
        if is_full_disk(error) or any(f"os error {number})" in str(error) for number in _FULL):
            raise InputError(
                f"{out}: no space is left there: make room, or name another with --out"
            ) from error
        raise


def _as_ones_own(folder: Path) -> None:
    """Give the files the permissions of the user's other files: libraries make some private, or read-only."""
    os.umask(mask := os.umask(0))
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)


def _must_not_exist(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise InputError(f"{out}: exists already: remove it, or give another directory with --out")


def _loaded(adapter: Adapter) -> GPT:
    """The base model with this adapter beside its weights, on the CPU.

    Raises:
        InputError: the file is damaged, does not fit the model, or is not the adapter that was scored.
        EvaluationFailed: the model cannot take such an adapter.
    """
    import torch

    from jobs.inputs.hyperparameters import hyperparameters
    from jobs.model import lora as model

    try:
        state = torch.load(adapter.file, map_location="cpu", weights_only=True)["adapter"]
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise InputError(f"{adapter.file}: is no adapter, or is damaged: nothing is exported") from error
    wanted = hyperparameters(adapter.configuration)
    assert wanted is not None, "the base model has no adapter"
    net = model.load(
        adapter.model,
        wanted,
        adapter.evaluation.lora_layers,
        precision=adapter.evaluation.precision,
        seed=0,
        device=torch.device("cpu"),
    )
    shapes = ({name: one.shape for name, one in tensors.items()} for tensors in (model.adapters(net), state))
    if next(shapes) != next(shapes):
        raise InputError(f"{adapter.file}: does not fit {adapter.model}: nothing is exported")
    model.set_adapters(net, state)
    if (found := model.adapter_digest(net)) != adapter.digest:
        raise InputError(
            f"{adapter.file}: is not what was scored: its digest is {found}, the trial's result says "
            f"{adapter.digest}: nothing is exported"
        )
    return net


def _merged(net: GPT) -> dict[str, torch.Tensor]:
    """The merged weights under the names of a checkpoint without adapters."""
    from jobs.model import lora as model

    model.merge(net)
    named = net.state_dict().items()
    return {name.replace(".linear.", "."): tensor for name, tensor in named if "lora_" not in name}


def _write_litgpt(weights: dict[str, torch.Tensor], adapter: Adapter, folder: Path) -> None:
    import torch
    from litgpt.prompts import save_prompt_style
    from litgpt.utils import copy_config_files

    with (folder / "lit_model.pth").open("wb") as file:  # PyTorch would hide a full disk
        torch.save(weights, file)
    copy_config_files(adapter.model, folder)
    save_prompt_style(adapter.evaluation.prompt_style, folder)  # `litgpt chat` asks as the training did
