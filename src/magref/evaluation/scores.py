"""Scores on disk: what was measured of each case, with what, and the means over them.

A folder holds `run.json`, what the numbers mean and where they come from, and `scores.jsonl`, one line for each case.
The format is described in docs/benchmark.md.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from magref import __version__
from magref.batch import Category, Group
from magref.errors import InputError, OutputError
from magref.evaluation.metrics.interface import About, Measure, Missing, Profile, Score, Value
from magref.evaluation.statistics import Mean, mean_of
from magref.evaluation.videos import MadeBy
from magref.outputs import writing
from magref.settings import Record
from magref.sidecar import Sha256, first_problem

RUN_FILE, SCORES_FILE = "run.json", "scores.jsonl"
NOT_RUN = Missing(reason="unavailable", why="this metric was not run on this video; name it in --metrics")


class VideoFile(Record):
    """A video as it was measured."""

    sha256: Sha256
    frames: int
    width: int
    height: int
    fps: float


class CaseScores(Record):
    """What is known of one line of the case file.

    Attributes:
        line: its number.
        case: its id; None where it could not be read.
        references: how many it has.
        dataset: its source, which says where cases are a reconstruction.
        case_sha256: of its prompt and references.
        video: None where there is none, or it could not be read.
        scores: by the measures' names.
    """

    line: int
    case: str | None
    group: Group | None = None
    category: Category | None = None
    references: int | None = None
    dataset: str | None = None
    case_sha256: Sha256 | None = None
    video: VideoFile | None = None
    scores: dict[str, Score]

    @property
    def repeats(self) -> bool:
        """Whether the line has the id of an earlier one, whose scores these are not."""
        return any(isinstance(one, Missing) and one.reason == "duplicate_id" for one in self.scores.values())


class MetricRun(Record):
    """One metric of a run; `weights` is None where its networks were not there."""

    about: About
    measures: tuple[Measure, ...]
    weights: str | None


class Run(Record):
    """What made the scores of a folder; `videos` and `cases` are absolute, in older ones as they were typed."""

    format: Literal["magref-scores"] = "magref-scores"
    version: Literal[1] = 1
    magref: str = __version__
    videos: str
    cases: str
    profile: Profile
    metrics: dict[str, MetricRun]
    made_by: MadeBy | None = None
    """What made the videos; None where they come from elsewhere."""

    @property
    def measures(self) -> dict[str, Measure]:
        """All measures by name, in the metrics' order."""
        return {measure.name: measure for metric in self.metrics.values() for measure in metric.measures}


class Summary(Record):
    """The mean over the cases that have a value, and how many have none, by reason."""

    mean: Mean
    missing: dict[str, int]


def read_run(folder: Path) -> Run | None:
    """What made the scores of a folder; None where it has none.

    Raises:
        OutputError: the folder holds something else.
    """
    path = folder / RUN_FILE
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} holds something else than scores; choose another folder")
        return None
    try:
        return Run.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise OutputError(
            f"{path} is not of this version of magref ({first_problem(error)}); choose another folder"
        ) from (None)


def write_run(run: Run, folder: Path) -> None:
    """Write or replace `run.json`."""
    with writing(folder / RUN_FILE, overwrite=True) as temporary:
        temporary.write_text(run.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_scores(folder: Path) -> list[CaseScores]:
    """The scores of a folder in the order of the case file; of two lines about one case the later one counts.

    Raises:
        InputError: a line is none of scores.
    """
    path = folder / SCORES_FILE
    if not path.exists():
        return []
    found: dict[str | int, CaseScores] = {}
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):  # a kill may cut the last one short
        try:
            scores = CaseScores.model_validate_json(line)
        except ValidationError as error:
            raise InputError(
                f"{path}, line {number}: no scores ({first_problem(error)}); evaluate into another folder"
            ) from (None)
        # Lines of a case file that was edited since may have other numbers, so that the case says what is replaced.
        known = None if scores.repeats else scores.case
        found[scores.line if known is None else known] = scores
    return sorted(found.values(), key=lambda one: one.line)


def append_scores(scores: CaseScores, folder: Path) -> None:
    """Add one line, where a stopped run will find it."""
    path = folder / SCORES_FILE
    try:
        with path.open("ab+") as file:
            file.seek(0, 2)
            if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
                file.write(b"\n")
            file.write(_line(scores))
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror}); mend that and run the same command"
        ) from None


def write_scores(scores: Iterable[CaseScores], folder: Path) -> None:
    """Replace all lines, one for each case."""
    with writing(folder / SCORES_FILE, overwrite=True) as temporary:
        temporary.write_bytes(b"".join(_line(one) for one in scores))


def _line(scores: CaseScores) -> bytes:
    return (json.dumps(scores.model_dump(mode="json", exclude_none=True), ensure_ascii=False) + "\n").encode()


def checked(score: Score) -> Score:
    """The score, or that it is no number."""
    if isinstance(score, Value) and not math.isfinite(score.value):
        return Missing(reason="not_a_number", why=f"it came out as {score.value}")
    return score


def summarise(
    scores: Sequence[CaseScores],
    measures: Iterable[str] | Mapping[str, Measure],
    *,
    where: Callable[[CaseScores], bool] = lambda one: True,
) -> dict[str, Summary]:
    """Means over cases, each case once however many references it has; what is missing enters no mean.

    Args:
        measures: their names, or the measures by name as a run has them: then those that answer yes or no get an
            interval that knows it.
        where: which cases count.
    """
    chosen = [one for one in scores if where(one)]
    result = {}
    for name in measures:
        yes_no = isinstance(measures, Mapping) and measures[name].yes_no
        found = [one.scores.get(name, NOT_RUN) for one in chosen]
        result[name] = Summary(
            mean=mean_of([score.value if isinstance(score, Value) else None for score in found], yes_no=yes_no),
            missing=dict(Counter(score.reason for score in found if isinstance(score, Missing)).most_common()),
        )
    return result
