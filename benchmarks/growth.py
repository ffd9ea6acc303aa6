"""How time and memory grow with a video's frames and size, beside the arithmetic; draws docs/images/growth.png.

Measured are one guided step of sampling, encoding the canvas's video, and decoding, each alone, over the weights of the
embedded model or another one. Time is the least of several runs. Memory is the most that torch's allocator gave out at
once, without the weights; what `magref plan` counts for it without data stands beside it. The arithmetic of time is a
step's FLOP, drawn through the model's own size: attention grows with the square of the tokens, all else evenly.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from magref import MagrefPipeline
from magref.accounting import measured_bytes
from magref.conditioning import Conditioning, decode_pieces, encode_video
from magref.costs import count_working
from magref.denoiser import Denoiser
from magref.evaluation.plots import plain, pyplot, save
from magref.geometry import VideoShape
from magref.models import quiet_libraries
from magref.outputs import writing
from magref.presets import PRESETS
from magref.sizes import IMAGE_TOKENS, forward_flops, sizes_of
from pairs import describe_machine

FRAMES = (5, 9, 17, 33, 65, 129)
"""Beside the model's own number."""
SIDES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Of the model's own width and height."""
STAGES = ("step", "encode", "decode")
COLOURS = {"step": "#1f6feb", "encode": "#8250df", "decode": "#d1242f"}


@dataclass(frozen=True)
class Point:
    """One size of a video: tokens, FLOP of a guided step, and of each stage seconds and bytes, measured and counted."""

    shape: VideoShape
    tokens: int
    step_flops: float
    seconds: dict[str, float]
    measured_bytes: dict[str, int]
    counted_bytes: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in diffusers' layout; none: the embedded one")
    parser.add_argument("--runs", type=int, default=4, help="of each stage at each size")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="of PyTorch; none: its own choice")
    parser.add_argument("--plot", type=Path, default=Path("growth.png"))
    parser.add_argument("--out", type=Path, help="write the numbers to this .json too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    quiet_libraries()
    pipeline = MagrefPipeline.from_pretrained(options.model).to(options.device)
    print(describe_machine())
    own = pipeline.defaults
    by_frames, by_side = [], []
    lengths = sorted({*FRAMES, own.num_frames})
    for frames in lengths:
        by_frames.append(measure(pipeline, VideoShape(frames, own.height, own.width), options.runs))
        print(describe(by_frames[-1]), flush=True)
    multiple = pipeline.strides.pixel_multiple
    for side in SIDES:
        height, width = (round(length * side / multiple) * multiple for length in (own.height, own.width))
        by_side.append(measure(pipeline, VideoShape(own.num_frames, height, width), options.runs))
        print(describe(by_side[-1]), flush=True)
    twice = by_frames[lengths.index(own.num_frames)], by_side[SIDES.index(1.0)]  # the model's own size, measured twice
    base = replace(twice[0], seconds={name: min(point.seconds[name] for point in twice) for name in STAGES})
    draw(by_frames, by_side, base, options.plot)
    if options.out is not None:
        with writing(options.out, overwrite=True) as path:
            points = [asdict(point) for point in (*by_frames, *by_side)]
            path.write_text(json.dumps({"machine": describe_machine(), "points": points}, indent=1) + "\n")


def measure(pipeline: MagrefPipeline, shape: VideoShape, runs: int) -> Point:
    """All stages at one size."""
    sizes, text_tokens = sizes_of(pipeline), pipeline.defaults.text_tokens
    tokens = shape.latent(pipeline.strides).tokens(pipeline.strides)
    element = pipeline.transformer.dtype.itemsize
    working, _ = count_working(sizes, shape, PRESETS["cpu"], guided=True, element=element)
    seconds, memory = {}, {}
    with torch.no_grad():
        for name, run in stages(pipeline, shape):
            run()
            memory[name] = peak_bytes(run, pipeline.device)
            seconds[name] = min(timed(run, pipeline.device) for _ in range(runs))
    return Point(
        shape, tokens, 2 * forward_flops(sizes.config, tokens, text_tokens), seconds, memory,
        {"step": working.step, "encode": working.encode, "decode": working.decode},
    )  # fmt: skip


def stages(pipeline: MagrefPipeline, shape: VideoShape) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each stage's name and what it computes, over random inputs."""
    transformer, vae, device = pipeline.transformer, pipeline.vae, pipeline.device
    config, latent = transformer.config, shape.latent(pipeline.strides)
    size, dtype = (latent.frames, latent.height, latent.width), transformer.dtype
    guidance = torch.randn(1, config.in_channels - config.out_channels, *size, device=device, dtype=dtype)
    image = None
    if config.image_dim:
        image = torch.randn(1, IMAGE_TOKENS, config.image_dim, device=device, dtype=dtype)
    texts = [torch.randn(pipeline.defaults.text_tokens, config.text_dim, device=device, dtype=dtype)] * 2
    latents = torch.randn(1, config.out_channels, *size, device=device)
    timesteps = torch.full((1,), 500, device=device)

    def step() -> object:
        denoiser = Denoiser(
            transformer, texts, Conditioning(guidance, image), timesteps, text_tokens=pipeline.defaults.text_tokens
        )
        return denoiser(latents, 0)

    yield "step", step
    yield "encode", lambda: encode_video(vae, torch.rand(1, 3, shape.frames, shape.height, shape.width, device=device))
    decoded = torch.bfloat16 if device.type == "cuda" else torch.float32
    yield "decode", lambda: [None for _ in decode_pieces(vae, latents, decoded)]


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds."""
    begin = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most that was allocated at once, above what was there before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    return measured_bytes(run)


def describe(point: Point) -> str:
    """One line."""
    shape = point.shape
    parts = [f"{shape.frames:4d} frames {shape.width}x{shape.height}, {point.tokens:6d} tokens"]
    for name in STAGES:
        mega = point.measured_bytes[name] / 1e6
        parts.append(
            f"{name} {point.seconds[name]:.3f} s, {mega:.0f} MB (counted {point.counted_bytes[name] / 1e6:.0f})"
        )
    return "; ".join(parts)


def draw(by_frames: list[Point], by_side: list[Point], base: Point, path: Path) -> None:
    """Time above, memory below; measured points, and lines for what arithmetic says."""
    figure, axes = pyplot().subplots(2, 2, figsize=(9, 6.4), sharey="row", layout="constrained")
    own = f"{base.shape.width}x{base.shape.height}"
    columns: list[tuple[list[Point], list[float], str]] = [
        (by_frames, [float(p.shape.frames) for p in by_frames], f"frames, at {own}"),
        (by_side, [float(p.shape.width) for p in by_side], f"width in pixels, at {base.shape.frames} frames"),
    ]
    for column, (points, x, label) in enumerate(columns):
        upper, lower = axes[0][column], axes[1][column]
        for name in STAGES:
            style: dict[str, Any] = {"color": COLOURS[name]}
            upper.plot(x, [p.seconds[name] for p in points], "o", label=name, **style)
            lower.plot(x, [p.measured_bytes[name] / 1e6 for p in points], "o", label=f"{name}, measured", **style)
            lower.plot(x, [p.counted_bytes[name] / 1e6 for p in points], "-", alpha=0.6, **style)
            upper.plot(
                x, [base.seconds[name] * work(p, name) / work(base, name) for p in points], "-", alpha=0.6, **style
            )
        for axis in (upper, lower):
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xticks(x, [f"{value:g}" for value in x])
            axis.minorticks_off()
            plain(axis)
        lower.set_xlabel(label)
    axes[0][0].set_ylabel("seconds\n(lines: arithmetic)")
    axes[1][0].set_ylabel("MB beside the weights\n(lines: counted)")
    axes[0][0].legend(frameon=False, fontsize=9)
    save(figure, path)


def work(point: Point, name: str) -> float:
    """What a stage's time should be in proportion to."""
    return point.step_flops if name == "step" else point.shape.frames * point.shape.height * point.shape.width


if __name__ == "__main__":
    main()
