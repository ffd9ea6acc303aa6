"""The world rendered: batches of clips with everything that is known about them.

Sample `i` of a seed and a split shows the same in any batch and on any device, to rounding. `plans` decides what
happens; `surroundings`, `camera` and `layers` are what a clip is composed of, `subject_pictures` who is in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from magref.synthetic.camera import camera_paths
from magref.synthetic.layers import Layers, lay_subjects
from magref.synthetic.pixels import to_uint8
from magref.synthetic.plans import SIMPLE, Plan, WorldConfig, plan_scene
from magref.synthetic.scenes import Scenes, SceneTruth, SubjectTruth, boxes_of, truth_of
from magref.synthetic.splits import Split, check_split
from magref.synthetic.subject_pictures import pose_pictures, reference_pictures
from magref.synthetic.surroundings import backdrops, foreground, other_view
from magref.synthetic.traits import Traits
from magref.synthetic.views import lit, plain_view

__all__ = ["SIMPLE", "SceneTruth", "Scenes", "SubjectTruth", "WorldConfig", "render_plans", "render_scenes"]

_VISIBLE = 0.5
"""A pixel belongs to a subject whose share of it is at least this."""


def render_scenes(
    indices: Sequence[int],
    *,
    frames: int,
    height: int,
    width: int,
    seed: int = 0,
    split: str = "train",
    config: WorldConfig | None = None,
    device: torch.device | str = "cpu",
) -> Scenes:
    """Render the samples with these indices.

    Raises:
        InputError: there is no such split.
    """
    known = check_split(split)
    config = config or WorldConfig()
    plans = [
        plan_scene(i, frames=frames, height=height, width=width, seed=seed, split=known, config=config) for i in indices
    ]
    return render_plans(
        plans, frames=frames, height=height, width=width, seed=seed, split=known, config=config, device=device
    )


def render_plans(
    plans: Sequence[Plan], *, frames: int, height: int, width: int, seed: int, split: Split, config: WorldConfig,
    device: torch.device | str = "cpu",
) -> Scenes:  # fmt: skip
    """Render scenes that were decided before, see `plan_scene`."""
    with _few_threads(device):
        return _render(plans, frames, height, width, seed, split, config, device)


@contextlib.contextmanager
def _few_threads(device: torch.device | str) -> Iterator[None]:
    """One thread on a CPU: parts are small, and what threads cost each time is more than they save.

    Measured: 17 clips a second with one thread, 6 with two; more cores are used by more processes.
    """
    before = torch.get_num_threads()
    if torch.device(device).type == "cpu" and before > 1:
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
    else:
        yield


def _render(
    plans: Sequence[Plan], frames: int, height: int, width: int, seed: int, split: Split, config: WorldConfig,
    device: torch.device | str,
) -> Scenes:  # fmt: skip
    traits = Traits([plan.index for plan in plans], f"scene {seed} {split}")
    camera = camera_paths(plans, traits, frames)
    light = lit(plain_view(len(plans)), traits) if config.lighting else plain_view(len(plans))
    behind, places = backdrops(plans, light, other_view(traits, config), camera, height, width, device)
    layers = Layers(behind)
    seen = lay_subjects(layers, plans, pose_pictures(plans, light, height, device), camera, config)
    front = foreground(plans, traits, light, height, width, device)
    if front is not None:
        rows, picture = front
        seen.alphas[rows] *= (1 - layers.lay(rows, picture[:, :, None].expand(-1, -1, frames, -1, -1)))[:, None]

    masks = seen.alphas >= _VISIBLE
    return Scenes(
        frames=to_uint8(layers.video.transpose(1, 2)),
        masks=masks,
        boxes=boxes_of(masks),
        visible=(seen.alphas.sum(dim=(-2, -1)) / seen.whole.clamp(min=1e-3)).clamp(0, 1),
        centres=seen.centres,
        references=reference_pictures(plans, seed, split, config, device),
        backgrounds=to_uint8(places),
        truths=tuple(truth_of(plan) for plan in plans),
    )
