"""The systems of a report: a folder of stored scores each, and whether they may stand in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from magref.errors import InputError
from magref.evaluation.metrics.interface import Measure, Profile
from magref.evaluation.reconstruction import DATASET as RECONSTRUCTION
from magref.evaluation.report.published import COLUMNS
from magref.evaluation.scores import CaseScores, Run, read_run, read_scores


@dataclass(frozen=True)
class System:
    """What made videos, and their scores."""

    name: str
    run: Run
    scores: tuple[CaseScores, ...]

    @property
    def cases(self) -> dict[str, CaseScores]:
        """By their ids; lines of the case file that could not be used are not among them."""
        return {one.case: one for one in self.scores if one.case is not None and one.case_sha256 is not None}


@dataclass(frozen=True)
class Bench:
    """Systems that were scored on the same cases, by the same rules.

    Attributes:
        measures: everything that any of them was scored by, Table 1's columns first.
        datasets: where the cases come from.
        cases: all of them, each as the first system has it.
        notes: what the reader has to know of the differences that remain, a sentence each.
    """

    systems: tuple[System, ...]
    profile: Profile
    measures: dict[str, Measure]
    datasets: tuple[str, ...]
    cases: dict[str, CaseScores]
    notes: tuple[str, ...]

    @property
    def is_reconstruction(self) -> bool:
        """Whether all cases are of the reconstruction of the paper's 120, so that published rows may stand beside."""
        return self.datasets == (RECONSTRUCTION,) and all(one.dataset for one in self.cases.values())

    @property
    def has_reconstruction(self) -> bool:
        """Whether any case is of it, which every output has to say."""
        return RECONSTRUCTION in self.datasets


def read_bench(given: Sequence[str]) -> Bench:
    """Read folders of scores for one report.

    Args:
        given: a folder each that `magref evaluate` wrote, or NAME=FOLDER; a system's name is otherwise that of the
            folder that its videos were in.

    Raises:
        InputError, OutputError: a folder holds no scores, two systems have one name, or they cannot be compared.
    """
    systems = [read_system(one) for one in given]
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two systems are called {twice}; give each a name of its own as NAME=FOLDER")
    return compared(systems)


def read_system(given: str) -> System:
    """Read one folder of scores; see `read_bench`."""
    name, mark, place = given.partition("=")
    if Path(given).is_dir() or not mark:
        name, place = "", given
    elif not name.strip():
        raise InputError(f"{given!r} has no name before the =; write NAME=FOLDER")
    folder = Path(place)
    run = read_run(folder)
    scores = read_scores(folder)
    if run is None or not scores:
        raise InputError(f"there are no scores in {place}; give a folder that magref evaluate wrote")
    return System(" ".join(name.split()) or Path(run.videos).name or folder.resolve().name, run, tuple(scores))


def compared(systems: Sequence[System]) -> Bench:
    """The systems side by side.

    Raises:
        InputError: they were scored by other rules or on other cases.
    """
    first = systems[0]
    measures: dict[str, Measure] = {}
    cases: dict[str, CaseScores] = {}
    for system in systems:
        if system.run.profile != first.run.profile:
            raise InputError(
                f"{first.name} was scored by profile {first.run.profile} and {system.name} by {system.run.profile}, "
                "and these must not be mixed; make a report for each profile"
            )
        if not system.cases:
            raise InputError(f"no case of {system.name} could be used; mend the case file {system.run.cases}")
        if not system.cases.keys() & first.cases.keys():
            raise InputError(f"{first.name} and {system.name} were scored on other cases; make a report for each")
        for name, measure in system.run.measures.items():
            known = measures.setdefault(name, measure)
            if known.model_copy(update={"yes_no": measure.yes_no}) != measure:  # which older scores do not say
                raise InputError(f"{name} of {system.name} is measured otherwise; evaluate all with one version")
        for name, one in system.cases.items():
            if cases.setdefault(name, one).case_sha256 != one.case_sha256:
                raise InputError(
                    f"the case {name} has another prompt or other references in {system.name}; "
                    "evaluate all on the same case file"
                )
    order = [column.name for column in COLUMNS if column.name in measures]
    return Bench(
        systems=tuple(systems),
        profile=first.run.profile,
        measures={name: measures[name] for name in [*order, *(name for name in measures if name not in order)]},
        datasets=tuple(sorted({one.dataset for one in cases.values() if one.dataset})),
        cases=cases,
        notes=tuple(_differences(systems, len(cases))),
    )


def _differences(systems: Sequence[System], cases: int) -> list[str]:
    notes = []
    for system in systems:
        if len(system.cases) != cases:
            notes.append(f"{system.name} was scored on {len(system.cases)} of the {cases} cases.")
        unusable = [one for one in system.scores if one.case_sha256 is None]
        if unusable:
            loose = sum(one.group is None for one in unusable)
            where = f"{loose} of them stand in no part" if loose else "they count as missing"
            notes.append(f"{len(unusable)} lines of {system.name}'s case file could not be used; {where}.")
    for metric in sorted({name for system in systems for name in system.run.metrics}):
        weights = {
            system.name: run.weights
            for system in systems
            if (run := system.run.metrics.get(metric)) is not None and run.weights is not None
        }
        if len(set(weights.values())) > 1:
            used = ", ".join(f"{name} with {where}" for name, where in weights.items())
            notes.append(f"The metric {metric} ran with weights from different places: {used}; compare with care.")
    versions = {system.name: system.run.magref for system in systems}
    if len(set(versions.values())) > 1:
        notes.append(f"Versions of magref: {', '.join(f'{name} {version}' for name, version in versions.items())}.")
    return notes
