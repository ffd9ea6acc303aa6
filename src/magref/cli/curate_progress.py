"""What `magref curate` shows: a line for each stage that is done, and a bar for the one that runs."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from magref.curation.running.run import Tally, Watch

_ITEMS = {
    "scan": "clip", "aesthetic": "clip", "captions": "clip", "boxes": "clip", "faces": "clip",
    "identities": "identity", "objects": "object", "samples": "sample", "duplicates": "sample",
}  # fmt: skip
"""What each stage is counted in."""
_PLURAL = {"identity": "identities"}


class Shown(Watch):
    """Shows what happens on a console; use it in a `with` block."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        self._console = console
        self._progress = Progress(*columns, console=console, transient=True)
        self._task: TaskID | None = None
        self._began = 0.0
        self._before = 0

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str, sources: int, done: int) -> None:
        """A bar for the stage; what was done before counts as done and not into the rate."""
        self._task = self._progress.add_task(stage, total=sources, said="")
        self._progress.update(self._task, completed=done)
        self._began, self._before = time.monotonic(), -1

    def step(self, stage: str, source: str, tally: Tally) -> None:
        """The bar, with the rate of items."""
        assert self._task is not None
        item = _ITEMS[stage]
        count = _count(tally, item)
        if self._before < 0:  # the first step: from here on
            self._before = count
        seconds = max(time.monotonic() - self._began, 1e-3)
        said = f"{summary(stage, tally)} · {(count - self._before) / seconds:.1f} {_PLURAL.get(item, item + 's')}/s"
        self._progress.update(self._task, advance=1, said=said)

    def end(self, stage: str, tally: Tally, seconds: float) -> None:
        """One line that stays."""
        assert self._task is not None
        self._progress.remove_task(self._task)
        self._console.print(f"{stage}: {summary(stage, tally)} ({seconds:.0f} s)", markup=False, highlight=False)


def summary(stage: str, tally: Tally) -> str:
    """How many items were kept, rejected by reason, and failed; and videos that failed before they had any."""
    item = _ITEMS[stage]
    parts = [f"{tally.kept[item]} {_PLURAL.get(item, item + 's')} kept"]
    reasons = [(reason, n) for (level, reason), n in tally.rejected.most_common() if level in (item, "source")]
    if reasons:
        parts.append(f"{sum(n for _, n in reasons)} rejected ({', '.join(f'{n} {reason}' for reason, n in reasons)})")
    for level, n in sorted(tally.failed.items()):
        parts.append(f"{n} {'video' if level == 'source' else level}{'s' if n > 1 else ''} failed")
    return ", ".join(parts)


def _count(tally: Tally, item: str) -> int:
    rejected = sum(n for (level, _), n in tally.rejected.items() if level == item)
    return tally.kept[item] + rejected + tally.failed[item]
