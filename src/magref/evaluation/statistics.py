"""Means with what they rest on: how many videos, and an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magref.settings import Record

RESAMPLES = 2000
COVERAGE = 0.95


class Mean(Record):
    """The mean over `n` videos and its interval of 95%; all None where no video had a value."""

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return (
            "not measured" if self.value is None else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"
        )


def mean_of(values: Sequence[float | Sequence[float | None] | None], *, seed: int = 0) -> Mean:
    """The mean and its interval.

    Videos are drawn again with all that was measured in them, since the subjects of one video are not independent.
    Where all of them say yes, or all no, drawing again says nothing: the interval is then Clopper and Pearson's.

    Args:
        values: one for each video, or several (one for each subject); None is missing and counts for nothing.
        seed: of the resampling.
    """
    groups = [group if isinstance(group, Sequence) else [group] for group in values]
    kept = [[float(v) for v in group if v is not None] for group in groups]
    kept = [group for group in kept if group]
    if not kept:
        return Mean(value=None, n=0)
    sums, counts = np.array([sum(group) for group in kept]), np.array([len(group) for group in kept])
    drawn = np.random.default_rng(seed).integers(len(kept), size=(RESAMPLES, len(kept)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    if low == high and all(isinstance(v, bool) for group in groups for v in group if v is not None):
        rarest = 1 - ((1 - COVERAGE) / 2) ** (1 / len(kept))
        low, high = (1 - rarest, 1.0) if high else (0.0, rarest)
    return Mean(value=float(sums.sum() / counts.sum()), n=len(kept), low=float(low), high=float(high))


def area_under_curve(same: Sequence[float], other: Sequence[float]) -> float:
    """How often a value of the first sort is greater than one of the second, ties counted half: the area under the
    receiver operating characteristic.
    """
    order = np.sort(np.asarray(other, dtype=np.float64))
    own = np.asarray(same, dtype=np.float64)
    below, upto = np.searchsorted(order, own, side="left"), np.searchsorted(order, own, side="right")
    return float(((below + upto) / 2).mean() / len(order))
