"""Where videos are made: in this process, or in one for each device; for a Ray cluster see `magref.ray_pool`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from magref.batch import Case
from magref.errors import MagrefError, ResourceError
from magref.evaluation.making import Job, Outcome

READY = "ready"
"""A process's first word, once its system is loaded; outcomes follow, or an error that concerns all cases."""
PATIENCE_S = 20.0
"""What a process is given to end by itself."""


@dataclass(frozen=True)
class LocalEngine:
    """Devices of this machine, a process on each where there are several; None is the best one here."""

    devices: Sequence[str | None] = (None,)

    def each(self, job: Job, cases: Sequence[Case]) -> Iterator[Outcome]:
        """See `Engine`."""
        if len(self.devices) == 1:
            system = job.open(self.devices[0])
            yield from (job.make(system, case) for case in cases)
            return
        waiting = deque(cases)
        workers = [_Worker(job, device) for device in self.devices[: len(cases)]]
        try:
            for worker in workers:
                worker.give(waiting.popleft())
            while busy := {worker.connection: worker for worker in workers if worker.case is not None}:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    outcome = worker.heard()
                    if outcome is not None:
                        yield outcome
                        if waiting:
                            worker.give(waiting.popleft())
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join()


class _Worker:
    """One process with one system, and the case that it has in hand."""

    def __init__(self, job: Job, device: str | None) -> None:
        self._job, self._device = job, device
        self.case: Case | None = None
        self._start()

    def _start(self) -> None:
        # Not forked: CUDA cannot be used in a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._job, self._device), daemon=True)
        self._process.start()
        other.close()  # so that the end of the process is the end of the connection
        self._is_ready = False

    def give(self, case: Case) -> None:
        """Have a case made."""
        self.case = case
        with contextlib.suppress(BrokenPipeError):  # it has died, which `heard` will tell
            self.connection.send(case)

    def heard(self) -> Outcome | None:
        """What came of the case; None where the process only says that it is ready.

        Raises:
            MagrefError: what concerns all cases.
        """
        assert self.case is not None
        try:
            message: Any = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._died(self.case)
        if isinstance(message, MagrefError):
            raise message
        if message == READY:
            self._is_ready = True
            return None
        self.case = None
        return message

    def _died(self, case: Case) -> Outcome:
        self._process.join(PATIENCE_S)
        how = f"the process on {self._device or 'the best device'} ended with code {self._process.exitcode}"
        if not self._is_ready:
            raise ResourceError(f"{how} while it loaded the system; look above for its words, or try fewer devices")
        self.case = None
        self._start()
        return self._job.died(case, f"{how}; memory may not have sufficed")

    def stop(self) -> None:
        """Have the process end; one that is at work drops it and leaves nothing half written."""
        self.connection.close()
        if self.case is not None:
            self._process.terminate()

    def join(self) -> None:
        """Wait until it has ended."""
        self._process.join(PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection, job: Job, device: str | None) -> None:
    """Make the cases that come, until no more do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the first process decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # temporary files go
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        system = job.open(device)
        connection.send(READY)
        while True:
            connection.send(job.make(system, connection.recv()))
    except MagrefError as error:
        connection.send(error)
    except (EOFError, BrokenPipeError):  # the first process wants no more
        return


def _end_with_parent() -> None:
    """A process whose first one was killed must not go on: the next run makes its case."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_S)
    os._exit(128 + signal.SIGTERM)
