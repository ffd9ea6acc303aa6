"""Models that break: over one clip, over all of them, or because the machine is not up to it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

pytest.importorskip("scenedetect", reason="needs the curate extra")

from magref.curation.interfaces import Rated
from magref.curation.outcome import Failed
from magref.curation.running import asking, looking
from magref.curation.running.bundle import Models
from magref.curation.running.options import read_settings
from magref.curation.running.sources import Source
from magref.curation.running.work import Work, forget_failed, open_work
from magref.errors import ResourceError
from magref.video import write_video
from test_curation_scan import sliding

SETTINGS = read_settings(
    None, ["source.min_short_side_px=32", "windows.frames=5", "windows.fps=null", "motion.most=1000"]
)


@pytest.fixture
def scanned(tmp_path) -> tuple[Work, list[Source]]:
    """Two videos of 30 clips each, looked at."""
    sources = [
        Source(str(write_video(sliding(150, 1, seed=n), tmp_path / f"{n}.mp4", fps=10, overwrite=True)))
        for n in range(2)
    ]
    sources.sort(key=lambda source: source.id)
    work = open_work(tmp_path / "work", SETTINGS, sources)
    for source in sources:
        work.write("scan", source.id, looking.scan(source, work, SETTINGS))
        assert len([row for row in work.read("scan", source.id, "clip") if row.is_kept]) == 30
    return work, sources


class Rater:
    """Breaks over some clips, by the number in which their first frames come along."""

    def __init__(self, *broken: int, error: Exception | None = None) -> None:
        self.broken = broken
        self.error = error or ValueError("what is this?")
        self.seen: list[bytes] = []

    def rate(self, images: list[np.ndarray]) -> list[Rated]:
        for first in images[::3]:
            digest = hashlib.sha256(first.tobytes()).digest()
            if digest not in self.seen:
                self.seen.append(digest)
            if self.seen.index(digest) in self.broken:
                raise self.error
        return [Rated(5.0) for _ in images]


def rate(work: Work, sources: list[Source], rater: Rater) -> list[str]:
    models = Models(rater, rater, rater, rater, rater, images=12)
    return list(asking.aesthetic(sources, work, SETTINGS, models))


def test_a_model_that_breaks_over_clips_costs_these_clips(scanned) -> None:
    work, sources = scanned
    assert rate(work, sources, Rater(3, 40)) == [source.id for source in sources]
    for source in sources:
        rows = work.read("aesthetic", source.id, "clip")
        assert len({row.item for row in rows}) == len(rows) == 30
        (failed,) = [row for row in rows if not row.is_kept]
        assert failed.outcome == Failed(stage="aesthetic", error="ValueError: what is this?")


def test_what_failed_is_looked_at_again_when_asked_for(scanned) -> None:
    work, sources = scanned
    rate(work, sources, Rater(3))
    before = {source.id: work.path("aesthetic", source.id).stat().st_mtime_ns for source in sources}
    assert forget_failed(work.folder) == 1
    (left,) = [source for source in sources if not work.is_done("aesthetic", source.id)]
    assert work.is_done("scan", left.id)
    assert rate(work, [left], Rater()) == [left.id]
    assert all(row.is_kept for source in sources for row in work.read("aesthetic", source.id, "clip"))
    (kept,) = [source for source in sources if source != left]
    assert work.path("aesthetic", kept.id).stat().st_mtime_ns == before[kept.id]


def test_a_model_that_breaks_over_everything_ends_the_run_with_its_last_reason(scanned) -> None:
    work, sources = scanned
    with pytest.raises(ResourceError, match="20 clips failed one after the other, the last time: ValueError: what is"):
        rate(work, sources, Rater(*range(60)))
    assert not any(work.is_done("aesthetic", source.id) for source in sources)


def test_a_machine_that_is_not_up_to_it_ends_the_run_which_goes_on_afterwards(scanned) -> None:
    work, sources = scanned
    with pytest.raises(ResourceError, match="no room"):
        rate(work, sources, Rater(45, error=ResourceError("no room on the GPU; use a smaller batch")))
    assert [work.is_done("aesthetic", source.id) for source in sources] == [True, False]
    assert rate(work, sources[1:], Rater()) == [sources[1].id]
