"""The report's numbers as CSV, one value a line and nothing rounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from magref.evaluation.report.contents import Contents
from magref.evaluation.report.tables import Table

_VALUES = (
    "cases", "profile", "part", "system", "origin", "measure", "unit", "value", "low", "high", "n", "missing",
    "reasons", "mark",
)  # fmt: skip
_PAIRS = (
    "cases", "profile", "part", "measure", "first", "second", "difference", "low", "high", "n", "p", "p_holm",
)  # fmt: skip


def values_csv(contents: Contents, tables: Iterable[Table]) -> str:
    """The values of some tables."""
    rows = []
    for table in tables:
        for row in table.rows:
            profile = contents.bench.profile if row.origin == "measured" else ""
            cases = contents.cases if row.origin == "measured" else "the authors'"
            for measure, cell in zip(table.measures, row.cells, strict=True):
                mean = cell.summary.mean if cell.summary else None
                missing = cell.summary.missing if cell.summary else {}
                rows.append([
                    cases, profile, table.part.key, row.system, row.origin, measure.name, measure.unit, cell.value,
                    mean and mean.low, mean and mean.high, mean and mean.n, cell.missing if mean else None,
                    "; ".join(f"{reason} {count}" for reason, count in missing.items()), cell.mark,
                ])  # fmt: skip
    return _written(_VALUES, rows)


def pairs_csv(contents: Contents) -> str:
    """The comparisons."""
    rows = [
        [
            contents.cases, contents.bench.profile, pairs.part.key, measure.name, one.first, one.second,
            one.difference.value, one.difference.low, one.difference.high, one.difference.n, one.p, one.corrected,
        ]
        for pairs in contents.pairs
        for comparisons in pairs.comparisons
        for measure, one in zip(pairs.measures, comparisons, strict=True)
    ]  # fmt: skip
    return _written(_PAIRS, rows)


def _written(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
