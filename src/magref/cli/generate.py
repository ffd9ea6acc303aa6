"""`magref generate`: from arguments, a batch file or a sidecar to videos."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from magref.batch import Case, read_cases
from magref.errors import InputError
from magref.generation import Job, Request, plan, replayed, run
from magref.models import find_model
from magref.outputs import VIDEO_ENDINGS
from magref.references import Reference
from magref.savings import chosen_savings

DEFAULT_OUTPUT = Path("out.mp4")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("generate", help="Make a video from reference pictures and a prompt.")(generate)


def generate(
    prompt: Annotated[str | None, typer.Argument(help="What happens in the video.", show_default=False)] = None,
    references: Annotated[
        list[Path] | None, typer.Argument(metavar="REF...", help="One to eight pictures.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The video (.mp4, .webm or .gif), else out.mp4; with --batch a folder, else outputs."
        ),
    ] = None,
    background: Annotated[
        Path | None, typer.Option(help="A picture of the place; it counts as one of the eight.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A folder in diffusers' or the published layout, or a hub id; none: the embedded model."),
    ] = None,
    transformer: Annotated[
        Path | None, typer.Option(help="A single file (.safetensors or .gguf) in place of the model's transformer.")
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(metavar="FILE[:SCALE]", help="A LoRA file; may be given several times.")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the video is not to show.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels, for example 832x480.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames to generate, 4k+1.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second in the file.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 turns guidance off.")] = None,
    shift: Annotated[float | None, typer.Option(help="Flow shift.")] = None,
    solver: Annotated[str | None, typer.Option(metavar="unipc|dpm++", help="Sampler.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes noise and layout; none: a random one, on record.")] = None,
    count: Annotated[int, typer.Option(help="How many videos, with seeds counting up.")] = 1,
    order: Annotated[
        str | None, typer.Option(metavar="given|shuffled", help="Layout of the references; none: given.")
    ] = None,
    mask: Annotated[
        str | None, typer.Option(metavar="rectangle|alpha", help="What the region mask marks; none: rectangle.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(metavar="float32|bfloat16|float16", help="Precision.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; none: the best one here.")] = None,
    parallel: Annotated[
        str | None,
        typer.Option(
            metavar="ulysses|guidance", help="Several GPUs: torchrun --nproc-per-node 2 -m magref generate ..."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="auto|80gb|48gb|24gb|16gb|cpu", help="How it lies on the card; none: all of it. See magref plan."
        ),
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(metavar="int8|int8-dynamic|fp8|none", help="The transformer in 8 bits; or not.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Save time at a small price: --step-cache 0.05.")] = False,
    faster: Annotated[
        bool, typer.Option("--faster", help="At a larger one: --step-cache 0.1 --guidance-interval 0.2:1.")
    ] = False,
    step_cache: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Steps take over velocities that would change by less.")
    ] = None,
    guidance_interval: Annotated[
        str | None, typer.Option(metavar="FROM:TO", help="The share of the steps with guidance, for example 0.2:1.")
    ] = None,
    attention: Annotated[
        str | None, typer.Option(metavar="exact|int8", help="Self-attention's products in 8 bits; none: exact.")
    ] = None,
    preview: Annotated[Path | None, typer.Option(help="Write the canvas and its mask to this picture.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet of the videos to this picture.")] = None,
    batch: Annotated[
        Path | None, typer.Option(help="Make a video for each case of a .jsonl or key@@prompt@@img .txt file.")
    ] = None,
    engine: Annotated[str, typer.Option(help="With --batch: local, or ray for a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster's address; none: RAY_ADDRESS, or one of this machine.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Ray workers, each with the model loaded; else 1.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs of each of these; else 0.")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Make a video again from its sidecar (.json) or from the video itself.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Make a video from reference pictures and a prompt."""
    request = Request(
        model=model,
        transformer=transformer,
        lora=tuple(lora or ()),
        device=device,
        parallel=parallel,
        dtype=dtype,
        preset=preset,
        quantize=quantize,
        preview=preview,
        sheet=sheet,
        overwrite=overwrite,
        settings={
            "negative_prompt": negative_prompt,
            "num_frames": frames,
            "fps": fps,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "flow_shift": shift,
            "solver": solver,
            "order": order,
            "mask": mask,
            "savings": chosen_savings(
                fast=fast,
                faster=faster,
                step_cache=step_cache,
                guidance_interval=None if guidance_interval is None else parse_interval(guidance_interval),
                attention=attention,
            ),
            **parse_size(size),
        },
    )
    check_engine(engine, batch, {"--address": address, "--workers": workers, "--gpus": gpus})
    if replay is not None:
        fixed: dict[str, object] = {
            "a prompt": prompt,
            "references": references,
            "--background": background,
            "--batch": batch,
        }
        fixed |= {"--seed": seed, "--size": size, "--frames": frames, "--steps": steps, "--lora": lora}
        fixed |= {"--guidance": guidance, "--shift": shift, "--solver": solver, "--fps": fps, "--dtype": dtype}
        fixed |= {"--negative-prompt": negative_prompt, "--transformer": transformer, "--order": order, "--mask": mask}
        fixed |= {"--quantize": quantize, "--step-cache": step_cache, "--guidance-interval": guidance_interval}
        fixed |= {"--attention": attention, "--fast": fast or None, "--faster": faster or None}
        given = [name for name, value in fixed.items() if value is not None and value != []]
        if given or count != 1:
            raise InputError(f"--replay takes everything from the sidecar; leave out {', '.join(given) or '--count'}")
        run(*replayed(replay, output or DEFAULT_OUTPUT, request))
        return
    if count < 1:
        raise InputError(f"--count {count} makes no video; use 1 or more")
    if batch is not None:
        if prompt is not None or references or background is not None:
            raise InputError("--batch takes prompts and pictures from its file; leave out PROMPT, REF, --background")
        pool = (address, workers or 1, gpus or 0) if engine == "ray" else None
        make_batch(read_cases(batch), output or Path("outputs"), request, seed, count, pool)
        return
    if prompt is None:
        raise InputError('give a prompt and reference pictures: magref generate "The dog runs." dog.jpg -o out.mp4')
    if os.path.isfile(prompt):
        raise InputError(
            f'the prompt {prompt} is a file; the sentence comes first: magref generate "The dog runs." dog.jpg'
        )
    pictures = [Reference(path) for path in references or []]
    if background is not None:
        pictures.append(Reference(background, role="background"))
    found = find_model(model)
    jobs = [Job(path, prompt, pictures, own) for path, own in numbered(output or DEFAULT_OUTPUT, seed, count)]
    run(found, plan(found, jobs, request), request)


def check_engine(engine: str, batch: Path | None, options: Mapping[str, object]) -> None:
    """Raise InputError unless the engine is known and has what it needs; `options` are those of a Ray cluster."""
    if engine not in ("local", "ray"):
        raise InputError(f"the engine {engine!r} is unknown; use local or ray")
    if engine == "ray" and batch is None:
        raise InputError("--engine ray is for many videos; give their prompts and pictures with --batch FILE")
    if engine == "local" and (given := [name for name, value in options.items() if value is not None]):
        raise InputError(f"{', '.join(given)} are for a Ray cluster; add --engine ray, or leave them out")


def make_batch(
    cases: Sequence[Case],
    folder: Path,
    request: Request,
    seed: int | None,
    count: int,
    pool: tuple[str | None, int, float] | None,
) -> None:
    """Make the videos of all cases that are not there yet; `pool` is a Ray cluster's address, workers, GPUs of each."""
    if folder.suffix.lower() in (*VIDEO_ENDINGS, ".json"):
        raise InputError(f"with --batch the output {folder} is a folder; give a name without ending")
    jobs = [
        Job(path, case.prompt, case.references(), own_seed)
        for case in cases
        for path, own_seed in numbered(folder / f"{case.id}.mp4", seed, count)
    ]
    found = find_model(request.model)
    if request.preview is not None and not request.overwrite and request.preview.expanduser().is_file():
        request = replace(request, preview=None)  # as the videos that are there: the same command goes on
    plans = plan(found, jobs, request, skip_finished=True)
    if plans and (there := len(jobs) - len(plans)):
        typer.echo(f"{there} video{'s are' if there > 1 else ' is'} there already", err=True)
    if pool is None:
        run(found, plans, request)
        return
    from magref.generation_ray import run_on_ray
    from magref.ray_pool import RayPool

    run_on_ray(found, plans, request, RayPool(*pool))


def numbered(output: Path, seed: int | None, count: int) -> list[tuple[Path, int | None]]:
    """Output and seed of each of `count` videos: x-1.mp4, x-2.mp4 and seeds counting up; x.mp4 where it is one."""
    if count == 1:
        return [(output, seed)]
    return [
        (output.with_name(f"{output.stem}-{k + 1}{output.suffix}"), None if seed is None else seed + k)
        for k in range(count)
    ]


def parse_size(size: str | None) -> dict[str, int]:
    """Width and height from "832x480"."""
    if size is None:
        return {}
    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"--size {size!r} is no size; write width x height, for example 832x480")
    return {"width": int(width), "height": int(height)}


def parse_interval(interval: str) -> tuple[float, float]:
    """First and last share from "0.2:1"."""
    try:
        first, last = map(float, interval.split(":"))
    except ValueError:
        raise InputError(f"--guidance-interval {interval!r} is no interval; write FROM:TO, for example 0.2:1") from None
    return first, last
