"""A base model in 4 bits, NF4 (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), its adapters in fp32.

Head and embedding stay as they are. Adapters are not merged: the sum would have to be rounded to 4 bits
again, and would not be the model that was trained.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from litgpt.lora import GPT

from jobs.attempt.failure import EvaluationFailed
from orchestrator.contract import Failure


def require(device: torch.device) -> None:
    """Check that quantization is possible on a device.

    Raises:
        EvaluationFailed: the device is no CUDA GPU, or bitsandbytes is not installed.
    """
    if device.type != "cuda":
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


def quantize(model: GPT, device: torch.device) -> None:
    """Move `model` to a device, converting the linear layers of its blocks to 4 bits one after the other."""
    import bitsandbytes

    for block in model.transformer.h:
        for parent in list(block.modules()):
            for name, linear in list(parent.named_children()):
                if type(linear) is torch.nn.Linear:
                    setattr(parent, name, _in_four_bits(linear, bitsandbytes.nn).to(device))
    model.to(device)


def is_quantized(model: GPT) -> bool:
    """True if a weight of `model` is kept in packed bytes."""
    return any(parameter.dtype == torch.uint8 for parameter in model.parameters())


def _in_four_bits(linear: torch.nn.Linear, library: Any) -> torch.nn.Module:
    """`linear` as a layer of bitsandbytes, whose weights become NF4 once it is moved to a GPU."""
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
