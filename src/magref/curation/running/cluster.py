"""Stages on a Ray cluster, by Ray Data: `magref curate --engine ray`.

Every machine must see the videos, the work folder and the weights under the same paths. Stages without models take a
core for a video; of those with models each worker takes its GPUs and holds its own models. What is written is the same
as from one machine, as far as a model's answers do not depend on which clips share its batch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magref.curation.running.bundle import MakeModels
from magref.curation.running.engines import GROUP, Died, Many, One
from magref.curation.running.sources import Source
from magref.curation.settings import CurationSettings
from magref.ray_pool import connect

if TYPE_CHECKING:
    import ray.data

Batch = dict[str, Any]
_RETRIES = 1
"""Of a video whose worker died: a machine may have been taken away."""


@dataclass
class RayEngine:
    """An `Engine`.

    Attributes:
        address: see `connect`.
        workers: how many hold models.
        gpus: of each of these.
        processes: see `connect`.
    """

    address: str | None = None
    workers: int = 1
    gpus: float = 0
    processes: int | None = None

    def __post_init__(self) -> None:
        connect(self.address, self.processes)
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False  # the command shows its own
        logging.getLogger("ray.data").setLevel(logging.WARNING)

    def each(self, work: One, sources: Sequence[Source], died: Died) -> Iterator[str]:
        """See `Engine`."""
        import ray

        def one(row: Batch) -> Batch:
            return {"id": work(Source(row["address"]))}

        waiting = {source.id: source for source in sources}
        if not sources:
            return
        try:
            # Left to itself, Ray Data tries what kills its worker for ever.
            for name in _ids(_dataset(sources).map(one, num_cpus=1, max_retries=_RETRIES)):
                del waiting[name]
                yield name
        except ray.exceptions.WorkerCrashedError:
            yield from _apart(work, list(waiting.values()), died)

    def together(
        self, work: Many, sources: Sequence[Source], make: MakeModels, settings: CurationSettings
    ) -> Iterator[str]:
        """See `Engine`."""
        if not sources:
            return

        class Worker:
            def __init__(self) -> None:
                self.models = make(settings)

            def __call__(self, batch: Batch) -> Batch:
                return {"id": list(work([Source(str(address)) for address in batch["address"]], self.models))}

        import ray.data

        yield from _ids(
            _dataset(sources).map_batches(
                Worker, batch_size=GROUP, compute=ray.data.ActorPoolStrategy(size=self.workers),
                num_gpus=self.gpus or None, max_restarts=_RETRIES, max_task_retries=_RETRIES,
            )
        )  # fmt: skip


def _apart(work: One, sources: Sequence[Source], died: Died) -> Iterator[str]:
    """The sources as tasks of their own, so that one that kills its worker costs no other."""
    import ray

    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(work)
    waiting = {task.remote(source): source for source in sources}
    while waiting:
        (done,), _ = ray.wait(list(waiting))
        source = waiting.pop(done)
        try:
            yield ray.get(done)
        except ray.exceptions.WorkerCrashedError:
            died(source)
            yield source.id


def _dataset(sources: Sequence[Source]) -> ray.data.Dataset:
    import ray.data

    return ray.data.from_items([{"address": source.address} for source in sources])


def _ids(data: ray.data.Dataset) -> Iterator[str]:
    for row in data.iter_rows():
        yield str(row["id"])
