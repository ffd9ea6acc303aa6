"""Pictures of rendered subjects as they are met in frames: in clutter, cut off, small and blurred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from magref.evaluation.measures.degrade import degraded
from magref.evaluation.measures.embedding import CROP_PX, MARGIN
from magref.synthetic.identities import draw_subjects, kind_of
from magref.synthetic.pixels import to_uint8, visible_boxes
from magref.synthetic.places import draw_places
from magref.synthetic.traits import Traits
from magref.synthetic.views import View, any_view, lit, plain_view

TILE_PX = 64
SMALLEST = 0.4
"""Of a crop's side: the resolution of a subject 14 pixels wide and high."""
_PLACE_PX = (64, 96)


@dataclass(frozen=True)
class Stock:
    """Rendered once, cropped anew each time.

    `tiles` (N, V, 4, S, S) uint8 straight RGBA of N identities in V views; `boxes` (N, V, 4) around what is visible;
    `places` (P, 3, H, W) uint8.
    """

    identities: tuple[int, ...]
    tiles: torch.Tensor
    boxes: torch.Tensor
    places: torch.Tensor


def make_stock(identities: Sequence[int], views: int, *, places: int, seed: int) -> Stock:
    """Render the identities in as many views as a clip and its references show, people in part as portraits."""
    numbers = np.repeat(np.asarray(identities, dtype=np.int64), views)
    traits = Traits(np.arange(len(numbers)), f"stock {seed}")
    drawn = to_uint8(draw_subjects(numbers.tolist(), clip_view(traits, numbers), TILE_PX))
    grounds = Traits(np.arange(places), f"stock place {seed}")
    chosen = grounds.integer("place", 2**31).tolist()
    light = lit(plain_view(places), grounds)
    shape = (len(identities), views)
    return Stock(
        tuple(identities),
        drawn.view(*shape, 4, TILE_PX, TILE_PX),
        visible_boxes(drawn[:, 3].float() / 255).view(*shape, 4),
        to_uint8(draw_places(chosen, light, *_PLACE_PX)),
    )


def clip_view(traits: Traits, identities: np.typing.NDArray[np.int64], *, portraits: float = 0.28) -> View:
    """Any view, now and then waving or blinking; a share of the people as portraits."""
    view = any_view(traits)
    person = np.array([kind_of(number).family == "person" for number in identities.tolist()])
    close = person & traits.chance("close", portraits)
    return replace(
        view,
        wave=traits.chance("waves", 0.1).astype(np.float32),
        blink=traits.chance("blinks", 0.08).astype(np.float32),
        zoom=np.where(close, view.zoom * 1.75, view.zoom).astype(np.float32),
        focus_y=np.where(close, -0.42, 0.0).astype(np.float32),
    )


def random_crops(stock: Stock, rows: torch.Tensor, columns: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, 3, S, S) in [0, 1]: identity `rows`, view `columns`, as a finder of boxes would cut them out of a frame."""
    count = len(rows)
    ground = _grounds(stock, count, generator)
    others = torch.randint(len(stock.tiles), (count,), generator=generator)
    beside = _placed(stock, others, columns, generator, beside=True)
    shown = (torch.rand(count, 1, 1, 1, generator=generator) < 0.25).float()
    before = (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).float() * shown
    subject = _placed(stock, rows, columns, generator)
    picture = _over(_over(_over(ground, beside, shown - before), subject), beside, before)
    return degraded(_with_post(picture, generator), generator, smallest=SMALLEST)


def _grounds(stock: Stock, count: int, generator: torch.Generator) -> torch.Tensor:
    """(B, 3, S, S): parts of places, plain colours, and white as around references."""
    places = stock.places[torch.randint(len(stock.places), (count,), generator=generator)].float() / 255
    draw = torch.rand(count, 3, generator=generator)
    zoom = 0.3 + 0.5 * draw[:, 0]
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 1, 1] = zoom * _PLACE_PX[0] / _PLACE_PX[1], zoom
    maps[:, :, 2] = (draw[:, 1:] * 2 - 1) * (1 - zoom[:, None])
    grid = F.affine_grid(maps, [count, 3, CROP_PX, CROP_PX], align_corners=False)
    picture = F.grid_sample(places, grid, padding_mode="border", align_corners=False)
    kind = torch.rand(count, generator=generator)
    plain = torch.rand(count, 3, 1, 1, generator=generator)
    picture = torch.where((kind < 0.4)[:, None, None, None], plain, picture)
    return torch.where((kind < 0.15)[:, None, None, None], 1.0, picture)


def _placed(
    stock: Stock, rows: torch.Tensor, columns: torch.Tensor, generator: torch.Generator, *, beside: bool = False
) -> torch.Tensor:
    """(B, 4, S, S) premultiplied: each tile's visible part in the middle of the crop, roughly; or at its edge."""
    count = len(rows)
    tiles = stock.tiles[rows, columns].float() / 255
    tiles[:, :3] *= tiles[:, 3:]
    boxes = stock.boxes[rows, columns].float() / TILE_PX * 2 - 1
    u = torch.rand(count, 7, generator=generator) * 2 - 1
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1) / 2 * MARGIN * torch.exp(0.18 * u[:, 0])
    shift = 0.14 * u[:, 1:3]
    if beside:
        angle = torch.pi * u[:, 5]
        shift = torch.stack([angle.cos(), angle.sin()], dim=1) * (1.1 + 0.3 * u[:, 6:7])
    turn, mirror = 0.16 * u[:, 3], torch.where(u[:, 4] > 0, 1.0, -1.0)
    narrow = 1 + 0.35 * (u[:, 5] - 0.6).clamp(min=0)  # things that turn around their axis look narrow
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 0, 1] = half * turn.cos() * mirror * narrow, half * turn.sin()
    maps[:, 1, 0], maps[:, 1, 1] = -half * turn.sin() * mirror * narrow, half * turn.cos()
    maps[:, :, 2] = middle + half[:, None] * shift
    grid = F.affine_grid(maps, [count, 4, CROP_PX, CROP_PX], align_corners=False)
    return F.grid_sample(tiles, grid, padding_mode="zeros", align_corners=False)


def _over(below: torch.Tensor, paint: torch.Tensor, share: torch.Tensor | float = 1.0) -> torch.Tensor:
    return below * (1 - paint[:, 3:] * share) + paint[:, :3] * share


def _with_post(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A bar of one colour before an eighth of the pictures, or nothing of them beyond an edge of the frame."""
    count = len(pictures)
    u = torch.rand(count, 4, generator=generator)
    place = torch.arange(CROP_PX) / CROP_PX
    covered = (place[None] - u[:, :1]).abs() < 0.03 + 0.07 * u[:, 1:2]
    beyond = place[None] > 0.72 + 0.25 * u[:, :1]
    bar = torch.where(u[:, 2:3] < 0.12, covered, beyond & (u[:, 2:3] > 0.9))  # (B, S)
    upright = (u[:, 3] < 0.6)[:, None, None]
    area = torch.where(upright, bar[:, None, :], bar[:, :, None])[:, None]
    colour = torch.rand(count, 3, 1, 1, generator=generator)
    return torch.where(area, colour, pictures)
