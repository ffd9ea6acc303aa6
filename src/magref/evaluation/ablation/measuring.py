"""Scores of the ablation's runs; each is a file, and those that are there already stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magref.evaluation.ablation.budget import Arm, Budget
from magref.evaluation.ablation.tasks import GROUPS, generate, tasks
from magref.evaluation.ablation.training import pipelines
from magref.evaluation.measures.score import VideoScore, score_video
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.settings import Record
from magref.sheets import video_strip

EARLY = ("one", "two")
"""The groups that are measured after every mark; the others after the last one."""


class GroupScores(Record):
    """One run's videos of one group of tasks, in the tasks' order.

    `order_change` has for each video the root mean square difference, colours from 0 to 1, to the one that the same
    noise gives with the references in reverse order.
    """

    videos: tuple[VideoScore, ...]
    order_change: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Scored:
    """Where the scores of an ablation's folder lie."""

    folder: Path

    def place(self, arm: Arm, seed: int, step: int, group: str) -> Path:
        """The scores of a group."""
        return self.folder / "scores" / arm.folder(seed) / str(step) / f"{group}.json"

    def strip(self, arm: Arm, seed: int, group: str, number: int) -> Path:
        """The picture of one video's frames, after the last mark."""
        return self.folder / "scores" / arm.folder(seed) / "frames" / f"{group}-{number}.png"

    def load(self, arm: Arm, seed: int, step: int, group: str) -> GroupScores:
        """What `measure_run` wrote."""
        return GroupScores.model_validate_json(self.place(arm, seed, step, group).read_text(encoding="utf-8"))


def measure_run(arm: Arm, seed: int, folder: Path, budget: Budget) -> None:
    """Measure one run after each mark."""
    scored = Scored(folder)
    last = budget.marks[-1]
    wanted = {step: list(GROUPS) if step == last else list(EARLY) for step in budget.marks}
    missing = {
        step: [group for group in groups if not scored.place(arm, seed, step, group).exists()]
        for step, groups in wanted.items()
    }
    if not any(missing.values()):
        return
    for step, pipeline in pipelines(arm, seed, folder, budget):
        for group in missing[step]:
            shown = budget.shown if step == last else 0
            scores = _measure_group(pipeline, group, budget, scored, (arm, seed), shown)
            path = scored.place(arm, seed, step, group)
            with writing(path, overwrite=True) as temporary:
                temporary.write_text(scores.model_dump_json(), encoding="utf-8")
            print(f"{arm.folder(seed)} step {step}: measured {group}", flush=True)


def _measure_group(
    pipeline: MagrefPipeline, name: str, budget: Budget, scored: Scored, run: tuple[Arm, int], shown: int
) -> GroupScores:
    group = GROUPS[name]
    videos, changes = [], []
    for number, task in enumerate(tasks(group, budget.cases)):
        video, case = generate(pipeline, task, number, length=group.length)
        videos.append(score_video(video, case))
        if number < shown:
            with writing(scored.strip(*run, name, number), overwrite=True) as temporary:
                video_strip(video, case.canvas, columns=6).save(temporary, format="PNG")
        if name == "two" and shown:
            changes.append(_difference(video, generate(pipeline, task, number, reverse=True)[0]))
    return GroupScores(videos=tuple(videos), order_change=tuple(changes) or None)


def _difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(np.sqrt(np.mean((one / 255.0 - other / 255.0) ** 2)))
