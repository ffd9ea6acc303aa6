"""The figures of a run's steps, and requests to stop it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from magref.training.batches import Loader


class Meter:
    """Figures since the last time they were asked for.

    A GPU's work is waited for before the clock is read; without, a step's time would fall to whatever waits next.
    """

    def __init__(self, loader: Loader[Any], device: torch.device) -> None:
        self._loader, self._device = loader, device
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._prepared_s = self._aside_s = 0.0
        self._begun, self._waited_s = self._now(), loader.waited_s

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Count what happens inside as time for data."""
        begun = self._now()
        yield
        self._prepared_s += self._now() - begun

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Count what happens inside as no step's time: saving, validation."""
        begun = self._now()
        yield
        self._aside_s += self._now() - begun

    def add(self, loss: float, norm: float) -> None:
        """Note one step."""
        self._losses.append(loss)
        self._norms.append(norm)

    def figures(self, rate: float, samples: int, skipped: int) -> dict[str, float]:
        """Means over the steps noted, of `samples` each, the time of one, and the share of it that data took."""
        now = self._now()
        elapsed = now - self._begun - self._aside_s
        waited = self._loader.waited_s - self._waited_s + self._prepared_s
        steps = len(self._losses)
        values = {
            "loss": sum(self._losses) / steps,
            "gradient_norm": sum(self._norms) / steps,
            "learning_rate": rate,
            "step_s": elapsed / steps,
            "samples_per_s": steps * samples / elapsed,
            "data_share": waited / elapsed,
            "skipped": float(skipped),
        }
        self._losses, self._norms, self._prepared_s, self._aside_s = [], [], 0.0, 0.0
        self._begun, self._waited_s = now, self._loader.waited_s
        return values


@contextmanager
def stop_requests() -> Iterator[list[bool]]:
    """A flag that Ctrl-C or a cluster's SIGTERM sets: the step is finished and saved.

    A second Ctrl-C ends it at once. SIGTERM may come several times for one request, from the cluster to every process
    and from torchrun to its own, so that its repetition says nothing.
    """
    flag = [False]
    interrupted = False

    def on_signal(number: int, _frame: object) -> None:
        nonlocal interrupted
        if number == signal.SIGINT and interrupted:
            raise KeyboardInterrupt
        interrupted = interrupted or number == signal.SIGINT
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
