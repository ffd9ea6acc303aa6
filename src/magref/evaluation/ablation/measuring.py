"""Scores of the ablation's runs; what is measured already stays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magref.evaluation.ablation.budget import GROUPS, Arm, Budget
from magref.evaluation.ablation.training import pipelines
from magref.evaluation.measures.score import VideoScore
from magref.evaluation.tasks import generator, load_scores, measure, tasks
from magref.outputs import writing
from magref.pipeline import MagrefPipeline

EARLY = ("one", "two")
"""The groups that are measured after every mark; the others after the last one."""


@dataclass(frozen=True)
class Scored:
    """Where the scores of an ablation's folder lie."""

    folder: Path

    def place(self, arm: Arm, seed: int, step: int, group: str) -> Path:
        """The scores of a group."""
        return self.folder / "scores" / arm.folder(seed) / str(step) / f"{group}.jsonl"

    def order(self, arm: Arm, seed: int) -> Path:
        """What the order of the references changes; the last thing that is measured of a run."""
        return self.folder / "scores" / arm.folder(seed) / "order.json"

    def frames(self, arm: Arm, seed: int, group: str) -> Path:
        """Where the frames of a group's first videos lie after the last mark, without `-<i>.png`."""
        return self.folder / "scores" / arm.folder(seed) / "frames" / group

    def load(self, arm: Arm, seed: int, step: int, group: str) -> list[VideoScore]:
        """The scores of a group's videos, in the tasks' order."""
        return load_scores(self.place(arm, seed, step, group))

    def changes(self, arm: Arm, seed: int) -> list[float]:
        """For each video of two subjects, the root mean square difference, colours from 0 to 1, to the one that the
        same noise gives with the references in reverse order; after the last mark.
        """
        changes: list[float] = json.loads(self.order(arm, seed).read_text(encoding="utf-8"))
        return changes


def measure_run(arm: Arm, seed: int, folder: Path, budget: Budget) -> None:
    """Measure one run after each mark."""
    scored = Scored(folder)
    last = budget.marks[-1]
    if scored.order(arm, seed).exists():
        return
    for step, pipeline in pipelines(arm, seed, folder, budget):
        for name in GROUPS if step == last else EARLY:
            group = GROUPS[name]
            measure(
                generator(pipeline, num_frames=budget.num_frames(group)),
                tasks(group, budget.cases),
                scored.place(arm, seed, step, name),
                frames=scored.frames(arm, seed, name),
                shown=budget.shown if step == last else 0,
            )
            print(f"{arm.folder(seed)} step {step}: measured {name}", flush=True)
        if step == last:
            changes = _order_changes(pipeline, budget)
            with writing(scored.order(arm, seed), overwrite=True) as temporary:
                temporary.write_text(json.dumps(changes), encoding="utf-8")


def _order_changes(pipeline: MagrefPipeline, budget: Budget) -> list[float]:
    group = GROUPS["two"]
    wanted, num_frames = tasks(group, budget.cases), budget.num_frames(group)
    given, reverse = (generator(pipeline, num_frames=num_frames, reverse=reverse) for reverse in (False, True))
    return [_difference(given(task, n)[0], reverse(task, n)[0]) for n, task in enumerate(wanted)]


def _difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(np.sqrt(np.mean((one / 255.0 - other / 255.0) ** 2)))
