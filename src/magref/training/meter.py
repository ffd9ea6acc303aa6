"""The figures of a run's steps, and requests to stop it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from magref.training.batches import Loader


class Meter:
    """Figures since the last time they were asked for."""

    def __init__(self, loader: Loader[Any]) -> None:
        self._loader = loader
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._prepared_s = 0.0
        self._begun, self._waited_s = time.perf_counter(), loader.waited_s

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Count what happens inside as time for data."""
        begun = time.perf_counter()
        yield
        self._prepared_s += time.perf_counter() - begun

    def add(self, loss: float, norm: float) -> None:
        """Note one step."""
        self._losses.append(loss)
        self._norms.append(norm)

    def figures(self, rate: float, samples: int) -> dict[str, float]:
        """Means over the steps noted, of `samples` each, the time of one, and the share of it that data took."""
        now = time.perf_counter()
        elapsed = now - self._begun
        waited = self._loader.waited_s - self._waited_s + self._prepared_s
        steps = len(self._losses)
        values = {
            "loss": sum(self._losses) / steps,
            "gradient_norm": sum(self._norms) / steps,
            "learning_rate": rate,
            "step_s": elapsed / steps,
            "samples_per_s": steps * samples / elapsed,
            "data_share": waited / elapsed,
            "skipped": float(len(self._loader.skipped)),
        }
        self._losses, self._norms, self._prepared_s = [], [], 0.0
        self._begun, self._waited_s = now, self._loader.waited_s
        return values


@contextmanager
def stop_requests() -> Iterator[list[bool]]:
    """A flag that an interrupt or a cluster's SIGTERM sets: the step is finished and saved. A second one ends it."""
    flag = [False]

    def on_signal(number: int, _frame: object) -> None:
        if flag[0]:
            raise KeyboardInterrupt
        flag[0] = True

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, on_signal)
    except ValueError:  # not the main thread: whoever runs us there handles signals
        pass
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
