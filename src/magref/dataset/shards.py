"""A dataset as WebDataset shards: tar files that stream from object stores, a sample's files next to each other."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from magref.dataset.format import Sample
from magref.dataset.store import Dataset
from magref.errors import OutputError
from magref.outputs import writing

SHARD_SAMPLES = 500


def export_shards(folder: str | Path, destination: str | Path, *, shard_samples: int = SHARD_SAMPLES) -> Iterator[Path]:
    """Write `shard-00000.tar`, ... and yield each when it is whole; those already there are passed over.

    Of a sample `x` a shard holds `x.json` (the manifest's row), `x.mp4`, `x.<subject>-<n>.png` and
    `x.mask.<subject>-<frame>.png`; dots of the id become underscores, since WebDataset cuts a name at its first dot.
    Equal datasets give equal bytes.

    Raises:
        OutputError: a shard cannot be written.
    """
    dataset, destination = Dataset(folder), Path(os.path.expanduser(destination))
    if destination.exists() and not destination.is_dir():
        raise OutputError(f"the output {destination} is a file; name a folder")
    batch: list[Sample] = []
    number = 0
    for sample in dataset:
        batch.append(sample)
        if len(batch) == shard_samples:
            yield _write(dataset.folder, destination, number, batch)
            batch, number = [], number + 1
    if batch:
        yield _write(dataset.folder, destination, number, batch)


def _write(folder: Path, destination: Path, number: int, samples: list[Sample]) -> Path:
    shard = destination / f"shard-{number:05d}.tar"
    if shard.exists():
        return shard
    with writing(shard) as path, tarfile.open(path, "w") as tar:
        for sample in samples:
            key = sample.id.replace(".", "_")
            _put(tar, f"{key}.json", sample.model_dump_json().encode())
            for stored in sample.files():
                parts = Path(stored)
                ending = {"clips": parts.suffix[1:], "pictures": parts.name, "masks": f"mask.{parts.name}"}[
                    parts.parts[0]
                ]
                _put(tar, f"{key}.{ending}", (folder / stored).read_bytes())
    return shard


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
