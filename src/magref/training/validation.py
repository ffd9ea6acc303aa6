"""Looking at a run: the loss on samples that it does not train on, and videos of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magref.geometry import VideoShape
from magref.outputs import write_image
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.sheets import stacked_strips, video_strip
from magref.training.objective import Example, Objective
from magref.training.parallel import Team
from magref.video import write_video

NOISE_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The loss is the mean over these: drawn at random, few samples would give a figure of chance."""


@torch.no_grad()
def validation_loss(objective: Objective, examples: Sequence[Example]) -> float:
    """The loss over examples that stay the same throughout the run, with the same noise."""
    losses = [objective.loss([example], sigma=level) for example in examples for level in NOISE_LEVELS]
    return float(torch.stack(losses).mean())


def validation_videos(
    pipeline: MagrefPipeline,
    cases: Sequence[tuple[str, list[Reference]]],
    folder: Path,
    shape: VideoShape,
    team: Team,
) -> Image.Image | None:
    """Generate each caption with its references and write the videos and a contact sheet, which is returned.

    Every process takes part, since the weights may be spread over all of them; the first one writes.
    """
    strips, labels = [], []
    for number, (caption, references) in enumerate(cases):
        out = pipeline(
            caption, references, seed=number, height=shape.height, width=shape.width, num_frames=shape.frames
        )
        if team.leads:
            frames = np.stack([np.asarray(frame) for frame in out.frames])
            write_video(frames, folder / f"{number}.mp4", fps=pipeline.defaults.fps, overwrite=True)
            strips.append(video_strip(frames, out.canvas.image))
            labels.append(caption)
    if not strips:
        return None
    sheet = stacked_strips(strips, labels)
    write_image(sheet, folder / "sheet.png", overwrite=True)
    return sheet
