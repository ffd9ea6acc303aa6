"""Phantom (arXiv 2502.11079): each reference is a latent frame after the video's, over Wan2.1 text-to-video.

A re-implementation after the public code (Phantom-video/Phantom, generate.py and phantom_wan/subject2video.py), not
checked against numbers that it computes. The transformer takes 16 channels: no mask, no picture beside the noise, no
CLIP; the references stand in the sequence, clean, at every step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import WanTransformer3DModel

from magref.canvas import Canvas
from magref.checkpoints import layout
from magref.checkpoints.architecture import check_text_to_video, diffusers_key, transformer_config
from magref.checkpoints.headers import read_header, read_headers, read_json
from magref.checkpoints.parts import Part, Read, make_part, read_tensor, read_torch_file, transformer_dtype
from magref.checkpoints.published import TEXT_TOKENS, load_tokenizer, text_encoder_part, vae_part
from magref.conditioning import Conditioning, encode_pictures, image_pixels
from magref.errors import CheckpointError, InputError
from magref.flow import make_scheduler
from magref.guidance import Passes, Velocity, reference_and_text_guidance
from magref.mechanisms import reference_pictures
from magref.pipeline import MagrefPipeline
from magref.settings import NEGATIVE_PROMPT, GenerationDefaults, GenerationSettings

DEFAULTS = GenerationDefaults(
    num_inference_steps=50,
    guidance_scale=7.5,
    flow_shift=5.0,
    drop_frames=0,
    negative_prompt=NEGATIVE_PROMPT.removeprefix("镜头晃动，"),
    mechanism="tokenwise",
)
"""Of the 1.3B; the authors run their 14B with 121 frames at 24 fps."""
IMAGE_GUIDANCE_SCALE = 5.0
SHARDS = "Phantom_Wan_14B"
"""The 14B's files: this name with .safetensors.index.json, and the shards that it lists."""


class PhantomPipeline(MagrefPipeline):
    """Phantom's inference; called as `MagrefPipeline` is, with one to four references. A re-implementation.

    `guidance_scale` weighs the text (7.5); `image_guidance_scale`, set on the pipeline, weighs the references (5.0).
    Known differences from the published code: noise comes from the CPU's generator and only for the video's own
    frames, so that a seed gives other videos; weights are held in `torch_dtype`, not under autocast.
    """

    most_references: ClassVar[int] = 4
    _guides_by_text_alone: ClassVar[bool] = False
    _check_channels: ClassVar = staticmethod(check_text_to_video)

    def __init__(
        self,
        transformer: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        image_encoder: Any = None,
        generation_defaults: dict[str, Any] | None = None,
        image_guidance_scale: float = IMAGE_GUIDANCE_SCALE,
    ) -> None:
        defaults = generation_defaults or DEFAULTS.model_dump()
        super().__init__(transformer, vae, text_encoder, tokenizer, scheduler, image_encoder, defaults)
        self.register_to_config(image_guidance_scale=image_guidance_scale)
        self.image_guidance_scale = image_guidance_scale

    @classmethod
    def from_published(  # type: ignore[override]
        cls, folder: str | Path, *, weights: str | Path, torch_dtype: torch.dtype = torch.bfloat16
    ) -> PhantomPipeline:
        """Load the authors' files.

        Args:
            folder: Wan2.1's text-to-video release (Wan-AI/Wan2.1-T2V-1.3B): VAE, umT5, tokenizer and config.json. Its
                own transformer is not read, so that the 1.3B's folder serves the 14B too.
            weights: Phantom's transformer (bytedance-research/Phantom): `Phantom-Wan-1.3B.pth`, the folder of the
                14B's shards, or one safetensors file; in the names of Wan2.1's code.
            torch_dtype: of transformer and text encoder; the VAE stays in float32.

        Raises:
            CheckpointError: a file is missing, incomplete, or does not fit the architecture.
        """
        folder = layout.existing_folder(folder)
        config = read_json(folder / layout.CONFIG)
        for name in (layout.VAE, layout.TEXT_ENCODER):
            layout.check_torch_file(folder / name)
        transformer = transformer_part(Path(os.path.expanduser(weights)), config, torch_dtype)
        tokenizer = load_tokenizer(folder / layout.TOKENIZER)
        defaults = DEFAULTS.model_copy(update={"text_tokens": config.get("text_len", TEXT_TOKENS)})
        return cls(
            transformer=transformer.load(),
            vae=vae_part(folder / layout.VAE).load(),
            text_encoder=text_encoder_part(folder / layout.TEXT_ENCODER, torch_dtype).load(),
            tokenizer=tokenizer,
            scheduler=make_scheduler("unipc"),
            generation_defaults=defaults.model_dump(),
        )

    def _conditioning(self, canvas: Canvas, settings: GenerationSettings) -> Conditioning:
        """Every reference whole, letterboxed, as a latent frame; nothing in the channels."""
        pictures = reference_pictures(canvas, fill_background=False)
        pixels = torch.stack([image_pixels(picture) for picture in pictures]).to(self._execution_device)
        tail = encode_pictures(self.vae, pixels, len(pictures))  # (1, C, N, h, w)
        frames = (settings.num_frames - 1) // self.strides.temporal + 1 + tail.shape[2]
        return Conditioning(tail.new_zeros(1, 0, frames, *tail.shape[3:]), None, tail)

    def _needs_negative(self, settings: GenerationSettings) -> bool:
        return True

    def _guided(
        self, passes: Passes, texts: list[torch.Tensor], conditioning: Conditioning, settings: GenerationSettings
    ) -> Velocity:
        if self.transformer.is_cache_enabled:
            raise InputError("Phantom's third pass and diffusers' step caches do not mix; call disable_cache() first")
        scales = {"reference_scale": self.image_guidance_scale, "text_scale": settings.guidance_scale}
        return reference_and_text_guidance(passes, texts, conditioning, **scales)


def transformer_part(weights: Path, config: Mapping[str, Any], dtype: torch.dtype) -> Part:
    """Phantom's transformer; heads are as wide as those of the Wan2.1 release whose config.json is `config`."""
    reads, shapes = _stored(weights)
    head_dim = _head_dim(config)
    sizes = transformer_config(shapes, num_heads=shapes["patch_embedding.weight"][0] // head_dim if head_dim else None)
    check_text_to_video(sizes, weights)
    return make_part(lambda: WanTransformer3DModel(**sizes), shapes, reads, transformer_dtype(dtype), weights)


def _stored(weights: Path) -> tuple[dict[str, Read], dict[str, tuple[int, ...]]]:
    """How to read each tensor, and its shape, under diffusers' names."""
    if weights.suffix in (".pth", ".pt"):
        layout.check_torch_file(weights)
        tensors = {diffusers_key(name): tensor for name, tensor in read_torch_file(weights).items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        reads: dict[str, Read] = {name: partial(tensors.__getitem__, name) for name in tensors}
    else:
        entries = read_headers(weights, SHARDS) if weights.is_dir() else read_header(weights)
        ordered = sorted(entries.items(), key=lambda item: (item[1].file, item[1].start))
        shapes = {diffusers_key(name): entry.shape for name, entry in ordered}
        reads = {diffusers_key(name): partial(read_tensor, entry) for name, entry in ordered}
    if "patch_embedding.weight" not in shapes:
        raise CheckpointError(f"{weights} holds no Wan transformer (no patch_embedding.weight); give Phantom's weights")
    return reads, shapes


def _head_dim(config: Mapping[str, Any]) -> int | None:
    """The width of one head, by the Wan2.1 release's config.json; None where it does not say."""
    dim, heads = config.get("dim"), config.get("num_heads")
    if not isinstance(dim, int) or not isinstance(heads, int) or heads < 1 or dim % heads:
        return None
    return dim // heads
