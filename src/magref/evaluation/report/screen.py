"""Table 1 on the screen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table as Shown
from rich.text import Text

from magref.evaluation.report.systems import System, compared
from magref.evaluation.report.tables import Cell, Table, table_1, title_of
from magref.evaluation.scores import CaseScores, Run

_STYLES = {"best": "bold", "second": "underline", None: ""}


def shown(tables: Sequence[Table]) -> list[Shown]:
    """Tables for a terminal: best in bold, second underlined, measured values with interval and cases."""
    return [_shown(table) for table in tables]


def placed(run: Run, scores: Sequence[CaseScores]) -> list[Shown]:
    """Table 1 with the scores in their place; none where published numbers must not stand beside them."""
    bench = compared([System(Path(os.path.abspath(run.videos)).name, run, tuple(scores))])
    return shown(table_1(bench, published=True)) if bench.is_reconstruction and run.profile == "opens2v" else []


def _shown(table: Table) -> Shown:
    found = Shown(
        title=Text(f"{table.part.title}, {table.size}"),
        box=SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
    )
    found.add_column("system", min_width=12)
    for measure in table.measures:
        found.add_column(Text(title_of(measure)), justify="right")
    for origin in ("published", "measured"):
        rows = [row for row in table.rows if row.origin == origin]
        if rows and len({row.origin for row in table.rows}) > 1:
            found.add_row(Text(origin, style="dim italic"))
        for row in rows:
            found.add_row(Text(row.system), *map(_cell, row.cells))
    return found


def _cell(cell: Cell) -> Text:
    text = Text(str(cell), style=_STYLES[cell.mark])
    if cell.summary is not None:
        text = Text.assemble(
            text, (f"\n{cell.interval}\n{cell.counts}" if cell.interval else f"\n{cell.counts}", "dim")
        )
    return text
