"""A dataset as WebDataset shards: tar files that stream from object stores, a sample's files next to each other."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from magref.dataset.format import Sample
from magref.dataset.store import Dataset
from magref.errors import InputError, OutputError
from magref.outputs import writing

SHARD_SAMPLES = 500


@dataclass(frozen=True)
class Shard:
    """A whole shard; `new` where it was written now, and not found there with the same samples."""

    path: Path
    new: bool


def export_shards(
    folder: str | Path, destination: str | Path, *, shard_samples: int = SHARD_SAMPLES
) -> Iterator[Shard]:
    """Write `shard-00000.tar`, ... and yield each when it is whole; those already there with the same rows are kept.

    Of a sample `x` a shard holds `x.json` (the manifest's row), `x.mp4`, `x.<subject>-<n>.png` and
    `x.mask.<subject>-<frame>.png`; dots of the id become underscores, since WebDataset cuts a name at its first dot.
    Equal datasets give equal bytes.

    Raises:
        InputError: the folder is no dataset, a sample lacks a file, or two samples or files would have one name.
        OutputError: a shard cannot be written, or one that is there holds other samples.
    """
    dataset, destination = Dataset(folder), Path(os.path.expanduser(destination))
    if destination.exists() and not destination.is_dir():
        raise OutputError(f"the output {destination} is a file; name a folder")
    _check_keys(dataset.ids())
    wanted = {_path(destination, number) for number in range(-(-len(dataset) // shard_samples))}
    for shard in sorted(set(destination.glob("shard-*.tar")) - wanted):  # of a larger dataset, or of smaller shards
        raise _holds_others(shard)
    samples = iter(dataset)
    for number in itertools.count():
        batch = list(itertools.islice(samples, shard_samples))
        if not batch:
            return
        yield _export(dataset.folder, _path(destination, number), batch)


def _export(folder: Path, shard: Path, samples: list[Sample]) -> Shard:
    rows = [(f"{_key(sample.id)}.json", sample.model_dump_json().encode()) for sample in samples]
    if shard.exists():
        if _stored_rows(shard) != rows:
            raise _holds_others(shard)
        return Shard(shard, new=False)
    entries = [_entries(folder, sample) for sample in samples]  # whatever is wrong is said before anything is written
    with writing(shard) as path, tarfile.open(path, "w") as tar:
        for (name, row), files in zip(rows, entries, strict=True):
            _put(tar, name, row)
            for entry, stored in files.items():
                _put(tar, entry, stored.read_bytes())
    return Shard(shard, new=True)


def _check_keys(names: Iterable[str]) -> None:
    owners: dict[str, str] = {}
    for name in names:
        other = owners.setdefault(_key(name), name)
        if other != name:
            raise InputError(
                f"the samples {other!r} and {name!r} would both be {_key(name)!r} in a shard; give one another id"
            )


def _key(name: str) -> str:
    return name.replace(".", "_")


def _path(destination: Path, number: int) -> Path:
    return destination / f"shard-{number:05d}.tar"


def _holds_others(shard: Path) -> OutputError:
    return OutputError(f"{shard} holds other samples; choose another folder, or delete the shards there")


def _stored_rows(shard: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the rows in a shard that is there; what they name was written in the same go."""
    rows = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.name.endswith(".json") else None
                if content is not None:
                    rows.append((entry.name, content.read()))
    except (tarfile.TarError, OSError):
        raise _holds_others(shard) from None
    return rows


def _entries(folder: Path, sample: Sample) -> dict[str, Path]:
    """A sample's files by their names in the shard; which folder they lie in does not matter."""
    pictures = (PurePosixPath(picture.path) for subject in sample.subjects for picture in subject.pictures)
    masks = (PurePosixPath(mask.path) for mask in sample.masks)
    endings = [
        PurePosixPath(sample.clip.path).suffix,
        *(f".{path.name}" for path in pictures),
        *(f".mask.{path.name}" for path in masks),
    ]
    entries: dict[str, Path] = {}
    for stored, ending in zip(sample.files(), endings, strict=True):
        name, path = f"{_key(sample.id)}{ending}", folder / stored
        if not path.is_file():
            raise InputError(f"the sample {sample.id!r} lacks {stored}; run magref dataset check")
        if entries.setdefault(name, path) != path:
            raise InputError(f"two files of the sample {sample.id!r} would be {name} in a shard; rename one of them")
    return entries


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
