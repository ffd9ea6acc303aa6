"""Self-attention whose products of queries and keys are of 8 bits: approximate, on request (`Savings.attention`).

On a GPU the package sageattention computes it (arXiv 2410.02367, 2411.10958). Its release 1.0.6 will not do: where the
number of tokens is no multiple of 64 it counts keys that are not there, 14% off at 200 tokens in Triton's interpreter.
Elsewhere release 1's arithmetic runs in plain torch, slower than exact attention: to see what the rounding changes. At
multiples of 64 the two agree to 3e-4. On Ada and later cards release 2 has the values in fp8 too, which this does not
show.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeAlias

import torch
import torch.nn.functional as F

from magref.attention import attend
from magref.errors import InputError, ResourceError
from magref.presets import Preset

Attend: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Queries, keys, values (B, S, heads, d) each -> (B, S, heads, d)."""

QUERY_ROWS, KEY_ROWS = 128, 64
"""So many rows of a head share a scale."""
NO_INT8 = "computes its own attention, which is not in 8 bits; leave out --attention int8, or use a larger preset"
"""What is said where the transformer's own forward must run."""
_LARGEST = 127
_TOKENS = 129
"""One more than two blocks of keys: were a third block counted whole, a third of all keys would not be there."""
_TOLERANCE = 0.05


def check_int8(device: torch.device, preset: Preset | None = None) -> None:
    """Before any weights load, where the preset is known by then.

    Raises:
        InputError: the preset streams the transformer.
        ResourceError: the package is missing.
    """
    if preset is not None and "transformer" in preset.streamed:
        raise InputError(f"with the preset {preset.name} the transformer {NO_INT8}")
    if device.type == "cuda" and find_spec("sageattention") is None:
        raise ResourceError(
            "attention in 8 bits takes the package sageattention on a GPU, release 2, built from its repository "
            "(https://github.com/thu-ml/SageAttention); install it, or leave out --attention int8"
        )


@functools.cache
def attention_int8(device: torch.device, dtype: torch.dtype, head_dim: int) -> Attend:
    """Attention in 8 bits for a device, tried first on a GPU.

    Raises:
        ResourceError: the package is missing, or does not give what attention in float32 gives within 5%.
    """
    check_int8(device)
    if device.type != "cuda":
        return attend_int8
    if not is_right(_sage, device, dtype, head_dim):
        raise ResourceError(
            f"the sageattention that is installed gives wrong numbers, or none, on {device} in {dtype} with heads of "
            f"{head_dim}; take release 2, or leave out --attention int8"
        )
    return _sage


def is_right(attention: Attend, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether an attention runs, and gives what attention in float32 gives, within 5%."""
    generator = torch.Generator(device).manual_seed(0)
    query, key, value = torch.randn(3, 1, _TOKENS, 2, head_dim, device=device, generator=generator).to(dtype)
    expected = attend(query.float(), key.float(), value.float(), "native")
    try:
        found = attention(query, key, value).float()
    except Exception:  # of Triton, its compiler, the driver, the package's own asserts: all mean the same
        return False
    return bool((found - expected).norm() <= _TOLERANCE * expected.norm())


def attend_int8(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Queries and keys in 8 bits, keys without their mean, which softmax does not see; values in float16."""
    key = key.float()
    query, key = rounded(query.float(), QUERY_ROWS), rounded(key - key.mean(1, keepdim=True), KEY_ROWS)
    return attend(query, key, value.half().float(), "native").type_as(value)


def rounded(x: torch.Tensor, rows: int) -> torch.Tensor:
    """(B, S, heads, d) to whole multiples of a scale that `rows` rows of a head share; their largest value is 127."""
    tokens = x.shape[1]
    blocks = F.pad(x, (0, 0, 0, 0, 0, -tokens % rows)).unflatten(1, (-1, rows))
    scale = blocks.abs().amax((2, 4), keepdim=True).div(_LARGEST).clamp(min=torch.finfo(x.dtype).tiny)
    return (blocks / scale).round().mul(scale).flatten(1, 2)[:, :tokens]


def _sage(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    from sageattention import sageattn

    out: torch.Tensor = sageattn(query, key, value, tensor_layout="NHD")
    return out
