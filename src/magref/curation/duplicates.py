"""What is there already (paper 3.1: deduplication): the same frames, nearly the same picture, enough of one source."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magref.curation.outcome import Kept, Outcome, Rejected
from magref.curation.settings import DuplicateSettings
from magref.video import Frames

_ROUNDS = 10
_BLOCK = 1024
"""Rows compared at once."""


def frames_hash(frames: Frames) -> str:
    """What two clips have in common if and only if their frames are equal, to the bit."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def judge_copies(hashes: Sequence[str]) -> list[Outcome]:
    """Of equal clips, the first is kept; `value` is its place in the list."""
    first: dict[str, int] = {}
    outcomes: list[Outcome] = []
    for n, digest in enumerate(hashes):
        kept = first.setdefault(digest, n)
        outcomes.append(Kept() if kept == n else Rejected(stage="duplicates", reason="copy", value=kept))
    return outcomes


def judge_near(
    embeddings: npt.NDArray[np.floating], worth: Sequence[float], settings: DuplicateSettings
) -> list[Outcome]:
    """Of clips whose embeddings are neighbours, the worthiest is kept; `value` is the distance to it.

    Embeddings are clustered (k-means) and compared within their clusters, as in SemDeDup and cosmos-curate; up to
    `cluster` clips are one cluster, in which nothing is missed.

    Args:
        embeddings: (N, D), of length 1 each.
        worth: which of two is kept, the greater.
    """
    vectors = np.asarray(embeddings, np.float32)
    clusters = _clusters(vectors, settings)
    outcomes: list[Outcome] = [Kept()] * len(vectors)
    order = np.argsort(-np.asarray(worth, np.float64), kind="stable")
    for cluster in range(clusters.max(initial=-1) + 1):
        members = order[clusters[order] == cluster]
        kept = np.zeros(len(members), np.bool_)
        for start in range(0, len(members), _BLOCK):
            block = members[start : start + _BLOCK]
            # Against those kept before the block at once, then within it one after the other.
            earlier = members[:start][kept[:start]]
            distance = 1 - (vectors[block] @ vectors[earlier].T).max(axis=1, initial=-1.0)
            within = 1 - vectors[block] @ vectors[block].T
            for n, row in enumerate(block):
                chosen = kept[start : start + n]
                nearest = min(float(distance[n]), float(within[n, :n][chosen].min(initial=2.0)))
                kept[start + n] = nearest >= settings.near
                if not kept[start + n]:
                    outcomes[row] = Rejected(
                        stage="duplicates", reason="nearly the same", value=max(nearest, 0.0), limit=settings.near
                    )
    return outcomes


def judge_quota(owners: Sequence[str | None], worth: Sequence[float], most: int | None, whose: str) -> list[Outcome]:
    """Of each owner's clips (a source video, a person), the `most` worthiest are kept; None owns none.

    Args:
        whose: what the reason calls the owner.
    """
    outcomes: list[Outcome] = [Kept()] * len(owners)
    counts: Counter[str] = Counter()
    for n in sorted(range(len(owners)), key=lambda n: (-worth[n], n)):
        owner = owners[n]
        if owner is None or most is None:
            continue
        counts[owner] += 1
        if counts[owner] > most:
            reason = f"enough of this {whose}"
            outcomes[n] = Rejected(stage="duplicates", reason=reason, value=counts[owner], limit=most)
    return outcomes


def _clusters(vectors: npt.NDArray[np.float32], settings: DuplicateSettings) -> npt.NDArray[np.int64]:
    """(N,) the number of each vector's cluster, by k-means from centres drawn by the seed."""
    count = -(-len(vectors) // settings.cluster)
    if count <= 1:
        return np.zeros(len(vectors), np.int64)
    rng = np.random.default_rng(settings.seed)
    centres = vectors[rng.choice(len(vectors), count, replace=False)]
    nearest = np.zeros(len(vectors), np.int64)
    for _ in range(_ROUNDS):
        for start in range(0, len(vectors), _BLOCK):
            nearest[start : start + _BLOCK] = (vectors[start : start + _BLOCK] @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, vectors)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.maximum(norms, 1e-12), centres)
    return nearest
