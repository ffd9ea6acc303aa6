"""Clips of N frames out of each shot (paper 3.1: 81 frames), by the frames' own times.

Times, not counts: a source of variable rate gives clips of an even one, or none where it has too few frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from magref.curation.cuts import Shot
from magref.curation.outcome import Rejected
from magref.curation.settings import WindowSettings

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A clip to be: the numbers of the video's frames that it is made of, which rise, and its own rate."""

    shot: int
    frames: tuple[int, ...]
    fps: float
    start_s: float
    end_s: float


def cut_windows(
    number: int, shot: Shot, times_s: Times, source_fps: float, settings: WindowSettings
) -> list[Window | Rejected]:
    """The windows of shot `number`, one after the other from its beginning, without overlap.

    Each wanted moment takes the frame nearest to it. Where a frame would be needed twice, or lies more than half an
    interval off, the source is too slow there and that window is rejected; a shot that is too short is rejected whole.

    Args:
        times_s: (F,) when each frame of the video is shown, rising.
        source_fps: the video's mean rate, taken where the settings name none.
    """
    fps = (settings.fps or source_fps) / settings.stride
    times = times_s[shot.start : shot.stop]
    length_s = (settings.frames - 1) / fps
    available_s = float(times[-1] - times[0])
    slack_s = 0.5 / fps  # the last frame may be that much early
    if available_s + slack_s < length_s:
        return [Rejected(stage="windows", reason="shot too short", value=available_s, limit=length_s)]
    found: list[Window | Rejected] = []
    begin = float(times[0])
    while begin + length_s <= times[-1] + slack_s:
        found.append(_window(number, shot.start, times, begin, fps, settings.frames))
        if settings.per_shot is not None and len(found) >= settings.per_shot:
            break
        begin += settings.frames / fps
    return found


def _window(number: int, first: int, times: Times, begin: float, fps: float, frames: int) -> Window | Rejected:
    wanted = begin + np.arange(frames) / fps
    later = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    nearest = np.where(wanted - times[later - 1] <= times[later] - wanted, later - 1, later)
    late = float(np.abs(times[nearest] - wanted).max())
    repeated = int((np.diff(nearest) < 1).sum())
    if repeated or late > 0.5 / fps + 1e-3:  # times in files are rounded, to milliseconds at worst
        rate = float(len(np.unique(nearest)) / (wanted[-1] - wanted[0] + 1 / fps))
        return Rejected(stage="windows", reason="too few frames a second", value=rate, limit=fps)
    start_s, end_s = float(times[nearest[0]]), float(times[nearest[-1]])
    return Window(number, tuple(int(n) for n in nearest + first), fps, start_s, end_s)
