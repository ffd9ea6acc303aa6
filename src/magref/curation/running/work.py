"""The folder of a curation's work: what is done, what was measured, and a log.

settings.json                    the settings that everything in the folder was made with
sources.json                     the videos' addresses by their ids
<stage>/<source id>.parquet      a stage's rows of one video, and what they took; there if and only if the stage is done
drafts/<source id>/              the video's samples as a small dataset, before duplicates are left out
copies/                          of videos that are not files here
log.jsonl                        what happened, a line each
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from magref.curation.outcome import Failed
from magref.curation.running.rows import Level, Row, Took, read_rows, read_states, read_took, write_rows
from magref.curation.running.sources import Source
from magref.curation.settings import CurationSettings
from magref.errors import InputError, OutputError
from magref.outputs import writing

STAGES: Final = ("scan", "aesthetic", "captions", "boxes", "faces", "identities", "objects", "samples")
"""In order; each needs those before it. Duplicates are judged last, over all videos at once."""


class Work:
    """A work folder; `open_work` and `find_work` make sure that it is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def copies(self) -> Path:
        """The folder for videos that are not files here."""
        return self.folder / "copies"

    def drafts(self, source: str) -> Path:
        """The small dataset of a video's samples."""
        return self.folder / "drafts" / source

    def path(self, stage: str, source: str) -> Path:
        """A stage's file of one video."""
        return self.folder / stage / f"{source}.parquet"

    def is_done(self, stage: str, source: str) -> bool:
        """Whether the stage needs no further look at the video."""
        return self.path(stage, source).exists()

    def read(self, stage: str, source: str, *levels: Level) -> list[Row]:
        """A stage's rows of a video; none where it was not done."""
        path = self.path(stage, source)
        return read_rows(path, *levels) if path.exists() else []

    def states(self, stage: str, source: str, level: Level) -> list[tuple[str, str | None]]:
        """States of a stage's rows and the stages of what spoke against them; none where it was not done."""
        path = self.path(stage, source)
        return read_states(path, level) if path.exists() else []

    def took(self, stage: str, source: str) -> Took | None:
        """What a stage took for a video; None where it was not done, or that was not noted."""
        path = self.path(stage, source)
        return read_took(path) if path.exists() else None

    def write(self, stage: str, source: str, rows: Sequence[Row], took: Took | None = None) -> None:
        """Note a stage as done for a video."""
        write_rows(self.path(stage, source), rows, took)

    def settings(self) -> CurationSettings:
        """Those that the folder was made with."""
        try:
            return CurationSettings.model_validate_json((self.folder / "settings.json").read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise InputError(f"{self.folder} is no work folder of a curation ({error}); check its path") from None

    def sources(self) -> list[Source]:
        """All videos that were ever given, in the order of their ids."""
        path = self.folder / "sources.json"
        addresses = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return sorted((Source(address) for address in addresses.values()), key=lambda source: source.id)

    def log(self, event: str, **values: Any) -> None:
        """Add a line to the log."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values})
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def open_work(folder: Path, settings: CurationSettings, sources: Sequence[Source]) -> Work:
    """A new work folder, or one that is gone on with.

    Raises:
        OutputError: the folder holds something else, or work that was done with other settings.
    """
    work = Work(folder)
    if (folder / "settings.json").exists():
        if work.settings() != settings:
            changed = ", ".join(_differences(work.settings().model_dump(), settings.model_dump()))
            raise OutputError(
                f"the work in {folder} was done with another {changed}; name another folder with --work, "
                "or try limits on it with magref curate tune"
            )
    else:
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"the folder {folder} is not empty and holds no curation's work; choose another")
        with writing(folder / "settings.json") as path:
            path.write_text(settings.model_dump_json(indent=1) + "\n", encoding="utf-8")
    addresses = {source.id: source.address for source in [*work.sources(), *sources]}
    with writing(folder / "sources.json", overwrite=True) as path:
        path.write_text(json.dumps(addresses, indent=1) + "\n", encoding="utf-8")
    return work


def find_work(folder: Path) -> Work:
    """A work folder that must exist; a dataset's own name stands for the folder beside it."""
    beside = folder.with_name(folder.name + "-work")
    for candidate in (folder, beside):
        if (candidate / "settings.json").exists():
            return Work(candidate)
    raise InputError(f"{folder} is no work folder of a curation; give DATASET-work, or what --work named")


def forget_failed(folder: Path) -> int:
    """Undo every stage of the videos in which something failed, from there on; returns how many videos."""
    work, count = find_work(folder), 0
    for source in work.sources():
        failed = (
            stage for stage in STAGES if any(isinstance(row.outcome, Failed) for row in work.read(stage, source.id))
        )
        first = next(failed, None)
        if first is not None:
            count += 1
            for stage in reversed(
                STAGES[STAGES.index(first) :]
            ):  # the last first: what is there was made of what is there
                work.path(stage, source.id).unlink(missing_ok=True)
    return count


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [f"{section}.{name}" for section, values in a.items() for name in values if values[name] != b[section][name]]
