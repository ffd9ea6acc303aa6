"""Masks made smooth (paper 3.1: erosion and dilation), and measured.

A kernel of one size for all breaks small things: 7 x 7 pixels make 12 parts of a real necklace's 4. Here it grows with
the mask, and what opening would harm is left unopened: it is thin.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from magref.curation.interfaces import Corners, MaskArray
from magref.curation.settings import RefineSettings
from magref.settings import Record


class Shape(Record):
    """What a mask is like.

    `area` is its share of the frame; `fill` its pixels over those of the detector's box, more than 1 where it reaches
    out of it; `aspect` the box's width over its height; `parts` how many separate parts the segmenter gave.
    """

    area: float
    fill: float
    aspect: float
    parts: int


def refine(mask: MaskArray, settings: RefineSettings) -> MaskArray:
    """Specks and frayed edges taken off by opening, holes and gaps filled by closing; (H, W) as it was.

    Opening is left out where it takes too much of the mask or breaks it into more parts: a thin thing.
    """
    import cv2

    area = int(mask.sum())
    if not area:
        return mask
    side = round(settings.kernel * area**0.5) // 2 * 2 + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    whole = _without_specks(mask, settings.speck * area)
    opened = cv2.morphologyEx(whole.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(np.bool_)
    opened = _without_specks(opened, settings.speck * area)
    thin = opened.sum() < (1 - settings.thin_loss) * whole.sum() or count_parts(opened) > count_parts(whole)
    smooth = (whole if thin else opened).astype(np.uint8)
    padded = cv2.copyMakeBorder(smooth, side, side, side, side, cv2.BORDER_REPLICATE)  # closing eats the frame's edge
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[side:-side, side:-side]
    return np.asarray(closed, np.bool_)


def shape_of(mask: MaskArray, corners: Corners) -> Shape:
    """A mask as the segmenter gave it, and its detector's box."""
    left, top, right, bottom = corners
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    return Shape(
        area=float(mask.mean()),
        fill=float(mask.sum()) / (width * height),
        aspect=width / height,
        parts=count_parts(mask),
    )


def count_parts(mask: MaskArray) -> int:
    """How many parts a mask has that do not touch, not even at corners."""
    import cv2

    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0]) - 1


def iou(a: MaskArray, b: MaskArray) -> float:
    """Intersection over union; 0 where both are empty."""
    union = int(np.logical_or(a, b).sum())
    return int(np.logical_and(a, b).sum()) / union if union else 0.0


def bounds(mask: MaskArray) -> tuple[int, int, int, int] | None:
    """The mask's own box: left, top, right, bottom in pixels, right and bottom exclusive; None of an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _without_specks(mask: MaskArray, least_px: float) -> MaskArray:
    """The mask without parts of fewer pixels."""
    import cv2

    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep: npt.NDArray[np.bool_] = stats[:, cv2.CC_STAT_AREA] >= least_px
    keep[0] = False
    return np.asarray(keep[numbers], np.bool_)
