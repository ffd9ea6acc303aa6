"""The mechanisms that the paper compares masked guidance with (4.4, figure 9), over the same transformer and channels.

What exactly the paper's rivals were is not specified; these follow the systems it names, as re-implementations.

- vanilla mask (SkyReels-A2): the references are not one canvas but the video's first frames, one latent frame each,
  under a mask of ones; the sequence is as long as the video.
- token-wise concatenation (Phantom): each reference is a latent frame of its own, appended after the video's last one,
  so that every reference adds the tokens of a whole frame.

`conditioning.build_conditioning` encodes what is made here. T = latent frames, N = references.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageOps

from magref.canvas import Canvas, letterbox
from magref.errors import InputError
from magref.geometry import Strides, VideoShape
from magref.references import OpenReference


def reference_pictures(canvas: Canvas, *, fill_background: bool) -> list[Image.Image]:
    """Each reference of a canvas as a picture of the canvas's size, cell by cell: shuffled cells are shuffled frames.

    References are letterboxed on white, as the canvas does it in its cells; with `fill_background`, those whose role
    is background fill the picture instead and lose what does not fit.
    """
    return [
        filled(reference, canvas.image.size)
        if fill_background and reference.role == "background"
        else letterboxed(reference, canvas.image.size)
        for reference in canvas.by_cell()
    ]


def letterboxed(reference: OpenReference, size: tuple[int, int]) -> Image.Image:
    """The whole reference, centred on white; `size` is (width, height)."""
    left, top, right, bottom = letterbox(reference.rgb.size, (0, 0, *size))
    picture = Image.new("RGB", size, "white")
    picture.paste(reference.rgb.resize((right - left, bottom - top), Image.Resampling.LANCZOS), (left, top))
    return picture


def filled(reference: OpenReference, size: tuple[int, int]) -> Image.Image:
    """The largest part from the reference's centre that has the proportions of `size` (width, height)."""
    return ImageOps.fit(reference.rgb, size, Image.Resampling.LANCZOS)


def successive_video(pixels: torch.Tensor, shape: VideoShape, strides: Strides) -> torch.Tensor:
    """(N, 3, H, W) references -> (3, F, H, W): [r0, r1 x4, r2 x4, ...], then zeros, which is mid-grey.

    A latent frame stands for four pixel frames, the first one for a single frame: each reference gets one.
    """
    video = pixels.new_zeros(3, shape.frames, shape.height, shape.width)
    video[:, 0] = pixels[0]
    following = pixels[1:].repeat_interleave(strides.temporal, dim=0).transpose(0, 1)
    video[:, 1 : 1 + following.shape[1]] = following
    return video


def vanilla_guidance(latents: torch.Tensor, counts: Sequence[int], *, mask_channels: int) -> torch.Tensor:
    """(B, C, T, h, w) latents of successive references, B numbers of references -> (B, M + C, T, h, w).

    The mask is one over the whole of latent frames 0 to N-1, and zero after them.
    """
    batch, _, frames, height, width = latents.shape
    mask = latents.new_zeros(batch, mask_channels, frames, height, width)
    for channels, count in zip(mask, counts, strict=True):
        channels[:, :count] = 1
    return torch.cat([mask, latents], dim=1)


def tokenwise_guidance(nothing: torch.Tensor, references: torch.Tensor, *, mask_channels: int) -> torch.Tensor:
    """(1, C, T, h, w) latents of an empty video, (B, C, N, h, w) of references -> (B, M + C, T + N, h, w).

    The video's part is a mask of zeros and no picture; the references' part is a mask of ones and the references, which
    stand in the noisy latents' channels as well, clean (`Conditioning.tail`).
    """
    batch, _, count, height, width = references.shape
    latents = torch.cat([nothing.expand(batch, -1, -1, -1, -1), references], dim=2)
    mask = latents.new_zeros(batch, mask_channels, nothing.shape[2] + count, height, width)
    mask[:, :, nothing.shape[2] :] = 1
    return torch.cat([mask, latents], dim=1)


def equal_counts(counts: Sequence[int], what: str) -> int:
    """The one number of references that all canvases have; InputError where they differ."""
    if len(set(counts)) != 1:
        found = ", ".join(str(count) for count in sorted(set(counts)))
        raise InputError(f"{what} takes canvases with equally many references, not {found}; make batches of one number")
    return counts[0]
