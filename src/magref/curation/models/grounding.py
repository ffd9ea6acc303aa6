"""GroundingDINO: boxes around what labels name, over transformers.

Checked with random weights of the same architecture only; not run with the published weights.

The model is given one text for all labels of an image, "red car. dog.", and says for every box how well each token of
it fits. Published code reads the fitting tokens as a phrase, which may hold a part of a label or parts of two ("red
dog"). Here the tokens of a label are known by their places, and a box belongs to the label with the larger share of
its tokens among them: overlap of words, told apart even where two labels have a word in common.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from magref.curation.interfaces import Corners, Detection, Image
from magref.curation.models.loading import batches, load_pretrained, opened
from magref.curation.models.shelf import Shelf
from magref.errors import InputError, memory_errors

BOX_THRESHOLD = TEXT_THRESHOLD = 0.25
"""Those of the published demonstration: of a box's best token, and of the tokens that count as its phrase."""

_SEPARATORS = re.compile(r"[.?]")
"""The model takes these for the end of a label."""


@dataclass(frozen=True)
class Prompt:
    """One text for the model.

    Attributes:
        tokens: its ids, from [CLS] to [SEP].
        spans: label -> the places of its tokens, from and to, the second exclusive.
    """

    tokens: list[int]
    spans: dict[str, tuple[int, int]]


class GroundingDetector:
    """A `Detector`.

    Images of one size go through the model together. What stands in one batch has no influence on the boxes.

    Args:
        folder: the model as published, for example grounding-dino-base.
        shelf: where its weights are kept while they are needed.
        box_threshold: the least score of a box.
        text_threshold: the least score of a token that counts for a label.
        batch: images at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shelf: Shelf,
        box_threshold: float = BOX_THRESHOLD,
        text_threshold: float = TEXT_THRESHOLD,
        batch: int = 4,
    ) -> None:
        self.folder = folder
        self.box_threshold = box_threshold
        self.text_threshold = text_threshold
        self.batch = batch
        self._shelf = shelf

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Boxes in each image, surest first, inside the image; they may overlap.

        Raises:
            InputError: a label has no words, or is longer than the model can read.
            CheckpointError, ResourceError: the weights are not whole; the memory does not suffice.
        """
        model, processor, tokenizer = self._shelf.take(self, self._load)
        jobs: dict[tuple[int, ...], list[tuple[int, Prompt]]] = defaultdict(list)  # by size: the model pads otherwise
        for n, (image, names) in enumerate(zip(images, labels, strict=True)):
            for prompt in make_prompts(tokenizer, names, longest=model.config.max_text_len):
                jobs[image.shape].append((n, prompt))
        found: list[list[Detection]] = [[] for _ in images]
        for same_size in jobs.values():
            for some in batches(same_size, self.batch):
                with memory_errors(f"{len(some)} images at a time", "use a smaller batch"):
                    results = self._forward(model, processor, [images[n] for n, _ in some], [p for _, p in some])
                for (n, _), detections in zip(some, results, strict=True):
                    found[n] += detections
        return [sorted(detections, key=lambda detection: -detection.score) for detections in found]

    def _load(self) -> tuple[Any, Any, Any]:
        from transformers import AutoTokenizer, GroundingDinoForObjectDetection
        from transformers.models.grounding_dino import image_processing_pil_grounding_dino as processing

        path = str(self.folder)
        processor = opened(self.folder, lambda: processing.GroundingDinoImageProcessorPil.from_pretrained(path))
        tokenizer = opened(self.folder, lambda: AutoTokenizer.from_pretrained(path, local_files_only=True))
        kind = GroundingDinoForObjectDetection
        model = load_pretrained(kind, self.folder, device=self._shelf.device, dtype=torch.float32)
        return model, processor, tokenizer

    @torch.inference_mode()
    def _forward(
        self, model: Any, processor: Any, images: Sequence[Image], prompts: Sequence[Prompt]
    ) -> list[list[Detection]]:
        pixels = processor(images=list(images), return_tensors="pt", input_data_format="channels_last")
        longest = max(len(prompt.tokens) for prompt in prompts)
        tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt.tokens)] = torch.tensor(prompt.tokens)
            mask[row, : len(prompt.tokens)] = 1
        outputs = model(
            pixel_values=pixels["pixel_values"].to(model.device),
            pixel_mask=pixels["pixel_mask"].to(model.device),
            input_ids=tokens.to(model.device),
            token_type_ids=torch.zeros_like(tokens).to(model.device),
            attention_mask=mask.to(model.device),
        )
        scores = outputs.logits.float().sigmoid().cpu().numpy()
        boxes = outputs.pred_boxes.float().cpu().numpy()
        sizes = [image.shape[:2] for image in images]
        return [self._read(*entry) for entry in zip(scores, boxes, sizes, prompts, strict=True)]

    def _read(self, scores: np.ndarray, boxes: np.ndarray, size: tuple[int, int], prompt: Prompt) -> list[Detection]:
        """One image's boxes above the threshold.

        Args:
            scores: (queries, tokens), padded to the model's longest text with zeros.
            boxes: (queries, 4): centre and size as shares of the image.
        """
        kept = scores.max(axis=-1) > self.box_threshold
        detections = []
        for query, box in zip(scores[kept], boxes[kept], strict=True):
            label = named(query, prompt.spans, self.text_threshold)
            if label is not None:
                detections.append(Detection(label, corners(box, size), float(query.max())))
        return detections


def make_prompts(tokenizer: Any, labels: Sequence[str], *, longest: int) -> list[Prompt]:
    """One text for all labels, or several where the model cannot read them at once; each label once.

    Raises:
        InputError: a label has no words, or is too long by itself.
    """
    stop = tokenizer.convert_tokens_to_ids(".")
    prompts: list[Prompt] = []
    for label in dict.fromkeys(labels):
        words = tokenizer(_SEPARATORS.sub(" ", label.lower()), add_special_tokens=False)["input_ids"]
        if not words:
            raise InputError(f"the label {label!r} has no words to look for; leave it out")
        if len(words) + 3 > longest:
            raise InputError(f"the label {label[:40]!r}... is longer than the detector can read; shorten it")
        if not prompts or len(prompts[-1].tokens) + len(words) + 1 > longest:
            prompts.append(Prompt([tokenizer.cls_token_id, tokenizer.sep_token_id], {}))
        last = prompts[-1]
        start = len(last.tokens) - 1  # before [SEP]
        last.tokens[start:start] = [*words, stop]
        last.spans[label] = (start, start + len(words))
    return prompts


def named(scores: np.ndarray, spans: dict[str, tuple[int, int]], threshold: float) -> str | None:
    """The label with the largest share of tokens above the threshold, of equals the one that they fit best.

    None where no label has such a token: then a full stop scored, and the box is around nothing that was asked.
    """
    best, label = (0.0, 0.0), None
    for name, (start, end) in spans.items():
        fitting = scores[start:end][scores[start:end] > threshold]
        value = len(fitting) / (end - start), float(fitting.sum())
        if value > best:
            best, label = value, name
    return label


def corners(box: np.ndarray, size: tuple[int, int]) -> Corners:
    """Corners in pixels, cut at the image's edges, of a box given by centre and size as shares of the image."""
    height, width = size
    x, y, w, h = map(float, box)
    return (
        max((x - w / 2) * width, 0.0),
        max((y - h / 2) * height, 0.0),
        min((x + w / 2) * width, float(width)),
        min((y + h / 2) * height, float(height)),
    )
