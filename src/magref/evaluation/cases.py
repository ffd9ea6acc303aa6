"""The benchmark's rules: what a case of each category holds, and how many of each make the paper's 120.

A case file is the one that `magref generate --batch` reads (`magref.batch`), with everything filled in: group,
category, and each reference's key, role and hash.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from magref.batch import Case, CaseReference, Category, Group, read_lines
from magref.errors import InputError
from magref.outputs import writing
from magref.references import Role, file_sha256

ENDING = ".mp4"
"""Of a case's video; its name is the case's id."""

Composition = Mapping[Category, int]
"""How many cases of each category."""


@dataclass(frozen=True)
class Kind:
    """What a category's cases are made of: the roles of their references, in alphabetical order."""

    group: Group
    roles: tuple[Role, ...]

    def __str__(self) -> str:
        counts = Counter(self.roles)
        return " + ".join(f"{n} {role}{'s' * (n > 1)}" for role, n in sorted(counts.items(), reverse=True))


KINDS: dict[Category, Kind] = {
    "face": Kind("single_id", ("person",)),
    "human": Kind("single_id", ("person",)),
    "two_person": Kind("multi_subject", ("person", "person")),
    "two_person_bg": Kind("multi_subject", ("background", "person", "person")),
    "three_person": Kind("multi_subject", ("person", "person", "person")),
    "human_object_background": Kind("multi_subject", ("background", "object", "person")),
}
"""Single-ID cases have one person, seen as a face or as a whole (`face`, `human`)."""

PAPER: Composition = {
    "face": 30,
    "human": 30,
    "two_person": 18,
    "two_person_bg": 8,
    "three_person": 4,
    "human_object_background": 30,
}
"""60 single-ID and 60 multi-subject cases, at most three references each (paper 4.1).

The paper gives 60 and 60; the counts within each half are those of the reconstruction, see `reconstruction.py`.
"""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a benchmark, one sentence; `line` is None where it concerns the whole file."""

    line: int | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.line is None else f"line {self.line}: {self.sentence}"


def check_benchmark(
    path: str | Path, composition: Composition | None = PAPER, *, pictures: bool = True
) -> tuple[list[Case], list[Problem]]:
    """The cases of a benchmark, and everything that is wrong with it.

    Args:
        path: a .jsonl file.
        composition: how many cases of each category there must be; None for any.
        pictures: look for each reference and compare its hash.

    Raises:
        InputError: there is no such file, or it is empty.
    """
    cases: list[Case] = []
    problems: list[Problem] = []
    for line in read_lines(path, pictures=pictures):
        if line.case is None:
            problems.append(Problem(line.number, line.problem or ""))
            continue
        cases.append(line.case)
        problems += [Problem(line.number, sentence) for sentence in case_problems(line.case)]
    if composition is not None:
        problems += [Problem(None, sentence) for sentence in wrong_counts(cases, composition)]
    return cases, problems


def read_benchmark(path: str | Path, composition: Composition | None = PAPER) -> list[Case]:
    """The cases of a benchmark that is as it should be.

    Raises:
        InputError: with the first problem, and its line.
    """
    cases, problems = check_benchmark(path, composition)
    if problems:
        more = f"; {len(problems) - 1} more problems: magref bench check {path}" if len(problems) > 1 else ""
        raise InputError(f"{path}, {problems[0]}{more}")
    return cases


def case_problems(case: Case) -> list[str]:
    """What keeps one case from being a benchmark's, a sentence each."""
    problems = []
    if case.category is None:
        problems.append(f"the category is missing; use {', '.join(KINDS)}")
    else:
        kind = KINDS[case.category]
        if case.group != kind.group:
            problems.append(f"the group is {case.group}, and {case.category} belongs to {kind.group}; change one")
        if tuple(sorted(ref.role for ref in case.refs)) != kind.roles:
            has = Counter(ref.role for ref in case.refs)
            problems.append(
                f"{case.category} takes {kind}, and the references are "
                f"{', '.join(f'{n} {role}' for role, n in sorted(has.items()))}; give each its role"
            )
    keys = Counter(ref.key for ref in case.refs)
    for number, ref in enumerate(case.refs, 1):
        if ref.key is None:
            problems.append(f"reference {number} has no key; give it a short name of its own")
        elif keys[ref.key] > 1:
            problems.append(f"reference {number} has the key {ref.key!r} of another; give each its own")
        if ref.sha256 is None:
            problems.append(f"reference {number} has no sha256; write the file's hash, or import the cases")
    return problems


def category_of(roles: Sequence[Role], single: Category | None) -> Category | None:
    """The category whose cases have these references, None where the paper has none.

    Args:
        single: which of its two categories a person alone belongs to.
    """
    wanted = tuple(sorted(roles))
    if wanted == KINDS["face"].roles:
        return single
    return next((category for category, kind in KINDS.items() if kind.roles == wanted), None)


def keyed(refs: Iterable[CaseReference]) -> tuple[CaseReference, ...]:
    """The references with keys: each its role and a number, person-1, person-2, background-1."""
    counts: Counter[str] = Counter()
    result = []
    for ref in refs:
        counts[ref.role] += 1
        result.append(ref.model_copy(update={"key": f"{ref.role}-{counts[ref.role]}"}))
    return tuple(result)


def wrong_counts(cases: Sequence[Case], composition: Composition = PAPER) -> list[str]:
    """The halves first: one wrong category explains a wrong half, but not the other way round."""
    found = Counter(case.category for case in cases if case.category is not None)
    wanted = Counter({category: count for category, count in composition.items() if count})
    sentences = []
    for group in sorted({kind.group for kind in KINDS.values()}, reverse=True):
        members = [category for category, kind in KINDS.items() if kind.group == group]
        has, needs = sum(found[c] for c in members), sum(wanted[c] for c in members)
        if has != needs:
            sentences.append(f"{group} has {has} cases; give {needs}")
    sentences += [
        f"{category} has {found[category]} cases; give {wanted[category]}"
        for category in KINDS
        if found[category] != wanted[category]
    ]
    return sentences


def write_cases(cases: Sequence[Case], path: Path, *, overwrite: bool = False) -> None:
    """Write a case file; keys without a value are left out, so that equal cases give equal bytes."""
    with writing(path, overwrite=overwrite) as temporary:
        temporary.write_text("".join(case_line(case) + "\n" for case in cases), encoding="utf-8")


def case_line(case: Case) -> str:
    """A case as a line of JSON."""
    return json.dumps(case.model_dump(mode="json", exclude_none=True), ensure_ascii=False)


def case_sha256(case: Case) -> str:
    """Of the prompt and the references' content; where their files lie plays no part. Reads those without a hash."""
    refs = [(ref.role, ref.key, ref.crop, ref.sha256 or file_sha256(Path(ref.uri))) for ref in case.refs]
    return hashlib.sha256(json.dumps([case.prompt, refs]).encode()).hexdigest()
