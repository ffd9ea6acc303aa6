"""Which of PyTorch's attention kernels runs on a GPU, found out once for each device, precision and head size.

PyTorch's own choice on Hopper was flash attention 2 for long, at half the rate of cuDNN's kernel. The order here is
fixed, and the first kernel that gives right numbers is taken; a race between them could end otherwise the next day,
and with it the last bits of a video.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import _AttentionBackendRegistry, attention_backend
from torch.nn.attention import SDPBackend, sdpa_kernel

from magref.errors import InputError, ResourceError

Kernel = Literal["cudnn", "flash", "native"]
"""`native` is PyTorch's own choice."""

VARIABLE = "MAGREF_ATTENTION"
"""The environment variable that names a `Kernel` to take in place of the probed one."""

_DIFFUSERS_NAMES = {"cudnn": "_native_cudnn", "flash": "_native_flash", "native": "native"}
_BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
_HOPPER = (9, 0)
_TOKENS = 1001  # a length that no tile divides
_TOLERANCE = 0.02


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """Softmax attention: (B, S, heads, d) each -> (B, S, heads, d)."""
    with contextlib.nullcontext() if kernel == "native" else sdpa_kernel(_BACKENDS[kernel]):
        out = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    return out.transpose(1, 2)


def asked_backend(transformer: Any) -> str | None:
    """The diffusers backend that someone asked for by `set_attention_backend`, its context or its variable."""
    active = _AttentionBackendRegistry.get_active_backend()[0].value
    asked = transformer.blocks[0].attn1.processor._attention_backend
    return asked or (None if active == "native" else active)


def diffusers_attention(transformer: Any, dtype: torch.dtype | None = None) -> contextlib.AbstractContextManager[None]:
    """Inside, the transformer's own forward takes the best kernel too, unless another was asked for.

    `dtype` is what attention is computed in, where that is not the weights' own.
    """
    if asked_backend(transformer) is not None:
        return contextlib.nullcontext()
    head_dim = transformer.config.attention_head_dim
    kernel = attention_kernel(transformer.device, dtype or transformer.dtype, head_dim)
    return attention_backend(_DIFFUSERS_NAMES[kernel])


def attention_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> Kernel:
    """The kernel for a device: the one that `MAGREF_ATTENTION` names, or the best that works.

    Raises:
        InputError: the variable names no kernel.
        ResourceError: the named kernel does not work here.
    """
    named = os.environ.get(VARIABLE)
    if not named or device.type == "meta":  # where memory is counted, which no kernel changes
        return probed_kernel(device, dtype, head_dim)
    if named not in get_args(Kernel):
        raise InputError(f"{VARIABLE} is {named!r}; use {', '.join(get_args(Kernel))}, or unset it")
    kernel: Kernel = named  # type: ignore[assignment]
    if not works(kernel, device, dtype, head_dim):
        raise ResourceError(f"{VARIABLE} names {named}, which does not work on {device} in {dtype}; unset it")
    return kernel


@functools.cache
def probed_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> Kernel:
    """cuDNN's kernel from Hopper on, then flash attention, then PyTorch's own choice: the first that works."""
    if device.type != "cuda":
        return "native"
    order: tuple[Kernel, ...] = ("cudnn", "flash", "native")
    if torch.cuda.get_device_capability(device) < _HOPPER:
        order = order[1:]
    return next(kernel for kernel in order if works(kernel, device, dtype, head_dim))


def works(kernel: Kernel, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether a kernel runs, and gives what attention in float32 gives."""
    if kernel == "native":
        return True
    generator = torch.Generator(device).manual_seed(0)
    query, key, value = torch.randn(3, 1, _TOKENS, 2, head_dim, device=device, generator=generator).to(dtype)
    try:
        with warnings.catch_warnings(action="ignore"):  # torch tells why each of the others did not run
            found = attend(query, key, value, kernel).float()
    except RuntimeError:
        return False
    expected = attend(query.float(), key.float(), value.float(), "native")
    return bool((found - expected).norm() <= _TOLERANCE * expected.norm())
