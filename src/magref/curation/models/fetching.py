"""Fetching weights of the catalogue: sizes and licences are shown first, and every byte is verified."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from rich.filesize import decimal

from magref import hub
from magref.curation.models.catalogue import Address, Weights
from magref.errors import OutputError, ResourceError

CHUNK_BYTES = 2**18
TIMEOUT_S = 30
ATTEMPTS = 5
"""In a row, without a byte, before a download gives up."""
PAUSE_S = 1.0
"""Between two attempts; twice as long after each."""


def fetch(
    weights: Weights,
    folder: Path,
    *,
    confirm: Callable[[str], bool] | None = None,
    progress: hub.Progress | None = None,
) -> Path | None:
    """Bring weights into a folder. An interrupted download goes on where it stopped; nothing is overwritten.

    Args:
        confirm: is told in one line what would be fetched; False stops.
        progress: called with the bytes that are there and the bytes of all files.

    Returns:
        The folder; None where `confirm` said no.

    Raises:
        InputError, OutputError, ResourceError: as `hub.download`.
    """

    def asked(missing: int, total: int, free: int) -> bool:
        line = (
            f"{weights.name}, for {weights.task} (licence: {weights.licence}): {decimal(missing)} to fetch of "
            f"{decimal(total)} into {folder}; its disk has {decimal(free)} free"
        )
        return confirm is None or confirm(line)

    if weights.repo is not None:
        return hub.download(
            weights.repo,
            folder,
            revision=weights.revision,
            patterns=weights.patterns,
            progress=progress,
            confirm=lambda plan: asked(plan.missing_bytes, plan.total_bytes, plan.free_bytes),
        )
    total = sum(address.nbytes for address in weights.addresses)
    here = {address: _here(address, folder) for address in weights.addresses}
    missing, free = total - sum(here.values()), hub.free_bytes(folder)
    if missing > free:
        raise ResourceError(
            f"{weights.name} needs {decimal(missing)} more on the disk of {folder}, which has {decimal(free)} free; "
            "free some space or choose another folder"
        )
    if not asked(missing, total, free):
        return None

    def show(address: Address, nbytes: int) -> None:
        here[address] = nbytes
        if progress is not None:
            progress(sum(here.values()), total)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for address in weights.addresses:
            part = _download(address, folder, show)
            _unpack(part, folder) if address.name.endswith(".zip") else _place(part, folder / address.name)
    except OSError as error:
        raise OutputError(
            f"{weights.name} could not be written ({error.strerror or error}); mend that and run the same command again"
        ) from None
    return folder


def _part(address: Address, folder: Path) -> Path:
    return folder / f"{address.name}.{address.sha256[:8]}.part"


def _here(address: Address, folder: Path) -> int:
    part = _part(address, folder)
    return min(part.stat().st_size, address.nbytes) if part.is_file() else 0


def _download(address: Address, folder: Path, show: Callable[[Address, int], None]) -> Path:
    """The file, whole and verified, under its temporary name."""
    part = _part(address, folder)
    attempts = 0
    with part.open("ab") as out:
        while out.tell() < address.nbytes:
            before = out.tell()
            try:
                for block in _blocks(address, before):
                    if block is None:  # it comes from its start
                        out.seek(0)
                        out.truncate()
                        continue
                    out.write(block)
                    show(address, out.tell())
                if out.tell() == before:
                    raise _BrokenError(EOFError("the answer is empty"))
            except _BrokenError as error:
                attempts = 0 if out.tell() > before else attempts + 1
                if attempts == ATTEMPTS or not error.may_pass:
                    raise ResourceError(
                        f"{address.name} cannot be fetched from {urlsplit(address.url).netloc} ({error}); check the "
                        "connection and the proxy (HTTPS_PROXY) and run the same command again, or copy the files by "
                        "hand and name their folder"
                    ) from None
                time.sleep(PAUSE_S * 2**attempts)
    if hashlib.sha256(part.read_bytes()).hexdigest() != address.sha256:
        part.unlink()
        raise ResourceError(f"{address.name} arrived damaged; run the same command again to fetch it anew")
    return part


class _BrokenError(Exception):
    """The network's part of what can go wrong; `may_pass` where another attempt may go better."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error) or type(error).__name__)
        self.may_pass = not isinstance(error, HTTPError) or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR


def _blocks(address: Address, start: int) -> Iterator[bytes | None]:
    """The file's bytes from `start` on; None first where the server sends it from its beginning instead."""
    try:
        # The addresses are those of the catalogue.
        request = Request(address.url, headers={"Range": f"bytes={start}-"})  # noqa: S310
        with urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            if start and response.status != HTTPStatus.PARTIAL_CONTENT:
                yield None
            while block := response.read(CHUNK_BYTES):
                yield block
    except (OSError, HTTPException) as error:
        raise _BrokenError(error) from None


def _unpack(archive: Path, folder: Path) -> None:
    """The archive's .onnx files into the folder, wherever they lie in it; then the archive goes."""
    with zipfile.ZipFile(archive) as packed:
        for member in packed.namelist():
            if member.endswith(".onnx"):
                part = folder / f"{PurePosixPath(member).name}.part"
                with packed.open(member) as source, part.open("wb") as out:
                    while block := source.read(CHUNK_BYTES):
                        out.write(block)
                _place(part, part.with_suffix(""))
    archive.unlink()


def _place(part: Path, final: Path) -> None:
    if final.exists():
        part.unlink()
        raise OutputError(f"{final} is there already; move it away, or name its folder")
    os.replace(part, final)
