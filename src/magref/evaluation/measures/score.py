"""Score a video against what it was to show: who, moving how, how many, before what, and with no canvas left in it.

What cannot be measured is None and enters no mean; nothing missing is ever counted as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from magref.errors import InputError
from magref.evaluation.measures.background import background_similarity, colour_share, outside_boxes
from magref.evaluation.measures.camera import camera_of
from magref.evaluation.measures.embedding import crops, embed
from magref.evaluation.measures.finder import Found, find_subjects
from magref.evaluation.measures.instruments import (
    OTHERS,
    Instruments,
    other_features,
    reference_feature,
    shipped_instruments,
)
from magref.evaluation.measures.layout import layout_left
from magref.evaluation.measures.motion import PATH_OF, motion_right, read_motion
from magref.evaluation.measures.steadiness import colour_drift, constancy, flicker
from magref.evaluation.measures.tracking import MOST, Track, follow
from magref.evaluation.statistics import Mean, mean_of
from magref.references import ImageLike, Reference
from magref.settings import Record

_DOUBLE = 0.93
"""The cosine from which on two references are taken for one."""
_COUNTED, _SURE = 0.5, 0.45
"""A subject counts that is found with the second of these scores in the first of these shares of all frames."""


@dataclass(frozen=True)
class CaseSubject:
    """One subject that a video is to show: its reference, and its motion (one of `synthetic.motions.MOTIONS`), None
    where the prompt says none.
    """

    reference: Reference | ImageLike
    motion: str | None = None


@dataclass(frozen=True)
class Case:
    """What a video is measured against.

    `background` is the background's reference, the name of a plain colour, or None where the prompt leaves it open;
    `canvas` is what the model was given, for the layout left of it; `pictures` what it was given in the canvas's place
    where that was one picture for each reference (vanilla mask, token-wise concatenation).
    """

    subjects: tuple[CaseSubject, ...]
    background: Image.Image | str | None = None
    canvas: Image.Image | None = None
    pictures: tuple[Image.Image, ...] = ()

    @property
    def given(self) -> tuple[Image.Image, ...]:
        """What the model was given."""
        return self.pictures or (() if self.canvas is None else (self.canvas,))


class SubjectScore(Record):
    """One subject of a video.

    `seen`: the share of frames in which it is found. `identity`: the mean cosine with its reference, from -1 to 1, over
    these frames; `by_frame` each frame's. `rank`: of its reference among 100, by the cosine with the mean look over all
    frames, 1 being the nearest; the 100 are the reference, those of the video's other subjects, and held-out identities
    that are in no clip. `rank_distinct`: the same without those whose own references are as good as doubles of its
    reference (a cosine of 0.93 or more), since some identities differ in a shade alone. `nearest_by_frame`: the share
    of frames in which the reference ranks first. `path`: how it moves, `right`, `down` and `growth` as in
    `motion.Reading`; `motion_right`: whether as the prompt says. `constancy`, `colour_drift`: see `steadiness`.
    """

    seen: float
    identity: float | None
    by_frame: tuple[float | None, ...]
    rank: int | None
    rank_distinct: int | None
    nearest_by_frame: float | None
    path: str | None
    right: float | None
    down: float | None
    growth: float | None
    motion_right: bool | None
    constancy: float | None
    colour_drift: float | None

    @property
    def nearest(self) -> bool | None:
        """Whether the reference is the nearest among 100."""
        return None if self.rank is None else self.rank == 1

    @property
    def nearest_distinct(self) -> bool | None:
        """Whether it is the nearest among those of the hundred that are no doubles of it."""
        return None if self.rank_distinct is None else self.rank_distinct == 1


class VideoScore(Record):
    """One video.

    `count` subjects are found; `count_right` says whether that is as many as there should be. `background`: structural
    similarity with the reference outside the subjects, or the share there of the named colour; see `background.py`.
    `layout_left`: see `layout.py`. `flicker`: see `steadiness.py`. `camera_known`: whether the camera's motion could be
    told and was taken off the subjects' paths.
    """

    subjects: tuple[SubjectScore, ...]
    count: int
    count_right: bool
    background: float | None
    layout_left: float | None
    flicker: float | None
    camera_known: bool


class Scores(Record):
    """Many videos: each one's score, and the means by name, subjects' measures over all subjects."""

    videos: tuple[VideoScore, ...]
    means: dict[str, Mean]


def score_video(
    frames: npt.NDArray[np.uint8], case: Case, *, instruments: Instruments | None = None, others: str | None = None
) -> VideoScore:
    """Measure one video.

    Args:
        frames: (F, H, W, 3), without those that are dropped because they show the canvas.
        case: what it was to show.
        instruments: the networks; those that come with the package by default.
        others: the kind that the other references of the hundred are of; all kinds by default.

    Raises:
        InputError: the case has more than 5 subjects, or a motion that is none of the world's.
    """
    _check(case)
    tools = instruments or shipped_instruments()
    video = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 255
    height, width = video.shape[-2:]
    found = find_subjects(tools.finder, video)
    outside = outside_boxes([each.boxes for each in found], height, width)
    features = _features(video, found, tools)
    camera = camera_of(video, outside)
    references = [reference_feature(tools.identity, subject.reference) for subject in case.subjects]
    subjects: list[SubjectScore] = []
    if references:
        own = torch.stack(references)
        tracks = follow(
            [each.boxes.double().numpy() for each in found],
            [each.scores.double().numpy() for each in found],
            [(each @ own.T).double().numpy() for each in features],
            height=height,
        )
        strangers = other_features(tools.identity, OTHERS, others)
        for n, (subject, track) in enumerate(zip(case.subjects, tracks, strict=True)):
            rest = [reference for m, reference in enumerate(references) if m != n]
            hundred = torch.stack([references[n], *rest, *strangers[: OTHERS - len(rest)]])
            reading = read_motion(track, size=(width, height), camera=camera)
            subjects.append(
                SubjectScore(
                    **_identity(track, features, hundred),
                    path=None if reading is None else reading.path,
                    right=None if reading is None else reading.right,
                    down=None if reading is None else reading.down,
                    growth=None if reading is None else reading.growth,
                    motion_right=None if subject.motion is None else motion_right(reading, subject.motion),
                    colour_drift=colour_drift(video, track),
                )
            )
    count = count_subjects([each.scores.tolist() for each in found])
    return VideoScore(
        subjects=tuple(subjects),
        count=count,
        count_right=count == len(case.subjects),
        background=_background(video, outside, case.background),
        layout_left=layout_left(video, *case.given),
        flicker=flicker(video, outside),
        camera_known=camera is not None,
    )


def score_videos(
    videos: Iterable[tuple[npt.NDArray[np.uint8], Case]], *, instruments: Instruments | None = None
) -> Scores:
    """Measure many videos; see `score_video`."""
    return summarise([score_video(frames, case, instruments=instruments) for frames, case in videos])


def summarise(scores: Sequence[VideoScore]) -> Scores:
    """The means of what was measured, with intervals over videos."""
    means = {
        name: mean_of([[getattr(subject, name) for subject in score.subjects] for score in scores])
        for name in (
            "seen", "identity", "nearest", "nearest_distinct", "nearest_by_frame", "motion_right", "constancy",
            "colour_drift",
        )
    }  # fmt: skip
    for name in ("count_right", "background", "layout_left", "flicker"):
        means[name] = mean_of([getattr(score, name) for score in scores])
    return Scores(videos=tuple(scores), means=means)


def count_subjects(scores: Sequence[Sequence[float]]) -> int:
    """How many subjects a video has, given the finder's scores in each frame: the most that are surely seen together
    in at least half of the frames, since those who cross hide each other for a while.
    """
    sure = [sum(score >= _SURE for score in each) for each in scores]
    most = max(sure, default=0)
    return max((k for k in range(most + 1) if sum(n >= k for n in sure) >= _COUNTED * len(sure)), default=0)


def _check(case: Case) -> None:
    """Before anything is computed, since a video takes seconds."""
    if len(case.subjects) > MOST:
        raise InputError(
            f"more than {MOST} subjects cannot be followed; give at most {MOST} of the case's {len(case.subjects)}"
        )
    for subject in case.subjects:
        if subject.motion is not None and subject.motion not in PATH_OF:
            raise InputError(f"the motion {subject.motion!r} is unknown; use None or one of {', '.join(PATH_OF)}")


def _features(video: torch.Tensor, found: Sequence[Found], tools: Instruments) -> list[torch.Tensor]:
    """(K, D) of what each frame's boxes hold."""
    counts = [len(each.boxes) for each in found]
    which = torch.repeat_interleave(torch.arange(len(found)), torch.tensor(counts))
    features = embed(tools.identity, crops(video, torch.cat([each.boxes for each in found]), which))
    return list(features.split(counts))


def _identity(track: Track, features: Sequence[torch.Tensor], hundred: torch.Tensor) -> dict[str, Any]:
    """Everything that is measured by cosines; `hundred` (100, D), the reference first."""
    looks = [features[frame][box] for frame, box in enumerate(track.chosen.tolist()) if box >= 0]
    by_frame = tuple(None if np.isnan(cosine) else float(cosine) for cosine in track.cosines.tolist())
    if not looks:
        return {
            "seen": 0.0, "identity": None, "by_frame": by_frame, "rank": None, "rank_distinct": None,
            "nearest_by_frame": None, "constancy": None,
        }  # fmt: skip
    each = torch.stack(looks)
    cosines = each @ hundred.T  # (F, 100)
    mean = F.normalize(each.mean(dim=0), dim=0) @ hundred.T
    distinct = hundred[1:] @ hundred[0] < _DOUBLE
    return {
        "seen": len(looks) / len(by_frame),
        "identity": float(cosines[:, 0].mean()),
        "by_frame": by_frame,
        "rank": 1 + int((mean[1:] > mean[0]).sum()),
        "rank_distinct": 1 + int((mean[1:][distinct] > mean[0]).sum()),
        "nearest_by_frame": float((cosines[:, 1:].amax(dim=1) < cosines[:, 0]).float().mean()),
        "constancy": constancy(each),
    }


def _background(video: torch.Tensor, outside: torch.Tensor, wanted: Image.Image | str | None) -> float | None:
    if wanted is None:
        return None
    if isinstance(wanted, str):
        return colour_share(video, outside, wanted)
    return background_similarity(video, outside, wanted)
