"""Attention of the video's tokens to text and image, a few hundred keys that stay the same for a whole video.

The two are softmaxes of their own, whose results are added. In plain torch; on a GPU one kernel does both
(`cross_attention_triton`), which reads the queries once and writes once.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F

from magref import elementwise
from magref.elementwise import arithmetic_for

_LOG = logging.getLogger(__name__)

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""(G, heads, L, d) each."""
CrossAttention = Callable[[torch.Tensor, KeysValues, torch.Tensor, KeysValues | None], torch.Tensor]

_TOLERANCE = 0.02


def cross_attention(
    query: torch.Tensor, text: KeysValues, bias: torch.Tensor, image: KeysValues | None
) -> torch.Tensor:
    """Queries (G, S, dim) -> (G, S, dim).

    Args:
        query: heads side by side; a batch of 1 serves all texts.
        text: of G texts.
        bias: (G, 1, 1, L), added to the logits of the text.
        image: a batch of 1, for all texts; None for a model without.
    """
    key, value = text
    query = query.expand(len(key), -1, -1).unflatten(2, (key.shape[1], -1)).transpose(1, 2)  # (G, heads, S, d)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    if image is not None:
        key, value = (part.expand(len(query), -1, -1, -1) for part in image)
        attended = attended + F.scaled_dot_product_attention(query, key, value)
    return attended.transpose(1, 2).flatten(2, 3)


@functools.cache
def cross_attention_for(device: torch.device, dtype: torch.dtype, head_dim: int) -> CrossAttention:
    """The best of the two for a device: the kernel where it runs and is right."""
    whole_tiles = head_dim >= 16 and head_dim & (head_dim - 1) == 0
    if arithmetic_for(device) is elementwise or not whole_tiles:
        return cross_attention
    from magref import cross_attention_triton as kernels

    source = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source, device=device).to(dtype)

    query, text, image = random(1, 200, 2 * head_dim), random(2, 1, 2, 70, head_dim), random(2, 1, 2, 90, head_dim)
    arguments = query, (text[0], text[1]), random(1, 1, 1, 70), (image[0], image[1])
    try:
        found = kernels.cross_attention(*arguments)
    except Exception as error:  # of the compiler, the driver, Triton itself: all mean the same
        _LOG.warning("Triton cannot build a kernel here (%s): generation takes longer without it", error)
        return cross_attention
    expected = cross_attention(*arguments)
    return kernels.cross_attention if (found - expected).norm() < _TOLERANCE * expected.norm() else cross_attention
