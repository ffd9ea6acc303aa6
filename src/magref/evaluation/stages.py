"""A run's model at several points of its training."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import torch

from magref.pipeline import MagrefPipeline
from magref.training.checkpoints import checkpoints
from magref.training.parallel import Team
from magref.training.recipe import Recipe
from magref.training.setup import prepare
from magref.training.trainer import Run


def averaged_models(recipe: Recipe, place: Path, marks: Collection[int]) -> Iterator[tuple[int, MagrefPipeline]]:
    """The averaged model after each of the steps `marks` of the run at `place` that has a checkpoint, in order.

    Each pipeline is good until the next one is asked for.
    """
    run = Run(prepare(recipe), place, Team(0, 1, torch.device("cpu")))
    try:
        for step, _ in checkpoints(place):
            if step in marks:
                run.restore(step)
                with run.averaged(), run.pipeline() as pipeline, torch.no_grad():
                    run.models.eval()
                    yield step, pipeline
    finally:
        run.close()
