"""What the transformer sees of the references: masked guidance (paper 3.2, equations 2 and 3).

The same functions serve generation and training. The transformer's input, in channel order, is

    [noisy latents (C), mask (temporal stride), canvas latents (C)]        36 = 16 + 4 + 16 for Wan2.1

The paper writes the mask last; the published checkpoint was trained with the order above. A model that was taught by a
rival mechanism fills the same channels in another way: `mechanisms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from magref import autoencoder
from magref.canvas import Canvas
from magref.errors import InputError
from magref.geometry import Strides, VideoShape
from magref.mechanisms import (
    equal_counts,
    reference_pictures,
    successive_video,
    tokenwise_guidance,
    vanilla_guidance,
)
from magref.settings import Mechanism, check_references

CLIP_SIZE_PX = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Conditioning:
    """The references as the transformer takes them; B canvases.

    `guidance` (B, M + C, T', h, w): mask channels, then canvas latents, to be appended to the noisy latents' channels.
    `image_embeds` (B, tokens, D): CLIP's view of the whole canvas; None for a model without an image encoder.
    `tail` (B, C, N, h, w): clean latents to be appended to the noisy latents along time, token-wise; then T' = T + N.
    None for the other mechanisms, where T' = T.
    """

    guidance: torch.Tensor
    image_embeds: torch.Tensor | None
    tail: torch.Tensor | None = None

    def join(self, noisy: torch.Tensor) -> torch.Tensor:
        """(B, C, T, h, w) noisy latents -> (B, C + M + C, T', h, w), the transformer's input."""
        x = noisy.to(self.guidance.dtype)
        if self.tail is not None:
            x = torch.cat([x, self.tail], dim=2)
        return torch.cat([x, self.guidance], dim=1)

    def cut(self, velocity: torch.Tensor) -> torch.Tensor:
        """(B, C, T', h, w), the transformer's output -> (B, C, T, h, w), the video's own part."""
        return velocity if self.tail is None else velocity[:, :, : -self.tail.shape[2]]

    def to(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """The same on another device and in another precision."""
        return self._each(lambda tensor: tensor.to(device, dtype))

    def repeated(self, count: int) -> Conditioning:
        """Each canvas `count` times in a row, for several videos of one prompt."""
        return self._each(lambda tensor: tensor.repeat_interleave(count, dim=0))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Conditioning:
        optional = (None if tensor is None else change(tensor) for tensor in (self.image_embeds, self.tail))
        return Conditioning(change(self.guidance), *optional)


@torch.no_grad()
def build_conditioning(
    canvases: Sequence[Canvas],
    frames: int,
    *,
    vae: Any,
    strides: Strides,
    image_encoder: Any | None = None,
    device: torch.device | None = None,
    mechanism: Mechanism = "masked",
) -> Conditioning:
    """Canvases of one size -> mask channels, canvas latents and CLIP features, for videos of `frames` frames.

    The VAE runs in the precision of its own weights (float32 for the published one), on its own device unless
    `device` says where an offloaded one is brought to.

    Raises:
        InputError: a rival mechanism cannot take these canvases together, or not in so few or so many frames.
    """
    device = device or vae.device
    width, height = canvases[0].image.size
    shape = VideoShape(frames, height, width)
    for canvas in canvases:
        check_references(mechanism, len(canvas.references), shape, strides)
    if mechanism == "vanilla":
        return _vanilla(canvases, shape, vae, strides, image_encoder, device)
    pixels = torch.stack([canvas_pixels(canvas) for canvas in canvases]).to(device)  # (B, 3, H, W)
    embeds = None if image_encoder is None else clip_features(image_encoder, pixels)
    if mechanism == "tokenwise":
        return _tokenwise(canvases, shape, vae, strides.temporal, embeds, device)
    if mechanism != "masked":
        raise InputError(f"mechanism {mechanism!r} is unknown; use masked, vanilla or tokenwise")
    mask = torch.from_numpy(np.stack([canvas.latent_mask(strides.spatial) for canvas in canvases])).to(device)
    latents = encode_video(vae, condition_video(pixels, shape))
    return Conditioning(masked_guidance(latents, mask, mask_channels=strides.temporal), embeds)


def masked_guidance(latents: torch.Tensor, mask: torch.Tensor, *, mask_channels: int) -> torch.Tensor:
    """Equations 2 and 3: (B, C, T, h, w) canvas latents y, (B, h, w) region mask -> (B, M + C, T, h, w).

    The canvas is the first frame alone, so all M mask channels equal the mask at latent frame 0 and are 0 after it.
    """
    batch, _, frames, height, width = latents.shape
    channels = latents.new_zeros(batch, mask_channels, frames, height, width)
    channels[:, :, 0] = mask[:, None].to(latents.dtype)
    return torch.cat([channels, latents], dim=1)


def _vanilla(
    canvases: Sequence[Canvas],
    shape: VideoShape,
    vae: Any,
    strides: Strides,
    image_encoder: Any | None,
    device: torch.device,
) -> Conditioning:
    """The vanilla mask: references as successive frames, and one block of CLIP features for each of them."""
    pictures = [_reference_pixels(canvas, device, fill_background=True) for canvas in canvases]  # each (N, 3, H, W)
    counts = [len(each) for each in pictures]
    embeds = None
    if image_encoder is not None:
        count = equal_counts(counts, "the vanilla mask with an image encoder")
        embeds = clip_features(image_encoder, torch.cat(pictures)).unflatten(0, (-1, count)).flatten(1, 2)
    video = torch.stack([successive_video(each, shape, strides) for each in pictures])
    guidance = vanilla_guidance(encode_video(vae, video), counts, mask_channels=strides.temporal)
    return Conditioning(guidance, embeds)


def _tokenwise(
    canvases: Sequence[Canvas],
    shape: VideoShape,
    vae: Any,
    mask_channels: int,
    embeds: torch.Tensor | None,
    device: torch.device,
) -> Conditioning:
    """Token-wise concatenation. CLIP sees the canvas as in masked guidance, so that only the concatenation differs."""
    count = equal_counts([len(canvas.references) for canvas in canvases], "token-wise concatenation")
    pictures = torch.cat([_reference_pixels(canvas, device, fill_background=False) for canvas in canvases])
    tail = encode_pictures(vae, pictures, count)
    nothing = encode_video(vae, pictures.new_zeros(1, 3, shape.frames, shape.height, shape.width))
    return Conditioning(tokenwise_guidance(nothing, tail, mask_channels=mask_channels), embeds, tail)


def _reference_pixels(canvas: Canvas, device: torch.device, *, fill_background: bool) -> torch.Tensor:
    """(N, 3, H, W) in [-1, 1]."""
    pictures = reference_pictures(canvas, fill_background=fill_background)
    return torch.stack([image_pixels(picture) for picture in pictures]).to(device)


def canvas_pixels(canvas: Canvas) -> torch.Tensor:
    """(3, H, W) float32 in [-1, 1]."""
    return image_pixels(canvas.image)


def image_pixels(image: Image.Image) -> torch.Tensor:
    """An RGB picture -> (3, H, W) float32 in [-1, 1]."""
    array = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1).sub(0.5).div(0.5)


def condition_video(pixels: torch.Tensor, shape: VideoShape) -> torch.Tensor:
    """(B, 3, H, W) canvases -> (B, 3, F, H, W): the canvas as first frame, then zeros, which is mid-grey."""
    video = pixels.new_zeros(pixels.shape[0], 3, shape.frames, shape.height, shape.width)
    video[:, :, 0] = pixels
    return video


def encode_video(vae: Any, video: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """(B, 3, F, H, W) in [-1, 1] -> (B, C, T, h, w), normalised as the sampler sees latents.

    They are the posterior's mode; with a generator, a sample of it.
    """
    posterior = autoencoder.encode(vae, video.to(vae.dtype))
    latents = posterior.mode() if generator is None else posterior.sample(generator)
    mean, std = latent_statistics(vae, latents)
    return (latents - mean) / std


def encode_pictures(vae: Any, pictures: torch.Tensor, count: int) -> torch.Tensor:
    """(B N, 3, H, W) in [-1, 1] -> (B, C, N, h, w): each picture as a video of one frame; `count` is N."""
    return encode_video(vae, pictures[:, :, None]).squeeze(2).unflatten(0, (-1, count)).transpose(1, 2)


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(B, C, T, h, w) normalised latents -> (B, 3, F, H, W) in [-1, 1]."""
    return torch.cat(list(decode_pieces(vae, latents, vae.dtype)), dim=2)


def decode_pieces(vae: Any, latents: torch.Tensor, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """`decode_latents` piece by piece along time, each (B, 3, f, H, W); computed in `dtype` where that can be."""
    latents = latents.to(vae.dtype)
    mean, std = latent_statistics(vae, latents)
    return autoencoder.decode_pieces(vae, latents * std + mean, dtype)


def latent_statistics(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The VAE's per-channel latent mean and standard deviation, each (1, C, 1, 1, 1)."""
    mean = torch.tensor(vae.config.latents_mean, device=like.device, dtype=like.dtype)
    std = torch.tensor(vae.config.latents_std, device=like.device, dtype=like.dtype)
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


@torch.no_grad()
def clip_features(image_encoder: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) canvases in [-1, 1] -> (B, tokens, D): CLIP's penultimate hidden state.

    The whole canvas is stretched to a square, bicubically and without antialiasing, as in the published code: the usual
    CLIP preprocessing crops the centre and would cut off the references at both sides.
    """
    square = F.interpolate(pixels.float(), size=(CLIP_SIZE_PX, CLIP_SIZE_PX), mode="bicubic", align_corners=False)
    mean = torch.tensor(CLIP_MEAN, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(CLIP_STD, device=pixels.device).view(1, 3, 1, 1)
    normalised = (square * 0.5 + 0.5 - mean) / std
    hidden = image_encoder(pixel_values=normalised.to(image_encoder.dtype), output_hidden_states=True)
    return hidden.hidden_states[-2]
