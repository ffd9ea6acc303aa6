"""The ablation's results as pictures: learning curves, drift, and frames as in the paper's figure 9."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magref.evaluation.ablation.budget import GROUPS, Arm, Budget
from magref.evaluation.ablation.measuring import EARLY, REVERSED, Scored
from magref.evaluation.ablation.tables import (
    MEASURES,
    TITLES,
    Measure,
    by_frame,
    mean_over_seeds,
    measured_arms,
    pooled,
)
from magref.evaluation.ablation.training import training_flops
from magref.evaluation.plots import plain, pyplot, save
from magref.evaluation.statistics import Mean
from magref.evaluation.tasks import tasks
from magref.outputs import write_image
from magref.sheets import stacked_strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#1f6feb", "#d1242f", "#8250df", "#57606a")


def draw_figures(folder: Path, budget: Budget) -> None:
    """Write curves.png, drift.png, frames-order.png, and one frames-<group>.png for each group, of what is measured."""
    scored = Scored(folder)
    arms = measured_arms(scored, budget)
    save(_curves(scored, arms, folder, budget), folder / "curves.png")
    save(_drift(scored, arms, budget), folder / "drift.png")
    for group in GROUPS:
        write_image(_frames(scored, arms, budget, group), folder / f"frames-{group}.png", overwrite=True)
    write_image(_orders(scored, arms, budget), folder / "frames-order.png", overwrite=True)


def _curves(scored: Scored, arms: dict[Arm, list[int]], folder: Path, budget: Budget) -> Figure:
    """Identity against steps and against FLOPs, with intervals."""
    figure, axes = pyplot().subplots(len(EARLY), 2, figsize=(9, 3 * len(EARLY)), sharey="row", layout="constrained")
    for row, group in enumerate(EARLY):
        for (arm, seeds), colour in zip(arms.items(), _COLOURS, strict=False):
            means = [
                mean_over_seeds(pooled(scored, arm, seeds, step, group), MEASURES["identity"]) for step in budget.marks
            ]
            flops = [training_flops(arm, folder, budget, step) for step in budget.marks]
            for axis, x in zip(axes[row], (budget.marks, flops), strict=True):
                _line(axis, x, means, colour, arm.name)
        axes[row][0].set_ylabel("identity")
        axes[row][0].set_title(TITLES[group], fontsize=10, loc="left")
    axes[-1][0].set_xlabel("steps")
    axes[-1][1].set_xlabel("training FLOP")
    axes[0][0].legend(frameon=False, fontsize=9)
    for axis in axes.flat:
        plain(axis)
    return figure


def _drift(scored: Scored, arms: dict[Arm, list[int]], budget: Budget) -> Figure:
    """Identity frame by frame, at the trained length and at three times that length."""
    figure, axes = pyplot().subplots(2, 2, figsize=(9, 6), sharey="row", layout="constrained")
    for row, groups in zip(axes, (("one", "long"), ("two", "long-two")), strict=True):
        for axis, group in zip(row, groups, strict=True):
            for (arm, seeds), colour in zip(arms.items(), _COLOURS, strict=False):
                runs = pooled(scored, arm, seeds, budget.marks[-1], group)
                frames = range(len(runs[0][0].subjects[0].by_frame))
                means = [mean_over_seeds(runs, _in_frame(number)) for number in frames]
                _line(axis, [number + 1 for number in frames], means, colour, arm.name)
            axis.set_title(TITLES[group], fontsize=10)
            plain(axis)
        row[0].set_ylabel("identity")
    for axis in axes[1]:
        axis.set_xlabel("frame")
    axes[0][0].legend(frameon=False, fontsize=9)
    return figure


def _in_frame(number: int) -> Measure:
    return lambda video: [by_frame(subject)[number] for subject in video.subjects]


def _line(axis: Any, x: Sequence[float], means: Sequence[Mean], colour: str, label: str) -> None:
    value, low, high = (np.array([getattr(mean, key) for mean in means], float) for key in ("value", "low", "high"))
    axis.plot(x, value, marker="o", markersize=4, color=colour, label=label)
    axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def _frames(scored: Scored, arms: dict[Arm, list[int]], budget: Budget, group: str) -> Image.Image:
    """For the first tasks, what each arm's first seed made of them."""
    strips, labels = [], []
    for number, task in enumerate(tasks(GROUPS[group], budget.shown)):
        for place, (arm, seeds) in enumerate(arms.items()):
            strips.append(Image.open(f"{scored.frames(arm, seeds[0], group)}-{number}.png"))
            labels.append(arm.name if place else f"{arm.name}: {task.caption}")
    return stacked_strips(strips, labels)


def _orders(scored: Scored, arms: dict[Arm, list[int]], budget: Budget) -> Image.Image:
    """For the first tasks, what masked guidance made of the references as given and in reverse order."""
    strips, labels = [], []
    for number, task in enumerate(tasks(GROUPS["two"], budget.shown)):
        rows = [(arm, seeds[0], group) for arm, seeds in arms.items() for group in ("two", REVERSED)]
        for place, (arm, seed, group) in enumerate(row for row in rows if row[0].mechanism == "masked"):
            strips.append(Image.open(f"{scored.frames(arm, seed, group)}-{number}.png"))
            name = arm.name + (", reversed" if group == REVERSED else "")
            labels.append(name if place else f"{name}: {task.caption}")
    return stacked_strips(strips, labels)
