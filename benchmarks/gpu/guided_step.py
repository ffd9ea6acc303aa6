"""One guided step of the whole 14B transformer, 40 blocks and two passes: ours against diffusers eager, and compiled
with cuDNN attention; then ours with linear layers in fp8. All over the same random weights.
"""

from __future__ import annotations

import torch

from magref.denoiser import Denoiser, PlainDenoiser
from magref.fp8 import to_fp8
from measuring import Bench, free, main
from models import TEXT_TOKENS, inputs, set_attention, sharing, sizes, transformer

STEP_S, FLOOR_S = 5.0, 4.27
FP8, FP8_ERROR = 0.75, 0.02
"""Aims: of our own time in bfloat16, and the relative error of the velocity."""
TFLOP = 2 * 1686.4
FAR = 0.2
"""40 blocks of random weights carry roundings further than trained ones do."""


@torch.no_grad()
def work(bench: Bench) -> None:
    of = sizes(bench.tiny)
    model = transformer(bench.tiny, 2 if bench.tiny else 40, bench.device, bench.dtype)
    texts, conditioning, timesteps, noise = inputs(of, model, bench.device, bench.dtype)
    ours = Denoiser(model, texts, conditioning, timesteps, text_tokens=TEXT_TOKENS)

    def rate(seconds: float) -> dict[str, float | str]:
        return {} if bench.tiny else {"TFLOP/s": TFLOP / seconds, "floor_s": FLOOR_S, "attention": ours._kernel}

    def of_diffusers(other: object) -> PlainDenoiser:
        return PlainDenoiser(other, texts, conditioning, timesteps, text_tokens=TEXT_TOKENS)

    our_step = ("ours", lambda: ours(noise, 1))
    eager = of_diffusers(set_attention(sharing(model), "native"))
    peer = ("diffusers, eager", lambda: eager(noise, 1))
    bench.compare("guided step", our_step, peer, pairs=2, most_s=STEP_S, work=rate, most_difference=FAR)
    if bench.device.type == "cuda":
        compiled = set_attention(sharing(model), "_native_cudnn")
        compiled.compile_repeated_blocks(fullgraph=True)
        quick = of_diffusers(compiled)
        peer = ("diffusers, compiled, cuDNN", lambda: quick(noise, 1))
        bench.compare("guided step", our_step, peer, pairs=2, most_difference=FAR)
    free()
    small = sharing(model)
    for block in small.blocks:
        to_fp8(block, lambda layer, name: True)
    rounded = Denoiser(small, texts, conditioning, timesteps, text_tokens=TEXT_TOKENS)
    fp8 = ("ours, fp8", lambda: rounded(noise, 1))
    row = bench.compare("guided step", fp8, our_step, pairs=2, most_ratio=FP8, most_difference=1.0)
    if row.difference is not None:
        bench.aim(row, f"difference < {FP8_ERROR}", met=row.difference < FP8_ERROR)


if __name__ == "__main__":
    main("step", __doc__, work)
