"""What a system is: it makes a case's video, and says why where it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator

from magref import __version__
from magref.batch import Case
from magref.errors import MagrefError
from magref.evaluation.videos import FailureReason
from magref.models import EMBEDDED_NAME
from magref.settings import Record

Dtype = Literal["float32", "bfloat16", "float16"]


def absolute(path: str) -> str:
    """The path from the root, so that another process, or another machine, finds it too."""
    return os.path.abspath(os.path.expanduser(path))


def own_model(name: str | None) -> str | None:
    """The path of a model that lies here; None for the embedded one."""
    return None if name in (None, EMBEDDED_NAME) else absolute(str(name))


Place = Annotated[str, AfterValidator(absolute)]
"""A file or a folder."""


class CaseFailedError(MagrefError):
    """A system could not make a case's video; `evidence` is what it said itself, as far as it is kept."""

    def __init__(self, reason: FailureReason, why: str, evidence: str = "") -> None:
        super().__init__(why)
        self.reason = reason
        self.evidence = evidence


class System(Protocol):
    """Makes videos, one at a time."""

    @property
    def device(self) -> str:
        """Where it runs, for the record."""

    def make(self, case: Case, seed: int, out: Path) -> dict[str, Any]:
        """Write the case's video to `out`, an .mp4 that is not there yet; returns the settings that decided it.

        Raises:
            InputError: it does not take such a case.
            CaseFailedError: it failed for a reason of its own.
        """


@dataclass(frozen=True)
class Kind:
    """One sort of system.

    Attributes:
        settings: a frozen record; its defaults are those the system was published with.
        check: looks at settings and files before anything loads; the hashes of the weights, by their setting's name.
        open: loads it onto a device; None for the best one here.
    """

    settings: type[Record]
    check: Callable[[Any], dict[str, str]]
    open: Callable[[Any, str | None], System]


def dtype_of(pipeline: Any) -> str:
    """The precision of a pipeline's transformer, for the record."""
    return str(pipeline.transformer.dtype).removeprefix("torch.")


def mark(name: str) -> dict[str, str]:
    """What goes into the metadata of a video that a model made: a mark that people and players can read."""
    return {"comment": f"AI-generated video, made with {name} by magref {__version__}"}
