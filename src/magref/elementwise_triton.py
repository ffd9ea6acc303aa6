"""The functions of `elementwise` as Triton kernels: each activation is read once and written once.

In the transformer a program goes through a few rows, one after the other, with scales, shifts and gates kept in
registers: for rows as wide as these (5,120 channels) reading them anew for each would take longer than the row itself.
The autoencoder's rows are narrow, and a program takes many at once.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl

from magref.elementwise import FP8, FP8_MAX, FP8_MIN_SCALE, RMS_SILU_EPS

ROWS, WARPS = 4, 8
"""Rows of a program, and its warps; `benchmarks/gpu/elementwise.py --sweep` measures others."""
_TILE = 8192  # numbers of a program that takes many rows at once


def normed(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float) -> torch.Tensor:
    """As `elementwise.normed`."""
    x = x.contiguous()
    out = torch.empty_like(x)
    _run(_add_norm, x, x, x, scale, scale, shift, x, out, eps=eps, add=False, gated=False)
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
    _run(_add_norm, x, x, update, *factors, total, out, eps=eps, add=True, gated=gate is not None)
    return total, out


def normed_rotated(x: torch.Tensor, weight: torch.Tensor, rotary: torch.Tensor, eps: float) -> torch.Tensor:
    """As `elementwise.normed_rotated`."""
    x = x.contiguous()
    out = torch.empty_like(x)
    turns = torch.view_as_real(rotary).contiguous()  # (S, d / 2, 2)
    _run(_norm_rotate, x, x, weight, turns, out, x.shape[1], eps=eps, pairs=rotary.shape[1])
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
    dim = x.shape[-1]
    rows = x.numel() // dim
    with torch.cuda.device_of(x):
        kernel[(triton.cdiv(rows, ROWS),)](
            *arguments,
            rows=rows,
            dim=dim,
            block=triton.next_power_of_2(dim),
            count=ROWS,
            num_warps=WARPS,
            **options,
        )


@triton.jit
def _add_norm(
    x_ptr,
    update_ptr,
    gate_ptr,
    scale_ptr,
    shift_ptr,
    total_ptr,
    out_ptr,
    rows,
    dim,
    eps,
    add: tl.constexpr,
    gated: tl.constexpr,
    block: tl.constexpr,
    count: tl.constexpr,
):
    columns = tl.arange(0, block)
    scale = tl.load(scale_ptr + columns, mask=columns < dim, other=0.0)
    shift = tl.load(shift_ptr + columns, mask=columns < dim, other=0.0)
    if gated:
        gate = tl.load(gate_ptr + columns, mask=columns < dim, other=0.0)
    for offset in range(count):
        row = tl.program_id(0).to(tl.int64) * count + offset
        inside = (columns < dim) & (row < rows)
        at = row * dim + columns
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        if add:
            update = tl.load(update_ptr + at, mask=inside, other=0.0).to(tl.float32)
            total = (x + (update * gate if gated else update)).to(total_ptr.dtype.element_ty)
            tl.store(total_ptr + at, total, mask=inside)
            x = total.to(tl.float32)  # what the next reader of the residual stream sees
        centred = tl.where(columns < dim, x - tl.sum(x, 0) / dim, 0.0)
        spread = tl.rsqrt(tl.sum(centred * centred, 0) / dim + eps)
        out = centred * spread * scale + shift
        tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _norm_rotate(
    x_ptr,
    weight_ptr,
    turns_ptr,
    out_ptr,
    tokens,
    rows,
    dim,
    eps,
    pairs: tl.constexpr,
    block: tl.constexpr,
    count: tl.constexpr,
):
    columns = tl.arange(0, block)
    turn = columns % (2 * pairs)  # cosine and sine of a pair stand one behind the other, as channels do
    weight = tl.load(weight_ptr + columns, mask=columns < dim, other=0.0).to(tl.float32)
    for offset in range(count):
        row = tl.program_id(0).to(tl.int64) * count + offset
        inside = (columns < dim) & (row < rows)
        at = row * dim + columns
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        x = x * tl.rsqrt(tl.sum(x * x, 0) / dim + eps) * weight
        turns = tl.load(turns_ptr + (row % tokens) * (2 * pairs) + turn)
        even, odd = tl.split(tl.reshape(x, (block // 2, 2)))
        cosine, sine = tl.split(tl.reshape(turns, (block // 2, 2)))
        out = tl.join(even * cosine - odd * sine, even * sine + odd * cosine)
        tl.store(out_ptr + at, tl.reshape(out, (block,)).to(out_ptr.dtype.element_ty), mask=inside)


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
def _quantise(x_ptr, out_ptr, scale_ptr, most, least_scale, rows, dim, block: tl.constexpr, count: tl.constexpr):
    columns = tl.arange(0, block)
    for offset in range(count):
        row = tl.program_id(0).to(tl.int64) * count + offset
        inside = (columns < dim) & (row < rows)
        x = tl.load(x_ptr + row * dim + columns, mask=inside, other=0.0).to(tl.float32)
        scale = tl.maximum(tl.max(tl.abs(x), 0) / most, least_scale)
        tl.store(scale_ptr + row, scale, mask=row < rows)
        tl.store(out_ptr + row * dim + columns, (x / scale).to(out_ptr.dtype.element_ty), mask=inside)
