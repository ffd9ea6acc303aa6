"""Where the stages run: in processes of this machine, or on a Ray cluster (`cluster.py`).

An engine runs functions over sources; what they find, they write themselves. It decides nothing that shows in a file.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from magref.curation.running.bundle import MakeModels, Models
from magref.curation.running.sources import Source
from magref.curation.settings import CurationSettings

One: TypeAlias = Callable[[Source], str]
"""Does a stage for one source and gives its id."""
Many: TypeAlias = Callable[[Sequence[Source], Models], Iterator[str]]
"""Does a stage for several, each id as soon as it is done."""
Died: TypeAlias = Callable[[Source], None]
"""Told of a source at which a process died, as decoders do over some files."""

GROUP = 16
"""Sources whose clips share batches."""
_WATCH_S = 0.2


class Engine(Protocol):
    """Runs stages; yields each source's id when it is done, in any order."""

    def each(self, work: One, sources: Sequence[Source], died: Died) -> Iterator[str]:
        """A stage that needs no model, one source at a time."""

    def together(
        self, work: Many, sources: Sequence[Source], make: MakeModels, settings: CurationSettings
    ) -> Iterator[str]:
        """A stage that asks models."""


@dataclass
class LocalEngine:
    """Processes of this machine; models in the process that calls.

    Attributes:
        processes: for stages without models; 0: none beside this one, so that nothing survives a decoder that dies.
    """

    processes: int
    _models: Models | None = None

    def each(self, work: One, sources: Sequence[Source], died: Died) -> Iterator[str]:
        """See `Engine`."""
        if self.processes == 0:
            yield from map(work, sources)
            return
        unsure: list[Source] = []
        with self._pool(self.processes) as pool:
            waiting = {pool.submit(work, source): source for source in sources}
            yield from _collected(waiting, unsure)
        # A pool breaks as a whole: each source that was under way is tried again by itself.
        for source in sorted(unsure, key=lambda source: source.id):
            broken: list[Source] = []
            with self._pool(1) as pool:
                yield from _collected({pool.submit(work, source): source}, broken)
            if broken:
                died(source)
                yield source.id

    def together(
        self, work: Many, sources: Sequence[Source], make: MakeModels, settings: CurationSettings
    ) -> Iterator[str]:
        """See `Engine`."""
        if sources and self._models is None:
            self._models = make(settings)
        for start in range(0, len(sources), GROUP):
            assert self._models is not None
            yield from work(sources[start : start + GROUP], self._models)

    def _pool(self, processes: int) -> ProcessPoolExecutor:
        # Not forked: threads of the libraries that are loaded here would be missing in the copies.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """What a process does first: it keeps to one core, and ends with its parent, lest it writes into the next run."""
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _collected(waiting: dict[Future[str], Source], broken: list[Source]) -> Iterator[str]:
    for future in as_completed(waiting):
        try:
            yield future.result()
        except BrokenProcessPool:
            broken.append(waiting[future])
