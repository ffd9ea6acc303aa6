"""One of 40 blocks, without guidance: ours against diffusers eager, diffusers compiled with cuDNN attention, and the
arithmetic of the published code. Text and image keys and values are made once a video by ours, each time by the others.
"""

from __future__ import annotations

from typing import Any

import torch

from magref.denoiser import Denoiser
from measuring import Bench, main
from models import TEXT_TOKENS, inputs, set_attention, sharing, sizes, transformer
from published import published_block

EAGER, COMPILED = 0.60, 0.95
"""Aims, of diffusers' time."""
MATRIX_TFLOP = 1686.4 / 40
"""Of a block at 32,760 tokens, with 512 text rows and the keys and values of text and image."""


@torch.no_grad()
def work(bench: Bench) -> None:
    of = sizes(bench.tiny)
    model = transformer(bench.tiny, 1, bench.device, bench.dtype)
    texts, conditioning, timesteps, noise = inputs(of, model, bench.device, bench.dtype)
    ours = Denoiser(model, texts[:1], conditioning, timesteps, text_tokens=TEXT_TOKENS)
    x = model.patch_embedding(conditioning.join(noise)).flatten(2).transpose(1, 2).contiguous()
    modulation = ours._tables[0] + ours._modulation[0]
    scale, shift = modulation[1], modulation[0]
    normed = ours._math.normed(x, scale, shift, ours._eps)

    def our_block() -> torch.Tensor:
        h, query = ours._before_text(0, x, normed, modulation)
        return ours._after_text(0, h, query, slice(0, 1), modulation, scale, shift)[0]

    def rate(seconds: float) -> dict[str, float | str]:
        return {} if bench.tiny else {"TFLOP/s": MATRIX_TFLOP / seconds, "attention": ours._kernel}

    arguments = theirs(model, texts[0], conditioning, ours)
    eager = set_attention(sharing(model), "native").blocks[0]
    peer = ("diffusers, eager", lambda: eager(x, *arguments))
    bench.compare("one block", ("ours", our_block), peer, most_ratio=EAGER, repeats=3, work=rate)
    if bench.device.type == "cuda":
        cudnn = set_attention(sharing(model), "_native_cudnn")
        bench.compare(
            "one block",
            ("ours", our_block),
            ("diffusers, eager, cuDNN", lambda: cudnn.blocks[0](x, *arguments)),
            repeats=3,
        )
        compiled = set_attention(sharing(model), "_native_cudnn")
        compiled.compile_repeated_blocks(fullgraph=True)
        peer = ("diffusers, compiled, cuDNN", lambda: compiled.blocks[0](x, *arguments))
        bench.compare("one block", ("ours", our_block), peer, most_ratio=COMPILED, repeats=3)
    image, text = arguments[0][:, :-TEXT_TOKENS], arguments[0][:, -TEXT_TOKENS:]
    angles = torch.polar(torch.ones_like(ours._rotary.real.double()), ours._rotary.angle().double())
    peer = (
        "the published arithmetic",
        lambda: published_block(model.blocks[0], x.float(), text, image, arguments[1], angles),
    )
    bench.compare("one block", ("ours", our_block), peer, repeats=3)


def theirs(model: Any, text: torch.Tensor, conditioning: Any, ours: Denoiser) -> tuple[Any, ...]:
    """What diffusers' block takes beside the hidden states: image and text together, time, rotary tables."""
    padded = torch.nn.functional.pad(text, (0, 0, 0, TEXT_TOKENS - len(text)))[None]
    embedder = model.condition_embedder
    together = torch.cat([embedder.image_embedder(conditioning.image_embeds), embedder.text_embedder(padded)], 1)
    return together, ours._modulation[:1], model.rope(conditioning.guidance)


if __name__ == "__main__":
    main("block", __doc__, work)
