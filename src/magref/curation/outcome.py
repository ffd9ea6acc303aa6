"""What becomes of an item: kept, rejected by a rule, or failed with an error. The last two are never the same thing.

A rejection is an answer about the material: the rule, the value that was measured and the limit it was held against, so
that other limits can be tried on the same values. A failure is an accident of one item: what was wrong, in a sentence.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from magref.errors import MagrefError
from magref.settings import Record

Stage: TypeAlias = Literal[
    "source", "cuts", "windows", "motion", "overlay", "duplicates", "aesthetic", "caption", "labels", "boxes", "masks",
    "objects", "faces", "identities", "candidates", "samples", "guard",
]  # fmt: skip
STAGES: tuple[str, ...] = get_args(Stage)
Value: TypeAlias = float | int | str | None


class Kept(Record):
    """The item goes on."""

    state: Literal["kept"] = "kept"


class Rejected(Record):
    """A rule spoke against the item. `value` is what was measured or found, `limit` what it had to keep to."""

    state: Literal["rejected"] = "rejected"
    stage: Stage
    reason: str
    value: Value = None
    limit: Value = None

    def __str__(self) -> str:
        said = "" if self.value is None else f": {_shown(self.value)}"
        return f"{self.reason}{said}" + ("" if self.limit is None else f", limit {_shown(self.limit)}")


class Failed(Record):
    """Something broke at the item; nothing is known about its worth."""

    state: Literal["failed"] = "failed"
    stage: Stage
    error: str


Outcome: TypeAlias = Kept | Rejected | Failed


def failure(stage: Stage, error: Exception) -> Failed:
    """The failure that an error means: the sentence of our own errors, the type and the words of others."""
    words = str(error) if isinstance(error, MagrefError) else f"{type(error).__name__}: {error}"
    return Failed(stage=stage, error=words)


def below(stage: Stage, reason: str, value: float, limit: float) -> Rejected | None:
    """Rejected where the value is under its limit or no number."""
    return None if value >= limit else Rejected(stage=stage, reason=reason, value=float(value), limit=limit)


def above(stage: Stage, reason: str, value: float, limit: float) -> Rejected | None:
    """Rejected where the value is over its limit or no number."""
    return None if value <= limit else Rejected(stage=stage, reason=reason, value=float(value), limit=limit)


def _shown(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
