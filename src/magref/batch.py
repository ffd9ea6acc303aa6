"""Many videos from one file: JSON lines in the evaluation's case format, or the authors' `key@@prompt@@image` lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, ValidationError

from magref.errors import InputError
from magref.references import MAX_REFERENCES, Crop, Reference, Role, open_reference
from magref.settings import Record
from magref.sidecar import Sha256, first_problem

Group = Literal["single_id", "multi_subject"]
Category = Literal["face", "human", "two_person", "two_person_bg", "three_person", "human_object_background"]

_MAX_ID_BYTES = 200  # a file name has at most 255, the ending included
_ID = re.compile(r"[^\s./\\:][^/\\:]*")  # no path, no hidden file
_URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Source(Record):
    """Where a case comes from."""

    dataset: str | None = None
    case_id: str | None = None
    license: str | None = None


class CaseReference(Record):
    """One reference of a case; after `read_cases`, `uri` is the path of a file that exists."""

    uri: Annotated[str, Field(min_length=1)]
    role: Role = "object"
    label: str | None = None
    key: str | None = None
    sha256: Sha256 | None = None
    crop: Crop | None = None

    def reference(self) -> Reference:
        """The reference for `compose_canvas` and the pipeline; InputError where the crop is none."""
        return Reference(Path(self.uri), role=self.role, label=self.label, crop=self.crop)


class Case(Record):
    """One video to make; `id` becomes its file's name."""

    id: str
    prompt: str
    refs: Annotated[tuple[CaseReference, ...], Field(min_length=1, max_length=MAX_REFERENCES)]
    group: Group | None = None
    category: Category | None = None
    source: Source | None = None

    def references(self) -> list[Reference]:
        """The references for `compose_canvas` and the pipeline."""
        return [ref.reference() for ref in self.refs]


@dataclass(frozen=True)
class Line:
    """One line of a case file.

    Attributes:
        case: None where the line cannot be used; `problem` then says why, in one sentence.
        id: None where it cannot be read.
        first: the line that has the same id already, which is then the problem.
        written: the case as it is written, where that can be read and the id is new; `case` is None where it cannot be
            used all the same, for want of a picture for example.
    """

    number: int
    case: Case | None
    problem: str | None = None
    id: str | None = None
    first: int | None = None
    written: Case | None = None


def read_cases(path: str | Path) -> list[Case]:
    """Read every case of a .jsonl or .txt file and check them all, each picture included, before any is made.

    A .jsonl file has a JSON object a line: id, prompt, refs [{uri, role, label, key, sha256, crop}], and optionally
    group, category and source. A .txt file has lines `key@@prompt@@image@@image`. Images are local files; relative
    paths are looked for in the case file's folder, then in the current one.

    Raises:
        InputError: names the file, the line and the remedy.
    """
    cases: list[Case] = []
    for line in read_lines(path):
        if line.case is None:
            raise InputError(f"{path}, line {line.number}: {line.problem}")
        cases.append(line.case)
    return cases


def read_lines(path: str | Path, *, pictures: bool = True) -> Iterator[Line]:
    """The same line by line, those that cannot be used with their problems.

    Args:
        path: see `read_cases`.
        pictures: look for each picture and check it; otherwise every `uri` stays as it is written.

    Raises:
        InputError: there is no such file, or it has no lines.
    """
    path = Path(os.path.expanduser(path))
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
    if not any(line.strip() for line in lines):
        raise InputError(f"the case file {path} has no cases; write one on each line")
    seen: dict[str, int] = {}
    hashes: dict[Reference, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        case = None
        first = number
        try:
            case = readers[path.suffix.lower()](line.strip())
            check_case(case)
            # Some file systems do not tell upper from lower case, and one video would take the other's name.
            first = seen.setdefault(case.id.casefold(), number)
            if first != number:
                raise InputError(f"the id {case.id!r} is already on line {first}; give each case its own")
            if pictures:
                refs = tuple(_found(ref, path.parent, hashes) for ref in case.refs)
                case = case.model_copy(update={"refs": refs})
        except InputError as error:
            name = None if case is None else case.id
            repeats = first != number
            yield Line(number, None, str(error), name, first if repeats else None, None if repeats else case)
        else:
            yield Line(number, case, id=case.id, written=case)


def _from_json(line: str) -> Case:
    try:
        json.loads(line)
    except (ValueError, RecursionError) as error:
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


def check_case(case: Case) -> None:
    """Raise InputError where the case's id cannot name a video, or its prompt says nothing."""
    name = case.id
    if not _ID.fullmatch(name) or not name.isprintable():
        raise InputError(f"the id {name!r} cannot name a file; use letters, digits, - and _")
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_ID_BYTES:
        raise InputError(f"the id {name[:20]!r}... is longer than {_MAX_ID_BYTES} bytes; shorten it")
    if not case.prompt.strip():
        raise InputError("the prompt is empty; write what the video shows")


def _found(ref: CaseReference, folder: Path, hashes: dict[Reference, str]) -> CaseReference:
    """The reference with the path where its file lies, after every check."""
    ref = ref.model_copy(update={"uri": str(_local(ref.uri, folder))})
    reference = ref.reference()
    if reference not in hashes:  # one picture often serves many cases
        hashes[reference] = open_reference(reference).sha256
    if ref.sha256 not in (None, hashes[reference]):
        raise InputError(f"the reference {ref.uri} is not the file that its sha256 names; fetch it again")
    return ref


def _local(uri: str, folder: Path) -> Path:
    if uri.startswith("file://"):
        uri = unquote(urlsplit(uri).path)
    elif _URI_SCHEME.match(uri):
        raise InputError(f"the reference {uri} is not a local file; fetch it yourself and give its path")
    elif uri.startswith("data:"):
        raise InputError(f"the reference {uri[:20]}... is not a file; save the picture and give its path")
    path = Path(os.path.expanduser(uri))
    for candidate in (folder / path, path):
        if candidate.is_file():
            return candidate
    raise InputError(f"the reference {uri} does not exist; check its path")
