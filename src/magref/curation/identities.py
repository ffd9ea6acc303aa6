"""Which faces of a video are one person's (paper 3.1: embeddings become IDs).

Faces are first followed from frame to frame by where they are, within a shot: that carries an identity through turned
heads, whose embeddings say little. Tracks are then joined by their embeddings, each face counting by its quality: the
two most alike first, by the mean cosine between all of their faces (average linkage), down to a limit. Two tracks that
are ever seen in one frame are two people, however alike. Where there are no embeddings, a track is an identity.

Costs grow with the square of the number of tracks in a video.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt

from magref.curation.boxes import box_iou
from magref.curation.faces import SeenFace, quality
from magref.curation.interfaces import Corners
from magref.curation.outcome import Kept, Outcome, below
from magref.curation.settings import IdentitySettings

_LEAST_WEIGHT = 0.05
"""A profile's embedding still counts a little, so that a track of nothing else has one."""


@dataclass(frozen=True, eq=False)
class Identity:
    """The faces of one person in the order in which they are shown."""

    faces: tuple[SeenFace, ...]
    outcome: Outcome


@dataclass(eq=False)
class _Track:
    faces: list[SeenFace] = field(default_factory=list)
    total: npt.NDArray[np.float64] | None = None
    """Sum of the weighted embeddings."""
    weight: float = 0.0

    def add(self, seen: SeenFace) -> None:
        self.faces.append(seen)
        if seen.face.embedding is not None:
            weight = max(quality(seen.face), _LEAST_WEIGHT)
            weighted = weight * seen.face.embedding.astype(np.float64)
            self.total = weighted if self.total is None else self.total + weighted
            self.weight += weight

    def cosine(self, embedding: npt.NDArray[np.floating]) -> float:
        return 1.0 if self.total is None else float(self.total @ embedding) / self.weight


def find_identities(faces: Iterable[SeenFace], settings: IdentitySettings) -> list[Identity]:
    """The people among the faces of one video, the most seen first; rejected where seen too little."""
    groups = _joined(follow(faces, settings), settings)
    identities = []
    for group in groups:
        members = sorted(group, key=_moment)
        outcome: Outcome = below("identities", "seldom seen", len(members), settings.least_faces) or Kept()
        identities.append(Identity(tuple(members), outcome))
    return sorted(identities, key=lambda identity: (-len(identity.faces), _moment(identity.faces[0])))


def follow(faces: Iterable[SeenFace], settings: IdentitySettings) -> list[list[SeenFace]]:
    """Faces followed from frame to frame by where they are; never two of one frame in a track."""
    done: list[_Track] = []
    for _, of_shot in groupby(sorted(faces, key=_moment), key=lambda seen: seen.shot):
        tracks: list[_Track] = []
        for _, of_frame in groupby(of_shot, key=lambda seen: (seen.clip, seen.frame)):
            together = list(of_frame)
            open_tracks = [t for t in tracks if together[0].time_s - t.faces[-1].time_s <= settings.gap_s]
            taken: set[int] = set()
            continued: set[int] = set()
            for _, t, n in sorted(_continuations(open_tracks, together, settings), reverse=True):
                if t not in continued and n not in taken:
                    continued.add(t)
                    taken.add(n)
                    open_tracks[t].add(together[n])
            for n, seen in enumerate(together):
                if n not in taken:
                    tracks.append(_Track())
                    tracks[-1].add(seen)
        done += tracks
    return [track.faces for track in done]


def _continuations(
    tracks: Sequence[_Track], faces: Sequence[SeenFace], settings: IdentitySettings
) -> list[tuple[float, int, int]]:
    """(likelihood, track, face) of all that may belong together."""
    found = []
    for t, track in enumerate(tracks):
        for n, seen in enumerate(faces):
            overlap = box_iou(track.faces[-1].face.corners, seen.face.corners)
            alike = 1.0 if seen.face.embedding is None else track.cosine(seen.face.embedding)
            if overlap >= settings.follow_iou and alike >= settings.follow_cosine:
                found.append((overlap + alike, t, n))
    return found


def _joined(tracks: Sequence[Sequence[SeenFace]], settings: IdentitySettings) -> list[list[SeenFace]]:
    """Tracks joined by their embeddings, two at a time, the most alike first."""
    built = []
    for faces in tracks:
        track = _Track()
        for seen in faces:
            track.add(seen)
        built.append(track)
    known = [track for track in built if track.total is not None]
    groups = [list(track.faces) for track in built if track.total is None]
    if not known:
        return groups
    totals = np.stack([track.total for track in known if track.total is not None])  # (T, D)
    weights = np.array([track.weight for track in known])
    cosines = totals @ totals.T / np.outer(weights, weights)
    members = [list(track.faces) for track in known]
    seen_in = [{(seen.clip, seen.frame) for seen in faces} for faces in members]
    for a, frames in enumerate(seen_in):
        for b in range(a):
            if not frames.isdisjoint(seen_in[b]):
                cosines[a, b] = cosines[b, a] = -np.inf
    np.fill_diagonal(cosines, -np.inf)
    while True:
        a, b = divmod(int(cosines.argmax()), len(known))
        if cosines[a, b] < settings.cosine:
            break
        # Average linkage, exactly: the mean over all pairs of two groups is the mean of their sums' product.
        apart = np.isneginf(cosines[a]) | np.isneginf(cosines[b])
        totals[a] += totals[b]
        weights[a] += weights[b]
        members[a] += members[b]
        members[b] = []
        cosines[a] = np.where(apart, -np.inf, totals @ totals[a] / (weights * weights[a]))
        cosines[:, a] = cosines[a]
        cosines[b] = cosines[:, b] = -np.inf
    return groups + [faces for faces in members if faces]


def _moment(seen: SeenFace) -> tuple[int, float, int, int, Corners]:
    """Where faces stand in order, whatever order they came in."""
    return seen.shot, seen.time_s, seen.clip, seen.frame, seen.face.corners
