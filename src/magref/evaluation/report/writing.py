"""The report's files in a folder: its own from before are replaced, nothing else is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from magref import __version__
from magref.errors import OutputError
from magref.evaluation.report.contents import Contents, contents_of
from magref.evaluation.report.latex import latex
from magref.evaluation.report.markdown import markdown
from magref.evaluation.report.page import report_page
from magref.evaluation.report.side_by_side import Progress, case_lines, side_by_side
from magref.evaluation.report.systems import Bench
from magref.evaluation.report.values import pairs_csv, values_csv
from magref.outputs import writing
from magref.settings import Record
from magref.sidecar import Sha256

MADE_FILE = "report.json"
PAGE, CASES_PAGE = "report.html", "cases.html"
NAMES = ("report.md", PAGE, CASES_PAGE, "table1.tex", "values.csv", "breakdown.csv", "pairs.csv")


class MadeFiles(Record):
    """What a folder has of an earlier report: each file's hashes, of now and of a rewriting that was cut short."""

    format: Literal["magref-report"] = "magref-report"
    version: Literal[1] = 1
    magref: str = __version__
    files: dict[str, tuple[Sha256, ...]]


@dataclass(frozen=True)
class Written:
    """A report on disk."""

    contents: Contents
    files: tuple[Path, ...]


def write_report(
    bench: Bench, folder: Path, *, cases: Path | None = None, published: bool = True, progress: Progress | None = None
) -> Written:
    """Write every form of the report.

    Args:
        folder: a new one, or that of an earlier report.
        cases: the case file; None for the one that the systems were scored by.
        published: show Table 1's published rows; those of profile strict stand without them anyway.

    Raises:
        InputError: the case file is not that of the scores.
        OutputError: the folder holds a file that would be in the way and is not an earlier report's.
    """
    lines = case_lines(bench, cases)
    check_folder(folder)
    contents = contents_of(bench, published=published)
    texts = (
        markdown(contents),
        report_page(contents, cases_page=CASES_PAGE),
        side_by_side(contents, lines, folder, report=PAGE, progress=progress),
        latex(contents),
        values_csv(contents, (*contents.main, *contents.others)),
        values_csv(contents, (*contents.by_category, *contents.by_number)),
        pairs_csv(contents),
    )
    _replace(folder, {name: text.encode() for name, text in zip(NAMES, texts, strict=True)})
    return Written(contents, tuple(folder / name for name in NAMES))


def check_folder(folder: Path) -> MadeFiles:
    """What may be replaced in a folder.

    Raises:
        OutputError: something there is not a report's, or was changed since.
    """
    made = _read_made(folder)
    for name in NAMES:
        path = folder / name
        if path.exists() and (not path.is_file() or _sha256(path.read_bytes()) not in made.files.get(name, ())):
            raise OutputError(
                f"{path} is no report's file, or was changed since; move it away or choose another folder"
            )
    return made


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace all files; the list knows both their states until the last one is there."""
    before = check_folder(folder).files
    now = {name: (_sha256(data),) for name, data in files.items()}
    _write_made(folder, {name: (*before.get(name, ()), *own) for name, own in now.items()})
    for name, data in files.items():
        with writing(folder / name, overwrite=True) as temporary:
            temporary.write_bytes(data)
    _write_made(folder, now)


def _read_made(folder: Path) -> MadeFiles:
    path = folder / MADE_FILE
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose a folder")
    if not path.exists():
        return MadeFiles(files={})
    try:
        return MadeFiles.model_validate_json(path.read_bytes())
    except ValidationError:
        raise OutputError(f"{path} is no report's list of files; choose another folder") from None


def _write_made(folder: Path, files: Mapping[str, tuple[str, ...]]) -> None:
    with writing(folder / MADE_FILE, overwrite=True) as temporary:
        temporary.write_text(MadeFiles(files=dict(files)).model_dump_json(indent=1) + "\n", encoding="utf-8")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
