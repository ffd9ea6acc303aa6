"""What curation asks of the models that it uses, and nothing of which models they are.

Every method takes a batch and gives one answer for each of its items, in order. Images are uint8 arrays (H, W, 3), RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from magref.video import Frames

Image: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3)"""
MaskArray: TypeAlias = npt.NDArray[np.bool_]
"""(H, W), True inside."""
Corners: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom in pixels; right and bottom exclusive."""


@dataclass(frozen=True)
class Detection:
    """A box around what one of the asked labels names; `score` from 0 to 1."""

    label: str
    corners: Corners
    score: float


@dataclass(frozen=True, eq=False)
class Face:
    """A face in one image.

    Attributes:
        points: (5, 2), x and y in pixels of the eyes, the nose and the corners of the mouth; None where not known.
        pose: pitch, yaw and roll in degrees.
        embedding: (D,) of length 1; the cosine of two says how alike the faces are.
    """

    corners: Corners
    score: float
    points: npt.NDArray[np.float32] | None = None
    pose: tuple[float, float, float] | None = None
    embedding: npt.NDArray[np.float32] | None = None


class Captioner(Protocol):
    """A vision-language model that describes clips and names what is in them."""

    def caption(self, clips: Sequence[Frames]) -> list[str]:
        """What happens in each clip, dwelling on motion."""

    def name_objects(self, clips: Sequence[Frames], captions: Sequence[str]) -> list[list[str]]:
        """The things that each caption names, in the model's own words; curation checks them against the caption."""


class Detector(Protocol):
    """Finds what labels name."""

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Boxes in each image, each with one of the labels asked for that image."""


class Segmenter(Protocol):
    """Cuts out what is in a box."""

    def segment(self, images: Sequence[Image], boxes: Sequence[Sequence[Corners]]) -> list[list[MaskArray]]:
        """A mask for every box of every image, of the image's size."""


class FaceFinder(Protocol):
    """Finds faces and says whose they might be."""

    def find(self, images: Sequence[Image]) -> list[list[Face]]:
        """The faces in each image, surest first."""


class AestheticScorer(Protocol):
    """Says how pleasing an image is."""

    def score(self, images: Sequence[Image]) -> list[float]:
        """From about 1 to about 10."""


@dataclass(frozen=True, eq=False)
class Rated:
    """How pleasing an image is.

    Attributes:
        score: from about 1 to about 10.
        embedding: (D,) of length 1, where what rates has one; the cosine of two says how alike the images are.
    """

    score: float
    embedding: npt.NDArray[np.float32] | None = None


class Rater(Protocol):
    """Says how pleasing an image is, and perhaps what it is like."""

    def rate(self, images: Sequence[Image]) -> list[Rated]:
        """What it makes of each image."""
