"""The stages that ask models, batched over the clips of several videos (paper 3.1, stages 1 to 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from magref.curation.aesthetic import chosen_frames, judge_aesthetic
from magref.curation.boxes import judge_boxes
from magref.curation.faces import find_faces
from magref.curation.interfaces import Detection, Face
from magref.curation.labels import Label, find_labels, judge_caption, kept_labels, kind_of, to_ask
from magref.curation.models.asking import UnansweredError
from magref.curation.outcome import Failed, Kept, Outcome, Rejected, Stage, failure
from magref.curation.running.bundle import Models
from magref.curation.running.clips import FATAL, Clip, all_clips, clips_after, reader_of
from magref.curation.running.rows import Row, Took, pack, pack_face, pack_mask
from magref.curation.running.sources import Source
from magref.curation.running.work import Work
from magref.curation.settings import CurationSettings
from magref.errors import ResourceError
from magref.video import Frames

PATIENCE: Final = 20
"""Items that fail one after the other before it is taken for the model's fault, and the run ends."""

Answer: TypeAlias = Any
"""Of a model, whatever it is; each stage knows its own."""


@dataclass(frozen=True, eq=False)
class Item:
    """A clip with what a model needs of it."""

    source: Source
    clip: Clip
    frames: Frames
    extra: Any = None


@dataclass(frozen=True)
class Broken:
    """A clip whose frames cannot be read."""

    source: Source
    clip: Clip
    why: Failed


Call: TypeAlias = Callable[[Sequence[Item]], list[Answer]]


def aesthetic(sources: Sequence[Source], work: Work, settings: CurationSettings, models: Models) -> Iterator[str]:
    """Scores of the first, middle and last frame of each clip that moves, and where CLIP sees them, for near copies."""
    chosen = chosen_frames(settings.windows.frames)

    def call(items: Sequence[Item]) -> list[Answer]:
        rated = iter(models.aesthetics.rate([image for item in items for image in item.frames]))
        return [[next(rated) for _ in chosen] for _ in items]

    def row(item: Item, answer: Answer) -> list[Row]:
        scores = [rated.score for rated in answer]
        outcome: Outcome = judge_aesthetic(scores, settings.aesthetic) or Kept()
        data: dict[str, Any] = {"scores": scores}
        if all(rated.embedding is not None for rated in answer):
            data["embedding"] = pack(_direction(sum(rated.embedding for rated in answer)))
        return [Row("clip", item.clip.name, outcome, {"mean": float(np.mean(scores)), "least": min(scores)}, data)]

    items = _items("aesthetic", "scan", sources, work, settings, chosen=chosen)
    yield from _each("aesthetic", "aesthetic", sources, work, models, items, max(1, models.images // 3), call, row)


def captions(sources: Sequence[Source], work: Work, settings: CurationSettings, models: Models) -> Iterator[str]:
    """What happens in each pleasing clip, and the labels that its caption names."""

    def caption(items: Sequence[Item]) -> list[Answer]:
        return list(models.captioner.caption([item.frames for item in items]))

    def name(items: Sequence[Item]) -> list[Answer]:
        return list(models.captioner.name_objects([item.frames for item in items], [item.extra for item in items]))

    def call(items: Sequence[Item]) -> list[Answer]:
        answers = _answers("caption", items, caption)
        told = [n for n, text in enumerate(answers) if _is_caption(text, settings)]
        named = _answers("labels", [replace(items[n], extra=answers[n]) for n in told], name)
        objects = dict(zip(told, named, strict=True))
        return [
            answer if isinstance(answer, Failed)
            else objects[n] if isinstance(objects.get(n), Failed)
            else (answer, objects.get(n, []))
            for n, answer in enumerate(answers)
        ]  # fmt: skip

    def row(item: Item, answer: Answer) -> list[Row]:
        caption, named = answer
        judged = judge_caption(caption, settings.caption)
        labels = find_labels(caption, named, settings.labels)
        scores = {"words": len(caption.split()), "labels": len(kept_labels(labels))}
        data = {"caption": caption, "named": list(named)}
        rows = [Row("clip", item.clip.name, judged or Kept(), scores, data)]
        rows += [Row("label", f"{item.clip.name}/{label.text}", label.outcome) for label in labels]
        return rows

    items = _items("caption", "aesthetic", sources, work, settings)
    yield from _each("captions", "caption", sources, work, models, items, models.clips, call, row)


def boxes(sources: Sequence[Source], work: Work, settings: CurationSettings, models: Models) -> Iterator[str]:
    """Boxes for the labels in the first, middle and last frame of each clip, and masks in the boxes that count."""
    chosen = chosen_frames(settings.windows.frames)

    def extra(source: Source) -> dict[str, list[Label]]:
        return clip_labels(work, source.id, settings)

    def call(items: Sequence[Item]) -> list[Answer]:
        images = [image for item in items for image in item.frames]
        asked = [to_ask(item.extra) for item in items for _ in chosen]
        judged = [judge_boxes(found, settings.boxes) for found in models.detector.detect(images, asked)]
        kept = [[box.corners for box, outcome in of_image if isinstance(outcome, Kept)] for of_image in judged]
        masks = [iter(of_image) for of_image in models.segmenter.segment(images, kept)]
        with_masks = [
            [(box, outcome, next(masks[n]) if isinstance(outcome, Kept) else None) for box, outcome in of_image]
            for n, of_image in enumerate(judged)
        ]
        return [with_masks[n : n + len(chosen)] for n in range(0, len(images), len(chosen))]

    def row(item: Item, answer: Answer) -> list[Row]:
        rows, frames, things = [], [], 0
        for frame, found in zip(chosen, answer, strict=True):
            kept = []
            for n, (box, outcome, mask) in enumerate(found):
                rows.append(Row("box", f"{item.clip.name}/{frame}/{n}", outcome, {"score": box.score}, _box(box)))
                if mask is not None:
                    kept.append({**_box(box), "score": box.score, "mask": pack_mask(mask)})
                    things += kind_of(box.label, settings.labels) in ("object", "thin")
            frames.append({"frame": frame, "found": kept})
        judged: Outcome = Kept()
        if things < settings.samples.least_objects:
            judged = Rejected(
                stage="boxes", reason="too few objects", value=things, limit=settings.samples.least_objects
            )
        return [Row("clip", item.clip.name, judged, {"objects": things}, {"frames": frames}), *rows]

    items = _items("boxes", "captions", sources, work, settings, chosen=chosen, extra=extra)
    yield from _each("boxes", "boxes", sources, work, models, items, max(1, models.images // 3), call, row)


def faces(sources: Sequence[Source], work: Work, settings: CurationSettings, models: Models) -> Iterator[str]:
    """Faces in every frame of each clip that shows objects, and of its neighbours in the video."""

    def call(items: Sequence[Item]) -> list[Answer]:
        return [_faces(item.frames, models, settings) for item in items]

    def row(item: Item, answer: Answer) -> list[Row]:
        found: list[list[Face]] = answer
        data = {"faces": [[pack_face(face) for face in of_frame] for of_frame in found], **(item.extra or {})}
        return [Row("clip", item.clip.name, Kept(), {"faces": sum(len(of_frame) for of_frame in found)}, data)]

    items = _items(
        "faces", "boxes", sources, work, settings, neighbours=settings.faces.neighbours,
        extra=lambda source: {},
    )  # fmt: skip
    yield from _each("faces", "faces", sources, work, models, items, 1, call, row)


def clip_labels(work: Work, source: str, settings: CurationSettings) -> dict[str, list[Label]]:
    """The judged labels of each captioned clip of a video."""
    return {
        row.item: find_labels(row.data["caption"], row.data["named"], settings.labels)
        for row in work.read("captions", source, "clip")
        if "caption" in row.data
    }


def _items(
    stage: Stage, after: str, sources: Sequence[Source], work: Work, settings: CurationSettings, *,
    chosen: Sequence[int] | None = None, neighbours: int | None = None,
    extra: Callable[[Source], dict[str, Any]] | None = None,
) -> Iterator[Item | Broken]:  # fmt: skip
    """The clips that a stage kept, with their frames; the neighbours of a clip are marked as such."""
    for source in sources:
        kept = clips_after(work, after, source.id)
        if not kept:
            continue
        wanted, extras = kept, extra(source) if extra else {}
        if neighbours is not None:
            numbers = {clip.number for clip in kept}
            near = {n + d for n in numbers for d in range(-neighbours, neighbours + 1)}
            wanted = [clip for clip in all_clips(work, source.id) if clip.number in near]
            extras = {clip.name: {"neighbour": True} for clip in wanted if clip.number not in numbers}
        for clip, frames in reader_of(source, work, settings).clips(stage, wanted, chosen):
            if isinstance(frames, Failed):
                yield Broken(source, clip, frames)
            else:
                yield Item(source, clip, frames, extras.get(clip.name))


def _each(
    name: str, stage: Stage, sources: Sequence[Source], work: Work, models: Models, items: Iterable[Item | Broken],
    size: int, call: Call, row: Callable[[Item, Answer], list[Row]],
) -> Iterator[str]:  # fmt: skip
    """Write the stage's file of each source as soon as all of its clips are answered; yields the source's id."""
    rows: dict[str, list[Row]] = {source.id: [] for source in sources}
    waiting = [source.id for source in sources]
    began = time.perf_counter()

    def write(source: str) -> str:
        # The time since the source before; batches are shared, so that only the sum over sources is to be trusted.
        nonlocal began
        now = time.perf_counter()
        work.write(name, source, rows.pop(source), Took(now - began, models.runs_on(name)))
        began = time.perf_counter()
        return source

    for item, answer in _answered(stage, items, size, call):
        while waiting[0] != item.source.id:
            yield write(waiting.pop(0))
        if isinstance(item, Item) and not isinstance(answer, Failed):
            rows[item.source.id] += row(item, answer)
        else:
            rows[item.source.id].append(Row("clip", item.clip.name, answer))
    for source in waiting:
        yield write(source)


def _answered(
    stage: Stage, items: Iterable[Item | Broken], size: int, call: Call
) -> Iterator[tuple[Item | Broken, Answer | Failed]]:
    """Items with their answers, in order, `size` at a time."""
    failed = 0
    rest = iter(items)
    while batch := list(islice(rest, size)):
        answers = iter(_answers(stage, [item for item in batch if isinstance(item, Item)], call))
        for item in batch:
            if isinstance(item, Broken):
                yield item, item.why
                continue
            answer = next(answers)
            failed = failed + 1 if isinstance(answer, Failed) else 0
            if failed >= PATIENCE:
                raise ResourceError(
                    f"{failed} clips failed one after the other, the last time: {answer.error}; "
                    "mend that and run the same command again"
                )
            yield item, answer


def _answers(stage: Stage, items: Sequence[Item], call: Call) -> list[Answer | Failed]:
    """The model's answers; where it fails at the batch, each item is asked about alone."""
    if not items:
        return []
    try:
        return call(items)
    except UnansweredError as error:
        return [
            failure(stage, error.failures[n]) if n in error.failures else answer
            for n, answer in enumerate(error.answers)
        ]
    except FATAL:
        raise
    except Exception as error:  # a model's libraries raise whatever an item provokes
        if len(items) == 1:
            return [failure(stage, error)]
        return [answer for item in items for answer in _answers(stage, [item], call)]


def _is_caption(text: Answer, settings: CurationSettings) -> bool:
    return isinstance(text, str) and judge_caption(text, settings.caption) is None


def _direction(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _box(box: Detection) -> dict[str, Any]:
    return {"label": box.label, "corners": list(box.corners)}


def _faces(frames: Frames, models: Models, settings: CurationSettings) -> list[list[Face]]:
    """A clip's faces, `images` frames at a time."""
    found: list[list[Face]] = []
    for start in range(0, len(frames), models.images):
        found += find_faces(models.faces, list(frames[start : start + models.images]), settings.faces)
    return found
