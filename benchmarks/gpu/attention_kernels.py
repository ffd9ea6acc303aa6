"""Attention alone, at the lengths of a 480 x 832 x 81 video: by kernel, against what diffusers does by default.

Self-attention is half of all arithmetic. "as they lie" gives the kernel queries, keys and values as the projections
leave them; "copied" makes them contiguous for each head first, as diffusers does for cuDNN.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn

from magref.attention import Kernel, attend, attention_kernel, works
from magref.attention_int8 import attention_int8
from magref.cross_attention import CrossAttention, cross_attention, cross_attention_for
from magref.denoiser import fold_padding
from magref.errors import ResourceError
from measuring import Bench, main
from models import TEXT_TOKENS, sizes

KERNELS: tuple[Kernel, ...] = ("cudnn", "flash", "native")
PUBLISHED_TFLOPS = 595
"""cuDNN's on an H100, as its makers and others report it."""


def work(bench: Bench) -> None:
    of = sizes(bench.tiny)
    heads, head_dim = (2, 16) if bench.tiny else (40, 128)
    source = torch.Generator(bench.device).manual_seed(0)

    def random(tokens: int) -> torch.Tensor:
        return torch.randn(1, tokens, heads, head_dim, device=bench.device, generator=source).to(bench.dtype)

    q, k, v = (random(of.tokens) for _ in range(3))
    flops = 4 * of.tokens**2 * heads * head_dim

    def rate(seconds: float) -> dict[str, float | str]:
        return {"TFLOP/s": flops / seconds / 1e12}

    best = attention_kernel(bench.device, bench.dtype, head_dim)
    peer = ("diffusers, native", lambda: dispatch_attention_fn(q, k, v, backend="native"))
    for kernel in KERNELS:
        if works(kernel, bench.device, bench.dtype, head_dim):
            name = f"{kernel}, as they lie" + (" (the default)" if kernel == best else "")
            row = bench.compare("self-attention", (name, partial(attend, q, k, v, kernel)), peer, repeats=3, work=rate)
            if kernel == best and "TFLOP/s" in row.notes:
                reached = float(row.notes["TFLOP/s"])
                bench.aim(row, f">= {PUBLISHED_TFLOPS} TFLOP/s", met=reached >= PUBLISHED_TFLOPS)
        else:
            with bench.part("self-attention", kernel) as row:
                row.notes["works"] = "no"
    try:
        eight_bits = ("in 8 bits, approximate", partial(attention_int8(bench.device, bench.dtype, head_dim), q, k, v))
        bench.compare("self-attention", eight_bits, peer, repeats=3, work=rate)
    except ResourceError as error:
        with bench.part("self-attention", "in 8 bits") as row:
            row.notes["not measured"] = str(error)
    if bench.device.type == "cuda":
        copied = ("diffusers, cuDNN, copied", lambda: dispatch_attention_fn(q, k, v, backend="_native_cudnn"))
        bench.compare("self-attention", copied, peer, repeats=3, work=rate)

    rows, bias = fold_padding([torch.zeros(of.texts[0], 1, device=bench.device)], TEXT_TOKENS)
    text_bias = bias.to(bench.dtype)
    few = random(rows.shape[1])
    many = torch.cat([few, few[:, -1:].expand(-1, TEXT_TOKENS - few.shape[1], -1, -1)], 1)

    def folded() -> torch.Tensor:
        query, key = q.transpose(1, 2), few.transpose(1, 2)
        return F.scaled_dot_product_attention(query, key, key, attn_mask=text_bias).transpose(1, 2)

    bench.compare(
        "cross-attention to text",
        ("padding folded into one row", folded),
        ("all rows", lambda: attend(q, many, many, best)),
        repeats=10,
    )
    image = random(of.image[0])
    kept = [part.transpose(1, 2).contiguous() for part in (few, image)]
    queries = q.flatten(2)

    def both(attention: CrossAttention) -> torch.Tensor:
        return attention(queries, (kept[0], kept[0]), text_bias, (kept[1], kept[1]))

    chosen = cross_attention_for(bench.device, bench.dtype, head_dim)
    name = "PyTorch, as nothing else runs" if chosen is cross_attention else "one Triton kernel"
    plain = ("PyTorch, two and a sum", lambda: both(cross_attention))
    bench.compare("cross-attention to both", (name, lambda: both(chosen)), plain, repeats=10)
    for kernel in KERNELS:
        if works(kernel, bench.device, bench.dtype, head_dim):
            bench.alone(
                "cross-attention to the image",
                (kernel, partial(attend, q, image, image, kernel)),
                repeats=10,
            )


if __name__ == "__main__":
    main("attention", __doc__, work)
