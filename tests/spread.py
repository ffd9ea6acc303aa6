"""Two processes that stay up, since starting them takes longer than most of what they are to do."""

from __future__ import annotations

import multiprocessing
import os
import queue
import socket
import traceback
from collections.abc import Callable
from typing import Any

LIMIT_S = 600.0
"""After which processes are taken to wait for each other."""


class Pair:
    """Runs a function in two processes at once, as the two members of a `Team` on gloo."""

    def __init__(self) -> None:
        self._processes: list[Any] = []

    def run(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `work(team, *arguments)`, a function of a module, returns in both.

        Raises:
            AssertionError: it raised an error in one, whose traceback is shown, or did not come to its end.
        """
        if not self._processes:
            self._start()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for jobs in self._jobs:
            jobs.put((work, arguments, port))
        values: dict[int, Any] = {}
        while len(values) < len(self._processes):
            try:
                rank, value, problem = self._answers.get(timeout=LIMIT_S)
            except queue.Empty:
                rank, value, problem = -1, None, "the two processes wait for each other"
            if problem is not None:
                self.end()
                raise AssertionError(f"process {rank}: {problem}")
            values[rank] = value
        return [values[rank] for rank in sorted(values)]

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._answers = context.Queue()
        self._jobs = [context.Queue() for _ in range(2)]
        self._processes = [
            context.Process(target=_serve, args=(rank, jobs, self._answers), daemon=True)
            for rank, jobs in enumerate(self._jobs)
        ]
        for process in self._processes:
            process.start()

    def end(self) -> None:
        """Kill both; the next `run` starts two others."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes = []


def _serve(rank: int, jobs: Any, answers: Any) -> None:
    os.environ.update(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    import torch

    from magref.training.parallel import Team

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        try:
            work, arguments, port = jobs.get(timeout=5)
        except queue.Empty:
            continue
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({key: str(value) for key, value in place.items()})
        team = Team.join("cpu")
        try:
            answer = (rank, work(team, *arguments), None)
        except BaseException:
            answer = (rank, None, traceback.format_exc())
        answers.put(answer)
        team.leave()
