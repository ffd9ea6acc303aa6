"""The VAE on a CPU: our arithmetic against diffusers' `AutoencoderKLWan`, the same weights in float32, one video."""

from __future__ import annotations

import argparse

import torch

from magref import MagrefPipeline, autoencoder
from magref.models import quiet_libraries
from pairs import describe_machine, measure, print_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a folder in diffusers' layout; none: the embedded model")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, help="of PyTorch; none: its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    quiet_libraries()
    pipe = MagrefPipeline.from_pretrained(arguments.model, torch_dtype=torch.float32)
    print(describe_machine())
    compare(pipe, arguments.pairs)


@torch.no_grad()
def compare(pipe: MagrefPipeline, pairs: int) -> None:
    """Encoding and decoding of a video of the model's own size and length."""
    vae, defaults = pipe.vae, pipe.defaults
    shape = (1, 3, defaults.num_frames, defaults.height, defaults.width)
    video = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = vae.encode(video).latent_dist.mode()
    assert autoencoder.suits(vae, video, video.dtype)
    encoded = (autoencoder.encode(vae, video).mode() - latents).norm() / latents.norm()
    frames = vae.decode(latents).sample
    decoded = (autoencoder.decode(vae, latents) - frames).norm() / frames.norm()
    print(
        f"{shape[2]} frames of {shape[4]}x{shape[3]}; relative difference {encoded:.1e} encoded, {decoded:.1e} decoded"
    )
    encoding = measure(lambda: autoencoder.encode(vae, video), lambda: vae.encode(video), pairs)
    decoding = measure(lambda: autoencoder.decode(vae, latents), lambda: vae.decode(latents), pairs)
    rows = [("encode", "diffusers", *encoding, None), ("decode", "diffusers", *decoding, 0.35)]
    print_table("autoencoder, float32", rows)


if __name__ == "__main__":
    main()
