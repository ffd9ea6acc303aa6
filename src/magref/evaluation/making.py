"""Make a benchmark's videos with a system: each case once, those that fail with their reason; a second call goes on."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from magref.batch import Case, Line, read_lines
from magref.errors import InputError, MagrefError, OutputError
from magref.evaluation.cases import ENDING, case_sha256
from magref.evaluation.systems.interface import CaseFailedError, System
from magref.evaluation.systems.registry import kind_of
from magref.evaluation.videos import (
    Failure,
    FailureReason,
    MadeBy,
    VideoRecord,
    claim,
    held,
    is_made,
    note_failure,
    read_failures,
    seed_of,
)
from magref.outputs import writing
from magref.references import file_sha256
from magref.settings import Record
from magref.sidecar import ReferenceRecord, installed_versions, sidecar_path
from magref.video import probe_video


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    case: str
    failure: Failure | None = None


@dataclass(frozen=True)
class Job:
    """What a process needs to make videos; it can be sent to one."""

    made_by: MadeBy
    settings: Record
    videos: Path

    def open(self, device: str | None) -> System:
        """Load the system; what it raises concerns all cases."""
        return kind_of(self.made_by.system).open(self.settings, device)

    def make(self, system: System, case: Case) -> Outcome:
        """Make one case's video and its record, both or neither.

        Raises:
            OutputError: it could not be written, which concerns all cases.
        """
        try:
            self._make(system, case)
        except OutputError:
            raise
        except CaseFailedError as error:
            return _failed(case, error.reason, str(error), error.evidence)
        except InputError as error:
            return _failed(case, "refused", str(error))
        except MagrefError as error:
            return _failed(case, "failed", str(error))
        return Outcome(case.id)

    def died(self, case: Case, why: str) -> Outcome:
        """The outcome where the process ended over it."""
        return _failed(case, "died", why)

    def _make(self, system: System, case: Case) -> None:
        video = self.videos / f"{case.id}{ENDING}"
        seed = seed_of(case.id, self.made_by.seed)
        # A record without its video is what a kill may leave; it is written anew.
        with writing(video) as out, writing(sidecar_path(video), overwrite=True) as beside:
            settings = _asked(system, case, seed, out)
            info = probe_video(out)
            record = VideoRecord(
                made_by=self.made_by, case=case.id, case_sha256=case_sha256(case), source=case.source, seed=seed,
                settings=settings,
                references=tuple(
                    ReferenceRecord(
                        path=ref.uri, sha256=ref.sha256 or file_sha256(Path(ref.uri)), role=ref.role, label=ref.label,
                        crop=ref.crop,
                    )
                    for ref in case.refs
                ),
                device=system.device, versions=installed_versions(), frames=info.num_frames, width=info.width,
                height=info.height, fps=info.fps, output_sha256=file_sha256(out),
            )  # fmt: skip
            beside.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


class Engine(Protocol):
    """Runs a job over cases; yields what came of each as soon as it is known, in any order."""

    def each(self, job: Job, cases: Sequence[Case], /) -> Iterator[Outcome]:
        """See above; raises what concerns all cases."""


@dataclass(frozen=True)
class Request:
    """What is to be made.

    Attributes:
        cases: the case file.
        videos: the folder for the videos.
        system: a name of `registry.SYSTEMS`; `settings` are of its kind.
        seed: the base of every case's seed.
    """

    cases: Path
    videos: Path
    system: str
    settings: Record
    seed: int = 0


@dataclass(frozen=True)
class Finished:
    """How many videos there are of how many cases, how many of them are new, and why the others are missing.

    `datasets` are the cases' sources, which say where these are a reconstruction.
    """

    cases: int
    there: int
    new: int
    failures: tuple[Failure, ...]
    datasets: tuple[str, ...]


Progress = Callable[[int, int, Failure | None], None]
"""Called with the cases that are done and all cases, and why the last one failed, if it did."""


def make_videos(request: Request, engine: Engine, *, progress: Progress | None = None) -> Finished:
    """Make the videos of all cases that have none.

    Raises:
        InputError, CheckpointError, ResourceError: the case file cannot be read, or the system cannot be loaded.
        OutputError: the folder holds other videos, another run is busy in it, or it cannot be written.
    """
    made_by = MadeBy(
        system=request.system,
        settings=request.settings.model_dump(mode="json"),
        weights=kind_of(request.system).check(request.settings),
        seed=request.seed,
    )
    lines = list(read_lines(Path(os.path.abspath(os.path.expanduser(request.cases)))))
    videos = Path(os.path.abspath(os.path.expanduser(request.videos)))
    with held(videos):
        claim(videos, made_by)
        cases = [line.case for line in lines if line.case is not None]
        waiting = [case for case in cases if not is_made(case, videos)]
        failures = [_unusable(line) for line in lines if line.case is None]
        for failure in failures:
            if failure not in read_failures(videos):
                note_failure(failure, videos)
        done = len(lines) - len(waiting)
        if progress is not None:
            progress(done, len(lines), None)
        for outcome in engine.each(Job(made_by, request.settings, videos), waiting) if waiting else ():
            done += 1
            if outcome.failure is not None:
                note_failure(outcome.failure, videos)
                failures.append(outcome.failure)
            if progress is not None:
                progress(done, len(lines), outcome.failure)
    there = len(lines) - len(failures)
    written = [line.written for line in lines if line.written is not None]
    datasets = sorted({case.source.dataset for case in written if case.source and case.source.dataset})
    return Finished(len(lines), there, there - (len(cases) - len(waiting)), tuple(failures), tuple(datasets))


def _failed(case: Case, reason: FailureReason, why: str, evidence: str = "") -> Outcome:
    return Outcome(case.id, Failure(case=case.id, reason=reason, why=why, evidence=evidence))


def _asked(system: System, case: Case, seed: int, out: Path) -> dict[str, Any]:
    """The system's settings once it has made the video; whatever else it raises is a failure of this case alone."""
    try:
        return system.make(case, seed, out)
    except MagrefError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no word of why')}"
        raise CaseFailedError("failed", why, traceback.format_exc()) from None


def _unusable(line: Line) -> Failure:
    return Failure(case=line.id, line=line.number, reason="bad_case", why=line.problem or "")
