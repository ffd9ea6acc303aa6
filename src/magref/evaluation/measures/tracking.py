"""Which of the subjects found in each frame is which reference: the most likely course of all of them together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SURE = 0.3
"""What the finder's score is worth beside a cosine."""
_FAR = 1.2
"""What a leap of one frame's height costs, in cosines."""
_SIZE = 0.15
"""What a change of size by a factor of e costs."""
_LOST = 0.1
"""What it costs to vanish, or to come back."""
MOST = 5
"""So many references are followed at most: eight among six boxes could be placed in 93,000 ways in each frame."""


@dataclass(frozen=True)
class Track:
    """One reference's subject over F frames: `boxes` (F, 4) in pixels and `cosines` (F,), both nan where it is unseen;
    `chosen` (F,) the number of the box among those found in the frame, -1 where it is unseen.
    """

    boxes: Floats
    cosines: Floats
    chosen: npt.NDArray[np.int64]

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """(F,)"""
        return self.chosen >= 0


def follow(boxes: Sequence[Floats], scores: Sequence[Floats], cosines: Sequence[Floats], *, height: int) -> list[Track]:
    """The tracks of all references, of which no two share a box.

    Each reference takes one of the found boxes or none in every frame; the whole course with the highest sum of cosines
    and finder's scores, less what leaps and gaps cost, is found exactly (Viterbi). Meant for at most `MOST` references.

    Args:
        boxes: (K, 4) for each frame.
        scores: (K,) of the finder.
        cosines: (K, N) of each box with each reference.
        height: of the frame, in pixels.
    """
    count = cosines[0].shape[1]
    states = [_states(len(each), count) for each in boxes]
    gains = [_gain(s, c, states_) for s, c, states_ in zip(scores, cosines, states, strict=True)]
    best, back = gains[0], []
    for frame in range(1, len(boxes)):
        cost = _moves(boxes[frame - 1], boxes[frame], height)
        before, now = states[frame - 1], states[frame]
        total = best[:, None] - sum(cost[before[:, None, n], now[None, :, n]] for n in range(count))
        back.append(total.argmax(axis=0))
        best = total.max(axis=0) + gains[frame]
    course = [int(best.argmax())]
    for pointers in reversed(back):
        course.append(int(pointers[course[-1]]))
    course.reverse()
    chosen = np.array([states_[row] for states_, row in zip(states, course, strict=True)])  # (F, N)
    return [_track(chosen[:, n], boxes, [each[:, n] for each in cosines]) for n in range(count)]


def _states(found: int, count: int) -> npt.NDArray[np.int64]:
    """(S, N): every way to give N references one of the boxes, or -1, so that no two have the same."""
    options = itertools.product(range(-1, found), repeat=count)
    free = [o for o in options if len({b for b in o if b >= 0}) == sum(b >= 0 for b in o)]
    return np.array(free, dtype=np.int64).reshape(len(free), count)


def _gain(scores: Floats, cosines: Floats, states: npt.NDArray[np.int64]) -> Floats:
    count = states.shape[1]
    worth = np.concatenate([cosines + _SURE * scores[:, None], np.zeros((1, count))])  # the last row: unseen
    return sum(worth[states[:, n], n] for n in range(count))


def _moves(before: Floats, now: Floats, height: int) -> Floats:
    """(K + 1, K' + 1): the cost of going from one box to another; the last row and column are for the unseen."""
    cost = np.full((len(before) + 1, len(now) + 1), _LOST)
    cost[-1, -1] = 0
    if len(before) and len(now):
        a, b = before[:, None], now[None]
        middle = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2 / height
        sizes = [np.log(np.maximum(x[..., 2:] - x[..., :2], 1)).mean(axis=-1) for x in (a, b)]
        cost[:-1, :-1] = _FAR * np.hypot(middle[..., 0], middle[..., 1]) + _SIZE * np.abs(sizes[0] - sizes[1])
    return cost


def _track(chosen: npt.NDArray[np.int64], boxes: Sequence[Floats], cosines: Sequence[Floats]) -> Track:
    where, how = np.full((len(chosen), 4), np.nan), np.full(len(chosen), np.nan)
    for frame, box in enumerate(chosen.tolist()):
        if box >= 0:
            where[frame], how[frame] = boxes[frame][box], cosines[frame][box]
    return Track(where, how, chosen)
