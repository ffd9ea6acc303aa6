"""Whether the canvas still shows in a video: the references side by side on white, as the model was given them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from magref.evaluation.measures.background import similarity_map

_STEEP = 0.04
"""The slope, per pixel, from which on a pixel of the canvas belongs to its layout."""


def layout_by_frame(frames: torch.Tensor, canvas: Image.Image) -> list[float] | None:
    """How much of the canvas's layout each frame shows: about 0 where nothing of it is left, 1 where it is the canvas.

    It is the structural similarity with the canvas around the canvas's own edges: those of the references, of their
    parts and of their rectangles. Plain parts do not count, since a white backdrop is no canvas.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        canvas: of the same proportions.

    Returns:
        None where the canvas has no edges.
    """
    height, width = frames.shape[-2:]
    resized = canvas.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    grey = torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255).mean(dim=-1)[None, None]
    across, along = F.pad(grey.diff(dim=-1).abs(), (0, 1)), F.pad(grey.diff(dim=-2).abs(), (0, 0, 0, 1))
    edges = F.max_pool2d(torch.maximum(across, along), 3, 1, 1)[0, 0] >= _STEEP
    if not bool(edges.any()):
        return None
    similar = similarity_map(frames.mean(dim=1, keepdim=True), grey.expand(len(frames), -1, -1, -1))[:, 0]
    return similar[:, edges].mean(dim=1).tolist()


def layout_left(frames: torch.Tensor, *given: Image.Image) -> float | None:
    """The mean of `layout_by_frame`, not below 0: of the canvas, or of pictures given one by one, of which each frame
    counts with the one that it shows most of.
    """
    found = [values for picture in given if (values := layout_by_frame(frames, picture)) is not None]
    return max(0.0, float(np.max(found, axis=0).mean())) if found else None
