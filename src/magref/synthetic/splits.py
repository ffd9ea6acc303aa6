"""What training never sees: some identities, some combinations of subject and motion, some wordings. In one place.

The split "train" takes none of it. In "held-out" every identity is held out, and half of the samples each also have a
combination and a wording that are; what is new in a sample stands in its truth.
"""

from __future__ import annotations

from typing import Final, Literal

from magref.errors import InputError

Split = Literal["train", "held-out"]
SPLITS: Final[tuple[Split, ...]] = ("train", "held-out")

_EVERY = 8
"""Of eight identities in a row, the last one is held out."""

HELD_OUT_MOTIONS: Final = frozenset({
    ("woman", "circles"), ("woman", "up"), ("man", "sways"), ("man", "shrinks"), ("girl", "grows"), ("girl", "jumps"),
    ("boy", "left"), ("boy", "turns"), ("dog", "jumps"), ("dog", "left"), ("cat", "right"), ("cat", "circles"),
    ("horse", "still"), ("rabbit", "grows"), ("cow", "right"), ("bear", "left"), ("elephant", "up"), ("lion", "down"),
    ("bird", "down"), ("duck", "left"), ("penguin", "jumps"), ("owl", "right"), ("fish", "up"), ("whale", "left"),
    ("snake", "right"), ("turtle", "jumps"), ("butterfly", "grows"), ("ball", "up"), ("cup", "left"), ("car", "grows"),
    ("bus", "right"), ("balloon", "left"), ("robot", "turns"), ("teddy", "right"), ("star", "spins"), ("boat", "jumps"),
})  # fmt: skip
"""A kind of subject, and a motion that it never makes in training; other kinds make it."""

HELD_OUT_PAIRS: Final = frozenset({
    frozenset({"left", "up"}), frozenset({"right", "grows"}), frozenset({"jumps", "circles"}),
    frozenset({"down", "still"}), frozenset({"shrinks", "sways"}),
})  # fmt: skip
"""Two motions that never occur together in one training clip."""

HELD_OUT_WORDS: Final = frozenset({
    "stroll", "wander", "glide", "travel", "ascend", "descend", "advance", "recede", "linger", "orbit", "leap",
    "rotate",
    "wobble", "greet", "serpent", "lady", "rucksack", "meadow",
})  # fmt: skip
"""Verbs and nouns that no training caption has; each has a common synonym that is used instead."""


def check_split(split: str) -> Split:
    """The split by its name; InputError where there is none."""
    for known in SPLITS:
        if split == known:
            return known
    raise InputError(f"there is no split {split!r}; use {' or '.join(SPLITS)}")


def nth_identity(split: Split, n: int) -> int:
    """The number of the n-th identity (n from 0) of a split; the splits share none."""
    return n * _EVERY + _EVERY - 1 if split == "held-out" else n // (_EVERY - 1) * _EVERY + n % (_EVERY - 1)


def split_of(identity: int) -> Split:
    """To which split an identity belongs."""
    return "held-out" if identity % _EVERY == _EVERY - 1 else "train"


def combination_is_held_out(kind: str, motion: str, others: tuple[str, ...] = ()) -> bool:
    """Whether this motion of this kind, beside the others' motions in the clip, is held out from training."""
    return (kind, motion) in HELD_OUT_MOTIONS or any(frozenset({motion, other}) in HELD_OUT_PAIRS for other in others)
