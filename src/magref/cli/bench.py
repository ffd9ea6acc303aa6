"""`magref bench build`, `synthetic`, `import` and `check`; `run` is in `bench_run.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from magref.batch import Case, Category
from magref.cli import bench_run
from magref.cli.bench_report import report
from magref.errors import InputError
from magref.references import Role

_FOLDER = Annotated[Path, typer.Argument(help="The folder to write; one of an interrupted attempt goes on.")]
_PLACE = typer.Option("--from", metavar="PLACE", help="Where files lie: a folder, or an https address.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(help="The benchmark: its cases, and a system's videos of them.")
    group.command("build", help="Reconstruct the paper's 120 cases from your copy of OpenS2V-Eval.")(build)
    group.command("synthetic", help="Draw magref-bench-synthetic: 120 cases of the synthetic world.")(synthetic)
    group.command("import", help="Make cases of OpenS2V-Eval's JSON, a table, or a key@@prompt@@image file.")(import_)
    group.command("check", help="Say what is wrong with a benchmark; exit code 1 where something is.")(check)
    bench_run.register(group)
    group.command("report", help="Tables and pages of stored scores: Table 1 with your systems in their place.")(report)
    app.add_typer(group, name="bench")


def build(folder: _FOLDER, place: Annotated[str, _PLACE]) -> None:
    """Write cases.jsonl, with references and their hashes; every output says that it is a reconstruction."""
    from magref.evaluation.collecting import Origin
    from magref.evaluation.reconstruction import DATASET, build_reconstruction

    with progress_bar("pictures") as shown:
        cases = build_reconstruction(Origin(place), folder, progress=shown)
    _say(f"{len(cases)} cases in {folder}: a {DATASET}; the authors' own list was never published")


def synthetic(folder: _FOLDER) -> None:
    """Write cases.jsonl and its pictures; they are drawn, nothing is fetched."""
    from magref.evaluation.synthetic_bench.pictures import write_synthetic

    drawn = write_synthetic(folder)
    _say(f"120 cases and {drawn.pictures} pictures in {folder}")
    if drawn.rounded:
        _say(f"{drawn.rounded} of the pictures are rounded otherwise here than where the benchmark was made")


def import_(
    source: Annotated[Path, typer.Argument(help="OpenS2V-Eval's .json, a .csv, .tsv, .json or .jsonl table, a .txt.")],
    folder: _FOLDER,
    place: Annotated[str | None, _PLACE] = None,
    prompt: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of a table: the prompts' column.")] = None,
    id_: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="The names' column; else rows count.")
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=COLUMN", help="A column of pictures; as many as there are.")
    ] = None,
    roles: Annotated[
        str, typer.Option(help="Of a .txt file: what its first, second and third picture shows.")
    ] = "person,person,person",
    single: Annotated[str, typer.Option(metavar="face|human", help="What a person alone is shown as.")] = "face",
) -> None:
    """Write cases.jsonl and bring the pictures together, which are looked for beside SOURCE unless --from says else."""
    from magref.evaluation.collecting import Origin, collect

    cases = _read(source, prompt, id_, reference or [], roles, single)
    with progress_bar("pictures") as shown:
        collect(cases, Origin(place or str(source.parent)), folder, progress=shown)
    _say(f"{len(cases)} cases in {folder}")


def _read(
    source: Path, prompt: str | None, id_: str | None, references: list[str], roles: str, single: str
) -> list[Case]:
    from magref.evaluation.importers.authors import authors_cases
    from magref.evaluation.importers.columns import Columns, table_cases
    from magref.evaluation.importers.opens2v import is_opens2v, opens2v_cases

    if single not in ("face", "human"):
        raise InputError(f"--single {single!r} is unknown; use face or human")
    alone = cast(Category, single)
    if source.suffix.lower() == ".txt":
        return authors_cases(source, [_role(role) for role in roles.split(",")], alone)
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read ({error}); give a table as UTF-8 text") from None
    if prompt is None:
        if is_opens2v(text):
            return opens2v_cases(text, str(source))
        raise InputError(f"{source} is not OpenS2V-Eval's JSON; name a table's columns with --prompt and --reference")
    pairs = [entry.partition("=") for entry in references]
    if not pairs or any(not mark for _, mark, _ in pairs):
        raise InputError("name the pictures' columns with --reference, for example --reference person=face_path")
    columns = Columns(
        prompt=prompt, id=id_, single=alone, references=tuple((_role(role), column) for role, _, column in pairs),
        dataset=source.stem,
    )  # fmt: skip
    return table_cases(text, source.name, columns)


def _role(name: str) -> Role:
    if name.strip() not in get_args(Role):
        raise InputError(f"the role {name.strip()!r} is unknown; use {', '.join(get_args(Role))}")
    return cast(Role, name.strip())


def check(
    cases: Annotated[Path, typer.Argument(help="A case file (.jsonl).")],
    any_number: Annotated[bool, typer.Option("--any-number", help="Cases need not be the paper's 60 and 60.")] = False,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Do not look for the references.")] = False,
) -> None:
    """Check every case, its references and their hashes, and the numbers of each category; nothing is changed."""
    from magref.evaluation.cases import PAPER, check_benchmark

    found, problems = check_benchmark(cases, None if any_number else PAPER, pictures=not no_pictures)
    for problem in problems:
        _say(str(problem))
    datasets = sorted({case.source.dataset for case in found if case.source and case.source.dataset})
    _say(f"{len(found)} cases, {len(problems)} problems" + (f"; {', '.join(datasets)}" if datasets else ""))
    if problems:
        raise typer.Exit(1)


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar; called with what is done and what there is."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
