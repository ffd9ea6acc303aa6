"""Which samples each step sees, and getting them ready while the step before is computed.

The order is a function of (seed, step) alone: a run that is resumed, on whatever machine, goes on with the very batches
that an uninterrupted one would have seen.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, TypeVar

import numpy as np

from magref.errors import InputError, MagrefError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Drawn:
    """One place in a batch: which sample, and the number that decides all that is random about it."""

    name: str
    seed: int
    alternatives: tuple[str, ...]
    """All samples of its bucket; where it cannot be used, another of them takes its place, chosen by the seed, and
    where none of them can, one of any bucket."""


class Order:
    """Batches of one bucket each, all buckets mixed, every sample once in an epoch.

    Args:
        buckets: (name, bucket) of each sample; samples of one bucket have tensors of one shape.
        batch: samples in one pass on one process.
        passes: passes in one step on one process (gradient accumulation).
        world: processes.

    A bucket's last batch is filled up with samples from its beginning.
    """

    def __init__(
        self, buckets: Sequence[tuple[str, Hashable]], *, batch: int, passes: int, world: int, seed: int
    ) -> None:
        if not buckets:
            raise InputError("there are no samples to train on; the run's skipped.jsonl says why")
        if len(buckets) < world:
            samples = "1 sample is" if len(buckets) == 1 else f"{len(buckets)} samples are"
            raise InputError(f"{samples} too few for {world} processes; use {len(buckets)} at most")
        self._group_of = dict(buckets)
        groups: dict[Hashable, list[str]] = {}
        for name, bucket in buckets:
            groups.setdefault(bucket, []).append(name)
        self._groups = {bucket: tuple(names) for bucket, names in groups.items()}
        self.names = tuple(name for name, _ in buckets)
        self._batch, self._passes, self._world, self._seed = batch, passes, world, seed
        size = batch * passes * world
        self.steps_per_epoch = sum(-(-len(names) // size) for names in self._groups.values())
        self._epoch: tuple[int, list[list[str]]] = (-1, [])

    def step(self, step: int, rank: int) -> list[list[Drawn]]:
        """The passes of one process in one step, each a list of `batch` samples."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        names = self._epoch[1][position]
        passes = []
        for number in range(self._passes):
            # Neighbouring samples go to neighbouring processes: with one pass or several, one process or several, the
            # step sees the same samples.
            first = (number * self._world + rank) * self._batch
            passes.append([self._drawn(names[place], step, place) for place in range(first, first + self._batch)])
        return passes

    def _drawn(self, name: str, step: int, place: int) -> Drawn:
        seed = zlib.crc32(f"{self._seed}/{step}/{place}/{name}".encode())
        return Drawn(name, seed, self._groups[self._group_of[name]])

    def _shuffled(self, epoch: int) -> list[list[str]]:
        random = np.random.default_rng([self._seed, epoch])
        size = self._batch * self._passes * self._world
        batches = []
        for names in self._groups.values():
            order = [names[k] for k in random.permutation(len(names))]
            filled = order * (2 + size // len(order))
            batches += [filled[start : start + size] for start in range(0, len(order), size)]
        return [batches[k] for k in random.permutation(len(batches))]


class Loader(Generic[Item]):
    """Reads the samples of coming steps in threads; a sample that cannot be used is replaced and reported.

    A bucket of which nothing can be used gives its places to the others, so that a batch may hold samples of several
    shapes, which `Objective` takes apart.

    Args:
        read: one sample, or a MagrefError that says why it cannot be used.
        on_skip: told each such sample once, with the reason.
    """

    def __init__(
        self,
        order: Order,
        rank: int,
        read: Callable[[Drawn], Item],
        on_skip: Callable[[str, str], None],
        *,
        workers: int,
    ) -> None:
        self._order, self._rank, self._read, self._on_skip = order, rank, read, on_skip
        self._threads = ThreadPoolExecutor(max(1, workers), thread_name_prefix="samples")
        self._ahead = 2 if workers else 0
        self._lock = threading.Lock()
        self.waited_s = 0.0
        """For samples that were not ready, since the beginning."""
        self.skipped: dict[str, str] = {}

    def steps(self, first: int, last: int) -> Iterator[list[list[Item]]]:
        """Each step's passes, in order.

        Raises:
            InputError: none of all training samples can be used.
        """
        pending: dict[int, list[list[Future[Item]]]] = {}
        try:
            for step in range(first, last):
                for number in range(step, min(step + self._ahead + 1, last)):
                    if number not in pending:
                        drawn = self._order.step(number, self._rank)
                        pending[number] = [[self._threads.submit(self._usable, d) for d in part] for part in drawn]
                begun = time.perf_counter()
                items = [[future.result() for future in part] for part in pending.pop(step)]
                self.waited_s += time.perf_counter() - begun
                yield items
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _usable(self, drawn: Drawn) -> Item:
        candidates = (_turned(names, drawn.seed) for names in (drawn.alternatives, self._order.names))
        for name in chain([drawn.name], *candidates):
            if name in self.skipped:
                continue
            try:
                return self._read(Drawn(name, drawn.seed, ()))
            except MagrefError as error:
                with self._lock:
                    if name not in self.skipped:
                        self.skipped[name] = str(error)
                        self._on_skip(name, str(error))
        raise InputError(
            f"none of the {len(self._order.names)} training samples can be used ({drawn.name}: "
            f"{self.skipped[drawn.name]}); mend those that the run's skipped.jsonl names, or name another dataset"
        )


def _turned(names: Sequence[str], seed: int) -> Iterator[str]:
    """All of them once, from one on that the seed chooses."""
    start = seed % len(names)
    return chain(islice(names, start, None), islice(names, start))
