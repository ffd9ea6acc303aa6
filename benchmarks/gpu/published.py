"""A transformer block in the arithmetic of the published code: float64 rotary positions, a float32 residual stream.

Written from what Wan2.1's code does under autocast to bfloat16, over the weights of diffusers' block.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from magref.attention import attend


def published_block(
    block: Any, x: torch.Tensor, text: torch.Tensor, image: torch.Tensor, time: torch.Tensor, angles: torch.Tensor
) -> torch.Tensor:
    """(1, S, dim) float32 -> the same after one block.

    `text` (1, L, dim) and `image` (1, N, dim) are embedded, `time` is (1, 6, dim) float32, `angles` (S, d / 2) complex
    in double precision.
    """
    parts = (block.scale_shift_table.float() + time).unbind(1)
    attn = block.attn1
    normed = layer_norm(x, block.norm1) * (1 + parts[1]) + parts[0]
    q, k, v = (
        heads(F.linear(normed.to(text.dtype), p.weight, p.bias), attn) for p in (attn.to_q, attn.to_k, attn.to_v)
    )
    q, k = (rotated(heads(rms(part, norm), attn), angles) for part, norm in ((q, attn.norm_q), (k, attn.norm_k)))
    attended = attend(q.to(v.dtype), k.to(v.dtype), v, "native").flatten(2)
    x = x + attn.to_out[0](attended).float() * parts[2]
    x = x + cross(block.attn2, layer_norm(x, block.norm2).to(text.dtype), text, image).float()
    normed = layer_norm(x, block.norm3) * (1 + parts[4]) + parts[3]
    return x + block.ffn(normed.to(text.dtype)).float() * parts[5]


def cross(attn: Any, x: torch.Tensor, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    q = heads(rms(heads(attn.to_q(x), attn), attn.norm_q), attn)
    k, v = heads(rms(heads(attn.to_k(text), attn), attn.norm_k), attn), heads(attn.to_v(text), attn)
    k_image = heads(rms(heads(attn.add_k_proj(image), attn), attn.norm_added_k), attn)
    v_image = heads(attn.add_v_proj(image), attn)
    both = attend(q, k, v, "native").flatten(2) + attend(q, k_image, v_image, "native").flatten(2)
    out: torch.Tensor = attn.to_out[0](both)
    return out


def layer_norm(x: torch.Tensor, norm: Any) -> torch.Tensor:
    weight, bias = (None if part is None else part.float() for part in (norm.weight, norm.bias))
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias, norm.eps)


def rms(x: torch.Tensor, norm: Any) -> torch.Tensor:
    """Over all heads: (1, S, heads, d) -> (1, S, dim)."""
    x = x.flatten(2)
    full = x.float()
    return (full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + norm.eps)).type_as(x) * norm.weight


def heads(x: torch.Tensor, attn: Any) -> torch.Tensor:
    return x.unflatten(2, (attn.heads, -1)) if x.ndim == 3 else x


def rotated(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * angles[:, None]).flatten(3).float()
