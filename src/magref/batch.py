"""Many videos from one file: JSON lines in the evaluation's case format, or the authors' `key@@prompt@@image` lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from magref.errors import InputError
from magref.references import MAX_REFERENCES, Reference, Role, open_reference
from magref.sidecar import Sha256, first_problem

Group = Literal["single_id", "multi_subject"]
Category = Literal["face", "human", "two_person", "two_person_bg", "three_person", "human_object_background"]
Side = Annotated[int, Field(ge=0)]

_MAX_ID_BYTES = 200  # a file name has at most 255, the ending included
_ID = re.compile(r"[^\s./\\:][^/\\:]*")  # no path, no hidden file
_URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Record):
    """Where a case comes from."""

    dataset: str | None = None
    case_id: str | None = None
    license: str | None = None


class CaseReference(_Record):
    """One reference of a case; after `read_cases`, `uri` is the path of a file that exists."""

    uri: Annotated[str, Field(min_length=1)]
    role: Role = "object"
    label: str | None = None
    key: str | None = None
    sha256: Sha256 | None = None
    crop: tuple[Side, Side, Side, Side] | None = None
    """left, top, right, bottom in pixels of the upright picture; right and bottom exclusive."""


class Case(_Record):
    """One video to make; `id` becomes its file's name."""

    id: str
    prompt: str
    refs: Annotated[tuple[CaseReference, ...], Field(min_length=1, max_length=MAX_REFERENCES)]
    group: Group | None = None
    category: Category | None = None
    source: Source | None = None

    def references(self) -> list[Reference]:
        """The references for `compose_canvas` and the pipeline: paths, or pictures in memory where a crop is asked."""
        return [
            Reference(
                Path(ref.uri) if ref.crop is None else _cropped(ref.uri, ref.crop), role=ref.role, label=ref.label
            )
            for ref in self.refs
        ]


def read_cases(path: str | Path) -> list[Case]:
    """Read every case of a .jsonl or .txt file and check them all, each picture included, before any is made.

    A .jsonl file has a JSON object a line: id, prompt, refs [{uri, role, label, key, sha256, crop}], and optionally
    group, category and source. A .txt file has lines `key@@prompt@@image@@image`. Images are local files; relative
    paths are looked for in the case file's folder, then in the current one.

    Raises:
        InputError: names the file, the line and the remedy.
    """
    path = Path(path).expanduser()
    readers: dict[str, Callable[[str], Case]] = {".jsonl": _from_json, ".txt": _from_text}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"the case file {path} must end in .jsonl (JSON lines) or .txt (key@@prompt@@image); rename it"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"the case file {path} does not exist; check its path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the case file {path} cannot be read ({error}); save it as UTF-8 text") from None
    cases: list[Case] = []
    seen: dict[str, int] = {}
    looked_at: dict[Path, tuple[tuple[int, int], str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            case = readers[path.suffix.lower()](line.strip())
            _check_id(case.id)
            if not case.prompt.strip():
                raise InputError("the prompt is empty; write what the video shows")
            # Some file systems do not tell upper from lower case, and one video would take the other's name.
            first = seen.setdefault(case.id.casefold(), number)
            if first != number:
                raise InputError(f"the id {case.id!r} is already on line {first}; give each case its own")
            refs = tuple(_found(ref, path.parent, looked_at) for ref in case.refs)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        cases.append(case.model_copy(update={"refs": refs}))
    if not cases:
        raise InputError(f"the case file {path} has no cases; write one on each line")
    return cases


def _from_json(line: str) -> Case:
    try:
        json.loads(line)
    except ValueError as error:
        raise InputError(f"not JSON ({error}); write one object a line") from None
    try:
        return Case.model_validate_json(line)
    except ValidationError as error:
        raise InputError(f"{first_problem(error)}; see the case format in the documentation") from None


def _from_text(line: str) -> Case:
    key, *rest = [part.strip() for part in line.split("@@")]
    if len(rest) < 2 or not all(rest):
        raise InputError("the line is not key@@prompt@@image, with further @@image where wanted; complete it")
    prompt, *images = rest
    if len(images) > MAX_REFERENCES:
        raise InputError(f"{len(images)} references were given; give 1 to {MAX_REFERENCES}")
    return Case(id=key, prompt=prompt, refs=tuple(CaseReference(uri=image) for image in images))


def _check_id(name: str) -> None:
    if not _ID.fullmatch(name) or not name.isprintable():
        raise InputError(f"the id {name!r} cannot name a file; use letters, digits, - and _")
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_ID_BYTES:
        raise InputError(f"the id {name[:20]!r}... is longer than {_MAX_ID_BYTES} bytes; shorten it")


def _found(ref: CaseReference, folder: Path, looked_at: dict[Path, tuple[tuple[int, int], str]]) -> CaseReference:
    """The reference with the path where its file lies, after every check."""
    path = _local(ref.uri, folder)
    if path not in looked_at:  # one picture often serves many cases
        opened = open_reference(Reference(path))
        looked_at[path] = (opened.rgb.size, opened.sha256)
    (width, height), sha256 = looked_at[path]
    if ref.sha256 not in (None, sha256):
        raise InputError(f"the reference {path} is not the file that its sha256 names; fetch it again")
    if ref.crop is not None:
        left, top, right, bottom = ref.crop
        if not (left < right <= width and top < bottom <= height):
            raise InputError(f"the crop {list(ref.crop)} does not lie in {path}, which is {width}x{height}; correct it")
        open_reference(Reference(_cropped(str(path), ref.crop)))  # it may be too small or too long
    return ref.model_copy(update={"uri": str(path)})


def _local(uri: str, folder: Path) -> Path:
    if uri.startswith("file://"):
        uri = unquote(urlsplit(uri).path)
    elif _URI_SCHEME.match(uri):
        raise InputError(f"the reference {uri} is not a local file; fetch it yourself and give its path")
    path = Path(uri).expanduser()
    for candidate in (folder / path, path):
        if candidate.is_file():
            return candidate
    raise InputError(f"the reference {uri} does not exist; check its path")


def _cropped(path: str, crop: tuple[int, int, int, int]) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).crop(crop)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"the reference {path} cannot be read ({error}); check or replace the file") from None
