"""Everything that a report says, computed once for all its forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from magref.evaluation.metrics.interface import Measure, Missing
from magref.evaluation.report.pairs import DRAWS, EXACT, LEVEL, Comparison, compare
from magref.evaluation.report.published import SOURCE
from magref.evaluation.report.ranking import DIGITS
from magref.evaluation.report.systems import Bench, System
from magref.evaluation.report.tables import (
    Part,
    Table,
    categories,
    further,
    halves,
    name_of,
    numbers,
    table_1,
    table_of,
    valued,
)
from magref.evaluation.scores import NOT_RUN


@dataclass(frozen=True)
class Pairs:
    """All comparisons on one part of the cases, by measure."""

    part: Part
    measures: tuple[Measure, ...]
    comparisons: tuple[tuple[Comparison, ...], ...]
    """A row for each two systems, with a comparison for each measure."""


@dataclass(frozen=True)
class Gap:
    """Values that one system has not, for one reason; of several measures where these lack the same."""

    system: str
    measures: tuple[str, ...]
    """By name; empty for all that there are."""
    reason: str
    count: int
    why: str
    """The first of them, in full."""


@dataclass(frozen=True)
class Contents:
    """What all forms of a report share.

    Attributes:
        published: whether the paper's rows are shown.
        main: Table 1, a table for each half; none where none of its measures is there.
        others: the further measures, likewise; none where there are none.
        by_category, by_number: every measure that has values, a table for each category and number of references.
    """

    bench: Bench
    published: bool
    main: tuple[Table, ...]
    others: tuple[Table, ...]
    by_category: tuple[Table, ...]
    by_number: tuple[Table, ...]
    pairs: tuple[Pairs, ...]
    gaps: tuple[Gap, ...]

    @property
    def title(self) -> str:
        """What the report is of, in a few words."""
        return f"Scores: {self.cases}"

    @property
    def cases(self) -> str:
        """The cases' source, as each output names it."""
        return " and ".join(self.bench.datasets) or "own cases"


def contents_of(bench: Bench, *, published: bool = True) -> Contents:
    """Compute a report.

    Args:
        published: show the paper's rows. Profile strict never does: its numbers are others.
    """
    published = published and bench.profile == "opens2v"
    columns = valued(bench)
    beside = [measure for measure in further(bench) if measure in columns]
    return Contents(
        bench=bench,
        published=published,
        main=tuple(table for table in table_1(bench, published=published) if table.measures),
        others=tuple(table_of(bench, part, beside) for part in halves(bench)) if beside else (),
        by_category=tuple(table_of(bench, part, columns) for part in categories(bench)),
        by_number=tuple(table_of(bench, part, columns) for part in numbers(bench)),
        pairs=tuple(_pairs(bench, part, columns) for part in halves(bench)) if len(bench.systems) > 1 else (),
        gaps=tuple(_gaps(bench)),
    )


def _pairs(bench: Bench, part: Part, columns: Sequence[Measure]) -> Pairs:
    by_measure = [compare(bench, part, measure) for measure in columns]
    return Pairs(part, tuple(columns), tuple(zip(*by_measure, strict=True)))


def _gaps(bench: Bench) -> list[Gap]:
    measures: dict[tuple[str, str, int, str], list[str]] = {}
    for system in bench.systems:
        for name in bench.measures:
            scores = [one.scores.get(name, NOT_RUN) for one in system.scores]
            missing = [score for score in scores if isinstance(score, Missing)]
            for reason, count in Counter(score.reason for score in missing).most_common():
                why = next(score.why for score in missing if score.reason == reason)
                measures.setdefault((system.name, reason, count, why), []).append(name)
    return [
        Gap(system, () if len(names) == len(bench.measures) else tuple(names), reason, count, why)
        for (system, reason, count, why), names in measures.items()
    ]


def sentences(contents: Contents) -> list[str]:
    """What a reader has to know before the numbers, plain text."""
    bench = contents.bench
    kind = "as published by OpenS2V-Eval, faults included" if bench.profile == "opens2v" else "as they should be"
    found = [f"Measured rows: profile {bench.profile} ({kind}); {len(bench.cases)} cases: {contents.cases}."]
    if bench.has_reconstruction:
        found.append("These cases are a reconstruction: the authors of MAGREF never published their list.")
    if contents.published:
        found.append(f"Published rows: {SOURCE}, as printed there, on the authors' own cases; none was measured here.")
        if bench.is_reconstruction:
            found.append("Published and measured rows are ranked together, though their cases may differ.")
        else:
            found.append(
                "The published rows stand here for orientation: these are other cases, so that published and measured "
                "rows must not be compared, and each are ranked by themselves."
            )
    elif bench.profile == "strict":
        found.append("Table 1's published rows are left out: this profile's numbers are of another kind.")
    if bench.profile == "opens2v" and "face_similarity" in bench.measures:
        found.append("FaceSim with several persons has no published rule: measured rows have it for one person alone.")
    units = [f"{name_of(one)} in {one.unit}" for one in bench.measures.values() if one.unit]
    if units:
        found.append(f"Units: {'; '.join(units)}; the other numbers have none.")
    found.append(
        f"The best value of a column is bold, the second underlined, at the {DIGITS} digits printed: what is printed "
        "alike shares its mark. Motion has no best value."
    )
    found.append(
        "With measured values: the 95% bootstrap interval over cases, and cases with a value / all cases. What is "
        "missing enters no mean."
    )
    return [*found, *bench.notes]


def test_sentence() -> str:
    """How the pairs are tested."""
    return (
        "Mean of the first system minus the second, over the cases that both have a value for, with a 95% bootstrap "
        f"interval; p by a two-sided paired permutation test (signs; all of them up to {EXACT} pairs, else {DRAWS:,} "
        "drawn), after Holm's correction over all pairs of systems, for each measure and part of the cases by itself. "
        f"Bold: p < {LEVEL}."
    )


def made_by(system: System) -> str:
    """What made a system's videos, as far as it is known."""
    made = system.run.made_by
    if made is None:
        return "videos from elsewhere"
    settings = "".join(f", {name} {value}" for name, value in made.settings.items() if value is not None)
    return f"{made.system}, seed {made.seed}{settings}"


def lacking(gap: Gap, bench: Bench) -> str:
    """The measures of a gap, in words."""
    return ", ".join(name_of(bench.measures[name]) for name in gap.measures) or "all"


def describe(measure: Measure) -> str:
    """What a measure means, with its unit."""
    return f"{measure.meaning}, {measure.unit}" if measure.unit else measure.meaning
