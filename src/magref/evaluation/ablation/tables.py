"""The ablation's results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from magref.evaluation.ablation.budget import ARMS, GROUPS, Arm, Budget
from magref.evaluation.ablation.measuring import BASELINES, EARLY, REVERSED, Scored
from magref.evaluation.ablation.training import tokens, training_flops
from magref.evaluation.measures.score import SubjectScore, VideoScore
from magref.evaluation.statistics import Mean, mean_of
from magref.evaluation.tasks import load_scores

Values = Sequence[float | None]
"""What one video gives: a value for each of its subjects, or one of its own."""
Measure = Callable[[VideoScore], Values]


def by_frame(subject: SubjectScore) -> list[float]:
    """Identity in each frame: the cosine with the reference, 0 where that is negative or the subject is not found."""
    return [max(0.0, value or 0.0) for value in subject.by_frame]


def _identity(subject: SubjectScore) -> float:
    frames = by_frame(subject)
    return sum(frames) / len(frames)


def _of_subjects(value: Callable[[SubjectScore], float | None]) -> Measure:
    return lambda video: [value(subject) for subject in video.subjects]


MEASURES: dict[str, Measure] = {
    "seen": _of_subjects(lambda subject: subject.seen),
    "identity": _of_subjects(_identity),
    "nearest": _of_subjects(lambda subject: bool(subject.nearest)),
    "motion right": _of_subjects(lambda subject: bool(subject.motion_right)),
    "count right": lambda video: [video.count_right],
    "background": lambda video: [video.background],
}
"""See `docs/measures.md`; but whom nobody finds has identity 0, is not nearest and does not move right: else a
mechanism that loses its subjects would be judged by those that it keeps."""
UNPAIRED: dict[str, Measure] = {
    "layout left": lambda video: [video.layout_left],
    "identity where seen": _of_subjects(lambda subject: subject.identity),
    "constancy": _of_subjects(lambda subject: subject.constancy),
}
"""What gives no difference between mechanisms: masked guidance has one canvas whose layout can be left, the rivals one
picture for each reference, of which the most similar counts; and each mechanism loses other subjects."""

TITLES = {
    "one": "One subject",
    "two": "Two subjects",
    "three": "Three subjects",
    "background": "One subject and a background picture",
    "long": "One subject, three times the trained length",
    "long-two": "Two subjects, three times the trained length",
}


def report(folder: Path, budget: Budget) -> str:
    """All tables, of what is measured so far."""
    scored = Scored(folder)
    arms = measured_arms(scored, budget)
    parts = ["## What each costs\n\n" + _costs(arms, folder, budget)]
    for group in GROUPS:
        parts.append(f"## {TITLES[group]}\n\n" + _group_table(scored, arms, budget, group))
        parts.append("Differences from masked guidance:\n\n" + _pairs(scored, arms, budget, group))
    parts.append("## Against training")
    parts.extend(
        f"### {TITLES[group]}, against training\n\n" + _over_steps(scored, arms, folder, budget, group)
        for group in EARLY
    )
    parts.append("## Order on the canvas\n\n" + _orders(scored, arms, budget))
    parts.append("## Drift\n\n" + _drift(scored, arms, budget))
    return "\n\n".join(parts) + "\n"


def measured_arms(scored: Scored, budget: Budget) -> dict[Arm, list[int]]:
    """The arms with the seeds of theirs that are measured to the end."""
    found = {arm: [seed for seed in budget.seeds if scored.order(arm, seed).exists()] for arm in ARMS}
    return {arm: seeds for arm, seeds in found.items() if seeds}


def mean_over_seeds(runs: Sequence[Sequence[VideoScore]], measure: Measure) -> Mean:
    """Over all videos; those of one task, which all seeds share, are drawn together."""
    return mean_of([[value for run in runs for value in measure(run[n])] for n in range(len(runs[0]))])


def pooled(scored: Scored, arm: Arm, seeds: Sequence[int], step: int, group: str) -> list[list[VideoScore]]:
    """An arm's scores, one entry for each seed."""
    return [scored.load(arm, seed, step, group) for seed in seeds]


def _group_table(scored: Scored, arms: dict[Arm, list[int]], budget: Budget, group: str) -> str:
    measures = MEASURES | UNPAIRED
    rows = []
    for arm, seeds in arms.items():
        runs = pooled(scored, arm, seeds, budget.marks[-1], group)
        rows.append([arm.name, *(mean_over_seeds(runs, measure).short() for measure in measures.values())])
        for seed, run in zip(seeds, runs, strict=True):
            means = [mean_of([measure(video) for video in run]) for measure in measures.values()]
            rows.append([f"&nbsp; seed {seed}", *("" if m.value is None else f"{m.value:.2f}" for m in means)])
    for name in BASELINES:
        videos = load_scores(scored.baseline(name, group))
        rows.append([name, *(mean_over_seeds([videos], measure).short() for measure in measures.values())])
    return _table(["", *measures], rows)


def _pairs(scored: Scored, arms: dict[Arm, list[int]], budget: Budget, group: str) -> str:
    """Of equal task and seed. Bold is what all of several seeds agree on and whose interval leaves zero out."""
    first, *others = arms
    rows = []
    for arm in others:
        seeds = [seed for seed in arms[arm] if seed in arms[first]]
        own, theirs = (pooled(scored, each, seeds, budget.marks[-1], group) for each in (first, arm))
        columns = [_differences(theirs, own, measure) for measure in MEASURES.values()]
        rows.append([arm.name, *(_marked(mean, each) for mean, each in columns)])
        for number, seed in enumerate(seeds):
            values = [each[number].value for _, each in columns]
            rows.append([f"&nbsp; seed {seed}", *("" if value is None else f"{value:+.2f}" for value in values)])
    return _table(["", *MEASURES], rows)


def _differences(
    theirs: Sequence[Sequence[VideoScore]], own: Sequence[Sequence[VideoScore]], measure: Measure
) -> tuple[Mean, list[Mean]]:
    """Over all seeds, and of each."""
    runs = [
        [_minus(measure(a), measure(b)) for a, b in zip(run, mine, strict=True)]
        for run, mine in zip(theirs, own, strict=True)
    ]
    pooled_tasks = [[value for run in runs for value in run[n]] for n in range(len(runs[0]))]
    return mean_of(pooled_tasks), [mean_of(run) for run in runs]


def _minus(theirs: Values, ours: Values) -> list[float]:
    return [a - b for a, b in zip(theirs, ours, strict=True) if a is not None and b is not None]


def _marked(mean: Mean, seeds: Sequence[Mean]) -> str:
    signs = {float(np.sign(seed.value or 0.0)) for seed in seeds}
    certain = mean.low is not None and mean.high is not None and (mean.low > 0 or mean.high < 0)
    text = mean.short("+.2f")
    return f"**{text}**" if certain and len(seeds) > 1 and signs in ({-1.0}, {1.0}) else text


def _costs(arms: dict[Arm, list[int]], folder: Path, budget: Budget) -> str:
    rows = [
        [arm.name, str(tokens(arm, folder, budget)), f"{training_flops(arm, folder, budget, budget.marks[-1]):.3g}"]
        for arm in arms
    ]
    return _table(["", "tokens of an example, on average", f"FLOP of {budget.marks[-1]} steps"], rows)


def _over_steps(scored: Scored, arms: dict[Arm, list[int]], folder: Path, budget: Budget, group: str) -> str:
    """After each mark, with identity's difference from masked guidance: of equal step, task and seed."""
    first = next(iter(arms))
    rows = []
    for arm, seeds in arms.items():
        shared = [seed for seed in seeds if seed in arms[first]]
        for step in budget.marks:
            runs = pooled(scored, arm, seeds, step, group)
            own, theirs = (pooled(scored, each, shared, step, group) for each in (first, arm))
            difference = "" if arm == first else _marked(*_differences(theirs, own, MEASURES["identity"]))
            means = [mean_over_seeds(runs, measure).short() for measure in MEASURES.values()]
            rows.append([arm.name, str(step), f"{training_flops(arm, folder, budget, step):.3g}", difference, *means])
    return _table(["", "steps", "FLOP", "identity, from masked guidance", *MEASURES], rows)


def _orders(scored: Scored, arms: dict[Arm, list[int]], budget: Budget) -> str:
    """What reversing the references changes: the pixels, beside what other noise changes; then what is measured."""
    rows, compared = [], ("identity", "motion right")
    for arm, seeds in arms.items():
        changes = [scored.changes(arm, seed) for seed in seeds]
        order, noise = (
            mean_of([list(each) for each in zip(*values, strict=True)])
            for values in ([c.order for c in changes], [c.noise for c in changes])
        )
        given, reverse = (pooled(scored, arm, seeds, budget.marks[-1], group) for group in ("two", REVERSED))
        cells = [order.short(), noise.short()]
        for name in compared:
            both = (mean_over_seeds(runs, MEASURES[name]).value for runs in (given, reverse))
            change, _ = _differences(reverse, given, MEASURES[name])
            cells.append(", ".join(f"{value:.2f}" for value in both) + f": {change.short('+.2f')}")
        rows.append([arm.name, *cells])
    pixels = ["pixels change by reversing the references", "by other noise"]
    return _table(["", *pixels, *(f"{name}: as given, reversed, change" for name in compared)], rows)


def _drift(scored: Scored, arms: dict[Arm, list[int]], budget: Budget) -> str:
    """Identity in the first and the last quarter of the frames, at both lengths."""
    groups = ("one", "long", "two", "long-two")
    rows = []
    for arm, seeds in arms.items():
        cells = []
        for group in groups:
            runs = pooled(scored, arm, seeds, budget.marks[-1], group)
            ends = [
                [quarters(by_frame(subject)) for run in runs for subject in run[n].subjects]
                for n in range(len(runs[0]))
            ]
            first, last = (mean_of([[end[k] for end in video] for video in ends]).value for k in (0, 1))
            change = mean_of([[last - first for first, last in video] for video in ends])
            cells.append(f"{first:.2f}, {last:.2f}: {change.short('+.2f')}")
        rows.append([arm.name, *cells])
    return _table(["identity in the first and last quarter: change", *groups], rows)


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """The means of the first and of the last quarter of the frames."""
    size = max(1, len(values) // 4)
    return sum(values[:size]) / size, sum(values[-size:]) / size


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
