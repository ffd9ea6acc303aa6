"""Where subjects are to be seen in a frame: a small network that marks the middle of each, and the size of its box.

It looks at one frame alone, so that neither a still subject nor a moving camera hinders it. Which subject is which it
does not say: that is the embedding's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from magref.evaluation.measures.embedding import Block

HEIGHT_PX = 64
"""Frames are brought to this height, whatever theirs is."""
STRIDE = 4
"""Pixels of such a frame for one cell of the map."""
_DEEP = 32
_MOST = 6
_DOUBTFUL = 0.2
_NEIGHBOURS = 2
"""Frames before and after that have a say in what is found."""
_SAME = 0.3
"""From which overlap on two boxes of neighbouring frames may be one subject's."""
_BATCH = 64


@dataclass(frozen=True)
class Found:
    """The subjects of one frame, the surest first: `boxes` (K, 4) left, top, right, bottom in pixels, `scores` (K,)."""

    boxes: torch.Tensor
    scores: torch.Tensor


class FinderNet(nn.Module):
    """(B, 3, H, W) in [0, 1], sides multiples of 32 -> (B, 5, H / 4, W / 4).

    Channels: how likely a subject's middle lies in the cell, as a logit; the logarithms of its width and height in
    heights of the frame; and where in the cell the middle is, x and y from 0 to 1.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(nn.Conv2d(3, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU())
        self.fine, self.middle, self.deep = Block(a, b, 2), Block(b, c, 2), Block(c, d, 2)
        self.up_middle = nn.Sequential(nn.Conv2d(d + c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU())
        self.up_fine = nn.Sequential(nn.Conv2d(c + b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        self.head = nn.Sequential(
            nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, 5, 1)
        )
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias[:1], -4.0)  # few cells hold a middle
        nn.init.constant_(last.bias[1:3], -1.0)
        nn.init.constant_(last.bias[3:], 0.5)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """The map."""
        fine = self.fine(self.stem((frames * 4 - 2).contiguous(memory_format=torch.channels_last)))
        middle = self.middle(fine)
        deep = self.deep(middle)
        middle = self.up_middle(torch.cat([F.interpolate(deep, scale_factor=2), middle], dim=1))
        return self.head(self.up_fine(torch.cat([F.interpolate(middle, scale_factor=2), fine], dim=1)))


@torch.no_grad()
def find_subjects(net: FinderNet, frames: torch.Tensor, *, least: float = 0.3) -> list[Found]:
    """The subjects of each frame of a video.

    A box's score is the mean of its own and those of the boxes that overlap it most in the frames around it, so that
    what flashes up once is not found, and what is doubtful once is.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        least: the score, from 0 to 1, below which nothing counts as a subject.
    """
    height, width = frames.shape[-2:]
    size = HEIGHT_PX, max(_DEEP, round(width / height * HEIGHT_PX / _DEEP) * _DEEP)
    if (height, width) != size:
        frames = F.interpolate(frames, size=size, mode="bilinear", antialias=True, align_corners=False)
    maps = torch.cat([net(part) for part in frames.split(_BATCH)])
    heat = maps[:, 0].sigmoid()
    peaks = (heat == F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (heat >= _DOUBTFUL)
    each = [_boxes(one, scores, marked, height, width) for one, scores, marked in zip(maps, heat, peaks, strict=True)]
    steady = [_steadied(each, frame) for frame in range(len(each))]
    return [
        Found(found.boxes[scores >= least][:_MOST], scores[scores >= least][:_MOST])
        for found, scores in zip(each, steady, strict=True)
    ]


def _steadied(found: Sequence[Found], frame: int) -> torch.Tensor:
    """(K,): the scores of a frame's boxes, with a say of the frames around it."""
    own = found[frame]
    scores, count = own.scores.clone(), 1
    for other in range(max(0, frame - _NEIGHBOURS), min(len(found), frame + _NEIGHBOURS + 1)):
        if other == frame:
            continue
        count += 1
        if len(found[other].scores) and len(own.scores):
            common = overlap(own.boxes[:, None], found[other].boxes[None])  # (K, K')
            best, which = common.max(dim=1)
            scores += found[other].scores[which] * (best >= _SAME)
    return scores / count


def _boxes(maps: torch.Tensor, heat: torch.Tensor, peaks: torch.Tensor, height: int, width: int) -> Found:
    rows, columns = torch.nonzero(peaks, as_tuple=True)
    scores, order = heat[rows, columns].sort(descending=True)
    rows, columns = rows[order], columns[order]
    log_w, log_h, dx, dy = maps[1:, rows, columns]
    x = (columns + dx) * STRIDE * width / (heat.shape[1] * STRIDE)
    y = (rows + dy) * STRIDE * height / (heat.shape[0] * STRIDE)
    half_w, half_h = log_w.clamp(max=1).exp() * height / 2, log_h.clamp(max=0.5).exp() * height / 2
    boxes = torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], dim=1)
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
    kept: list[int] = []
    for row in range(len(boxes)):
        if all(float(overlap(boxes[row], boxes[other])) < 0.6 for other in kept):
            kept.append(row)
    return Found(boxes[kept], scores[kept])


def overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes (..., 4)."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(dim=-1) for box in (first, second)]
    return common / (areas[0] + areas[1] - common).clamp(min=1e-6)
