"""Videos made on a Ray cluster: `magref bench run --engine ray`.

Every machine must see the references, the weights and the folder of the videos under the same paths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from magref.batch import Case
from magref.curation.running.cluster import connect
from magref.errors import ResourceError
from magref.evaluation.making import Job, Outcome
from magref.evaluation.systems.interface import System
from magref.evaluation.videos import Failure


@dataclass
class RayEngine:
    """An `Engine`.

    Attributes:
        address: of the cluster; None: that of RAY_ADDRESS, or a cluster of this machine alone, started now.
        workers: how many systems are loaded.
        gpus: of each of these.
    """

    address: str | None = None
    workers: int = 1
    gpus: float = 0

    def each(self, job: Job, cases: Sequence[Case]) -> Iterator[Outcome]:
        """See `Engine`. A worker that dies is replaced; its case has failed."""
        connect(self.address)
        import ray

        class Worker:
            system: System | None = None

            def load(self) -> None:
                self.system = self.system or job.open(None)

            def make(self, case: Case) -> Outcome:
                self.load()  # where this worker took a dead one's place
                assert self.system is not None
                return job.make(self.system, case)

        waiting = deque(cases)
        kind = ray.remote(num_cpus=1, num_gpus=self.gpus)(Worker)
        idle = [kind.remote() for _ in range(min(self.workers, len(cases)))]
        busy: dict[Any, tuple[Any, Case]] = {}
        try:
            ray.get([worker.load.remote() for worker in idle])
            while waiting or busy:
                while waiting and idle:
                    worker, case = idle.pop(), waiting.popleft()
                    busy[worker.make.remote(case)] = worker, case
                (done, *_), _ = ray.wait(list(busy), num_returns=1)
                worker, case = busy.pop(done)
                try:
                    outcome = ray.get(done)
                except ray.exceptions.RayActorError as error:
                    worker = kind.remote()
                    why = f"its Ray worker died ({next(iter(str(error).splitlines()), 'no word of why')})"
                    outcome = Outcome(case.id, Failure(case=case.id, reason="died", why=why))
                idle.append(worker)
                yield outcome
        except ray.exceptions.RayTaskError as error:  # what concerns all cases, as it was raised there
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise ResourceError(f"a Ray worker died while it loaded the system ({error}); try fewer workers") from None
        finally:
            for worker in (*idle, *(worker for worker, _ in busy.values())):
                ray.kill(worker)
