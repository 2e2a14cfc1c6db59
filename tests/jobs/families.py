"""Tiny models of random weights, as Hugging Face and as LitGPT keep them, and adapters of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from litgpt.lora import GPT, Config
from litgpt.scripts import convert_hf_checkpoint as from_hf
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

from jobs.export.adapter import Adapter
from jobs.model import lora
from orchestrator.contract import LitGPTEvaluation
from orchestrator.contract.assignment import Configuration
from orchestrator.contract.evaluation import Hyperparameters

CPU = torch.device("cpu")
MODELS: Any = AutoModelForCausalLM
LORA: Configuration = {"lora_rank": 3, "lora_alpha": 7.5, "learning_rate": 1e-2, "lora_dropout": 0.1}
COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 320,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
ROOT_MEAN: dict[str, Any] = {
    "parallel_residual": False,
    "bias": False,
    "norm_class_name": "RMSNorm",
    "norm_eps": 1e-6,
    "mlp_class_name": "LLaMAMLP",
    "rotary_percentage": 1.0,
}
GEMMA: dict[str, Any] = {
    "mlp_class_name": "GemmaMLP",
    "gelu_approximate": "tanh",
    "scale_embeddings": True,
    "post_attention_norm": True,
    "post_mlp_norm": True,
    "attention_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "attention_scores_scalar": 8,
}
MOE: dict[str, Any] = {"mlp_class_name": "LLaMAMoE", "n_expert": 4, "n_expert_per_token": 2}
PHI: dict[str, Any] = {"rotary_percentage": 0.5, "shared_attention_norm": True, "lm_head_bias": True}


@dataclass(frozen=True)
class Family:
    """An architecture as Hugging Face and as LitGPT describe it, and LitGPT's way from here to there."""

    theirs: Callable[..., Any]
    ours: dict[str, Any]
    copy: Callable[[Config, dict[str, torch.Tensor], dict[str, torch.Tensor]], None]


FAMILIES = {
    "llama": Family(
        LlamaConfig,
        {**ROOT_MEAN, "name": "tiny"},
        lambda config, *rest: from_hf.copy_weights_hf_llama(config, {}, *rest),
    ),
    "qwen2": Family(
        Qwen2Config,
        {**ROOT_MEAN, "name": "Qwen2.5-tiny", "attn_bias": True},
        lambda config, *rest: from_hf.copy_weights_qwen_2_5(config, {}, *rest),
    ),
    "qwen3": Family(
        Qwen3Config,
        {**ROOT_MEAN, "name": "Qwen3-tiny", "norm_qk": True},
        lambda config, *rest: from_hf.copy_weights_qwen_3(config, {}, *rest),
    ),
    "gemma2": Family(
        partial(Gemma2Config, query_pre_attn_scalar=8, sliding_window=64),
        {**ROOT_MEAN, **GEMMA, "name": "Gemma-2-tiny"},
        lambda _, *rest: from_hf.copy_weights_gemma_2({}, *rest),
    ),
    "mixtral": Family(
        lambda **rest: MixtralConfig(num_local_experts=4, **{**rest, "rms_norm_eps": 1e-6}),
        {**ROOT_MEAN, **MOE, "name": "Mixtral-tiny", "rope_base": 1_000_000},
        lambda config, *rest: from_hf.copy_weights_hf_llama(config, {}, *rest),
    ),
    "phi": Family(
        partial(PhiConfig, partial_rotary_factor=0.5),
        {**PHI, "name": "phi-2", "gelu_approximate": "tanh"},
        lambda config, *rest: from_hf.copy_weights_phi(config, {}, *rest),
    ),
    "neox": Family(
        partial(GPTNeoXConfig, rotary_pct=0.25), {"name": "pythia"}, from_hf.copy_weights_gpt_neox
    ),
}


def family(folder: Path, tokenizer: Path, kind: str, **changes: Any) -> tuple[Path, Path]:
    """A tiny model of random weights: Hugging Face's directory and LitGPT's."""
    one, heads = FAMILIES[kind], {}
    if kind != "neox":
        head_size, groups = changes.get("head_dim", 8), changes.get("num_key_value_heads", 4)
        heads = {"n_query_groups": groups, "head_size": head_size}
        changes |= {"num_key_value_heads": groups} | ({"head_dim": head_size} if kind != "phi" else {})
    torch.manual_seed(1)
    net = MODELS.from_config(one.theirs(**{**COMMON, "tie_word_embeddings": kind == "gemma2"}, **changes))
    with torch.no_grad():
        for parameter in net.parameters():  # also biases and norms, which begin as zeros and ones
            parameter.add_(0.05 * torch.randn(parameter.shape))
    hf, lit = folder / "hf", folder / "lit"
    net.save_pretrained(hf)
    sizes = {"block_size": 64, "n_layer": 2, "n_head": 4, "n_embd": 32, "intermediate_size": 48}
    config = Config(vocab_size=320, padded_vocab_size=320, **sizes, **one.ours, **heads)
    state: dict[str, torch.Tensor] = {}
    one.copy(config, state, load_file(hf / "model.safetensors"))
    state.setdefault("lm_head.weight", state["transformer.wte.weight"])
    lit.mkdir()
    torch.save({name: tensor.clone() for name, tensor in state.items()}, lit / "lit_model.pth")
    content = {k: v for k, v in asdict(config).items() if not k.startswith("lora_")}
    (lit / "model_config.yaml").write_text(yaml.safe_dump(content))
    shutil.copy(hf / "config.json", lit)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, lit)
    return hf, lit


def adapter(folder: Path, lit: Path, layers: tuple[str, ...], precision: str = "fp32") -> tuple[Adapter, GPT]:
    """Random matrices on `layers`, as a trial leaves them; and the model with them."""
    folder.mkdir(parents=True, exist_ok=True)
    section = {"kind": "litgpt", "model": str(lit), "data": "demo", "epochs": 1, "precision": precision}
    evaluation = LitGPTEvaluation.model_validate({**section, "lora_layers": layers})
    wanted = Hyperparameters.model_validate(LORA)
    net = lora.load(lit, wanted, evaluation.lora_layers, precision=precision, seed=5, device=CPU).eval()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    torch.save({"adapter": lora.adapters(net), "key": "k", "trained": {}}, folder / "adapter.pth")
    digest = lora.adapter_digest(net)
    return Adapter(folder / "adapter.pth", digest, lit, evaluation, LORA), net
