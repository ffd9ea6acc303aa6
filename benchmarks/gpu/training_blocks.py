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
TFLOP = BLOCKS * 4 * 1686.4 / 40
"""Forward, forward again, and twice that backward."""


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
    bench.compare("four blocks, forward and backward", ("compiled, best attention", our_step), peer, pairs=3, work=rate)


if __name__ == "__main__":
    main("training", __doc__, work)
