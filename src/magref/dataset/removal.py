"""Taking a person out of a dataset: every sample that shows them, with all of its files."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magref.dataset.format import Sample
from magref.dataset.store import Dataset, manifest_errors, open_part, sample_of
from magref.errors import InputError, OutputError
from magref.outputs import writing


@dataclass(frozen=True)
class Removal:
    """The samples that are to go, by the manifest's file that has their rows."""

    folder: Path
    samples: tuple[tuple[Path, Sample], ...]

    def files(self) -> list[Path]:
        """Every file of these samples that is there."""
        paths = [self.folder / path for _, sample in self.samples for path in sample.files()]
        return [path for path in paths if path.exists()]


def plan_removal(folder: str | Path, identity: str, *, whole_sources: bool = False) -> Removal:
    """What removing an identity would take; nothing is changed.

    A sample goes as a whole, since its clip shows the person.

    Args:
        whole_sources: also take the samples cut from the same source videos, which may show the person without
            naming them.

    Raises:
        InputError: the folder is no dataset, none of its samples has the identity, or one that has it does not fit
            the format.
    """
    dataset = Dataset(folder)
    rows = list(dataset.rows())
    shown = [row for _, row in rows if _shows(row, identity)]
    if not shown:
        raise InputError(f"no sample of {dataset.folder} shows {identity!r}; identities stand in its manifest")
    sources = {_source(row) for row in shown} - {None}
    wanted = [(p, row) for p, row in rows if _shows(row, identity) or (whole_sources and _source(row) in sources)]
    return Removal(dataset.folder, tuple((part, _valid(part, row)) for part, row in wanted))


def remove(removal: Removal) -> None:
    """Delete the files, then the rows.

    In this order, so that after an interruption the same removal can be planned and run again: what is still named in
    the manifest is still found.

    Raises:
        OutputError: a file cannot be deleted, or the manifest not written; the rest goes on being named there.
    """
    for path in removal.files():
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(f"{path} could not be deleted ({error.strerror}); mend that and remove again") from None
        with contextlib.suppress(OSError):  # others still have files there
            if path.parent.name not in ("clips", "pictures", "masks"):
                path.parent.rmdir()
    for part in dict.fromkeys(part for part, _ in removal.samples):
        _rewrite(part, {sample.id for where, sample in removal.samples if where == part})


def _rewrite(part: Path, without: set[str]) -> None:
    """The rows of the other samples. A part that loses all stays, empty: the number of parts names the next one."""
    from pyarrow import parquet

    with manifest_errors(part), open_part(part) as opened:
        table = opened.read()
    kept = [name not in without for name in table["id"].to_pylist()]
    with writing(part, overwrite=True) as path:
        parquet.write_table(table.filter(kept), path)


def _shows(row: dict[str, Any], identity: str) -> bool:
    return any(subject.get("identity") == identity for subject in row.get("subjects") or ())


def _source(row: dict[str, Any]) -> str | None:
    source: str | None = (row.get("provenance") or {}).get("source")
    return source


def _valid(part: Path, row: dict[str, Any]) -> Sample:
    try:
        return sample_of(row)
    except InputError as error:
        raise InputError(
            f"{part}: the sample {row['id']!r} is not valid: {error}; mend its row, since its files are not known"
        ) from None
