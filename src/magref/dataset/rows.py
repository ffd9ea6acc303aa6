"""Samples by their ids, each row read from the manifest when it is asked for.

What stays in memory is an id and a place for each sample, some 150 bytes; whole rows take over a hundred times that.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

from magref.dataset.format import Sample
from magref.dataset.store import Dataset, manifest_errors, open_part, sample_of

if TYPE_CHECKING:
    import pyarrow

KEPT_GROUPS = 8
"""Row groups that stay in memory: all of a small dataset, a few megabytes of a large one."""


class Rows:
    """The samples of a dataset as it is now; of two with one id, the first.

    Raises:
        InputError: the manifest cannot be read.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        self._places: dict[str, int] = {}
        count = 0
        for part in dataset.parts():
            with manifest_errors(part), open_part(part) as opened:
                for group in range(opened.num_row_groups):
                    self._groups.append((part, group))
                    self._starts.append(count)
                    count += opened.metadata.row_group(group).num_rows
        for number, name in enumerate(dataset.ids()):
            self._places.setdefault(name, number)
        self._group = functools.lru_cache(KEPT_GROUPS)(_read_group)

    def __getitem__(self, name: str) -> Sample:
        """One sample, from any thread.

        Raises:
            InputError: its row does not fit the format, or cannot be read.
            KeyError: there is no such sample.
        """
        place = self._places[name]
        index = bisect_right(self._starts, place) - 1
        part, group = self._groups[index]
        with manifest_errors(part):
            (row,) = self._group(part, group).slice(place - self._starts[index], 1).to_pylist()
        return sample_of(row)


def _read_group(part: Path, group: int) -> pyarrow.Table:
    with open_part(part) as opened:
        return opened.read_row_group(group, use_threads=False)
