"""A pool of workers on a Ray cluster: each loads something once, a pipeline say, and takes one item after the other.

Every machine must see the files that are read and written under the same paths.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from magref.errors import ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")
_Taken_contra = TypeVar("_Taken_contra", contravariant=True)
_Given_co = TypeVar("_Given_co", covariant=True)


class Work(Protocol[_Taken_contra, _Given_co]):
    """What is sent to the workers, and what they do."""

    def open(self, device: str | None) -> Any:
        """Load what every item needs; None is the best device here. What it raises concerns all items."""

    def make(self, loaded: Any, item: _Taken_contra) -> _Given_co:
        """What comes of one item; what it raises concerns all items."""

    def died(self, item: _Taken_contra, why: str) -> _Given_co:
        """What is to stand for an item whose process ended over it."""


def connect(address: str | None, processes: int | None = None) -> None:
    """Join the cluster at `address`; None: that of RAY_ADDRESS, or one of this machine alone, started now.

    A process that has joined one stays with it. `processes` are the cores of one that is started now; None: all.

    Raises:
        ResourceError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError:
        raise ResourceError("Ray is not installed; run pip install 'magref[ray]'") from None
    if not ray.is_initialized():
        given = {} if address else {"num_cpus": processes}
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False, **given)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = address or os.environ.get("RAY_ADDRESS") or "this machine"
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise ResourceError(
                f"no Ray cluster answers at {where} ({why}); check the address, or start one with ray start --head"
            ) from None


@dataclass(frozen=True)
class RayPool:
    """Workers on a cluster.

    Attributes:
        address: see `connect`.
        workers: how many are started.
        gpus: of each of these.
    """

    address: str | None = None
    workers: int = 1
    gpus: float = 0

    def each(self, work: Work[Item, Result], items: Sequence[Item]) -> Iterator[Result]:
        """What comes of each item as soon as it is known, in any order. A worker that dies is replaced.

        Raises:
            MagrefError: what `work` raised; or Ray is not installed, or a worker died while it loaded.
        """
        connect(self.address)
        import ray

        class Worker:
            loaded: Any = None

            def load(self) -> None:
                if self.loaded is None:
                    self.loaded = work.open(None)

            def make(self, item: Item) -> Result:
                self.load()  # where this worker took a dead one's place
                return work.make(self.loaded, item)

        waiting = deque(items)
        kind = ray.remote(num_cpus=1, num_gpus=self.gpus)(Worker)
        idle = [kind.remote() for _ in range(min(self.workers, len(items)))]
        busy: dict[Any, tuple[Any, Item]] = {}
        try:
            ray.get([worker.load.remote() for worker in idle])
            while waiting or busy:
                while waiting and idle:
                    worker, item = idle.pop(), waiting.popleft()
                    busy[worker.make.remote(item)] = worker, item
                (done, *_), _ = ray.wait(list(busy), num_returns=1)
                worker, item = busy.pop(done)
                try:
                    result = ray.get(done)
                except ray.exceptions.RayActorError as error:
                    worker = kind.remote()
                    why = f"its Ray worker died ({next(iter(str(error).splitlines()), 'no word of why')})"
                    result = work.died(item, why)
                idle.append(worker)
                yield result
        except ray.exceptions.RayTaskError as error:  # as it was raised there
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise ResourceError(f"a Ray worker died while it loaded ({error}); try fewer workers") from None
        finally:
            for worker in (*idle, *(worker for worker, _ in busy.values())):
                ray.kill(worker)
