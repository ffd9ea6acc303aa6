"""`cross_attention` as one Triton kernel: a tile of queries goes over the keys of the text, then over the image's."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl

from magref.cross_attention import KeysValues

QUERIES, KEYS = 128, 64
"""Tiles of the two."""
WARPS, STAGES = 8, 2


def cross_attention(
    query: torch.Tensor, text: KeysValues, bias: torch.Tensor, image: KeysValues | None
) -> torch.Tensor:
    """As `cross_attention.cross_attention`, for heads of 16, 32, 64 ... channels."""
    key, value = (part.contiguous() for part in text)
    texts, heads, keys, head_dim = key.shape
    query = query.contiguous()
    tokens = query.shape[1]
    out = query.new_empty(texts, tokens, query.shape[2])
    image_key, image_value = (part.contiguous() for part in (image or text))
    with torch.cuda.device_of(query):
        _attend[(triton.cdiv(tokens, QUERIES), heads, texts)](
            query,
            key,
            value,
            bias.float().contiguous(),
            image_key,
            image_value,
            out,
            tokens,
            keys,
            image_key.shape[2],
            head_dim**-0.5,
            0 if len(query) == 1 else query.shape[1] * query.shape[2],
            heads=heads,
            head_dim=head_dim,
            tiles=triton.cdiv(keys, KEYS),
            image_tiles=0 if image is None else triton.cdiv(image_key.shape[2], KEYS),
            precision="ieee" if query.dtype is torch.float32 else "tf32",
            queries=QUERIES,
            block=KEYS,
            num_warps=WARPS,
            num_stages=STAGES,
        )
    return out


@triton.jit
def _attend(
    query_ptr,
    key_ptr,
    value_ptr,
    bias_ptr,
    image_key_ptr,
    image_value_ptr,
    out_ptr,
    tokens,
    keys,
    image_keys,
    factor,
    query_stride,
    heads: tl.constexpr,
    head_dim: tl.constexpr,
    tiles: tl.constexpr,
    image_tiles: tl.constexpr,
    precision: tl.constexpr,
    queries: tl.constexpr,
    block: tl.constexpr,
):
    head, text = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * queries + tl.arange(0, queries)
    at = row[:, None].to(tl.int64) * (heads * head_dim) + head * head_dim + tl.arange(0, head_dim)[None, :]
    inside = row[:, None] < tokens
    query = tl.load(query_ptr + text * query_stride + at, mask=inside, other=0.0)
    offset = (text * heads + head) * keys * head_dim
    out = _over_keys(
        query,
        key_ptr + offset,
        value_ptr + offset,
        bias_ptr + text * keys,
        keys,
        factor,
        True,
        tiles,
        head_dim,
        precision,
        block,
    )
    if image_tiles > 0:
        offset = head.to(tl.int64) * image_keys * head_dim
        out += _over_keys(
            query,
            image_key_ptr + offset,
            image_value_ptr + offset,
            bias_ptr,
            image_keys,
            factor,
            False,
            image_tiles,
            head_dim,
            precision,
            block,
        )
    tl.store(out_ptr + text * tokens * heads * head_dim + at, out.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _over_keys(
    query,
    key_ptr,
    value_ptr,
    bias_ptr,
    keys,
    factor,
    biased: tl.constexpr,
    tiles: tl.constexpr,
    head_dim: tl.constexpr,
    precision: tl.constexpr,
    block: tl.constexpr,
):
    channels = tl.arange(0, head_dim)
    most = tl.full((query.shape[0],), float("-inf"), tl.float32)
    total = tl.zeros((query.shape[0],), tl.float32)
    out = tl.zeros((query.shape[0], head_dim), tl.float32)
    for tile in range(tiles):
        columns = tile * block + tl.arange(0, block)
        known = columns < keys
        key = tl.load(key_ptr + columns[None, :] * head_dim + channels[:, None], mask=known[None, :], other=0.0)
        scores = tl.dot(query, key, input_precision=precision) * factor
        if biased:
            scores += tl.load(bias_ptr + columns, mask=known, other=0.0)[None, :]
        scores = tl.where(known[None, :], scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(most - higher)
        value = tl.load(value_ptr + columns[:, None] * head_dim + channels[None, :], mask=known[:, None], other=0.0)
        total = total * fade + tl.sum(weights, 1)
        out = out * fade[:, None] + tl.dot(weights.to(value.dtype), value, input_precision=precision)
        most = higher
    return out / total[:, None]
