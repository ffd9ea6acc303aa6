"""What the tables say, before it is Markdown, LaTeX, CSV, HTML or on the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from magref.batch import Group
from magref.evaluation.cases import KINDS
from magref.evaluation.metrics.interface import Measure, Value
from magref.evaluation.report.published import COLUMNS, TABLE_1, TITLES
from magref.evaluation.report.ranking import Mark, marks, printed
from magref.evaluation.report.systems import Bench
from magref.evaluation.scores import CaseScores, Summary, summarise

Origin = Literal["published", "measured"]
NONE = "–"
"""Where a table has no value."""
GROUPS: dict[Group, str] = {"single_id": "Single-ID", "multi_subject": "Multi-subject"}
"""The benchmark's halves."""


@dataclass(frozen=True)
class Cell:
    """One value of a table.

    Attributes:
        summary: what it rests on; None where it is published.
        mark: whether it is the best or the second best of its column.
    """

    value: float | None
    summary: Summary | None = None
    mark: Mark | None = None

    def __str__(self) -> str:
        return NONE if self.value is None else printed(self.value)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of the interval; None where there is none."""
        mean = self.summary.mean if self.summary else None
        return None if mean is None or mean.low is None or mean.high is None else (mean.low, mean.high)

    @property
    def interval(self) -> str:
        """As "[0.512, 0.601]"; empty where there is none."""
        return "" if self.bounds is None else f"[{printed(self.bounds[0])}, {printed(self.bounds[1])}]"

    @property
    def missing(self) -> int:
        """Cases without a value."""
        return 0 if self.summary is None else sum(self.summary.missing.values())

    @property
    def counts(self) -> str:
        """Cases with a value and all of them, as "58/60"; empty where it is published."""
        return "" if self.summary is None else f"{self.summary.mean.n}/{self.summary.mean.n + self.missing}"


@dataclass(frozen=True)
class Row:
    """A system's values, one for each of a table's measures."""

    system: str
    origin: Origin
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Part:
    """Cases that belong together."""

    key: str
    title: str
    where: Callable[[CaseScores], bool]


@dataclass(frozen=True)
class Table:
    """The systems on one part of the cases."""

    part: Part
    cases: int
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]

    @property
    def size(self) -> str:
        """The cases in words."""
        return f"{self.cases} case{'s' * (self.cases != 1)}"


def name_of(measure: Measure) -> str:
    """As Table 1 calls it; the other measures by their own names."""
    return TITLES.get(measure.name, measure.name.replace("_", " "))


def title_of(measure: Measure) -> str:
    """A column's heading, with the direction that is better."""
    arrow = {"high": " ↑", "low": " ↓", None: ""}[measure.best]
    return name_of(measure) + arrow


def halves(bench: Bench) -> list[Part]:
    """The benchmark's two, as far as there are cases, and the cases that belong to neither."""
    found = [Part(group, title, lambda one, group=group: one.group == group) for group, title in GROUPS.items()]  # type: ignore[misc]
    found.append(Part("no_group", "Cases without a group", _is_loose))
    return _with_cases(bench, found)


def _is_loose(one: CaseScores) -> bool:
    return one.group is None and one.case_sha256 is not None


def categories(bench: Bench) -> list[Part]:
    """By category, in the order of the benchmark's rules."""
    parts = [Part(name, name.replace("_", " "), lambda one, name=name: one.category == name) for name in KINDS]  # type: ignore[misc]
    return _with_cases(bench, parts)


def numbers(bench: Bench) -> list[Part]:
    """By the number of references."""
    counts = sorted({one.references for one in bench.cases.values() if one.references is not None})
    return [
        Part(str(n), f"{n} reference{'s' * (n > 1)}", lambda one, n=n: one.references == n)  # type: ignore[misc]
        for n in counts
    ]


def _with_cases(bench: Bench, parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if any(part.where(one) for one in bench.cases.values())]


def table_1(bench: Bench, *, published: bool) -> list[Table]:
    """Table 1: a table for each half, of the paper's four measures.

    Args:
        published: with the paper's own rows. On the reconstruction they are ranked together with those that were
            measured; on other cases each sort is ranked by itself.
    """
    columns = [bench.measures.get(column.name, column) for column in COLUMNS]
    if not published:
        columns = [column for column in columns if column.name in bench.measures]
    found = []
    for part in halves(bench):
        table = table_of(bench, part, columns)
        rows = _published(part) if published else ()
        if rows and bench.is_reconstruction:
            table = replace(table, rows=ranked([*rows, *table.rows], columns))
        elif rows:
            table = replace(table, rows=(*ranked(rows, columns), *table.rows))
        found.append(table)
    return found


def further(bench: Bench) -> list[Measure]:
    """What was measured and is none of Table 1's columns."""
    known = {column.name for column in COLUMNS}
    return [measure for name, measure in bench.measures.items() if name not in known]


def valued(bench: Bench) -> list[Measure]:
    """The measures of which any system has a value."""
    found = {
        name
        for system in bench.systems
        for one in system.scores
        for name, score in one.scores.items()
        if isinstance(score, Value)
    }
    return [measure for name, measure in bench.measures.items() if name in found]


def table_of(bench: Bench, part: Part, columns: Sequence[Measure]) -> Table:
    """All systems on one part of the cases, ranked."""
    rows = []
    for system in bench.systems:
        found = summarise(system.scores, {column.name: column for column in columns}, where=part.where)
        cells = tuple(Cell(found[column.name].mean.value, found[column.name]) for column in columns)
        rows.append(Row(system.name, "measured", cells))
    cases = {one.case for system in bench.systems for one in system.scores if part.where(one)}
    return Table(part, len(cases), tuple(columns), ranked(rows, columns))


def _published(part: Part) -> list[Row]:
    systems = TABLE_1.get(part.key, {})  # type: ignore[call-overload]
    return [Row(name, "published", tuple(Cell(value) for value in values)) for name, values in systems.items()]


def ranked(rows: Sequence[Row], columns: Sequence[Measure]) -> tuple[Row, ...]:
    """The rows with the best and the second best of each column marked."""
    of_columns = [marks([row.cells[n].value for row in rows], measure.best) for n, measure in enumerate(columns)]
    return tuple(
        replace(row, cells=tuple(replace(cell, mark=of_columns[n][at]) for n, cell in enumerate(row.cells)))
        for at, row in enumerate(rows)
    )
