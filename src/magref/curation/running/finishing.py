"""The last step, over all videos at once: duplicates are left out, and one writer makes the dataset (paper 3.1).

Samples are judged and written in the order of their names, so that neither the engine nor the number of processes shows
in the dataset. A dataset only grows: what is in it already comes before what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from magref.curation.duplicates import judge_copies, judge_near, judge_quota
from magref.curation.outcome import Kept, Outcome
from magref.curation.running.rows import Row, unpack
from magref.curation.running.work import Work
from magref.curation.settings import DuplicateSettings
from magref.dataset.format import DatasetInfo, Sample
from magref.dataset.store import Dataset, DatasetWriter, NewPicture, NewSubject, read_picture

PART_SAMPLES = 200


@dataclass(frozen=True, eq=False)
class Candidate:
    """A sample that was put together, with the video that it is of."""

    source: str
    row: Row


def finish(
    work: Work, folder: Path, info: DatasetInfo, settings: DuplicateSettings, written: Callable[[str], None]
) -> list[Row]:
    """Write the dataset, or what is missing of it; `written` is told each new sample.

    Returns:
        A row for each sample, with what became of it; the same is stored as `duplicates.parquet`.
    """
    found = [
        Candidate(source.id, row)
        for source in work.sources()
        for row in work.read("samples", source.id, "sample")
        if row.is_kept
    ]
    found.sort(key=lambda candidate: candidate.row.item)
    with DatasetWriter(folder, info, part_samples=PART_SAMPLES) as writer:
        found.sort(key=lambda candidate: candidate.row.item not in writer)
        outcomes = judge(found, settings, [candidate.row.item in writer for candidate in found])
        for candidate, outcome in zip(found, outcomes, strict=True):
            if outcome == Kept() and candidate.row.item not in writer:
                _copy(work, candidate, writer)
                written(candidate.row.item)
    rows = [
        Row("sample", candidate.row.item, outcome, candidate.row.scores)
        for candidate, outcome in zip(found, outcomes, strict=True)
    ]
    work.write("duplicates", "all", sorted(rows, key=lambda row: row.item))
    return rows


def judge(found: Sequence[Candidate], settings: DuplicateSettings, there: Sequence[bool]) -> list[Outcome]:
    """What becomes of each sample: copies first, then near ones, then the quotas; each only among what is left.

    Near ones are told by what they look like from afar, and then by their embeddings, as far as they have any.

    Args:
        there: which of them are in the dataset already; they are worth more than any that are not.
    """
    outcomes: list[Outcome] = judge_copies([candidate.row.data["hash"] for candidate in found])
    worth = np.array([candidate.row.scores["worth"] for candidate in found]) + 1e6 * np.array(there, np.float64)

    def among_kept(decide: Callable[[list[int]], list[Outcome]]) -> None:
        left = [n for n, outcome in enumerate(outcomes) if outcome == Kept()]
        for n, outcome in zip(left, decide(left) if left else [], strict=True):
            outcomes[n] = outcome

    def near(left: list[int], vectors: str) -> list[Outcome]:
        have = [n for n in left if vectors in found[n].row.data]
        if not have:
            return [Kept()] * len(left)
        stacked: npt.NDArray[Any] = np.stack([unpack(found[n].row.data[vectors]) for n in have])
        judged = dict(zip(have, judge_near(stacked, [float(worth[n]) for n in have], settings), strict=True))
        return [judged.get(n, Kept()) for n in left]

    def quota(left: list[int], owner: Callable[[Candidate], str | None], most: int | None, whose: str) -> list[Outcome]:
        return judge_quota([owner(found[n]) for n in left], [float(worth[n]) for n in left], most, whose)

    among_kept(lambda left: near(left, "looks"))
    among_kept(lambda left: near(left, "embedding"))
    among_kept(lambda left: quota(left, lambda candidate: candidate.source, settings.per_source, "video"))
    among_kept(lambda left: quota(left, _first_person, settings.per_identity, "person"))
    return outcomes


def _first_person(candidate: Candidate) -> str | None:
    return next(iter(candidate.row.data["identities"]), None)


def _copy(work: Work, candidate: Candidate, writer: DatasetWriter) -> None:
    """A draft's files and row into the dataset; the video is copied as it is."""
    folder = work.drafts(candidate.source)
    sample = next(sample for sample in Dataset(folder) if sample.id == candidate.row.item)
    masks = {
        (mask.subject, mask.frame): np.asarray(Image.open(folder / mask.path).convert("L")) >= 128
        for mask in sample.masks
    }
    writer.add(
        sample.id, sample.caption, folder / sample.clip.path, _subjects(folder, sample),
        masks=masks, provenance=sample.provenance,
    )  # fmt: skip


def _subjects(folder: Path, sample: Sample) -> list[NewSubject]:
    return [
        NewSubject(
            subject.key, subject.role,
            [NewPicture(read_picture(folder / p.path), p.frame, p.box, p.score) for p in subject.pictures],
            subject.label, subject.span, subject.identity,
        )
        for subject in sample.subjects
    ]  # fmt: skip
