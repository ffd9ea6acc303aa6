"""What a metric is: what it takes, what it gives, and what it says of itself."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from pydantic import Field

from magref.batch import Case
from magref.evaluation.decoding import DecodedVideo
from magref.settings import Record

Profile = Literal["opens2v", "strict"]
"""opens2v: as published by OpenS2V-Eval, to the digit, bugs included. strict: as it should be."""
PROFILES: tuple[Profile, ...] = get_args(Profile)

FRAMES = 32
"""Frames of a video that the metrics with networks look at, as published."""

Reason = Literal[
    "bad_case", "duplicate_id", "no_video", "corrupt_video", "other_length", "other_size", "too_short",
    "no_person_reference", "no_face_in_reference", "no_rule", "not_synthetic", "not_seen", "unavailable",
    "failed", "not_a_number",
]  # fmt: skip
"""Why a value is missing.

bad_case, duplicate_id: the case file's line cannot be used. no_video, corrupt_video: of the file. other_length,
other_size: it differs from the other videos. too_short: for this metric. no_person_reference, no_face_in_reference: of
the case. no_rule: the profile has none for such a case. not_synthetic: the metric knows the synthetic world alone.
not_seen: what is to be measured is not to be found in the video, or not said by the case. unavailable: the metric's
weights or packages are not here. failed: an error in the metric, a lack of memory among them. not_a_number: it came
out as NaN or infinite.
"""


class Value(Record):
    """What was measured; `parts` are what it is made of, such as each reference's own value, by name."""

    value: float
    parts: dict[str, float | None] = Field(default_factory=dict)


class Missing(Record):
    """What could not be measured, and why: a reason to count by, and a sentence to read. Never a zero."""

    reason: Reason
    why: str


Score = Value | Missing


class Measure(Record):
    """One number that a metric gives for each video.

    `unit` is "" for shares and cosines; `best` is None where neither more nor less is better. `yes_no`: each value is a
    share of yes and no, one question or several, so that a mean of 0 or 1 is no certainty.
    """

    name: str
    meaning: str
    unit: str = ""
    best: Literal["high", "low"] | None = "high"
    yes_no: bool = False


class About(Record):
    """What stands behind a metric: where it comes from, under which licence its weights are, and what was tried."""

    source: str
    licence: str
    ran: str
    """Whether it has run with its real weights."""


class Metric(Protocol):
    """Measures videos, one at a time."""

    @property
    def about(self) -> About:
        """What stands behind it."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What it gives, in the profile that it was made for."""

    def measure(self, video: DecodedVideo, case: Case) -> dict[str, Score]:
        """A score for each of its measures, by name.

        Raises:
            CheckpointError, ResourceError: its weights or the memory do not do.
        """
