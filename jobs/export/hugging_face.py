"""LitGPT weights and adapters under the names that Hugging Face's `transformers` and `peft` know.

All names come from LitGPT's own conversion functions, through which weights go, and adapters too. LitGPT
keeps query, key and value in one matrix, and their adapters stacked:

    lora_A: (parts * rank, in)     one block of rows for each part that is adapted, in the order q, k, v
    lora_B: (sum of rows, rank)    the rows of those parts; with fewer key-value groups than heads, k and v
                                   have fewer rows than q

Where `transformers` has three matrices, B is padded with zeros to all rows and converted like a weight, which
splits it. The result is compared with the model that `transformers` builds from config.json.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from litgpt.lora import GPT, Config, LoRALinear, LoRAQKVLinear
from litgpt.scripts import convert_lit_checkpoint as lit

from jobs.inputs.hyperparameters import hyperparameters
from jobs.inputs.manifest import TOKENIZER_FILES
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from jobs.export.adapter import Adapter

State = dict[str, torch.Tensor]
_MORE_TOKENIZER_FILES = (
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


def check(model: Path) -> None:
    """Check that a checkpoint has Hugging Face's config.json.

    Raises:
        InputError: it has none, so that nothing says what model this is for Hugging Face.
    """
    if not (model / "config.json").is_file():
        raise InputError(
            f"{model}: has no config.json, which says what the model is for Hugging Face: put the original's "
            "there, or use --format litgpt"
        )


def write_merged(config: Config, weights: State, adapter: Adapter, folder: Path) -> None:
    """Write the merged model as a Hugging Face checkpoint.

    Args:
        config: LitGPT's.
        weights: merged, under LitGPT's names.
        adapter: the adapter that was merged into them.
        folder: where to write it.

    Raises:
        InputError: LitGPT cannot convert such a model back, or `transformers` misses something in it.
    """
    from huggingface_hub import save_torch_state_dict

    state = converted(config, weights, adapter.model)
    content = json.loads((adapter.model / "config.json").read_text(encoding="utf-8"))
    if content.get("tie_word_embeddings"):
        state.pop("lm_head.weight", None)  # it is the embedding; an adapter of it would have been refused
    content.pop("dtype", None)
    content["torch_dtype"] = str(next(iter(state.values())).dtype).removeprefix("torch.")
    save_torch_state_dict(state, folder, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    for name in (*TOKENIZER_FILES, *_MORE_TOKENIZER_FILES):
        if (adapter.model / name).is_file():
            shutil.copyfile(adapter.model / name, folder / name)
    _prove(folder, adapter.model)


def write_adapter(net: GPT, adapter: Adapter, folder: Path) -> None:
    """Write the adapter alone, in the format of `peft`.

    Args:
        net: the model with the adapter.
        adapter: where it comes from.
        folder: where to write it.

    Raises:
        InputError: the Hugging Face model has no such layers, or keeps query, key and value in one matrix.
    """
    from safetensors.torch import save_file

    wanted = hyperparameters(adapter.configuration)
    assert wanted is not None
    tensors: State = {}
    shapes: dict[str, tuple[int, int]] = {}  # of the adapted matrices, (out, in)
    for module, a, b in _parts(net, adapter.model):
        tensors[f"base_model.model.{module}.lora_A.weight"] = a.contiguous().clone()
        tensors[f"base_model.model.{module}.lora_B.weight"] = b.contiguous().clone()
        shapes[module] = len(b), a.shape[1]
    targets = sorted({module.rpartition(".")[2] for module in shapes})
    there = _linear_shapes(adapter.model)
    meant = {name: shape for name, shape in there.items() if name.rpartition(".")[2] in targets}
    if meant != shapes:
        raise _unfit(adapter.model, f"its layers {', '.join(targets)} are not those that were adapted")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    content = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name(adapter),
        "r": wanted.lora_rank,
        "lora_alpha": wanted.lora_alpha,
        "lora_dropout": wanted.lora_dropout,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def base_name(adapter: Adapter) -> str:
    """The Hugging Face id of the base model if the study gives one, else the path of its checkpoint."""
    name = adapter.evaluation.model
    return name if name.count("/") == 1 and not Path(name).is_absolute() else str(adapter.model)


def converted(config: Config, state: State, model: Path) -> State:
    """`state` under Hugging Face's names, with matrices split or joined as there.

    Args:
        config: of the LitGPT model.
        state: weights under LitGPT's names, all of the model's or some.
        model: the directory of the checkpoint, for the message.

    Raises:
        InputError: LitGPT cannot convert such a model back.
    """
    found: State = {}
    try:
        _conversion(config)(found, state)
    except (KeyError, NotImplementedError, UnboundLocalError) as error:
        unknown = f": it has no name for {error}" if isinstance(error, KeyError) else ""
        raise _unfit(model, f"LitGPT does not convert {config.name or 'it'} back{unknown}") from error
    # Parts of one matrix are written as tensors of their own.
    return {
        name: one if one.nbytes == one.untyped_storage().nbytes() else one.contiguous().clone()
        for name, one in found.items()
    }


# The conversion function of models whose names begin so. LitGPT's `convert_lit_checkpoint`, which converts
# files, chooses in the same way; but it takes "Gemma-2b", of the first generation, for a model of the second.
_BY_NAME = {
    "gemma-2-": lit.copy_weights_gemma_2,
    "gemma-3-": lit.copy_weights_gemma_3,
    "phi": lit.copy_weights_phi,
    "qwen2.5": lit.copy_weights_qwen_2_5,
    "qwq": lit.copy_weights_qwen_2_5,
    "olmo-2-": lit.copy_weights_olmo2,
    "qwen3": lit.copy_weights_qwen_3,
}


def _conversion(config: Config) -> Callable[[State, State], None]:
    """LitGPT's function that fills its first argument with the second one under Hugging Face's names."""
    if "falcon" in config.name:
        return partial(lit.copy_weights_falcon, config)
    for name, copy in _BY_NAME.items():
        if config.name.lower().startswith(name):
            return partial(copy, config)
    if config.mlp_class_name in ("LLaMAMLP", "GemmaMLP", "LLaMAMoE"):
        return partial(lit.copy_weights_llama, config, untie_weights="Gemma" in config.name)
    return partial(lit.copy_weights_gpt_neox, config)


def _parts(net: GPT, model: Path) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yield module name, A (rank, in) and B (out, rank) of each adapted matrix of the Hugging Face model."""
    for name, module in net.named_modules():
        if not isinstance(module, LoRALinear) or not hasattr(module, "lora_A"):
            continue
        a, b = module.lora_A.detach(), module.lora_B.detach()
        if not isinstance(module, LoRAQKVLinear):
            (target,) = _modules(net.config, name, b, model, 1)
            yield target, a, b
            continue
        rows = module.zero_pad(b.T).T
        targets = _modules(net.config, name, rows, model, 3)
        blocks = iter(a.split(module.r))
        for (target, part), is_adapted in zip(targets.items(), module.enable_lora, strict=True):
            if is_adapted:
                yield target, next(blocks), part


def _modules(config: Config, name: str, rows: torch.Tensor, model: Path, count: int) -> State:
    """The Hugging Face modules that LitGPT's module `name` becomes, each with its share of `rows` (out, k).

    Raises:
        InputError: there are not `count` of them.
    """
    found = converted(config, {f"{name}.weight": rows}, model)
    if len(found) != count:
        why = "query, key and value are one matrix there" if count > 1 else f"{name} is no matrix there"
        raise _unfit(model, f"{why}, which peft cannot adapt in parts")
    return {target.removesuffix(".weight"): part for target, part in found.items()}


def _linear_shapes(model: Path) -> dict[str, tuple[int, int]]:
    """The shape (out, in) of each linear layer of the Hugging Face model, by the name of its module."""
    from transformers import AutoConfig, AutoModelForCausalLM

    models: Any = AutoModelForCausalLM  # its types are not those of what it returns
    with torch.device("meta"), _one_line(model):
        net = models.from_config(AutoConfig.from_pretrained(model, local_files_only=True))
    return {
        name: (one.out_features, one.in_features)
        for name, one in net.named_modules()
        if isinstance(one, torch.nn.Linear)
    }


def _prove(folder: Path, model: Path) -> None:
    """Check that `transformers` finds every weight, in its shape, and no other; the numbers are not loaded.

    Raises:
        InputError: a weight is missing, unknown, or has another shape.
    """
    from transformers import AutoModelForCausalLM

    models: Any = AutoModelForCausalLM
    with _one_line(model):
        _, found = models.from_pretrained(
            folder,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
        )
    wrong = {
        "lacks": sorted(found["missing_keys"]),
        "has besides": sorted(found["unexpected_keys"]),
        "has in another shape": sorted(one[0] for one in found["mismatched_keys"]),
    }
    if told := [f"it {what} {', '.join(names[:3])}" for what, names in wrong.items() if names]:
        raise _unfit(model, f"held against its config.json, {'; '.join(told)}")


@contextmanager
def _one_line(model: Path) -> Iterator[None]:
    """Inside, `transformers` gives no warnings, and its errors become an `InputError` of one line."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise _unfit(model, f"transformers does not take its config.json ({text})") from error


def _unfit(model: Path, why: str) -> InputError:
    return InputError(f"{model}: cannot be written so: {why}: use --format litgpt")
