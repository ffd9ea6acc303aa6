"""Logos, watermarks and subtitles: edges that stand still over a moving picture. Beside the paper, off by default.

What it can and cannot do: it needs no model and knows no letters. It finds what is drawn over the picture and keeps its
place through a window while the picture behind it moves, so that it takes a moving camera; of a still one nothing is
said. Overlays that fade, move or are nearly transparent are missed, and so is text that belongs to the scene. A frame
around a moving picture, or a dashboard, counts as an overlay.
"""

from __future__ import annotations

import numpy as np

from magref.curation.interfaces import Image
from magref.curation.looks import Picture
from magref.curation.outcome import Rejected
from magref.curation.settings import OverlaySettings
from magref.video import Frames

_LONG_SIDE_PX = 480
"""Small letters are about as wide as a pixel of a smaller picture."""
_AROUND_PX = 31
_EPSILON = 1e-6


def overlay_share(frames: Frames, settings: OverlaySettings) -> float | None:
    """The share of the picture that still edges cover; None where too little of the picture moves to tell.

    An edge stands still as far as the mean of its gradients over time is as long as they are themselves.

    Args:
        frames: a window's, (F, H, W, 3).
    """
    import cv2

    numbers = np.unique(np.linspace(0, len(frames) - 1, settings.looks).round().astype(int))
    greys = np.stack([_grey(frames[number]) for number in numbers]).astype(np.float32)  # (N, h, w)
    # Sobel weighs three rows with a sum of 4 over a distance of 2 pixels: this is levels from one pixel to the next.
    gradients = np.stack([(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)) for grey in greys]) / 8
    strength = np.linalg.norm(gradients, axis=1).mean(axis=0)
    steadiness = np.linalg.norm(gradients.mean(axis=0), axis=0) / (strength + _EPSILON)
    around = cv2.blur(greys.std(axis=0), (_AROUND_PX, _AROUND_PX)) >= settings.activity
    if around.mean() < settings.moving:
        return None
    still = around & (strength >= settings.edge) & (steadiness >= settings.steadiness)
    return float(cv2.morphologyEx(still.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)).mean())


def judge_overlay(share: float | None, settings: OverlaySettings) -> Rejected | None:
    """Rejected where overlays cover too much; nothing is held against a window in which they could not be told."""
    if not settings.enabled or share is None or share <= settings.most:
        return None
    return Rejected(stage="overlay", reason="logo or text", value=share, limit=settings.most)


def _grey(image: Image) -> Picture:
    """A frame's brightness, small."""
    import cv2

    scale = min(1.0, _LONG_SIDE_PX / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY), np.uint8)
