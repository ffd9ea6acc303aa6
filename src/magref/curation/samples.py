"""A training sample put together (paper 3.1, equation 1): caption, faces of one identity, objects, human masks, clip.

Everything here was judged before; this module chooses, cuts out and arranges. What it returns is what
`DatasetWriter.add` takes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Pictures

from magref.curation.candidates import JudgedFace
from magref.curation.interfaces import Corners, Image, MaskArray
from magref.curation.labels import Label, kept_labels
from magref.curation.masks import bounds
from magref.curation.objects import Found
from magref.curation.outcome import Kept, Outcome, Rejected, below
from magref.curation.settings import CandidateSettings, SampleSettings
from magref.dataset.format import Pixels, Provenance, Sample, file_name
from magref.dataset.store import DatasetWriter, NewPicture, NewSubject
from magref.video import Frames

_COVERED = 0.5
"""A person's mask is that of a face if it covers this share of the face's box."""


@dataclass(frozen=True, eq=False)
class FrameObjects:
    """What was found in one frame of a clip, masks refined, and what became of each as an object."""

    frame: int
    image: Image
    found: tuple[Found, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, eq=False)
class Person:
    """An identity as a clip shows it.

    Attributes:
        identity: its name, the same in all clips of the video.
        pictures: its candidate faces, best first; see `face_picture`.
        seen: the frames of this clip in which its face is, and where.
    """

    identity: str
    pictures: tuple[NewPicture, ...]
    seen: Mapping[int, Corners]


@dataclass(frozen=True, eq=False)
class Draft:
    """A sample that is not written yet."""

    name: str
    caption: str
    frames: Frames
    fps: float
    subjects: tuple[NewSubject, ...]
    masks: Mapping[tuple[str, int], MaskArray]
    provenance: Provenance

    def write(self, writer: DatasetWriter) -> Sample:
        """Add the sample to a dataset; errors as for `DatasetWriter.add`."""
        return writer.add(
            self.name, self.caption, self.frames, self.subjects,
            fps=self.fps, masks=self.masks, provenance=self.provenance,
        )  # fmt: skip


def assemble(
    name: str, caption: str, frames: Frames, fps: float, *, people: Sequence[Person], objects: Sequence[FrameObjects],
    labels: Sequence[Label], settings: SampleSettings, provenance: Provenance,
) -> Draft | Rejected:  # fmt: skip
    """The sample of one clip.

    Args:
        frames: the clip, (F, H, W, 3); its caption is about all of it.
        objects: of one frame or several of the clip.
    """
    known = {label.text: label for label in kept_labels(labels)}
    present = sorted((p for p in people if p.seen and p.pictures), key=lambda person: -len(person.seen))
    chosen = present[: settings.identities]
    if not chosen and not settings.without_faces:
        return Rejected(stage="samples", reason="nobody with a usable face", value=0, limit=1)
    things = _things(objects, known, settings)
    too_few = below("samples", "too few objects", len(things), settings.least_objects)
    if too_few is not None:
        return too_few
    subjects: list[NewSubject] = []
    masks: dict[tuple[str, int], MaskArray] = {}
    for n, person in enumerate(chosen, 1):
        bodies = {at.frame: _bodies(at, person.seen[at.frame]) for at in objects if at.frame in person.seen}
        subjects.append(_subject(f"person-{n}", person, [b for found in bodies.values() for b in found], known))
        masks.update({(f"person-{n}", frame): found[0].mask for frame, found in bodies.items() if found})
    subjects += things
    if settings.backgrounds:
        subjects += _background(objects, known)
    if not subjects:
        return Rejected(stage="samples", reason="nothing to refer to", value=0, limit=1)
    return Draft(name, caption, frames, fps, tuple(subjects), masks, provenance)


def face_picture(
    image: Image, judged: JudgedFace, clip: int, settings: CandidateSettings, mask: MaskArray | None = None
) -> NewPicture:
    """A candidate face as a reference: its box and a margin, transparent outside of the mask where there is one.

    Args:
        image: the frame that the face was found in, which may be a neighbouring clip's.
        clip: the sample's own; of another clip's faces no frame is noted.
    """
    left, top, right, bottom = judged.seen.face.corners
    right_px, down_px = settings.margin * (right - left), settings.margin * (bottom - top)
    box = _within(image, (left - right_px, top - down_px, right + right_px, bottom + down_px))
    own = judged.seen.clip == clip
    return NewPicture(
        _cut_out(image, box, mask),
        frame=judged.seen.frame if own else None,
        box=box if own else None,
        score=judged.quality,
    )


def _things(objects: Sequence[FrameObjects], labels: Mapping[str, Label], settings: SampleSettings) -> list[NewSubject]:
    """The kept objects, one subject for each label, in the caption's order; the surest where there are too many.

    A label's pictures come from all frames, unless some frame shows several such things: which is which is not known
    then, and the surest picture stands alone.
    """
    of_label: dict[str, list[tuple[FrameObjects, Found]]] = defaultdict(list)
    several = set()
    for at in objects:
        here = [f for f, o in zip(at.found, at.outcomes, strict=True) if f.kind in ("object", "thin") and o == Kept()]
        for found in here:
            of_label[found.detection.label].append((at, found))
        several |= {label for label, count in Counter(f.detection.label for f in here).items() if count > 1}
    things: list[tuple[float, Label, NewSubject]] = []
    for text, places in of_label.items():
        label = labels.get(text)
        places.sort(key=lambda place: -place[1].detection.score)
        pictures = [p for p in (_object_picture(*place) for place in places) if p is not None]
        if label is not None and pictures:
            shown = pictures[:1] if text in several else pictures
            key = file_name(text)[:100]
            subject = NewSubject(key, "object", shown, label.text, label.span)
            things.append((pictures[0].score or 0.0, label, subject))
    surest = sorted(things, key=lambda thing: -thing[0])[: settings.most_objects]
    return _distinct([subject for _, _, subject in sorted(surest, key=lambda thing: thing[1].span or (0, 0))])


def _background(objects: Sequence[FrameObjects], labels: Mapping[str, Label]) -> list[NewSubject]:
    """The kept place that fills most of a frame, without the people before it."""
    best: tuple[int, FrameObjects, Found] | None = None
    for at in objects:
        for found, outcome in zip(at.found, at.outcomes, strict=True):
            size = int(found.mask.sum())
            if found.kind == "background" and outcome == Kept() and (best is None or size > best[0]):
                best = size, at, found
    if best is None or best[2].detection.label not in labels:
        return []
    _, at, found = best
    people = [other.mask for other in at.found if other.kind == "human"]
    mask = found.mask & ~np.logical_or.reduce(people) if people else found.mask
    box = bounds(mask)
    if box is None:
        return []
    label = labels[found.detection.label]
    picture = NewPicture(_cut_out(at.image, box, mask), frame=at.frame, box=box, score=found.detection.score)
    return [NewSubject("background", "background", [picture], label.text, label.span)]


def _subject(key: str, person: Person, bodies: Sequence[Found], labels: Mapping[str, Label]) -> NewSubject:
    """The person, by the words of the caption that its body was found under most surely and most often."""
    votes: dict[str, float] = defaultdict(float)
    for body in bodies:
        if body.detection.label in labels:
            votes[body.detection.label] += body.detection.score
    label = labels[max(votes, key=lambda words: votes[words])] if votes else None
    return NewSubject(
        key, "person", person.pictures, label.text if label else None, label.span if label else None, person.identity
    )


def _bodies(at: FrameObjects, face: Corners) -> list[Found]:
    """The human masks that a face may belong to, one for each label around it, the surest first."""
    left, top, right, bottom = _within(at.image, face)
    around = [f for f in at.found if f.kind == "human" and f.mask[top:bottom, left:right].mean() >= _COVERED]
    return sorted(around, key=lambda found: -found.detection.score)


def _object_picture(at: FrameObjects, found: Found) -> NewPicture | None:
    box = bounds(found.mask)
    if box is None:
        return None
    return NewPicture(_cut_out(at.image, box, found.mask), frame=at.frame, box=box, score=found.detection.score)


def _cut_out(image: Image, box: Pixels, mask: MaskArray | None) -> Pictures.Image:
    """What a box holds, RGBA, transparent outside of the mask."""
    left, top, right, bottom = box
    alpha = np.full(image.shape[:2], 255, np.uint8) if mask is None else mask.astype(np.uint8) * 255
    return Pictures.fromarray(np.dstack([image, alpha])[top:bottom, left:right])


def _within(image: Image, corners: Corners) -> Pixels:
    """Whole pixels around a box, within the image and at least one of them."""
    height, width = image.shape[:2]
    left, top = min(max(0, int(corners[0])), width - 1), min(max(0, int(corners[1])), height - 1)
    right, bottom = min(width, int(np.ceil(corners[2]))), min(height, int(np.ceil(corners[3])))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _distinct(subjects: Sequence[NewSubject]) -> list[NewSubject]:
    """The subjects with keys that differ, also where labels give the same file name."""
    named: dict[str, NewSubject] = {}
    for subject in subjects:
        key, n = subject.key, 1
        while key in named:
            n += 1
            key = f"{subject.key}-{n}"
        named[key] = replace(subject, key=key)
    return list(named.values())
