"""Sizes of videos and latents, and every conversion between them.

All numbers that describe the model's compression live in `Strides`; everything else derives from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from magref.errors import InputError


@dataclass(frozen=True)
class Strides:
    """How a model compresses video: VAE strides in time and space, and the transformer's spatial patch.

    Wan2.1: 4k+1 frames become k+1 latent frames, 8 x 8 pixels one latent pixel, 2 x 2 latent pixels one token. The
    transformer knows `positions` places along each axis, so many tokens a video may be long, high and wide.
    """

    temporal: int = 4
    spatial: int = 8
    patch: int = 2
    positions: int = 1024

    @classmethod
    def of(cls, vae: Any, transformer: Any) -> Strides:
        """Read the strides from the two models' own configurations."""
        patch_t, patch_h, patch_w = transformer.config.patch_size
        if patch_t != 1 or patch_h != patch_w:
            raise InputError(f"patch size {(patch_t, patch_h, patch_w)} is not (1, p, p); use a Wan2.1 transformer")
        return cls(
            vae.config.scale_factor_temporal,
            vae.config.scale_factor_spatial,
            patch_h,
            transformer.config.rope_max_seq_len,
        )

    @property
    def pixel_multiple(self) -> int:
        """Height and width in pixels must be multiples of this (16 for Wan2.1)."""
        return self.spatial * self.patch


@dataclass(frozen=True)
class LatentShape:
    """Frames, height and width of the latents of one video."""

    frames: int
    height: int
    width: int

    def tokens(self, strides: Strides) -> int:
        """The transformer's sequence length."""
        return self.frames * (self.height // strides.patch) * (self.width // strides.patch)


@dataclass(frozen=True)
class VideoShape:
    """Frames, height and width of a video in pixels."""

    frames: int
    height: int
    width: int

    def check(self, strides: Strides) -> None:
        """Raise InputError, naming the nearest valid numbers, unless the model can make a video of this shape."""
        multiple = strides.pixel_multiple
        for name, value in (("height", self.height), ("width", self.width)):
            if value < multiple or value % multiple:
                nearest = _nearest(value, multiple, 0, multiple)
                raise InputError(f"{name} {value} is no multiple of {multiple}; use {nearest}")
            most = strides.positions * multiple
            if value > most:
                raise InputError(f"{name} {value} is too large for this model; use {most} at most")
        if self.frames < 1 or (self.frames - 1) % strides.temporal:
            nearest = _nearest(self.frames, strides.temporal, 1, 1)
            raise InputError(f"{self.frames} frames are not {strides.temporal}k+1; use {nearest}")
        most = (strides.positions - 1) * strides.temporal + 1
        if self.frames > most:
            raise InputError(f"{self.frames} frames are too many for this model; use {most} at most")

    def latent(self, strides: Strides) -> LatentShape:
        """The shape of this video's latents."""
        return LatentShape(
            (self.frames - 1) // strides.temporal + 1, self.height // strides.spatial, self.width // strides.spatial
        )


def _nearest(value: int, step: int, offset: int, least: int) -> str:
    """The valid numbers k * step + offset around `value`, in words."""
    below = max(least, (value - offset) // step * step + offset)
    above = max(least, below + step) if below <= value else below
    return str(below) if below >= value else f"{below} or {above}"
