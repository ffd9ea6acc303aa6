"""The paper's ablation at a small size: `python -m magref.evaluation.ablation BASE FOLDER`.

One plain image-to-video model is trained first; that one checkpoint is then adapted with each mechanism at equal
budget, on one or two subjects without backgrounds (paper 4.1: one identity with objects), over several seeds, and once
more without shuffling. Three subjects, a background picture and three times the length are then zero-shot. Every stage
is kept in the folder, and a second call goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magref.evaluation.measures.score import Case, CaseSubject, score_videos
from magref.evaluation.statistics import Mean, mean_of
from magref.models import quiet_libraries
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.settings import Mechanism
from magref.synthetic.motions import BASIC
from magref.synthetic.plans import WorldConfig
from magref.synthetic.samples import SampleSettings, cut_out, write_samples
from magref.synthetic.world import render_scenes
from magref.training.checkpoints import checkpoints
from magref.training.nano import DEFAULTS
from magref.training.parallel import Team
from magref.training.plan import forward_flops
from magref.training.recipe import Recipe, parse_recipe
from magref.training.setup import make_cache, prepare
from magref.training.trainer import Report, Run, train
from magref.video import Frames

MECHANISMS: tuple[Mechanism, ...] = ("masked", "vanilla", "tokenwise")
_WORLD = WorldConfig(motions=BASIC, camera=0.0, occlusion=0.0)


@dataclass(frozen=True)
class Budget:
    """How much of everything; equal for all mechanisms."""

    base_samples: int = 4000
    base_steps: int = 6000
    samples: int = 2400
    steps: int = 2000
    marks: tuple[int, ...] = (250, 500, 1000, 2000)
    """Steps after which each run is measured."""
    seeds: tuple[int, ...] = (0, 1)
    canvases: int = 3
    batch: int = 16
    cases: int = 50
    """Videos of each group."""
    compile: bool = True


QUICK = Budget(
    base_samples=12,
    base_steps=2,
    samples=12,
    steps=4,
    marks=(2, 4),
    seeds=(0,),
    canvases=1,
    batch=2,
    cases=2,
    compile=False,
)
"""Everything once, for nobody's eyes: does it run?"""


@dataclass(frozen=True)
class Arm:
    """One run: a mechanism, a seed, and whether references were shuffled over the cells."""

    mechanism: Mechanism
    seed: int
    shuffle: bool = True

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.mechanism}-{self.seed}" + ("" if self.shuffle else "-unshuffled")


@dataclass(frozen=True)
class Task:
    """What a video is made of, and what it is measured against."""

    caption: str
    references: tuple[Reference, ...]
    case: Case


GROUPS = {
    "one": (1, False),
    "two": (2, False),
    "three": (3, False),
    "background": (1, True),
}
"""Subjects, and whether a background reference comes with them; three and a background are zero-shot."""


def arms(budget: Budget) -> list[Arm]:
    """Every mechanism with every seed, and masked guidance without shuffling."""
    return [Arm(mechanism, seed) for mechanism in MECHANISMS for seed in budget.seeds] + [
        Arm("masked", seed, shuffle=False) for seed in budget.seeds
    ]


def make_worlds(folder: Path, budget: Budget) -> None:
    """The samples of both trainings."""
    kinds = {
        "base-world": (_WORLD.model_copy(update={"max_subjects": 2, "pictures": 0.5}), 0, budget.base_samples),
        "world": (_WORLD.model_copy(update={"max_subjects": 2, "pictures": 0.0}), 1, budget.samples),
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
model: {{base: "{base}", fresh: true, text_encoder: true}}
data:
  dataset: "{folder / "base-world"}"
  cache: "{folder / "base-latents"}"
  canvases: 1
  condition: first-frame
optim: {{steps: {budget.base_steps}, learning_rate: 1e-3, {_same(budget)}}}
validation: {{every: 1000, samples: 16, videos: 6}}
save_every: 250
""",
        "of the ablation's base",
    )


def arm_recipe(arm: Arm, folder: Path, budget: Budget) -> Recipe:
    """One mechanism from the plain model's weights."""
    every = int(np.gcd.reduce(budget.marks))
    cache = f"latents-{arm.mechanism}" + ("" if arm.shuffle else "-unshuffled")
    return parse_recipe(
        f"""
model: {{base: "{folder / "base-run" / "model"}", mechanism: {arm.mechanism}, text_encoder: true}}
data:
  dataset: "{folder / "world"}"
  cache: "{folder / cache}"
  canvases: {budget.canvases}
  shuffle: {str(arm.shuffle).lower()}
optim: {{steps: {budget.steps}, learning_rate: 5e-4, {_same(budget)}}}
validation: {{every: {every}, samples: 16, videos: 0}}
save_every: {every}
keep: {budget.steps // every}
seed: {arm.seed}
""",
        f"of {arm.name}",
    )


def _same(budget: Budget) -> str:
    """What all runs have in common."""
    return (
        f"batch: {budget.batch}, optimizer: muon, schedule: trapezoid, warmup_steps: 100, ema: 0.99, precision: fp32, "
        f"compile: {str(budget.compile).lower()}"
    )


def train_base(base: Path, folder: Path, budget: Budget) -> None:
    """The plain image-to-video model, at `folder/base-run/model`."""
    recipe = base_recipe(base, folder, budget)
    make_cache(recipe, on_sample=_tell)
    train(recipe, folder / "base-run", report=_report("base"))


def train_arm(arm: Arm, folder: Path, budget: Budget) -> None:
    """One mechanism's run, at `folder/runs`."""
    recipe = arm_recipe(arm, folder, budget)
    make_cache(recipe, on_sample=_tell)  # seeds share one
    train(recipe, folder / "runs" / arm.name, report=_report(arm.name))


def pipelines(arm: Arm, folder: Path, budget: Budget) -> Iterator[tuple[int, MagrefPipeline]]:
    """The averaged model of a run after each of the budget's marks."""
    place = folder / "runs" / arm.name
    run = Run(prepare(arm_recipe(arm, folder, budget)), place, Team(0, 1, torch.device("cpu")))
    try:
        for step, _ in checkpoints(place):
            if step in budget.marks:
                run.restore(step)
                with run.averaged(), torch.no_grad():
                    run.models.eval()
                    yield step, run.pipeline()
    finally:
        run.close()


def tasks(group: str, count: int) -> list[Task]:
    """Held-out identities in held-out combinations, the same for every arm."""
    subjects, with_background = GROUPS[group]
    config = _WORLD.model_copy(update={"max_subjects": 3, "pictures": 1.0 if with_background else 0.0, "references": 1})
    found: list[Task] = []
    start = 0
    while len(found) < count:
        indices = list(range(start, start + 16))
        start += 16
        scenes = render_scenes(indices, frames=5, height=64, width=96, seed=7, split="held-out", config=config)
        for row, truth in enumerate(scenes.truths):
            if len(truth.subjects) != subjects or (with_background and truth.place is None):
                continue
            known = [
                CaseSubject(
                    Reference(cut_out(scenes.references[row, n, 0]), role=one.role, label=one.label), one.motion
                )
                for n, one in enumerate(truth.subjects)
            ]
            references = [one.reference for one in known if isinstance(one.reference, Reference)]
            behind: Image.Image | str = truth.colour
            if with_background:
                behind = Image.fromarray(scenes.backgrounds[row].permute(1, 2, 0).numpy())
                references.append(Reference(behind, role="background"))
            found.append(Task(truth.caption, tuple(references), Case(tuple(known), behind)))
    return found[:count]


def generate(
    pipeline: MagrefPipeline, task: Task, seed: int, *, frames: int | None = None, reverse: bool = False
) -> tuple[Frames, Case]:
    """One video, uint8 (F, H, W, 3), and its case with the canvas that was used.

    `reverse` gives the subjects' references in reverse order; the video should not depend on it.
    """
    subjects = [reference for reference in task.references if reference.role != "background"]
    behind = [reference for reference in task.references if reference.role == "background"]
    ordered = subjects[::-1] if reverse else subjects
    out = pipeline(task.caption, [*ordered, *behind], seed=seed, num_frames=frames, output_type="np")
    return (out.frames * 255).round().astype(np.uint8), replace(task.case, canvas=out.canvas.image)


def measure_arm(arm: Arm, folder: Path, budget: Budget) -> None:
    """Scores of one run after each mark, at `folder/scores/<arm>/`; those that are there already stay."""
    place = folder / "scores" / arm.name
    if (place / f"{budget.marks[-1]}.json").exists():
        return
    for step, pipeline in pipelines(arm, folder, budget):
        path = place / f"{step}.json"
        if path.exists():
            continue
        last = step == budget.marks[-1]
        result: dict[str, dict[str, Mean]] = {}
        for group in GROUPS if last else ("one", "two"):
            result[group] = _score(pipeline, tasks(group, budget.cases), place / f"{step}-{group}.npz")
        if last:
            long = 3 * (DEFAULTS.num_frames - 1) + 1
            result["one, three times as long"] = _score(
                pipeline, tasks("one", budget.cases), place / f"{step}-long.npz", frames=long
            )
            result["two, other order"] = _score(pipeline, tasks("two", budget.cases), None, reverse=True)
            result["two"]["change with the order"] = _order_change(pipeline, tasks("two", budget.cases))
        write_json(path, {group: {k: m.model_dump() for k, m in means.items()} for group, means in result.items()})
        print(f"{arm.name} step {step}: measured", flush=True)


def _score(
    pipeline: MagrefPipeline,
    wanted: list[Task],
    curves: Path | None,
    *,
    frames: int | None = None,
    reverse: bool = False,
) -> dict[str, Mean]:
    """Means over the videos of these tasks; `curves` keeps identity by frame, (videos, frames), for the drift."""
    made = [generate(pipeline, task, seed, frames=frames, reverse=reverse) for seed, task in enumerate(wanted)]
    scores = score_videos(made)
    if curves is not None:
        rows = [
            [np.nan if value is None else value for value in subject.by_frame]
            for video in scores.videos
            for subject in video.subjects
        ]
        with writing(curves, overwrite=True) as temporary:
            np.savez(temporary, identity=np.array(rows, dtype=np.float32))
    return dict(scores.means)


def _order_change(pipeline: MagrefPipeline, wanted: list[Task]) -> Mean:
    """Root mean square difference (colours from 0 to 1) between the videos of both orders, same noise."""
    changes: list[float] = []
    for seed, task in enumerate(wanted):
        one, other = (generate(pipeline, task, seed, reverse=reverse)[0] / 255.0 for reverse in (False, True))
        changes.append(float(np.sqrt(np.mean((one - other) ** 2))))
    return mean_of(changes)


def training_flops(arm: Arm, folder: Path, budget: Budget, step: int) -> float:
    """Of a run's first steps, forward and backward; token-wise concatenation adds each reference's tokens."""
    setting = prepare(arm_recipe(arm, folder, budget))
    latent = setting.buckets.shapes()[0].latent(setting.base.strides)
    tokens = latent.tokens(setting.base.strides)
    if arm.mechanism == "tokenwise":
        mean = sum(sum(s.role != "background" for s in sample.subjects) for sample in setting.samples)
        tokens += round(mean / len(setting.samples) * tokens / latent.frames)
    return 3 * forward_flops(setting.stored.config, tokens, setting.base.defaults.text_tokens) * budget.batch * step


def _tell(name: str, problem: str | None) -> None:
    if problem is not None:
        print(f"passed over {name}: {problem}", flush=True)


def _report(name: str) -> Report:
    def report(step: int, figures: Mapping[str, float]) -> None:
        shown = "  ".join(f"{key} {value:.4f}" for key, value in figures.items() if "loss" in key or key == "step_s")
        if step % 100 == 0:
            print(f"{name} step {step}  {shown}", flush=True)

    return report


def tables(folder: Path, budget: Budget) -> str:
    """All scores as Markdown: a table for each group after the last step, and one over the steps."""
    scores = {
        arm: {step: json.loads((folder / "scores" / arm.name / f"{step}.json").read_text()) for step in budget.marks}
        for arm in arms(budget)
    }
    names = ("identity", "nearest", "motion_right", "count_right", "background", "layout_left", "change with the order")
    parts = []
    for group in [*GROUPS, "one, three times as long", "two, other order"]:
        rows = [
            [arm.name, *(_cell(by_step[budget.marks[-1]][group].get(name)) for name in names)]
            for arm, by_step in scores.items()
        ]
        parts.append(f"## {group}\n\n" + _table(["arm", *names], rows))
    rows = [
        [arm.name, str(step), f"{training_flops(arm, folder, budget, step):.3g}"]
        + [_cell(by_step[step][group].get("identity")) for group in ("one", "two")]
        for arm, by_step in scores.items()
        for step in budget.marks
    ]
    parts.append("## Over the steps\n\n" + _table(["arm", "steps", "FLOP", "identity, one", "identity, two"], rows))
    return "\n\n".join(parts) + "\n"


def _cell(mean: dict[str, float] | None) -> str:
    return "" if mean is None else str(Mean.model_validate(mean))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_json(path: Path, value: object) -> None:
    """A stage's result, whole or not at all."""
    with writing(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")


def main() -> None:
    """Run the stages that are missing."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.ablation", description=__doc__)
    parser.add_argument("base", type=Path, help="a model folder with random weights, from magref.training.nano")
    parser.add_argument("folder", type=Path, help="everything that is made")
    parser.add_argument("--quick", action="store_true", help="a few steps and videos of everything")
    options = parser.parse_args()
    budget = QUICK if options.quick else Budget()
    quiet_libraries()
    make_worlds(options.folder, budget)
    train_base(options.base, options.folder, budget)
    for arm in arms(budget):
        train_arm(arm, options.folder, budget)
        measure_arm(arm, options.folder, budget)
    report = options.folder / "ablation.md"
    with writing(report, overwrite=True) as temporary:
        temporary.write_text(tables(options.folder, budget), encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
