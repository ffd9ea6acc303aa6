"""SkyReels-A2 (arXiv 2504.02436): references as successive frames under a vanilla mask.

A re-implementation after the public code (SkyworkAI/SkyReels-A2, infer.py and models/), not checked against numbers
that it computes. The mechanism is that of `mechanisms.py`; what is particular to the published system stands here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from PIL import Image
from transformers import CLIPVisionModel, UMT5EncoderModel

from magref.canvas import Canvas
from magref.checkpoints.components import check_components
from magref.checkpoints.headers import read_json
from magref.checkpoints.layout import MODEL_INDEX, existing_folder, stored_dtypes
from magref.checkpoints.published import load_tokenizer
from magref.conditioning import CLIP_SIZE_PX, Conditioning, clip_features, encode_video, image_pixels
from magref.flow import TRAIN_TIMESTEPS, make_scheduler
from magref.geometry import VideoShape
from magref.mechanisms import successive_video, vanilla_guidance
from magref.pipeline import MagrefPipeline
from magref.placement import loading_dtype
from magref.settings import GenerationDefaults, GenerationSettings

NEGATIVE_PROMPT = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, "
    "poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, "
    "messy background, three legs, many people in the background, walking backwards"
)
"""Wan's negative prompt in English, as infer.py has it."""

DEFAULTS = GenerationDefaults(
    num_inference_steps=50,
    guidance_scale=5.0,
    flow_shift=8.0,
    drop_frames=12,
    fps=15.0,
    negative_prompt=NEGATIVE_PROMPT,
    mechanism="vanilla",
)
CLIP_PICTURE_PX = 512
"""Side of the square that a reference is brought to before CLIP's own resizing."""
BACKGROUND_INDEX = 2
"""The published code takes the third reference for the background, whatever it shows."""


class SkyReelsA2Pipeline(MagrefPipeline):
    """SkyReels-A2's inference; called as `MagrefPipeline` is, with one to three references. A re-implementation.

    Known differences from the published code: noise comes from the CPU's generator, so that a seed gives other videos;
    norms and modulation stay in float32; a reference whose role is background is cropped in whichever place it comes.
    """

    most_references: ClassVar[int] = 3
    _samples_references: ClassVar[bool] = True

    def __init__(
        self,
        transformer: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        image_encoder: Any = None,
        generation_defaults: dict[str, Any] | None = None,
    ) -> None:
        defaults = generation_defaults or DEFAULTS.model_dump()
        super().__init__(transformer, vae, text_encoder, tokenizer, scheduler, image_encoder, defaults)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, folder: str | Path, *, torch_dtype: torch.dtype | None = None
    ) -> SkyReelsA2Pipeline:
        """Load the published folder (Skywork/SkyReels-A2, downloaded), or one that `save_pretrained` wrote.

        It has diffusers' layout, but for its class names: the transformer's A2Model has the tensors and the forward of
        diffusers' `WanTransformer3DModel`. VAE and image encoder load in float32 as in the published code, transformer
        and text encoder in `torch_dtype` (None: as they are stored).

        Raises:
            CheckpointError: no such folder, or files that are missing, incomplete, or do not fit the architecture.
        """
        folder = existing_folder(folder)
        check_components(folder)
        stored = stored_dtypes(folder)

        def load(kind: Any, part: str, dtype: torch.dtype | None = None) -> Any:
            dtype = dtype or torch_dtype or loading_dtype(stored[part])
            return kind.from_pretrained(str(folder / part), torch_dtype=dtype, local_files_only=True)

        return cls(
            transformer=load(WanTransformer3DModel, "transformer"),
            vae=load(AutoencoderKLWan, "vae", torch.float32),
            text_encoder=load(UMT5EncoderModel, "text_encoder"),
            tokenizer=load_tokenizer(folder / "tokenizer"),
            scheduler=make_scheduler("unipc"),
            image_encoder=load(CLIPVisionModel, "image_encoder", torch.float32) if "image_encoder" in stored else None,
            generation_defaults=read_json(folder / MODEL_INDEX).get("generation_defaults"),
        )

    def _conditioning(self, canvas: Canvas, settings: GenerationSettings) -> Conditioning:
        """Successive frames, a sample of the posterior, and one block of CLIP features for each reference."""
        size = settings.width, settings.height
        references = canvas.by_cell()
        pictures = [
            cropped(reference.rgb, size)
            if index == BACKGROUND_INDEX or reference.role == "background"
            else padded(reference.rgb, size)
            for index, reference in enumerate(references)
        ]
        device = self._execution_device
        pixels = torch.stack([image_pixels(picture) for picture in pictures]).to(device)  # (N, 3, H, W)
        shape = VideoShape(settings.num_frames, settings.height, settings.width)
        video = successive_video(pixels, shape, self.strides)[None]
        guidance = vanilla_guidance(
            encode_video(self.vae, video, self._posterior_generator(settings)),
            [len(references)],
            mask_channels=self.strides.temporal,
        )
        if self.image_encoder is None:
            return Conditioning(guidance, None)
        seen = torch.stack([image_pixels(clip_picture(reference.rgb)) for reference in references]).to(device)
        return Conditioning(guidance, clip_features(self.image_encoder, seen).flatten(0, 1)[None])

    def _posterior_generator(self, settings: GenerationSettings) -> torch.Generator:
        """The seed's generator after it drew the noise, whose random numbers the posterior must not repeat."""
        generator = torch.Generator().manual_seed(settings.seed)
        shape = VideoShape(settings.num_frames, settings.height, settings.width).latent(self.strides)
        channels = self.transformer.config.out_channels
        torch.randn((1, channels, shape.frames, shape.height, shape.width), generator=generator)
        return generator

    def _scheduler(self, settings: GenerationSettings) -> Any:
        """diffusers' own noise levels, not those of Wan's code, where the published solver is asked for."""
        if settings.solver != "unipc":
            return super()._scheduler(settings)
        scheduler: Any = UniPCMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            num_train_timesteps=TRAIN_TIMESTEPS,
            flow_shift=settings.flow_shift,
        )
        scheduler.set_timesteps(settings.num_inference_steps)
        return scheduler


def padded(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture on white of the proportions of `size` (width, height), then resized to it."""
    (old_width, old_height), (width, height) = picture.size, size
    pad_x = pad_y = 0
    if old_height / old_width < height / width:
        pad_y = int((height / width * old_width - old_height) / 2)
    else:
        pad_x = int((width / height * old_height - old_width) / 2)
    white = Image.new("RGB", (old_width + 2 * pad_x, old_height + 2 * pad_y), "white")
    white.paste(picture, (pad_x, pad_y))
    return white.resize(size, Image.Resampling.BICUBIC)


def cropped(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of the picture in the proportions of `size` (width, height), resized to it."""
    (old_width, old_height), (width, height) = picture.size, size
    new_width, new_height = old_width, old_height
    if old_height / old_width < height / width:
        new_width = max(1, int(old_height / height * width))
    else:
        new_height = max(1, int(old_width / width * height))
    left, top = (old_width - new_width) // 2, (old_height - new_height) // 2
    return picture.crop((left, top, left + new_width, top + new_height)).resize(size, Image.Resampling.BICUBIC)


def clip_picture(picture: Image.Image) -> Image.Image:
    """What CLIP sees of a reference: padded to a square, then resized as transformers' image processor does it."""
    square = padded(picture, (CLIP_PICTURE_PX, CLIP_PICTURE_PX))
    return square.resize((CLIP_SIZE_PX, CLIP_SIZE_PX), Image.Resampling.BICUBIC)
