"""The sampling loop against diffusers' own, over the same transformer.

Both pipelines are called whole, with text features given and latents asked for, and with the conditioning of the
references (VAE encoding included) replaced by the same finished tensors. What remains is the loop: solver, guidance and
the transformer, and whatever either pipeline prepares for it. diffusers' solver takes our noise levels, so that the
final latents can be compared; its text is padded to as many rows as ours. The VAE follows (`autoencoder.py`), so that
all that a CPU is aimed at stands in one run.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline
from PIL import Image

import magref.pipeline
from autoencoder import compare
from magref import MagrefPipeline
from magref.conditioning import Conditioning
from magref.flow import make_scheduler
from magref.geometry import VideoShape
from magref.placement import choose_dtype
from magref.text import encode_text
from pairs import describe_machine, measure, print_table

PROMPT = "The little dog moves to the right slowly on a sky blue background."
LOOP = Callable[[], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in diffusers' layout; none: the embedded model")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of PyTorch; none: its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)

    default = choose_dtype(torch.device("cpu"))
    pipe32 = MagrefPipeline.from_pretrained(arguments.model, torch_dtype=torch.float32)
    theirs, ours32 = diffusers_loop(pipe32), our_loop(pipe32)
    print(describe_machine())
    print(describe_work(pipe32))
    print(f"final latents, ours in float32 against diffusers': {difference(ours32(), theirs()):.1e} relative")
    rows = [("float32", "diffusers float32", *measure(ours32, theirs, arguments.pairs), 0.8)]
    if default is torch.float32:
        print(
            "no bfloat16 in this CPU's hardware: the default precision is float32, and one comparison serves all aims"
        )
    else:
        name = str(default).removeprefix("torch.")
        pipe = MagrefPipeline.from_pretrained(arguments.model, torch_dtype=default)
        ours = our_loop(pipe)
        for other, loop, aim in (("float32", theirs, 0.55), (name, diffusers_loop(pipe), 0.9)):
            unlike = difference(ours(), loop())
            print(f"final latents, ours in {name} against diffusers' in {other}: {unlike:.1e} relative")
            rows.append((f"{name} (default)", f"diffusers {other}", *measure(ours, loop, arguments.pairs), aim))
    print_table("sampling loop", rows)
    compare(pipe32, arguments.pairs)


def our_loop(pipe: MagrefPipeline) -> LOOP:
    """MagrefPipeline from text features to latents, its conditioning prepared beforehand."""
    pipe.set_progress_bar_config(disable=True)
    texts, conditioning, noise = inputs(pipe)
    dtype = pipe.transformer.dtype

    def run() -> torch.Tensor:
        with patch.object(magref.pipeline, "build_conditioning", return_value=conditioning):
            out = pipe(
                None,
                [Image.new("RGB", (32, 32))],
                prompt_embeds=texts[0].to(dtype),
                negative_prompt_embeds=texts[1].to(dtype),
                latents=noise,
                output_type="latent",
            )
        latents: torch.Tensor = out.frames
        return latents

    return run


def diffusers_loop(pipe: MagrefPipeline) -> LOOP:
    """WanImageToVideoPipeline with the same parts; its own `__call__` runs, `prepare_latents` alone is replaced."""
    defaults = pipe.defaults
    texts, conditioning, noise = inputs(pipe)
    wan = PreparedWan(
        transformer=pipe.transformer,
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        image_encoder=None,
        image_processor=None,
        scheduler=OurNoiseLevels.from_config(pipe.scheduler.config, flow_shift=defaults.flow_shift),
    )
    wan.prepared = (noise, conditioning.guidance)
    wan.set_progress_bar_config(disable=True)
    padded = [F.pad(text, (0, 0, 0, defaults.text_tokens - text.shape[0]))[None] for text in texts]

    def run() -> torch.Tensor:
        latents: torch.Tensor = wan(
            image=Image.new("RGB", (defaults.width, defaults.height)),
            prompt_embeds=padded[0],
            negative_prompt_embeds=padded[1],
            image_embeds=conditioning.image_embeds,
            height=defaults.height,
            width=defaults.width,
            num_frames=defaults.num_frames,
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=defaults.guidance_scale,
            output_type="latent",
            return_dict=False,
        )[0]
        return latents

    return run


class PreparedWan(WanImageToVideoPipeline):
    """diffusers' pipeline with latents and condition given, so that no VAE runs."""

    prepared: tuple[torch.Tensor, torch.Tensor]

    def prepare_latents(self, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """What was prepared."""
        return self.prepared


class OurNoiseLevels(UniPCMultistepScheduler):
    """diffusers' solver on the noise levels that the published checkpoint is sampled with."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None, **_: Any) -> None:
        """Our noise levels in place of the solver's own."""
        like = make_scheduler("unipc", self.config, steps=num_inference_steps, shift=self.config.flow_shift)
        super().set_timesteps(num_inference_steps, device=device)
        self.sigmas, self.timesteps = like.sigmas, like.timesteps
        self.set_begin_index(0)


def inputs(pipe: MagrefPipeline) -> tuple[list[torch.Tensor], Conditioning, torch.Tensor]:
    """Text features of prompt and negative prompt, random conditioning and noise, at the model's own sizes."""
    defaults, config = pipe.defaults, pipe.transformer.config
    shape = VideoShape(defaults.num_frames, defaults.height, defaults.width).latent(pipe.strides)
    size = (shape.frames, shape.height, shape.width)
    source = torch.Generator().manual_seed(0)
    guidance = torch.randn(1, config.in_channels - config.out_channels, *size, generator=source)
    noise = torch.randn(1, config.out_channels, *size, generator=source)
    with torch.no_grad():
        texts = [
            encode_text(
                text, tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder, text_tokens=defaults.text_tokens
            ).float()
            for text in (PROMPT, defaults.negative_prompt)
        ]
    return texts, Conditioning(guidance, None), noise


def describe_work(pipe: MagrefPipeline) -> str:
    d = pipe.defaults
    tokens = VideoShape(d.num_frames, d.height, d.width).latent(pipe.strides).tokens(pipe.strides)
    parameters = sum(parameter.numel() for parameter in pipe.transformer.parameters()) / 1e6
    return (
        f"{parameters:.1f} M parameters, {tokens} tokens, {d.num_inference_steps} steps, guidance {d.guidance_scale}, "
        f"{d.text_tokens} text rows"
    )


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).norm() / b.float().norm())


if __name__ == "__main__":
    main()
