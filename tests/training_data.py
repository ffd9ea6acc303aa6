"""A small model folder, a small dataset and a recipe for them: what the tests of training share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from magref import MagrefPipeline
from magref.dataset.format import DatasetInfo
from magref.dataset.store import DatasetWriter, NewPicture, NewSubject
from magref.settings import GenerationDefaults
from magref.training.parallel import Team
from magref.training.recipe import Recipe, parse_recipe
from magref.training.trainer import Finished, train
from tiny import tiny_components, tiny_transformer

WIDTH, HEIGHT, FRAMES = 48, 32, 5
CPU = Team(0, 1, torch.device("cpu"))

DEFAULTS = GenerationDefaults(
    height=HEIGHT, width=WIDTH, num_frames=FRAMES, num_inference_steps=2, drop_frames=0, fps=8.0, negative_prompt=""
)


def save_base(folder: Path, **transformer: Any) -> Path:
    """A random model in diffusers' layout; `transformer` changes sizes."""
    parts = tiny_components() | {"transformer": tiny_transformer(**transformer)}
    pipeline = MagrefPipeline(**parts, generation_defaults=DEFAULTS.model_dump())
    pipeline.save_pretrained(folder)
    return folder


def disc(colour: str, size: int = 24) -> Image.Image:
    """A disc on transparent ground."""
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((2, 2, size - 3, size - 3), fill=colour)
    return image


def save_dataset(
    folder: Path, count: int = 6, *, width: int = WIDTH, height: int = HEIGHT, frames: int = 6, prefix: str = "s"
) -> Path:
    """Clips of a disc that moves to the right, each with three pictures of it, a box and a background."""
    colours = ["red", "green", "blue", "orange", "purple", "black", "brown", "pink"]
    with DatasetWriter(folder, DatasetInfo(name="discs")) as writer:
        for number in range(count):
            colour = colours[number % len(colours)]
            clip = np.full((frames, height, width, 3), 230, dtype=np.uint8)
            for t in range(frames):
                clip[t, 8:24, 4 + 3 * t : 16 + 3 * t] = disc(colour).convert("RGB").getpixel((12, 12))
            writer.add(
                f"{prefix}{number}",
                f"A {colour} disc moves right.",
                clip,
                [
                    NewSubject("disc", "person", [NewPicture(disc(colour, 20 + k), score=float(k)) for k in range(3)]),
                    NewSubject("box", "object", [NewPicture(Image.new("RGBA", (20, 16), colour))]),
                    NewSubject("wall", "background", [NewPicture(Image.new("RGBA", (width, height), "white"))]),
                ],
                fps=8.0,
            )
    return folder


def make_recipe(base: Path, dataset: Path, *changes: str) -> Recipe:
    """A recipe for both of a few quick steps; each change is "section.key=value"."""
    text = f"""
model: {{base: "{base}"}}
data: {{dataset: "{dataset}", workers: 1}}
optim:
  steps: 4
  batch: 2
  learning_rate: 1e-3
  precision: fp32
  ema: 0.9
  warmup_steps: 2
validation: {{samples: 0}}
loggers: []
save_every: 2
"""
    return parse_recipe(text, "the test's recipe", changes)


def run(recipe: Recipe, folder: Path) -> Finished:
    """Train in this process."""
    return train(recipe, folder, team=CPU)


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
