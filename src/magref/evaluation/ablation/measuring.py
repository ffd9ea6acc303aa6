"""Scores of the ablation's runs; what is measured already stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magref.evaluation.ablation.budget import GROUPS, Arm, Budget
from magref.evaluation.ablation.training import pipelines
from magref.evaluation.baselines import pasted, still_canvas
from magref.evaluation.measures.score import VideoScore
from magref.evaluation.tasks import Made, System, Task, generator, load_scores, measure, tasks
from magref.geometry import VideoShape
from magref.outputs import writing
from magref.settings import GenerationDefaults, Record

EARLY = ("one", "two", "three", "background")
"""The groups that are measured after every mark; the others after the last one."""
BASELINES = {"still canvas": still_canvas, "pasted": pasted}
"""What no mechanism has to beat or could: see `baselines.py`."""
REVERSED = "two-reversed"
"""The tasks of two subjects once more, with the same noise and the references in reverse order on the canvas."""


class Changes(Record):
    """For each video of two subjects, the root mean square difference, colours from 0 to 1, to the one that the same
    noise gives with the references in reverse order; and, as a scale for it, to the one that other noise gives.
    """

    order: tuple[float, ...]
    noise: tuple[float, ...]


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

    def baseline(self, name: str, group: str) -> Path:
        """The scores of one of `BASELINES`."""
        return self.folder / "scores" / "baselines" / name / f"{group}.jsonl"

    def changes(self, arm: Arm, seed: int) -> Changes:
        """Of a run after the last mark."""
        return Changes.model_validate_json(self.order(arm, seed).read_bytes())


def measure_baselines(folder: Path, base: GenerationDefaults, budget: Budget) -> None:
    """Measure the systems without a model; `base` has the videos' size."""
    for group_name, group in GROUPS.items():
        shape = VideoShape(budget.num_frames(group), base.height, base.width)
        for name, system in BASELINES.items():
            measure(system(shape), tasks(group, budget.cases), Scored(folder).baseline(name, group_name))


def measure_run(arm: Arm, seed: int, folder: Path, budget: Budget) -> None:
    """Measure one run after each mark."""
    scored = Scored(folder)
    last = budget.marks[-1]
    if scored.order(arm, seed).exists():
        return
    for step, pipeline in pipelines(arm, seed, folder, budget):
        pair = tasks(GROUPS["two"], budget.cases)
        given, reverse = (
            _once(generator(pipeline, num_frames=budget.num_frames(GROUPS["two"]), reverse=r)) for r in (False, True)
        )
        for name in GROUPS if step == last else EARLY:
            group = GROUPS[name]
            measure(
                given if name == "two" else generator(pipeline, num_frames=budget.num_frames(group)),
                tasks(group, budget.cases),
                scored.place(arm, seed, step, name),
                frames=scored.frames(arm, seed, name),
                shown=budget.shown if step == last else 0,
            )
            print(f"{arm.folder(seed)} step {step}: measured {name}", flush=True)
        if step == last:
            place, frames = scored.place(arm, seed, step, REVERSED), scored.frames(arm, seed, REVERSED)
            measure(reverse, pair, place, frames=frames, shown=budget.shown)
            changes = _changes(given, reverse, pair)
            with writing(scored.order(arm, seed), overwrite=True) as temporary:
                temporary.write_text(changes.model_dump_json(), encoding="utf-8")


def _once(system: System) -> System:
    """The same, but what was made stays in memory."""
    made: dict[int, Made] = {}

    def make(task: Task, seed: int) -> Made:
        if seed not in made:
            made[seed] = system(task, seed)
        return made[seed]

    return make


def _changes(given: System, reverse: System, wanted: list[Task]) -> Changes:
    order, noise = [], []
    for number, task in enumerate(wanted):
        video = given(task, number)[0]
        order.append(_difference(video, reverse(task, number)[0]))
        noise.append(_difference(video, given(task, number + len(wanted))[0]))
    return Changes(order=tuple(order), noise=tuple(noise))


def _difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(np.sqrt(np.mean((one / 255.0 - other / 255.0) ** 2)))
