"""A curation from videos to a dataset: `magref curate`.

The unit of work is one stage of one video. Each leaves a file that appears when it is done, so that a run that was
killed goes on where it stopped, with nothing done twice and nothing lost.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from magref.curation.guard import find_guard
from magref.curation.outcome import Failed, Kept, Rejected
from magref.curation.running import asking, looking, putting
from magref.curation.running.bundle import MakeModels, Models
from magref.curation.running.engines import Engine
from magref.curation.running.finishing import finish
from magref.curation.running.rows import Row, Took
from magref.curation.running.sources import Source
from magref.curation.running.work import STAGES, Work, open_work
from magref.curation.settings import CurationSettings
from magref.dataset.format import DatasetInfo

_ALONE: Final = {
    "scan": looking.scan, "identities": putting.identities, "objects": putting.objects, "samples": putting.samples,
}  # fmt: skip
_WITH_MODELS: Final = {
    "aesthetic": asking.aesthetic, "captions": asking.captions, "boxes": asking.boxes, "faces": asking.faces,
}  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """What became of a stage's items, by their level: how many were kept, rejected and failed, and why."""

    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows in."""
        for row in rows:
            if row.data.get("neighbour"):
                continue
            match row.outcome:
                case Kept():
                    self.kept[row.level] += 1
                case Rejected(reason=reason):
                    self.rejected[row.level, reason] += 1
                case Failed():
                    self.failed[row.level] += 1


class Watch:
    """Told what happens; the command line shows it."""

    def begin(self, stage: str, sources: int, done: int) -> None:
        """A stage begins; of its videos, so many were done before."""

    def step(self, stage: str, source: str, tally: Tally) -> None:
        """A video is done, or a sample is written; `tally` is that of the stage so far."""

    def end(self, stage: str, tally: Tally, seconds: float) -> None:
        """A stage is done."""


@dataclass(frozen=True)
class Finished:
    """A curation that went through."""

    samples: int
    tallies: dict[str, Tally]


def curate(
    sources: Sequence[Source], dataset: Path, settings: CurationSettings, *, work: Path, make: MakeModels,
    engine: Engine, info: DatasetInfo, watch: Watch | None = None,
) -> Finished:  # fmt: skip
    """Make a dataset of videos, or go on with it.

    Args:
        dataset: the folder of the dataset; it grows, nothing in it is changed.
        work: the folder for everything else.

    Raises:
        InputError: the settings name a guard that cannot be found.
        OutputError: the dataset or the work is another's.
        ResourceError, CheckpointError: the machine or a model is not up to it; the same call goes on afterwards.
    """
    watch = watch or Watch()
    find_guard(settings.guard)  # before hours of work that end in its samples
    place = open_work(work, settings, sources)
    place.log("begin", sources=len(sources), dataset=str(dataset))
    everything = place.sources()
    tallies = {
        stage: run_stage(stage, everything, place, settings, make=make, engine=engine, watch=watch) for stage in STAGES
    }
    began = time.monotonic()
    tally = tallies["duplicates"] = Tally()
    watch.begin("duplicates", tallies["samples"].kept["sample"], 0)
    rows = finish(place, dataset, info, settings.duplicates, lambda name: watch.step("duplicates", name, tally))
    tally.add(rows)
    watch.end("duplicates", tally, time.monotonic() - began)
    place.log("end", samples=tally.kept["sample"])
    return Finished(tally.kept["sample"], tallies)


def needs_models(work: Work, sources: Sequence[Source]) -> bool:
    """Whether some stage with models is still to be done for one of the sources, or for one of the work's own."""
    everything = {source.id for source in [*work.sources(), *sources]}
    return not all(work.is_done(stage, source) for stage in _WITH_MODELS for source in everything)


def run_stage(
    stage: str, sources: Sequence[Source], work: Work, settings: CurationSettings, *, make: MakeModels, engine: Engine,
    watch: Watch,
) -> Tally:  # fmt: skip
    """Do one stage for all videos that lack it."""
    tally, began = Tally(), time.monotonic()
    todo = [source for source in sources if not work.is_done(stage, source.id)]
    for source in sources:
        if work.is_done(stage, source.id):
            tally.add(work.read(stage, source.id))
    watch.begin(stage, len(sources), len(sources) - len(todo))
    done: Iterator[str]
    if stage in _ALONE:
        alone = functools.partial(_alone, stage, work, settings)
        done = engine.each(alone, todo, functools.partial(_died, stage, work))
    else:
        done = engine.together(functools.partial(_together, stage, work, settings), todo, make, settings)
    for source_id in done:
        rows = work.read(stage, source_id)
        tally.add(rows)
        work.log("done", stage=stage, source=source_id, items=len(rows), kept=sum(row.is_kept for row in rows))
        for row in rows:
            if isinstance(row.outcome, Failed):
                work.log("failed", stage=stage, source=source_id, item=row.item, error=row.outcome.error)
        watch.step(stage, source_id, tally)
    watch.end(stage, tally, time.monotonic() - began)
    return tally


def _alone(stage: str, work: Work, settings: CurationSettings, source: Source) -> str:
    run: Callable[[Source, Work, CurationSettings], list[Row]] = _ALONE[stage]
    began = time.process_time()
    rows = run(source, work, settings)
    work.write(stage, source.id, rows, Took(time.process_time() - began))
    return source.id


def _together(
    stage: str, work: Work, settings: CurationSettings, sources: Sequence[Source], models: Models
) -> Iterator[str]:
    return _WITH_MODELS[stage](sources, work, settings, models)


def _died(stage: str, work: Work, source: Source) -> None:
    """Note a source over which its process died; it has no clips for later stages."""
    outcome = Failed(
        stage="source", error=f"the process died over {source.address}, as a decoder may over a damaged file"
    )
    work.write(stage, source.id, [Row("source", source.id, outcome, data={"address": source.address})])
