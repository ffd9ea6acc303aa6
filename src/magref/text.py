"""Prompts to text features."""

from __future__ import annotations

import html
import re
from typing import Any

import ftfy
import torch

from magref.errors import InputError


def clean_prompt(text: str) -> str:
    """Mend broken Unicode and HTML entities and collapse white space, as Wan2.1 does before its tokenizer."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def check_prompt(prompt: str) -> None:
    """Raise InputError unless there is something to read."""
    if not isinstance(prompt, str):
        raise InputError(f"the prompt is a {type(prompt).__name__}; give one string")
    if not clean_prompt(prompt):
        raise InputError("the prompt is empty; say in a sentence what happens in the video")


@torch.no_grad()
def encode_text(text: str, *, tokenizer: Any, text_encoder: Any, text_tokens: int) -> torch.Tensor:
    """One prompt -> its features (n, D), n <= text_tokens, without padding; what is longer is cut off.

    The published code pads to `text_tokens` under a mask and cuts the padding off again, which gives the same rows.
    """
    tokens = tokenizer([clean_prompt(text)], max_length=text_tokens, truncation=True, return_tensors="pt")
    ids, mask = tokens.input_ids.to(text_encoder.device), tokens.attention_mask.to(text_encoder.device)
    return text_encoder(ids, attention_mask=mask).last_hidden_state[0]
