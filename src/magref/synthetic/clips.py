"""Clips of one subject that moves as its caption says, each with the reference pictures it is to be made from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from magref.synthetic.captions import BACKDROPS, MOTIONS, PLAIN, captions, place_captions
from magref.synthetic.draw import Draw
from magref.synthetic.subjects import subjects
from magref.synthetic.textures import scene

_TILE_PX = 96


@dataclass(frozen=True)
class Clips:
    """B rendered clips, with what is known about them.

    `frames` (B, F, 3, H, W) uint8; `subject` (B, 4, S, S) float32 RGBA, cropped to what is visible by `boxes`
    (B, 4: left, top, right, bottom, in pixels of the tile); `reference_boxes` (B, 4) the part of the tile that its
    reference picture shows, from the tight box to the whole tile; `background` (B, 3, H, W) uint8, used where
    `has_background`.
    """

    frames: torch.Tensor
    subject: torch.Tensor
    boxes: torch.Tensor
    reference_boxes: torch.Tensor
    background: torch.Tensor
    has_background: list[bool]
    motions: list[str]
    captions: list[str]


def render(indices: list[int], *, frames: int, height: int, width: int, seed: int = 0, take: int = 0) -> Clips:
    """Render the clips with these indices; clip `i` of a seed is the same in any batch, to rounding.

    Other takes of an index show the same subject and background with another motion, path and caption.
    """
    draw = Draw(indices, seed)
    tiles = subjects(draw, _TILE_PX)
    boxes = visible_boxes(tiles[:, 3])
    has_background = draw.chance(0.5)
    scenes = _fit(scene(draw, max(height, width)), height, width)
    whole = torch.tensor([0, 0, _TILE_PX, _TILE_PX])
    reference_boxes = (boxes + (whole - boxes) * draw.uniform()[:, None] ** 2).round().long()
    colour_index = draw.integer(len(BACKDROPS))
    named = draw.chance(0.7)
    colours = torch.tensor(list(BACKDROPS.values()))[colour_index]
    colours = torch.where(named[:, None], colours, torch.tensor(PLAIN))
    plain = colours[..., None, None].expand(-1, -1, height, width)
    backdrop = torch.where(has_background[:, None, None, None], scenes, plain)

    first_motion = draw.integer(len(MOTIONS))
    draw = Draw(indices, seed + 1_000_003 * (take + 1))
    motion = (first_motion + take) % len(MOTIONS)
    centres, sizes = _paths(draw, motion, reference_boxes, frames, height, width)
    video = _composite(tiles, reference_boxes, backdrop, centres, sizes)
    motions = [MOTIONS[m] for m in motion.tolist()]
    scenic = has_background.tolist()
    names = list(BACKDROPS)
    backdrops = [
        names[c] if is_named and not s else None
        for c, is_named, s in zip(colour_index.tolist(), named.tolist(), scenic, strict=True)
    ]
    return Clips(
        frames=to_uint8(video),
        subject=tiles,
        boxes=boxes,
        reference_boxes=reference_boxes,
        background=to_uint8(scenes),
        has_background=scenic,
        motions=motions,
        captions=captions(draw, motions, backdrops, scenic),
    )


def caption_sample(count: int, seed: int = 0) -> list[str]:
    """Captions of `count` clips, without rendering them."""
    draw = Draw(list(range(count)), seed)
    colour_names = list(BACKDROPS)
    motions = [MOTIONS[m] for m in draw.integer(len(MOTIONS)).tolist()]
    backdrops = [colour_names[c] for c in draw.integer(len(colour_names)).tolist()]
    return captions(draw, motions, list(backdrops), draw.chance(0.5).tolist())


def still_captions(indices: list[int], has_background: list[bool], *, seed: int = 0, take: int = 0) -> list[str]:
    """Captions of clips in which a subject stands still on white, or, where `has_background`, of a place alone."""
    draw = Draw(indices, seed + 1_000_003 * (take + 1))
    subjects_alone = captions(draw, ["still"] * len(indices), ["white"] * len(indices), [False] * len(indices))
    places = place_captions(draw)
    return [
        place if scene else subject
        for place, subject, scene in zip(places, subjects_alone, has_background, strict=True)
    ]


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


def _fit(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The top left H x W of a square image."""
    return image[..., :height, :width]


def _paths(
    draw: Draw, motion: torch.Tensor, boxes: torch.Tensor, frames: int, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (B, F, 2: x, y) and box heights (B, F) in pixels, over time.

    Little is left to chance: canvas and caption all but determine the clip, which a small model learns far sooner.
    """
    time = torch.linspace(0, 1, frames)[None]  # (1, F)
    aspect = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    whole = torch.minimum(torch.full_like(aspect, height), width / aspect)  # its height alone on the canvas
    size = whole * draw.uniform(0.57, 0.63)
    grows = motion == 4
    growth = torch.where(grows, draw.uniform(1.9, 2.1), torch.ones_like(size))
    start = torch.where(grows, size * 0.65, size)
    sizes = start[:, None] * (1 + (growth[:, None] - 1) * time)

    sign = torch.zeros(6, 2)
    sign[0, 0], sign[1, 0], sign[2, 1], sign[3, 1] = -1, 1, -1, 1
    sign = sign[motion]  # (B, 2)
    travel = torch.stack([width * draw.uniform(0.42, 0.48), height * draw.uniform(0.40, 0.46)], dim=1)
    offset = torch.stack([width * draw.uniform(-0.03, 0.03), height * draw.uniform(-0.03, 0.03)], dim=1)
    middle = torch.tensor([width / 2, height / 2]) + offset
    centres = middle[:, None] + sign[:, None] * travel[:, None] * (time[..., None] - 0.5)
    return centres, sizes


def _composite(
    tiles: torch.Tensor, boxes: torch.Tensor, backdrop: torch.Tensor, centres: torch.Tensor, sizes: torch.Tensor
) -> torch.Tensor:
    """Place each tile's box at its centre and size in every frame, over the backdrop. (B, F, 3, H, W)"""
    batch, frames = sizes.shape
    height, width = backdrop.shape[-2:]
    tile = tiles.shape[-1]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    box_centre = (boxes[:, :2] + boxes[:, 2:]) / 2  # (B, 2)
    box_height = (boxes[:, 3] - boxes[:, 1]).float()
    per_px = box_height[:, None] / sizes  # tile pixels per frame pixel (B, F)
    u = (x - centres[..., 0, None, None]) * per_px[..., None, None] + box_centre[:, None, 0, None, None]
    v = (y - centres[..., 1, None, None]) * per_px[..., None, None] + box_centre[:, None, 1, None, None]
    grid = torch.stack([u, v], dim=-1) * (2 / tile) - 1  # (B, F, H, W, 2)
    premultiplied = torch.cat([tiles[:, :3] * tiles[:, 3:], tiles[:, 3:]], dim=1)
    # The tile is about twice as large as it appears: smoothed once, bilinear sampling does not alias.
    premultiplied = F.avg_pool2d(F.pad(premultiplied, (1, 0, 1, 0), mode="replicate"), 2, stride=1)
    sampled = F.grid_sample(
        premultiplied, grid.reshape(batch, frames * height, width, 2), padding_mode="zeros", align_corners=False
    ).view(batch, 4, frames, height, width)
    video = sampled[:, :3] + backdrop[:, :, None] * (1 - sampled[:, 3:])
    return video.transpose(1, 2)
