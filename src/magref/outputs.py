"""Files that are made: checked before the work, written whole or not at all, never over another one unasked."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from magref.errors import MagrefError, OutputError

VIDEO_ENDINGS = (".mp4", ".webm", ".gif")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def check_output(path: str | Path, overwrite: bool = False, *, endings: Sequence[str] = VIDEO_ENDINGS) -> Path:
    """Whether `path` can be written, as far as it can be known before the work; nothing is made or changed.

    Returns:
        The path, with `~` expanded.

    Raises:
        OutputError: an unknown ending, an existing file without `overwrite`, a folder that cannot be made or written.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix.lower() not in endings:
        known = " or ".join([", ".join(endings[:-1]), endings[-1]] if len(endings) > 1 else endings)
        raise OutputError(f"the output {path} ends in {path.suffix or 'nothing'}; use {known}")
    try:
        if path.is_dir():
            raise OutputError(f"the output {path} is a folder; name a file in it")
        if not overwrite and path.exists():
            raise _exists(path)
        folder = Path(os.path.realpath(path)).parent
        # The nearest folder that is there already, the rest is made when writing; or a link that leads nowhere.
        while not (folder.exists() or folder.is_symlink()):
            folder = folder.parent
    except OSError as error:
        raise _not_written(path, error) from None
    if not folder.is_dir():
        raise OutputError(f"the output {path} cannot be made because {folder} is a file; choose another folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"the output {path} cannot be written because {folder} is not writable; choose another folder"
        )
    return path


@contextlib.contextmanager
def writing(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and is removed otherwise.

    Missing folders are made. A symbolic link is followed, not replaced. After an interrupt or any error the final name
    is as it was before.

    Raises:
        OutputError: the file exists and `overwrite` is off, or it could not be written (disk full, no permission).
    """
    path = Path(os.path.expanduser(path))
    final = Path(os.path.realpath(path))
    # The ending stays, for the writers that go by it; the stem is cut, since a name has at most 255 bytes.
    temporary = final.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        with write_errors(path):
            final.parent.mkdir(parents=True, exist_ok=True)
            if not overwrite and final.exists():
                raise _exists(path)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # some file systems report a full disk only here
            if not overwrite and final.exists():  # made by someone else meanwhile
                raise _exists(path)
            os.replace(temporary, final)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def append(path: str | Path, data: bytes) -> None:
    """Add to the end of a file, made with its folders where it is not there yet: all of the bytes or none.

    Raises:
        OutputError: it could not be written.
    """
    path = Path(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            left = memoryview(data)
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                file.truncate(end)
                raise


@contextlib.contextmanager
def write_errors(path: str | Path) -> Iterator[None]:
    """Whatever the operating system reports inside becomes an `OutputError` about `path`."""
    try:
        yield
    except MagrefError:
        raise
    except Exception as error:
        reported = system_error(error)
        if reported is None:
            raise
        raise _not_written(Path(path), reported) from error


def system_error(error: BaseException | None) -> OSError | None:
    """The operating system's error behind another one, if there is one; PyAV's own are OSErrors too."""
    while error is not None:
        # safetensors and shutil tell the number in words alone.
        number = re.search(r"(?:os error|Errno) (\d+)", str(error))
        if number is not None and not getattr(error, "errno", None):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        if isinstance(error, OSError):
            return error
        # torch, which closes a file that it could not write, reports its closing.
        error = error.__context__ if isinstance(error, RuntimeError) else None
    return None


def _exists(path: Path) -> OutputError:
    return OutputError(f"the output {path} exists; choose another name, or use --overwrite to replace it")


def _not_written(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "the disk is full; free some space or choose another folder"
    elif error.errno == errno.EFBIG:
        why = "it is larger than files may be there; choose another folder"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = f"{path.parent} is not writable; choose another folder"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        why = f"{error.filename or path.parent} is not a folder; choose another folder"
    elif error.errno == errno.ENAMETOOLONG:
        why = "its name is too long; choose a shorter one"
    else:
        why = f"the system says: {error.strerror or error}; choose another folder"
    return OutputError(f"the output {path} could not be written: {why}")


def write_image(image: Image.Image, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a picture as PNG, JPEG or WebP by its ending; whole or not at all, errors as for `writing`."""
    path = check_output(path, overwrite, endings=IMAGE_ENDINGS)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    with writing(path, overwrite=overwrite) as temporary:
        (image.convert("RGB") if jpeg else image).save(temporary, quality=95)
    return path
