"""Encoding and decoding of 81 frames at 480 x 832 by Wan2.1's VAE: ours against diffusers' `AutoencoderKLWan`.

Encoding is in float32 on both sides; decoding in bfloat16, against diffusers in float32, its usual precision, and in
bfloat16. PyTorch lets cuDNN round what it convolves to TF32 by default, on both sides.
"""

from __future__ import annotations

import copy

import torch

from magref import autoencoder
from measuring import Bench, free, main
from models import sizes, vae

DECODE = 0.7
ENCODE_TFLOP, DECODE_TFLOP = 164, 275


@torch.no_grad()
def work(bench: Bench) -> None:
    frames, height, width = sizes(bench.tiny).latent
    model = vae(bench.tiny, bench.device)
    source = torch.Generator(bench.device).manual_seed(0)
    video = torch.rand(1, 3, 4 * frames - 3, 8 * height, 8 * width, device=bench.device, generator=source) * 2 - 1
    latents = torch.randn(1, 16, frames, height, width, device=bench.device, generator=source)

    def rate(tflop: float, seconds: float) -> dict[str, float | str]:
        return {} if bench.tiny else {"TFLOP/s": tflop / seconds}

    ours = ("ours, float32", lambda: autoencoder.encode(model, video).mode())

    def theirs() -> torch.Tensor:
        return model.encode(video).latent_dist.mode()

    peer = ("diffusers, float32", theirs)
    bench.compare("encode", ours, peer, pairs=2, work=lambda s: rate(ENCODE_TFLOP, s))
    free()
    name = str(bench.dtype).removeprefix("torch.")
    decode = (f"ours, {name}", lambda: autoencoder.decode(model, latents, bench.dtype))
    peer = ("diffusers, float32", lambda: model.decode(latents).sample)
    bench.compare("decode", decode, peer, pairs=2, most_ratio=DECODE, work=lambda s: rate(DECODE_TFLOP, s))
    free()
    half = copy.deepcopy(model).to(bench.dtype)
    peer = (f"diffusers, {name}", lambda: half.decode(latents.to(bench.dtype)).sample)
    bench.compare("decode", decode, peer, pairs=2)

    def streamed() -> torch.Tensor:
        """As it is written: no piece is kept."""
        return torch.stack([piece.float().mean() for piece in autoencoder.decode_pieces(model, latents, bench.dtype)])

    bench.alone("decode, piece by piece", (f"ours, {name}", streamed), runs=2)
    model.enable_tiling()
    bench.alone("decode in tiles, piece by piece", (f"ours, {name}", streamed), runs=2)


if __name__ == "__main__":
    main("vae", __doc__, work)
