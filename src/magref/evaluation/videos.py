"""A folder of videos made here: what made them, each one's record, which cases failed and why.

The folder holds `<case id>.mp4` with its record `<case id>.json`, and in `run/` what made them all (`system.json`) and
what failed (`failures.jsonl`). docs/systems.md tells the format.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from magref.batch import Case, Source
from magref.errors import OutputError
from magref.evaluation.cases import ENDING, case_sha256
from magref.outputs import append, write_errors, writing
from magref.settings import Record
from magref.sidecar import ReferenceRecord, Sha256, Versions, sidecar_path

RUN, SYSTEM_FILE, FAILURES_FILE, LOCK_FILE = "run", "system.json", "failures.jsonl", "lock"
SEED_BITS = 31
"""Every program that takes a seed takes one of these."""

FailureReason = Literal["bad_case", "refused", "timeout", "exit_code", "no_video", "failed", "died"]
"""Why a case has no video.

bad_case: the case file's line cannot be used. refused: the system does not take such a case. timeout, exit_code,
no_video: of an external command, which took too long, ended badly, or left no video. failed: an error in the system,
a lack of memory among them. died: its process ended, as those do that take more memory than there is.
"""


class MadeBy(Record):
    """What makes the videos of a folder; the same for all of them.

    `settings` are those given and the system's defaults, `weights` their hashes (`sidecar.weights_sha256`), `seed` the
    base from which each case's own is drawn.
    """

    format: Literal["magref-bench-system"] = "magref-bench-system"
    version: Literal[1] = 1
    system: str
    settings: dict[str, Any]
    weights: dict[str, Sha256]
    seed: int


class VideoRecord(Record):
    """Everything that decided one video; no time and no host name, so that equal work gives equal records."""

    format: Literal["magref-bench-video"] = "magref-bench-video"
    version: Literal[1] = 1
    created_by: Literal["magref"] = "magref"
    made_by: MadeBy
    case: str
    case_sha256: Sha256
    source: Source | None = None
    """The case's; it says where that is of a reconstruction. Records of earlier versions lack it."""
    seed: int
    settings: dict[str, Any]
    """As the system resolved them for this video."""
    references: tuple[ReferenceRecord, ...]
    device: str
    versions: Versions
    frames: int
    width: int
    height: int
    fps: float
    output_sha256: Sha256


class Failure(Record):
    """Why a case has no video; `line` is that of the case file where the case itself cannot be used."""

    case: str | None
    line: int | None = None
    reason: FailureReason
    why: str
    evidence: str = ""


def seed_of(case_id: str, base: int) -> int:
    """The seed of a case: the same for every system, another for every case and every base."""
    digest = hashlib.sha256(f"{base} {case_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def read_made_by(videos: Path) -> MadeBy | None:
    """What made the videos of a folder; None where this package did not, whatever else has a file of that name."""
    path = videos / RUN / SYSTEM_FILE
    if not path.is_file():
        return None
    content = path.read_bytes()
    try:
        return MadeBy.model_validate_json(content)
    except ValidationError:
        if not _is_ours(content):
            return None
        raise OutputError(f"{path} is not of this version of magref; choose another folder") from None


def _is_ours(content: bytes) -> bool:
    try:
        value = json.loads(content)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("format") == MadeBy.model_fields["format"].default


def read_failures(videos: Path) -> list[Failure]:
    """What was noted of cases that failed, in the order of time; some of them may have a video by now.

    Raises:
        OutputError: a line says something else. Where this package did not make the videos, the file is not looked at.
    """
    path = videos / RUN / FAILURES_FILE
    if not path.is_file() or read_made_by(videos) is None:
        return []
    content = path.read_bytes()
    failures = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):  # a kill may cut the last one
        try:
            failures.append(Failure.model_validate_json(line))
        except ValidationError:
            raise OutputError(f"{path}, line {number} is not of this version of magref; move the file away") from None
    return failures


def note_failure(failure: Failure, videos: Path) -> None:
    """Add a failure to those of the folder."""
    append(videos / RUN / FAILURES_FILE, (failure.model_dump_json() + "\n").encode())


@contextlib.contextmanager
def held(videos: Path) -> Iterator[None]:
    """The folder for oneself: two runs would make cases twice. The system lets go when the process ends, however."""
    import fcntl

    path = videos / RUN / LOCK_FILE
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        with write_errors(path):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                why = f"another run makes videos in {videos}; wait for it, or choose another folder"
                raise OutputError(why) from None
        yield


def claim(videos: Path, made_by: MadeBy) -> None:
    """Raise OutputError unless all of the folder's videos come from the same system with the same settings."""
    before = read_made_by(videos)
    if before == made_by:
        return
    if before is not None:
        fields = [name for name in MadeBy.model_fields if getattr(before, name) != getattr(made_by, name)]
        raise OutputError(
            f"{videos} holds videos of {before.system} made otherwise ({', '.join(fields)}, see {RUN}/{SYSTEM_FILE}); "
            "choose another folder"
        )
    if any(videos.glob(f"*{ENDING}")):
        raise OutputError(f"{videos} holds videos from elsewhere; choose another folder")
    with writing(videos / RUN / SYSTEM_FILE) as temporary:
        temporary.write_text(made_by.model_dump_json(indent=2) + "\n", encoding="utf-8")


def is_made(case: Case, videos: Path) -> bool:
    """Whether the case has its video; OutputError where that was made of another case, or by other hands."""
    video = videos / f"{case.id}{ENDING}"
    if not video.exists():
        return False
    try:
        record = VideoRecord.model_validate_json(sidecar_path(video).read_bytes())
    except (OSError, ValidationError):
        raise OutputError(f"{video} is not of this run, it has no record; move it away") from None
    if record.case_sha256 != case_sha256(case):
        raise OutputError(f"{video} was made of another prompt or other references; move it away")
    return True
