"""Four blocks forward and backward with each block's activations made again, as in training on 80 GB: with the
trainer's settings (compiled blocks, the best attention kernel) against diffusers eager.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from magref.attention import diffusers_attention
from magref.denoiser import Denoiser
from measuring import Bench, main
from models import TEXT_TOKENS, inputs, set_attention, sharing, sizes, transformer
from one_block import theirs

BLOCKS = 4
TFLOP = BLOCKS * 3 * 1686.4 / 40
"""The model's own: forward, and twice that backward. What is computed again saves memory and is not counted."""
LEAST_TFLOPS = 0.45 * 790
"""A second; of what this card's bf16 products reach by the published tables."""
MOST_RATIO = 0.65


def work(bench: Bench) -> None:
    of = sizes(bench.tiny)
    model = transformer(bench.tiny, BLOCKS, bench.device, bench.dtype)
    texts, conditioning, timesteps, noise = inputs(of, model, bench.device, bench.dtype)
    with torch.no_grad():
        prepared = Denoiser(model, texts[:1], conditioning, timesteps, text_tokens=TEXT_TOKENS)
        x = model.patch_embedding(conditioning.join(noise)).flatten(2).transpose(1, 2).contiguous()
        arguments = theirs(model, texts[0], conditioning, prepared)

    def trained(one: Any) -> torch.Tensor:
        """The gradient that reaches the input, and on the way those of all weights."""
        one.zero_grad(set_to_none=True)
        h = start = x.clone().requires_grad_()
        for block in one.blocks:
            h = checkpoint(block, h, *arguments, use_reentrant=False)
        h.float().square().mean().backward()
        assert start.grad is not None
        return start.grad

    def rate(seconds: float) -> dict[str, float | str]:
        return {} if bench.tiny else {"TFLOP/s": TFLOP / seconds}

    eager = set_attention(sharing(model), "native").requires_grad_(True)
    ours = sharing(model).requires_grad_(True)
    if bench.device.type == "cuda":
        ours.compile_repeated_blocks()

    def our_step() -> torch.Tensor:
        with diffusers_attention(ours):
            return trained(ours)

    peer = ("diffusers, eager", lambda: trained(eager))
    row = bench.compare(
        "four blocks, forward and backward",
        ("compiled, best attention", our_step),
        peer,
        pairs=3,
        most_ratio=MOST_RATIO,
        work=rate,
    )
    reached = row.notes.get("TFLOP/s", 0.0)
    bench.aim(row, f">= {LEAST_TFLOPS:.0f} TFLOP/s", met=isinstance(reached, float) and reached >= LEAST_TFLOPS)


if __name__ == "__main__":
    main("training", __doc__, work)
