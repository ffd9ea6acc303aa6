"""The ablation's results as pictures: learning curves, drift, and frames as in the paper's figure 9."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magref.evaluation.ablation.budget import ARMS, GROUPS, Budget
from magref.evaluation.ablation.measuring import Scored
from magref.evaluation.ablation.tables import MEASURES, mean_over_seeds, pooled
from magref.evaluation.ablation.training import training_flops
from magref.evaluation.measures.score import VideoScore
from magref.evaluation.plots import plain, pyplot, save
from magref.evaluation.tasks import tasks
from magref.outputs import write_image
from magref.sheets import stacked_strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#1f6feb", "#d1242f", "#8250df", "#57606a")


def draw_figures(folder: Path, budget: Budget) -> None:
    """Write curves.png, drift.png and one frames-<group>.png for each group."""
    scored = Scored(folder)
    save(_curves(scored, folder, budget), folder / "curves.png")
    save(_drift(scored, budget), folder / "drift.png")
    for group in GROUPS:
        write_image(_frames(scored, budget, group), folder / f"frames-{group}.png", overwrite=True)


def _curves(scored: Scored, folder: Path, budget: Budget) -> Figure:
    """Identity against steps and against FLOPs, for one and two subjects, with intervals."""
    figure, axes = pyplot().subplots(2, 2, figsize=(9, 6), sharey="row", layout="constrained")
    for row, group in enumerate(("one", "two")):
        for arm, colour in zip(ARMS, _COLOURS, strict=True):
            means = [
                mean_over_seeds(pooled(scored, budget, arm, step, group), MEASURES["identity"]) for step in budget.marks
            ]
            flops = [training_flops(arm, folder, budget, step) for step in budget.marks]
            for axis, x in zip(axes[row], (budget.marks, flops), strict=True):
                value, low, high = (np.array([getattr(m, k) for m in means], float) for k in ("value", "low", "high"))
                axis.plot(x, value, marker="o", color=colour, label=arm.name)
                axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes[row][0].set_ylabel(f"identity, {group} subject{'s' if group == 'two' else ''}")
    axes[1][0].set_xlabel("steps")
    axes[1][1].set_xlabel("training FLOP")
    axes[0][0].legend(frameon=False, fontsize=9)
    for axis in axes.flat:
        plain(axis)
    return figure


def _drift(scored: Scored, budget: Budget) -> Figure:
    """Identity frame by frame, at the trained length and at three times that length."""
    figure, axes = pyplot().subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    for axis, group, title in zip(axes, ("one", "long"), ("trained length", "three times that length"), strict=True):
        for arm, colour in zip(ARMS, _COLOURS, strict=True):
            rows = _by_frame(pooled(scored, budget, arm, budget.marks[-1], group))
            axis.plot(np.arange(1, rows.shape[1] + 1), np.nanmean(rows, axis=0), color=colour, label=arm.name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("frame")
        plain(axis)
    axes[0].set_ylabel("identity, one subject")
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def _by_frame(runs: list[list[VideoScore]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(subjects of all videos, frames); not a number where a subject is not found."""
    return np.array(
        [
            [np.nan if value is None else value for value in subject.by_frame]
            for run in runs
            for video in run
            for subject in video.subjects
        ],
        dtype=np.float64,
    )


def _frames(scored: Scored, budget: Budget, group: str) -> Image.Image:
    """For the first tasks, what each arm's first seed made of them."""
    strips, labels = [], []
    for number, task in enumerate(tasks(GROUPS[group], budget.shown)):
        for arm in ARMS:
            strips.append(Image.open(f"{scored.frames(arm, budget.seeds[0], group)}-{number}.png"))
            labels.append(f"{arm.name}: {task.caption}" if arm == ARMS[0] else arm.name)
    return stacked_strips(strips, labels)
