"""The forward pass of adapted layers is LitGPT's, and so is its gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from litgpt.lora import GPT, Config, mark_only_lora_as_trainable, merge_lora_weights

from jobs.model.adapted import AdaptedLinear, AdaptedQKV, adapt

LAYERS = ("query", "key", "value", "projection", "mlp", "head")
IDS = torch.arange(14).reshape(2, 7) % 11


def model(layers: tuple[str, ...], *, groups: int = 2, **changes: Any) -> GPT:
    """A small Llama with adapters that do something."""
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_head": 4, "n_layer": 2, "block_size": 16, "padded_vocab_size": 11}
    family = {"mlp_class_name": "LLaMAMLP", "intermediate_size": 24, "norm_class_name": "RMSNorm"}
    lora = {"lora_r": 3, "lora_alpha": 5, **{f"lora_{layer}": True for layer in layers}}
    settings: dict[str, Any] = {**sizes, **family, **lora, "n_query_groups": groups, **changes}
    found = GPT(Config(rotary_percentage=1.0, parallel_residual=False, bias=False, **settings))
    for name, parameter in found.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    mark_only_lora_as_trainable(found)
    return found


def passed(net: GPT) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the adapters' gradients of the sum of their squares."""
    torch.manual_seed(1)  # dropout's
    logits = net(IDS)
    logits.square().sum().backward()
    gradients = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    return logits.detach(), gradients


@pytest.mark.parametrize(
    ("layers", "changes"),
    [
        (LAYERS, {}),
        (("query", "value"), {}),
        (("query", "value"), {"groups": 4}),
        (("query", "value"), {"groups": 1}),
        (("key",), {}),
        (("value", "mlp"), {"head_size": 6}),
        (("key", "value"), {"lora_dropout": 0.4}),
        (("query", "projection"), {"attn_bias": True}),
        (("mlp", "head"), {"lora_dropout": 0.4}),
    ],
)
def test_logits_and_gradients_are_litgpts(layers: tuple[str, ...], changes: dict[str, Any]) -> None:
    theirs, ours = model(layers, **changes), model(layers, **changes)
    adapt(ours)
    adapted = [module for module in ours.modules() if isinstance(module, AdaptedLinear | AdaptedQKV)]
    assert adapted
    (logits, gradients), (own, own_gradients) = passed(theirs), passed(ours)
    torch.testing.assert_close(own, logits, rtol=1e-5, atol=1e-5)
    assert own_gradients.keys() == gradients.keys()
    assert all(bool(gradient.any()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            own_gradients[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max())
        )


def test_what_is_merged_is_merged_as_litgpt_does_and_needs_its_adapters_no_more() -> None:
    theirs, ours = model(LAYERS), model(LAYERS)
    adapt(ours)
    before = ours(IDS)
    for net in (theirs, ours):
        merge_lora_weights(net)
    assert all(
        torch.equal(one, other) for one, other in zip(theirs.parameters(), ours.parameters(), strict=True)
    )
    assert torch.equal(ours(IDS), theirs(IDS))
    torch.testing.assert_close(ours(IDS), before, rtol=1e-4, atol=1e-4)


def test_in_half_precision_it_is_as_near_to_the_truth() -> None:
    truth = model(LAYERS)(IDS)
    errors = []
    for own in (False, True):
        net = model(LAYERS)
        if own:
            adapt(net)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            errors.append(float((net(IDS).float() - truth).detach().abs().mean()))
    theirs, ours = errors
    assert 0 < ours < 1.5 * theirs
