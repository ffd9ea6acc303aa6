"""MagrefPipeline: reference images and a prompt become a video.

It wires text encoder, image encoder, VAE, transformer and solver; what each does is told in its own module.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import WanLoraLoaderMixin

from magref.canvas import Canvas, MaskKind, Order, compose_canvas
from magref.checkpoints.architecture import check_masked_guidance
from magref.checkpoints.components import check_components
from magref.checkpoints.layout import stored_dtypes
from magref.checkpoints.published import load_published
from magref.conditioning import Conditioning, build_conditioning
from magref.decoding import OutputType, channels_last, collected, decoded_pictures, to_bytes
from magref.denoiser import make_denoiser
from magref.errors import InputError, memory_errors
from magref.flow import make_scheduler, sample
from magref.frames import FrameStream
from magref.geometry import Strides, VideoShape
from magref.guidance import Passes, Velocity, text_guidance, with_step_cache
from magref.models import EMBEDDED_FOLDER, EMBEDDED_NAME, check_hub_id, check_pipeline
from magref.noise import initial_noises
from magref.parallel import Denoise, Spread, first_seed, shard_text_encoder
from magref.placement import choose_device, choose_dtype, loading_dtype
from magref.presets import CPU, Preset, choose_preset, place
from magref.prompts import check_prompt
from magref.references import MAX_REFERENCES, ImageLike, Reference
from magref.settings import (
    GenerationDefaults,
    GenerationSettings,
    Savings,
    Solver,
    check_references,
    resolve_settings,
)
from magref.sizes import sizes_of
from magref.text import check_text_features, encode_text, warn_if_cut

_LOG = logging.getLogger(__name__)

StepCallback = Callable[[Any, int, torch.Tensor, dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]


@dataclass(frozen=True)
class MagrefOutput:
    """What a generation gives.

    `frames`, by output type: "pil" a list of F images; "np" (F, H, W, 3) float32 in [0, 1]; "pt" (F, 3, H, W) float32
    in [0, 1]; "latent" (1, C, T, h, w), normalised, nothing dropped. With several videos per prompt, a list of these.
    """

    frames: Any
    canvas: Canvas
    settings: GenerationSettings


class MagrefPipeline(DiffusionPipeline, WanLoraLoaderMixin):
    """Any-reference video generation with masked guidance (paper 3.2) over a Wan2.1 image-to-video transformer.

    Args:
        transformer: `WanTransformer3DModel` that takes latents, mask channels and canvas latents (36 channels).
        vae: `AutoencoderKLWan`.
        text_encoder, tokenizer: umT5 or another encoder with `last_hidden_state`.
        scheduler: its configuration is the base of both solvers.
        image_encoder: `CLIPVisionModel`, or None for a model without one.
        generation_defaults: values of `GenerationDefaults`, stored with the model.
    """

    model_cpu_offload_seq = "text_encoder->image_encoder->transformer->vae"
    _optional_components: ClassVar = ["image_encoder"]
    _lora_loadable_modules: ClassVar = ["transformer"]
    _callback_tensor_inputs: ClassVar = ["latents"]
    _check_channels: ClassVar = staticmethod(check_masked_guidance)
    most_references: ClassVar[int] = MAX_REFERENCES
    _guides_by_text_alone: ClassVar[bool] = True
    """Whether steps without guidance are steps of one pass."""
    _samples_references: ClassVar[bool] = False
    """Whether the references' latents are drawn too, by the seed."""

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
        super().__init__()
        self.register_modules(
            transformer=transformer,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            image_encoder=image_encoder,
        )
        self.register_to_config(generation_defaults=generation_defaults or GenerationDefaults().model_dump())
        self.defaults = GenerationDefaults(**self.config.generation_defaults)
        self.strides = Strides.of(vae, transformer)
        self._spread: Spread | None = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path | None = None, **kwargs: Any) -> MagrefPipeline:
        """Load a model in diffusers layout from a folder or the Hugging Face hub; no name: the embedded magref-nano.

        Without `torch_dtype` (or `dtype`, its new name in diffusers), weights load in the precision they were saved in,
        bfloat16 as float32 where the machine has no fast bfloat16 (a hub id: as diffusers does). The VAE always loads
        in float32. With `preset`, the networks are put on a device at once: see `place`.

        Raises:
            CheckpointError: no such model, or files that are missing, incomplete, or do not fit the architecture.
            InputError, ResourceError: as `place` raises.
        """
        preset = kwargs.pop("preset", None)
        if pretrained_model_name_or_path in (None, EMBEDDED_NAME):
            pretrained_model_name_or_path = EMBEDDED_FOLDER
        location = Path(os.path.expanduser(pretrained_model_name_or_path))
        dtype = kwargs.pop("torch_dtype", None) or kwargs.pop("dtype", None)
        if location.is_dir():
            check_pipeline(location, cls.__name__)
            check_components(location, cls._check_channels)
            dtype = dtype or {part: loading_dtype(stored) for part, stored in stored_dtypes(location).items()}
        else:
            check_hub_id(str(pretrained_model_name_or_path))
        if isinstance(dtype, torch.dtype):
            dtype = {"default": dtype}
        if dtype is not None:
            kwargs["dtype"] = {**dtype, "vae": torch.float32}
        name = location if location.is_dir() else pretrained_model_name_or_path
        pipeline: MagrefPipeline = super().from_pretrained(str(name), **kwargs)
        if preset is not None:
            pipeline.place(preset)
        return pipeline

    @classmethod
    def from_published(
        cls,
        folder: str | Path,
        *,
        torch_dtype: torch.dtype = torch.bfloat16,
        clip_num_heads: int | None = None,
        transformer_file: str | Path | None = None,
    ) -> MagrefPipeline:
        """Load the authors' layout, or Wan2.1's own image-to-video layout, which has the same files.

        Args:
            folder: holds `config.json`, the transformer's shards, the VAE, umT5 and CLIP.
            torch_dtype: of transformer and encoders; the VAE stays in float32.
            clip_num_heads: of CLIP's attention, which no tensor's shape tells; None: by its width (16 for ViT-H).
            transformer_file: weights in one file (safetensors, fp8, GGUF) in place of the folder's transformer.

        Raises:
            CheckpointError: a file is missing, incomplete, or does not fit the architecture.
        """
        parts = load_published(
            folder, torch_dtype=torch_dtype, clip_num_heads=clip_num_heads, transformer_file=transformer_file
        )
        return cls(
            transformer=parts.transformer,
            vae=parts.vae,
            text_encoder=parts.text_encoder,
            tokenizer=parts.tokenizer,
            scheduler=make_scheduler("unipc"),
            image_encoder=parts.image_encoder,
            generation_defaults=GenerationDefaults(text_tokens=parts.text_tokens).model_dump(),
        )

    def place(self, preset: str = "auto", device: str | None = None, *, quantize: str | None = None) -> Preset:
        """Put the networks, loaded and on the CPU, where a preset for the card says; see docs/speed.md.

        Args:
            preset: a name in `presets.PRESETS`, or "auto": the first by which the model's own videos fit.
            device: as `choose_device` takes it; None: the best one here.
            quantize: "int8", "int8-dynamic", "fp8" or "none" in place of the preset's own.

        Raises:
            InputError: preset, device or quantisation is unknown, or the preset is for another kind of device.
            ResourceError: the card's memory does not suffice, or the package for quantised weights is missing.
        """
        where = choose_device("cpu" if device is None and preset == CPU.name else device)
        chosen = choose_preset(
            preset,
            where,
            lambda: sizes_of(self),
            self.defaults,
            element=self.transformer.dtype.itemsize,
            quantize=quantize,
        )
        place(self, chosen, where)
        return chosen

    def spread(self, kind: str) -> None:
        """Share the sampling of each video with the other processes that torchrun started; all of them call the same.

        Every one needs the same prompt, references and settings, and gets the same latents; the first one's seed holds
        in all. The text encoder's weights are spread over all of them, unless it is offloaded.

        Args:
            kind: "ulysses": all processes share the tokens; "guidance": half of them make each pass.

        Raises:
            InputError: there is one process only, or their number does not suit the transformer's heads.
        """
        self._spread = Spread.over(kind, self.transformer.config.num_attention_heads)
        if not any(
            hasattr(part, "_hf_hook") or hasattr(part, "_diffusers_hook") for part in self.text_encoder.modules()
        ):
            shard_text_encoder(self.text_encoder)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | None,
        references: Sequence[Reference | ImageLike],
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        flow_shift: float | None = None,
        solver: Solver | None = None,
        seed: int | None = None,
        order: Order = "given",
        mask: MaskKind = "rectangle",
        latents: torch.Tensor | None = None,
        drop_frames: int | None = None,
        output_type: OutputType = "pil",
        generator: torch.Generator | list[torch.Generator] | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        num_videos_per_prompt: int = 1,
        callback_on_step_end: StepCallback | None = None,
        savings: Savings | None = None,
    ) -> MagrefOutput:
        """Generate. None means the model's own default (`pipe.defaults`).

        Args:
            prompt: what happens in the video; may be None where `prompt_embeds` is given.
            references: one to eight paths, PIL images or `Reference`s.
            negative_prompt: what the video is not to show.
            height, width: in pixels, multiples of `strides.pixel_multiple` (16).
            num_frames: generated frames, 4k+1.
            num_inference_steps, guidance_scale, flow_shift, solver: of the sampler; guidance 1 skips the second pass.
            seed: fixes noise and shuffled layout; None draws one, found in `settings.seed`. Video i of several takes
                seed + i for its noise.
            order: "given" or "shuffled", see `compose_canvas`.
            mask: "rectangle" or "alpha", see `compose_canvas`.
            latents: initial noise (1, C, T, h, w) or (C, T, h, w) in place of the seed's; with several videos (V, ...).
            drop_frames: pixel frames cut from the start after decoding.
            output_type: see `MagrefOutput`.
            generator: draws the noise in place of the seed; a list gives one to each video.
            prompt_embeds, negative_prompt_embeds: text features (1, n, D) or (n, D) in place of the texts.
            callback_on_step_end: called as `f(pipe, step, timestep, {"latents": ...})`; may return changed latents.
            savings: what the sampling leaves out for time; None: nothing. `savings.FAST` and `FASTER` are bundles.

        Raises:
            InputError: an argument or a reference is not usable; before anything heavy runs.
            ResourceError: the device's memory does not suffice.
        """
        if prompt_embeds is None:
            check_prompt(prompt)
        settings = resolve_settings(
            self.defaults,
            self.strides,
            prompt=prompt or "",
            negative_prompt=negative_prompt,
            height=height,
            width=width,
            num_frames=num_frames,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            flow_shift=flow_shift,
            solver=solver,
            drop_frames=drop_frames,
            seed=seed,
            order=order,
            mask=mask,
            savings=savings,
        )
        if self._spread is not None:
            agreed = first_seed(settings.seed, self._execution_device)
            settings = settings.model_copy(update={"seed": agreed})
        if not self._guides_by_text_alone and settings.savings.guidance_interval != (0.0, 1.0):
            raise InputError(f"{type(self).__name__} guides by more than text, at every step; leave out the interval")
        if self._samples_references and seed is None and (generator is not None or latents is not None):
            raise InputError(f"{type(self).__name__} draws the references' latents too; give a seed beside the noise")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise InputError(f"output type {output_type!r} is unknown; use pil, np, pt or latent")
        shape = f"{settings.width}x{settings.height}, {settings.num_frames} frames"
        with memory_errors(shape, "use a smaller size, fewer frames or --preset auto"):
            canvas = compose_canvas(
                references, height=settings.height, width=settings.width, order=order, seed=settings.seed, mask=mask
            )
            self._check_references(len(canvas.references), settings)
            for embeds in (prompt_embeds, negative_prompt_embeds):
                check_text_features(embeds, self.transformer.config.text_dim, settings.text_tokens)
            latent = VideoShape(settings.num_frames, settings.height, settings.width).latent(self.strides)
            size = (1, self.transformer.config.out_channels, latent.frames, latent.height, latent.width)
            noises = initial_noises(size, num_videos_per_prompt, settings.seed, latents, generator)
            if self.transformer.dtype is torch.bfloat16 and choose_dtype(self._execution_device) is torch.float32:
                _LOG.warning("bfloat16 is slow on this device; load with torch_dtype=torch.float32, or use a newer GPU")
            try:
                texts = self._texts(settings, prompt_embeds, negative_prompt_embeds)
                conditioning = self._conditioning(canvas, settings).to(self._execution_device, self.transformer.dtype)
                videos = []
                for noise in noises:
                    final = self._denoise(settings, texts, conditioning, noise, callback_on_step_end)
                    videos.append(self._decoded(final, settings, output_type))
            finally:
                self.maybe_free_model_hooks()
        return MagrefOutput(videos if num_videos_per_prompt > 1 else videos[0], canvas, settings)

    def _check_references(self, count: int, settings: GenerationSettings) -> None:
        if count > self.most_references:
            raise InputError(f"{count} references were given; give 1 to {self.most_references}")
        shape = VideoShape(settings.num_frames, settings.height, settings.width)
        check_references(settings.mechanism, count, shape, self.strides)

    def _conditioning(self, canvas: Canvas, settings: GenerationSettings) -> Conditioning:
        parts = {"vae": self.vae, "strides": self.strides, "image_encoder": self.image_encoder}
        return build_conditioning(
            [canvas], settings.num_frames, device=self._execution_device, mechanism=settings.mechanism, **parts
        )

    def _texts(
        self,
        settings: GenerationSettings,
        prompt_embeds: torch.Tensor | None,
        negative_prompt_embeds: torch.Tensor | None,
    ) -> list[torch.Tensor]:
        """Features (n, D) of the prompt and, with guidance, of the negative prompt."""
        wanted = [(settings.prompt, prompt_embeds)]
        if self._needs_negative(settings):
            wanted.append((settings.negative_prompt, negative_prompt_embeds))
        features = [self._encoded(text, settings) if given is None else given for text, given in wanted]
        return [each.reshape(each.shape[-2:]).to(self._execution_device, self.transformer.dtype) for each in features]

    def _encoded(self, text: str, settings: GenerationSettings) -> torch.Tensor:
        warn_if_cut(text, self.tokenizer, settings.text_tokens)
        parts = {"tokenizer": self.tokenizer, "text_encoder": self.text_encoder}
        return encode_text(text, text_tokens=settings.text_tokens, device=self._execution_device, **parts)

    def _needs_negative(self, settings: GenerationSettings) -> bool:
        return settings.guidance_scale != 1

    def _scheduler(self, settings: GenerationSettings) -> Any:
        return make_scheduler(
            settings.solver, self.scheduler.config, steps=settings.num_inference_steps, shift=settings.flow_shift
        )

    def _denoiser(
        self,
        texts: Sequence[torch.Tensor],
        conditioning: Conditioning,
        timesteps: torch.Tensor,
        settings: GenerationSettings,
    ) -> Denoise:
        share = None if self._spread is None else self._spread.share

        def make(some: Sequence[torch.Tensor]) -> Denoise:
            return make_denoiser(
                self.transformer,
                some,
                conditioning,
                timesteps,
                text_tokens=settings.text_tokens,
                share=share,
                attention=settings.savings.attention,
            )

        return make(texts) if self._spread is None else self._spread.denoiser(make, texts)

    def _guided(
        self, passes: Passes, texts: list[torch.Tensor], conditioning: Conditioning, settings: GenerationSettings
    ) -> Velocity:
        return text_guidance(passes, texts, conditioning, settings)

    def _denoise(
        self,
        settings: GenerationSettings,
        texts: list[torch.Tensor],
        conditioning: Conditioning,
        noise: torch.Tensor,
        callback: StepCallback | None,
    ) -> torch.Tensor:
        """Noise -> clean latents."""
        scheduler = self._scheduler(settings)
        passes = partial(self._denoiser, timesteps=scheduler.timesteps, settings=settings)
        velocity = with_step_cache(self._guided(passes, texts, conditioning, settings), settings)

        def on_step(step: int, latents: torch.Tensor) -> torch.Tensor:
            progress.update()
            if callback is None:
                return latents
            changed = callback(self, step, scheduler.timesteps[step], {"latents": latents})
            return latents if not changed else changed.get("latents", latents)

        with self.progress_bar(total=settings.num_inference_steps) as progress:
            return sample(velocity, noise.to(self._execution_device), scheduler, on_step)

    def frames(self, latents: torch.Tensor, settings: GenerationSettings) -> FrameStream:
        """The video of latents (1, C, T, h, w) that a call with `output_type="latent"` gave, decoded while it is read.

        Raises:
            ResourceError: while it is read, the device's memory does not suffice.
        """
        shape = (settings.num_frames - settings.drop_frames, settings.height, settings.width, 3)

        def make() -> Iterator[npt.NDArray[np.uint8]]:
            with memory_errors(
                f"decoding {shape[2]}x{shape[1]}", "use a smaller size or --preset 24gb --quantize none"
            ):
                try:
                    for piece in self._pictures(latents, settings):
                        yield to_bytes(channels_last(piece))
                finally:
                    self.maybe_free_model_hooks()

        return FrameStream(shape, make)

    def _decoded(self, latents: torch.Tensor, settings: GenerationSettings, output_type: OutputType) -> Any:
        return latents if output_type == "latent" else collected(self._pictures(latents, settings), output_type)

    def _pictures(self, latents: torch.Tensor, settings: GenerationSettings) -> Iterator[torch.Tensor]:
        """A GPU that samples in bfloat16 decodes in it too; the VAE's weights stay as they are, for encoding."""
        half = self._execution_device.type == "cuda" and self.transformer.dtype is torch.bfloat16
        dtype = torch.bfloat16 if half else self.vae.dtype
        return decoded_pictures(self.vae, latents, settings.drop_frames, dtype)
