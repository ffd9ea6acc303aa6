"""SAM 2.1: cuts out what is in a box, over transformers.

Checked with random weights of the same architecture only; not run with the published weights.

Its processor in transformers needs torchvision, so sizes and colours are brought to the model's here, with the same
call of torch that torchvision makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from magref.curation.interfaces import Corners, Image, MaskArray
from magref.curation.models.loading import batches, load_pretrained
from magref.curation.models.shelf import Shelf
from magref.errors import memory_errors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which the model was trained with."""


class SamSegmenter:
    """A `Segmenter`: one mask for a box.

    A box says plainly enough what is meant, so the mask for prompts without doubt is taken (`multimask_output=False`),
    as its authors do for boxes; where that mask is unsteady, the model itself puts the best of its three others in its
    place (`dynamic_multimask_via_stability`).

    Args:
        folder: the model as published in transformers' layout, for example sam2.1-hiera-large.
        shelf: where its weights are kept while they are needed.
        batch: images at a time.
    """

    def __init__(self, folder: Path, *, shelf: Shelf, batch: int = 4) -> None:
        self.folder = folder
        self.batch = batch
        self._shelf = shelf

    def segment(self, images: Sequence[Image], boxes: Sequence[Sequence[Corners]]) -> list[list[MaskArray]]:
        """The masks of each image's boxes, in their order.

        Raises:
            CheckpointError, ResourceError: the weights are not whole; the memory does not suffice.
        """
        masks: list[list[MaskArray]] = [[] for _ in images]
        jobs = [n for n, prompts in enumerate(boxes) if prompts]
        if not jobs:
            return masks
        model = self._shelf.take(self, self._load)
        for some in batches(jobs, self.batch):
            with memory_errors(f"{len(some)} images at a time", "use a smaller batch"):
                results = self._forward(model, [images[n] for n in some], [boxes[n] for n in some])
            for n, found in zip(some, results, strict=True):
                masks[n] = found
        return masks

    def _load(self) -> Any:
        from transformers import Sam2Model

        return load_pretrained(Sam2Model, self.folder, device=self._shelf.device, dtype=torch.float32)

    @torch.inference_mode()
    def _forward(
        self, model: Any, images: Sequence[Image], boxes: Sequence[Sequence[Corners]]
    ) -> list[list[MaskArray]]:
        side = model.prompt_encoder.input_image_size
        pixels = torch.cat([prepare(image, side) for image in images])
        embeddings = model.get_image_embeddings(pixels.to(model.device))
        found = []
        for n, (image, prompts) in enumerate(zip(images, boxes, strict=True)):  # of boxes each has another number
            outputs = model(
                image_embeddings=[level[n : n + 1] for level in embeddings],
                input_boxes=scale_boxes(prompts, image.shape[:2], side).to(model.device),
                multimask_output=False,
            )
            found.append([mask_of(logits, image.shape[:2]) for logits in outputs.pred_masks[0]])
        return found


def mask_of(logits: torch.Tensor, size: tuple[int, int]) -> MaskArray:
    """A mask of the image's size (H, W) from one box's logits (1, side / 4, side / 4); inside is above zero."""
    scaled = F.interpolate(logits[None].float(), size, mode="bilinear", align_corners=False)
    return (scaled[0, 0] > 0).cpu().numpy()


def prepare(image: Image, side: int) -> torch.Tensor:
    """An image as the model takes it, (1, 3, side, side): squeezed to a square, not cropped, and normalised."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    if pixels.shape[-2:] != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    return (pixels - mean) / std


def scale_boxes(boxes: Sequence[Corners], size: tuple[int, int], side: int) -> torch.Tensor:
    """Corners in the pixels of the square image, (1, boxes, 4)."""
    height, width = size
    scale = torch.tensor([side / width, side / height] * 2)
    return (torch.tensor(boxes, dtype=torch.float32) * scale)[None]
