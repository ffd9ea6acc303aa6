"""Which masks are objects, which are people, and which a background (paper 3.1).

Two steps: everything is measured, then rules decide by the numbers alone, so that other limits can be tried on stored
numbers. The rules, in this order; the first that speaks against a mask gives the reason:

1. people: a label that means one, or a mask that is a person's mask under another label;
2. fragmented: more separate parts than an object has;
3. its box: a mask that spills far out of its box or hardly fills it;
4. its size in the frame, small or large; 5. its box's proportions;
6. on a face: what lies on a face would be learnt as part of it, and the other way round (25%, the paper's number);
7. duplicates: of several labels for one thing, the surest stays.

Limits 2 to 5 are those of the label's kind: usual objects, thin ones, places. Places lie behind faces, not on them, and
take no part in 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from magref.curation.boxes import area, box_iou
from magref.curation.interfaces import Corners, Detection, MaskArray
from magref.curation.labels import Kind
from magref.curation.masks import Shape, iou, shape_of
from magref.curation.outcome import Kept, Outcome, Rejected, above, below
from magref.curation.settings import ObjectSettings, ShapeLimits
from magref.settings import Record

_TWIN: Final = 0.3
"""IoU from which two masks are noted as possible duplicates, whatever the limit is."""


@dataclass(frozen=True, eq=False)
class Found:
    """A box with its mask as the segmenter gave it, and what its label means."""

    detection: Detection
    kind: Kind
    mask: MaskArray


class Measures(Record):
    """What the rules go by.

    `face_mask` is the largest part of the mask that lies in one face's box, `face_box` the largest IoU of its box with
    one; `human` the largest IoU of the mask with that of a label that means people; `twins` are other items of the
    frame, by their places in the list, and the masks' IoU.
    """

    kind: Kind
    score: float
    shape: Shape
    face_mask: float
    face_box: float
    human: float
    twins: tuple[tuple[int, float], ...]


def measure(found: Sequence[Found], faces: Sequence[Corners]) -> list[Measures]:
    """The numbers of everything found in one frame; `faces` are the boxes of all its faces."""
    between = np.array(
        [[iou(a.mask, b.mask) if n < m else 0.0 for m, b in enumerate(found)] for n, a in enumerate(found)]
    )
    between = (between + between.T).reshape(len(found), len(found))
    people = [n for n, item in enumerate(found) if item.kind == "human"]
    measured = []
    for n, item in enumerate(found):
        twins = tuple((int(m), float(between[n, m])) for m in np.flatnonzero(between[n] >= _TWIN))
        measured.append(
            Measures(
                kind=item.kind,
                score=item.detection.score,
                shape=shape_of(item.mask, item.detection.corners),
                face_mask=max((share_inside(item.mask, face) for face in faces), default=0.0),
                face_box=max((box_iou(item.detection.corners, face) for face in faces), default=0.0),
                human=max((float(between[n, m]) for m in people if m != n), default=0.0),
                twins=twins,
            )
        )
    return measured


def decide(measured: Sequence[Measures], settings: ObjectSettings) -> list[Outcome]:
    """What becomes of each. What is kept has its kind's role; people are rejected as objects, with reason "human"."""
    outcomes: list[Outcome] = [_by_itself(item, settings) or Kept() for item in measured]
    for n in sorted(range(len(measured)), key=lambda n: -measured[n].score):  # surest first: it is what others repeat
        twins = [(m, same) for m, same in measured[n].twins if _outranks(m, n, measured) and outcomes[m] == Kept()]
        same = max((same for _, same in twins), default=0.0)
        if outcomes[n] == Kept() and same >= settings.same_iou:
            outcomes[n] = Rejected(stage="objects", reason="duplicate", value=same, limit=settings.same_iou)
    return outcomes


def human_masks(found: Sequence[Found], settings: ObjectSettings) -> list[MaskArray]:
    """The masks of people, each person once whatever the number of labels, surest first."""
    masks: list[MaskArray] = []
    for item in sorted(found, key=lambda item: -item.detection.score):
        if item.kind == "human" and item.mask.any() and all(iou(item.mask, m) < settings.same_iou for m in masks):
            masks.append(item.mask)
    return masks


def share_inside(mask: MaskArray, box: Corners) -> float:
    """The part of a mask that lies in a box; 0 of an empty mask."""
    left, top, right, bottom = (max(0, round(value)) for value in box)
    total = int(mask.sum())
    return int(mask[top:bottom, left:right].sum()) / total if total and area(box) else 0.0


def _outranks(m: int, n: int, measured: Sequence[Measures]) -> bool:
    return (measured[m].score, -m) > (measured[n].score, -n)


def _by_itself(item: Measures, settings: ObjectSettings) -> Rejected | None:
    if item.kind == "human":
        return Rejected(stage="objects", reason="human")
    limits = _limits(item, settings)
    shape = item.shape
    return (
        _over("a person's mask", item.human, settings.human_iou)
        or above("objects", "fragmented", shape.parts, limits.parts)
        or above("objects", "spills out of its box", shape.fill, limits.fill[1])
        or below("objects", "sparse in its box", shape.fill, limits.fill[0])
        or below("objects", "small", shape.area, limits.area[0])
        or above("objects", "large", shape.area, limits.area[1])
        or below("objects", "odd shape", shape.aspect, limits.aspect[0])
        or above("objects", "odd shape", shape.aspect, limits.aspect[1])
        or _on_a_face(item, settings)
    )


def _limits(item: Measures, settings: ObjectSettings) -> ShapeLimits:
    return {"thin": settings.thin, "background": settings.background}.get(item.kind, settings.usual)


def _on_a_face(item: Measures, settings: ObjectSettings) -> Rejected | None:
    if item.kind == "background":
        return None
    overlap = item.face_mask if settings.face_measure == "mask" else item.face_box
    return above("objects", "on a face", overlap, settings.face_overlap)


def _over(reason: str, value: float, limit: float) -> Rejected | None:
    """Rejected from the limit on."""
    return None if value < limit else Rejected(stage="objects", reason=reason, value=value, limit=limit)
