"""Errors a person can act on: one clear sentence each, with the remedy."""

from __future__ import annotations


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
