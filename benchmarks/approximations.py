"""What every approximate saving takes off the time, and what it does to the video; prints the table of docs/speed.md.

Videos of held-out subjects in the synthetic world are made whole, from text and pictures to frames, exactly and with
the saving, one right after the other with one seed; which goes first alternates. Compared are the frames, as PSNR to
the exact ones, and what the measures of the synthetic world say of both (docs/measures.md).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import FirstBlockCacheConfig

from magref import MagrefPipeline
from magref.evaluation.measures.score import VideoScore, score_video, summarise
from magref.evaluation.tasks import Group, Task, tasks
from magref.models import quiet_libraries
from magref.outputs import writing
from magref.quantization import quantize_transformer
from magref.savings import FAST, FASTER
from magref.settings import Quantization, Savings
from magref.video import Frames
from pairs import Pairs, describe_machine

MEASURES = {"identity": "identity", "motion_right": "motion right", "background": "background"}


NOTHING = Savings()


@dataclass(frozen=True)
class Way:
    """One way to leave something out. `steps` is a share of all, for comparison; `first_block` diffusers' own cache."""

    name: str
    savings: Savings = NOTHING
    quantize: Quantization | None = None
    steps: float = 1.0
    first_block: float | None = None


EXACT = Way("exact")
WAYS = (
    Way("step cache 0.02", Savings(step_cache=0.02)),
    Way("step cache 0.05: `--fast`", FAST),
    Way("step cache 0.1", Savings(step_cache=0.1)),
    Way("step cache 0.2", Savings(step_cache=0.2)),
    Way("guidance on the steps 0.2:1", Savings(guidance_interval=(0.2, 1.0))),
    Way("guidance on the steps 0:0.7", Savings(guidance_interval=(0.0, 0.7))),
    Way("step cache 0.1, guidance 0.2:1: `--faster`", FASTER),
    Way("int8 weights", quantize="int8"),
    Way("int8 weights and activations", quantize="int8-dynamic"),
    Way("fp8 weights and activations", quantize="fp8"),
    Way("attention in 8 bits", Savings(attention="int8")),
    Way("for comparison: half the steps", steps=0.5),
    Way("for comparison: diffusers' FirstBlockCache 0.1", first_block=0.1),
)


@dataclass(frozen=True)
class Result:
    """One line of the table; `pairs` is None where the time would mean nothing on this machine."""

    way: Way
    pairs: Pairs | None
    psnr: tuple[float, ...]
    """Of each video to the exact one, in dB."""
    scores: tuple[VideoScore, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in diffusers' layout, of the synthetic world; none: the embedded one")
    parser.add_argument("--prompts", type=int, default=8, help="half with one subject, half with two")
    parser.add_argument("--only", help="ways whose names have this in them")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="of PyTorch; none: its own choice")
    parser.add_argument("--out", type=Path, help="write the numbers to this .json too")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    quiet_libraries()
    wanted = [*tasks(Group(1), (arguments.prompts + 1) // 2), *tasks(Group(2), arguments.prompts // 2)]
    exact = load(arguments.model, EXACT, arguments.device)
    reference = [make(exact, task, seed, EXACT) for seed, task in enumerate(wanted)]
    results = [Result(EXACT, None, (), scored(reference, wanted))]
    for way in WAYS:
        if arguments.only and arguments.only not in way.name:
            continue
        if way.quantize in ("int8", "int8-dynamic") and find_spec("torchao") is None:
            print(f"{way.name}: not measured, pip install 'magref[int8]'")
            continue
        results.append(compare(exact, load(arguments.model, way, arguments.device), way, wanted))
        print(f"{way.name}: done", flush=True)
    print(describe_machine())
    print(f"{len(wanted)} videos, {exact.defaults.num_inference_steps} steps, guidance {exact.defaults.guidance_scale}")
    print(table(results))
    if arguments.out is not None:
        with writing(arguments.out, overwrite=True) as path:
            path.write_text(json.dumps(record(results), indent=1) + "\n", encoding="utf-8")


def load(model: str | None, way: Way, device: str) -> MagrefPipeline:
    """The model as a way has it."""
    pipeline = MagrefPipeline.from_pretrained(model).to(device)
    pipeline.set_progress_bar_config(disable=True)
    if way.quantize is not None:
        quantize_transformer(pipeline.transformer, way.quantize, pipeline.device, pipeline.device)
    return pipeline


def compare(exact: MagrefPipeline, other: MagrefPipeline, way: Way, wanted: list[Task]) -> Result:
    """Every video made exactly and this way, in alternating order."""
    seconds: dict[str, list[float]] = {EXACT.name: [], way.name: []}
    psnr, videos = [], []
    make(other, wanted[0], 0, way)  # what a first call takes is not counted
    for seed, task in enumerate(wanted):
        made: dict[str, Frames] = {}
        sides = [(exact, EXACT), (other, way)]
        for pipeline, each in sides if seed % 2 else reversed(sides):
            start = time.perf_counter()
            made[each.name] = make(pipeline, task, seed, each)
            seconds[each.name].append(time.perf_counter() - start)
        videos.append(made[way.name])
        psnr.append(peak_to_noise(made[way.name], made[EXACT.name]))
    pairs = Pairs(tuple(seconds[way.name]), tuple(seconds[EXACT.name]))
    emulated = (way.quantize == "fp8" or way.savings.attention == "int8") and exact.device.type != "cuda"
    return Result(way, None if emulated else pairs, tuple(psnr), scored(videos, wanted))


def make(pipeline: MagrefPipeline, task: Task, seed: int, way: Way) -> Frames:
    """One video, (F, H, W, 3) uint8."""
    steps = max(1, round(way.steps * pipeline.defaults.num_inference_steps))
    with first_block_cache(pipeline, way.first_block):
        out = pipeline(
            task.caption,
            list(task.references),
            seed=seed,
            num_inference_steps=steps,
            savings=way.savings,
            output_type="np",
        )
    frames: Frames = (out.frames * 255).round().astype(np.uint8)
    return frames


@contextlib.contextmanager
def first_block_cache(pipeline: MagrefPipeline, threshold: float | None) -> Iterator[None]:
    if threshold is None:
        yield
        return
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    try:
        yield
    finally:
        pipeline.transformer.disable_cache()


def scored(videos: list[Frames], wanted: list[Task]) -> tuple[VideoScore, ...]:
    return tuple(score_video(video, task.case) for video, task in zip(videos, wanted, strict=True))


def peak_to_noise(a: Frames, b: Frames) -> float:
    """PSNR in dB; infinite where the frames are the same."""
    error = float(np.square(a.astype(np.float64) - b).mean())
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def table(results: list[Result]) -> str:
    """As Markdown."""
    head = ["", "time", "pairs' ratios", "PSNR, dB (median)", "lowest", *MEASURES.values()]
    rows = [head, ["---"] * len(head)]
    for result in results:
        means = summarise(result.scores).means
        measures = ["" if means[key].value is None else f"{means[key].value:.2f}" for key in MEASURES]
        if result.way is EXACT:
            rows.append(["exact", "1", "", "", "", *measures])
            continue
        times = ["not measured", ""] if result.pairs is None else [f"{result.pairs.ratio:.2f}", result.pairs.spread]
        rows.append(
            [result.way.name, *times, f"{median(result.psnr):.1f}", f"{min(result.psnr):.1f}", *measures],
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def record(results: list[Result]) -> dict[str, Any]:
    """The numbers behind the table."""
    lines = []
    for result in results:
        means = summarise(result.scores).means
        lines.append(
            {
                "way": result.way.name,
                "ratio": None if result.pairs is None else result.pairs.ratio,
                "seconds": None if result.pairs is None else [result.pairs.a, result.pairs.b],
                "psnr_db": list(result.psnr),
                "measures": {key: means[key].model_dump() for key in MEASURES},
            }
        )
    return {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "results": lines}


if __name__ == "__main__":
    main()
