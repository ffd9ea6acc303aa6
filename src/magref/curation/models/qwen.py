"""Qwen2.5-VL in this process, over transformers.

Checked with random weights of the same architecture only; not run with the published weights.

Its processor in transformers needs torchvision, so its three steps are done here: frames to patches, the chat template
with a token for each 2 x 2 patches, and the type of each token, from which the model works out positions in space and
time. A clip goes in as a video: two frames share a patch, and positions in time follow the clip's seconds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from magref.checkpoints.headers import read_json
from magref.curation.models.asking import NEW_TOKENS, REPETITION_PENALTY, AskingCaptioner, Question
from magref.curation.models.loading import batches, load_pretrained, opened
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError, InputError, MagrefError, memory_errors
from magref.placement import choose_dtype
from magref.video import Frames

PIXELS = 128 * 28 * 28, 768 * 28 * 28
"""Least and most of a frame, as in the published code for videos (qwen-vl-utils) and transformers' video processor."""
MAX_ASPECT = 200
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, which the model was trained with."""

_LOG = logging.getLogger(__name__)


class QwenCaptioner(AskingCaptioner):
    """A `Captioner`.

    Decoding takes the likeliest token: temperature 0.1 and top-p 0.001 leave no other, and nothing is random.

    Args:
        folder: the model as published, for example Qwen2.5-VL-7B-Instruct.
        shelf: where its weights are kept while they are needed.
        fps: frames a second of the clips.
        dtype: precision; left out, the best for the device.
        batch: clips at a time.
        pixels: the least and the most of a frame that the model sees; others are made larger or smaller.
        new_tokens: the longest answer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shelf: Shelf,
        fps: float,
        dtype: torch.dtype | None = None,
        batch: int = 1,
        pixels: tuple[int, int] = PIXELS,
        new_tokens: int = NEW_TOKENS,
    ) -> None:
        super().__init__(fps=fps)
        self.folder = folder
        self.dtype = dtype or choose_dtype(shelf.device)
        self.batch = batch
        self.pixels = pixels
        self.new_tokens = new_tokens
        self._shelf = shelf

    def reply(self, questions: Sequence[Question]) -> list[str | MagrefError]:
        """The answers, `batch` of them at a time; see `AskingCaptioner`."""
        model, tokenizer = self._shelf.take(self, self._load)
        answers: list[str | MagrefError] = []
        for some in batches(questions, self.batch):
            with memory_errors(f"{len(some)} clips at a time", "use a smaller batch or fewer pixels"):
                answers += self._answer(model, tokenizer, some)
        return answers

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

        tokenizer = opened(self.folder, lambda: AutoTokenizer.from_pretrained(str(self.folder), local_files_only=True))
        if tokenizer.chat_template is None:  # older releases have it in a file of the processor's
            tokenizer.chat_template = read_json(self.folder / "chat_template.json").get("chat_template")
        if not tokenizer.chat_template:
            raise CheckpointError(f"{self.folder} has no chat template; download its tokenizer_config.json again")
        kind = Qwen2_5_VLForConditionalGeneration
        return load_pretrained(kind, self.folder, device=self._shelf.device, dtype=self.dtype), tokenizer

    @torch.inference_mode()
    def _answer(self, model: Any, tokenizer: Any, questions: Sequence[Question]) -> list[str]:
        inputs = video_inputs(model.config, tokenizer, questions, pixels=self.pixels)
        prompt_tokens = inputs["input_ids"].shape[1]
        made = model.generate(
            **{name: value.to(model.device) for name, value in inputs.items()},
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=REPETITION_PENALTY,
            max_new_tokens=self.new_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )[:, prompt_tokens:]
        _LOG.info("%d answers, %d tokens asked, %d answered at most", len(questions), prompt_tokens, made.shape[1])
        return [text.strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)]


def video_inputs(
    config: Any, tokenizer: Any, questions: Sequence[Question], *, pixels: tuple[int, int] = PIXELS
) -> dict[str, torch.Tensor]:
    """What the model takes, as transformers' `Qwen2_5_VLProcessor` makes it of videos; texts padded on the left.

    Returns:
        input_ids, attention_mask and mm_token_type_ids (B, L); pixel_values_videos (patches, values of a patch);
        video_grid_thw (B, 3): patches in time, down and across; second_per_grid_ts (B,): seconds between patches.
    """
    vision = config.vision_config
    merge = vision.spatial_merge_size
    video_token = tokenizer.convert_ids_to_tokens(config.video_token_id)
    texts, patches, grids = [], [], []
    for question in questions:
        frames = resize(question.frames, factor=vision.patch_size * merge, pixels=pixels)
        values, grid = patchify(frames, vision.patch_size, vision.temporal_patch_size, merge)
        chat = tokenizer.apply_chat_template(_chat(question.turns), tokenize=False, add_generation_prompt=True)
        texts.append(chat.replace(video_token, video_token * (math.prod(grid) // merge**2), 1))
        patches.append(values)
        grids.append(grid)
    tokens = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    seconds = [vision.temporal_patch_size * question.seconds_apart for question in questions]
    return {
        "input_ids": tokens["input_ids"],
        "attention_mask": tokens["attention_mask"],
        "mm_token_type_ids": (tokens["input_ids"] == config.video_token_id).int() * 2,  # 0 text, 1 image, 2 video
        "pixel_values_videos": torch.cat(patches),
        "video_grid_thw": torch.tensor(grids),
        "second_per_grid_ts": torch.tensor(seconds),
    }


def resize(frames: Frames, *, factor: int, pixels: tuple[int, int]) -> torch.Tensor:
    """Frames at the size that the model takes them in, uint8 (F, 3, H, W)."""
    height, width = fitting_size(frames.shape[1], frames.shape[2], factor=factor, pixels=pixels)
    video = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2)
    if video.shape[-2:] == (height, width):
        return video
    return F.interpolate(video, (height, width), mode="bicubic", antialias=True)


def fitting_size(height: int, width: int, *, factor: int, pixels: tuple[int, int]) -> tuple[int, int]:
    """Multiples of `factor`, near the given aspect, with a number of pixels in the given range."""
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(f"frames of {width}x{height} are too narrow for the captioner; crop them")
    least, most = pixels
    down, across = round(height / factor) * factor, round(width / factor) * factor
    if down * across > most:
        shrink = math.sqrt(height * width / most)
        down, across = (max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width))
    elif down * across < least:
        grow = math.sqrt(least / (height * width))
        down, across = (math.ceil(side * grow / factor) * factor for side in (height, width))
    return down, across


def patchify(
    frames: torch.Tensor, patch: int, temporal_patch: int, merge: int
) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Normalised patches in the order in which the vision tower merges them, and how many lie in time, down and across.

    Args:
        frames: uint8 (F, 3, H, W); the last one is repeated where a patch needs more frames.
    """
    if lacking := -len(frames) % temporal_patch:
        frames = torch.cat([frames, frames[-1:].expand(lacking, -1, -1, -1)])
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    pixels = (frames - mean) / std
    times, down, across = len(frames) // temporal_patch, frames.shape[2] // patch, frames.shape[3] // patch
    pixels = pixels.view(times, temporal_patch, 3, down // merge, merge, patch, across // merge, merge, patch)
    # (times, down / merge, across / merge, merge, merge, colours, temporal patch, patch, patch)
    pixels = pixels.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return pixels.reshape(times * down * across, -1), (times, down, across)


def _chat(turns: Sequence[str]) -> list[dict[str, Any]]:
    """Turns as the chat template takes them, the video in the first."""
    first = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": turns[0]}]}
    roles = ("assistant", "user")
    return [first, *({"role": roles[n % 2], "content": text} for n, text in enumerate(turns[1:]))]
