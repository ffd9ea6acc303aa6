"""Teach a small text encoder to read before the transformer learns from it.

Wan2.1's umT5 has read the web. A random one says nothing, and a small transformer with an hour of clips learned to copy
its references while it still took no notice of the words. So the encoder is taught on captions alone, of which the
synthetic world has any number: every word's feature is to tell each subject's motion, in the order in which they are
named, and what lies behind them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from magref.synthetic.motions import MOTIONS
from magref.synthetic.palette import NAMES as COLOURS
from magref.synthetic.places import NAMES as PLACES
from magref.synthetic.places import place_of
from magref.synthetic.plans import Plan, WorldConfig, plan_scene
from magref.training.encoding import caption_features

SUBJECTS = 3
_ANSWERS = [("nobody", *MOTIONS)] * SUBJECTS + [(*COLOURS, *PLACES)]
"""What can be said to each question: how the n-th subject moves, and what is behind."""
_UNKNOWN = -100
"""Where a caption does not say."""

_WORLD = WorldConfig(disguised=0.5)


def answers(plan: Plan) -> list[int]:
    """What is true of a scene, one number for each question; -100 where the caption leaves it open."""
    moving = [subject.motion for subject in plan.subjects] + ["nobody"] * (SUBJECTS - len(plan.subjects))
    told = [words.index(motion) for words, motion in zip(_ANSWERS, moving, strict=False)]
    behind = plan.colour if plan.place is None else place_of(plan.place)
    hidden = plan.place is not None and plan.caption.place is None
    return [*told, _UNKNOWN if hidden else _ANSWERS[-1].index(behind)]


def scenes(first: int, count: int, size: tuple[int, int, int]) -> list[Plan]:
    """So many scenes of the training split, from the first number on, for videos of (frames, height, width)."""
    frames, height, width = size
    return [
        plan_scene(index, frames=frames, height=height, width=width, seed=3, split="train", config=_WORLD)
        for index in range(first, first + count)
    ]


class Reader(torch.nn.Module):
    """The encoder, and a linear layer for each question over its features."""

    def __init__(self, encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerFast, text_tokens: int) -> None:
        super().__init__()
        self.encoder, self._tokenizer, self._text_tokens = encoder, tokenizer, text_tokens
        self.heads = torch.nn.ModuleList(torch.nn.Linear(encoder.config.d_model, len(words)) for words in _ANSWERS)

    def forward(self, captions: Sequence[str]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Each question's logits (B, L, answers) by every word, and which words there are (B, L)."""
        features = caption_features(captions, self._tokenizer, self.encoder, self._text_tokens)
        return [head(features) for head in self.heads], features.abs().sum(dim=-1) > 0


def teach(
    encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerFast, size: tuple[int, int, int], *, steps: int,
    text_tokens: int, batch: int = 64, learning_rate: float = 2e-3, report: Callable[[int, float], None] | None = None,
) -> None:  # fmt: skip
    """Train the encoder in place, on `steps` batches of captions that it has not seen before."""
    reader = Reader(encoder, tokenizer, text_tokens)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    for step in range(steps):
        seen = scenes(step * batch, batch, size)
        logits, there = reader([plan.caption.text for plan in seen])
        truth = torch.tensor([answers(plan) for plan in seen])
        loss = torch.stack([_loss(each, truth[:, n], there) for n, each in enumerate(logits)]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        share = min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * share
        optimizer.step()
        if report is not None and step % 50 == 0:
            report(step, float(loss.detach()))


def _loss(logits: torch.Tensor, truth: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all words of all captions that answer the question."""
    answered = truth[:, None].expand(there.shape).masked_fill(~there, _UNKNOWN)
    return F.cross_entropy(logits.flatten(0, 1), answered.flatten(), ignore_index=_UNKNOWN)
