"""What the transformer sees of the text: a text encoder's features, or the caller's own."""

from __future__ import annotations

import logging
from typing import Any

import torch

from magref.errors import InputError
from magref.prompts import clean_prompt

_LOG = logging.getLogger(__name__)


def count_tokens(text: str, tokenizer: Any) -> int:
    """How many tokens a prompt has, uncut."""
    return len(tokenizer([clean_prompt(text)], verbose=False).input_ids[0])


@torch.no_grad()
def encode_text(
    text: str, *, tokenizer: Any, text_encoder: Any, text_tokens: int, device: torch.device | None = None
) -> torch.Tensor:
    """One prompt -> its features (n, D), n <= text_tokens, without padding; what is longer is cut off.

    The published code pads to `text_tokens` under a mask and cuts the padding off again, which gives the same rows.
    An offloaded text encoder is brought to `device`; None: its own.
    """
    device = device or text_encoder.device
    tokens = tokenizer([clean_prompt(text)], max_length=text_tokens, truncation=True, return_tensors="pt")
    ids, mask = tokens.input_ids.to(device), tokens.attention_mask.to(device)
    return text_encoder(ids, attention_mask=mask).last_hidden_state[0]


def warn_if_cut(text: str, tokenizer: Any, text_tokens: int) -> None:
    """Say so where a prompt is longer than what the model reads of it."""
    if (given := count_tokens(text, tokenizer)) > text_tokens:
        _LOG.warning(f'"{text[:40]}..." has {given} tokens, and the model reads the first {text_tokens}; shorten it')


def check_text_features(features: torch.Tensor | None, width: int, text_tokens: int) -> None:
    """Raise InputError unless they are (n, width) or (1, n, width), n at most `text_tokens`; None will do."""
    if features is None:
        return
    if not isinstance(features, torch.Tensor):
        raise InputError(f"text features are a {type(features).__name__}; give a torch tensor")
    shape = tuple(features.shape)
    if features.ndim not in (2, 3) or shape[-1] != width or (features.ndim == 3 and shape[0] != 1):
        raise InputError(f"text features have shape {shape}; give (n, {width}) or (1, n, {width})")
    if shape[-2] > text_tokens:
        raise InputError(f"{shape[-2]} text rows were given; give at most {text_tokens}")
