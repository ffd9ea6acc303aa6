"""OpenS2V-Eval's JSON: `{case id: {img_paths, prompt, synthesis_flag, class_label}}` with parallel lists.

https://github.com/PKU-YuanGroup/OpenS2V-Nexus (arXiv 2505.20292). Videos are named `<case id>.mp4` there as here.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from magref.batch import Case, CaseReference, Category, Source
from magref.errors import InputError
from magref.evaluation.cases import KINDS, category_of, keyed
from magref.references import Role
from magref.settings import Record
from magref.sidecar import first_problem

DATASET = "OpenS2V-Eval"
SINGLE: dict[str, Category] = {"singleface": "face", "singlehuman": "human"}
"""How ids of single-person cases begin."""

_PEOPLE = ("man", "woman", "person")
_PLACES = ("environment", "scene")


class Entry(Record):
    """One case as it is published; `synthesis_flag` says whether its pictures were generated."""

    img_paths: Annotated[tuple[str, ...], Field(min_length=1)]
    prompt: str
    synthesis_flag: str
    class_label: tuple[str, ...]


_FILE = TypeAdapter(dict[str, Entry])


def opens2v_cases(text: str | bytes, name: str) -> list[Case]:
    """The cases of one file, in its order; those of categories that the paper does not have come without one.

    Args:
        text: the file's content.
        name: what errors call the file.

    Raises:
        InputError: the file has another form.
    """
    try:
        entries = _FILE.validate_json(text)
    except ValidationError as error:
        problem = first_problem(error)
        raise InputError(f"{name} is not OpenS2V-Eval's JSON ({problem}); give the file as published") from None
    cases = []
    for case_id, entry in entries.items():
        try:
            cases.append(_case(case_id, entry, name))
        except ValidationError as error:
            raise InputError(f"{name}, {case_id}: {first_problem(error)}; mend the entry") from None
    return cases


def _case(case_id: str, entry: Entry, name: str) -> Case:
    if len(entry.img_paths) != len(entry.class_label):
        raise InputError(
            f"{name}, {case_id}: {len(entry.img_paths)} pictures have {len(entry.class_label)} labels; give one to each"
        )
    refs = keyed(
        CaseReference(uri=path, role=role_of(path, label), label=label)
        for path, label in zip(entry.img_paths, entry.class_label, strict=True)
    )
    category = category_of([ref.role for ref in refs], SINGLE.get(case_id.partition("_")[0]))
    return Case(
        id=case_id,
        prompt=entry.prompt,
        refs=refs,
        group=None if category is None else KINDS[category].group,
        category=category,
        source=Source(dataset=DATASET, case_id=case_id),
    )


def role_of(path: str, label: str) -> Role:
    """What a picture shows: a person by its label, a place by its folder; anything else is an object."""
    if label.strip().lower() in _PEOPLE:
        return "person"
    return "background" if any(part in _PLACES for part in path.split("/")) else "object"


def is_opens2v(text: str | bytes) -> bool:
    """Whether a file is of this form."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    if not isinstance(value, dict) or not value:
        return False
    return all(isinstance(entry, dict) and "img_paths" in entry for entry in value.values())
