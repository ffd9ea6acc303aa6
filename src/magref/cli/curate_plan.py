"""What `magref curate --plan` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from magref.curation.running.planning import UNITS, Plan, plan
from magref.curation.running.sources import Source
from magref.curation.running.work import find_work
from magref.curation.settings import CurationSettings


def show_plan(
    sources: Sequence[Source], settings: CurationSettings, earlier: Path | None, *, server: bool, cores: int, gpus: int
) -> None:
    """Print the plan for videos.

    Args:
        earlier: the work folder of a run to go by, where there is one yet.
        server: whether clips are captioned elsewhere.

    Raises:
        InputError: the folder is there and is no curation's work, or no video can be opened.
    """
    work = find_work(earlier) if earlier is not None and earlier.exists() else None
    planned = plan(sources, settings, earlier=work, server=server)
    table = Table("stage", "work", "in a second", "hours", box=box.SIMPLE_HEAD)
    for line in planned.lines:
        unit, of = UNITS[line.stage], {"": "core", "cuda": "GPU"}.get(line.rate.kind, line.rate.kind)
        work_and_rate = f"{_number(line.amount)} {unit}", f"{_number(line.rate.per_s)} {unit}"
        table.add_row(line.stage, *work_and_rate, f"{_number(line.seconds / 3600)} {of}")
    console = Console(highlight=False)
    console.print(table)
    for sentence in [*_sentences(planned, cores, gpus), *_origins(planned)]:
        console.print(sentence, markup=False, soft_wrap=True)


def _sentences(planned: Plan, cores: int, gpus: int) -> Iterator[str]:
    opened = "" if planned.opened == planned.videos else f", by {planned.opened} that were opened"
    videos = f"{planned.videos:,} video{'s' if planned.videos > 1 else ''}"
    length = f"{videos} of {_number(planned.seconds / 3600)} hours{opened}"
    if planned.samples is None:
        yield f"{length}: at most {planned.clips:,.0f} clips."
        yield "Nothing is taken to be rejected. A run over a few of the videos, named with --work, tells what is."
    else:
        yield f"{length}: {planned.clips:,.0f} clips, {planned.samples:,.0f} of them samples, duplicates among them."
    for device, what, count in (("", "core", cores), ("cuda", "GPU", gpus)):
        hours = planned.hours(device)
        plural = "s" if count > 1 else ""
        yield f"{_number(hours)} {what} hours, so {_number(hours / count)} hours on {count} {what}{plural}."
    for device, where in (("cpu", "on a CPU"), ("server", "on the server")):
        if planned.hours(device):
            yield f"{_number(planned.hours(device))} hours of models {where}."


def _origins(planned: Plan) -> Iterator[str]:
    """How the rates are known."""
    stages: dict[str, list[str]] = {}
    for line in planned.lines:
        stages.setdefault(line.rate.known, []).append(line.stage)
    yield from (f"Rates of {', '.join(names)}: {known}." for known, names in stages.items())


def _number(value: float) -> str:
    """Three digits; whole from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
