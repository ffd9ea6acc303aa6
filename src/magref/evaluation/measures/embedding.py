"""Who is to be seen: a small network that gives pictures of one identity nearly the same direction.

It has learnt from rendered pictures alone (`train_identity.py`) and is told nothing of how they are made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

CROP_PX = 40
MARGIN = 1.12
"""A crop's side, as a multiple of the larger side of the box around its subject."""
DIMENSIONS = 128
_BATCH = 256


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a short cut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.short = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        short = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        return F.relu(y + self.short(short))


class IdentityNet(nn.Module):
    """(B, 3, S, S) in [0, 1] -> (B, D) of length 1; the cosine of two is how alike two subjects are."""

    def __init__(self, widths: Sequence[int] = (32, 64, 128), dimensions: int = DIMENSIONS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, 1 if n == 0 else 2) for n, (a, b) in enumerate(pairs)))
        self.narrow = nn.Conv2d(widths[-1], 32, 1)
        side = CROP_PX // 2 ** len(widths)
        self.head = nn.Linear(32 * side * side, dimensions)
        self.head_norm = nn.BatchNorm1d(dimensions, affine=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Unit vectors."""
        x = (pictures * 4 - 2).contiguous(memory_format=torch.channels_last)
        x = self.blocks(F.relu(self.stem_norm(self.stem(x))))
        x = self.head(F.relu(self.narrow(x)).flatten(1))
        return F.normalize(self.head_norm(x), dim=1)


@torch.no_grad()
def embed(net: IdentityNet, pictures: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) in [0, 1] -> (B, D); each is the mean of the picture and its mirror image, of length 1."""
    parts = [F.normalize(net(p) + net(p.flip(-1)), dim=1) for p in pictures.split(_BATCH)]
    return torch.cat(parts) if parts else pictures.new_zeros(0, DIMENSIONS)


def crops(frames: torch.Tensor, boxes: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Square windows around boxes.

    Args:
        frames: (F, 3, H, W) in [0, 1].
        boxes: (B, 4) left, top, right, bottom in pixels.
        which: (B,) the frame that each box lies in.

    Returns:
        (B, 3, S, S); what lies outside the frame repeats its border.
    """
    height, width = frames.shape[-2:]
    size = torch.tensor([width, height], dtype=torch.float32)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) * MARGIN
    maps = torch.zeros(len(boxes), 2, 3)
    maps[:, [0, 1], [0, 1]] = side / size
    maps[:, :, 2] = middle / size * 2 - 1
    if not len(boxes):
        return frames.new_zeros(0, 3, CROP_PX, CROP_PX)
    scale = int(side.median() / CROP_PX)
    if scale > 1:  # large pictures are averaged first, so that sampling them does not alias
        frames = F.avg_pool2d(frames, scale, ceil_mode=True)
    grid = F.affine_grid(maps, [len(boxes), 3, CROP_PX, CROP_PX], align_corners=False)
    return F.grid_sample(frames[which], grid, padding_mode="border", align_corners=False)
