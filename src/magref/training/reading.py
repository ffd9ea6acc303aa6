"""Teach a small text encoder to read before the transformer learns from it.

Wan2.1's umT5 has read the web. A random one says nothing, and a transformer that is trained with it learns to look
away: all its cross-attention goes to the padding behind the caption, from where no gradient leads back to the words
(docs/training.md). So the encoder is taught on captions alone, of which the synthetic world has any number: every
word's feature is to tell each subject's motion, in the order in which they are named, and what lies behind them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from magref.prompts import clean_prompt
from magref.synthetic.motions import MOTIONS
from magref.synthetic.palette import NAMES as COLOURS
from magref.synthetic.places import NAMES as PLACES
from magref.synthetic.places import place_of
from magref.synthetic.plans import STAGED, Plan, WorldConfig, plan_scene

SUBJECTS = 3
_ANSWERS = [("nobody", *MOTIONS)] * SUBJECTS + [(*COLOURS, *PLACES)]
"""What can be said to each question: how the n-th subject moves, and what is behind."""
_UNKNOWN = -100
"""Where a caption does not say."""
_WORLDS = (WorldConfig(disguised=0.5), STAGED)
"""Their captions in turn."""
_TEST = 1000
"""Captions that are kept for the test."""


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

    def plan(number: int) -> Plan:
        world = _WORLDS[number % len(_WORLDS)]
        return plan_scene(number, frames=frames, height=height, width=width, seed=3, split="train", config=world)

    return [plan(number) for number in range(first, first + count)]


class Lesson(NamedTuple):
    """Captions as tokens (N, L), which of these are words (N, L), and the answers (N, questions)."""

    ids: torch.Tensor
    words: torch.Tensor
    truth: torch.Tensor

    @classmethod
    def of(cls, plans: list[Plan], tokenizer: PreTrainedTokenizerFast, text_tokens: int) -> Lesson:
        """The captions of these scenes, cut to `text_tokens`."""
        texts = [clean_prompt(plan.caption.text) for plan in plans]
        tokens = tokenizer(texts, padding=True, max_length=text_tokens, truncation=True, return_tensors="pt")
        return cls(tokens.input_ids, tokens.attention_mask, torch.tensor([answers(plan) for plan in plans]))

    def draw(self, count: int, generator: torch.Generator) -> Lesson:
        """Some of them, as short as the longest of these allows."""
        chosen = torch.randint(len(self.ids), (count,), generator=generator)
        words = self.words[chosen]
        length = int(words.sum(dim=1).max())
        return Lesson(self.ids[chosen, :length], words[:, :length], self.truth[chosen])

    def targets(self, question: int) -> torch.Tensor:
        """(N, L): the answer at every word, -100 at the padding and where there is none."""
        return self.truth[:, question, None].expand(self.words.shape).masked_fill(self.words == 0, _UNKNOWN)


class Reader(torch.nn.Module):
    """The encoder, and a linear layer for each question over its features."""

    def __init__(self, encoder: UMT5EncoderModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = torch.nn.ModuleList(torch.nn.Linear(encoder.config.d_model, len(words)) for words in _ANSWERS)

    def forward(self, lesson: Lesson) -> list[torch.Tensor]:
        """Each question's logits at every token, (N, L, answers)."""
        features = self.encoder(lesson.ids, attention_mask=lesson.words).last_hidden_state
        return [head(features) for head in self.heads]

    @torch.no_grad()
    def share_right(self, lesson: Lesson) -> float:
        """Of all words' answers to all questions."""
        right = asked = 0
        for question, logits in enumerate(self(lesson)):
            targets = lesson.targets(question)
            right += int((logits.argmax(dim=-1) == targets).sum())
            asked += int((targets != _UNKNOWN).sum())
        return right / asked


def teach(
    encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerFast, size: tuple[int, int, int], *, steps: int,
    text_tokens: int, captions: int = 40_000, batch: int = 64, learning_rate: float = 2e-3,
    report: Callable[[int, float], None] | None = None,
) -> float:  # fmt: skip
    """Train the encoder in place; `report` is told step and loss.

    Returns:
        The share of right answers to captions that it has not seen.
    """
    reader = Reader(encoder)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    lesson = Lesson.of(scenes(0, captions, size), tokenizer, text_tokens)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        part = lesson.draw(batch, generator)
        loss = torch.stack(
            [
                F.cross_entropy(logits.flatten(0, 1), part.targets(question).flatten(), ignore_index=_UNKNOWN)
                for question, logits in enumerate(reader(part))
            ]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        share = min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * share
        optimizer.step()
        if report is not None and step % 100 == 0:
            report(step, float(loss.detach()))
    return reader.share_right(Lesson.of(scenes(captions, _TEST, size), tokenizer, text_tokens))
