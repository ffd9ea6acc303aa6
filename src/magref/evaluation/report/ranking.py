"""Numbers as they are printed, and which of them are the best and the second best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

DIGITS = 3
"""After the point, as in Table 1."""

Mark = Literal["best", "second"]


def printed(value: float) -> str:
    """A number as all tables show it; there is no negative zero."""
    text = f"{value:.{DIGITS}f}"
    return text.lstrip("-") if float(text) == 0 else text


def marks(values: Sequence[float | None], best: Literal["high", "low"] | None) -> list[Mark | None]:
    """Which values are best and which second, as one reads them: values that are printed alike share their mark.

    The second is the next value that is printed otherwise, however many share the first place. A value without
    another to compare with has no mark, and so has one that is missing.

    Args:
        values: of one column; None is missing.
        best: which way is better; None for neither, and nothing is marked.
    """
    shown = [None if value is None else float(printed(value)) for value in values]
    kept = [value for value in shown if value is not None]
    if best is None or len(kept) < 2:
        return [None] * len(values)
    order = sorted(set(kept), reverse=best == "high")
    names: dict[float, Mark] = dict(zip(order[:2], ("best", "second"), strict=False))
    return [None if value is None else names.get(value) for value in shown]
