"""The ablation's results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from magref.evaluation.ablation.budget import ARMS, GROUPS, Arm, Budget
from magref.evaluation.ablation.measuring import Scored
from magref.evaluation.ablation.training import tokens, training_flops
from magref.evaluation.measures.score import VideoScore
from magref.evaluation.statistics import Mean, mean_of

Values = Sequence[float | None]
"""What one video gives: a value for each of its subjects, or one of its own."""


def _of_subjects(name: str) -> Callable[[VideoScore], Values]:
    return lambda video: [getattr(subject, name) for subject in video.subjects]


def _of_video(name: str) -> Callable[[VideoScore], Values]:
    return lambda video: [getattr(video, name)]


MEASURES: dict[str, Callable[[VideoScore], Values]] = {
    **{name: _of_subjects(name) for name in ("seen", "identity", "nearest", "motion_right", "constancy")},
    **{name: _of_video(name) for name in ("count_right", "background", "layout_left")},
}
"""See `docs/measures.md`."""

TITLES = {
    "one": "One subject",
    "two": "Two subjects",
    "three": "Three subjects (zero-shot)",
    "background": "One subject and a background picture (zero-shot)",
    "long": "One subject, three times the trained length (zero-shot)",
}


def report(folder: Path, budget: Budget) -> str:
    """All tables."""
    scored = Scored(folder)
    parts = [_costs(folder, budget)]
    for group in GROUPS:
        parts.append(f"## {TITLES[group]}\n\n" + _group_table(scored, budget, group))
        parts.append(
            "Differences from masked guidance, in pairs of equal task and seed:\n\n" + _pairs(scored, budget, group)
        )
    parts.append("## Against training\n\n" + _over_steps(scored, folder, budget))
    parts.append("## Order on the canvas\n\n" + _orders(scored, budget))
    parts.append("## Drift\n\n" + _drift(scored, budget))
    return "\n\n".join(parts) + "\n"


def pooled(scored: Scored, budget: Budget, arm: Arm, step: int, group: str) -> list[list[VideoScore]]:
    """An arm's scores, one entry for each seed."""
    return [scored.load(arm, seed, step, group) for seed in budget.seeds]


def mean_over_seeds(runs: Sequence[Sequence[VideoScore]], measure: Callable[[VideoScore], Values]) -> Mean:
    """Over all videos; those of one task, which all seeds share, are drawn together."""
    return mean_of([[value for run in runs for value in measure(run[n])] for n in range(len(runs[0]))])


def _group_table(scored: Scored, budget: Budget, group: str) -> str:
    rows = []
    for arm in ARMS:
        runs = pooled(scored, budget, arm, budget.marks[-1], group)
        rows.append([arm.name, *(_short(mean_over_seeds(runs, measure)) for measure in MEASURES.values())])
        for seed, run in zip(budget.seeds, runs, strict=True):
            means = [mean_of([measure(video) for video in run]) for measure in MEASURES.values()]
            rows.append([f"&nbsp; seed {seed}", *("" if m.value is None else f"{m.value:.3f}" for m in means)])
    return _table(["", *MEASURES], rows)


def _pairs(scored: Scored, budget: Budget, group: str) -> str:
    first, *others = ARMS
    own = pooled(scored, budget, first, budget.marks[-1], group)
    rows = []
    for arm in others:
        runs = pooled(scored, budget, arm, budget.marks[-1], group)
        cells = []
        for measure in MEASURES.values():
            differences = []
            for n in range(len(own[0])):
                pairs = [
                    (theirs, ours)
                    for run, mine in zip(runs, own, strict=True)
                    for theirs, ours in zip(measure(run[n]), measure(mine[n]), strict=True)
                ]
                differences.append([a - b for a, b in pairs if a is not None and b is not None])
            cells.append(_short(mean_of(differences), sign=True))
        rows.append([arm.name, *cells])
    return _table(["", *MEASURES], rows)


def _costs(folder: Path, budget: Budget) -> str:
    rows = [
        [arm.name, str(tokens(arm, folder, budget)), f"{training_flops(arm, folder, budget, budget.marks[-1]):.3g}"]
        for arm in ARMS
    ]
    head = ["", "tokens of an example, on average", f"FLOP of {budget.marks[-1]} steps"]
    return "## What each costs\n\n" + _table(head, rows)


def _over_steps(scored: Scored, folder: Path, budget: Budget) -> str:
    rows = []
    for arm in ARMS:
        for step in budget.marks:
            cells = [
                _short(mean_over_seeds(pooled(scored, budget, arm, step, group), MEASURES[name]))
                for group in ("one", "two")
                for name in ("identity", "nearest")
            ]
            rows.append([arm.name, str(step), f"{training_flops(arm, folder, budget, step):.3g}", *cells])
    return _table(
        ["", "steps", "FLOP", "identity, one", "nearest, one", "identity, two", "nearest, two"],
        rows,
    )


def _orders(scored: Scored, budget: Budget) -> str:
    rows = []
    for arm in ARMS:
        changes = [scored.changes(arm, seed) for seed in budget.seeds]
        rows.append([arm.name, _short(mean_of([list(each) for each in zip(*changes, strict=True)]))])
    return _table(["", "change of the video, root mean square, colours from 0 to 1"], rows)


def _drift(scored: Scored, budget: Budget) -> str:
    """Identity in the first and the last quarter of the frames, at both lengths."""
    rows = []
    for arm in ARMS:
        cells = []
        for group in ("one", "long"):
            runs = pooled(scored, budget, arm, budget.marks[-1], group)
            change = [
                [
                    last - first
                    for run in runs
                    for subject in run[n].subjects
                    for first, last in [quarters(subject.by_frame)]
                    if first is not None and last is not None
                ]
                for n in range(len(runs[0]))
            ]
            cells.append(_short(mean_of(change), sign=True))
        rows.append([arm.name, *cells])
    return _table(["change of identity, first to last quarter", "trained length", "three times"], rows)


def quarters(by_frame: Values) -> tuple[float | None, float | None]:
    """The means of the first and of the last quarter of the frames, over those in which the subject is found."""
    size = max(1, len(by_frame) // 4)
    first, last = ([v for v in part if v is not None] for part in (by_frame[:size], by_frame[-size:]))
    return (sum(first) / len(first) if first else None), (sum(last) / len(last) if last else None)


def _short(mean: Mean, *, sign: bool = False) -> str:
    if mean.value is None:
        return ""
    form = "+.3f" if sign else ".3f"
    return f"{mean.value:{form}} [{mean.low:{form}}, {mean.high:{form}}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
