"""Whether a video stays the same where it should: a subject's looks from first to last frame, and no flicker."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from magref.evaluation.measures.tracking import Track

_PART = 0.25
_INNER = 0.6


def constancy(features: torch.Tensor) -> float | None:
    """The cosine, from -1 to 1, of a subject's looks in the first and in the last quarter of the frames that show it.

    Args:
        features: (F, D) unit vectors, of these frames.

    Returns:
        None for fewer than two frames.
    """
    if len(features) < 2:
        return None
    part = max(1, round(len(features) * _PART))
    first, last = (F.normalize(each.mean(dim=0), dim=0) for each in (features[:part], features[-part:]))
    return float(first @ last)


def colour_drift(frames: torch.Tensor, track: Track) -> float | None:
    """How far the mean colour of a subject's inner part moves from its first to its last quarter, from 0 to 1.

    It is the root mean square over the three channels, which are in [0, 1].

    Args:
        frames: (F, 3, H, W) in [0, 1].
        track: its boxes.
    """
    seen = np.flatnonzero(track.seen).tolist()
    if len(seen) < 2:
        return None
    colours = torch.stack([_inner(frames[n], track.boxes[n].tolist()) for n in seen])  # (F, 3)
    part = max(1, round(len(seen) * _PART))
    return float((colours[:part].mean(dim=0) - colours[-part:].mean(dim=0)).square().mean().sqrt())


def flicker(frames: torch.Tensor, outside: torch.Tensor) -> float | None:
    """The mean absolute second difference in time of what lies outside the subjects, in levels of 255.

    A constant change counts nothing, a change that comes and goes counts twice. A moving camera counts too.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        outside: (F, H, W) bool.

    Returns:
        None for fewer than three frames, or where nothing lies outside in three in a row.
    """
    if len(frames) < 3:
        return None
    second = (frames[2:] - 2 * frames[1:-1] + frames[:-2]).abs().mean(dim=1)
    free = outside[2:] & outside[1:-1] & outside[:-2]
    return float(second[free].mean()) * 255 if bool(free.any()) else None


def _inner(frame: torch.Tensor, box: list[float]) -> torch.Tensor:
    """(3,): the mean colour of the middle of a box."""
    left, top, right, bottom = box
    x, y, w, h = (left + right) / 2, (top + bottom) / 2, (right - left) * _INNER / 2, (bottom - top) * _INNER / 2
    part = frame[:, max(0, int(y - h)) : int(y + h) + 1, max(0, int(x - w)) : int(x + w) + 1]
    return part.mean(dim=(1, 2))
