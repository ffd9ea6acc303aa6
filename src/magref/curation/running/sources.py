"""The videos that a curation begins with: files, folders, lists and addresses. They are only ever read."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.parse import urlsplit
from urllib.request import urlopen

from magref.errors import InputError
from magref.outputs import writing

ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
"""What is taken from a folder; a file that is named itself may end in anything."""
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Source:
    """A video by its address: an absolute path, or a URL as it was given."""

    address: str

    @property
    def id(self) -> str:
        """Names the video in files and samples; the same whenever and wherever its address is."""
        return hashlib.sha256(self.address.encode()).hexdigest()[:16]

    @property
    def is_remote(self) -> bool:
        """Whether it must be copied before it can be looked at."""
        return "://" in self.address


def find_sources(given: Sequence[str]) -> list[Source]:
    """The videos that are meant, each once, in the order of their ids.

    Args:
        given: videos, folders that are searched with all folders in them, .txt lists of both with one a line, and
            addresses (http, https, s3, gs and whatever else fsspec opens).

    Raises:
        InputError: one of them does not exist, or there is no video at all.
    """
    addresses = {address for text in given for address in _addresses(text)}
    if not addresses:
        raise InputError(f"there are no videos in {', '.join(given)}; give files that end in {', '.join(ENDINGS)}")
    return sorted((Source(address) for address in addresses), key=lambda source: source.id)


def local_file(source: Source, copies: Path) -> Path:
    """The video as a file here: itself, or a copy in `copies`, made where it is not there yet.

    Raises:
        InputError: the address cannot be opened.
    """
    if not source.is_remote:
        return Path(source.address)
    path = copies / (source.id + PurePosixPath(urlsplit(source.address).path).suffix[:10])
    if not path.exists():
        with writing(path, overwrite=True) as temporary, temporary.open("wb") as file:
            try:
                with _opened(source.address) as remote:
                    shutil.copyfileobj(remote, file)
            except Exception as error:  # each kind of storage has errors of its own
                words = str(error).strip() or type(error).__name__
                raise InputError(f"{source.address} cannot be fetched ({words}); check the address") from None
    return path


def _addresses(text: str) -> list[str]:
    if "://" in text:
        return [text]
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        return [str(p) for p in found if not p.name.startswith(".")]
    if not path.exists():
        raise InputError(f"{text} does not exist; give videos, folders, .txt lists or addresses")
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        # As written in the list: a video that is gone is one failed item, not the end of the run.
        return [line if "://" in line else str(path.parent / os.path.expanduser(line)) for line in lines]
    return [str(path)]


def _opened(address: str) -> IO[bytes]:
    if urlsplit(address).scheme in ("http", "https"):
        return cast(IO[bytes], urlopen(address, timeout=_TIMEOUT_S))  # noqa: S310 - the scheme was looked at
    import fsspec

    return cast(IO[bytes], fsspec.open(address, "rb").open())
