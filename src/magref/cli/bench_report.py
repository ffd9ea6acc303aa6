"""`magref bench report`: stored scores as tables and pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def report(
    scores: Annotated[
        list[str], typer.Argument(metavar="[NAME=]SCORES...", help="Folders that magref evaluate wrote, one a system.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to write; an earlier report in it is replaced.")
    ] = Path("report"),
    cases: Annotated[
        Path | None, typer.Option(help="The case file; none: the one that the scores were made with.")
    ] = None,
    published: Annotated[bool, typer.Option(help="Show Table 1's published rows.")] = True,
) -> None:
    """Write Table 1 with these systems, breakdowns, pairs and the videos side by side; see docs/benchmark.md."""
    from magref.cli.bench import progress_bar
    from magref.evaluation.report.contents import sentences
    from magref.evaluation.report.screen import shown
    from magref.evaluation.report.systems import read_bench
    from magref.evaluation.report.writing import check_folder, write_report

    bench = read_bench(scores)
    check_folder(output)
    with progress_bar("cases") as counted:
        written = write_report(bench, output, cases=cases, published=published, progress=counted)
    console = Console()
    for sentence in sentences(written.contents):
        console.print(sentence, markup=False, highlight=False)
    for table in shown(written.contents.main):
        console.print(table)
    for path in written.files:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
