"""Fetching a model from the Hugging Face hub: shown first, resumable inside each file, every file verified.

The hub's own `snapshot_download` resumes file by file and drops what it has of a file when it stops; the published
shards have 10 GB each. So files are streamed here, with the hub's addresses, credentials and retries.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

from rich.filesize import decimal

from magref.checkpoints import layout
from magref.errors import InputError, OutputError, ResourceError

PUBLISHED_REPO = "MAGREF-Video/MAGREF"
CONNECTIONS = 4
CHUNK_BYTES = 2**20
PROGRESS_EVERY_S = 0.25
TIMEOUT_S = 30
ATTEMPTS = 5
"""In a row, without a byte, before a download gives up."""

_NO_ENTRY = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_DOCUMENTS = re.compile(r"README\.md|(LICENSE|NOTICE)[^/]*", re.IGNORECASE)
_DIFFUSERS = re.compile(r"[^/]+/[^/]+\.(json|safetensors|model|txt)|model_index\.json")
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)[.-]")
_SECRETS = re.compile(r"hf_\w{6,}|(?<=://)[^/@\s]+@|(?<=Bearer )\S+")

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes of all files."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository; `digest` is its sha256, or Git's hash of a small file that is not in LFS."""

    name: str
    nbytes: int
    digest: str

    def part(self, folder: Path) -> Path:
        """Where it is written until it is complete and verified; another version of the file has another name."""
        return folder / f"{self.name}.{self.digest[:8]}.part"


@dataclass(frozen=True)
class DownloadPlan:
    """What a download will fetch, before any of it is fetched.

    `revision` is the commit; `present_bytes` are those already in `destination`, from an earlier attempt or complete.
    """

    repo: str
    revision: str
    destination: Path
    files: tuple[RemoteFile, ...]
    licence: str | None
    present_bytes: int
    free_bytes: int

    @property
    def total_bytes(self) -> int:
        """The size of the model on disk."""
        return sum(file.nbytes for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """What is still to be fetched."""
        return self.total_bytes - self.present_bytes

    def __str__(self) -> str:
        here = f", {decimal(self.present_bytes)} of it here already" if self.present_bytes else ""
        return (
            f"{self.repo} (licence: {self.licence or 'not stated'}): {len(self.files)} files, "
            f"{decimal(self.total_bytes)}{here}; the disk of {self.destination} has {decimal(self.free_bytes)} free"
        )


def default_destination(repo: str) -> Path:
    """Where a model goes unless another folder is named; `magref doctor` looks there too."""
    return Path("models") / repo.rsplit("/", 1)[-1]


def plan_download(
    repo: str, destination: str | Path, *, revision: str | None = None, patterns: Sequence[str] | None = None
) -> DownloadPlan:
    """Ask the hub which files a model has, and look at what is in `destination` already.

    Args:
        repo: `owner/name` of a model in the published layout or in diffusers' layout.
        destination: the folder for it.
        revision: a branch, tag or commit; left out, the newest.
        patterns: names of the files to fetch, `*` for any letters, of a model in another layout.

    Raises:
        InputError: there is no such model or revision, or it has another layout.
        OutputError: a file of that name but of another size is in the way.
        ResourceError: the hub cannot be reached, or does not show the model to you.
    """
    if not _REPO.fullmatch(repo):
        raise InputError(f"{repo!r} is not a hub id; give owner/name, for example {PUBLISHED_REPO}")
    from huggingface_hub import HfApi

    with _hub_errors(repo, revision):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    files = []
    for name in _needed(sorted(siblings), repo) if patterns is None else _matching(sorted(siblings), repo, patterns):
        sibling = siblings[name]
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if sibling.size is None or digest is None or ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise ResourceError(f"the hub describes {repo} without sizes and hashes; try again later")
        files.append(RemoteFile(name, sibling.size, digest))
    destination = Path(os.path.expanduser(destination))
    return DownloadPlan(
        repo=repo,
        revision=info.sha or revision or "main",
        destination=destination,
        files=tuple(files),
        licence=_licence(info),
        present_bytes=sum(_present(file, destination) for file in files),
        free_bytes=free_bytes(destination),
    )


def download(
    repo: str = PUBLISHED_REPO,
    destination: str | Path | None = None,
    *,
    revision: str | None = None,
    patterns: Sequence[str] | None = None,
    progress: Progress | None = None,
    confirm: Callable[[DownloadPlan], bool] | None = None,
) -> Path | None:
    """Fetch a model. A file takes its name when it is complete and its hash is the hub's; until then it ends in .part.

    An interrupted download goes on where it stopped, inside each file. Nothing that is there is overwritten.

    Args:
        repo: see `plan_download`.
        destination: the folder; left out, see `default_destination`.
        revision: see `plan_download`.
        patterns: see `plan_download`; what is fetched by them is not checked as a model.
        progress: called in this thread, several times a second.
        confirm: is shown the plan before anything is fetched or made; False stops.

    Returns:
        The folder, complete; None where `confirm` said no.

    Raises:
        InputError, OutputError, ResourceError: as `plan_download`; the disk is too small; the connection broke.
        CheckpointError: all files are here, and they are not a whole model.
    """
    folder = default_destination(repo) if destination is None else destination
    plan = plan_download(repo, folder, revision=revision, patterns=patterns)
    if plan.missing_bytes > plan.free_bytes:
        raise ResourceError(
            f"{repo} needs {decimal(plan.missing_bytes)} more on the disk of {plan.destination}, which has "
            f"{decimal(plan.free_bytes)} free; free some space or choose another folder"
        )
    if confirm is not None and not confirm(plan):
        return None
    with _hub_errors(repo, revision):
        _fetch_all(plan, progress or (lambda done, total: None))
    if patterns is not None:
        return plan.destination
    if (plan.destination / layout.MODEL_INDEX).is_file():
        layout.check_diffusers(plan.destination)
    else:
        layout.check_published(plan.destination)
    return plan.destination


def _fetch_all(plan: DownloadPlan, progress: Progress) -> None:
    """Several files at a time, the largest first; an interrupt stops all of them within a chunk."""
    here = {file.name: _present(file, plan.destination) for file in plan.files}
    stop = Event()
    missing = [file for file in plan.files if not (plan.destination / file.name).exists()]
    missing.sort(key=lambda file: -file.nbytes)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        waiting = {pool.submit(_fetch, plan, file, here, stop) for file in missing}
        try:
            while waiting:
                done, waiting = wait(waiting, PROGRESS_EVERY_S, FIRST_EXCEPTION)
                progress(sum(here.values()), plan.total_bytes)
                for future in done:
                    future.result()
        finally:
            stop.set()
            for future in waiting:
                future.cancel()


def _fetch(plan: DownloadPlan, file: RemoteFile, here: dict[str, int], stop: Event) -> None:
    """Fetch one file from where its .part ends; `here` is told how many of its bytes there are."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    part, final = file.part(plan.destination), plan.destination / file.name
    part.parent.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(plan.repo, file.name, revision=plan.revision)
    with part.open("ab+") as out:
        if out.tell() > file.nbytes:  # two downloads at once wrote it
            out.truncate(0)
        hasher = _hasher(file)
        out.seek(0)
        while block := out.read(CHUNK_BYTES):
            hasher.update(block)
        here[file.name] = out.tell()
        attempts = 0
        while here[file.name] < file.nbytes:
            before = here[file.name]
            try:
                with _stream(url, before) as response:
                    if response.status_code != HTTPStatus.PARTIAL_CONTENT and before:  # it comes from its start
                        out.truncate(0)
                        hasher, here[file.name] = _hasher(file), 0
                    for block in response.iter_bytes(CHUNK_BYTES):
                        if stop.is_set():
                            return
                        out.write(block)
                        hasher.update(block)
                        here[file.name] += len(block)
            except HTTPError:
                attempts = 0 if here[file.name] > before else attempts + 1
                if attempts == ATTEMPTS or stop.wait(2**attempts):
                    raise
    if here[file.name] != file.nbytes or hasher.hexdigest() != file.digest:
        part.unlink()
        raise ResourceError(f"{file.name} arrived damaged; run magref download again to fetch it anew")
    if final.exists():
        raise _in_the_way(final)
    os.replace(part, final)


@contextmanager
def _stream(url: str, start: int) -> Iterator[Any]:
    """The hub's answer for the bytes of a file from `start` on."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
        http_stream_backoff,
    )

    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    # Without exceptions to retry: the hub's client could not tell a break in the middle from one at the start.
    with http_stream_backoff("GET", url, headers=headers, timeout=TIMEOUT_S, retry_on_exceptions=()) as response:
        hf_raise_for_status(response)
        yield response


def _hasher(file: RemoteFile) -> hashlib._Hash:
    if len(file.digest) == 64:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.nbytes}\0".encode(), usedforsecurity=False)  # as Git names a file's content


def _needed(names: Sequence[str], repo: str) -> list[str]:
    """The files that the package reads, of all that lie in the repository."""
    documents = [name for name in names if _DOCUMENTS.fullmatch(name)]
    if layout.MODEL_INDEX in names:
        return documents + [name for name in names if _DIFFUSERS.fullmatch(name) and not _VARIANT.search(name)]
    if layout.VAE in names and layout.CONFIG in names:
        fixed = (layout.CONFIG, layout.VAE, layout.TEXT_ENCODER, layout.IMAGE_ENCODER)
        shards = re.compile(rf"{layout.TRANSFORMER}[^/]*\.safetensors(\.index\.json)?")
        return documents + [
            name for name in names if name in fixed or shards.fullmatch(name) or name.startswith(f"{layout.TOKENIZER}/")
        ]
    raise InputError(
        f"{repo} has neither {layout.MODEL_INDEX} nor {layout.VAE}, so it is no model for magref; "
        f"give one in diffusers' or the published layout, for example {PUBLISHED_REPO}"
    )


def _matching(names: Sequence[str], repo: str, patterns: Sequence[str]) -> list[str]:
    found = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
    if not found:
        raise InputError(f"{repo} has no file like {' or '.join(patterns)}; check its name")
    return [name for name in names if name in found or _DOCUMENTS.fullmatch(name)]


def _present(file: RemoteFile, folder: Path) -> int:
    final, part = folder / file.name, file.part(folder)
    if final.exists():
        if not final.is_file() or final.stat().st_size != file.nbytes:
            raise _in_the_way(final)
        return file.nbytes
    return min(part.stat().st_size, file.nbytes) if part.is_file() else 0


def _in_the_way(path: Path) -> OutputError:
    return OutputError(f"{path} is not the hub's file of that name; move it away, or choose another folder")


def free_bytes(folder: Path) -> int:
    """What is free on the disk that a folder lies on, or will."""
    folder = Path(os.path.realpath(folder))
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _licence(info: object) -> str | None:
    card = getattr(info, "card_data", None)
    named = getattr(card, "license", None) or next(
        (tag.removeprefix("license:") for tag in getattr(info, "tags", None) or () if tag.startswith("license:")), None
    )
    return named if isinstance(named, str) else None


@contextmanager
def _hub_errors(repo: str, revision: str | None) -> Iterator[None]:
    """What the hub or the network answers, as one sentence without anybody's credentials."""
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    by_hand = "or copy the folder by hand and pass --model FOLDER"
    hidden = f"the hub has no model {repo} that you may see; check the name, or run hf auth login if it is private"
    try:
        yield
    except GatedRepoError:
        raise ResourceError(
            f"the hub shows {repo} to those who accepted its terms; accept them at https://huggingface.co/{repo} and "
            "run hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(hidden) from None
    except RevisionNotFoundError:
        raise InputError(f"{repo} has no revision {revision}; leave it out to get the newest") from None
    except OfflineModeIsEnabled:
        raise ResourceError(f"HF_HUB_OFFLINE forbids to use the network; unset it, {by_hand}") from None
    except (HTTPError, ConnectionError, TimeoutError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in _NO_ENTRY:
            raise InputError(hidden) from None
        word = "answers with an error" if isinstance(error, HfHubHTTPError) else "cannot be reached"
        reason = next(iter(_SECRETS.sub("***", str(error)).splitlines()), "") or type(error).__name__
        raise ResourceError(
            f"the hub {word} ({reason}); check the connection and the proxy (HTTPS_PROXY) and run the same command "
            f"again, {by_hand}"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{repo} could not be written ({error.strerror or error}); mend that, or choose another folder, "
            "and run the same command again"
        ) from None
