"""A base model in 4 bits, NF4 (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), its adapters in fp32.

Head and embedding stay as they are. Adapters are not merged: the sum, rounded to 4 bits anew, would not be
the model that was trained.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from litgpt.lora import GPT

from jobs.attempt.failure import EvaluationFailed
from orchestrator.contract.result import Failure


def require(place: torch.device) -> None:
    """
    Raises:
        EvaluationFailed: it cannot be had on this device.
    """
    if place.type != "cuda":
        raise EvaluationFailed(
            Failure.MISSING_INPUT,
            'quantize = "nf4" needs a CUDA GPU, and this job runs on a CPU, which would unpack every weight '
            "each time it is used: leave it out, the memory it saves is a GPU's",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise EvaluationFailed(
            Failure.MISSING_INPUT,
            'quantize = "nf4" needs the library bitsandbytes: pip install "orchestrator[qlora]"',
        )


def quantize(model: GPT, place: torch.device) -> None:
    """Bring `model` to the device, the weights of its blocks in 4 bits, one after the other."""
    import bitsandbytes

    for block in model.transformer.h:
        for parent in list(block.modules()):
            for name, linear in list(parent.named_children()):
                if type(linear) is torch.nn.Linear:
                    setattr(parent, name, _in_four_bits(linear, bitsandbytes.nn).to(place))
    model.to(place)


def is_quantized(model: GPT) -> bool:
    return any(parameter.dtype == torch.uint8 for parameter in model.parameters())


def _in_four_bits(linear: torch.nn.Linear, library: Any) -> torch.nn.Module:
    small: torch.nn.Module = library.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=linear.weight.dtype,
        compress_statistics=False,
        quant_type="nf4",
        device="meta",
    )
    small.weight = library.Params4bit(
        linear.weight.data, requires_grad=False, compress_statistics=False, quant_type="nf4"
    )
    if linear.bias is not None:
        small.bias = torch.nn.Parameter(linear.bias.data, requires_grad=False)
    return small
