"""The ablation's data and trainings; what is in the folder already is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from magref.checkpoints.layout import MODEL_INDEX
from magref.evaluation.ablation.budget import Arm, Budget
from magref.evaluation.stages import averaged_models, finish
from magref.pipeline import MagrefPipeline
from magref.sizes import forward_flops
from magref.synthetic.plans import STAGED
from magref.synthetic.samples import SampleSettings, write_samples
from magref.training.nano import write_base
from magref.training.recipe import Recipe, parse_recipe
from magref.training.setup import make_cache, prepare
from magref.training.trainer import Report, train

_LEVELS = "{flow_shift: 20, level_spread: 2}"
"""Many of the highest noise levels, where words decide, and enough of the low ones, where details come."""


def make_base(folder: Path) -> Path:
    """The embedded model's autoencoder and text encoder, with a transformer of its size and random weights."""
    base = folder / "base"
    if not (base / MODEL_INDEX).exists():
        embedded = MagrefPipeline.from_pretrained()
        write_base(embedded.vae.to(torch.bfloat16), embedded.tokenizer, embedded.text_encoder, base)
    return base


def make_worlds(folder: Path, budget: Budget) -> None:
    """The samples of both trainings."""
    kinds = {
        "base-world": (STAGED.model_copy(update={"pictures": 0.5}), 0, budget.base_samples),
        "world": (STAGED.model_copy(update={"pictures": 0.0}), 1, budget.samples),
    }
    for name, (config, seed, count) in kinds.items():
        settings = SampleSettings(fps=8.0, seed=seed, world=config)
        for number, _ in enumerate(write_samples(folder / name, settings, count=count), 1):
            if number % 500 == 0:
                print(f"{name}: {number} of {count}", flush=True)


def base_recipe(base: Path, folder: Path, budget: Budget) -> Recipe:
    """Plain image-to-video from random weights: the clip's own first frame, all of it marked."""
    return parse_recipe(
        f"""
model: {{base: "{base}", fresh: true}}
data:
  dataset: "{folder / "base-world"}"
  cache: "{folder / "base-latents"}"
  frames: [{budget.frames}]
  canvases: 1
  condition: first-frame
optim: {{steps: {budget.base_steps}, learning_rate: 1.5e-3, {_same(budget)}}}
objective: {_LEVELS}
validation: {{every: 1000, samples: 16, videos: 6}}
save_every: 250
""",
        "of the ablation's base",
    )


def arm_recipe(arm: Arm, seed: int, folder: Path, budget: Budget) -> Recipe:
    """One mechanism from the plain model's weights."""
    every = int(np.gcd.reduce(budget.marks))
    cache = f"latents-{arm.mechanism}" + ("" if arm.shuffle else "-unshuffled")
    return parse_recipe(
        f"""
model: {{base: "{folder / "base-run" / "model"}", mechanism: {arm.mechanism}}}
data:
  dataset: "{folder / "world"}"
  cache: "{folder / cache}"
  frames: [{budget.frames}]
  canvases: {budget.canvases}
  shuffle: {str(arm.shuffle).lower()}
  object_dropout: 0
  augment: {{mirror: 0, rotate_degrees: 0, shrink: 0, crop: 0, light: 0}}
optim: {{steps: {budget.steps}, learning_rate: 1e-3, {_same(budget)}}}
objective: {_LEVELS}
validation: {{every: {every}, samples: 16, videos: 0}}
save_every: {every}
keep: {budget.steps}
seed: {seed}
""",
        f"of {arm.folder(seed)}",
    )


def _same(budget: Budget) -> str:
    """What all runs have in common."""
    return (
        f"batch: {budget.batch}, optimizer: muon, muon_scale: 2, schedule: trapezoid, warmup_steps: 100, ema: 0.99, "
        f"precision: {budget.precision}, compile: {str(budget.compile).lower()}"
    )


def train_base(base: Path, folder: Path, budget: Budget) -> None:
    """The plain image-to-video model, at `folder/base-run/model`."""
    recipe = base_recipe(base, folder, budget)
    make_cache(recipe, on_sample=_tell)
    finish(train(recipe, folder / "base-run", report=_report("base")))


def train_arm(arm: Arm, seed: int, folder: Path, budget: Budget) -> None:
    """One mechanism's run, at `folder/runs`."""
    recipe = arm_recipe(arm, seed, folder, budget)
    make_cache(recipe, on_sample=_tell)  # seeds share one
    finish(train(recipe, folder / "runs" / arm.folder(seed), report=_report(arm.folder(seed))))


def pipelines(arm: Arm, seed: int, folder: Path, budget: Budget) -> Iterator[tuple[int, MagrefPipeline]]:
    """The averaged model of a run after each of the budget's marks."""
    return averaged_models(arm_recipe(arm, seed, folder, budget), folder / "runs" / arm.folder(seed), budget.marks)


def tokens(arm: Arm, folder: Path, budget: Budget) -> int:
    """Of one example's sequence: token-wise concatenation adds each reference's own."""
    setting = prepare(arm_recipe(arm, budget.seeds[0], folder, budget))
    latent = setting.buckets.shapes()[0].latent(setting.base.strides)
    count = latent.tokens(setting.base.strides)
    if arm.mechanism == "tokenwise":
        subjects = [sum(s.role != "background" for s in sample.subjects) for sample in setting.dataset]
        count += round(sum(subjects) / len(subjects) * count / latent.frames)
    return count


def training_flops(arm: Arm, folder: Path, budget: Budget, step: int) -> float:
    """Of a run's first steps, forward and backward."""
    setting = prepare(arm_recipe(arm, budget.seeds[0], folder, budget))
    each = forward_flops(setting.stored.config, tokens(arm, folder, budget), setting.base.defaults.text_tokens)
    return 3 * each * budget.batch * step


def _tell(name: str, problem: str | None) -> None:
    if problem is not None:
        print(f"passed over {name}: {problem}", flush=True)


def _report(name: str) -> Report:
    def report(step: int, figures: Mapping[str, float]) -> None:
        shown = "  ".join(f"{key} {value:.4f}" for key, value in figures.items() if "loss" in key or key == "step_s")
        if shown and step % 100 == 0:
            print(f"{name} step {step}  {shown}", flush=True)

    return report
