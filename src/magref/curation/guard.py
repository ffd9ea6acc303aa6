"""A last look at samples by rules of one's own: safety, consent, licences. Off by default, and not in the paper.

A guard is code, named in the settings as module:object. It sees whole samples before they are written. What it refuses
is rejected with its words; a sample over which it breaks has failed, and is no more in the dataset than a refused one.
"""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from magref.curation.outcome import Failed, Rejected, failure
from magref.curation.settings import GuardSettings
from magref.errors import InputError

if TYPE_CHECKING:
    from magref.curation.samples import Draft


class Guard(Protocol):
    """What is asked about every sample."""

    def refuse(self, sample: Draft) -> str | None:
        """Why the sample may not be used, in a few words; None where it may."""


def find_guard(settings: GuardSettings) -> Guard | None:
    """The guard that the settings name; None where they name none.

    Raises:
        InputError: there is no such object, or it has no method `refuse`.
    """
    if settings.name is None:
        return None
    module, _, name = settings.name.partition(":")
    try:
        guard = attrgetter(name)(import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the guard {settings.name} cannot be found ({error}); name it as module:object, its module on PYTHONPATH"
        ) from None
    if isinstance(guard, type) or not callable(getattr(guard, "refuse", None)):
        raise InputError(f"the guard {settings.name} is no object with a method refuse(sample); name one that is")
    return guard


def ask_guard(sample: Draft, guard: Guard) -> Rejected | Failed | None:
    """Rejected where the guard refuses, failed where it breaks."""
    try:
        why = guard.refuse(sample)
    except Exception as error:  # a person's own code raises whatever it likes
        return failure("guard", error)
    return None if why is None else Rejected(stage="guard", reason="refused", value=why)
