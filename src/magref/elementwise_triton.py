"""The functions of `elementwise` as Triton kernels: each activation is read once and written once.

In the transformer a program does one row of channels; scales, shifts and gates, the same for all rows, come from the
cache, and late, so that registers are left for a second program on the same multiprocessor. The autoencoder's rows are
narrow, and a program takes many at once.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl

from magref.elementwise import FP8, FP8_MAX, FP8_MIN_SCALE, RMS_SILU_EPS

WARPS = 8
"""Of a program; `benchmarks/gpu/fused_kernels.py --sweep` measures others."""
_TILE = 8192  # numbers of a program that takes many rows at once


def normed(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float) -> torch.Tensor:
    """As `elementwise.normed`."""
    x = x.contiguous()
    out = torch.empty_like(x)
    _run(_add_norm, x, x, x, scale, scale, shift, x, out, eps, add=False, gated=False)
    return out


def added_normed(
    x: torch.Tensor,
    update: torch.Tensor,
    gate: torch.Tensor | None,
    scale: torch.Tensor,
    shift: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `elementwise.added_normed`."""
    x, update = x.expand_as(update).contiguous(), update.contiguous()
    total, out = torch.empty_like(x), torch.empty_like(x)
    factors = (scale if gate is None else gate, scale, shift)
    _run(_add_norm, x, x, update, *factors, total, out, eps, add=True, gated=gate is not None)
    return total, out


def normed_rotated(x: torch.Tensor, weight: torch.Tensor, rotary: torch.Tensor, eps: float) -> torch.Tensor:
    """As `elementwise.normed_rotated`."""
    x = x.contiguous()
    out = torch.empty_like(x)
    turns = torch.view_as_real(rotary).contiguous()  # (S, d / 2, 2)
    _run(_norm_rotate, x, x, weight, turns, out, x.shape[1], eps, pairs=rotary.shape[1])
    return out


def rms_silu(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """As `elementwise.rms_silu`."""
    x = x.contiguous()
    out = torch.empty_like(x)
    dim = x.shape[-1]
    rows, block = x.numel() // dim, triton.next_power_of_2(dim)
    count = max(1, _TILE // block)
    with torch.cuda.device_of(x):
        _rms_silu[(triton.cdiv(rows, count),)](x, weight, out, rows, dim, RMS_SILU_EPS, block=block, count=count)
    return out


def row_quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `elementwise.row_quantised`."""
    x = x.flatten(0, -2).contiguous()
    out = torch.empty_like(x, dtype=FP8)
    scales = torch.empty(len(x), 1, device=x.device)
    _run(_quantise, x, x, out, scales, FP8_MAX, FP8_MIN_SCALE)
    return out, scales


def _run(kernel, x: torch.Tensor, *arguments, **options) -> None:
    """One program for each row of `x`."""
    dim = x.shape[-1]
    with torch.cuda.device_of(x):
        kernel[(x.numel() // dim,)](*arguments, dim, block=triton.next_power_of_2(dim), num_warps=WARPS, **options)


@triton.jit
def _add_norm(
    x_ptr,
    update_ptr,
    gate_ptr,
    scale_ptr,
    shift_ptr,
    total_ptr,
    out_ptr,
    eps,
    dim,
    add: tl.constexpr,
    gated: tl.constexpr,
    block: tl.constexpr,
):
    columns = tl.arange(0, block)
    inside = columns < dim
    at = tl.program_id(0).to(tl.int64) * dim + columns
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if add:
        update = tl.load(update_ptr + at, mask=inside, other=0.0).to(tl.float32)
        if gated:
            update *= tl.load(gate_ptr + columns, mask=inside, other=0.0)
        total = (x + update).to(total_ptr.dtype.element_ty)
        tl.store(total_ptr + at, total, mask=inside)
        x = total.to(tl.float32)  # what the next reader of the residual stream sees
    centred = tl.where(inside, x - tl.sum(x, 0) / dim, 0.0)
    spread = tl.rsqrt(tl.sum(centred * centred, 0) / dim + eps)
    scale = tl.load(scale_ptr + columns, mask=inside, other=0.0)
    shift = tl.load(shift_ptr + columns, mask=inside, other=0.0)
    tl.store(out_ptr + at, (centred * spread * scale + shift).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _norm_rotate(x_ptr, weight_ptr, turns_ptr, out_ptr, tokens, eps, dim, pairs: tl.constexpr, block: tl.constexpr):
    columns = tl.arange(0, block)
    inside = columns < dim
    row = tl.program_id(0).to(tl.int64)
    x = tl.load(x_ptr + row * dim + columns, mask=inside, other=0.0).to(tl.float32)
    spread = tl.rsqrt(tl.sum(x * x, 0) / dim + eps)
    x *= spread * tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    # Cosine and sine of a pair stand one behind the other, as its channels do.
    turns = tl.load(turns_ptr + (row % tokens) * (2 * pairs) + columns % (2 * pairs))
    even, odd = tl.split(tl.reshape(x, (block // 2, 2)))
    cosine, sine = tl.split(tl.reshape(turns, (block // 2, 2)))
    out = tl.reshape(tl.join(even * cosine - odd * sine, even * sine + odd * cosine), (block,))
    tl.store(out_ptr + row * dim + columns, out.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _rms_silu(x_ptr, weight_ptr, out_ptr, rows, dim, eps, block: tl.constexpr, count: tl.constexpr):
    columns = tl.arange(0, block)[None, :]
    row = tl.program_id(0).to(tl.int64) * count + tl.arange(0, count)[:, None]
    inside = (columns < dim) & (row < rows)
    at = row * dim + columns
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + columns, mask=columns < dim, other=0.0).to(tl.float32)
    x = x * tl.rsqrt(tl.sum(x * x, 1, keep_dims=True) / dim + eps) * weight
    tl.store(out_ptr + at, (x * tl.sigmoid(x)).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _quantise(x_ptr, out_ptr, scale_ptr, most, least_scale, dim, block: tl.constexpr):
    columns = tl.arange(0, block)
    inside = columns < dim
    row = tl.program_id(0).to(tl.int64)
    x = tl.load(x_ptr + row * dim + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x), 0) / most, least_scale)
    tl.store(scale_ptr + row, scale)
    tl.store(out_ptr + row * dim + columns, (x / scale).to(out_ptr.dtype.element_ty), mask=inside)
