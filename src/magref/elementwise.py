"""What happens between matrix products and convolutions, in plain torch.

On a GPU the same functions run as one kernel each (`elementwise_triton`), which reads and writes every activation once;
these here are what they are tested against, and what runs everywhere else. Activations are (B, S, dim), contiguous, in
any precision; scales, shifts and gates are (dim,) float32; all arithmetic is in float32. All but `rms_silu`, which is
the autoencoder's, belongs to the transformer.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
import sys
from typing import Any

import torch
import torch.nn.functional as F

_LOG = logging.getLogger(__name__)

RMS_SILU_EPS = 1e-24
"""diffusers' autoencoder divides by a norm of at least 1e-12."""

FP8 = torch.float8_e4m3fn
FP8_MAX, FP8_MIN_SCALE = 448.0, 1e-12
FP8_CAPABILITY = (8, 9)
"""The compute capability from which NVIDIA's GPUs have fp8; below it Triton does not build a kernel that writes it."""


def normed(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float) -> torch.Tensor:
    """LayerNorm over the channels, then scale and shift."""
    return F.layer_norm(x.float(), x.shape[-1:], scale, shift, eps).type_as(x)


def added_normed(
    x: torch.Tensor,
    update: torch.Tensor,
    gate: torch.Tensor | None,
    scale: torch.Tensor,
    shift: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The residual stream with a gated update (no gate: the update as it is), and `normed` of it.

    `x` may have a batch of 1 where `update` has more.
    """
    x = x + update if gate is None else torch.addcmul(x.float(), update.float(), gate).type_as(x)
    return x, normed(x, scale, shift, eps)


def normed_rotated(x: torch.Tensor, weight: torch.Tensor, rotary: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm over all channels, then the rotation of each head's pairs of channels.

    `rotary` is (S, d / 2) complex, d the channels of a head.
    """
    return rotate(F.rms_norm(x, x.shape[-1:], weight, eps), rotary)


def rotate(x: torch.Tensor, rotary: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs of each head's channels: (B, S, dim) by (S, d / 2) complex."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, rotary.shape[1], 2)))
    return torch.view_as_real(pairs * rotary[:, None]).flatten(2).type_as(x)


def rms_silu(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """RMSNorm over the channels, which lie last: (..., C); then SiLU."""
    return F.silu(F.rms_norm(x, x.shape[-1:], weight, RMS_SILU_EPS), inplace=True)


def row_quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., dim) -> rows (R, dim) in fp8 and their scales (R, 1) float32; `rows * scales` is `x` within rounding."""
    x = x.flatten(0, -2).float()
    scales = x.abs().amax(1, keepdim=True).div(FP8_MAX).clamp(min=FP8_MIN_SCALE)
    return (x / scales).clamp(-FP8_MAX, FP8_MAX).to(FP8), scales


def gelu_(x: torch.Tensor) -> torch.Tensor:
    """The tanh approximation of GELU; overwrites `x` on a CPU.

    There torch's own kernel takes twice the time of this equal form: 0.5 x (1 + tanh(a)) = x sigmoid(2 a).
    """
    if x.device.type != "cpu":
        return F.gelu(x, approximate="tanh")
    slope = 2 * math.sqrt(2 / math.pi)
    argument = torch.addcmul(x.new_tensor(slope), x, x, value=slope * 0.044715).mul_(x)
    return x.mul_(argument.sigmoid_())


def linear_gelu(linear: Any, x: torch.Tensor) -> torch.Tensor:
    """GELU of a linear layer's output; on a GPU within the matrix product, before its result is rounded."""
    plain = type(linear) is torch.nn.Linear and type(linear.weight) is torch.nn.Parameter  # no adapter, not quantised
    if not plain or linear.bias is None or x.device.type != "cuda":
        return gelu_(linear(x))
    flat = torch._addmm_activation(linear.bias, x.flatten(0, -2), linear.weight.t(), use_gelu=True)
    return flat.view(*x.shape[:-1], -1)


@functools.cache
def arithmetic_for(device: torch.device) -> Any:
    """The module whose functions are best on a device: `elementwise_triton` where its kernels run, else this one.

    Triton builds its kernels with the machine's C compiler, which may be missing: so one is tried.
    """
    plain = sys.modules[__name__]
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return plain
    from magref import elementwise_triton as kernels

    try:
        right = all(
            torch.allclose(found.float(), expected.float(), atol=1e-3)
            for found, expected in zip(_samples(kernels, device), _samples(plain, device), strict=True)
        )
    except Exception as error:  # of the compiler, the driver, Triton itself: all mean the same
        _LOG.warning("Triton cannot build kernels here (%s): generation takes longer without them", error)
        return plain
    return kernels if right else plain


def _samples(module: Any, device: torch.device) -> list[torch.Tensor]:
    """What the functions of a module make of a few numbers."""
    x = torch.linspace(-1, 1, 192, device=device).view(1, 4, 48)
    vector = torch.linspace(0.5, 1, 48, device=device)
    turns = torch.polar(torch.ones_like(x[0, :, :8]), x[0, :, :8])
    samples = [
        module.normed(x, vector, vector, 1e-6),
        *module.added_normed(x, x, vector, vector, vector, 1e-6),
        module.normed_rotated(x, vector, turns, 1e-6),
        module.rms_silu(x, vector),
    ]
    if torch.cuda.get_device_capability(device) >= FP8_CAPABILITY:
        steps = torch.linspace(-FP8_MAX, FP8_MAX, 15, device=device)  # all in fp8: the two may round to either side
        samples += module.row_quantised(torch.stack([steps, steps / 4]))
    return samples
