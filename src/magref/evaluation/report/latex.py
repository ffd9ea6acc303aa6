"""Table 1 as LaTeX, with booktabs: both halves side by side, as in the paper.

Where none of the paper's four was measured, it is the table of what was.
"""

from __future__ import annotations

from collections.abc import Sequence

from magref.evaluation.metrics.interface import Measure
from magref.evaluation.report.contents import Contents, sentences
from magref.evaluation.report.tables import NONE, Cell, Origin, Row, Table, name_of

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "–": "--", "−": "$-$", "[": "{[}", "*": "{*}",
}  # fmt: skip
"""A bracket or a star that begins a row would belong to the line break before it."""
_MARKS = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", None: "{}"}
_ARROWS = {"high": r" $\uparrow$", "low": r" $\downarrow$", None: ""}


def latex(contents: Contents) -> str:
    r"""A `table*` that needs `\usepackage{booktabs}`; below each measured value stand its interval and its cases."""
    tables = contents.main or contents.others
    width = 1 + sum(len(table.measures) for table in tables)
    lines = [
        r"% needs \usepackage{booktabs}; made by magref bench report",
        r"\begin{table*}[t]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",  # most classes have none above a table
        rf"\caption{{{escaped(f'{contents.title}. ' + ' '.join(sentences(contents)))}}}",
        r"\label{tab:magref-scores}",
        r"\small",
        rf"\begin{{tabular}}{{l{''.join(' ' + 'c' * len(table.measures) for table in tables)}}}",
        r"\toprule",
        *_head(tables),
    ]
    for origin in ("published", "measured"):
        rows = _joined(tables, origin)
        if rows:
            lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{origin}}}}} \\"]
            lines += [line for name, cells in rows for line in _row(name, cells)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def escaped(text: str) -> str:
    """Plain text for LaTeX: nothing in it is a command, a comment or a new line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()) if letter.isprintable())


def _head(tables: Sequence[Table]) -> list[str]:
    halves, rules, at = [], [], 2
    for table in tables:
        count = len(table.measures)
        halves.append(rf"\multicolumn{{{count}}}{{c}}{{{escaped(table.part.title)}, {table.size}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + count - 1}}}")
        at += count
    names = [_title(measure) for table in tables for measure in table.measures]
    return [" & ".join(["", *halves]) + r" \\", "".join(rules), " & ".join(["System", *names]) + r" \\"]


def _title(measure: Measure) -> str:
    return escaped(name_of(measure)) + _ARROWS[measure.best]


def _joined(tables: Sequence[Table], origin: Origin) -> list[tuple[str, list[Cell]]]:
    """Each system's cells in all tables, those of a half without it empty."""
    found = [{row.system: row for row in table.rows if row.origin == origin} for table in tables]
    names = dict.fromkeys(name for rows in found for name in rows)
    return [
        (name, [cell for rows, table in zip(found, tables, strict=True) for cell in _cells(rows.get(name), table)])
        for name in names
    ]


def _cells(row: Row | None, table: Table) -> Sequence[Cell]:
    return [Cell(None)] * len(table.measures) if row is None else row.cells


def _row(name: str, cells: Sequence[Cell]) -> list[str]:
    lines = [[escaped(name), *(_MARKS[cell.mark].format(_number(cell)) for cell in cells)]]
    if any(cell.summary is not None for cell in cells):
        lines.append(["", *(_small(cell.interval) for cell in cells)])
        lines.append(["", *(_small(cell.counts) for cell in cells)])
    return [" & ".join(line) + r" \\" for line in lines]


def _number(cell: Cell) -> str:
    return escaped(NONE) if cell.value is None else str(cell)


def _small(text: str) -> str:
    return rf"{{\scriptsize {text}}}" if text else ""
