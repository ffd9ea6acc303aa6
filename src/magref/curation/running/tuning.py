"""Other limits on what was measured: `magref curate tune`. No model runs and no video is read.

A limit that is eased lets in clips that later stages have not looked at; of these only the number is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from magref.curation.aesthetic import judge_aesthetic
from magref.curation.candidates import draw_candidates, judge_candidates
from magref.curation.identities import find_identities
from magref.curation.labels import find_labels, judge_caption, kept_labels
from magref.curation.motion import judge_motion
from magref.curation.objects import Measures, decide
from magref.curation.outcome import Kept, Outcome, Rejected
from magref.curation.overlay import judge_overlay
from magref.curation.running.clips import clip_of
from magref.curation.running.options import changed_settings
from magref.curation.running.putting import seen_faces
from magref.curation.running.rows import Row
from magref.curation.running.work import Work
from magref.curation.settings import CurationSettings
from magref.errors import InputError

TUNED: Final = ("scan", "aesthetic", "captions", "boxes", "objects", "samples")
"""The stages at which clips are counted."""
_TRIED: Final = (
    "motion.least", "motion.most", "overlay.most", "aesthetic", "caption", "objects", "faces.least_side_px",
    "faces.neighbours", "identities", "candidates", "samples",
)  # fmt: skip


@dataclass
class Count:
    """Clips after a stage: those that are kept, and those that the stage never measured."""

    kept: int = 0
    unmeasured: int = 0


def tune(work: Work, changes: Sequence[str]) -> tuple[dict[str, Count], dict[str, Count]]:
    """Clips after each stage with the settings of the work, and with changes such as "motion.least=1.0".

    Raises:
        InputError: a change is none, or is one for which something would have to be measured again.
    """
    for change in changes:
        key = change.partition("=")[0].strip()
        if not any(key == tried or key.startswith(tried + ".") for tried in _TRIED):
            raise InputError(f"{key} cannot be tried on what was measured; try {', '.join(_TRIED)}")
    settings = work.settings()
    return counts(work, settings), counts(work, changed_settings(settings, changes))


def counts(work: Work, settings: CurationSettings) -> dict[str, Count]:
    """Clips after each stage, all videos together."""
    found = {stage: Count() for stage in TUNED}
    for source in work.sources():
        _count(work, source.id, settings, found)
    return found


def _count(work: Work, source: str, settings: CurationSettings, found: dict[str, Count]) -> None:
    clips = {row.item: clip_of(row) for row in work.read("scan", source, "clip") if "frames" in row.data}
    kept = [row.item for row in work.read("scan", source, "clip") if row.item in clips and _moves(row, settings)]
    found["scan"].kept += len(kept)

    def after(stage: str, outcome: dict[str, bool]) -> list[str]:
        found[stage].unmeasured += sum(name not in outcome for name in kept)
        left = [name for name in kept if outcome.get(name)]
        found[stage].kept += len(left)
        return left

    measured = {row.item: row for row in work.read("aesthetic", source, "clip") if "scores" in row.data}
    kept = after(
        "aesthetic", {n: judge_aesthetic(row.data["scores"], settings.aesthetic) is None for n, row in measured.items()}
    )
    told = {row.item: row.data for row in work.read("captions", source, "clip") if "caption" in row.data}
    kept = after("captions", {n: judge_caption(data["caption"], settings.caption) is None for n, data in told.items()})
    boxed = {row.item: row.scores["objects"] for row in work.read("boxes", source, "clip") if "objects" in row.scores}
    kept = after("boxes", {name: number >= settings.samples.least_objects for name, number in boxed.items()})
    labels = {
        name: {label.text for label in kept_labels(find_labels(data["caption"], data["named"], settings.labels))}
        for name, data in told.items()
    }
    things = _objects(work, source, settings)
    kept = after("objects", dict.fromkeys(things, True))
    people = _people(work, source, settings)
    refused = _refused(work, source)
    after(
        "samples",
        {
            name: name not in refused
            and len(things[name] & labels[name]) >= settings.samples.least_objects
            and (settings.samples.without_faces or clips[name].number in people)
            for name in kept
        },
    )


def _moves(row: Row, settings: CurationSettings) -> bool:
    overlay = judge_overlay(row.scores.get("overlay"), settings.overlay)
    return judge_motion(row.scores["motion"], settings.motion) is None and overlay is None


def _objects(work: Work, source: str, settings: CurationSettings) -> dict[str, set[str]]:
    """The labels of the objects that each measured clip keeps."""
    frames: dict[tuple[str, int], list[tuple[str, Measures]]] = defaultdict(list)
    labels: dict[str, set[str]] = {row.item: set() for row in work.read("objects", source, "clip")}
    for row in work.read("objects", source, "object"):
        measures = Measures.model_validate_json(row.data["measures"])
        frames[row.data["clip"], row.data["frame"]].append((row.data["label"], measures))
    for (clip, _), items in frames.items():
        outcomes: list[Outcome] = decide([measures for _, measures in items], settings.objects)
        for (label, measures), outcome in zip(items, outcomes, strict=True):
            if outcome == Kept() and measures.kind in ("object", "thin"):
                labels[clip].add(label)
    return labels


def _refused(work: Work, source: str) -> set[str]:
    """The clips whose samples the guard refused; it is not asked again."""
    outcomes = {row.item: row.outcome for row in work.read("samples", source, "sample")}
    return {name for name, o in outcomes.items() if isinstance(o, Rejected) and o.stage == "guard"}


def _people(work: Work, source: str, settings: CurationSettings) -> set[int]:
    """The numbers of the clips that show somebody with a usable face."""
    clips: set[int] = set()
    for identity in find_identities(seen_faces(work, source), settings.identities):
        if not isinstance(identity.outcome, Kept):
            continue
        for number in {seen.clip for seen in identity.faces}:
            judged = judge_candidates(identity, number, settings.faces, settings.candidates)
            if draw_candidates(judged, settings.candidates):
                clips.add(number)
    return clips
