"""Linear layers in fp8: weights kept with a scale for each row, what they are multiplied with rounded at each call.

About twice the rate of bfloat16 on Ada and Hopper, and half the memory. Rows of activations get a scale of their own
too, in one kernel (`elementwise.row_quantised`): written as torch operations, that alone would take as long as what the
product saves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from magref.elementwise import arithmetic_for, row_quantised


class Fp8Linear(torch.nn.Module):
    """What a linear layer becomes; takes (..., in) in bfloat16, gives (..., out)."""

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight, scale = row_quantised(linear.weight.detach())
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("weight", weight)  # (out, in)
        self.register_buffer("scale", scale)  # (out, 1) float32
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """On a CPU, for tests, by the same numbers in the precision of `x`."""
        rows, scales = arithmetic_for(x.device).row_quantised(x)
        if x.device.type == "cpu":
            weight = (self.weight.float() * self.scale).to(x.dtype)
            return torch.nn.functional.linear((rows.float() * scales).to(x.dtype).view_as(x), weight, self.bias)
        out = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scales,
            scale_b=self.scale.t(),
            bias=self.bias,
            out_dtype=x.dtype,
            use_fast_accum=True,
        )
        return out.view(*x.shape[:-1], -1)


def to_fp8(module: torch.nn.Module, wanted: Callable[[torch.nn.Module, str], bool]) -> None:
    """Replace the linear layers inside a module for which `wanted(layer, name)` holds.

    Layers whose sides are no multiples of 16, which GPUs do not multiply so, stay.
    """
    for name, layer in list(module.named_modules()):
        if type(layer) is not torch.nn.Linear or not wanted(layer, name):
            continue
        if layer.in_features % 16 or layer.out_features % 16:
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, Fp8Linear(layer))
