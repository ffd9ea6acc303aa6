"""How pleasing an image is: CLIP ViT-L/14 and the improved-aesthetic-predictor's head (LAION's "aesthetic score").

The head was loaded with its published weights; CLIP was checked with random weights of the same architecture only.

The head is five linear layers in a row without anything between them, over CLIP's embedding made of length 1.
https://github.com/christophschuhmann/improved-aesthetic-predictor
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from magref.checkpoints.layout import check_torch_file
from magref.checkpoints.parts import read_torch_file
from magref.curation.interfaces import Image, Rated
from magref.curation.models.loading import batches, load_pretrained, opened
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError, memory_errors

WIDTHS = (1024, 128, 64, 16, 1)
_PLACES = (0, 2, 4, 6, 7)
"""Of the layers in the published file, which counts the dropouts between them too."""


class ClipAesthetics:
    """An `AestheticScorer`, and a `Rater` by CLIP's embeddings.

    Args:
        clip: the folder of clip-vit-large-patch14 in transformers' layout.
        head: the head's .pth or .safetensors file.
        shelf: where the weights are kept while they are needed.
        batch: images at a time.
    """

    def __init__(self, clip: Path, head: Path, *, shelf: Shelf, batch: int = 16) -> None:
        self.clip = clip
        self.head = head
        self.batch = batch
        self._shelf = shelf

    def score(self, images: Sequence[Image]) -> list[float]:
        """From about 1 to about 10; the head has no bounds. Errors as for `rate`."""
        return [rated.score for rated in self.rate(images)]

    def rate(self, images: Sequence[Image]) -> list[Rated]:
        """Scores, with the embeddings that they are worked out from.

        Raises:
            CheckpointError, ResourceError: the weights are not whole; the memory does not suffice.
        """
        model, processor, head = self._shelf.take(self, self._load)
        found: list[Rated] = []
        for some in batches(images, self.batch):
            with memory_errors(f"{len(some)} images at a time", "use a smaller batch"):
                found += self._rate(model, processor, head, some)
        return found

    def _load(self) -> tuple[Any, Any, nn.Module]:
        from transformers import CLIPVisionModelWithProjection
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        device = self._shelf.device
        head = load_head(self.head).to(device)
        processor = opened(self.clip, lambda: CLIPImageProcessorPil.from_pretrained(str(self.clip)))
        model = load_pretrained(CLIPVisionModelWithProjection, self.clip, device=device, dtype=torch.float32)
        if model.config.projection_dim != head[0].in_features:
            raise CheckpointError(
                f"{self.clip} gives {model.config.projection_dim} numbers for an image and the head {self.head} takes "
                f"{head[0].in_features}; give the CLIP that the head was trained with, ViT-L/14"
            )
        return model, processor, head

    @torch.inference_mode()
    def _rate(self, model: Any, processor: Any, head: nn.Module, images: Sequence[Image]) -> list[Rated]:
        pixels = processor(images=list(images), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        embeddings = F.normalize(model(pixel_values=pixels.to(model.device)).image_embeds, dim=-1)  # (B, D)
        scores = head(embeddings)[:, 0].tolist()
        return [Rated(score, row) for score, row in zip(scores, embeddings.cpu().numpy(), strict=True)]


def load_head(path: Path) -> nn.Sequential:
    """The head, in float32.

    Raises:
        CheckpointError: the file is missing, damaged, or of something else.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        if not path.is_file():
            raise CheckpointError(f"{path} is missing; give the aesthetic head's file")
        tensors = opened(path, lambda: load_file(path))
    else:
        check_torch_file(path)
        tensors = read_torch_file(path)
    first = tensors.get(f"layers.{_PLACES[0]}.weight")
    widths = (first.shape[-1] if first is not None else 0, *WIDTHS)
    head = nn.Sequential(*(nn.Linear(*pair) for pair in pairwise(widths)))
    expected = {
        f"layers.{place}.{kind}": f"{n}.{kind}" for n, place in enumerate(_PLACES) for kind in ("weight", "bias")
    }
    shapes = head.state_dict()
    if tensors.keys() != expected.keys() or any(
        tensors[name].shape != shapes[own].shape for name, own in expected.items()
    ):
        raise CheckpointError(f"{path} is not the aesthetic head (five layers, 768 numbers in); download it again")
    head.load_state_dict({own: tensors[name].float() for name, own in expected.items()})
    return head.eval()
