"""Latents become pictures, piece by piece along time, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from magref.conditioning import decode_pieces

OutputType = Literal["pil", "np", "pt", "latent"]


def decoded_pictures(vae: Any, latents: torch.Tensor, drop: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Latents (1, C, T, h, w) -> frames (f, 3, H, W) float32 in [0, 1], without the first `drop`.

    Computed in `dtype` where that can be.
    """
    for piece in decode_pieces(vae, latents, dtype):
        kept = piece[0, :, drop:]  # (3, f, H, W)
        drop = max(0, drop - piece.shape[2])
        if kept.shape[1]:
            yield (kept.float() / 2 + 0.5).clamp(0, 1).permute(1, 0, 2, 3)


def collected(pieces: Iterator[torch.Tensor], output_type: OutputType) -> Any:
    """All frames as "pt" (F, 3, H, W), "np" (F, H, W, 3), or "pil", a list of F images."""
    if output_type == "pt":
        return torch.cat(list(pieces))
    array = np.concatenate([channels_last(piece) for piece in pieces])
    return array if output_type == "np" else [Image.fromarray(frame) for frame in to_bytes(array)]


def channels_last(pictures: torch.Tensor) -> npt.NDArray[np.float32]:
    """(f, 3, H, W) on any device -> (f, H, W, 3)."""
    array: npt.NDArray[np.float32] = pictures.permute(0, 2, 3, 1).cpu().numpy()
    return array


def to_bytes(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """From [0, 1] to 0...255."""
    return (pictures * 255).round().astype(np.uint8)
