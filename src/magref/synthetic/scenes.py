"""Rendered clips as they are handed on: pixels, masks and boxes, and what is known of each clip in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from magref.references import Role
from magref.synthetic.places import place_of
from magref.synthetic.plans import Plan


@dataclass(frozen=True)
class SubjectTruth:
    """What is known of one subject of a clip; `span` is where the caption has `label`, in characters."""

    identity: int
    kind: str
    role: Role
    label: str
    span: tuple[int, int]
    motion: str
    speed: float


@dataclass(frozen=True)
class SceneTruth:
    """What is known of one clip.

    `place` is the sort of place behind the subjects, None before a plain backdrop of `colour`; `place_label` and
    `place_span` are the caption's words for it, if it has any; `new` names what of it training never has: "identity",
    "combination", "words".
    """

    index: int
    caption: str
    subjects: tuple[SubjectTruth, ...]
    place: str | None
    place_number: int | None
    place_label: str | None
    place_span: tuple[int, int] | None
    colour: str
    camera: str
    occluded: bool
    new: tuple[str, ...]


@dataclass(frozen=True)
class Scenes:
    """B clips of F frames with at most N subjects, rows of absent subjects zero.

    `frames` (B, F, 3, H, W) uint8; `masks` (B, N, F, H, W) bool, where a subject is to be seen; `boxes` (B, N, F, 4)
    int64 around that: left, top, right, bottom in pixels, right and bottom exclusive, zeros where nothing is seen;
    `visible` (B, N, F) float32, the share of the subject's outline within the frame and not hidden; `centres`
    (B, N, F, 2) float32, the middle of each subject's picture in fractions of width and height; `references`
    (B, N, R, 4, S, S) uint8 straight RGBA; `backgrounds` (B, 3, H, W) uint8, what lies behind the subjects, in another
    light and framing than in the clip.
    """

    frames: torch.Tensor
    masks: torch.Tensor
    boxes: torch.Tensor
    visible: torch.Tensor
    centres: torch.Tensor
    references: torch.Tensor
    backgrounds: torch.Tensor
    truths: tuple[SceneTruth, ...]

    @property
    def captions(self) -> list[str]:
        """The captions of all clips."""
        return [truth.caption for truth in self.truths]


def truth_of(plan: Plan) -> SceneTruth:
    """What the plan of a clip says of it."""
    text = plan.caption.text
    subjects = tuple(
        SubjectTruth(s.identity, s.kind.name, s.kind.role, text[slice(*span)], span, s.motion, s.speed)
        for s, span in zip(plan.subjects, plan.caption.spans, strict=True)
    )
    sort = None if plan.place is None else place_of(plan.place)
    span = plan.caption.place
    return SceneTruth(
        index=plan.index, caption=text, subjects=subjects, place=sort, place_number=plan.place,
        place_label=None if span is None else text[slice(*span)], place_span=span, colour=plan.colour,
        camera=plan.camera,
        occluded=plan.occluder is not None, new=plan.new,
    )  # fmt: skip


def boxes_of(masks: torch.Tensor) -> torch.Tensor:
    """(..., H, W) bool -> (..., 4) left, top, right, bottom, right and bottom exclusive; zeros where nothing is set."""
    height, width = masks.shape[-2:]
    columns, rows = masks.any(dim=-2).int(), masks.any(dim=-1).int()
    left, top = columns.argmax(-1), rows.argmax(-1)
    right, bottom = width - columns.flip(-1).argmax(-1), height - rows.flip(-1).argmax(-1)
    return torch.stack([left, top, right, bottom], dim=-1) * columns.any(dim=-1, keepdim=True)
