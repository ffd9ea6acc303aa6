"""What a curation would take: `magref curate --plan`. Videos are opened, not decoded; no model is loaded.

Rates and shares are those of an earlier run where there is one, from what its files noted. Without one, rates are
stated here and nothing is taken to be rejected: an upper bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from magref.curation.running.rows import Level
from magref.curation.running.sources import Source
from magref.curation.running.work import STAGES, Work
from magref.curation.settings import CurationSettings
from magref.curation.truth import TRUTH
from magref.errors import InputError
from magref.video import probe_video

PROBED: Final = 200
"""Videos that are opened; of more, so many evenly from first to last."""
_USUAL_FPS: Final = 30.0
"""Taken for the rate of clips where the settings leave it to the source."""

Unit = Literal["megapixels", "clips", "frames"]
"""What a stage's time grows with: pixels of the source's frames, clips, or frames of clips."""


@dataclass(frozen=True)
class Rate:
    """How much of its unit a stage does in a second of one core or one GPU, and how that is known."""

    per_s: float
    device: str
    known: str

    @property
    def kind(self) -> str:
        """The sort of device: "" for a core, cuda, cpu or server."""
        return self.device.partition(" ")[0]


UNITS: Final[dict[str, Unit]] = {
    "scan": "megapixels", "aesthetic": "clips", "captions": "clips", "boxes": "clips", "faces": "frames",
    "identities": "frames", "objects": "clips", "samples": "frames",
}  # fmt: skip
STATED: Final = {
    "scan": Rate(60, "", "stated, by our benchmark of 1280x720 H.264"),
    "aesthetic": Rate(1.5, "cuda", "stated; pipelines of this kind report 12 clips/s on 8 GPUs"),
    "captions": Rate(0.1, "cuda", "stated; pipelines of this kind report 0.7 to 0.85 clips/s on 8 GPUs"),
    "boxes": Rate(1.5, "cuda", "estimated; GroundingDINO-T looks at 8.4, SAM 2.1 L at 39.5 images/s on an A100"),
    "faces": Rate(60, "cuda", "estimated; buffalo_l looks at 78 images/s on an RTX 2070 SUPER, without landmarks"),
    "identities": Rate(2000, "", "stated, by our benchmark"),
    "objects": Rate(20, "", "stated, by our benchmark"),
    "samples": Rate(40, "", "stated, by our benchmark"),
}
"""For where nothing was measured. "cuda": of one GPU, of the sort that the words name or like it; "": of one core."""


@dataclass(frozen=True)
class Line:
    """One stage: so much of its unit, at a rate."""

    stage: str
    amount: float
    rate: Rate

    @property
    def seconds(self) -> float:
        """Of one core or one GPU."""
        return self.amount / self.rate.per_s


@dataclass(frozen=True)
class Plan:
    """What a curation would take.

    Attributes:
        videos, opened: how many there are, and how many of them could be opened to see how long they are.
        seconds: of all videos, those that were not opened taken to be like the others.
        clips: how many are cut.
        samples: how many come out, duplicates included; None where no earlier run tells.
    """

    videos: int
    opened: int
    seconds: float
    clips: float
    samples: float | None
    lines: tuple[Line, ...]

    def hours(self, kind: str) -> float:
        """Of one device of a kind."""
        return sum(line.seconds for line in self.lines if line.rate.kind == kind) / 3600


@dataclass(frozen=True)
class _Length:
    seconds: float
    megapixels: float


def plan(
    sources: Sequence[Source], settings: CurationSettings, *, earlier: Work | None = None, server: bool = False
) -> Plan:
    """The plan for videos.

    Args:
        earlier: a run whose rates and shares are taken.
        server: whether clips are captioned elsewhere.

    Raises:
        InputError: no video could be opened, so that nothing is known of their lengths.
    """
    lengths = _lengths(sources)
    scale = len(sources) / len(lengths)
    seconds = scale * sum(length.seconds for length in lengths)
    megapixels = scale * sum(length.megapixels for length in lengths)
    history = None if earlier is None else _History(earlier)
    clips = seconds * (history.filled if history else 1.0) / _window_s(settings)
    lines = []
    for stage in STAGES:
        stated = replace(STATED[stage], device="server") if stage == "captions" and server else STATED[stage]
        rate = (history.rate(stage) if history else None) or stated
        amount = megapixels
        if stage != "scan":
            amount = clips * (history.share(stage) if history else 1.0)
            amount *= settings.windows.frames if UNITS[stage] == "frames" else 1
        lines.append(Line(stage, amount, rate))
    samples = clips * history.samples if history else None
    return Plan(len(sources), len(lengths), seconds, clips, samples, tuple(lines))


class _History:
    """What an earlier run's files tell."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._name = work.folder.name
        self._frames = work.settings().windows.frames
        self._sources = [source.id for source in work.sources() if work.is_done("scan", source.id)]
        videos = [row for source in self._sources for row in work.read("scan", source, "source") if row.is_kept]
        if not videos:
            raise InputError(f"{work.folder} has no video that was looked at; plan without it")
        self._megapixels = sum(v.scores["height"] * v.scores["width"] * v.scores["frames"] for v in videos) / 1e6
        # What the windows' rules reject was never a clip.
        self._clips = sum(stage != "windows" for s in self._sources for _, stage in work.states("scan", s, "clip"))
        seconds = sum(video.scores["seconds"] for video in videos)
        self.filled = min(1.0, self._clips * _window_s(work.settings()) / seconds)
        """The share of the videos' time that clips were cut from."""

    @property
    def samples(self) -> float:
        """The share of the clips that became samples, duplicates included."""
        kept = sum(state == "kept" for s in self._sources for state, _ in self._work.states("samples", s, "sample"))
        return kept / max(1, self._clips)

    def share(self, stage: str) -> float:
        """The share of the clips that a stage looked at; 1 where it was not done for all videos."""
        if not all(self._work.is_done(stage, source) for source in self._sources):
            return 1.0
        return self._seen(stage) / max(1, self._clips)

    def rate(self, stage: str) -> Rate | None:
        """The stage's rate; None where it has no time to it, or no models ran."""
        noted = [took for source in self._sources if (took := self._work.took(stage, source)) is not None]
        seconds, devices = sum(took.seconds for took in noted), {took.device for took in noted}
        amount = self._megapixels if stage == "scan" else self._seen(stage)
        amount *= self._frames if UNITS[stage] == "frames" else 1
        if not amount or not seconds or len(devices) != 1 or TRUTH in devices:
            return None
        return Rate(amount / seconds, devices.pop(), f"measured in {self._name}")

    def _seen(self, stage: str) -> int:
        """The clips that a stage was given; identities are of the clips that faces were looked for in."""
        level: Level = "sample" if stage == "samples" else "clip"
        stage = "faces" if stage == "identities" else stage
        return sum(len(self._work.states(stage, source, level)) for source in self._sources)


def _lengths(sources: Sequence[Source]) -> list[_Length]:
    """How long videos are, by their headers: of those that are files here and can be opened, `PROBED` at most."""
    here = [source for source in sources if not source.is_remote]
    chosen = [here[n] for n in np.unique(np.linspace(0, len(here) - 1, min(PROBED, len(here))).round().astype(int))]
    found = []
    for source in chosen:
        try:
            info = probe_video(source.address)
        except InputError:
            continue  # the run will note why
        megapixels = info.height * info.width * info.num_frames / 1e6
        found.append(_Length(info.num_frames / info.fps, megapixels))
    if not found:
        raise InputError("none of the videos could be opened here; plan with some that are files of this machine")
    return found


def _window_s(settings: CurationSettings) -> float:
    """The length of a window."""
    return settings.windows.frames * settings.windows.stride / (settings.windows.fps or _USUAL_FPS)
