"""How a subject moves, read from the path of its box."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from magref.evaluation.measures.camera import Camera, Floats
from magref.evaluation.measures.tracking import Track

PATHS = ("left", "right", "up", "down", "grows", "shrinks", "circles", "jumps", "sways", "still")
PATH_OF = {**{path: path for path in PATHS}, "turns": "still", "spins": "still", "waves": "still"}
"""What the path of each motion of the world is. Who turns, spins or waves stays in place: only that is measured."""

LEAST_X, LEAST_Y, LEAST_GROWTH = 0.17, 0.13, 0.26
"""From how far on a subject moves: in heights of the frame, and as the logarithm of its growth."""
_SWING = 0.07
"""The least way there and back that counts as swaying or jumping, in heights."""
_RADIUS, _SWEPT = 0.06, 3.6
"""The least radius of a circle in heights, and how much of the round, in radians, is to be seen."""
_EVEN = 0.35
_LEAST_FRAMES = 5
_LEAST_SEEN = 0.5


@dataclass(frozen=True)
class Reading:
    """A subject's path. `right` and `down` are how far it came from the first frames to the last ones, in heights of
    the frame; `growth` how many times as large it became.
    """

    path: str
    right: float
    down: float
    growth: float


def read_motion(track: Track, *, size: tuple[int, int], camera: Camera | None = None) -> Reading | None:
    """The path of a subject.

    Args:
        track: its boxes.
        size: width and height of the frame in pixels.
        camera: how the camera moved, which is taken off the path.

    Returns:
        None where it is seen in fewer than half of the frames, or in fewer than five.
    """
    seen = track.seen
    if seen.sum() < max(_LEAST_FRAMES, _LEAST_SEEN * len(seen)):
        return None
    boxes = track.boxes
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    if camera is not None:
        middle, sides = camera.undo(middle, size), sides / camera.scale[:, None]
    x, y = (_smooth(middle[seen, n] / size[1]) for n in (0, 1))
    right, down = _way(x), _way(y)
    growth = _growth(*(_way(_smooth(np.log(np.maximum(sides[seen, n], 1)))) for n in (0, 1)))
    return Reading(_path(x, y, right, down, growth), right, down, float(np.exp(growth)))


def motion_right(reading: Reading | None, motion: str) -> bool | None:
    """Whether the path is that of the motion; None where there is no reading."""
    return None if reading is None else reading.path == PATH_OF[motion]


def _growth(wider: float, higher: float) -> float:
    """One logarithm of both sides: who turns or stretches an arm changes one side alone and has not grown."""
    less, more = sorted((wider, higher), key=abs)
    if wider * higher <= 0:
        return 0.0
    return (wider + higher) / 2 if abs(less) >= _EVEN * abs(more) else less


def _path(x: Floats, y: Floats, right: float, down: float, growth: float) -> str:
    if _circles(x, y):
        return "circles"
    wide, high = float(np.ptp(x)), float(np.ptp(y))
    if wide >= _SWING and wide > high and _reversals(x) >= 2:
        return "sways"
    if high >= _SWING and high > wide and _reversals(y) >= 2:
        return "jumps"
    shares = {
        ("right", "left"): right / LEAST_X, ("down", "up"): down / LEAST_Y, ("grows", "shrinks"): growth / LEAST_GROWTH,
    }  # fmt: skip
    names, most = max(shares.items(), key=lambda item: abs(item[1]))
    if abs(most) < 1:
        return "still"
    return names[0] if most > 0 else names[1]


def _circles(x: Floats, y: Floats) -> bool:
    """Whether the path goes round the middle of its extent, at some distance from it."""
    dx, dy = x - (x.max() + x.min()) / 2, y - (y.max() + y.min()) / 2
    radius = np.hypot(dx, dy)
    if np.ptp(x) < 2 * _RADIUS or np.ptp(y) < 2 * _RADIUS or np.quantile(radius, 0.1) < 0.4 * radius.mean():
        return False
    turned = np.unwrap(np.arctan2(dy, dx))
    return bool(abs(turned[-1] - turned[0]) >= _SWEPT)


def _reversals(values: Floats) -> int:
    """How often the direction changes, by at least 0.4 of the whole extent."""
    least = 0.4 * np.ptp(values)
    turns, direction = 0, 0
    low = high = values[0]
    for value in values[1:]:
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= least:
            turns, direction, high = turns + abs(direction), 1, value
        elif direction >= 0 and high - value >= least:
            turns, direction, low = turns + abs(direction), -1, value
    return turns


def _way(values: Floats) -> float:
    """From the mean of the first fifth to that of the last."""
    part = max(1, len(values) // 5)
    return float(values[-part:].mean() - values[:part].mean())


def _smooth(values: Floats) -> Floats:
    """Each value's median with its neighbours, so that one wrong box is no leap."""
    inner = [np.median(values[max(0, n - 1) : n + 2]) for n in range(1, len(values) - 1)]
    return np.array([values[0], *inner, values[-1]])


def path_length(track: Track, *, height: int) -> float:
    """How far the box's middle goes in all, in heights of the frame, over the frames that show it."""
    middle = (track.boxes[track.seen, :2] + track.boxes[track.seen, 2:]) / 2 / height
    return float(sum(np.hypot(*(b - a)) for a, b in pairwise(middle)))
