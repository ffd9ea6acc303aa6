"""`magref evaluate`: scores of a folder of videos, which a system may have to make first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from magref.cli.bench_run import SYSTEM_HELP, Changes, Command, Model, Seed, make
from magref.errors import InputError

_DEFAULT_METRICS = "face,aesthetic,gme,motion"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate", help="Score a folder of videos, or a system, with the paper's metrics.")(evaluate)


def evaluate(
    videos: Annotated[Path, typer.Argument(help="A folder of <case id>.mp4, from whatever system.")],
    cases: Annotated[Path, typer.Option(help="The case file the videos were made from.")],
    system: Annotated[str | None, typer.Option(help=f"Make videos that are missing first, by {SYSTEM_HELP}")] = None,
    model: Model = None,
    command: Command = None,
    changes: Changes = None,
    seed: Seed = 0,
    metrics: Annotated[
        str, typer.Option(help="Of face, aesthetic, gme, motion; world for magref-bench-synthetic.")
    ] = _DEFAULT_METRICS,
    profile: Annotated[
        str, typer.Option(metavar="opens2v|strict", help="As OpenS2V-Eval published them, or as they should be.")
    ] = "opens2v",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the scores; none: scores/VIDEOS-PROFILE.")
    ] = None,
    faces: Annotated[Path | None, typer.Option(help="The folder of a face pack, for example buffalo_l.")] = None,
    clip: Annotated[Path | None, typer.Option(help="The folder of clip-vit-large-patch14.")] = None,
    aesthetic_head: Annotated[Path | None, typer.Option(help="The aesthetic predictor's file.")] = None,
    gme: Annotated[Path | None, typer.Option(help="The folder of gme-Qwen2-VL-7B-Instruct.")] = None,
    gme_server: Annotated[str | None, typer.Option(metavar="URL", help="An embedding server in its place.")] = None,
    gme_model: Annotated[str | None, typer.Option(metavar="NAME", help="The server's name for the model.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; none: the best one here.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Score videos of odd length or size too.")] = False,
) -> None:
    """Score each case's video; what cannot be measured is recorded with its reason and enters no mean."""
    from magref.cli.bench import progress_bar
    from magref.evaluation.evaluate import Request, check_request
    from magref.evaluation.evaluate import evaluate as run
    from magref.evaluation.metrics.interface import PROFILES
    from magref.evaluation.metrics.registry import GME_SERVED, Weights
    from magref.evaluation.report.screen import placed
    from magref.evaluation.summary import heading, tables

    if profile not in PROFILES:
        raise InputError(f"--profile {profile!r} is unknown; use {' or '.join(PROFILES)}")
    folder = output or Path("scores") / f"{videos.resolve().name}-{profile}"
    request = Request(
        videos=videos,
        cases=cases,
        output=folder,
        metrics=tuple(name.strip() for name in metrics.split(",") if name.strip()),
        profile=profile,
        weights=Weights(faces, clip, aesthetic_head, gme, gme_server, gme_model or GME_SERVED, device),
        mixed=mixed,
    )
    failures = False
    if system is not None or command is not None:
        from magref.evaluation.workers import LocalEngine

        check_request(request)
        failures = bool(make(videos, cases, LocalEngine((device,)), system, model, command, changes, seed).failures)
    elif model is not None or changes:
        raise InputError("--model and --set are a system's; name it with --system")
    with progress_bar("cases") as shown:
        made, scores = run(request, progress=shown)
    console = Console()
    console.print(heading(made, scores), markup=False, highlight=False, soft_wrap=True)
    for table in tables(made, scores):
        console.print(table)
    in_table_1 = placed(made, scores)
    if in_table_1:
        console.print("Table 1 with these scores; magref bench report says more", markup=False, highlight=False)
    for table in in_table_1:
        console.print(table)
    console.print(f"every case's scores: {folder / 'scores.jsonl'}", markup=False, highlight=False, soft_wrap=True)
    if failures:  # as with magref bench run; the scores are there all the same
        raise typer.Exit(1)
