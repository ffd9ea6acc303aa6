"""A guided step with both passes as one batch against one after the other, at several lengths of the sequence.

`denoiser.BATCHED_TOKENS` says up to which length they are batched; here both ways are taken at every length.
"""

from __future__ import annotations

import argparse
from functools import partial
from unittest.mock import patch

import torch

from magref import MagrefPipeline
from magref.conditioning import Conditioning
from magref.denoiser import Denoiser
from magref.geometry import VideoShape
from magref.models import quiet_libraries
from pairs import describe_machine, measure, print_table

SIDES = (1, 2, 3, 4)
"""Of the model's own width and height."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in diffusers' layout; none: the embedded one")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="of PyTorch; none: its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    quiet_libraries()
    pipe = MagrefPipeline.from_pretrained(arguments.model).to(arguments.device)
    print(describe_machine())
    rows = []
    for side in SIDES:
        own = pipe.defaults
        latent = VideoShape(own.num_frames, side * own.height, side * own.width).latent(pipe.strides)
        tokens = latent.tokens(pipe.strides)
        size = (latent.frames, latent.height, latent.width)
        batched, split = (denoiser(pipe, size, limit) for limit in (tokens, 0))
        latents = torch.randn(1, pipe.transformer.config.out_channels, *size, device=pipe.device)

        pairs = measure(partial(step, batched, latents), partial(step, split, latents), arguments.pairs)
        rows.append((f"batched, {tokens} tokens", "one after the other", *pairs, None))
    print_table("a guided step", rows)


def step(one: Denoiser, latents: torch.Tensor) -> None:
    one(latents, 0)
    if latents.device.type == "cuda":
        torch.cuda.synchronize(latents.device)


def denoiser(pipe: MagrefPipeline, size: tuple[int, int, int], batched_tokens: int) -> Denoiser:
    """Over random inputs, its passes batched up to so many tokens."""
    config, dtype, device = pipe.transformer.config, pipe.transformer.dtype, pipe.device
    guidance = torch.randn(1, config.in_channels - config.out_channels, *size, device=device, dtype=dtype)
    texts = [torch.randn(20, config.text_dim, device=device, dtype=dtype) for _ in range(2)]
    timesteps = torch.full((1,), 500, device=device)
    with patch("magref.denoiser.BATCHED_TOKENS", batched_tokens):
        return Denoiser(
            pipe.transformer, texts, Conditioning(guidance, None), timesteps, text_tokens=pipe.defaults.text_tokens
        )


if __name__ == "__main__":
    main()
