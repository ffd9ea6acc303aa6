"""`magref convert`, `download`, `doctor` and `info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("convert", help="Convert a checkpoint in the published layout to diffusers' layout.")(convert)


def convert(
    folder: Annotated[Path, typer.Argument(help="The published layout: shards, VAE, umT5, CLIP.")],
    destination: Annotated[Path, typer.Argument(help="The new model folder.")],
    dtype: Annotated[
        str, typer.Option(metavar="bfloat16|float16|float32", help="Precision of the weights; the VAE stays float32.")
    ] = "bfloat16",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the destination if it exists.")] = False,
) -> None:
    """Convert a checkpoint in the published layout to diffusers' layout, shard by shard."""
    from magref.checkpoints.convert import convert_published
    from magref.checkpoints.layout import check_published
    from magref.errors import InputError
    from magref.placement import DTYPES

    check_published(folder)
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; use {', '.join(DTYPES)}")
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("converting", total=None)

        def show(part: str, done: int, total: int) -> None:
            progress.update(task, description=part, completed=done, total=total)

        made = convert_published(folder, destination, dtype=DTYPES[dtype], overwrite=overwrite, progress=show)
    console.print(f"wrote {made}")
