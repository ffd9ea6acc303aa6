"""The authors' text files, `key@@prompt@@image@@image`, which say nothing of what a picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magref.batch import Case, CaseReference, Category, Source, read_lines
from magref.errors import InputError
from magref.evaluation.cases import KINDS, category_of, keyed
from magref.references import Role

DATASET = "MAGREF's examples"


def authors_cases(path: str | Path, roles: Sequence[Role], single: Category = "face") -> list[Case]:
    """The cases of one file.

    Args:
        path: a .txt file; images are names relative to where they are collected from.
        roles: of the first picture of each case, of the second, and so on.
        single: the category of cases with one person and nothing else.

    Raises:
        InputError: names the file, the line and the remedy.
    """
    cases = []
    for line in read_lines(path, pictures=False):
        if line.case is None:
            raise InputError(f"{path}, line {line.number}: {line.problem}")
        refs = line.case.refs
        if len(refs) > len(roles):
            raise InputError(
                f"{path}, line {line.number}: {len(refs)} pictures and {len(roles)} roles; name a role for each picture"
            )
        given = keyed(CaseReference(uri=ref.uri, role=role) for ref, role in zip(refs, roles, strict=False))
        category = category_of([ref.role for ref in given], single)
        cases.append(
            line.case.model_copy(
                update={
                    "refs": given,
                    "group": None if category is None else KINDS[category].group,
                    "category": category,
                    "source": Source(dataset=DATASET, case_id=line.case.id),
                }
            )
        )
    return cases
