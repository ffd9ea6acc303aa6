"""The arithmetic between matrix products: our Triton kernels against plain torch, and against torch.compile of it.

The bandwidth counts each activation once read and once written; it is compared with a large copy's on the same GPU.
`--sweep` tries other numbers of warps for the kernels' programs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from magref import elementwise
from measuring import Bench, main
from models import sizes

SWEEP = (4, 8, 16, 32)
ENOUGH = 0.8
"""Of a copy's bandwidth."""


Case = tuple[str, float, Callable[[Any], Any]]
"""What is done, bytes that it must move, and the call of it in a module."""


def work(bench: Bench) -> None:
    from magref import elementwise_triton as kernels

    copy = copy_bandwidth(bench)
    for what, traffic, run in cases(bench):
        compiled = torch.compile(run, dynamic=False) if bench.device.type == "cuda" else run

        def rate(seconds: float, traffic: float = traffic) -> dict[str, float | str]:
            return {"TB/s": traffic / seconds / 1e12, "of a copy": traffic / seconds / copy}

        ours = ("Triton", partial(run, kernels))
        row = bench.compare(what, ours, ("torch", partial(run, elementwise)), repeats=10, work=rate)
        if "of a copy" in row.notes:
            bench.aim(row, f">= {ENOUGH} of a copy", met=float(row.notes["of a copy"]) >= ENOUGH)
        peer = ("torch.compile", partial(compiled, elementwise))
        bench.compare(what, ours, peer, repeats=10, most_ratio=1.1)


def cases(bench: Bench) -> list[Case]:
    """At the transformer's and the VAE's sizes."""
    tokens, (heads, head_dim) = sizes(bench.tiny).tokens, (2, 16) if bench.tiny else (40, 128)
    dim = heads * head_dim
    source = torch.Generator(bench.device).manual_seed(0)

    def random(*shape: int, kind: torch.dtype = bench.dtype) -> torch.Tensor:
        return torch.randn(shape, device=bench.device, generator=source).to(kind)

    x, update = random(1, tokens, dim), random(1, tokens, dim)
    gate, scale, shift = (random(dim, kind=torch.float32) for _ in range(3))
    weight = random(dim)
    angles = random(tokens, head_dim // 2, kind=torch.float32)
    rotary = torch.polar(torch.ones_like(angles), angles)
    pixels = random(1, 2, *((6, 8, 8) if bench.tiny else (480, 832, 96)))
    gain = random(pixels.shape[-1])
    one, image = x.numel() * x.element_size(), pixels.numel() * pixels.element_size()
    return [
        ("norm, scale, shift", 2 * one, lambda m: m.normed(x, scale, shift, 1e-6)),
        ("gated sum, norm, scale, shift", 4 * one, lambda m: m.added_normed(x, update, gate, scale, shift, 1e-6)),
        ("sum, norm, scale, shift", 4 * one, lambda m: m.added_normed(x, update, None, scale, shift, 1e-6)),
        ("RMS norm, rotation", 2 * one, lambda m: m.normed_rotated(x, weight, rotary, 1e-6)),
        ("rounding rows to fp8", 1.5 * one, lambda m: restored(m.row_quantised(x))),
        ("RMS norm, SiLU of the VAE", 2 * image, lambda m: m.rms_silu(pixels, gain)),
    ]


def restored(parts: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Something of both to compare that costs nothing: the scales, and a few rows."""
    rows, scales = parts
    return torch.cat([scales, (rows[:4].float() * scales[:4]).flatten()[:, None]])


def copy_bandwidth(bench: Bench) -> float:
    """Bytes a second, read and written, of a copy far larger than the GPU's cache."""
    source = torch.ones(2**10 if bench.tiny else 2**31, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    row = bench.alone(
        "copy",
        ("device to device", lambda: target.copy_(source)),
        repeats=5,
        work=lambda seconds: {"TB/s": 2 * source.numel() / seconds / 1e12},
    )
    return float(row.notes["TB/s"]) * 1e12


def sweep(bench: Bench) -> None:
    from magref import elementwise_triton as kernels

    chosen = kernels.WARPS
    for what, traffic, run in cases(bench)[:5]:
        for kernels.WARPS in SWEEP:

            def rate(seconds: float, traffic: float = traffic) -> dict[str, float | str]:
                return {"TB/s": traffic / seconds / 1e12}

            name = f"{kernels.WARPS} warps"
            bench.alone(what, (name, partial(run, kernels)), repeats=10, work=rate)
    kernels.WARPS = chosen


if __name__ == "__main__":
    main("fused", __doc__, work, sweep)
