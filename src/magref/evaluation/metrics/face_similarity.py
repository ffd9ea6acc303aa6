"""FaceSim: whether the people of the references are those in the video, by the cosine of face embeddings.

The faces come from an ONNX pack through curation's `FaceFinder`; the published metric uses InsightFace's buffalo_l with
a detector input of 320 pixels. `curation/models/faces.py` says what has run: random networks of the same inputs and
outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures
from PIL import ImageOps

from magref.batch import Case, CaseReference
from magref.curation.interfaces import Face, FaceFinder, Image
from magref.evaluation.decoding import DecodedVideo, evenly
from magref.evaluation.metrics.interface import FRAMES, About, Measure, Missing, Profile, Score, Value
from magref.evaluation.metrics.matching import match
from magref.references import open_reference

PACK = "buffalo_l"
DETECTION_PX = 320
"""Side of the detector's input, as published."""

_PAD = 0.25
_PAD_GREY = 128
"""Where no face is found, the picture is looked at again with a grey margin, this share of each side."""

Embedding = npt.NDArray[np.float32]


class FaceSimilarity:
    """Over 32 frames; a frame, or a reference, without a face is looked at a second time with a margin.

    `opens2v`: cases with one person. The largest face of each frame against the largest of the reference; cosines below
    zero count as zero, frames without a face are left out, and a video without any face has 0. Several persons have no
    published rule: `no_rule`. This is the ArcFace variant; OpenS2V's leaderboard shows another, by CurricularFace.

    `strict`: in each frame faces are given to references so that the sum of cosines is highest, each face to one
    reference at most. A reference that gets none has 0 in that frame, and so has a cosine below zero: a wrong face is
    no worse than none. `face_coverage` says how many got a face at all; each person's own values are kept. A reference
    with no face to be found in it makes the case missing.
    """

    def __init__(self, finder: FaceFinder, profile: Profile) -> None:
        self.profile = profile
        self._finder = finder
        self._references: dict[tuple[str, object], Embedding | None] = {}

    @property
    def about(self) -> About:
        """See `Metric`."""
        return About(
            source="ArcFace through an InsightFace pack; profile opens2v: OpenS2V-Eval's get_facesim.py, arc_score",
            licence="the packs are for non-commercial research only",
            ran="random networks of the same inputs and outputs; not with published weights",
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """See `Metric`."""
        if self.profile == "opens2v":
            meaning = "mean cosine of the largest face with the reference's, over the frames that show a face"
            seen = "share of frames in which a face is found"
        else:
            meaning = "mean cosine of each person's face with the reference's, 0 where it is not found"
            seen = "share of persons and frames for which a face is found"
        return (
            Measure(name="face_similarity", meaning=meaning),
            Measure(name="face_coverage", meaning=seen),
        )

    def measure(self, video: DecodedVideo, case: Case) -> dict[str, Score]:
        """See `Metric`."""
        scores = self._scores(video, case)
        return {m.name: scores for m in self.measures} if isinstance(scores, Missing) else scores

    def _scores(self, video: DecodedVideo, case: Case) -> dict[str, Score] | Missing:
        persons = [ref for ref in case.refs if ref.role == "person"]
        if not persons:
            return Missing(reason="no_person_reference", why="none of the case's references shows a person")
        if self.profile == "opens2v" and len(persons) > 1:
            return Missing(reason="no_rule", why=f"no rule was published for cases with {len(persons)} persons")
        references = [self._reference(ref) for ref in persons]
        names = [ref.key or f"person-{n}" for n, ref in enumerate(persons, 1)]
        for name, embedding in zip(names, references, strict=True):
            if embedding is None:
                return Missing(reason="no_face_in_reference", why=f"no face is found in the reference {name}")
        known = np.stack([embedding for embedding in references if embedding is not None])  # (R, D)
        numbers, times = np.unique(evenly(FRAMES, len(video)), return_counts=True)
        found = self._faces(list(video.rgb(numbers, published=self.profile == "opens2v")))
        if self.profile == "opens2v":
            return _published(found, times, known[0])
        return _strict(found, times, known, names)

    def _reference(self, ref: CaseReference) -> Embedding | None:
        """The embedding of the largest face; many cases may have the same picture."""
        key = ref.uri, ref.crop
        if key not in self._references:
            if self.profile == "opens2v":  # which reads pictures as they are stored, what is transparent included
                with Pictures.open(ref.uri) as image:  # a crop is our own, and counts in the upright picture
                    shown = ImageOps.exif_transpose(image).crop(ref.crop) if ref.crop else image
                    picture = np.asarray(shown.convert("RGB"))
            else:
                picture = np.asarray(open_reference(ref.reference()).rgb)
            (faces,) = self._faces([picture])
            self._references[key] = _embedding(_largest(faces)) if faces else None
        return self._references[key]

    def _faces(self, pictures: Sequence[Image]) -> list[list[Face]]:
        found = self._finder.find(pictures)
        without = [n for n, faces in enumerate(found) if not faces]
        if without:
            again = self._finder.find([_padded(pictures[n]) for n in without])
            for n, faces in zip(without, again, strict=True):
                found[n] = faces
        return found


def _published(found: Sequence[Sequence[Face]], times: npt.NDArray[np.int64], known: Embedding) -> dict[str, Score]:
    cosines = [float(_embedding(_largest(faces)) @ known) if faces else None for faces in found]
    kept = [(max(cosine, 0.0), n) for cosine, n in zip(cosines, times, strict=True) if cosine is not None]
    similarity = float(np.average([c for c, _ in kept], weights=[n for _, n in kept])) if kept else 0.0
    seen = sum(int(n) for _, n in kept) / int(times.sum())
    return {"face_similarity": Value(value=similarity), "face_coverage": Value(value=seen)}


def _strict(
    found: Sequence[Sequence[Face]], times: npt.NDArray[np.int64], known: Embedding, names: Sequence[str]
) -> dict[str, Score]:
    similar = np.zeros((len(found), len(names)))
    seen = np.zeros((len(found), len(names)))
    for frame, faces in enumerate(found):
        if faces:
            cosines = np.maximum(known @ np.stack([_embedding(face) for face in faces]).T, 0)  # (R, F)
            for row, column in match(cosines):
                similar[frame, row], seen[frame, row] = cosines[row, column], 1
    result: dict[str, Score] = {}
    for name, table in (("face_similarity", similar), ("face_coverage", seen)):
        own = np.average(table, axis=0, weights=times)
        result[name] = Value(value=float(own.mean()), parts=dict(zip(names, own.tolist(), strict=True)))
    return result


def _largest(faces: Sequence[Face]) -> Face:
    """By the box's area; of equal ones the last, as the published sort leaves it."""

    def area(face: Face) -> float:
        left, top, right, bottom = face.corners
        return (right - left) * (bottom - top)

    return sorted(faces, key=area)[-1]


def _embedding(face: Face) -> Embedding:
    assert face.embedding is not None  # every finder here gives one
    return face.embedding


def _padded(picture: Image) -> Image:
    """The picture with a grey margin, which helps where a face fills it."""
    down, across = int(picture.shape[0] * _PAD), int(picture.shape[1] * _PAD)
    return np.pad(picture, ((down, down), (across, across), (0, 0)), constant_values=_PAD_GREY)
