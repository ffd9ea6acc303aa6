"""Is a dataset folder whole? Every row against the format, every file against its row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from magref.dataset.format import Sample
from magref.dataset.store import Dataset, read_picture, sample_of
from magref.errors import InputError
from magref.streaming import count_frames
from magref.video import probe_video


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `sample` is the id, or the manifest's file where the row has none."""

    sample: str
    sentence: str


def check_dataset(folder: str | Path, *, decode: bool = False) -> Iterator[Problem]:
    """Look at every sample and yield what is wrong, nothing where all is well; nothing is changed.

    Args:
        decode: also decode every frame of every clip, which takes long.

    Raises:
        InputError: the folder is no dataset, has another version of the format, or a manifest that cannot be read.
    """
    dataset = Dataset(folder)
    seen: set[str] = set()
    for part, row in dataset.rows():
        name = str(row.get("id") or part.name)
        try:
            sample = sample_of(row)
        except InputError as error:
            yield Problem(name, f"the row does not fit the format: {error}")
            continue
        if sample.id.casefold() in seen:
            yield Problem(name, "the id occurs twice")
        seen.add(sample.id.casefold())
        yield from (Problem(name, sentence) for sentence in sample_problems(sample, dataset.folder, decode=decode))


def sample_problems(sample: Sample, folder: Path, *, decode: bool = False) -> Iterator[str]:
    """What is wrong with one sample's files, as sentences."""
    missing = [path for path in sample.files() if not (folder / path).is_file()]
    yield from (f"{path} is missing" for path in missing)
    if sample.clip.path not in missing:
        yield from _clip_problems(sample, folder / sample.clip.path, decode=decode)
    contents: dict[str, str] = {}
    for subject in sample.subjects:
        for picture in subject.pictures:
            path = folder / picture.path
            if picture.path in missing:
                continue
            problem = _picture_problem(path)
            if problem is not None:
                yield f"{picture.path} {problem}"
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            other = contents.setdefault(digest, subject.key)
            if other != subject.key:
                yield f"{picture.path} is the same picture for {subject.key} as for {other}"
    for mask in sample.masks:
        if mask.path not in missing:
            try:
                image = read_picture(folder / mask.path)
            except InputError:
                yield f"{mask.path} cannot be read"
                continue
            if image.size != (sample.clip.width, sample.clip.height):
                yield f"{mask.path} is {image.width}x{image.height}, not as large as the clip"


def _clip_problems(sample: Sample, path: Path, *, decode: bool) -> Iterator[str]:
    clip = sample.clip
    try:
        found = probe_video(path)
        frames = count_frames(path) if decode else found.num_frames
    except InputError as error:
        yield str(error)
        return
    if (found.width, found.height) != (clip.width, clip.height):
        yield f"{clip.path} is {found.width}x{found.height}, the manifest says {clip.width}x{clip.height}"
    if frames != clip.num_frames:
        yield f"{clip.path} has {frames} frames, the manifest says {clip.num_frames}"
    if abs(found.fps - clip.fps) > 0.01 * clip.fps:
        yield f"{clip.path} runs at {found.fps:g} frames per second, the manifest says {clip.fps:g}"


def _picture_problem(path: Path) -> str | None:
    try:
        image = read_picture(path)
    except InputError:
        return "cannot be read"
    if image.mode != "RGBA":
        return f"is {image.mode}, not RGBA"
    return "is wholly transparent" if image.getchannel("A").getextrema()[1] == 0 else None
