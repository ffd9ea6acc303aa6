"""What is around the subjects: the place or the plain colour behind them, and things in the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from magref.synthetic import palette
from magref.synthetic.camera import MARGIN, panned
from magref.synthetic.easel import Easel
from magref.synthetic.places import draw_places
from magref.synthetic.plans import Plan, WorldConfig
from magref.synthetic.shapes import box, capsule, petals
from magref.synthetic.traits import Floats, Traits
from magref.synthetic.views import View, joined, lit, plain_view


def other_view(traits: Traits, config: WorldConfig) -> View:
    """How B places look on their references: in another light, and a little closer."""
    view = plain_view(len(traits))
    if config.lighting:
        view = lit(view, traits, "background light", 0.6)
    return view if config.staged else replace(view, zoom=traits.uniform("background zoom", 1.0, 1.2))


def backdrops(
    plans: Sequence[Plan], light: View, other: View, camera: Floats, height: int, width: int,
    device: torch.device | str,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """What lies behind the subjects: (B, 3, F, H, W) in each frame, and (B, 3, H, W) as the `other` view has it.

    `camera` (B, F, 3). What has one size is painted together, since most of a picture's cost is its number of parts.
    """
    result = torch.empty(len(plans), 3, camera.shape[1], height, width, device=device)
    still = [b for b, plan in enumerate(plans) if plan.camera == "static"]
    views = joined([light[np.array(still, dtype=np.int64)], other])
    pictures = _pictures([*(plans[b] for b in still), *plans], views, height, width, device)
    result[still] = pictures[: len(still), :, None]
    rows = np.array([b for b, plan in enumerate(plans) if plan.camera != "static"], dtype=np.int64)
    if len(rows):
        big_size = round(height * MARGIN), round(width * MARGIN)
        big = _pictures([plans[row] for row in rows.tolist()], light[rows], *big_size, device)
        result[rows.tolist()] = panned(big, camera[rows], height, width)
    return result, pictures[len(still) :]


def _pictures(plans: Sequence[Plan], light: View, height: int, width: int, device: torch.device | str) -> torch.Tensor:
    """(B, 3, H, W) float32: each plan's place or plain colour."""
    # A plain backdrop is to be the colour that the caption names: the light tints it but a little.
    tint = 0.6 + 0.4 * light.tint * light.light[:, None]
    colours = np.array([palette.COLOURS[plan.colour] for plan in plans], np.float32) * tint
    result = torch.from_numpy(colours).to(device)[:, :, None, None].expand(-1, -1, height, width).clamp(0, 1).clone()
    rows = np.array([b for b, plan in enumerate(plans) if plan.place is not None], dtype=np.int64)
    if len(rows):
        numbers = [place for plan in plans if (place := plan.place) is not None]
        result[torch.from_numpy(rows).to(device)] = draw_places(numbers, light[rows], height, width, device=device)
    return result


def foreground(
    plans: Sequence[Plan], traits: Traits, light: View, height: int, width: int, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The rows that have something in the foreground, and its pictures (P, 4, H, W), premultiplied."""
    rows = np.array([b for b, plan in enumerate(plans) if plan.occluder is not None], dtype=np.int64)
    if not len(rows):
        return None
    sort = np.array([plan.occluder for plan in plans if plan.occluder is not None])
    easel, t = Easel(light[rows], (height, width), device), Traits(traits.numbers[rows], "occluder")
    wide = width / height
    x = t.uniform("x", -0.9, 0.9) * wide
    green = palette.between(t, "g", (0.1, 0.3, 0.08), (0.3, 0.5, 0.22))
    colour = palette.any_shade(t, "post")
    bush, pole, fence, boulder = (sort == n for n in range(4))
    for n, (dx, dy) in enumerate(((-0.28, 0.14), (0.28, 0.16), (0.0, 0.0))):
        clump = petals(x + dx, 0.92 + dy, t.uniform(f"r {n}", 0.26, 0.36), 0.14, 10.0)
        easel.paint(clump, green * (0.85 + 0.1 * n), where=bush)
    easel.paint(box(x, 0, t.uniform("thick", 0.05, 0.09), 1.2, r=0.0), colour, where=pole)
    for n in range(9):
        easel.paint(box(-wide + n * wide / 4, 0.86, 0.035, 0.24, r=0.02), colour, where=fence)
    for y in (0.74, 0.92):
        easel.paint(box(0, y, wide + 0.3, 0.025, r=0.0), colour * 0.9, where=fence)
    grey = np.repeat(t.uniform("grey", 0.35, 0.6)[:, None], 3, axis=1)
    easel.paint(capsule(x - 0.2, 0.98, x + 0.2, 0.94, 0.24, 0.3), grey, where=boulder)
    return torch.from_numpy(rows).to(device), easel.finish()
