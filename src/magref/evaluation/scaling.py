"""How the embedded model's kind grows with size and training: `python -m magref.evaluation.scaling VAE FOLDER`.

Models of several sizes learn the same samples by the recipe `nano`, at a constant learning rate, so that the moving
average at any step stands for a run that ends there. Validation losses and videos of held-out identities are measured
along the way. Everything is kept in the folder; a second call goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from diffusers import AutoencoderKLWan

from magref.errors import InputError
from magref.evaluation.ablation.tables import MEASURES, mean_over_seeds
from magref.evaluation.plots import plain, pyplot, save
from magref.evaluation.stages import averaged_models, finish
from magref.evaluation.statistics import Mean
from magref.evaluation.tasks import Group, generator, load_scores, measure, tasks
from magref.models import quiet_libraries
from magref.outputs import writing
from magref.sizes import forward_flops
from magref.synthetic.plans import STAGED
from magref.synthetic.samples import SampleSettings, write_samples
from magref.training.nano import READING_STEPS, make_text, write_base
from magref.training.recipe import Recipe, read_recipe
from magref.training.setup import make_cache, prepare
from magref.training.trainer import train

SHOWN = ("seen", "identity", "nearest", "motion right", "count right", "background")
"""Of one subject, as the ablation has them: whom nobody finds has failed. See docs/measures.md."""
_FITTED = 4
FURTHER = (4, 16)
"""For so many times the largest compute, the fitted law is read off."""


@dataclass(frozen=True)
class Size:
    """A transformer: blocks, heads of 48 channels, and how long it learns."""

    name: str
    layers: int
    heads: int
    steps: int


@dataclass(frozen=True)
class Budget:
    """What all sizes have in common."""

    sizes: tuple[Size, ...] = (Size("small", 4, 3, 2400), Size("nano", 6, 4, 1600), Size("large", 10, 5, 800))
    samples: int = 3000
    frames: int = 9
    """Of each clip: its first half, where directions are learnt soonest (docs/training.md)."""
    every: int = 200
    """Steps between validation losses."""
    marks: tuple[int, ...] = (400, 800, 1600, 2400)
    """Steps after which videos are made and measured."""
    videos: int = 24
    reading_steps: int = READING_STEPS
    """Of the text encoder, before all sizes begin with it."""
    changes: tuple[str, ...] = ()
    """Of the recipe."""


QUICK = Budget(
    sizes=(Size("small", 1, 2, 4), Size("nano", 2, 2, 4), Size("large", 2, 3, 2)),
    samples=12,
    every=2,
    marks=(2, 4),
    videos=2,
    reading_steps=2,
    changes=("optim.compile=false", "optim.batch=2", "data.canvases=1", "validation.samples=2"),
)
"""Everything once, for nobody's eyes: does it run?"""


@dataclass(frozen=True)
class Point:
    """One size after some steps; `figures` are means over its videos, where any were made."""

    size: str
    step: int
    flops: float
    loss: float
    figures: Mapping[str, Mean]


def recipe_of(size: Size, folder: Path, budget: Budget) -> Recipe:
    """The recipe `nano` for another size."""
    changes = [
        f"model.base={folder / 'bases' / size.name}",
        f"data.dataset={folder / 'world'}",
        f"data.cache={folder / 'latents'}",
        f"data.frames=[{budget.frames}]",
        f"optim.steps={size.steps}",
        "optim.schedule=constant",
        "optim.ema=0.99",
        f"validation.every={budget.every}",
        "validation.samples=64",
        "validation.videos=0",
        f"save_every={budget.every}",
        f"keep={size.steps}",
        *budget.changes,
    ]
    return read_recipe("nano", changes)


def run(vae: Path, folder: Path, budget: Budget) -> None:
    """Train and measure what is missing."""
    for _ in write_samples(folder / "world", SampleSettings(world=STAGED), count=budget.samples):
        pass
    bases = {size: folder / "bases" / size.name for size in budget.sizes}
    missing = [size for size, base in bases.items() if not (base / "model_index.json").exists()]
    text = make_text(budget.reading_steps) if missing else None
    for size in missing:
        assert text is not None
        weights = AutoencoderKLWan.from_pretrained(vae)
        write_base(weights, *text, bases[size], layers=size.layers, heads=size.heads)
    for size in budget.sizes:
        recipe, place = recipe_of(size, folder, budget), folder / "runs" / size.name
        make_cache(recipe, on_sample=lambda name, problem: None)  # all sizes share one
        finish(train(recipe, place, report=partial(_tell, size.name)))
        for step, pipeline in averaged_models(recipe, place, budget.marks):
            measure(
                generator(pipeline, num_frames=budget.frames),
                tasks(Group(1), budget.videos),
                _scores(folder, size, step),
            )
            print(f"{size.name} step {step}: measured", flush=True)


def points(folder: Path, budget: Budget) -> list[Point]:
    """All that was measured, size by size.

    Raises:
        InputError: a mark has videos and no validation loss, since the run was stopped between the two.
    """
    found = []
    for size in budget.sizes:
        recipe = recipe_of(size, folder, budget)
        each = step_flops(recipe)
        for line in (folder / "runs" / size.name / "log.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "validation_loss" not in entry:
                continue
            step, place = entry["step"], _scores(folder, size, entry["step"])
            scores = [load_scores(place)] if step in budget.marks and place.exists() else []
            figures = {name: mean_over_seeds(scores, MEASURES[name]) for name in SHOWN if scores}
            found.append(Point(size.name, step, each * step, entry["validation_loss"], figures))
        measured = {mark for mark in budget.marks if _scores(folder, size, mark).exists()}
        if lost := measured - {point.step for point in found if point.size == size.name}:
            place = folder / "runs" / size.name
            raise InputError(
                f"the run {size.name} was stopped at step {min(lost)} before its loss was measured; remove {place} and "
                "train it again"
            )
    return found


def step_flops(recipe: Recipe) -> float:
    """Of one step, forward and backward."""
    setting = prepare(recipe)
    tokens = setting.buckets.shapes()[0].latent(setting.base.strides).tokens(setting.base.strides)
    each = forward_flops(setting.stored.config, tokens, setting.base.defaults.text_tokens)
    return 3 * each * recipe.optim.batch * recipe.optim.accumulate


def power_law(flops: Sequence[float], losses: Sequence[float]) -> tuple[float, float]:
    """(a, b) of loss = a * flops^-b through the points that no other one beats with as little compute.

    Only those of the last two doublings count: at the beginning a loss falls faster.

    Raises:
        InputError: there are fewer than three of these.
    """
    best, front = np.inf, []
    for compute, loss in sorted(zip(flops, losses, strict=True)):
        if loss < best:
            best = loss
            front.append((np.log(compute), np.log(loss)))
    front = [point for point in front if point[0] >= front[-1][0] - np.log(_FITTED) - 1e-9]
    if len(front) < 3:
        raise InputError(f"{len(front)} points do not show how the loss falls with compute; measure more often")
    x, y = np.array(front).T
    slope, start = np.polyfit(x, y, 1)
    return float(np.exp(start)), float(-slope)


def report(found: Sequence[Point]) -> str:
    """The points as a table, and where the law that fits them leads."""
    rows = [
        "| size | steps | TFLOP | validation loss | " + " | ".join(SHOWN) + " |",
        "|---" * (4 + len(SHOWN)) + "|",
    ]
    for point in found:
        figures = [point.figures.get(name) for name in SHOWN]
        shown = " | ".join("" if mean is None else mean.short() for mean in figures)
        rows.append(f"| {point.size} | {point.step} | {point.flops / 1e12:.1f} | {point.loss:.4f} | {shown} |")
    a, b = power_law([p.flops for p in found], [p.loss for p in found])
    most = max(point.flops for point in found)
    further = ", ".join(f"{a * (times * most) ** -b:.4f} at {times} times the compute" for times in FURTHER)
    law = f"Loss = {a:.3g} x FLOP^-{b:.3f} along the front's last two doublings"
    rows += ["", f"{law}; read off further: {further} (an extrapolation)."]
    return "\n".join(rows) + "\n"


def draw(found: Sequence[Point], path: Path) -> None:
    """Loss and figures against training compute, a line for each size."""
    plt = pyplot()
    drawn = SHOWN[1:]
    figure, grid = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    axes = grid.flatten()
    for name in dict.fromkeys(point.size for point in found):
        own = [point for point in found if point.size == name]
        axes[0].plot([p.flops for p in own], [p.loss for p in own], marker=".", label=name)
        for axis, key in zip(axes[1:], drawn, strict=True):
            made = [(point.flops, point.figures[key]) for point in own if key in point.figures]
            low, value, high = np.array([(m.low, m.value, m.high) for _, m in made], dtype=float).reshape(-1, 3).T
            flops = [compute for compute, _ in made]
            axis.errorbar(flops, value, (value - low, high - value), marker="o", capsize=2)
            axis.set_ylim(-0.03, 1.03)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_minor_formatter("{x:.1f}")
    for axis, title in zip(axes, ("validation loss", *drawn), strict=True):
        axis.set_xscale("log")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("training FLOP")
        plain(axis)
    axes[0].legend(frameon=False, fontsize=9)
    save(figure, path)


def _scores(folder: Path, size: Size, step: int) -> Path:
    return folder / "scores" / size.name / f"{step}.jsonl"


def _tell(name: str, step: int, figures: Mapping[str, float]) -> None:
    if "validation_loss" in figures:
        print(f"{name} step {step}  validation loss {figures['validation_loss']:.4f}", flush=True)


def main() -> None:
    """Do what is missing; write scaling.md and scaling.png."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.scaling", description=__doc__)
    parser.add_argument("vae", type=Path, help="the folder of an autoencoder, from magref.training.autoencoder")
    parser.add_argument("folder", type=Path, help="everything that is made")
    parser.add_argument("--quick", action="store_true", help="a few steps and videos of everything")
    options = parser.parse_args()
    budget = QUICK if options.quick else Budget()
    quiet_libraries()
    run(options.vae, options.folder, budget)
    found = points(options.folder, budget)
    with writing(options.folder / "scaling.md", overwrite=True) as temporary:
        temporary.write_text(report(found), encoding="utf-8")
    draw(found, options.folder / "scaling.png")
    print(options.folder / "scaling.md")


if __name__ == "__main__":
    main()
