"""Bytes of floats, and boxes of masks."""

from __future__ import annotations

import torch


def to_uint8(image: torch.Tensor) -> torch.Tensor:
    """Floats in [0, 1] to bytes, rounded."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def visible_boxes(alpha: torch.Tensor) -> torch.Tensor:
    """(B, S, S) alpha -> (B, 4) left, top, right, bottom of what is visible, in pixels; right and bottom exclusive."""
    size = alpha.shape[-1]
    columns, rows = (alpha > 0.1).any(dim=1), (alpha > 0.1).any(dim=2)  # (B, S)
    left, top = columns.float().argmax(1), rows.float().argmax(1)
    right, bottom = size - columns.flip(1).float().argmax(1), size - rows.flip(1).float().argmax(1)
    return torch.stack([left, top, right, bottom], dim=1)
