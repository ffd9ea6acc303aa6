"""The camera: where it looks in each frame, and what that does to pictures of subjects and of places.

Lengths are in half heights of the frame, with x to the right and y down from its middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from magref.synthetic.plans import FOOT, Plan, SubjectPlan
from magref.synthetic.traits import Floats, Traits

MARGIN = 1.36
"""How much larger than the frame a moving camera's backdrop is."""


def camera_paths(plans: Sequence[Plan], traits: Traits, frames: int) -> Floats:
    """(B, F, 3): where the camera looks, x and y in half heights, and its zoom."""
    time = np.linspace(0, 1, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    far, zoom = traits.uniform("camera far", 0.16, 0.26), traits.uniform("camera zoom", 1.22, 1.34)
    result = np.zeros((len(plans), frames, 3), np.float32)
    result[..., 2] = 1
    for b, plan in enumerate(plans):
        kind, sweep = plan.camera, far[b] * (2 * time - 1)
        if kind.startswith("pan"):
            result[b, :, 0] = sweep * (-1 if kind == "pan left" else 1)
        elif kind.startswith("tilt"):
            result[b, :, 1] = 0.7 * sweep * (-1 if kind == "tilt up" else 1)
        elif kind.startswith("zoom"):
            result[b, :, 2] = 1 + (zoom[b] - 1) * (time if kind == "zoom in" else 1 - time)
    return result


def on_screen(subjects: Sequence[SubjectPlan], camera: Floats, feet: Floats) -> Floats:
    """Where P subjects are in each frame; `camera` (P, F, 3), `feet` (P,) in half sides below a picture's middle.

    Returns:
        (P, F, 5): x, y and half size on the screen in half heights, rotation, and the scale of the width.
    """
    paths = [np.stack([t.x, t.y, t.size, t.rotation, t.squash], axis=1) for t in (s.track for s in subjects)]
    at = np.stack(paths)
    stands = np.array([s.stands for s in subjects])
    at[..., 1] += (stands * (FOOT - feet))[:, None] * at[..., 2]  # on the ground that the plan put it on
    at[..., :2] = (at[..., :2] - camera[..., :2]) * camera[..., 2:]
    at[..., 2] *= camera[..., 2]
    return at


def placed(tiles: torch.Tensor, subjects: Sequence[SubjectPlan], at: Floats, height: int, width: int) -> torch.Tensor:
    """Each subject's picture where it is in each frame.

    `tiles` (P, POSES, 4, S, S) premultiplied, `at` (P, F, 5) as `on_screen` has it.

    Returns:
        (P, 4, F, H, W) premultiplied.
    """
    count, frames = at.shape[:2]
    poses = torch.tensor(np.stack([s.track.pose for s in subjects]), device=tiles.device)
    chosen = tiles[torch.arange(count, device=tiles.device)[:, None], poses].flatten(0, 1)  # (P * F, 4, S, S)
    x, y, size, turn, squash = (at[..., n].reshape(-1) for n in range(5))
    cos, sin = np.cos(turn), np.sin(turn)
    # affine_grid's own coordinates run from -1 to 1 over the frame; the picture's likewise.
    aspect = width / height
    half = size * squash
    across = np.stack([cos * aspect / half, sin / half, -(cos * x + sin * y) / half], axis=1)
    down = np.stack([-sin * aspect / size, cos / size, (sin * x - cos * y) / size], axis=1)
    grid = _grid(np.stack([across, down], axis=1), height, width, tiles.device)
    seen = F.grid_sample(chosen, grid, padding_mode="zeros", align_corners=False)
    return seen.view(count, frames, 4, height, width).transpose(1, 2)


def panned(picture: torch.Tensor, camera: Floats, height: int, width: int) -> torch.Tensor:
    """What a camera (B, F, 3) sees of pictures (B, 3, h, w) that are larger than the frame: (B, 3, F, H, W)."""
    count, frames = camera.shape[:2]
    share, aspect = height / picture.shape[-2], width / height
    x, y, zoom = (camera[..., n].reshape(-1) for n in range(3))
    zero = np.zeros_like(x)
    across = np.stack([share / zoom, zero, x / aspect * share], axis=1)
    down = np.stack([zero, share / zoom, y * share], axis=1)
    grid = _grid(np.stack([across, down], axis=1), height, width, picture.device)
    grid = grid.view(count, frames * height, width, 2)
    seen = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
    return seen.view(count, 3, frames, height, width)


def _grid(theta: Floats, height: int, width: int, device: torch.device | str) -> torch.Tensor:
    """(N, H, W, 2): where each pixel looks; `theta` (N, 2, 3) maps the frame's -1 to 1 to the picture's."""
    maps = torch.from_numpy(theta.astype(np.float32)).to(device)
    return F.affine_grid(maps, [len(maps), 1, height, width], align_corners=False)
