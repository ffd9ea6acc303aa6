"""Whether the background is the one that was asked for: a picture, or a plain colour by name."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from magref.errors import InputError
from magref.synthetic.palette import COLOURS

_WINDOW_PX = 7
_C1, _C2 = 0.01**2, 0.03**2
_ZOOMS = (0.85, 0.92, 1.0, 1.07, 1.14, 1.22, 1.31, 1.4)
_SHIFTS = 7
"""Places tried in each direction, at each zoom, before the best one is refined."""
_GAINS = (0.55, 1.8)
_SHADES = (0.85, 0.92, 1.0, 1.08)
_LOOKED_AT = 5


def outside_boxes(boxes: list[torch.Tensor], height: int, width: int, *, margin: float = 0.12) -> torch.Tensor:
    """(F, H, W) bool: what lies in none of a frame's boxes (K, 4), each a little enlarged."""
    result = torch.ones(len(boxes), height, width, dtype=torch.bool)
    for frame, each in enumerate(boxes):
        for left, top, right, bottom in each.tolist():
            dx, dy = margin * (right - left) + 1, margin * (bottom - top) + 1
            rows = slice(max(0, round(top - dy)), max(0, round(bottom + dy)))
            result[frame, rows, max(0, round(left - dx)) : max(0, round(right + dx))] = False
    return result


def similarity_map(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) structural similarity of two greys in [0, 1] around each pixel (Wang et al. 2004, flat window)."""

    def mean(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, _WINDOW_PX, 1, _WINDOW_PX // 2, count_include_pad=False)

    a, b = mean(first), mean(second)
    aa, bb, ab = mean(first * first) - a * a, mean(second * second) - b * b, mean(first * second) - a * b
    return (2 * a * b + _C1) * (2 * ab + _C2) / ((a * a + b * b + _C1) * (aa + bb + _C2))


def background_similarity(frames: torch.Tensor, outside: torch.Tensor, picture: Image.Image) -> float | None:
    """Structural similarity with the background's picture, from -1 to 1, the mean over what lies outside the subjects.

    The picture is first cut to the frame's proportions, zoomed, shifted and lit (one gain for each channel) as fits
    each frame best, since a clip shows it in another framing and light. Five frames are looked at.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        outside: (F, H, W) bool.
        picture: the reference.

    Returns:
        None where subjects leave less than a twentieth of every frame free.
    """
    height, width = frames.shape[-2:]
    fitted = ImageOps.fit(picture.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    reference = torch.from_numpy(np.asarray(fitted, dtype=np.float32) / 255).permute(2, 0, 1)
    values = []
    for n in np.unique(np.linspace(0, len(frames) - 1, _LOOKED_AT).round().astype(int)).tolist():
        if float(outside[n].float().mean()) < 0.05:
            continue
        aligned = _lit(_aligned(reference, frames[n], outside[n]), frames[n], outside[n])
        similar = similarity_map(aligned.mean(dim=0)[None, None], frames[n].mean(dim=0)[None, None])
        values.append(float(similar[0, 0][outside[n]].mean()))
    return float(np.mean(values)) if values else None


def colour_share(frames: torch.Tensor, outside: torch.Tensor, colour: str) -> float | None:
    """The share, from 0 to 1, of what lies outside the subjects that is nearer to the named colour than to any other
    of the twelve names, each in its shades.

    Raises:
        InputError: the colour has no name here.
    """
    if colour not in COLOURS:
        raise InputError(f"the colour {colour!r} is unknown; use {', '.join(COLOURS)}")
    pixels = frames.permute(0, 2, 3, 1)[outside]
    if not len(pixels):
        return None
    table = torch.tensor(list(COLOURS.values()))[:, None] * torch.tensor(_SHADES)[:, None]  # (12, shades, 3)
    nearest = torch.cdist(pixels, table.reshape(-1, 3)).argmin(dim=1) // len(_SHADES)
    return float((nearest == list(COLOURS).index(colour)).float().mean())


def _aligned(reference: torch.Tensor, frame: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """The reference (3, H, W) zoomed and shifted to the frame: a coarse search, and two finer ones around its best."""
    best, step_zoom, step = (1.0, 0.0, 0.0), 0.04, 0.05
    candidates = [
        (zoom, x, y)
        for zoom in _ZOOMS
        for x in np.linspace(-1, 1, _SHIFTS) * max(zoom - 1, 0.12)
        for y in np.linspace(-1, 1, _SHIFTS) * max(zoom - 1, 0.12)
    ]
    for _ in range(3):
        best = candidates[int(_agreement(reference, frame, outside, candidates).argmax())]
        candidates = [
            (best[0] + a * step_zoom, best[1] + b * step, best[2] + c * step)
            for a in (-1, -0.5, 0, 0.5, 1) for b in (-1, -0.5, 0, 0.5, 1) for c in (-1, -0.5, 0, 0.5, 1)
        ]  # fmt: skip
        step_zoom, step = step_zoom / 2.5, step / 2.5
    return _zoomed(reference, [best])[0]


def _agreement(
    reference: torch.Tensor, frame: torch.Tensor, outside: torch.Tensor, candidates: list[tuple[float, float, float]]
) -> torch.Tensor:
    """(N,): the correlation, over what lies outside the subjects, of the frame with each candidate."""
    small, weight = F.avg_pool2d(frame[None], 2), F.avg_pool2d(outside[None, None].float(), 2)
    shown = _zoomed(F.avg_pool2d(reference[None], 2)[0], candidates)
    weight = weight / weight.sum()

    def centred(x: torch.Tensor) -> torch.Tensor:
        return x - (x * weight).sum(dim=(-2, -1), keepdim=True)

    a, b = centred(shown), centred(small)
    both, own, other = ((u * v * weight).sum(dim=(-3, -2, -1)) for u, v in ((a, b), (a, a), (b, b)))
    return both / (own * other).clamp(min=1e-12).sqrt()


def _zoomed(picture: torch.Tensor, candidates: list[tuple[float, float, float]]) -> torch.Tensor:
    """(3, H, W) -> (N, 3, H, W): zoomed about the middle and shifted, in half sides."""
    numbers = torch.tensor(candidates, dtype=torch.float32)
    theta = torch.zeros(len(numbers), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / numbers[:, 0]
    theta[:, :, 2] = numbers[:, 1:] / numbers[:, :1]
    grid = F.affine_grid(theta, [len(numbers), *picture.shape], align_corners=False)
    many = picture[None].expand(len(numbers), -1, -1, -1)
    return F.grid_sample(many, grid, padding_mode="border", align_corners=False)


def _lit(reference: torch.Tensor, frame: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """The reference with the gain of each channel that brings it nearest to the frame, within what light does."""
    a, b = reference[:, outside], frame[:, outside]
    gain = ((a * b).sum(dim=1) / (a * a).sum(dim=1).clamp(min=1e-6)).clamp(*_GAINS)
    return (reference * gain[:, None, None]).clamp(0, 1)
