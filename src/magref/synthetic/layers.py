"""The layers of a clip: subjects with their shadows, laid over each other from the back to the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from magref.synthetic.camera import on_screen, placed
from magref.synthetic.pixels import visible_boxes
from magref.synthetic.plans import Plan, SubjectPlan, WorldConfig
from magref.synthetic.traits import Floats


class Layers:
    """A video that is laid over layer by layer, from the back to the front; (B, 3, F, H, W)."""

    def __init__(self, video: torch.Tensor) -> None:
        self.video = video

    def lay(self, rows: torch.Tensor, paint: torch.Tensor) -> torch.Tensor:
        """Lay premultiplied RGBA (P, 4, F, H, W) over these rows; returns its alpha (P, F, H, W)."""
        cover = paint[:, 3]
        self.video[rows] = self.video[rows] * (1 - cover[:, None]) + paint[:, :3]
        return cover

    def shade(self, rows: torch.Tensor, subjects: Sequence[SubjectPlan], at: Floats, feet: Floats) -> None:
        """Soft shadows on the ground under those of P subjects that stand on it.

        `rows` (P,) are their clips, `at` (P, F, 5) is as `camera.on_screen` has it, `feet` (P,) in half sides.
        """
        device, (height, width) = self.video.device, self.video.shape[-2:]
        y = (torch.arange(height, device=device) + 0.5) / height * 2 - 1
        x = ((torch.arange(width, device=device) + 0.5) / width * 2 - 1) * (width / height)
        strength = torch.tensor([0.3 * s.stands for s in subjects], device=device)[:, None, None, None]
        wide = torch.tensor([0.32 if s.kind.family == "person" else 0.55 for s in subjects], device=device)[:, None]
        # A shadow stays on the ground under who jumps.
        drop = np.stack([s.track.y.max() - s.track.y if s.motion == "jumps" else 0 * s.track.y for s in subjects])
        floor = at[..., 1] + feet[:, None] * at[..., 2] + drop
        cx, cy, size = (
            torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)).to(device)
            for v in (at[..., 0], floor, at[..., 2])
        )
        dx = ((x - cx[..., None]) / (size * wide)[..., None])[:, :, None]  # (P, F, 1, W)
        dy = ((y - cy[..., None]) / (size * 0.1)[..., None])[..., None]  # (P, F, H, 1)
        dark = (1 - (dx.square() + dy.square())).clamp_(0, 1) * strength
        self.video[rows] *= (1 - dark)[:, None]


@dataclass(frozen=True)
class Seen:
    """Where subjects are seen in B clips.

    `alphas` (B, N, F, H, W) in [0, 1]; `whole` (B, N, F), how many pixels the outline would have if nothing hid it or
    cut it off; `centres` (B, N, F, 2), the middle of the picture in fractions of width and height; all float32.
    """

    alphas: torch.Tensor
    whole: torch.Tensor
    centres: torch.Tensor


def lay_subjects(
    layers: Layers, plans: Sequence[Plan], tiles: torch.Tensor, camera: Floats, config: WorldConfig
) -> Seen:
    """Lay the subjects of B clips over what is there, from the back to the front: the k-th nearest of all at once.

    `tiles` (P, POSES, 4, S, S) are premultiplied pictures of the first clip's subjects, then of the second's, and so
    on; `camera` (B, F, 3) is as `camera_paths` has it.
    """
    frames, height, width = layers.video.shape[2:]
    device = layers.video.device
    # How far below a picture's middle the feet are, in its half sides.
    feet = (visible_boxes(tiles[:, :, 3].amax(dim=1))[:, 3].cpu().numpy() / tiles.shape[-1] * 2 - 1).astype(np.float32)

    shape = (len(plans), config.max_subjects, frames)
    alphas = torch.zeros(*shape, height, width, device=device)
    whole = torch.zeros(shape, device=device)
    centres = np.zeros((*shape, 2), np.float32)
    places = [(b, n) for b, plan in enumerate(plans) for n in range(len(plan.subjects))]
    position = {place: row for row, place in enumerate(places)}
    depths = [sorted(range(len(plan.subjects)), key=lambda n: plan.subjects[n].depth) for plan in plans]
    for k in range(config.max_subjects):
        present = [(b, order[k]) for b, order in enumerate(depths) if k < len(order)]
        if not present:
            break
        picked = [position[place] for place in present]
        chosen, pictures = [plans[b].subjects[n] for b, n in present], tiles[picked]
        rows, columns = torch.tensor(present, device=device).unbind(dim=1)
        at = on_screen(chosen, camera[[b for b, _ in present]], feet[picked])
        if config.shadows and any(subject.stands for subject in chosen):
            layers.shade(rows, chosen, at, feet[picked])
        cover = layers.lay(rows, placed(pictures, chosen, at, height, width))
        alphas[rows] *= (1 - cover)[:, None]
        alphas[rows, columns] = cover
        whole[rows, columns] = _areas(pictures, chosen, at, height)
        for (b, n), path in zip(present, at, strict=True):
            centres[b, n] = path[:, :2] / 2 * np.array([height / width, 1]) + 0.5
    return Seen(alphas, whole, torch.from_numpy(centres).to(device))


def _areas(tiles: torch.Tensor, subjects: Sequence[SubjectPlan], at: Floats, height: int) -> torch.Tensor:
    """(P, F): how many pixels each subject's whole outline covers, at its size on the screen (P, F, 5)."""
    area = tiles[:, :, 3].sum(dim=(-2, -1))
    poses = torch.tensor(np.stack([s.track.pose for s in subjects]), device=tiles.device)
    scale = torch.tensor(at[..., 2] * height / tiles.shape[-1], device=tiles.device) ** 2
    squash = torch.tensor(np.stack([np.abs(s.track.squash) for s in subjects]), device=tiles.device)
    return area.gather(1, poses) * scale * squash
