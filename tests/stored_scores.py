"""Folders of stored scores as `magref evaluate` leaves them, with values of one's own choice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from magref.evaluation.cases import KINDS
from magref.evaluation.metrics.interface import About, Measure, Missing, Profile, Score, Value
from magref.evaluation.scores import CaseScores, MetricRun, Run, write_run, write_scores

MEASURES = {
    "face": (Measure(name="face_similarity", meaning="cosine of faces"), Measure(name="face_coverage", meaning="seen")),
    "aesthetic": (Measure(name="aesthetic", meaning="rating"),),
    "gme": (Measure(name="gme", meaning="cosine with the prompt"),),
    "motion": (Measure(name="motion", meaning="mean signed flow", unit="pixels a frame", best=None),),
    "world": (Measure(name="world_identity", meaning="looks"), Measure(name="world_motion", meaning="moves")),
}
GONE = Missing(reason="no_video", why="there is no a.mp4 among the videos")


def store(
    folder: Path,
    values: Mapping[str, Mapping[str, float | Missing | None]],
    *,
    profile: Profile = "opens2v",
    videos: str = "videos",
    cases: str = "cases.jsonl",
    dataset: str | None = "own cases",
    weights: str = "none",
) -> str:
    """Write scores; returns the folder for a command line.

    Args:
        values: for each case, by measure. Cases are called <category>-<anything>; a measure that is None was not run.
    """
    names = {name for scores in values.values() for name in scores}
    metrics = {
        metric: MetricRun(
            about=About(source="a source", licence="a licence", ran="yes"), measures=measures, weights=weights
        )
        for metric, measures in MEASURES.items()
        if any(measure.name in names for measure in measures)
    }
    write_run(Run(videos=videos, cases=cases, profile=profile, metrics=metrics), folder)
    write_scores((_case(n, name, scores, dataset) for n, (name, scores) in enumerate(values.items(), 1)), folder)
    return str(folder)


def _case(line: int, name: str, scores: Mapping[str, float | Missing | None], dataset: str | None) -> CaseScores:
    category = name.partition("-")[0]
    kind = KINDS.get(category)  # type: ignore[call-overload]
    known: dict[str, Score] = {
        measure: score if isinstance(score, Missing) else Value(value=score)
        for measure, score in scores.items()
        if score is not None
    }
    return CaseScores(
        line=line, case=name, group=kind and kind.group, category=category if kind else None,
        references=len(kind.roles) if kind else 1, dataset=dataset,
        case_sha256=hashlib.sha256(name.encode()).hexdigest(), scores=known,
    )  # fmt: skip
