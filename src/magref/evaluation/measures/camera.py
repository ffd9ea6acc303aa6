"""How the camera moved: shift and zoom of what lies around the subjects, from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

Floats = npt.NDArray[np.float64]

_ROUNDS = 4
_LEAST_GRADIENT = 0.012
"""Root mean square of the background's slope, per pixel, below which there is nothing to hold on to."""
_OUTLIER = 0.06
_LIMIT = 0.06
"""The largest shift, in heights, from one frame to the next that is believed."""


@dataclass(frozen=True)
class Camera:
    """Where the first frame's points are in each frame: `scale` * (point - middle) + middle + `shift`.

    `scale` (F,); `shift` (F, 2) x and y in pixels; the middle is the frame's.
    """

    scale: Floats
    shift: Floats

    def undo(self, points: Floats, size: tuple[int, int]) -> Floats:
        """(F, 2) points of each frame -> where they would be in the first frame's view; `size` (width, height)."""
        middle = np.array(size) / 2
        return (points - middle - self.shift) / self.scale[:, None] + middle


def camera_of(frames: torch.Tensor, outside: torch.Tensor) -> Camera | None:
    """The camera's course.

    Each frame is registered to the one before by least squares over the slopes of the picture (Lucas and Kanade), with
    what fits badly weighing less.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        outside: (F, H, W) bool, where no subject is.

    Returns:
        None where the background is too plain to tell.
    """
    grey = F.avg_pool2d(frames.mean(dim=1, keepdim=True), 3, 1, 1, count_include_pad=False)
    count, _, height, width = grey.shape
    slope_x, slope_y = _slopes(grey[:, 0])
    steepness = (slope_x.square() + slope_y.square())[outside]
    if not len(steepness) or float(steepness.mean().sqrt()) < _LEAST_GRADIENT:
        return None
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    scale, shift = np.ones(count), np.zeros((count, 2))
    for n in range(1, count):
        both = outside[n - 1] & outside[n]
        tx, ty, zoom = _step(grey[n - 1], grey[n, 0], both, x, y)
        if max(abs(tx), abs(ty)) > _LIMIT * height or abs(zoom) > _LIMIT:
            tx = ty = zoom = 0.0
        scale[n] = scale[n - 1] * (1 + zoom)
        shift[n] = shift[n - 1] * (1 + zoom) + (tx, ty)
    return Camera(scale, shift)


def _step(
    before: torch.Tensor, now: torch.Tensor, where: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> tuple[float, float, float]:
    """How points moved from `before` (1, H, W) to `now` (H, W): point + (tx, ty) + zoom * (point - middle)."""
    tx = ty = zoom = 0.0
    if int(where.sum()) < 100:
        return tx, ty, zoom
    for _ in range(_ROUNDS):
        moved = _moved(before, tx, ty, zoom)
        gx, gy = _slopes(moved[None])
        rest = now - moved
        weight = where / (1 + (rest / _OUTLIER).square())
        columns = torch.stack([gx[0], gy[0], gx[0] * x + gy[0] * y], dim=-1).reshape(-1, 3)
        weighted = columns * weight.reshape(-1, 1)
        matrix = weighted.T @ columns
        ridge = torch.diag(torch.diag(matrix)) * 1e-4 + torch.eye(3) * 1e-6
        d = torch.linalg.solve(matrix + ridge, -(weighted.T @ rest.reshape(-1)))
        tx, ty, zoom = tx + float(d[0]), ty + float(d[1]), zoom + float(d[2])
    return tx, ty, zoom


def _moved(picture: torch.Tensor, tx: float, ty: float, zoom: float) -> torch.Tensor:
    """(1, H, W) -> (H, W): every point moved as said."""
    height, width = picture.shape[-2:]
    s = 1 + zoom
    theta = torch.tensor([[[1 / s, 0, -tx / s * 2 / width], [0, 1 / s, -ty / s * 2 / height]]], dtype=torch.float32)
    grid = F.affine_grid(theta, [1, 1, height, width], align_corners=False)
    return F.grid_sample(picture[None], grid, padding_mode="border", align_corners=False)[0, 0]


def _slopes(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, H, W) -> the differences of both neighbours, halved, in x and y."""
    padded = F.pad(pictures[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    return (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2, (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
