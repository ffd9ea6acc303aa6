"""A tiny random pipeline, and one way to call it: what the tests of `MagrefPipeline` share."""

import torch

from magref import MagrefPipeline
from tiny import GOLDEN, tiny_components

REFS = [GOLDEN / "refs" / f"{i}.png" for i in range(3)]
PROMPT = "a dog runs"
SMALL = {"height": 32, "width": 64, "num_frames": 9, "num_inference_steps": 2, "seed": 7}
LATENT = (16, 3, 4, 8)


def make_pipeline(image_encoder: bool = True, **changes) -> MagrefPipeline:
    made = MagrefPipeline(**tiny_components(image_encoder) | changes)
    made.set_progress_bar_config(disable=True)
    return made


def run(pipe, *args, output_type="latent", **changes):
    return pipe(*(args or (PROMPT, REFS)), output_type=output_type, **SMALL | changes).frames


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())
