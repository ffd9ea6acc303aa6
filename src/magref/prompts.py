"""Prompts as people type them: checked and cleaned."""

from __future__ import annotations

import html
import re

import ftfy

from magref.errors import InputError


def clean_prompt(text: str) -> str:
    """Mend broken Unicode and HTML entities and collapse white space, as Wan2.1 does before its tokenizer."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def check_prompt(prompt: object) -> None:
    """Raise InputError unless there is something to read."""
    if not isinstance(prompt, str):
        raise InputError(f"the prompt is a {type(prompt).__name__}; give one string")
    if not clean_prompt(prompt):
        raise InputError("the prompt is empty; say in a sentence what happens in the video")
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise InputError("the prompt holds bytes that are not UTF-8 text; type it again in UTF-8")
