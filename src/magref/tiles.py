"""Frames decoded in overlapping tiles, to save memory: where they lie and how neighbours are blended, as in diffusers.

Activations are (B, T, H, W, C). A tile's borders look a little different from what they would in the whole frame, so
this is an approximation, which diffusers' `enable_tiling` asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Tiling:
    """Tiles of a frame, row by row; sizes are in latent pixels, `growth` is how much larger decoded ones are."""

    height: int
    width: int
    tile_height: int
    tile_width: int
    stride_height: int
    stride_width: int
    growth: int

    @classmethod
    def of(cls, vae: Any, latents: torch.Tensor) -> Tiling:
        """As the autoencoder is set; one tile where it has no tiling on, or frames are no larger than a tile."""
        height, width = latents.shape[-2:]
        ratio = vae.spatial_compression_ratio
        growth = ratio // (vae.config.patch_size or 1)
        tile_height, tile_width = vae.tile_sample_min_height // ratio, vae.tile_sample_min_width // ratio
        if not vae.use_tiling or (height <= tile_height and width <= tile_width):
            return cls(height, width, height, width, height, width, growth)
        strides = vae.tile_sample_stride_height // ratio, vae.tile_sample_stride_width // ratio
        return cls(height, width, tile_height, tile_width, *strides, growth)

    @property
    def places(self) -> list[tuple[int, int]]:
        """The upper left corner (y, x) of every tile."""
        rows, columns = range(0, self.height, self.stride_height), range(0, self.width, self.stride_width)
        return [(y, x) for y in rows for x in columns]

    def cut(self, latents: torch.Tensor) -> list[torch.Tensor]:
        """The tiles of latents (B, T, h, w, C)."""
        return [latents[:, :, y : y + self.tile_height, x : x + self.tile_width].contiguous() for y, x in self.places]

    def join(self, tiles: Sequence[torch.Tensor]) -> torch.Tensor:
        """Decoded tiles -> frames (B, T, H, W, C): each fades into its neighbours above and to the left."""
        if len(tiles) == 1:
            return tiles[0]
        columns = len(range(0, self.width, self.stride_width))
        over_y = (self.tile_height - self.stride_height) * self.growth
        over_x = (self.tile_width - self.stride_width) * self.growth
        blended: list[torch.Tensor] = []
        for index, tile in enumerate(tiles):
            above = tile if index < columns else _faded(blended[index - columns], tile, over_y, dim=2)
            blended.append(above if index % columns == 0 else _faded(blended[index - 1], above, over_x, dim=3))
        cropped = [t[:, :, : self.stride_height * self.growth, : self.stride_width * self.growth] for t in blended]
        rows = [torch.cat(cropped[start : start + columns], 3) for start in range(0, len(cropped), columns)]
        return torch.cat(rows, 2)[:, :, : self.height * self.growth, : self.width * self.growth]


def _faded(before: torch.Tensor, tile: torch.Tensor, overlap: int, *, dim: int) -> torch.Tensor:
    """`tile` whose first `overlap` rows or columns fade in from the last ones of its neighbour `before`."""
    overlap = min(overlap, before.shape[dim], tile.shape[dim])
    shape = [overlap if axis == dim else 1 for axis in range(tile.ndim)]
    weight = (torch.arange(overlap, device=tile.device, dtype=tile.dtype) / max(1, overlap)).view(shape)
    edge = before.narrow(dim, before.shape[dim] - overlap, overlap)
    mixed = edge * (1 - weight) + tile.narrow(dim, 0, overlap) * weight
    return torch.cat([mixed, tile.narrow(dim, overlap, tile.shape[dim] - overlap)], dim)
