"""Motion, from dense optical flow (Farneback's): how much moves, or what OpenS2V-Eval calls so.

Needs no weights, so it has run as it is. Profile `opens2v` gives the published value of the published sample video,
0.35025984, within 1e-6 (`tests/test_metrics.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from magref.batch import Case
from magref.errors import ResourceError
from magref.evaluation.decoding import DecodedVideo
from magref.evaluation.metrics.interface import About, Measure, Missing, Profile, Score, Value
from magref.video import Frames

Flow = npt.NDArray[np.float32]
"""(H, W, 2), pixels to the right and down from one frame to the next."""

_WIDTH = 16
"""To which the published code shrinks each flow map."""


class Motion:
    """Flow between each two frames in a row, at full size.

    `opens2v`: the grey image weighs red and blue the wrong way round; every flow map is shrunk to 16 in width; then the
    mean is taken over all maps, places and both directions *with its sign*, and made positive and at most 1. What moves
    one way is cancelled by what moves the other way, and a pan to the upper right by its two directions: this is no
    magnitude, and has no best value.

    `strict`: the mean length of the flow, as a share of the frame's diagonal for each second.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @property
    def about(self) -> About:
        """See `Metric`."""
        return About(
            source="Farneback 2003 in OpenCV; profile opens2v: OpenS2V-Eval's get_motionscore.py, measure motion_fb",
            licence="no weights; OpenCV is Apache-2.0",
            ran="needs no weights; equals the published value of faceobj_14.mp4 within 1e-6",
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """See `Metric`."""
        if self.profile == "opens2v":
            return (
                Measure(
                    name="motion",
                    meaning="absolute value of the mean signed flow, at most 1",
                    unit="pixels a frame",
                    best=None,
                ),
            )
        return (
            Measure(name="motion", meaning="mean length of the flow", unit="% of the diagonal a second", best=None),
        )

    def measure(self, video: DecodedVideo, case: Case) -> dict[str, Score]:
        """See `Metric`; the case plays no part."""
        return {"motion": self._score(video)}

    def _score(self, video: DecodedVideo) -> Score:
        if len(video) < 2:
            return Missing(reason="too_short", why="the video has 1 frame, and motion needs 2")
        if self.profile == "opens2v":
            raw = published_motion(video.rgb(published=True))
            return Value(value=min(raw, 1.0), parts={"raw": raw})
        per_frame = mean_flow(video.rgb())
        return Value(value=100 * per_frame * video.fps / float(np.hypot(*video.size)), parts={"pixels": per_frame})


def published_motion(frames: Frames) -> float:
    """The published score before it is cut at 1; summed in the published order, which the last digits depend on.

    Args:
        frames: (F, H, W, 3), RGB, which is handed to a conversion that expects BGR.
    """
    import cv2

    height, width = frames.shape[1:3]
    size = _WIDTH, max(int(height * (_WIDTH / width)), 1)
    maps = [cv2.resize(flow, size, interpolation=cv2.INTER_AREA) for flow in flows(frames, swapped=True)]
    return abs(float(np.mean(np.mean(np.array(maps), axis=0))))


def mean_flow(frames: Frames) -> float:
    """The mean length of the flow in pixels from one frame to the next."""
    lengths = [np.hypot(flow[..., 0], flow[..., 1]).mean(dtype=np.float64) for flow in flows(frames)]
    return float(np.mean(lengths))


def flows(frames: Frames, *, swapped: bool = False) -> Iterator[Flow]:
    """The flow from each frame to the next.

    Args:
        frames: (F, H, W, 3), RGB.
        swapped: take red for blue in the grey images, as the published code does.

    Raises:
        ResourceError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise ResourceError("OpenCV is not installed; run pip install 'magref[evaluate]'") from None
    code = cv2.COLOR_BGR2GRAY if swapped else cv2.COLOR_RGB2GRAY
    before = cv2.cvtColor(frames[0], code)
    for frame in frames[1:]:
        after = cv2.cvtColor(frame, code)
        yield cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        before = after
