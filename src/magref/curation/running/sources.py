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

from magref.errors import InputError, ResourceError
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
        given: videos, folders that are searched with all folders in them, .txt lists of videos and addresses with one
            a line, and addresses of videos (http, https, s3, gs and whatever else fsspec opens) or of folders of such
            stores.

    Raises:
        InputError: one of them does not exist, or there is no video at all.
        ResourceError: a store's package is not installed.
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
                    _check_length(remote, file.tell())
            except Exception as error:  # each kind of storage has errors of its own
                words = str(error).strip() or type(error).__name__
                raise InputError(f"{source.address} cannot be fetched ({words}); check the address") from None
    return path


def _check_length(remote: IO[bytes], copied: int) -> None:
    """A connection that breaks ends a copy without an error; only the length that was promised tells."""
    promised = getattr(remote, "headers", {}).get("Content-Length")
    if promised is not None and copied != int(promised):
        raise EOFError(f"{copied} of {promised} bytes came")


def _addresses(text: str) -> list[str]:
    if "://" in text:
        return [text] if _is_video(text) else _stored(text)
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if _is_video(p.name) and p.is_file())
        return [str(p) for p in found if not p.name.startswith(".")]
    if not path.exists():
        raise InputError(f"{text} does not exist; give videos, folders, .txt lists or addresses")
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        # As written in the list: a video that is gone is one failed item, not the end of the run.
        return [line if "://" in line else str(path.parent / os.path.expanduser(line)) for line in lines]
    return [str(path)]


def _is_video(address: str) -> bool:
    return PurePosixPath(urlsplit(address).path).suffix.lower() in ENDINGS or _is_web(address)


def _is_web(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https")


def _stored(address: str) -> list[str]:
    """The videos below a folder of an object store; a file stands for itself."""
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(address)
        if files.isfile(path):
            return [address]
        found = [files.unstrip_protocol(name) for name in files.find(path)]
    except ImportError as error:
        raise ResourceError(f"{address} cannot be opened: {error}") from None
    except Exception as error:  # each kind of storage has errors of its own
        words = str(error).strip() or type(error).__name__
        raise InputError(f"{address} cannot be listed ({words}); check the address and the credentials") from None
    return [name for name in sorted(found) if _is_video(name)]


def _opened(address: str) -> IO[bytes]:
    if _is_web(address):
        return cast(IO[bytes], urlopen(address, timeout=_TIMEOUT_S))  # noqa: S310 - the scheme was looked at
    import fsspec

    return cast(IO[bytes], fsspec.open(address, "rb").open())
