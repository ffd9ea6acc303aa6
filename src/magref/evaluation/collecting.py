"""The references of a benchmark, brought together from where the user has them, each with its hash.

Nothing is shipped with the package, and nothing is fetched from anywhere that was not named. What is there already
stays: an interrupted collection goes on where it stopped.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

from magref.batch import Case, CaseReference, check_case
from magref.errors import InputError, OutputError, ResourceError
from magref.evaluation.cases import case_line, write_cases
from magref.outputs import writing
from magref.references import Reference, file_sha256, open_reference

CASES_FILE = "cases.jsonl"
REFERENCES = "references"
"""The folder of the pictures, beside the case file."""

MAX_BYTES = 100_000_000
"""Of one file; far above any reference picture."""
TIMEOUT_S = 30
ATTEMPTS = 4
PAUSE_S = 1.0
"""Between two attempts; twice as long after each."""
CONNECTIONS = 4

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Progress = Callable[[int, int], None]
"""Called with the pictures that are done and the pictures of all cases."""


@dataclass(frozen=True)
class Origin:
    """Where files are taken from by their names: a folder, or an https address that ends where their names begin."""

    place: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.place)
        if "://" not in self.place:
            if not self.folder.is_dir():
                raise InputError(f"the folder {self.place} does not exist; give the folder that holds the files")
        elif parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise InputError(f"the address of {parts.hostname} is {parts.scheme}; give a folder, or an https address")
        elif parts.username or parts.password or parts.query or parts.fragment:
            raise InputError("the address holds a password, a query or a fragment; give it without them")

    @property
    def folder(self) -> Path:
        """The place as a folder."""
        return Path(os.path.expanduser(self.place))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: the name leads out of the place, or there is no such file.
            ResourceError: the address cannot be reached.
        """
        name = checked_name(name)
        if "://" in self.place:
            return _fetched(f"{self.place.rstrip('/')}/{quote(name)}")
        path = self.folder / name
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InputError(f"{path} has more than {MAX_BYTES:,} bytes; is that a reference picture?")
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); complete your copy") from None


def checked_name(name: str) -> str:
    """A relative path that stays below where it begins; InputError for any other."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or re.search(r"[\\:\x00-\x1f]", name):
        raise InputError(f"the path {name!r} is not a plain relative one; correct the case file")
    return str(PurePosixPath(name))


def collect(cases: Sequence[Case], origin: Origin, folder: Path, *, progress: Progress | None = None) -> list[Case]:
    """Bring every reference into `folder/references` and write `folder/cases.jsonl`, hashes included.

    Args:
        cases: the `uri` of each reference is the file's name at the origin.
        progress: see `Progress`.

    Returns:
        The cases as they were written; each `uri` is relative to the case file.

    Raises:
        InputError: an id cannot name a video or occurs twice, or a prompt is empty; or pictures are missing or cannot
            be used, and those that can be are there for the next attempt.
        OutputError: the folder holds other cases or other pictures.
        ResourceError: the address cannot be reached.
    """
    _check(cases)
    names = sorted({checked_name(ref.uri) for case in cases for ref in case.refs})
    done = 0

    def bring(name: str) -> str | InputError:
        nonlocal done
        try:
            return _brought(name, origin, folder / REFERENCES / name)
        except InputError as error:
            return error
        finally:
            done += 1
            if progress is not None:
                progress(done, len(names))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        hashes = dict(zip(names, pool.map(bring, names), strict=True))
    lacking = [error for error in hashes.values() if isinstance(error, InputError)]
    if lacking:
        here = len(names) - len(lacking)
        raise InputError(
            f"{lacking[0]}; {here} of {len(names)} pictures are here, the same command goes on with the rest"
        )

    def placed(ref: CaseReference) -> CaseReference:
        name = checked_name(ref.uri)
        return ref.model_copy(update={"uri": f"{REFERENCES}/{name}", "sha256": hashes[name]})

    collected = [case.model_copy(update={"refs": tuple(placed(ref) for ref in case.refs)}) for case in cases]
    path = folder / CASES_FILE
    if not path.exists():
        write_cases(collected, path)
    elif path.read_text(encoding="utf-8") != "".join(case_line(case) + "\n" for case in collected):
        raise OutputError(f"{path} holds other cases; choose another folder")
    return collected


def _check(cases: Sequence[Case]) -> None:
    """Before anything is fetched or written; a case file with such cases could not be used."""
    seen: set[str] = set()
    for number, case in enumerate(cases, 1):
        try:
            check_case(case)
            if case.id.casefold() in seen:
                raise InputError(f"the id {case.id!r} occurs twice; give each case its own")
        except InputError as error:
            raise InputError(f"case {number}: {error}") from None
        seen.add(case.id.casefold())


def _brought(name: str, origin: Origin, path: Path) -> str:
    """The hash of a picture that is at `path` now."""
    if path.exists():
        open_reference(Reference(path))
        return file_sha256(path)
    content = origin.read(name)
    with writing(path) as temporary:
        temporary.write_bytes(content)
        try:
            open_reference(Reference(temporary))  # it takes its name only where it can be used
        except InputError as error:
            raise InputError(str(error).replace(str(temporary), name)) from None
        return file_sha256(temporary)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to https alone; what began at http, which is this machine, may stay there."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """InputError for any other place: urllib itself would follow to ftp, and from https to http."""
        parts = urlsplit(newurl)
        stays = req.type == parts.scheme == "http" and parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not stays:
            raise InputError(
                f"{req.full_url} leads on to {parts.scheme}://{parts.hostname}; give an address that stays at https"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetched(url: str) -> bytes:
    host = urlsplit(url).netloc
    reason = ""
    opened = urllib.request.build_opener(_Redirects()).open
    for attempt in range(ATTEMPTS):
        try:
            with opened(url, timeout=TIMEOUT_S) as response:  # the scheme was checked, and nothing secret goes along
                content: bytes = response.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise InputError(f"{url} has more than {MAX_BYTES:,} bytes; is that a reference picture?")
            return content
        except HTTPError as error:
            reason = f"it answers {error.code}"
            error.close()
            if error.code < 500 and error.code != 429:
                raise InputError(f"{url} cannot be fetched ({reason}); check the address") from None
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if attempt + 1 < ATTEMPTS:
            time.sleep(PAUSE_S * 2**attempt)
    raise ResourceError(
        f"{host} cannot be reached ({reason}); check the connection and the proxy (HTTPS_PROXY) and run the same "
        "command again"
    )
