"""What can be said of a subject: its noun, its adjectives, and what it has or wears."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """The words for one identity, the most telling first.

    `nouns` are synonyms; `adjectives` stand before the noun ("spotted", "blue"); `having` follows it after "with" ("red
    hair", "a scarf") and `wearing` after "in" or "wearing" ("a striped shirt").
    """

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...] = ()
    having: tuple[str, ...] = ()
    wearing: tuple[str, ...] = ()


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    sounds_open = words[0].lower() in "aeiou" and not words.lower().startswith(("one", "uni", "eu"))
    return f"{'an' if sounds_open else 'a'} {words}"


PATTERN_WORDS = {
    "plain": "", "striped": "striped", "pinstriped": "pinstriped", "diagonal": "striped", "checked": "checked",
    "dotted": "spotted", "zigzag": "zigzag", "patchy": "patterned", "plaid": "plaid",
}  # fmt: skip
