"""Errors a person can act on: one clear sentence each, with the remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class MagrefError(Exception):
    """A mistake or a shortage that the user can mend; the message is one sentence that names it and the remedy."""


class InputError(MagrefError, ValueError):
    """An argument, a file or a setting is not usable as it was given."""


class CheckpointError(MagrefError):
    """A model folder or weights file is missing, incomplete or does not fit the architecture."""


class OutputError(MagrefError):
    """An output could not be written."""


class ResourceError(MagrefError):
    """The machine lacks what the work needs: a GPU, memory, disk space or an optional package."""


class SaidError(MagrefError):
    """Another process of this run failed and says why; this one ends without a word."""


# CUDA and MPS; the CPU's allocator; numpy's and torch's for sizes that no machine has.
_NO_MEMORY = (
    "out of memory",
    "allocate memory",
    "not enough memory",
    "invalid buffer size",
    "storage size calculation",
)


@contextlib.contextmanager
def memory_errors(work: str, remedy: str) -> Iterator[None]:
    """Whatever reports a lack of memory inside becomes a `ResourceError`: "memory does not suffice for <work>; ..."."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch's own error goes by its name, since torch is not imported here.
        named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not named and not any(words in str(error).lower() for words in _NO_MEMORY):
            raise
        raise ResourceError(f"memory does not suffice for {work}; {remedy}") from None
