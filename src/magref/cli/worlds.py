"""`magref dataset synthesize` and `footage`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from magref.cli.generate import parse_size
from magref.errors import InputError

_OUTPUT = Annotated[Path, typer.Option("--output", "-o", help="The folder to write; one of the same settings goes on.")]
_SIZE = Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels.")]
_SPLIT = Annotated[str, typer.Option(help="train or held-out: identities, motions and words that train never has.")]
_SEED = Annotated[int, typer.Option(min=0, help="Another seed gives other samples.")]
_SIMPLE = Annotated[bool, typer.Option("--simple", help="Six motions before a static camera; one subject.")]
_STAGED = Annotated[bool, typer.Option("--staged", help="Simple, and caption and references determine the clip.")]
_SUBJECTS = Annotated[int | None, typer.Option(min=1, max=3, help="At most; none: 3, with --simple 1, --staged 2.")]
_DEVICE = Annotated[str, typer.Option(help="cpu or cuda.")]
T = TypeVar("T")


def register(group: typer.Typer) -> None:
    """Add the commands to `magref dataset`."""
    group.command("synthesize", help="Make training samples of the synthetic world.")(synthesize)
    group.command("footage", help="Make films of the synthetic world, with cuts and their ground truth.")(footage)


def synthesize(
    output: _OUTPUT,
    count: Annotated[int, typer.Option(min=1, help="How many samples the dataset is to have.")],
    size: _SIZE = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each clip.")] = 17,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 16.0,
    split: _SPLIT = "train",
    seed: _SEED = 0,
    simple: _SIMPLE = False,
    staged: _STAGED = False,
    subjects: _SUBJECTS = None,
    references: Annotated[
        int | None, typer.Option(min=1, max=16, help="Pictures of each subject; none: 3, with --staged 1.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Clips rendered at once.")] = 16,
    device: _DEVICE = "cpu",
) -> None:
    """Write samples 0 to COUNT - 1 of the world, or those of them that are missing."""
    from magref.synthetic.plans import SIMPLE, STAGED, WorldConfig
    from magref.synthetic.samples import SampleSettings, write_samples

    if simple and staged:
        raise InputError("--staged is --simple and more; leave one out")
    height, width = _size(size, SampleSettings().height, SampleSettings().width)
    world = STAGED if staged else SIMPLE if simple else WorldConfig()
    counts = {"max_subjects": subjects or world.max_subjects, "references": references or world.references}
    world = world.model_copy(update=counts | {"reference_px": max(96, height // 2)})
    settings = _settings(
        SampleSettings, frames=frames, height=height, width=width, fps=fps, seed=seed, split=_split(split), world=world
    )
    check_device(device)
    written = write_samples(output, settings, count=count, batch=batch, device=device)
    new = sum(sample.new for sample in _shown(written, count, "samples"))
    Console(stderr=True).print(
        f"{new} samples added to {output}, {count - new} were there", markup=False, highlight=False
    )


def footage(
    output: _OUTPUT,
    count: Annotated[int, typer.Option(min=1, help="How many films the folder is to have.")],
    size: _SIZE = None,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 16.0,
    split: _SPLIT = "train",
    seed: _SEED = 0,
    simple: _SIMPLE = False,
    gradual: Annotated[float, typer.Option(min=0, max=1, help="Share of fades and dissolves among the cuts.")] = 0.4,
    device: _DEVICE = "cpu",
) -> None:
    """Write films 0 to COUNT - 1 with a .json of truth and masks beside each, or those of them that are missing."""
    from magref.synthetic.footage import FootageSettings, write_footage
    from magref.synthetic.plans import SIMPLE, WorldConfig

    height, width = _size(size, FootageSettings().height, FootageSettings().width)
    settings = _settings(
        FootageSettings, height=height, width=width, fps=fps, seed=seed, split=_split(split), gradual=gradual,
        world=SIMPLE if simple else WorldConfig(),
    )  # fmt: skip
    check_device(device)
    new = sum(
        is_new for _, is_new in _shown(write_footage(output, settings, count=count, device=device), count, "films")
    )
    Console(stderr=True).print(
        f"{new} films added to {output}, {count - new} were there", markup=False, highlight=False
    )


def check_device(device: str) -> None:
    """InputError where torch has no such device here."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"--device {device} is not to be had here; use cpu") from None


def _settings(settings: type[T], **values: Any) -> T:
    from magref.sidecar import first_problem

    try:
        return settings(**values)
    except ValidationError as error:
        raise InputError(f"that cannot be made: {first_problem(error)}") from None


def _split(name: str) -> str:
    from magref.synthetic.splits import check_split

    return check_split(name)


def _size(size: str | None, height: int, width: int) -> tuple[int, int]:
    given = parse_size(size)
    return given.get("height", height), given.get("width", width)


def _shown(items: Iterable[T], count: int, what: str) -> Iterable[T]:
    """The items, with a bar while they come."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=count)
        for item in items:
            progress.advance(task)
            yield item
