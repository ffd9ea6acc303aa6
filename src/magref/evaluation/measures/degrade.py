"""What small models and codecs do to a picture, for training networks that must see through it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

_GROUP = 16
"""Pictures of a batch that share one size on the way down, since a batch has one size."""
_BLOCK_PX = 8
"""Side of a JPEG block."""


def degraded(pictures: torch.Tensor, generator: torch.Generator, *, smallest: float) -> torch.Tensor:
    """Pictures made small and large again, with noise, quantised blocks, blur and another colour balance.

    Args:
        pictures: (B, 3, H, W) in [0, 1].
        smallest: the least share of its size that a picture is brought down to; the most is all of it.
    """
    parts = [_group(part, generator, smallest) for part in pictures.split(_GROUP)]
    return relit(torch.cat(parts), generator).clamp(0, 1)


def relit(pictures: torch.Tensor, generator: torch.Generator, amount: float = 0.08) -> torch.Tensor:
    """Another gain and offset of each colour channel; (B, 3, H, W)."""
    gain, offset = (_uniform(len(pictures), 3, generator) * amount * share for share in (1.0, 0.5))
    return pictures * (1 + gain) + offset


def blurred(pictures: torch.Tensor, times: int = 1) -> torch.Tensor:
    """(B, C, H, W) under the binomial kernel 1 2 1 in both directions, `times` over."""
    kernel = torch.tensor([0.25, 0.5, 0.25])
    channels = pictures.shape[1]
    for _ in range(times):
        for shape in ((1, 1, 3, 1), (1, 1, 1, 3)):
            padding = (shape[3] // 2, shape[3] // 2, shape[2] // 2, shape[2] // 2)
            weight = kernel.view(shape).expand(channels, -1, -1, -1)
            pictures = F.conv2d(F.pad(pictures, padding, mode="replicate"), weight, groups=channels)
    return pictures


def coarse(pictures: torch.Tensor, share: float) -> torch.Tensor:
    """(B, C, H, W) brought down to a share of its size and back."""
    size = pictures.shape[-2:]
    small = [max(4, round(side * share)) for side in size]
    down = F.interpolate(pictures, size=small, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(down, size=size, mode="bilinear", align_corners=False)


def quantised_blocks(pictures: torch.Tensor, strength: float) -> torch.Tensor:
    """(B, C, H, W) with the cosine coefficients of 8 x 8 blocks rounded, the high ones more coarsely, as JPEG does."""
    height, width = pictures.shape[-2:]
    pad = (0, -width % _BLOCK_PX, 0, -height % _BLOCK_PX)
    padded = F.pad(pictures, pad, mode="replicate")
    blocks = padded.unfold(2, _BLOCK_PX, _BLOCK_PX).unfold(3, _BLOCK_PX, _BLOCK_PX)  # (B, C, h, w, 8, 8)
    cosine = _cosine_matrix()
    order = torch.arange(_BLOCK_PX, dtype=torch.float32)
    step = strength * (1 + order[:, None] + order[None, :])
    coefficients = cosine @ blocks @ cosine.T
    restored = cosine.T @ (torch.round(coefficients / step) * step) @ cosine
    return restored.transpose(3, 4).reshape(padded.shape)[..., :height, :width]


def _group(pictures: torch.Tensor, generator: torch.Generator, smallest: float) -> torch.Tensor:
    size = pictures.shape[-2:]
    share, noise, strength, kind = torch.rand(4, generator=generator).tolist()
    share = smallest + (1 - smallest) * share
    small = [max(4, round(side * share)) for side in size]
    pictures = F.interpolate(pictures, size=small, mode="bilinear", antialias=True, align_corners=False)
    if noise < 0.5:
        pictures = pictures + torch.randn(pictures.shape, generator=generator) * (0.1 * noise)
    if strength < 0.4:
        pictures = quantised_blocks(pictures, 0.005 + 0.08 * strength)
    pictures = F.interpolate(pictures, size=size, mode="bilinear", align_corners=False)
    return blurred(pictures, int(7 * kind * kind))


def _cosine_matrix() -> torch.Tensor:
    """The orthonormal discrete cosine transform of length 8."""
    order = torch.arange(_BLOCK_PX, dtype=torch.float32)
    matrix = torch.cos(math.pi / _BLOCK_PX * order[:, None] * (order[None, :] + 0.5)) * math.sqrt(2 / _BLOCK_PX)
    matrix[0] /= math.sqrt(2)
    return matrix


def _uniform(batch: int, channels: int, generator: torch.Generator) -> torch.Tensor:
    """(B, C, 1, 1) in [-1, 1)."""
    return torch.rand(batch, channels, 1, 1, generator=generator) * 2 - 1
