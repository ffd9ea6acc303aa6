"""Where one shot ends and the next begins (paper 3.1, scene change detection).

Hard cuts come from PySceneDetect's AdaptiveDetector, fed frame by frame, without its own decoding. It takes each flash
for two cuts; here a cut is none if the picture is back a moment later, or was there a moment before. Gradual
transitions come from `gradual.py`. Buffers are of a fixed length in seconds: memory does not grow with the video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from magref.curation.gradual import GradualFinder
from magref.curation.looks import Look, Picture, difference, look_at
from magref.curation.outcome import Kept, Outcome, Rejected
from magref.curation.settings import CutSettings
from magref.errors import ResourceError

if TYPE_CHECKING:
    from scenedetect.detectors import AdaptiveDetector

_HARD_PX: Final = 256
"""The width of the pictures that PySceneDetect judges, as it would choose itself."""
_DELAY: Final = 3
"""Frames after which AdaptiveDetector has said whether there was a cut."""
_FLASH_S: Final = 0.2
"""The longest flash, and how long a cut is watched on both sides."""
_ROUNDING_S: Final = 1e-6
_RETURNED: Final = 0.5
"""The picture is back when it differs by less than this share of the jump."""


_KEPT: Final = Kept()


@dataclass(frozen=True)
class Transition:
    """From one shot to the next: the shot before ends before frame `start`, the next begins at frame `stop`.

    `change` and `unrest` are measured as the settings of these names say.
    """

    kind: Literal["hard", "gradual"]
    start: int
    stop: int
    change: float
    unrest: float


class CutDetector(Protocol):
    """What finds transitions in a stream of frames. A network such as TransNetV2 can stand here."""

    def push(self, number: int, time_s: float, picture: Picture) -> None:
        """The next frame, (H, W, 3) uint8 BGR, made small."""

    def finish(self) -> list[Transition]:
        """All transitions, in order, none reaching into another."""


class CutFinder:
    """A `CutDetector` for one video."""

    def __init__(self, settings: CutSettings) -> None:
        self._settings = settings
        self._adaptive = _adaptive_detector(settings)
        self._recent: deque[Look] = deque()  # all frames of the last moment, to judge hard cuts by
        self._waiting: deque[Look] = deque()  # for `_gradual`, until the hard cuts before them are judged
        self._pending: list[int] = []
        self._clean: list[Transition] = []
        self._unclean: list[Transition] = []
        self._gradual = GradualFinder(settings)
        self._next_look_s = -np.inf

    def push(self, number: int, time_s: float, picture: Picture) -> None:
        """The next frame."""
        picture = _narrowed(picture)
        self._pending += self._hard_cuts(number, picture)
        look = look_at(number, time_s, picture)
        self._recent.append(look)
        if time_s >= self._next_look_s:
            self._waiting.append(look)
            # A tenth early, since frames do not come at multiples of the rate.
            self._next_look_s = time_s + 0.9 / self._settings.rate_hz
        while self._pending and self._time_of(self._pending[0]) <= time_s - _FLASH_S:
            self._judge(self._pending.pop(0))
        self._release(number - _DELAY)
        while self._recent[0].time_s < time_s - 3 * _FLASH_S and self._recent[0].number < number - 2 * _DELAY:
            self._recent.popleft()

    def finish(self) -> list[Transition]:
        """All transitions, in order."""
        while self._pending:
            self._judge(self._pending.pop(0))
        while self._waiting:
            self._gradual.push(self._waiting.popleft())
        gradual = [
            Transition("gradual", found.last.number + 1, found.first.number, found.change, found.unrest)
            for found in self._gradual.finish()
        ]
        return sorted([*self._clean, *_reconciled(gradual, self._unclean)], key=lambda transition: transition.start)

    def _hard_cuts(self, number: int, picture: Picture) -> list[int]:
        from scenedetect import FrameTimecode

        # The rate is of no consequence: lengths are not asked for.
        return [cut.frame_num for cut in self._adaptive.process_frame(FrameTimecode(number, 1.0), picture)]

    def _time_of(self, number: int) -> float:
        return next(look.time_s for look in self._recent if look.number == number)

    def _release(self, number: int) -> None:
        """Give looks on that no hard cut before them is still to be judged."""
        limit = min([number, *self._pending])
        while self._waiting and self._waiting[0].number < limit:
            self._gradual.push(self._waiting.popleft())

    def _judge(self, cut: int) -> None:
        """Whether the frame `cut` begins a shot, beyond doubt, or perhaps, or not."""
        self._release(cut)
        since = self._clean[-1].start if self._clean else 0
        time_s = self._time_of(cut)
        near = [look for look in self._recent if look.number >= since and abs(look.time_s - time_s) <= _FLASH_S]
        before = [look for look in self._recent if since <= look.number < cut]
        before = [look for look in before if look in near] or before[-1:]
        after = [look for look in near if look.number >= cut]
        if not before:
            return
        change = difference(before[-1], after[0])
        back = [difference(before[-1], look) for look in after[1:]] + [
            difference(after[0], look) for look in before[:-1]
        ]
        if any(value < _RETURNED * change for value in back):
            return
        unrest = max(difference(before[0], before[-1]), difference(after[0], after[-1]))
        transition = Transition("hard", cut, cut, change, unrest)
        if unrest <= self._settings.unrest * change:
            self._clean.append(transition)
            self._gradual.close()
        elif unrest <= change and change >= self._settings.change:
            self._unclean.append(transition)


@dataclass(frozen=True)
class Shot:
    """Frames `start` to `stop` - 1 of a video, without what was trimmed; `outcome` says whether it is of use."""

    start: int
    stop: int
    outcome: Outcome = _KEPT


def find_shots(
    transitions: Sequence[Transition], times_s: npt.NDArray[np.float64], contrasts: npt.NDArray[np.float32],
    settings: CutSettings,
) -> list[Shot]:  # fmt: skip
    """The shots between transitions, their ends trimmed.

    Args:
        times_s: (F,) when each frame is shown.
        contrasts: (F,) `Look.contrast` of each frame.
    """
    total = len(times_s)
    shots = []
    for before, after in pairwise([None, *transitions, None]):
        start = before.stop if before else 0
        stop = after.start if after else total
        if start >= stop:
            continue
        low = times_s[start] + (_trim(before, settings) if before else 0.0)
        high = times_s[stop - 1] - (_trim(after, settings) if after else 0.0)
        inside = np.flatnonzero(
            (times_s[start:stop] >= low - _ROUNDING_S) & (times_s[start:stop] <= high + _ROUNDING_S)
        )
        outcome: Outcome = Kept()
        contrast = float(contrasts[start:stop].max())
        if contrast < settings.blank_contrast:
            outcome = Rejected(stage="cuts", reason="blank", value=contrast, limit=settings.blank_contrast)
        elif len(inside) < 2:
            length_s = float(times_s[stop - 1] - times_s[start])
            outcome = Rejected(stage="cuts", reason="nothing left after trimming", value=length_s)
        else:
            start, stop = start + int(inside[0]), start + int(inside[-1]) + 1
        shots.append(Shot(start, stop, outcome))
    return shots


def _trim(transition: Transition, settings: CutSettings) -> float:
    return settings.trim_hard_s if transition.kind == "hard" else settings.trim_gradual_s


def _reconciled(gradual: Sequence[Transition], unclean: Sequence[Transition]) -> list[Transition]:
    """Gradual transitions, and the doubtful hard cuts that are no part of one."""
    apart = [cut for cut in unclean if not any(t.start - 1 <= cut.start <= t.stop + 1 for t in gradual)]
    return [*gradual, *apart]


def _narrowed(picture: Picture) -> Picture:
    import cv2

    height, width = picture.shape[:2]
    if width <= _HARD_PX:
        return picture
    size = (_HARD_PX, max(1, round(height * _HARD_PX / width)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


def _adaptive_detector(settings: CutSettings) -> AdaptiveDetector:
    try:
        from scenedetect.detectors import AdaptiveDetector
    except ImportError:
        raise ResourceError("curation needs extra packages; run pip install 'magref[curate]'") from None
    return AdaptiveDetector(
        adaptive_threshold=settings.adaptive_ratio, min_content_val=settings.adaptive_change, min_scene_len=0
    )
