"""Means with what they rest on: how many videos, and an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magref.settings import Record

RESAMPLES = 2000
COVERAGE = 0.95


class Mean(Record):
    """The mean over `n` videos and its interval of 95%; all None where no video had a value.

    There is no interval where one video alone had a value and answered no question.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return "not measured" if self.value is None else f"{self.short('.3f')} n={self.n}"

    def short(self, form: str = ".2f") -> str:
        """The mean, and its interval where there is one; empty where no video had a value."""
        if self.value is None:
            return ""
        if self.low is None or self.high is None:
            return f"{self.value:{form}}"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"


def mean_of(values: Sequence[float | Sequence[float | None] | None], *, yes_no: bool = False, seed: int = 0) -> Mean:
    """The mean and its interval.

    Videos are drawn again with all that was measured in them, since the subjects of one video are not independent.
    Where all of them say yes, or all no, drawing again says nothing: the interval is then Clopper and Pearson's.

    Args:
        values: one for each video, or several (one for each subject); None is missing and counts for nothing.
        yes_no: they are answers, or each a share of several; booleans always are.
        seed: of the resampling.
    """
    groups = [group if isinstance(group, Sequence) else [group] for group in values]
    kept = [[float(v) for v in group if v is not None] for group in groups]
    kept = [group for group in kept if group]
    if not kept:
        return Mean(value=None, n=0)
    sums, counts = np.array([sum(group) for group in kept]), np.array([len(group) for group in kept])
    mean = float(sums.sum() / counts.sum())
    answers = yes_no or all(isinstance(v, bool) for group in groups for v in group if v is not None)
    if answers and all(v == mean for group in kept for v in group) and mean in (0, 1):
        rarest = 1 - ((1 - COVERAGE) / 2) ** (1 / len(kept))
        low, high = (1 - rarest, 1.0) if mean else (0.0, rarest)
        return Mean(value=mean, n=len(kept), low=low, high=high)
    if len(kept) == 1:
        return Mean(value=mean, n=1)
    drawn = np.random.default_rng(seed).integers(len(kept), size=(RESAMPLES, len(kept)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Mean(value=mean, n=len(kept), low=float(low), high=float(high))


def area_under_curve(same: Sequence[float], other: Sequence[float]) -> float:
    """How often a value of the first sort is greater than one of the second, ties counted half: the area under the
    receiver operating characteristic.
    """
    order = np.sort(np.asarray(other, dtype=np.float64))
    own = np.asarray(same, dtype=np.float64)
    below, upto = np.searchsorted(order, own, side="left"), np.searchsorted(order, own, side="right")
    return float(((below + upto) / 2).mean() / len(order))
