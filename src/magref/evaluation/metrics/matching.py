"""The best assignment of faces to references."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def match(values: npt.NDArray[np.floating]) -> list[tuple[int, int]]:
    """Pairs (row, column) with the highest sum, as many as can be, each row and each column once at most.

    What the Hungarian method finds; for the few references of a case a table over their subsets is as good, and exact.

    Args:
        values: (R, F), none of them negative.
    """
    rows, columns = values.shape
    best: dict[int, tuple[int, float, list[tuple[int, int]]]] = {0: (0, 0.0, [])}  # by the rows that are taken
    for column in range(columns):
        for taken, (count, value, pairs) in list(best.items()):
            for row in range(rows):
                if taken & 1 << row:
                    continue
                with_it = count + 1, value + float(values[row, column]), [*pairs, (row, column)]
                if with_it[:2] > best.get(taken | 1 << row, (0, -1.0, []))[:2]:
                    best[taken | 1 << row] = with_it
    return max(best.values(), key=lambda found: found[:2])[2]
