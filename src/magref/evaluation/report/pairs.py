"""Whether two systems differ: paired tests over the cases that both have a value for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np

from magref.evaluation.metrics.interface import Measure, Value
from magref.evaluation.report.systems import Bench, System
from magref.evaluation.report.tables import Part
from magref.evaluation.statistics import Mean, mean_of

LEVEL = 0.05
EXACT = 12
"""Up to so many pairs every change of signs is tried; beyond, `DRAWS` are drawn."""
DRAWS = 20_000
_CHUNK = 1000


@dataclass(frozen=True)
class Comparison:
    """Two systems by one measure.

    Attributes:
        difference: mean of first minus second over the pairs, with its bootstrap interval.
        p: of the permutation test; None without pairs.
        corrected: by Holm, over all pairs of systems by this measure on this part of the cases.
    """

    first: str
    second: str
    difference: Mean
    p: float | None
    corrected: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the difference is significant after the correction."""
        return self.corrected is not None and self.corrected < LEVEL


def compare(bench: Bench, part: Part, measure: Measure) -> list[Comparison]:
    """All pairs of systems by one measure on one part of the cases."""
    found = []
    for first, second in combinations(bench.systems, 2):
        differences = paired(first, second, part, measure.name)
        p = permutation_p(differences) if differences else None
        found.append(Comparison(first.name, second.name, mean_of(differences), p))
    corrected = holm([one.p for one in found])
    return [replace(one, corrected=p) for one, p in zip(found, corrected, strict=True)]


def paired(first: System, second: System, part: Part, measure: str) -> list[float]:
    """First minus second, for each case of the part that both have a value for."""
    theirs = second.cases
    differences = []
    for name, one in first.cases.items():
        if name in theirs and part.where(one):
            a, b = one.scores.get(measure), theirs[name].scores.get(measure)
            if isinstance(a, Value) and isinstance(b, Value):
                differences.append(a.value - b.value)
    return differences


def permutation_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """How often a mean at least as far from zero comes about where each pair might as well be the other way round.

    Two-sided. Exact up to `EXACT` pairs; else with `DRAWS` drawn changes of signs, the observed one counted among them.
    """
    values = np.asarray(differences, dtype=np.float64)
    least = abs(values.sum()) * (1 - 1e-9)  # sums of the same numbers in another order are equal
    if len(values) <= EXACT:
        signs = np.array(list(product((-1, 1), repeat=len(values))))
        return float(np.mean(np.abs(signs @ values) >= least))
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(DRAWS // _CHUNK):
        signs = rng.integers(2, size=(_CHUNK, len(values)), dtype=np.int8) * 2 - 1
        count += int(np.sum(np.abs(signs @ values) >= least))
    return (count + 1) / (DRAWS + 1)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of several p-values (1979): the smallest times their number, the next times one less, and so
    on, none below the one before and none above 1. None counts for nothing.
    """
    kept = sorted((value, at) for at, value in enumerate(values) if value is not None)
    result: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, at) in enumerate(kept):
        highest = max(highest, min(1.0, value * (len(kept) - rank)))
        result[at] = highest
    return result
