"""Which captioner, in what precision, and how many items at a time, by the memory of the device.

All figures are estimates from sizes; none was measured. One model is on the device at a time (`shelf.py`), so the
largest decides. What was counted: Qwen2.5-VL's weights in bfloat16 have 16.6 GB (7B) or 7.5 GB (3B); a clip of 16
frames at 832 x 480 has 4,080 tokens for it, whose keys and values take 0.24 GB (7B); GroundingDINO, SAM 2.1 and CLIP
have 0.9, 0.9 and 1.2 GB in float32, and about 1.5, 0.5 and 0.05 GB of activations for each image; an ONNX face pack has
0.3 GB and looks at one image at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from magref.placement import choose_dtype

GB = 1e9


@dataclass(frozen=True)
class Preset:
    """How models run on one device.

    Attributes:
        captioner: a name in the catalogue; None where none fits, so that a server must be asked.
        dtype: the captioner's precision; the other models run in float32, which they are small enough for.
        clips: captioned at a time.
        images: at a time, for boxes and masks.
        pictures: at a time, for aesthetics and recognising faces.
    """

    captioner: str | None
    dtype: torch.dtype
    clips: int
    images: int
    pictures: int


_LADDER = (
    (70, "qwen2.5-vl-7b", 16, 16, 64),
    (40, "qwen2.5-vl-7b", 8, 8, 32),
    (22, "qwen2.5-vl-7b", 2, 4, 32),
    (11, "qwen2.5-vl-3b", 1, 2, 16),
    (0, None, 0, 1, 8),
)
"""From so many GB on: the captioner, clips, images and pictures at a time."""


def preset(device: torch.device, memory_bytes: float | None = None) -> Preset:
    """What a device takes, with a fifth of its memory or more left over by these estimates.

    Args:
        memory_bytes: of the device; left out, what it has. A CPU takes one item at a time, whatever it has.
    """
    if device.type != "cuda":
        return Preset("qwen2.5-vl-7b", choose_dtype(device), clips=1, images=1, pictures=8)
    if memory_bytes is None:
        memory_bytes = torch.cuda.get_device_properties(device).total_memory
    _, captioner, clips, images, pictures = next(rung for rung in _LADDER if memory_bytes / GB >= rung[0])
    return Preset(captioner, choose_dtype(device), clips, images, pictures)
