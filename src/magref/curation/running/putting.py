"""The last stages of one video, again without models: identities, objects, samples (paper 3.1, equation 1)."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from magref import __version__
from magref.curation.aesthetic import chosen_frames
from magref.curation.candidates import JudgedFace, draw_candidates, judge_candidates
from magref.curation.duplicates import frames_hash
from magref.curation.faces import SeenFace, pose_of
from magref.curation.guard import ask_guard, find_guard
from magref.curation.identities import Identity, find_identities
from magref.curation.interfaces import Corners, Detection, Image
from magref.curation.labels import kind_of
from magref.curation.masks import refine
from magref.curation.objects import Found, decide, measure
from magref.curation.outcome import Failed, Kept, Outcome, Rejected, failure
from magref.curation.running.asking import clip_labels
from magref.curation.running.clips import FATAL, Clip, Reader, all_clips, clips_after, reader_of
from magref.curation.running.rows import Row, pack, unpack_face, unpack_mask
from magref.curation.running.sources import Source
from magref.curation.running.work import Work
from magref.curation.samples import Draft, FrameObjects, Person, assemble, face_picture
from magref.curation.settings import CurationSettings
from magref.dataset.format import DatasetInfo, Provenance
from magref.dataset.store import DatasetWriter
from magref.video import Frames

_LOOK_PX = 32
DRAFTS = DatasetInfo(name="drafts", description="samples of one video, before duplicates are left out")


def identities(source: Source, work: Work, settings: CurationSettings) -> list[Row]:
    """Whose the faces of a video are, and which of them can be references."""
    rows: list[Row] = []
    for n, identity in enumerate(find_identities(seen_faces(work, source.id), settings.identities), 1):
        name = f"{source.id}-p{n}"
        places = [_place(seen) for seen in identity.faces]
        rows.append(Row("identity", name, identity.outcome, {"faces": len(places)}, {"faces": places}))
        if not isinstance(identity.outcome, Kept):
            continue
        for judged in _judged_once(identity, settings):
            left, top, right, bottom = judged.seen.face.corners
            pitch, yaw, roll = pose_of(judged.seen.face) or (0.0, 0.0, 0.0)
            scores = {
                "score": judged.seen.face.score, "side": min(right - left, bottom - top),
                "yaw": abs(yaw), "pitch": abs(pitch), "roll": abs(roll), "quality": judged.quality,
            }  # fmt: skip
            rows.append(Row("face", f"{name}/{judged.seen.clip}/{judged.seen.frame}", judged.outcome, scores))
    return rows


def objects(source: Source, work: Work, settings: CurationSettings) -> list[Row]:
    """Which masks are objects."""
    rows: list[Row] = []
    near = {row.item: row.data["faces"] for row in work.read("faces", source.id, "clip") if row.is_kept}
    found = {row.item: row.data["frames"] for row in work.read("boxes", source.id, "clip") if row.is_kept}
    for clip in clips_after(work, "faces", source.id):
        kept = 0
        for at in found[clip.name]:
            items = _found(at["found"], settings)
            around = [unpack_face(face).corners for face in near[clip.name][at["frame"]]]
            measured = measure(items, around)
            for n, (item, outcome) in enumerate(zip(measured, decide(measured, settings.objects), strict=True)):
                scores = {
                    "area": item.shape.area, "fill": item.shape.fill, "aspect": item.shape.aspect,
                    "parts": item.shape.parts, "on a face": item.face_mask, "face box": item.face_box,
                    "human": item.human,
                }  # fmt: skip
                data = {"clip": clip.name, "frame": at["frame"], "label": items[n].detection.label}
                data["measures"] = item.model_dump_json()
                rows.append(Row("object", f"{clip.name}/{at['frame']}/{n}", outcome, scores, data))
                kept += isinstance(outcome, Kept) and item.kind in ("object", "thin")
        rows.append(Row("clip", clip.name, Kept(), {"objects": kept}))
    return rows


def samples(source: Source, work: Work, settings: CurationSettings) -> list[Row]:
    """The samples of a video, written as a small dataset of its own."""
    folder = work.drafts(source.id)
    if folder.exists():  # begun and not finished: this stage's file would be there otherwise
        shutil.rmtree(folder)
    clips = clips_after(work, "objects", source.id)
    if not clips:
        return []
    rows: list[Row] = []
    video, guard = _Video(source, work, settings), find_guard(settings.guard)
    with DatasetWriter(folder, DRAFTS) as writer:
        for clip, frames in video.reader.clips("samples", clips):
            outcome: Outcome
            scores: dict[str, float] = {}
            data: dict[str, Any] = {}
            try:
                made: Draft | Rejected | Failed = frames if isinstance(frames, Failed) else video.draft(clip, frames)
                if isinstance(made, Draft) and guard is not None:
                    made = ask_guard(made, guard) or made
                if isinstance(made, Draft):
                    made.write(writer)
                    scores, data = _summary(made, video.rated[clip.name])
                outcome = Kept() if isinstance(made, Draft) else made
            except FATAL:
                raise
            except Exception as error:  # one clip that cannot be stored is one clip less
                outcome = failure("samples", error)
            rows.append(Row("sample", clip.name, outcome, scores, data))
    return rows


class _Video:
    """Everything about one video that its samples are made of."""

    def __init__(self, source: Source, work: Work, settings: CurationSettings) -> None:
        self.settings = settings
        self.source = source
        self.reader: Reader = reader_of(source, work, settings)
        self.clips = {clip.number: clip for clip in all_clips(work, source.id)}
        self.labels = clip_labels(work, source.id, settings)
        self.rated = {row.item: row for row in work.read("aesthetic", source.id, "clip") if row.is_kept}
        self.captions = {
            row.item: row.data["caption"] for row in work.read("captions", source.id, "clip") if row.is_kept
        }
        self.boxes = {row.item: row.data["frames"] for row in work.read("boxes", source.id, "clip") if row.is_kept}
        self.outcomes: dict[tuple[str, int], list[Outcome]] = defaultdict(list)
        for row in work.read("objects", source.id, "object"):
            self.outcomes[row.data["clip"], row.data["frame"]].append(row.outcome)
        self.people = _known_identities(work, source.id)

    def draft(self, clip: Clip, frames: Frames) -> Draft | Rejected:
        """The sample of one clip."""
        window = clip.window
        return assemble(
            clip.name, self.captions[clip.name], frames, window.fps,
            people=[self._person(name, identity, clip, frames) for name, identity in self.people.items()],
            objects=[self._objects(clip, at, frames) for at in self.boxes[clip.name]],
            labels=self.labels[clip.name], settings=self.settings.samples,
            provenance=Provenance(
                source=self.source.address, start_s=window.start_s, end_s=window.end_s, made_by=f"magref {__version__}"
            ),
        )  # fmt: skip

    def _objects(self, clip: Clip, at: Mapping[str, Any], frames: Frames) -> FrameObjects:
        found = [
            Found(item.detection, item.kind, refine(item.mask, self.settings.refine))
            for item in _found(at["found"], self.settings)
        ]
        outcomes = tuple(self.outcomes[clip.name, at["frame"]])
        return FrameObjects(at["frame"], frames[at["frame"]], tuple(found), outcomes)

    def _person(self, name: str, identity: Identity, clip: Clip, frames: Frames) -> Person:
        seen: dict[int, Corners] = {s.frame: s.face.corners for s in identity.faces if s.clip == clip.number}
        if not seen:
            return Person(name, (), {})
        judged = judge_candidates(identity, clip.number, self.settings.faces, self.settings.candidates)
        drawn = draw_candidates(judged, self.settings.candidates)
        images = self._images(drawn, clip, frames)
        pictures = [
            face_picture(images[_place(face.seen)[:2]], face, clip.number, self.settings.candidates) for face in drawn
        ]
        return Person(name, tuple(pictures), seen)

    def _images(self, drawn: Sequence[JudgedFace], clip: Clip, frames: Frames) -> dict[tuple[int, int], Image]:
        """The frames that faces were found in, by their clip's number and their place in it."""
        images: dict[tuple[int, int], Image] = {}
        for number in sorted({face.seen.clip for face in drawn}):
            places = sorted({face.seen.frame for face in drawn if face.seen.clip == number})
            pictures = frames[places] if number == clip.number else self.reader.frames(self.clips[number], places)
            images.update({(number, place): picture for place, picture in zip(places, pictures, strict=True)})
        return images


def _found(kept: Sequence[Mapping[str, Any]], settings: CurationSettings) -> list[Found]:
    items = []
    for box in kept:
        left, top, right, bottom = box["corners"]
        detection = Detection(box["label"], (left, top, right, bottom), box["score"])
        items.append(Found(detection, kind_of(box["label"], settings.labels) or "object", unpack_mask(box["mask"])))
    return items


def seen_faces(work: Work, source: str) -> list[SeenFace]:
    """All faces that were found in a video."""
    clips = {clip.name: clip for clip in all_clips(work, source)}
    times = {row.item: row for row in work.read("faces", source, "clip") if row.is_kept}
    seen = []
    for name, row in times.items():
        clip = clips[name]
        for frame, faces in enumerate(row.data["faces"]):
            time_s = clip.window.start_s + frame / clip.window.fps
            seen += [SeenFace(clip.window.shot, clip.number, frame, time_s, unpack_face(face)) for face in faces]
    return seen


def _known_identities(work: Work, source: str) -> dict[str, Identity]:
    """The kept identities by their names, as `identities` found them."""
    by_place = {_place(seen): seen for seen in seen_faces(work, source)}
    return {
        row.item: Identity(tuple(by_place[tuple(place)] for place in row.data["faces"]), row.outcome)
        for row in work.read("identities", source, "identity")
        if row.is_kept
    }


def _place(seen: SeenFace) -> tuple[Any, ...]:
    """Which face it is within its video: the clip's number, the frame, and the box, since none is twice in a frame."""
    return seen.clip, seen.frame, *seen.face.corners


def _judged_once(identity: Identity, settings: CurationSettings) -> list[JudgedFace]:
    """Each face of an identity by itself, in whichever clip it is."""
    judged: dict[tuple[Any, ...], JudgedFace] = {}
    for number in sorted({seen.clip for seen in identity.faces}):
        for face in judge_candidates(identity, number, settings.faces, settings.candidates):
            judged.setdefault(_place(face.seen), face)
    return list(judged.values())


def _summary(draft: Draft, rated: Row) -> tuple[dict[str, float], dict[str, Any]]:
    """What is needed to tell duplicates: hash, looks, an embedding where there is one, and who is shown."""
    people = [subject for subject in draft.subjects if subject.role == "person"]
    scores = {
        "people": len(people), "objects": sum(subject.role == "object" for subject in draft.subjects),
        "faces": sum(len(subject.pictures) for subject in people), "worth": rated.scores["mean"],
    }  # fmt: skip
    data = {
        "hash": frames_hash(draft.frames), "looks": pack(looks_of(draft.frames)),
        "identities": [subject.identity for subject in people],
    }  # fmt: skip
    if "embedding" in rated.data:
        data["embedding"] = rated.data["embedding"]
    return scores, data


def looks_of(frames: Frames) -> npt.NDArray[np.float32]:
    """What the first, middle and last frame look like from afar, as a vector of length 1.

    The cosine of two is near 1 for one clip in two encodings, sizes or qualities. It knows nothing of what is shown.
    """
    import cv2

    small = [
        cv2.resize(frames[n], (_LOOK_PX, _LOOK_PX), interpolation=cv2.INTER_AREA) for n in chosen_frames(len(frames))
    ]
    pixels = np.stack(small).astype(np.float32).ravel() / 255
    pixels -= pixels.mean()
    return np.asarray(pixels / max(float(np.linalg.norm(pixels)), 1e-6), np.float32)
