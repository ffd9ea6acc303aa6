"""Logos, watermarks and subtitles: edges that stand still over a moving picture. Beside the paper, off by default.

What it can and cannot do: it needs no model and knows no letters. It finds what is drawn over the picture and keeps its
place through a window, if the picture behind moves; with a still camera before a still scene everything stands still,
and nothing is said. Overlays that fade, move or are nearly transparent are missed, and so is text that belongs to the
scene. A frame around the picture, or a dashboard, counts as an overlay.
"""

from __future__ import annotations

import numpy as np

from magref.curation.outcome import Rejected
from magref.curation.settings import OverlaySettings
from magref.video import Frames

_LONG_SIDE_PX = 480
"""Small letters are about as wide as a pixel of a smaller picture."""
_EPSILON = 1e-6


def overlay_share(frames: Frames, settings: OverlaySettings) -> float | None:
    """The share of the picture that still edges cover; None where too little moves to tell.

    An edge stands still as far as the mean of its gradients over time is as long as they are themselves.

    Args:
        frames: a window's, (F, H, W, 3).
    """
    import cv2

    looked_at = np.unique(np.linspace(0, len(frames) - 1, settings.looks).round().astype(int))
    total = length = None
    for number in looked_at:
        image = frames[number]
        scale = min(1.0, _LONG_SIDE_PX / max(image.shape[:2]))
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        # Half of Sobel's sum over three rows and two pixels' distance: levels from pixel to pixel.
        gradient = np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)], axis=-1) / 4
        strength = np.linalg.norm(gradient, axis=-1)
        total = gradient if total is None else total + gradient
        length = strength if length is None else length + strength
    assert total is not None
    assert length is not None
    steady = np.linalg.norm(total, axis=-1) / (length + _EPSILON)
    edges = length / len(looked_at) >= settings.edge / 2
    if not edges.any():
        return 0.0
    still = edges & (steady >= settings.steadiness)
    if 1 - float(still.sum()) / float(edges.sum()) < settings.moving:
        return None
    return float(cv2.morphologyEx(still.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)).mean())


def judge_overlay(share: float | None, settings: OverlaySettings) -> Rejected | None:
    """Rejected where overlays cover too much; nothing is held against a window in which they could not be told."""
    if not settings.enabled or share is None or share <= settings.most:
        return None
    return Rejected(stage="overlay", reason="logo or text", value=share, limit=settings.most)
