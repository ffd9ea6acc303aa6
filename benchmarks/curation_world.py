"""A whole curation of films of the synthetic world, against what is known of them: cuts, objects, identities.

Twice: with models that know the truth, so that only the rules are on trial, and with models that err as real ones do:
boxes and faces that are missed or lie beside, boxes around nothing of that name, ragged and speckled masks, and
embeddings that a network makes of the pictures (the one of `magref.evaluation.measures`, which learnt from other
identities). Of the cuts, both are the same.

    python benchmarks/curation_world.py --films 12

Precision and recall. Cuts: as in `curation_cuts.py`. Objects: masks that were kept, right if they cover (IoU 0.5) an
object that is called so; there are those in the frames that were looked at, from the least area on. Identities: pairs
of faces of one video that were given one name, of those that show one person; faces that were found but belong to
nobody's name count as missed pairs.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pictures
from rich import box
from rich.console import Console
from rich.table import Table

from curation_cuts import fits
from magref.curation.aesthetic import chosen_frames
from magref.curation.boxes import box_iou
from magref.curation.cuts import Transition
from magref.curation.interfaces import Corners, Detection, Face, Image, MaskArray
from magref.curation.masks import iou
from magref.curation.objects import Measures
from magref.curation.running.bundle import MakeModels, Models
from magref.curation.running.clips import all_clips
from magref.curation.running.engines import LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.putting import seen_faces
from magref.curation.running.rows import unpack_mask
from magref.curation.running.run import curate
from magref.curation.running.sources import Source, find_sources
from magref.curation.running.work import Work
from magref.curation.settings import CurationSettings
from magref.curation.truth import Truth, TruthModels
from magref.dataset.format import DatasetInfo
from magref.evaluation.measures.embedding import crops, embed
from magref.evaluation.measures.instruments import shipped_instruments
from magref.synthetic.footage import Appearance, FilmTruth, FootageSettings, Shot, read_truth, write_footage
from magref.synthetic.reels import JointTruth

CHANGES = (
    "source.min_short_side_px=128", "windows.frames=9", "aesthetic.least=4.0", "motion.least=0.0",
    "caption.least_words=4", "faces.least_side_px=16",
)  # fmt: skip
"""The films are small, their shots short and their captions of few words."""
MISSED, BESIDE, NOTHING, SPECKLED = 0.1, 0.04, 0.15, 0.1
"""Shares: of boxes and faces that are missed; by which edges lie beside; of images with a box around nothing of that
name; of masks that fall to pieces."""
SAME = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=8)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--split", default="held-out", choices=("train", "held-out"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        films = Path(folder) / "films"
        settings = FootageSettings(seed=options.seed, split=options.split)
        list(write_footage(films, settings, count=options.films))
        table = Table(title=f"{options.films} films, seed {options.seed}, {options.split}", box=box.SIMPLE_HEAD)
        for name in ("models", "what", "there", "said", "right", "precision", "recall"):
            table.add_column(name, justify="left" if name in ("models", "what") else "right")
        for name, make in (("that know", TruthModels(str(films))), ("that err", ErringModels(str(films)))):
            work = run(films, Path(folder) / name / "dataset", make)
            for what, score in scores(work).items():
                table.add_row(name, what, *score.cells())
        Console(highlight=False).print(table)


def run(films: Path, dataset: Path, make: MakeModels) -> Work:
    work = dataset.with_name("work")
    finished = curate(
        find_sources([str(films)]), dataset, read_settings(None, CHANGES), work=work, make=make,
        engine=LocalEngine(0), info=DatasetInfo(name="world"),
    )  # fmt: skip
    print(f"{dataset.parent.name}: {finished.samples} samples")
    return Work(work)


@dataclass
class Score:
    """How many there are, how many were said to be there, and how many of these are."""

    there: int = 0
    said: int = 0
    right: int = 0

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        numbers = (self.there, self.said, self.right)
        shares = (self.right / max(1, self.said), self.right / max(1, self.there))
        return (*(f"{number:,}" for number in numbers), *(f"{share:.3f}" for share in shares))


def scores(work: Work) -> dict[str, Score]:
    found = {name: Score() for name in ("hard cuts", "gradual cuts", "objects", "pairs of faces")}
    for source in work.sources():
        film = Film(Path(source.address))
        count_cuts(work, source, film, found["hard cuts"], found["gradual cuts"])
        count_objects(work, source, film, found["objects"])
        count_identities(work, source, film, found["pairs of faces"])
    return found


class Film:
    """What is known of a film."""

    def __init__(self, video: Path) -> None:
        self.truth: FilmTruth = read_truth(video.with_suffix(".json"))
        self._masks = video.with_suffix("") / "masks"

    def shot(self, frame: int) -> Shot | None:
        """The shot that a frame shows; in a dissolve, the later one."""
        return next((shot for shot in reversed(self.truth.shots) if shot.start <= frame < shot.stop), None)

    def seen(self, frame: int, role: str) -> Iterator[tuple[Appearance, Corners]]:
        """The subjects of a role in a frame, with their boxes."""
        shot = self.shot(frame)
        for subject in shot.subjects if shot else ():
            corners = subject.boxes.get(str(frame))
            if subject.role == role and corners:
                yield subject, (float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3]))

    def mask(self, frame: int, number: int) -> MaskArray:
        """Where a subject is seen."""
        return np.asarray(Pictures.open(self._masks / f"{frame:05d}.png")) == number


def count_cuts(work: Work, source: Source, film: Film, hard: Score, gradual: Score) -> None:
    (row,) = work.read("scan", source.id, "source")
    left = [Transition(*values) for values in row.data["transitions"]]
    for transition in left:
        (hard if transition.kind == "hard" else gradual).said += 1
    for known in film.truth.transitions:
        score = hard if known.kind == "cut" else gradual
        score.there += 1
        joint = JointTruth(known.kind, known.start, known.stop)
        match = next((transition for transition in left if fits(transition, joint)), None)
        if match is not None:
            left.remove(match)
            score.right += 1


def count_objects(work: Work, source: Source, film: Film, score: Score) -> None:
    clips = {clip.name: clip for clip in all_clips(work, source.id)}
    least = work.settings().objects.usual.area[0]
    looked_at = [clips[row.item] for row in work.read("objects", source.id, "clip")]
    open_: dict[tuple[int, int], Appearance] = {}
    for clip in looked_at:
        for frame in (clip.window.frames[n] for n in chosen_frames(len(clip.window.frames))):
            for subject, _ in film.seen(frame, "object"):
                if film.mask(frame, subject.number).mean() >= least:
                    open_[frame, subject.number] = subject
    score.there += len(open_)
    masks = {
        (row.item, at["frame"], n): found["mask"]
        for row in work.read("boxes", source.id, "clip")
        for at in row.data.get("frames", [])
        for n, found in enumerate(at["found"])
    }
    for row in work.read("objects", source.id, "object"):
        kind = Measures.model_validate_json(row.data["measures"]).kind
        if not row.is_kept or kind not in ("object", "thin"):
            continue
        score.said += 1
        name, number, label = row.data["clip"], row.data["frame"], row.data["label"].lower()
        frame = clips[name].window.frames[number]
        mask = unpack_mask(masks[name, number, int(row.item.rsplit("/", 1)[1])])
        for (at, subject_number), subject in list(open_.items()):
            if at == frame and label in subject.label.lower() and iou(mask, film.mask(frame, subject_number)) >= SAME:
                del open_[at, subject_number]
                score.right += 1
                break


def count_identities(work: Work, source: Source, film: Film, score: Score) -> None:
    clips = {clip.number: clip for clip in all_clips(work, source.id)}

    def identity(clip: int, frame: int, corners: Corners) -> int | None:
        people = film.seen(clips[clip].window.frames[frame], "person")
        best = max(((box_iou(upper(corners_of), corners), s.identity) for s, corners_of in people), default=(0.0, 0))
        return best[1] if best[0] >= SAME else None

    there = Counter(identity(s.clip, s.frame, s.face.corners) for s in seen_faces(work, source.id))
    score.there += sum(pairs(count) for who, count in there.items() if who is not None)
    for row in work.read("identities", source.id, "identity"):
        if row.is_kept:
            named = Counter(identity(clip, frame, tuple(box)) for clip, frame, *box in row.data["faces"])
            score.said += pairs(named.total())
            score.right += sum(pairs(count) for who, count in named.items() if who is not None)


def pairs(count: int) -> int:
    return count * (count - 1) // 2


def upper(corners: Corners) -> Corners:
    """Where `Truth.find` has the face of a person."""
    left, top, right, bottom = corners
    return left, top, right, top + 0.35 * (bottom - top)


class Erring(Truth):
    """Models that know the truth and say it badly; the same frame always in the same way."""

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Some boxes are missing, all lie a little beside, and here and there something is taken for another thing."""
        found = []
        for image, known, asked in zip(images, super().detect(images, labels), labels, strict=True):
            rng = random_of(image)
            here = [
                replace(item, corners=beside(item.corners, rng), score=rng.uniform(0.3, 0.9))
                for item in known
                if rng.random() >= MISSED
            ]
            if asked and rng.random() < NOTHING:
                height, width = image.shape[:2]
                left, top = rng.uniform(0, 0.7) * width, rng.uniform(0, 0.7) * height
                corners = left, top, left + 0.25 * width, top + 0.25 * height
                here.append(Detection(asked[int(rng.integers(len(asked)))], corners, rng.uniform(0.25, 0.45)))
            found.append(here)
        return found

    def segment(self, images: Sequence[Image], boxes: Sequence[Sequence[Corners]]) -> list[list[MaskArray]]:
        """Masks a pixel too large or too small, some in pieces; in a box around nothing, half of the box."""
        found = []
        for image, known, asked in zip(images, super().segment(images, boxes), boxes, strict=True):
            rng = random_of(image)
            seen = [corners for _, corners in self.seen(image)]
            here = []
            for corners, mask in zip(asked, known, strict=True):
                if max((box_iou(corners, one) for one in seen), default=0.0) < 0.3:
                    mask = np.zeros_like(mask)  # noqa: PLW2901 - what the truth has there is something else
                    left, top, right, bottom = (round(value) for value in corners)
                    mask[top:bottom, left : (left + right) // 2] = True
                worn = (cv2.dilate if rng.random() < 0.5 else cv2.erode)(
                    mask.astype(np.uint8), np.ones((3, 3), np.uint8)
                )
                if rng.random() < SPECKLED:
                    worn &= rng.random(worn.shape) < 0.5
                here.append(worn.astype(np.bool_))
            found.append(here)
        return found

    def find(self, images: Sequence[Image]) -> list[list[Face]]:
        """Some faces are missing, all lie a little beside, and a network tells whose they are."""
        found = []
        for image, known in zip(images, super().find(images), strict=True):
            rng = random_of(image)
            people = [corners for subject, corners in self.seen(image) if subject.role == "person"]
            here = []
            for face, vector in zip(known, directions(image, people), strict=True):
                if rng.random() >= MISSED:
                    corners, score = beside(face.corners, rng), rng.uniform(0.5, 0.9)
                    here.append(replace(face, corners=corners, score=score, embedding=vector))
            found.append(here)
        return found


@dataclass(frozen=True)
class ErringModels:
    """Makes `Models` of the films in a folder."""

    folder: str

    def __call__(self, settings: CurationSettings) -> Models:
        """Captions and scores are those of the truth."""
        erring = Erring(Path(self.folder))
        return replace(TruthModels(self.folder)(settings), detector=erring, segmenter=erring, faces=erring)


def random_of(image: Image) -> np.random.Generator:
    digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def beside(corners: Corners, rng: np.random.Generator) -> Corners:
    left, top, right, bottom = corners
    sides = np.array([right - left, bottom - top] * 2)
    a, b, c, d = (np.array(corners) + BESIDE * sides * rng.standard_normal(4)).tolist()
    return a, b, c, d


def directions(image: Image, boxes: Sequence[Corners]) -> Sequence[npt.NDArray[np.float32]]:
    """Where the identity network sees the people in these boxes."""
    if not boxes:
        return []
    frames = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    which = torch.zeros(len(boxes), dtype=torch.long)
    return list(embed(shipped_instruments().identity, crops(frames, torch.tensor(boxes), which)).numpy())


if __name__ == "__main__":
    main()
