"""Models that know: the answers that the films of the synthetic world carry beside them (`synthetic/footage.py`).

With them a curation can be measured by itself, without the mistakes of its models, and tried from end to end without
any weights. A frame is known by its pixels, as decoding gives them; of any other frame nothing is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures

from magref.curation.boxes import box_iou
from magref.curation.interfaces import Corners, Detection, Face, Image, MaskArray, Rated
from magref.curation.labels import PERSON
from magref.curation.running.bundle import Models
from magref.curation.settings import CurationSettings
from magref.errors import InputError
from magref.seeking import read_frames
from magref.synthetic.footage import Appearance, FilmTruth, Shot, read_truth
from magref.video import Frames

TRUTH = "truth"
"""Named as the device, so that nobody takes the time of reading answers for that of models."""
SCORE = 0.9
_FACE_SHARE = 0.35
"""The upper part of a person's box that stands for the face; the films' truth has no faces of its own."""
_EMBEDDING = 64


@dataclass(frozen=True)
class _Place:
    film: int
    frame: int


class Truth:
    """All films of a folder, and every model's part in one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = sorted(path for path in folder.glob("film-*.json"))
        if not paths:
            raise InputError(f"{folder} has no films with their truth; make them with magref dataset footage")
        self._films: list[FilmTruth] = [read_truth(path) for path in paths]
        self._names = [path.stem for path in paths]
        self._places: dict[str, _Place] = {}
        for number, film in enumerate(self._films):
            for frame, image in enumerate(read_frames(folder / film.video, range(film.num_frames))):
                self._places.setdefault(_digest(image), _Place(number, frame))

    def caption(self, clips: Sequence[Frames]) -> list[str]:
        """See `Captioner`: the caption of the shot that the clip's middle is in."""
        shots = [self._shot(clip[len(clip) // 2]) for clip in clips]
        return [shot.caption if shot else "" for shot in shots]

    def name_objects(self, clips: Sequence[Frames], captions: Sequence[str]) -> list[list[str]]:
        """See `Captioner`: the labels of the shot's subjects and of its place."""
        named = []
        for clip in clips:
            shot = self._shot(clip[len(clip) // 2])
            labels = [subject.label for subject in shot.subjects] if shot else []
            named.append([*labels, *([shot.place_label] if shot and shot.place_label else [])])
        return named

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """See `Detector`: a subject's box for its label, and a person's for the label "person" too."""
        found = []
        for image, asked in zip(images, labels, strict=True):
            here: list[Detection] = []
            for subject, corners in self.seen(image):
                mine = [label for label in asked if label.lower() in subject.label.lower()]
                here += [Detection(label, corners, SCORE) for label in mine]
                if subject.role == "person" and PERSON in asked:
                    here.append(Detection(PERSON, corners, SCORE - 0.1))
            found.append(here)
        return found

    def segment(self, images: Sequence[Image], boxes: Sequence[Sequence[Corners]]) -> list[list[MaskArray]]:
        """See `Segmenter`: the mask of the subject whose box is most like the one asked about."""
        masks = []
        for image, asked in zip(images, boxes, strict=True):
            seen = self.seen(image)
            numbers = self._numbers(image)
            here = []
            for box in asked:
                best = max(seen, key=lambda known: box_iou(known[1], box), default=None)
                here.append(numbers == (best[0].number if best else 255))
            masks.append(here)
        return masks

    def find(self, images: Sequence[Image]) -> list[list[Face]]:
        """See `FaceFinder`: the upper part of each person, with an embedding that is the identity's own."""
        found = []
        for image in images:
            here = []
            for subject, (left, top, right, bottom) in self.seen(image):
                if subject.role == "person":
                    corners = (left, top, right, top + _FACE_SHARE * (bottom - top))
                    here.append(Face(corners, SCORE, pose=(0.0, 0.0, 0.0), embedding=_embedding(subject.identity)))
            found.append(here)
        return found

    def rate(self, images: Sequence[Image]) -> list[Rated]:
        """See `Rater`: 4 and more by contrast; the films know nothing of beauty."""
        return [Rated(4.0 + 8 * float(image.mean(axis=2).std()) / 255) for image in images]

    def seen(self, image: Image) -> list[tuple[Appearance, Corners]]:
        """The subjects of a frame, with the boxes of what is seen of them; none in a frame that is not known."""
        place, shot = self._place(image), self._shot(image)
        if place is None or shot is None:
            return []
        boxes = [(subject, subject.boxes.get(str(place.frame))) for subject in shot.subjects]
        return [(subject, (float(b[0]), float(b[1]), float(b[2]), float(b[3]))) for subject, b in boxes if b]

    def _place(self, image: Image) -> _Place | None:
        return self._places.get(_digest(image))

    def _shot(self, image: Image) -> Shot | None:
        """The shot that a frame shows; in a dissolve, the later one."""
        place = self._place(image)
        if place is None:
            return None
        shots = [shot for shot in self._films[place.film].shots if shot.start <= place.frame < shot.stop]
        return shots[-1] if shots else None

    def _numbers(self, image: Image) -> npt.NDArray[np.uint8]:
        place = self._place(image)
        if place is None:
            return np.zeros(image.shape[:2], np.uint8)
        path = self.folder / self._names[place.film] / "masks" / f"{place.frame:05d}.png"
        return np.asarray(Pictures.open(path), np.uint8)


@dataclass(frozen=True)
class TruthModels:
    """Makes `Models` of the films in a folder."""

    folder: str

    def __call__(self, settings: CurationSettings) -> Models:
        """One oracle in all five parts."""
        truth = Truth(Path(self.folder))
        return Models(truth, truth, truth, truth, truth, clips=4, images=12, device=TRUTH)


def _digest(image: Image) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def _embedding(identity: int) -> npt.NDArray[np.float32]:
    vector = np.random.default_rng(identity).standard_normal(_EMBEDDING)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
