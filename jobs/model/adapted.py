"""LitGPT's layers with LoRA, with a forward pass that reads and writes less memory.

LoRA (Hu et al. 2021, arXiv 2106.09685) adds (lora_alpha / rank) · B A x to W x. LitGPT scales, pads with
zeros and adds in separate passes over tensors of the layer's output size. These passes are most of what LoRA
costs, since A and B are thin. Here the smaller tensor A x is scaled, and a single product adds B times it to
W x.
"""

from __future__ import annotations

import torch
from litgpt.lora import GPT, LoRALinear, LoRAQKVLinear
from torch.nn import functional


class AdaptedLinear(LoRALinear):  # type: ignore[misc]
    """A linear layer with LoRA."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `x` (…, in features) to (…, out features)."""
        pretrained: torch.Tensor = self.linear(x)
        if self.merged or not self.r:
            return pretrained
        low = functional.linear(self.lora_dropout(x), self.lora_A) * self.scaling  # (…, rank)
        return _added(pretrained, low, self.lora_B)


class AdaptedQKV(LoRAQKVLinear):  # type: ignore[misc]
    """Query, key and value as one linear layer, with LoRA on some of the three."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `x` (…, in features) to (…, out features)."""
        pretrained: torch.Tensor = self.linear(x)
        if self.merged or not self.r or not any(self.enable_lora):
            return pretrained
        low = functional.linear(self.lora_dropout(x), self.lora_A) * self.scaling  # (…, parts · rank)
        return _added(pretrained, low, self._whole_b())

    def _whole_b(self) -> torch.Tensor:
        """B of all adapted parts as one block-diagonal matrix, (out features, parts · rank)."""
        sizes = [self.head_size * heads for heads in (self.n_head, self.n_query_groups, self.n_query_groups)]
        blocks, found, column = iter(self.lora_B.split(self.qkv_shapes)), [], 0
        width = self.r * sum(self.enable_lora)
        for size, enabled in zip(sizes, self.enable_lora, strict=True):
            if enabled:
                found.append(functional.pad(next(blocks), (column, width - column - self.r)))
                column += self.r
            else:
                found.append(self.lora_B.new_zeros(size, width))
        return torch.cat(found)


def adapt(model: GPT) -> None:
    """Give the layers of `model` that have LoRA the forward pass of this module."""
    ours = {LoRALinear: AdaptedLinear, LoRAQKVLinear: AdaptedQKV}
    for module in model.modules():
        if (kind := ours.get(type(module))) is not None:
            module.__class__ = kind


def _added(pretrained: torch.Tensor, low: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`pretrained` (…, out) + `low` (…, k) times the transpose of `b` (out, k), in the type of the first."""
    low, b = low.to(pretrained.dtype), b.to(pretrained.dtype)  # a quantized layer may give another type
    flat = torch.addmm(pretrained.flatten(0, -2), low.flatten(0, -2), b.t())
    return flat.view(*pretrained.shape[:-1], -1)
