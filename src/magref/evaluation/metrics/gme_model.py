"""gme-Qwen2-VL in this process, over transformers' Qwen2-VL.

Checked with random weights of the same architecture; not run with the published weights.

The published code (Alibaba-NLP/gme-Qwen2-VL-7B-Instruct, gme_inference.py) hands embeddings straight to the language
model, which then counts positions one after the other; transformers' own forward pass would give the tokens of an image
positions in two dimensions (M-RoPE) and shift every score. The embedding is what the last layer says at a literal
`<|endoftext|>` behind the chat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pictures

from magref.curation.interfaces import Image
from magref.curation.models.loading import batches, load_pretrained, opened
from magref.curation.models.qwen import fitting_size
from magref.curation.models.shelf import Shelf
from magref.errors import memory_errors
from magref.evaluation.metrics.gme import IMAGE_INSTRUCTION, TEXT_INSTRUCTION, Embeddings
from magref.placement import choose_dtype

MAX_TOKENS = 1800
"""Longer inputs are cut, as published; a prompt that long would lose the token that is looked at."""
FIRST_PIXELS, PIXELS = (4 * 28 * 28, 16384 * 28 * 28), (256 * 28 * 28, 1280 * 28 * 28)
"""Least and most pixels of an image: it is fitted into the first range, then into the second."""


class GmeModel:
    """A `JointEmbedder`.

    Args:
        folder: the model in transformers' layout, for example gme-Qwen2-VL-7B-Instruct.
        shelf: where its weights are kept while they are needed.
        dtype: precision; left out, the best for the device. Published: float16 on a GPU.
        batch: images at a time.
    """

    ran = "random weights of the same architecture; not with the published weights"

    def __init__(self, folder: Path, *, shelf: Shelf, dtype: torch.dtype | None = None, batch: int = 8) -> None:
        self.folder = folder
        self.dtype = dtype or choose_dtype(shelf.device)
        self.batch = batch
        self._shelf = shelf

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """See `JointEmbedder`.

        Raises:
            CheckpointError, ResourceError: the weights are not whole; the memory does not suffice.
        """
        model, tokenizer, _ = self._shelf.take(self, self._load)
        chats = [_chat(TEXT_INSTRUCTION, text) for text in texts]
        parts = [self._embed(model, tokenizer, some, None) for some in batches(chats, self.batch)]
        return np.concatenate(parts)

    def images(self, images: Sequence[Image]) -> Embeddings:
        """See `JointEmbedder`; errors as for `texts`."""
        model, tokenizer, processor = self._shelf.take(self, self._load)
        parts = []
        for some in batches(images, self.batch):
            pixels = processor(images=[_fitted(image) for image in some], return_tensors="pt")
            merged = model.config.vision_config.spatial_merge_size**2
            pad = tokenizer.convert_ids_to_tokens(model.config.image_token_id)
            chats = [
                _chat(IMAGE_INSTRUCTION, f"<|vision_start|>{pad * (math.prod(grid) // merged)}<|vision_end|>")
                for grid in pixels["image_grid_thw"].tolist()
            ]
            parts.append(self._embed(model, tokenizer, chats, pixels))
        return np.concatenate(parts)

    def _load(self) -> tuple[Any, Any, Any]:
        from transformers import AutoTokenizer, Qwen2VLModel
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        tokenizer = opened(self.folder, lambda: AutoTokenizer.from_pretrained(str(self.folder), local_files_only=True))
        model = load_pretrained(Qwen2VLModel, self.folder, device=self._shelf.device, dtype=self.dtype)
        vision = model.config.vision_config
        least, most = PIXELS
        processor = Qwen2VLImageProcessorPil(
            size={"shortest_edge": least, "longest_edge": most},
            patch_size=vision.patch_size,
            temporal_patch_size=vision.temporal_patch_size,
            merge_size=vision.spatial_merge_size,
        )
        return model, tokenizer, processor

    @torch.inference_mode()
    def _embed(self, model: Any, tokenizer: Any, chats: Sequence[str], pixels: Any) -> Embeddings:
        with memory_errors(f"{len(chats)} images at a time", "use a smaller batch"):
            tokens = tokenizer(
                list(chats),
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            ids, mask = tokens["input_ids"].to(model.device), tokens["attention_mask"].to(model.device)
            inputs = model.get_input_embeddings()(ids)  # (B, L, D)
            if pixels is not None:
                seen = model.visual(
                    pixels["pixel_values"].to(model.device, self.dtype),
                    grid_thw=pixels["image_grid_thw"].to(model.device),
                ).pooler_output
                inputs[ids == model.config.image_token_id] = seen.to(inputs.dtype)
            positions = torch.arange(ids.shape[1], device=ids.device).expand(3, len(ids), -1)
            states = model.language_model(
                inputs_embeds=inputs, attention_mask=mask, position_ids=positions, use_cache=False
            ).last_hidden_state
            last = states[torch.arange(len(ids), device=ids.device), mask.sum(dim=1) - 1]
            return F.normalize(last.float(), dim=1).cpu().numpy()


def _chat(instruction: str, said: str) -> str:
    """The published template, which ends where the answer would begin."""
    return (
        f"<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{said}<|im_end|>\n"
        "<|im_start|>assistant\n<|endoftext|>"
    )


def _fitted(image: Image) -> Pictures.Image:
    """Sides that are multiples of 28, as the published code makes them before the processor does so again."""
    height, width = fitting_size(*image.shape[:2], factor=28, pixels=FIRST_PIXELS)
    return Pictures.fromarray(image).resize((width, height))
