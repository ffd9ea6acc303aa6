"""A plain folder of clips, captions and reference pictures becomes a dataset, so that people can train on their own."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from PIL import Image, ImageOps

from magref.dataset.format import NAME_LENGTH, DatasetInfo, Provenance, file_name
from magref.dataset.store import DatasetWriter, NewPicture, NewSubject
from magref.errors import InputError
from magref.references import Reference, Role, open_reference
from magref.streaming import even_sides, stream_video

CLIP_ENDINGS = (".mp4", ".mov", ".webm", ".mkv", ".avi")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")

_PICTURE_NAME = re.compile(rf"({'|'.join(get_args(Role))})(?:[ _-]+(?!\d+$)(.*?))?(?:[ _-]+(\d+))?", re.IGNORECASE)
_DIGEST_DIGITS = 8


@dataclass(frozen=True)
class Imported:
    """One clip's fate: `problem` is None where it became the sample `name`."""

    name: str
    problem: str | None


def import_folder(
    source: str | Path, folder: str | Path, *, name: str, license: str | None = None
) -> Iterator[Imported]:
    """Add every clip of `source` to the dataset in `folder`, made where it is not there yet; sources stay as they are.

    Beside each clip, `walk.mp4`, lie its caption `walk.txt` and a folder `walk/` of its reference pictures, each named
    by role and, better, by the words of the caption that mean it: `person a man in a hat.png`, `object ball.png`,
    `background park.jpg`. Several pictures of one subject end in a number: `object ball 2.png`, `person 2.png`.

    A clip that cannot be used is yielded with the reason and does not end the import; one that is in the dataset
    already is passed over, so that an import goes on where it was interrupted. Of clips that would have the same id,
    the first in order of their paths is taken, and the others are yielded each time.

    Raises:
        InputError: `source` is no folder, or has no clips.
        OutputError: the dataset cannot be written, or is another one.
    """
    source = Path(os.path.expanduser(source))
    if not source.is_dir():
        raise InputError(f"{source} is no folder; name the one that holds the clips")
    clips = sorted(path for path in source.rglob("*") if path.suffix.lower() in CLIP_ENDINGS and path.is_file())
    if not clips:
        raise InputError(
            f"{source} has no clips ({', '.join(CLIP_ENDINGS)}); put some in, each with its caption in .txt"
        )
    with DatasetWriter(folder, DatasetInfo(name=name, license=license)) as writer:
        firsts: dict[str, Path] = {}
        for clip in clips:
            path = clip.relative_to(source)
            sample = _sample_id(path)
            first = firsts.setdefault(sample.casefold(), path)  # some file systems do not tell upper case from lower
            if first != path:
                yield Imported(sample, f"it would have the id of {first}; rename it")
                continue
            if sample in writer:
                continue
            try:
                _add(writer, sample, clip, license)
            except InputError as error:  # a full disk is no clip's fault, and ends the import
                yield Imported(sample, str(error))
            else:
                yield Imported(sample, None)


def _sample_id(path: Path) -> str:
    """The clip's path within the source as a `Name`; a digest tells apart what a name cannot hold."""
    text = unicodedata.normalize("NFC", path.with_suffix("").as_posix())  # macOS and Linux spell an umlaut differently
    name = file_name(text)
    if text.isascii() and len(text) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_DIGITS]
    return f"{name[: NAME_LENGTH - _DIGEST_DIGITS - 1]}-{digest}"


def _add(writer: DatasetWriter, sample: str, clip: Path, license: str | None) -> None:
    caption = _caption(clip.with_suffix(".txt"))
    subjects = _subjects(clip.with_suffix(""))
    provenance = Provenance(source=clip.name, license=license, made_by="magref dataset import")
    if clip.suffix.lower() == ".mp4":
        writer.add(sample, caption, clip, subjects, provenance=provenance)
    else:
        frames, fps = stream_video(clip)
        writer.add(sample, caption, even_sides(frames), subjects, fps=fps, provenance=provenance)


def _caption(path: Path) -> str:
    try:
        caption = path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        raise InputError(f"there is no caption {path}; write what the clip shows into it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the caption {path} cannot be read ({error}); save it as UTF-8 text") from None
    if not caption:
        raise InputError(f"the caption {path} is empty; write what the clip shows into it")
    return " ".join(caption.split())


def _subjects(folder: Path) -> list[NewSubject]:
    pictures = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURE_ENDINGS)
    if not pictures:
        raise InputError(
            f"there are no reference pictures in {folder}; put some there, named 'object ball.png' and so on"
        )
    found: dict[tuple[str, str], list[NewPicture]] = {}
    for path in pictures:
        match = _PICTURE_NAME.fullmatch(path.stem)
        if match is None:
            raise InputError(
                f"the name of {path} does not begin with person, object or background; rename it, "
                "as in 'object ball.png'"
            )
        role, label = match[1].lower(), (match[2] or "").strip().replace("_", " ")
        open_reference(Reference(path))  # every check that generation makes
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
        found.setdefault((role, label), []).append(NewPicture(upright))
    return [
        NewSubject(
            key=f"{number}-{file_name(label or role)[:60]}", role=_role(role), pictures=images, label=label or None
        )
        for number, ((role, label), images) in enumerate(found.items())
    ]


def _role(text: str) -> Role:
    roles: dict[str, Role] = {"person": "person", "object": "object", "background": "background"}
    return roles[text]
