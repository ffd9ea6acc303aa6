"""`magref bench run`: a system's videos of a benchmark's cases; `magref evaluate --system` makes them the same way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from magref.cli.generate import check_engine
from magref.errors import InputError

if TYPE_CHECKING:
    from magref.evaluation.making import Engine, Finished
    from magref.evaluation.videos import Failure

SYSTEM_HELP = "magref, skyreels-a2, phantom, vace, consisid, command, still or pasted."
Model = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="The system's model; none: the embedded one, for magref.")
]
Command = Annotated[
    str | None,
    typer.Option(metavar="LINE", help="Another program, with {prompt}, {references}, {seed} and {out} in its line."),
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting: num_inference_steps=20.")
]
Seed = Annotated[int, typer.Option(min=0, help="Every case's seed is drawn from this one and its id.")]


def register(group: typer.Typer) -> None:
    """Add the command to `magref bench`."""
    group.command("run", help="Make a system's videos of the cases; the same command goes on where it stopped.")(run)


def run(
    videos: Annotated[Path, typer.Argument(help="The folder for the videos, <case id>.mp4.")],
    cases: Annotated[Path, typer.Option(help="The case file.")],
    system: Annotated[str | None, typer.Option(help=f"{SYSTEM_HELP} None: magref.")] = None,
    model: Model = None,
    command: Command = None,
    changes: Changes = None,
    seed: Seed = 0,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda:1, or several with commas: a process on each; none: the best here.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster's address; none: RAY_ADDRESS, or one of this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray workers, each with the system loaded; none: 1.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs of each of these; none: 0.")] = None,
) -> None:
    """Make what is missing; cases that fail are noted with their reason, and tried again by the next call."""
    check_engine(engine, cases, {"--address": address, "--workers": workers, "--gpus": gpus})
    runs: Engine
    if engine == "ray":
        if device is not None:
            raise InputError("--device is for this machine alone; with --engine ray give --gpus")
        from magref.ray_pool import RayPool

        runs = RayPool(address, workers or 1, gpus or 0.0)
    else:
        from magref.evaluation.workers import LocalEngine

        runs = LocalEngine((None,) if device is None else tuple(name.strip() for name in device.split(",")))
    finished = make(videos, cases, runs, system, model, command, changes, seed)
    if finished.failures:
        raise typer.Exit(1)


def make(
    videos: Path,
    cases: Path,
    engine: Engine,
    system: str | None,
    model: str | None,
    command: str | None,
    changes: list[str] | None,
    seed: int,
) -> Finished:
    """Make the videos, showing progress and each failure."""
    from magref.evaluation.making import Request, make_videos
    from magref.evaluation.systems.registry import read_settings

    if command is not None and system not in (None, "command"):
        raise InputError(f"--command is a system of its own; leave out --system {system}")
    name = "command" if command is not None else system or "magref"
    settings = read_settings(name, changes or [], model=model, command=command)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int, failure: Failure | None) -> None:
            bar.update(task, completed=done, total=total)
            if failure is not None:
                console.print(f"{failure.case}: {failure.reason}: {failure.why}", markup=False)

        finished = make_videos(Request(cases, videos, name, settings, seed), engine, progress=show)
    missing = len(finished.failures)
    of = f" on {' and '.join(finished.datasets)}" if finished.datasets else ""
    console.print(
        f"{finished.there} of {finished.cases} videos{of} in {videos}, {finished.new} of them new"
        + (f"; {missing} failed, see {videos / 'run' / 'failures.jsonl'}" if missing else ""),
        markup=False,
    )
    return finished
