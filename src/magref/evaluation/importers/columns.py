"""Cases from a table whose columns the user names: A2-Bench, ConsisID's prompts with pictures, or one's own.

Tables are .csv, .tsv, .jsonl, or .json: a list of objects, or an object of objects whose keys are the ids. What columns
A2-Bench and ConsisID have, their pages say; they change, so nothing about them is built in.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from magref.batch import Case, CaseReference, Category, Source
from magref.errors import InputError
from magref.evaluation.cases import KINDS, category_of, keyed
from magref.references import Role
from magref.settings import Record
from magref.sidecar import first_problem


class Columns(Record):
    """Which column holds what.

    Attributes:
        prompt: of the text.
        references: role and column of each reference, in order. A cell is a picture's path; several as a JSON list; an
            empty one is no reference.
        id: of the case's name; None counts the rows.
        single: the category of cases with one person and nothing else.
        dataset: where the cases are from, for the record.
    """

    prompt: str
    references: tuple[tuple[Role, str], ...]
    id: str | None = None
    single: Category = "face"
    dataset: str


def table_cases(text: str, name: str, columns: Columns) -> list[Case]:
    """The cases of a table, one for each row.

    Args:
        text: its content.
        name: its file's name, whose ending says its form.

    Raises:
        InputError: the table has another form, or lacks a column.
    """
    cases = []
    for number, row in enumerate(_rows(text, name), 1):
        try:
            cases.append(_case(row, number, columns))
        except InputError as error:
            raise InputError(f"{name}, row {number}: {error}") from None
        except ValidationError as error:
            raise InputError(f"{name}, row {number}: {first_problem(error)}; mend the row") from None
    if not cases:
        raise InputError(f"{name} has no rows; give a table with a case in each")
    return cases


def _case(row: dict[str, Any], number: int, columns: Columns) -> Case:
    refs = keyed(
        CaseReference(uri=path, role=role)
        for role, column in columns.references
        for path in _paths(_cell(row, column), column)
    )
    if not refs:
        raise InputError("there is no reference in any of its columns; give one at least")
    case_id = f"{number:04d}" if columns.id is None else _text(row, columns.id)
    category = category_of([ref.role for ref in refs], columns.single)
    return Case(
        id=case_id,
        prompt=_text(row, columns.prompt),
        refs=refs,
        group=None if category is None else KINDS[category].group,
        category=category,
        source=Source(dataset=columns.dataset, case_id=case_id),
    )


def _text(row: dict[str, Any], column: str) -> str:
    cell = _cell(row, column)
    if cell is None or not str(cell).strip():
        raise InputError(f"the cell of {column!r} is empty; fill it in")
    return str(cell)


def _cell(row: dict[str, Any], column: str) -> Any:
    if None in row:  # where the csv module puts what is left over
        raise InputError("it has more cells than there are columns; put text that has a comma in quotes")
    if column not in row:
        raise InputError(f"there is no column {column!r}; it has {', '.join(map(str, row))}")
    return row[column]


def _paths(cell: Any, column: str) -> list[str]:
    if isinstance(cell, str) and cell.strip().startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError:
            raise InputError(f'the cell of {column!r} is no JSON list; write it as ["a.png", "b.png"]') from None
    paths = cell if isinstance(cell, list) else [cell]
    if any(not isinstance(path, str | None) for path in paths):
        raise InputError(f"the cell of {column!r} is no path of a picture; name the column that holds paths")
    return [path.strip() for path in paths if path and path.strip()]


def _rows(text: str, name: str) -> Iterable[dict[str, Any]]:
    ending = name.rpartition(".")[2].lower()
    if ending in ("csv", "tsv"):
        return csv.DictReader(io.StringIO(text), delimiter="," if ending == "csv" else "\t")
    try:
        if ending == "jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        elif ending == "json":
            rows = json.loads(text)
        else:
            raise InputError(f"the table {name} must end in .csv, .tsv, .json or .jsonl; convert it")
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is no JSON ({error}); check the file") from None
    if isinstance(rows, dict):
        rows = [{"id": key, **value} if isinstance(value, dict) else value for key, value in rows.items()]
    if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise InputError(f"{name} is not a table: give a list of objects, or an object of objects")
    return rows
