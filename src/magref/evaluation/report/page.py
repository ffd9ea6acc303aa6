"""The report as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from importlib import resources

from magref.evaluation.metrics.interface import Measure
from magref.evaluation.report import plots
from magref.evaluation.report.contents import Contents, Pairs, describe, lacking, made_by, sentences, test_sentence
from magref.evaluation.report.markdown import p_text, signed
from magref.evaluation.report.pairs import Comparison
from magref.evaluation.report.tables import NONE, Cell, Part, Row, Table, name_of, title_of
from magref.evaluation.scores import MetricRun
from magref.pages import page

TRADE_OFFS = (("motion", "aesthetic"), ("world_motion", "world_identity"))
"""Measures of which the paper, or a still baseline, says that one is had at the other's price: across, upwards."""

_MARKS = {"best": "<b>{}</b>", "second": "<u>{}</u>", None: "{}"}


def report_page(contents: Contents, *, cases_page: str) -> str:
    """The whole page.

    Args:
        cases_page: the address of the page that shows the videos, beside this one.
    """
    style = (resources.files(__package__) / "report.css").read_text(encoding="utf-8")
    return page(contents.title, _body(contents, cases_page), style=style)


def _body(contents: Contents, cases_page: str) -> Iterator[str]:
    if contents.bench.has_reconstruction:
        yield "<p class=label><b>Reconstruction.</b> The authors of MAGREF never published their list of cases.</p>"
    yield f"<p><a href='{cases_page}'>The videos side by side</a></p>"
    yield "<ul>" + "".join(f"<li>{html.escape(one)}" for one in sentences(contents)) + "</ul>"
    if contents.main:
        yield "<h2>Table 1</h2>"
        yield from (_values(table) for table in contents.main)
    if contents.others:
        yield "<h2>Further measures</h2>"
        yield from (_values(table) for table in contents.others)
    yield from _trade_offs(contents)
    if contents.by_category and contents.by_category[0].measures:
        yield "<h2>By category</h2>" + _breakdown(contents.by_category)
    yield from _by_number(contents)
    yield from _comparisons(contents.pairs)
    yield "<h2>Missing</h2>" + _gaps(contents)
    yield "<h2>Systems</h2>" + _systems(contents)
    yield "<h2>How it was measured</h2>" + _metrics(contents)


def _values(table: Table) -> str:
    """A table of one part; published and measured rows each under their own heading."""
    lines = [f"<h3>{_part(table)}</h3>", _open(["System", *map(title_of, table.measures)])]
    for origin in ("published", "measured"):
        rows = [row for row in table.rows if row.origin == origin]
        if rows and len({row.origin for row in table.rows}) > 1:
            lines.append(_sort(origin, len(table.measures)))
        lines += [_row(row.system, row.cells) for row in rows]
    return "\n".join([*lines, "</table></div>"])


def _part(table: Table) -> str:
    return f"{html.escape(table.part.title)} <small>{table.size}</small>"


def _open(names: Sequence[str]) -> str:
    said = [html.escape(name).replace(" ↑", "&nbsp;↑").replace(" ↓", "&nbsp;↓") for name in names]
    heads = "".join(f"<th{' class=n' if n else ''}>{name}" for n, name in enumerate(said))
    return f"<div class=wide tabindex=0><table><thead><tr>{heads}</thead><tbody>"


def _sort(name: str, columns: int) -> str:
    return f"<tr class=sort><th>{html.escape(name)}<td colspan={columns}>"


def _row(name: str, cells: Sequence[Cell]) -> str:
    return f"<tr><th>{html.escape(name)}{''.join(map(_cell, cells))}"


def _cell(cell: Cell) -> str:
    bad = " class=bad" if cell.missing else ""
    below = f"<small>{cell.interval} <span{bad}>{cell.counts}</span></small>" if cell.counts else ""
    return f"<td class=n>{_MARKS[cell.mark].format(cell)}{below}"


def _breakdown(tables: Sequence[Table]) -> str:
    """A row for each system, by measure; a column for each part."""
    lines = [_open(["System", *(f"{table.part.title} ({table.cases})" for table in tables)])]
    for n, measure in enumerate(tables[0].measures):
        lines.append(_sort(title_of(measure), len(tables)))
        lines += [
            _row(row.system, [table.rows[at].cells[n] for table in tables]) for at, row in enumerate(tables[0].rows)
        ]
    return "\n".join([*lines, "</table></div>"])


def _trade_offs(contents: Contents) -> Iterator[str]:
    """A scatter for each half and each two measures that any measured system has values of."""
    figures = []
    for across, upwards in TRADE_OFFS:
        for part, rows, measures in _with_both(contents, across, upwards):
            columns = [next(n for n, one in enumerate(measures) if one.name == name) for name in (across, upwards)]
            own = [row.system for row in rows if row.origin == "measured"]
            points = [
                plots.Point(
                    row.system, row.cells[columns[0]], row.cells[columns[1]],
                    own.index(row.system) if row.origin == "measured" else None,
                )
                for row in rows
            ]  # fmt: skip
            svg = plots.scatter(points, *(title_of(measures[n]) for n in columns))
            figures.append(f"<figure><figcaption>{html.escape(part.title)}</figcaption>{svg}</figure>")
    if figures:
        hollow = " Hollow, grey: published." if any("class='published'" in figure for figure in figures) else ""
        yield f"<h2>Trade-offs</h2><p>Lines: 95% intervals.{hollow}</p><div class=plots>{''.join(figures)}</div>"


def _with_both(contents: Contents, *names: str) -> Iterator[tuple[Part, tuple[Row, ...], tuple[Measure, ...]]]:
    for table in (*contents.main, *contents.others):
        columns = [n for n, measure in enumerate(table.measures) if measure.name in names]
        if len(columns) == len(names) and any(
            row.origin == "measured" and all(row.cells[n].value is not None for n in columns) for row in table.rows
        ):
            yield table.part, table.rows, table.measures


def _by_number(contents: Contents) -> Iterator[str]:
    tables = contents.by_number
    if not tables or not tables[0].measures:
        return
    rule = " Profile opens2v has no FaceSim for several persons." if contents.bench.profile == "opens2v" else ""
    yield "<h2>By number of references</h2><p>The paper finds that FaceSim rises with it. Cases with more references "
    yield f"are of other categories too, which may be the cause.{rule}</p>"
    if len(tables) > 1:
        yield plots.key([row.system for row in tables[0].rows])
        figures = []
        for n, measure in enumerate(tables[0].measures):
            series = [
                plots.Series(row.system, tuple(table.rows[at].cells[n] for table in tables), at)
                for at, row in enumerate(tables[0].rows)
            ]
            figures.append(
                f"<figure>{plots.against([t.part.title for t in tables], series, title_of(measure))}</figure>"
            )
        yield f"<div class=plots>{''.join(figures)}</div>"
    yield _breakdown(tables)


def _comparisons(found: Sequence[Pairs]) -> Iterator[str]:
    if not found:
        return
    yield f"<h2>Pairs of systems</h2><p>{html.escape(test_sentence())}</p>"
    for pairs in found:
        yield f"<h3>{html.escape(pairs.part.title)}</h3>"
        yield _open(["First − second", *map(title_of, pairs.measures)])
        for row in pairs.comparisons:
            name = f"{row[0].first} − {row[0].second}"
            yield f"<tr><th>{html.escape(name)}{''.join(map(_comparison, row))}"
        yield "</table></div>"


def _comparison(one: Comparison) -> str:
    mean = one.difference
    if mean.value is None or one.corrected is None:
        return f"<td class=n>{NONE}"
    value = f"<b>{signed(mean.value)}</b>" if one.differs else signed(mean.value)
    p = html.escape(p_text(one.corrected))
    bounds = "" if mean.low is None or mean.high is None else f"[{signed(mean.low)}, {signed(mean.high)}]"
    return f"<td class=n>{value}<small>{bounds}</small><small>p {p} n {mean.n}</small>"


def _gaps(contents: Contents) -> str:
    if not contents.gaps:
        return "<p>Nothing is missing.</p>"
    lines = [
        f"<tr><th>{html.escape(gap.system)}<td>{html.escape(lacking(gap, contents.bench))}"
        f"<td>{gap.reason.replace('_', ' ')}<td class=n>{gap.count}<td>{html.escape(gap.why)}"
        for gap in contents.gaps
    ]
    head = "<thead><tr><th>System<th>Measures<th>Reason<th class=n>Cases<th>The first of them</thead><tbody>"
    return "\n".join([f"<div class=wide tabindex=0><table>{head}", *lines, "</table></div>"])


def _systems(contents: Contents) -> str:
    lines = [
        f"<tr><th>{html.escape(system.name)}<td>{html.escape(system.run.videos)}<td>{html.escape(made_by(system))}"
        for system in contents.bench.systems
    ]
    head = "<thead><tr><th>System<th>Videos<th>Made by</thead><tbody>"
    return "\n".join([f"<div class=wide tabindex=0><table>{head}", *lines, "</table></div>"])


def _metrics(contents: Contents) -> str:
    """A row for each metric as it was run; systems that had the same share it."""
    ran: list[tuple[str, MetricRun, list[str]]] = []
    for system in contents.bench.systems:
        for name, metric in system.run.metrics.items():
            same = next((names for other, run, names in ran if other == name and run == metric), None)
            if same is None:
                ran.append((name, metric, [system.name]))
            else:
                same.append(system.name)
    lines = []
    for name, metric, systems in sorted(ran, key=lambda one: one[0]):
        means = "; ".join(f"{name_of(measure)}: {describe(measure)}" for measure in metric.measures)
        weights = metric.weights or "not there"
        cells = (", ".join(systems), means, metric.about.source, metric.about.ran, metric.about.licence, weights)
        lines.append(f"<tr><th>{html.escape(name)}" + "".join(f"<td>{html.escape(cell)}" for cell in cells))
    heads = ("Metric", "Systems", "Measures", "Source", "Ran with real weights", "Licence", "Weights used")
    head = "".join(f"<th>{name}" for name in heads)
    return "\n".join([f"<div class=wide tabindex=0><table><thead><tr>{head}</thead><tbody>", *lines, "</table></div>"])
