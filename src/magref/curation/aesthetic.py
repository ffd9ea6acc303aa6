"""How pleasing a clip is (paper 3.1, aesthetic filter): the scores of three of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from magref.curation.outcome import Rejected, below
from magref.curation.settings import AestheticSettings


def chosen_frames(count: int) -> tuple[int, ...]:
    """The first, the middle and the last of a clip's frames; also those in which objects are looked for."""
    return tuple(sorted({0, count // 2, count - 1}))


def judge_aesthetic(scores: Sequence[float], settings: AestheticSettings) -> Rejected | None:
    """Rejected where the chosen frames' scores are too low, by their mean or the least of them."""
    value = fmean(scores) if settings.over == "mean" else min(scores)
    return below("aesthetic", "not pleasing", value, settings.least)
