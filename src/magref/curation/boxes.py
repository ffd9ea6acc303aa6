"""Which of a detector's boxes are looked at further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from magref.curation.interfaces import Corners, Detection
from magref.curation.outcome import Kept, Outcome, Rejected, below
from magref.curation.settings import BoxSettings

JudgedBox: TypeAlias = tuple[Detection, Outcome]


def judge_boxes(detections: Sequence[Detection], settings: BoxSettings) -> list[JudgedBox]:
    """What becomes of each box of one image, surest first: too unsure ones go, and of one label's near doubles all
    but the surest.

    Boxes of several labels around one thing stay: what they have in common shows in their masks (`objects.py`), since
    a person's box holds their hat's.
    """
    judged: list[JudgedBox] = []
    for box in sorted(detections, key=lambda box: -box.score):
        outcome: Outcome = below("boxes", "unsure", box.score, settings.least_score) or Kept()
        if isinstance(outcome, Kept):
            overlaps = [box_iou(box.corners, other.corners) for other, said in judged if _stands(other, said, box)]
            if overlaps and max(overlaps) >= settings.same_iou:
                limit = settings.same_iou
                outcome = Rejected(stage="boxes", reason="found twice", value=max(overlaps), limit=limit)
        judged.append((box, outcome))
    return judged


def box_iou(a: Corners, b: Corners) -> float:
    """Intersection over union of two boxes."""
    both = area(intersection(a, b))
    union = area(a) + area(b) - both
    return both / union if union > 0 else 0.0


def intersection(a: Corners, b: Corners) -> Corners:
    """What two boxes have in common; a box without area where they have nothing."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def area(box: Corners) -> float:
    """In pixels; 0 of a box whose sides are the wrong way round."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _stands(other: Detection, outcome: Outcome, box: Detection) -> bool:
    return isinstance(outcome, Kept) and other.label == box.label
