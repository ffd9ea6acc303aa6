"""Which of the words that a model named are labels to look for, and what sort of thing each means (paper 3.1).

A label must stand in the caption letter by letter, so that its place there is known (`Subject.span`); else the prompt
of a training sample would not say what its reference is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from magref.curation.outcome import Kept, Outcome, Rejected, below
from magref.curation.settings import CaptionSettings, LabelSettings
from magref.curation.words import BODY, HUMAN, PLACE, THIN, head_of, singular
from magref.dataset.format import find_span

Kind: TypeAlias = Literal["object", "thin", "human", "background"]
"""What a label means; thin is an object too, judged by its own limits."""

PERSON = "person"
"""Looked for in every clip, whatever its caption names: objects are told from people by people's masks."""

_ARTICLE = re.compile(r"^(?:an?|the|his|her|their|its|some)\s+(?=\w)", re.IGNORECASE)


@dataclass(frozen=True)
class Label:
    """Words that a model named; `text` as the caption has them, where it has them.

    `kind` and `span` (start and end in characters) are None where the words were rejected before these were known.
    """

    text: str
    kind: Kind | None
    span: tuple[int, int] | None
    outcome: Outcome


def judge_caption(caption: str, settings: CaptionSettings) -> Rejected | None:
    """Rejected where a caption is too short to be one."""
    return below("caption", "too few words", len(caption.split()), settings.least_words)


def find_labels(caption: str, named: Sequence[str], settings: LabelSettings) -> list[Label]:
    """What becomes of each of the words named; in their order, repetitions left out."""
    stripped = [_ARTICLE.sub("", word.strip(" \t\n.,;:\"'")) for word in named]
    labels = [_label(caption, word, settings) for word in dict.fromkeys(word for word in stripped if word)]
    found: list[Label] = []
    for label in labels:
        found.append(_among(label, labels, kept_labels(found), settings) if label.outcome == Kept() else label)
    return found


def kept_labels(labels: Sequence[Label]) -> list[Label]:
    """Those that are to be looked for."""
    return [label for label in labels if isinstance(label.outcome, Kept)]


def to_ask(labels: Sequence[Label]) -> list[str]:
    """What the detector is asked for: each label's words, and people."""
    return list(dict.fromkeys([*(label.text for label in kept_labels(labels)), PERSON]))


def kind_of(label: str, settings: LabelSettings) -> Kind | None:
    """What a label means by its noun; None for a part of a body."""
    head = head_of(label)
    if head in HUMAN or head in _own(settings.human_words):
        return "human"
    if head in BODY or head in _own(settings.body_words):
        return None
    if head in PLACE or head in _own(settings.background_words):
        return "background"
    return "thin" if head in THIN or head in _own(settings.thin_words) else "object"


def _own(words: Sequence[str]) -> set[str]:
    return {singular(word.lower()) for word in words}


def _label(caption: str, words: str, settings: LabelSettings) -> Label:
    span = find_span(caption, words)
    if span is None:
        return _rejected(Label(words, None, None, Kept()), "not in the caption", words)
    label = Label(caption[slice(*span)], kind_of(words, settings), span, Kept())
    count = len(words.split())
    if count > settings.longest_words:
        return _rejected(label, "a clause", count, settings.longest_words)
    if label.kind is None:
        return _rejected(label, "part of a body", head_of(words))
    return label


def _among(label: Label, labels: Sequence[Label], kept: Sequence[Label], settings: LabelSettings) -> Label:
    """The label beside all others and those kept before it."""
    around = next((other for other in labels if _within(label, other)), None)
    if around is not None:
        return _rejected(label, "within another label", around.text)
    if any(label.span == other.span for other in kept):
        return _rejected(label, "named twice", label.text)
    if len(kept) >= settings.most:
        return _rejected(label, "too many labels", len(kept) + 1, settings.most)
    return label


def _within(label: Label, other: Label) -> bool:
    """Whether the other label says the same and more: "ball" where "red ball" is another."""
    if label.span is None or other.span is None or label.span == other.span or not isinstance(other.outcome, Kept):
        return False
    inside = other.span[0] <= label.span[0] and label.span[1] <= other.span[1]
    return inside and head_of(label.text) == head_of(other.text)


def _rejected(label: Label, reason: str, value: str | int, limit: int | None = None) -> Label:
    return Label(label.text, label.kind, label.span, Rejected(stage="labels", reason=reason, value=value, limit=limit))
