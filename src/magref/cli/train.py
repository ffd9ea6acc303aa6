"""`magref train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from magref.errors import InputError

_STOPPED = 130


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train", help="Train or fine-tune a model with masked reference guidance.")(train)


def train(
    recipe: Annotated[
        list[str],
        typer.Argument(metavar="[cache] RECIPE", help="A .yaml file or a shipped recipe; cache encodes its dataset."),
    ],
    # Not --run: torchrun would take it for the beginning of its own --run-path.
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The run's folder; none: runs/RECIPE.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: optim.steps=1000.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what the run would take; nothing is loaded.")] = False,
    gpu: Annotated[str, typer.Option(help="For --plan: h100, h200, a100, rtx4090 or cpu.")] = "h100",
    gpus: Annotated[int, typer.Option(min=1, help="For --plan: how many.")] = 1,
) -> None:
    """Run a recipe, or go on with the run in its folder. Under torchrun, the run is spread over all processes."""
    from magref.training.recipe import read_recipe

    action, name = ("train", recipe[0]) if len(recipe) == 1 else (recipe[0], recipe[1])
    if len(recipe) > 2 or action not in ("train", "cache"):
        raise InputError(f"{' '.join(recipe)} is not [cache] RECIPE; name one recipe")
    settings = read_recipe(name, changes or [])
    console = Console(stderr=True, highlight=False, quiet=os.environ.get("RANK", "0") != "0")  # torchrun's first speaks
    if plan:
        from magref.training.plan import plan_run, plan_table

        console.print(plan_table(plan_run(settings, gpu=gpu, gpus=gpus)))
        return
    from magref.models import quiet_libraries

    quiet_libraries()
    if action == "cache":
        _cache(settings, console)
        return
    from magref.training.trainer import train as run_training

    folder = output or Path("runs") / Path(name).stem
    console.print(f"training {name} for {settings.optim.steps} steps in {folder}", markup=False)
    finished = run_training(settings, folder, report=_reporter(settings.optim.steps, console))
    if finished.output is None:
        console.print(
            f"stopped after step {finished.step}, which is saved; the same command goes on from there", markup=False
        )
        sys.exit(_STOPPED)
    console.print(f"done: {finished.output}", markup=False)


def _cache(settings: object, console: Console) -> None:
    from magref.training.recipe import Recipe
    from magref.training.setup import make_cache

    assert isinstance(settings, Recipe)
    encoded = 0

    def on_sample(name: str, problem: str | None) -> None:
        nonlocal encoded
        if problem is not None:
            console.print(f"passed over {name}: {problem}", markup=False)
            return
        encoded += 1
        if encoded % 50 == 0:
            console.print(f"{encoded} encoded", markup=False)

    done, passed_over = make_cache(settings, on_sample=on_sample)
    console.print(f"{done} samples encoded, {passed_over} passed over", markup=False)


def _reporter(steps: int, console: Console) -> Callable[[int, Mapping[str, float]], None]:
    def report(step: int, figures: Mapping[str, float]) -> None:
        if "held_out" in figures:
            console.print(f"{figures['samples']} samples to train on, {figures['held_out']} held out", markup=False)
            return
        if "validation_loss" in figures:
            console.print(
                f"step {step}/{steps}  validation loss {figures['validation_loss']:.4f}  "
                + (f"caption gain {figures['caption_gain']:.4f}" if "caption_gain" in figures else ""),
                markup=False,
            )
            return
        left = (steps - step) * figures["step_s"]
        console.print(
            f"step {step}/{steps}  loss {figures['loss']:.4f}  {figures['samples_per_s']:.1f} samples/s  "
            f"data {figures['data_share']:.0%}  {_duration(left)} left"
            + (f"  {figures['skipped']:.0f} skipped" if figures["skipped"] else ""),
            markup=False,
        )

    return report


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
