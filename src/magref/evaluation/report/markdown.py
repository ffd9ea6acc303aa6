"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from magref.evaluation.report.contents import Contents, Pairs, describe, lacking, made_by, sentences, test_sentence
from magref.evaluation.report.pairs import Comparison
from magref.evaluation.report.ranking import printed
from magref.evaluation.report.tables import NONE, Cell, Table, name_of, title_of

# GitHub shows <ins> as underlined, and drops <u>.
_MARKS = {"best": "**{}**", "second": "<ins>{}</ins>", None: "{}"}


def markdown(contents: Contents) -> str:
    """All tables, with what has to be known of them."""
    parts = [f"# {escaped(contents.title)}", "\n".join(f"- {escaped(one)}" for one in sentences(contents))]
    for table in (*contents.main, *contents.others):
        parts += [f"## {_heading(table)}", _values(table)]
    if contents.others:
        parts.append(
            "\n".join(f"- {escaped(name_of(one))}: {escaped(describe(one))}" for one in contents.others[0].measures)
        )
    for title, tables in (("By category", contents.by_category), ("By references", contents.by_number)):
        if tables and tables[0].measures:
            parts += [f"## {title}", _breakdown(tables)]
    for pairs in contents.pairs:
        parts += [f"## Pairs of systems: {escaped(pairs.part.title)}", _pairs(pairs)]
    if contents.pairs:
        parts.append(escaped(test_sentence()))
    systems = (f"- {escaped(system.name)}: {escaped(made_by(system))}" for system in contents.bench.systems)
    parts += ["## Missing", _gaps(contents), "## Systems", "\n".join(systems)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Plain text for Markdown: nothing in it is markup, a table's cell or a new line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", " ".join(text.split()))


def _heading(table: Table) -> str:
    return f"{escaped(table.part.title)}, {table.size}"


def _values(table: Table) -> str:
    head = ["System", "", *(escaped(title_of(measure)) for measure in table.measures)]
    return _table(head, [[escaped(row.system), row.origin, *map(_cell, row.cells)] for row in table.rows])


def _cell(cell: Cell) -> str:
    return " ".join(filter(None, [_MARKS[cell.mark].format(cell), cell.interval, cell.counts]))


def _breakdown(tables: Sequence[Table]) -> str:
    """A row for each system and measure, a column for each part."""
    head = ["Measure", "System", *(f"{escaped(table.part.title)}, {table.size}" for table in tables)]
    rows = [
        [escaped(title_of(measure)), escaped(row.system), *(_cell(table.rows[at].cells[n]) for table in tables)]
        for n, measure in enumerate(tables[0].measures)
        for at, row in enumerate(tables[0].rows)
    ]
    return _table(head, rows)


def _pairs(pairs: Pairs) -> str:
    head = ["First − second", *(escaped(title_of(measure)) for measure in pairs.measures)]
    rows = [
        [f"{escaped(row[0].first)} − {escaped(row[0].second)}", *map(comparison_text, row)] for row in pairs.comparisons
    ]
    return _table(head, rows)


def comparison_text(one: Comparison) -> str:
    """A comparison in one cell."""
    mean = one.difference
    if mean.value is None or one.corrected is None:
        return NONE
    value = f"**{signed(mean.value)}**" if one.differs else signed(mean.value)
    bounds = "" if mean.low is None or mean.high is None else f" [{signed(mean.low)}, {signed(mean.high)}]"
    return f"{value}{bounds} p={p_text(one.corrected)} n={mean.n}"


def signed(value: float) -> str:
    """A difference, as printed, with its sign."""
    text = printed(value)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def p_text(p: float) -> str:
    """A p-value of three digits."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _gaps(contents: Contents) -> str:
    if not contents.gaps:
        return "Nothing is missing."
    rows = []
    for gap in contents.gaps:
        measures, reason = escaped(lacking(gap, contents.bench)), gap.reason.replace("_", " ")
        rows.append([escaped(gap.system), measures, reason, str(gap.count), escaped(gap.why)])
    return _table(["System", "Measures", "Reason", "Cases", "The first of them"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
