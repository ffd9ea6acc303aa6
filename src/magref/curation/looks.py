"""What a frame looks like at a glance, and how much two frames differ; of use where many pairs are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
"""(H, W, 3), BGR as OpenCV has it."""

_LONG_SIDE_PX: Final = 48
_BINS: Final = 8


@dataclass(frozen=True, eq=False)
class Look:
    """A frame made small: `thumb` is (h, w, 3) uint8 of 48 pixels on the long side, slightly blurred."""

    number: int
    time_s: float
    thumb: Picture

    @cached_property
    def pixels(self) -> Floats:
        """(h w 3,) from 0 to 1."""
        return np.divide(self.thumb.ravel(), 255, dtype=np.float32)

    @cached_property
    def contrast(self) -> float:
        """Standard deviation of brightness, 0 to 0.5; 0 is a blank picture."""
        return float(self.pixels.reshape(-1, 3).mean(axis=1).std())

    @cached_property
    def histogram(self) -> Floats:
        """(512,) shares of colours, smoothed, so that a colour near the border of two bins counts in both."""
        import cv2

        counts = cv2.calcHist([self.thumb], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3)
        for axis in range(3):
            moved = np.moveaxis(counts, axis, 0)
            padded = np.concatenate([moved[:1], moved, moved[-1:]])
            counts = np.moveaxis(padded[:-2] * 0.25 + padded[1:-1] * 0.5 + padded[2:] * 0.25, 0, axis)
        return (counts / counts.sum()).astype(np.float32).ravel()


def look_at(number: int, time_s: float, picture: Picture) -> Look:
    """The look of frame `number`."""
    import cv2

    height, width = picture.shape[:2]
    scale = _LONG_SIDE_PX / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return Look(number, time_s, cv2.GaussianBlur(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), (3, 3), 0))


def difference(a: Look, b: Look) -> float:
    """How different two frames are, 0 to 3: half the distance of their histograms and twice that of their pixels.

    Colours survive a moving camera, places survive a change of colours.
    """
    colours = 0.5 * float(np.abs(a.histogram - b.histogram).sum())
    return colours + 2.0 * float(np.abs(a.pixels - b.pixels).mean())


def dimmed(look: Look, share: float) -> Look:
    """The look with this share of its light."""
    return replace(look, thumb=(look.thumb * share).astype(np.uint8))
