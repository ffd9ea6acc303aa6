"""Taking a person out of a dataset: every sample that shows them, with all of its files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
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
        """Every file of these samples that is there, once."""
        paths = dict.fromkeys(self.folder / path for _, sample in self.samples for path in sample.files())
        return [path for path in paths if path.exists()]


def plan_removal(folder: str | Path, identity: str, *, whole_sources: bool = False) -> Removal:
    """What removing an identity would take; nothing is changed.

    A sample goes as a whole, since its clip shows the person.

    Args:
        whole_sources: also take the samples cut from the same source videos, which may show the person without
            naming them.

    Raises:
        InputError: the folder is no dataset, none of its samples has the identity, one that has it does not fit
            the format, or a file of one is also a file of a sample that stays.
    """
    dataset = Dataset(folder)
    rows = list(dataset.rows())
    shown = [row for _, row in rows if _shows(row, identity)]
    if not shown:
        raise InputError(f"no sample of {dataset.folder} shows {identity!r}; identities stand in its manifest")
    sources = {_source(row) for row in shown} - {None}
    going = [_shows(row, identity) or (whole_sources and _source(row) in sources) for _, row in rows]
    samples = tuple((part, _valid(part, row)) for (part, row), goes in zip(rows, going, strict=True) if goes)
    owners = {PurePosixPath(path): sample.id for _, sample in samples for path in sample.files()}
    for (_, row), goes in zip(rows, going, strict=True):
        shared = None if goes else next((path for path in _files(row) if path in owners), None)
        if shared is not None:
            remedy = "" if whole_sources else ", or remove the whole source with --whole-sources"
            raise InputError(
                f"{shared} of {owners[shared]!r} is also a file of {row['id']!r}, which does not name {identity}; "
                f"name the identity there too{remedy}"
            )
    return Removal(dataset.folder, samples)


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
    """The rows of the other samples. A part that loses all stays, empty."""
    from pyarrow import parquet

    with manifest_errors(part), open_part(part) as opened:
        table = opened.read()
    kept = [name not in without for name in table["id"].to_pylist()]
    with writing(part, overwrite=True) as path:
        parquet.write_table(table.filter(kept), path)


def _shows(row: dict[str, Any], identity: str) -> bool:
    return any(subject.get("identity") == identity for subject in row.get("subjects") or ())


def _files(row: dict[str, Any]) -> Iterator[PurePosixPath]:
    """A row's files, also where the rest of it does not fit the format."""
    pictures = [picture for subject in row.get("subjects") or () for picture in subject.get("pictures") or ()]
    for part in (row.get("clip"), *pictures, *(row.get("masks") or ())):
        if part and part.get("path"):
            yield PurePosixPath(part["path"])


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
