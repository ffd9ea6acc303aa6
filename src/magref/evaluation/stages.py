"""Runs as parts of a comparison: each trained to its end, and its model at several points on the way."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch

from magref.errors import InputError, OutputError
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.placement import choose_dtype
from magref.training.checkpoints import checkpoints
from magref.training.parallel import Team
from magref.training.recipe import Recipe
from magref.training.setup import prepare
from magref.training.trainer import Finished, Run


def claim(folder: Path, made_with: Mapping[str, str | float]) -> None:
    """Keep in the folder what its results are made with, so that a second call goes on only with the same.

    Raises:
        OutputError: it holds results of something else.
    """
    place = folder / "made_with.json"
    if place.exists():
        before = json.loads(place.read_text(encoding="utf-8"))
        if other := [name for name, value in made_with.items() if before.get(name) != value]:
            raise OutputError(f"{folder} holds what was made with other {' and '.join(other)}; choose another folder")
        return
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(
            f"{folder} is not empty, and does not say what its files were made with; choose another folder"
        )
    with writing(place) as temporary:
        temporary.write_text(json.dumps(made_with, indent=1) + "\n", encoding="utf-8")


def finish(run: Finished) -> None:
    """Go on only where a run has come to its end.

    Raises:
        SystemExit: it was asked to stop before, and so is everything after it.
    """
    if run.output is None:
        raise SystemExit(f"stopped after step {run.step}, which is saved; the same command goes on from there")


def averaged_models(recipe: Recipe, place: Path, marks: Collection[int]) -> Iterator[tuple[int, MagrefPipeline]]:
    """The averaged model after each of the steps `marks` that the recipe has, of the run at `place`, in order.

    Stored and loaded again, in the precision that generation takes on this CPU.

    Raises:
        InputError: a checkpoint is gone.
    """
    kept = {step for step, _ in checkpoints(place)}
    if gone := {mark for mark in marks if mark <= recipe.optim.steps} - kept:
        raise InputError(f"{place} has no checkpoint of step {min(gone)} any more; remove it and train it again")
    run = Run(prepare(recipe), place, Team(0, 1, torch.device("cpu")))
    try:
        for step, _ in checkpoints(place):
            if step in marks:
                run.restore(step)
                with run.averaged(), run.pipeline() as pipeline, tempfile.TemporaryDirectory() as folder:
                    pipeline.save_pretrained(folder)
                    made = MagrefPipeline.from_pretrained(folder, torch_dtype=choose_dtype(torch.device("cpu")))
                made.set_progress_bar_config(disable=True)
                yield step, made
    finally:
        run.close()
