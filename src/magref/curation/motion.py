"""How much moves (paper 3.1, motion filter): dense optical flow by DIS, in % of the picture's diagonal a second.

The unit is the same for any size and rate. Some pairs of neighbouring frames are measured, `pairs_hz` a second; which
windows they lie in is known later.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magref.curation.looks import Picture
from magref.curation.outcome import Rejected, above, below
from magref.curation.settings import MotionSettings

Floats = npt.NDArray[np.float32]


class MotionMeter:
    """Takes a video's frames in order, of the size at which flow is to be measured."""

    def __init__(self, settings: MotionSettings) -> None:
        import cv2

        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        # A tenth early, since frames do not come at multiples of the rate.
        self._interval_s = 0.9 / settings.pairs_hz
        self._before: tuple[float, Picture] | None = None
        self._next_s = -np.inf

    def push(self, time_s: float, picture: Picture) -> float:
        """The next frame, (H, W, 3) BGR; the speed since the one before, nan where it is not measured."""
        speed = np.nan
        if self._before is not None and time_s >= self._next_s and time_s > self._before[0]:
            speed = self._speed(self._before[1], picture, time_s - self._before[0])
            self._next_s = time_s + self._interval_s
        self._before = (time_s, picture)
        return speed

    def _speed(self, a: Picture, b: Picture, seconds: float) -> float:
        import cv2

        grey_a, grey_b = cv2.cvtColor(a, cv2.COLOR_BGR2GRAY), cv2.cvtColor(b, cv2.COLOR_BGR2GRAY)
        flow = self._flow.calc(grey_a, grey_b, None)  # (H, W, 2), in pixels
        return 100 * float(cv2.magnitude(flow[..., 0], flow[..., 1]).mean()) / float(np.hypot(*grey_a.shape)) / seconds


def motion_of(frames: Sequence[int], speeds: Floats) -> float:
    """The mean speed within a window of these frames of the video; nan where no pair of it was measured.

    Args:
        speeds: (F,) what `MotionMeter.push` gave for each frame of the video.
    """
    inside = speeds[frames[0] + 1 : frames[-1] + 1]
    measured = inside[np.isfinite(inside)]
    return float(measured.mean()) if len(measured) else float("nan")


def judge_motion(motion: float, settings: MotionSettings) -> Rejected | None:
    """Rejected where too little or too much moves, or nothing was measured."""
    return below("motion", "too little motion", motion, settings.least) or above(
        "motion", "too much motion", motion, settings.most
    )
