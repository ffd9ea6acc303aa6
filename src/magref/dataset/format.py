"""What a training sample is (paper 3.1, equation 1), and which files a dataset folder holds.

    dataset.json                    this format's name and version, the dataset's name and licence
    manifest/part-00000.parquet     a row for each sample, its columns the fields of `Sample`
    clips/<id>.mp4                  what the model learns to make
    pictures/<id>/<subject>-0.png   candidate references of a subject, RGBA, transparent outside of it
    masks/<id>/<subject>-0.png      where a person is in one frame of the clip, grey: 255 inside

The paper's sample is {clip, caption, candidate faces of one identity, objects 1 to k, human masks}. Here faces, objects
and backgrounds are all subjects with a role; training takes one of a subject's pictures each time.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from magref.references import Role
from magref.settings import Record

FORMAT: Final = "magref-dataset"
VERSION: Final = 1
INFO_FILE: Final = "dataset.json"
MANIFEST: Final = "manifest"

NAME_LENGTH: Final = 150
"""How long a `Name` may be, so that file systems, whose limit is 255 bytes, hold it with what follows it."""
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_LENGTH - 1}}}")

Name = Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]
"""Names files: letters, digits, dot, dash and underscore."""
Text = Annotated[str, Field(min_length=1)]
RelativePath = Annotated[str, Field(min_length=1)]
Pixels = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom exclusive."""


def _check_path(path: str) -> None:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or "\\" in path or ":" in path or ".." in parts:
        raise ValueError(f"the path {path!r} does not stay in the dataset's folder")
    if not parts or parts[0].casefold() in (INFO_FILE, MANIFEST):  # removing the sample would remove the dataset's rows
        raise ValueError(f"the path {path!r} is the dataset's own; a sample's files lie beside it")


class DatasetInfo(Record):
    """`dataset.json`."""

    format: Literal["magref-dataset"] = FORMAT
    version: Literal[1] = VERSION
    name: Text
    license: str | None = None
    """Of the dataset as a whole; a sample's own licence stands in its provenance."""
    description: str | None = None


class Picture(Record):
    """One candidate reference of a subject.

    `frame` is the clip's frame that it was cut from and `box` where in it; both None for a picture from elsewhere.
    `score` ranks candidates of one subject, higher is better.
    """

    path: RelativePath
    frame: Annotated[int, Field(ge=0)] | None = None
    box: Pixels | None = None
    score: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_path(self.path)
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(f"the box {self.box} of {self.path} is empty")
        return self


class Subject(Record):
    """A person, an object or a background of the clip.

    `label` is the words of the caption that mean it, and `span` where they stand, as (start, end) in characters.
    `identity` is the same for one person or thing in different samples.
    """

    key: Name
    role: Role
    pictures: Annotated[tuple[Picture, ...], Field(min_length=1)]
    label: str | None = None
    span: tuple[int, int] | None = None
    identity: str | None = None


class Mask(Record):
    """Where a person is in one frame of the clip."""

    path: RelativePath
    frame: Annotated[int, Field(ge=0)]
    subject: Name

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_path(self.path)
        return self


class Clip(Record):
    """The video; `start` and `stop` are the window of its frames that the caption is about, `stop` exclusive."""

    path: RelativePath
    fps: Annotated[float, Field(gt=0)]
    num_frames: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
    start: Annotated[int, Field(ge=0)] = 0
    stop: Annotated[int, Field(gt=0)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_path(self.path)
        if not self.start < self.stop <= self.num_frames:
            raise ValueError(f"the window {self.start} to {self.stop} does not lie in {self.num_frames} frames")
        return self


class Provenance(Record):
    """Where a sample comes from: the source video, its part in seconds, its licence, and the program that made it."""

    source: str | None = None
    start_s: Annotated[float, Field(ge=0)] | None = None
    end_s: Annotated[float, Field(gt=0)] | None = None
    license: str | None = None
    made_by: str | None = None


class Sample(Record):
    """One row of the manifest."""

    id: Name
    caption: Text
    clip: Clip
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)]
    masks: tuple[Mask, ...] = ()
    provenance: Provenance = Provenance()

    @model_validator(mode="after")
    def _check(self) -> Self:
        keys = [subject.key for subject in self.subjects]
        if len(set(keys)) < len(keys):
            raise ValueError(f"two subjects have one key among {', '.join(keys)}")
        for subject in self.subjects:
            if subject.span is not None:
                start, end = subject.span
                if not 0 <= start < end <= len(self.caption):
                    raise ValueError(f"the span {subject.span} of {subject.key} does not lie in the caption")
                if self.caption[start:end] != subject.label:
                    raise ValueError(f"the caption has {self.caption[start:end]!r} where {subject.label!r} should be")
            for picture in subject.pictures:
                if picture.frame is not None and picture.frame >= self.clip.num_frames:
                    raise ValueError(f"{picture.path} is from frame {picture.frame} of {self.clip.num_frames}")
        for mask in self.masks:
            if mask.subject not in keys:
                raise ValueError(f"the mask {mask.path} is of {mask.subject!r}, which is no subject here")
            if mask.frame >= self.clip.num_frames:
                raise ValueError(f"the mask {mask.path} is of frame {mask.frame} of {self.clip.num_frames}")
        return self

    def files(self) -> list[str]:
        """The paths of all its files."""
        pictures = [picture.path for subject in self.subjects for picture in subject.pictures]
        return [self.clip.path, *pictures, *(mask.path for mask in self.masks)]


def find_span(caption: str, label: str) -> tuple[int, int] | None:
    """Where the caption first has the label as whole words, whatever the case; None where it does not."""
    found = re.search(rf"(?<!\w){re.escape(label)}(?!\w)", caption, re.IGNORECASE)
    return None if found is None else found.span()


def file_name(text: str) -> str:
    """The text as a `Name`: what a name cannot hold becomes a dash."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:NAME_LENGTH]
    return name or "unnamed"
