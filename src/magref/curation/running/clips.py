"""From rows back to what stages work with: a video's scan, its clips, and the frames of those that go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from magref.curation.outcome import Failed, Stage, failure
from magref.curation.running.rows import Row, pack, unpack
from magref.curation.running.sources import Source, local_file
from magref.curation.running.work import Work
from magref.curation.scan import Scan, read_window
from magref.curation.settings import CurationSettings
from magref.curation.windows import Window
from magref.errors import CheckpointError, OutputError, ResourceError
from magref.video import Frames

FATAL = (ResourceError, CheckpointError, OutputError, MemoryError)
"""Errors of the machine, not of an item: they end the run, which goes on when they are mended."""


@dataclass(frozen=True)
class Clip:
    """A window of a video; `number` counts the video's clips, so that neighbours are known."""

    name: str
    number: int
    window: Window

    def row_data(self) -> dict[str, Any]:
        """What `clip_of` needs."""
        w = self.window
        return {
            "number": self.number, "shot": w.shot, "frames": list(w.frames),
            "fps": w.fps, "start_s": w.start_s, "end_s": w.end_s,
        }  # fmt: skip


def clip_of(row: Row) -> Clip:
    """The clip of a row of the scan."""
    d = row.data
    window = Window(d["shot"], tuple(d["frames"]), d["fps"], d["start_s"], d["end_s"])
    return Clip(row.item, d["number"], window)


def all_clips(work: Work, source: str) -> list[Clip]:
    """Every window of a video that could be cut, whatever became of it."""
    return [clip_of(row) for row in work.read("scan", source, "clip") if "frames" in row.data]


def clips_after(work: Work, stage: str, source: str) -> list[Clip]:
    """The clips that a stage kept."""
    names = {row.item for row in work.read(stage, source, "clip") if row.is_kept and not row.data.get("neighbour")}
    return [clip for clip in all_clips(work, source) if clip.name in names]


def scan_data(scan: Scan) -> dict[str, Any]:
    """What `Reader` needs of a scan, and the transitions for whoever wants to see them."""
    return {
        "times_s": pack(scan.times_s), "pts": pack(scan.pts), "keys": pack(scan.keys),
        "transitions": [[t.kind, t.start, t.stop, t.change, t.unrest] for t in scan.transitions],
    }  # fmt: skip


class Reader:
    """Frames of one scanned video at full size, as the settings have it."""

    def __init__(self, source: Source, scan: Scan, work: Work, settings: CurationSettings) -> None:
        self._source = source
        self._scan = scan
        self._copies = work.copies
        self._short_side_px = settings.windows.short_side_px

    def frames(self, clip: Clip, chosen: Sequence[int] | None = None) -> Frames:
        """All frames of a clip, or those of its frames that are chosen by rising numbers: (N, H, W, 3)."""
        numbers = clip.window.frames if chosen is None else [clip.window.frames[n] for n in chosen]
        path = local_file(self._source, self._copies)
        return read_window(path, self._scan, numbers, short_side_px=self._short_side_px)

    def clips(
        self, stage: Stage, clips: Iterable[Clip], chosen: Sequence[int] | None = None
    ) -> Iterator[tuple[Clip, Frames | Failed]]:
        """Each clip with its frames, or with why they cannot be read."""
        for clip in clips:
            try:
                yield clip, self.frames(clip, chosen)
            except FATAL:
                raise
            except Exception as error:  # libraries raise whatever a damaged file provokes
                yield clip, failure(stage, error)


def reader_of(source: Source, work: Work, settings: CurationSettings) -> Reader:
    """The reader of a video that was scanned and kept."""
    (row,) = work.read("scan", source.id, "source")
    empty = np.zeros(0, np.float32)
    scan = Scan(
        height=int(row.scores["height"]), width=int(row.scores["width"]), fps=row.scores["fps"],
        times_s=unpack(row.data["times_s"]), pts=unpack(row.data["pts"]), keys=unpack(row.data["keys"]),
        speeds=empty, contrasts=empty, transitions=(), shots=(),
    )  # fmt: skip
    return Reader(source, scan, work, settings)
