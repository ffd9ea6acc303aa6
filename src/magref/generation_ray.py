"""Many videos on a Ray cluster: `magref generate --batch FILE --engine ray`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from magref.errors import InputError, MagrefError, OutputError, ResourceError, memory_errors
from magref.generation import (
    REMEDY,
    Plan,
    Request,
    describe_made,
    largest,
    load_pipeline,
    make_frames,
    make_sidecar,
    write_planned,
)
from magref.models import Model
from magref.pipeline import MagrefPipeline
from magref.ray_pool import RayPool
from magref.settings import GenerationSettings
from magref.sidecar import ModelRecord


@dataclass(frozen=True)
class Outcome:
    """What came of a video: its frames, or why there is none."""

    planned: Plan
    frames: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class Videos:
    """What a worker does; see `ray_pool.Work`."""

    model: Model
    request: Request
    largest: GenerationSettings
    folder: Path
    """To which relative paths refer, and stay relative in the sidecars."""

    def open(self, device: str | None) -> tuple[MagrefPipeline, ModelRecord]:
        """Load the pipeline."""
        try:
            os.chdir(self.folder)
        except OSError:
            raise ResourceError(f"{self.folder} is not on every machine; start in a folder that all share") from None
        with memory_errors(self.model.name, REMEDY):
            return load_pipeline(self.model, self.request, self.largest)

    def make(self, loaded: tuple[MagrefPipeline, ModelRecord], planned: Plan) -> Outcome:
        """Make and write one video.

        Raises:
            OutputError: it could not be written, nor could the others.
        """
        pipeline, record = loaded
        try:
            frames, canvas = make_frames(pipeline, planned)
            sidecar = make_sidecar(planned, canvas, record, str(pipeline.device), len(frames))
            write_planned(sidecar, frames, planned, overwrite=self.request.overwrite)
        except OutputError:
            raise
        except MagrefError as error:
            return Outcome(planned, problem=str(error))
        return Outcome(planned, len(frames))

    def died(self, planned: Plan, why: str) -> Outcome:
        """Where the worker ended over it."""
        return Outcome(planned, problem=f"{why}; memory may not have sufficed")


def run_on_ray(model: Model, plans: Sequence[Plan], request: Request, pool: RayPool) -> None:
    """Make the planned videos on the pool's workers. One that fails is named, and the others are made.

    The request is checked where it runs: the machine that asks may have no GPU.

    Raises:
        InputError: the request asks for what is of one process alone.
        ResourceError: some videos failed; or Ray is not installed, or its workers cannot load the model.
    """
    alone = {"--preview": request.preview, "--sheet": request.sheet, "--parallel": request.parallel}
    if given := [name for name, value in alone.items() if value is not None]:
        raise InputError(f"--engine ray makes videos on other machines; leave out {', '.join(given)}")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if not plans:
        console.print("nothing to do: all videos are there")
        return
    failed = 0
    columns = (TextColumn("videos"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("videos", total=len(plans))
        for outcome in pool.each(Videos(model, request, largest(plans), Path.cwd()), plans):
            progress.advance(task)
            if outcome.problem is None:
                console.print(describe_made(outcome.planned, outcome.frames), markup=False)
            else:
                failed += 1
                console.print(f"{outcome.planned.output} failed: {outcome.problem}", markup=False)
    if failed:
        raise ResourceError(f"{failed} of {len(plans)} videos failed, see above; the same command makes these alone")
