"""`magref convert`, `download`, `doctor` and `info`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from magref.errors import InputError
from magref.hub import PUBLISHED_REPO


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("convert", help="Convert a checkpoint in the published layout to diffusers' layout.")(convert)
    app.command("download", help="Fetch the published weights (82 GB), or others, from the hub.")(download)
    app.command("doctor", help="Say what is installed, which models are whole, and what this machine can run.")(doctor)
    app.command("info", help="Describe a model without loading it.")(info)


def convert(
    folder: Annotated[Path, typer.Argument(help="The published layout: shards, VAE, umT5, CLIP.")],
    destination: Annotated[Path, typer.Argument(help="The new model folder.")],
    dtype: Annotated[
        str, typer.Option(metavar="bfloat16|float16|float32", help="Precision of the weights; the VAE stays float32.")
    ] = "bfloat16",
    clip_heads: Annotated[
        int | None, typer.Option(min=1, help="CLIP's attention heads, where it is not Wan2.1's; none: by its width.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the destination if it exists.")] = False,
) -> None:
    """Convert a checkpoint in the published layout to diffusers' layout, shard by shard."""
    from magref.checkpoints.layout import check_published

    check_published(folder)
    from magref.checkpoints.convert import convert_published
    from magref.placement import DTYPES

    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; use {', '.join(DTYPES)}")
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("converting", total=None)

        def show(part: str, done: int, total: int) -> None:
            progress.update(task, description=part, completed=done, total=total)

        made = convert_published(
            folder,
            destination,
            dtype=DTYPES[dtype],
            overwrite=overwrite,
            clip_num_heads=clip_heads,
            progress=show,
        )
    console.print(f"wrote {made}", markup=False)


def download(
    repo: Annotated[
        str, typer.Argument(help="A hub id, owner/name, or a name that magref doctor lists for curation.")
    ] = PUBLISHED_REPO,
    destination: Annotated[Path | None, typer.Argument(help="The folder; none: models/NAME.")] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit; none: the newest.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before fetching.")] = False,
) -> None:
    """Fetch a model; size, free space and licence are shown first, and a broken download goes on."""
    from magref import hub
    from magref.curation.models.catalogue import CATALOGUE, MODELS_FOLDER
    from magref.curation.models.fetching import fetch

    console = Console(stderr=True)

    def confirm(plan: hub.DownloadPlan | str) -> bool:
        console.print(str(plan), markup=False, highlight=False)
        try:
            return yes or typer.confirm("Fetch it?", err=True)
        except typer.Abort:
            if sys.stdin.isatty():  # an interrupt
                raise
            raise InputError("nobody is here to answer; add --yes to fetch") from None

    columns = (TextColumn("downloading"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("downloading", total=None)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        if repo in CATALOGUE:
            weights = CATALOGUE[repo]
            folder = fetch(weights, destination or MODELS_FOLDER / repo, confirm=confirm, progress=show)
        else:
            folder = hub.download(repo, destination, revision=revision, progress=show, confirm=confirm)
    finally:
        bar.stop()
    console.print("nothing was fetched" if folder is None else f"the model is in {folder}", markup=False)


def doctor(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of models to look at as well.")] = None,
) -> None:
    """Say what is installed, which models are whole, and what this machine can run."""
    from magref.doctor import examine, render

    Console().print(render(examine(folders or ())))


def info(
    model: Annotated[str | None, typer.Argument(help="A model folder, a file or a hub id; none: the embedded.")] = None,
) -> None:
    """Describe a model without loading it: layout, parameters, precision, size, defaults."""
    from magref.info import describe, render

    Console().print(render(describe(model)))
