"""`magref plan`: what a video would take by each preset."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from magref.cli.generate import parse_size


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("plan", help="Say what a video takes by each preset; no weights are loaded.")(plan)


def plan(
    model: Annotated[
        str, typer.Argument(help="A model folder; the published 14B need not be here.", metavar="[MODEL]")
    ] = "magref-14B",
    gpu: Annotated[str | None, typer.Option(help="h100, l40s, rtx4090, ...; none: the card that is here.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels; none: the model's.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames to generate, 4k+1; none: the model's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps; none: the model's.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1: one pass a step.")] = None,
    quantize: Annotated[
        str | None, typer.Option(metavar="int8|int8-dynamic|fp8|none", help="In place of each preset's own.")
    ] = None,
) -> None:
    """Say what a video takes by each preset."""
    from magref.capacity import find_gpu

    if gpu is not None:
        find_gpu(gpu)
    from magref.costs import costs_table, find_processor, predict
    from magref.geometry import VideoShape
    from magref.presets import CARDS, CPU, with_quantization
    from magref.settings import resolve_settings
    from magref.sizes import find_sizes

    processor = find_processor(gpu)
    presets = [with_quantization(preset, quantize) for preset in ((CPU,) if processor.cpu else CARDS)]
    sizes = find_sizes(model)
    given: dict[str, Any] = {
        "num_frames": frames,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        **parse_size(size),
    }
    settings = resolve_settings(sizes.defaults, sizes.strides, prompt="", seed=0, **given)
    shape = VideoShape(settings.num_frames, settings.height, settings.width)
    tokens = shape.latent(sizes.strides).tokens(sizes.strides)
    costs = predict(sizes, settings, presets, processor.gpu, element=processor.element)
    console = Console()
    console.print(
        f"{sizes.name}: {settings.width}x{settings.height}, {settings.num_frames} frames, {tokens:,} tokens, "
        f"{settings.num_inference_steps} steps, guidance {settings.guidance_scale:g}",
        highlight=False,
    )
    console.print(costs_table(costs, processor))
    if processor.cpu and gpu is None:
        console.print("no GPU is here; name one with --gpu, for example --gpu rtx4090", highlight=False)
