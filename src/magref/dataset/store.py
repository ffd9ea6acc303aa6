"""Reading and writing dataset folders: Parquet manifest, mp4, PNG (see `format.py`)."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import ValidationError

from magref.dataset.format import (
    INFO_FILE,
    MANIFEST,
    VERSION,
    Clip,
    DatasetInfo,
    Mask,
    Name,
    Picture,
    Pixels,
    Provenance,
    Sample,
    Subject,
    find_span,
)
from magref.dataset.schema import manifest_schema
from magref.errors import InputError, OutputError, ResourceError
from magref.frames import FrameStream
from magref.outputs import write_image, writing
from magref.references import Role
from magref.settings import Record
from magref.sidecar import first_problem
from magref.video import Frames, probe_video, write_video

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

PART_SAMPLES = 1000
_SHOWN = 30
"""Letters of a long text, before and after what differs."""
_PART = re.compile(r"part-(\d+)\.parquet")


@dataclass(frozen=True)
class NewPicture:
    """A candidate reference to be written; fields as in `Picture`."""

    image: Image.Image
    frame: int | None = None
    box: Pixels | None = None
    score: float | None = None


@dataclass(frozen=True)
class NewSubject:
    """A subject to be written; fields as in `Subject`. Without `span`, the label's first place in the caption."""

    key: str
    role: Role
    pictures: Sequence[NewPicture]
    label: str | None = None
    span: tuple[int, int] | None = None
    identity: str | None = None


class DatasetWriter:
    """Adds samples to a new or an existing dataset folder; use it in a `with` block.

    A sample's files are written before its row, and rows in parts of `part_samples`, each part whole or not at all:
    after a kill, at most the rows of an unfinished part are missing, and adding those samples again replaces their
    files.
    """

    def __init__(self, folder: str | Path, info: DatasetInfo, *, part_samples: int = PART_SAMPLES) -> None:
        self.folder = Path(os.path.expanduser(folder))
        self._part_samples = part_samples
        self._rows: list[Sample] = []
        _parquet()
        if (self.folder / INFO_FILE).exists():
            existing = Dataset(self.folder)
            if existing.info != info:
                raise OutputError(
                    f"{self.folder} is a dataset with {_differences(existing.info, info)}; give the same, "
                    "or choose another folder"
                )
            self._ids = set(existing.ids())
        else:
            if self.folder.exists() and any(self.folder.iterdir()):
                raise OutputError(f"the folder {self.folder} is not empty and no dataset; choose another")
            self._ids = set()
            with writing(self.folder / INFO_FILE) as path:
                path.write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def add(
        self,
        name: str,
        caption: str,
        video: Frames | FrameStream | str | Path,
        subjects: Sequence[NewSubject],
        *,
        fps: float | None = None,
        window: tuple[int, int] | None = None,
        masks: Mapping[tuple[str, int], npt.NDArray[np.bool_]] | None = None,
        provenance: Provenance | None = None,
    ) -> Sample:
        """Write one sample and note its row.

        Args:
            name: its id; each must be new (`name in writer` tells).
            video: frames, uint8 (F, H, W, 3), or a stream of such, read once while it is written, with their `fps`; or
                an .mp4 file, which is copied as it is.
            window: first and last + 1 of the frames that the caption is about; all by default.
            masks: (subject's key, frame) -> (H, W), True inside.

        Raises:
            InputError: the sample contradicts itself, or its id exists.
        """
        if name in self._ids:
            raise InputError(f"the dataset has a sample {name!r} already; give each its own id")
        masks = masks or {}
        sample = self._sample(name, caption, video, subjects, fps, window, masks, provenance or Provenance())
        clip = self.folder / sample.clip.path
        if isinstance(video, (str, Path)):
            with writing(clip, overwrite=True) as path:
                shutil.copyfile(video, path)
        else:
            write_video(video, clip, fps=sample.clip.fps, overwrite=True)
        for subject, new in zip(sample.subjects, subjects, strict=True):
            for picture, candidate in zip(subject.pictures, new.pictures, strict=True):
                write_image(candidate.image.convert("RGBA"), self.folder / picture.path, overwrite=True)
        for mask, inside in zip(sample.masks, masks.values(), strict=True):
            write_image(Image.fromarray(inside.astype(np.uint8) * 255), self.folder / mask.path, overwrite=True)
        self._rows.append(sample)
        self._ids.add(name)
        if len(self._rows) >= self._part_samples:
            self.flush()
        return sample

    def flush(self) -> None:
        """Write the rows noted so far as one part of the manifest."""
        if not self._rows:
            return
        arrow, parquet = _parquet()
        table = arrow.Table.from_pylist([row.model_dump(mode="json") for row in self._rows], schema=manifest_schema())
        manifest = self.folder / MANIFEST
        # Not their count: where one was taken out, that number is another's.
        taken = [int(found[1]) for part in manifest.glob("*") if (found := _PART.fullmatch(part.name))]
        with writing(manifest / f"part-{max(taken, default=-1) + 1:05d}.parquet") as path:
            parquet.write_table(table, path)
        self._rows = []

    def _sample(
        self,
        name: str,
        caption: str,
        video: Frames | FrameStream | str | Path,
        subjects: Sequence[NewSubject],
        fps: float | None,
        window: tuple[int, int] | None,
        masks: Mapping[tuple[str, int], npt.NDArray[np.bool_]],
        provenance: Provenance,
    ) -> Sample:
        if isinstance(video, (str, Path)):
            shape = probe_video(video)
            frames, height, width, fps = shape.num_frames, shape.height, shape.width, shape.fps
        elif fps is None:
            raise InputError("frames were given without their rate; give fps")
        else:
            frames, height, width, _ = video.shape
        start, stop = window or (0, frames)
        try:
            return Sample(
                id=name,
                caption=caption,
                clip=Clip(
                    path=f"clips/{name}.mp4",
                    fps=fps,
                    num_frames=frames,
                    height=height,
                    width=width,
                    start=start,
                    stop=stop,
                ),
                subjects=tuple(_subject(name, caption, subject) for subject in subjects),
                masks=tuple(
                    Mask(path=f"masks/{name}/{key}-{frame}.png", frame=frame, subject=key) for key, frame in masks
                ),
                provenance=provenance,
            )
        except ValidationError as error:
            raise InputError(f"the sample {name!r} cannot be stored: {first_problem(error)}") from None


def _differences(existing: DatasetInfo, given: DatasetInfo) -> str:
    """In words: what stands in `dataset.json`, and what was given in its place."""
    there, here = existing.model_dump(), given.model_dump()
    differing = [(name, *_around(there[name], here[name])) for name in there if there[name] != here[name]]
    return " and ".join(f"the {name} {old}, not {new}" for name, old, new in differing)


def _around(*values: str | None) -> list[str]:
    """Two texts, of long ones what stands about their first difference: a description holds all settings."""
    alike = itertools.takewhile(
        lambda letters: len(set(letters)) == 1, zip(*(value or "" for value in values), strict=False)
    )
    same = sum(1 for _ in alike)
    start = max(0, same - _SHOWN)
    shown = []
    for value in values:
        cut = (value or "")[start : same + _SHOWN]
        before, after = "..." if start else "", "..." if len(value or "") > same + _SHOWN else ""
        shown.append("none" if value is None else repr(f"{before}{cut}{after}"))
    return shown


def _subject(name: str, caption: str, new: NewSubject) -> Subject:
    span = new.span
    label = new.label
    if label is not None and span is None:
        span = find_span(caption, label)
        label = caption[slice(*span)] if span else label
    return Subject(
        key=new.key,
        role=new.role,
        label=label,
        span=span,
        identity=new.identity,
        pictures=tuple(
            Picture(path=f"pictures/{name}/{new.key}-{n}.png", frame=p.frame, box=p.box, score=p.score)
            for n, p in enumerate(new.pictures)
        ),
    )


class Dataset:
    """A dataset folder, its manifest read part by part and each row checked; for samples by their ids see `rows.py`.

    Raises:
        InputError: the folder is none, has another version, or its manifest cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.expanduser(folder))
        self.info = read_info(self.folder)
        _parquet()

    def parts(self) -> list[Path]:
        """The manifest's files, in order."""
        return sorted((self.folder / MANIFEST).glob("part-*.parquet"))

    def ids(self) -> list[str]:
        """All samples' ids, without reading the rest of their rows."""
        return [str(row["id"]) for _, row in self.rows(["id"])]

    def __len__(self) -> int:
        count = 0
        for part in self.parts():
            with manifest_errors(part), open_part(part) as opened:
                count += opened.metadata.num_rows
        return count

    def __iter__(self) -> Iterator[Sample]:
        for part, row in self.rows():
            try:
                yield sample_of(row)
            except InputError as error:
                raise InputError(f"{part}: the sample {row['id']!r} is not valid: {error}") from None

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Every row as it is stored, or some of its columns, with its file; the bad ones too."""
        for part in self.parts():
            with manifest_errors(part), open_part(part) as opened:
                _check_columns(part, opened, columns)
                rows = opened.read(columns).to_pylist()
            for row in rows:
                yield part, row


def open_part(part: Path) -> pyarrow.parquet.ParquetFile:
    """One of the manifest's files, to read within `manifest_errors`."""
    return _parquet()[1].ParquetFile(part)


@contextlib.contextmanager
def manifest_errors(part: Path) -> Iterator[None]:
    """Whatever a damaged manifest provokes inside becomes an InputError that names the file."""
    arrow, _ = _parquet()
    try:
        yield
    except (OSError, UnicodeDecodeError, arrow.ArrowException) as error:
        raise InputError(f"the manifest's {part} cannot be read ({str(error).splitlines()[0]}); copy it anew") from None


def _check_columns(part: Path, opened: pyarrow.parquet.ParquetFile, columns: Sequence[str] | None) -> None:
    missing = {"id", *(columns or ())} - set(opened.schema_arrow.names)
    if missing:
        raise InputError(f"the manifest's {part} has no column {min(missing)}; copy it anew")


def read_picture(path: Path) -> Image.Image:
    """A picture's pixels as they are stored.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # Pillow's readers raise whatever a damaged file provokes
        raise InputError(f"the picture {path} cannot be read ({error}); replace it") from None


def read_info(folder: Path) -> DatasetInfo:
    """`dataset.json` of a folder; InputError where it is none or of another version."""
    path = folder / INFO_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no dataset: it has no {INFO_FILE}; make one with magref dataset import or synthesize"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); check the file") from None
    try:
        return DatasetInfo.model_validate_json(text)
    except ValidationError as error:
        if any(problem["loc"] == ("version",) for problem in error.errors()):
            raise InputError(
                f"{folder} has another version of the dataset format than {VERSION}; use the magref that wrote it"
            ) from None
        raise InputError(f"{path} does not describe a dataset: {first_problem(error)}") from None


def sample_of(row: dict[str, Any]) -> Sample:
    """A manifest's row as a `Sample`; InputError where it does not fit the format."""
    try:
        return Sample.model_validate(_tuples(row))
    except ValidationError as error:
        raise InputError(first_problem(error)) from None


def listing_of(row: Mapping[str, Any]) -> tuple[str, Clip]:
    """Id and clip of a manifest's row, the rest unseen; InputError where they do not fit the format."""
    try:
        listing = _Listing.model_validate({"id": row["id"], "clip": _tuples(row.get("clip"))})
    except ValidationError as error:
        raise InputError(first_problem(error)) from None
    return listing.id, listing.clip


class _Listing(Record):
    id: Name
    clip: Clip


def _tuples(value: Any) -> Any:
    """Parquet's lists as the tuples that strict records ask for."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ResourceError("datasets need an extra package; run pip install 'magref[train]'") from None
    return pyarrow, pyarrow.parquet
