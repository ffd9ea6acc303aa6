"""Which faces of an identity become candidate references of a clip (paper 3.1: ranked, then 10 sampled uniformly)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magref.curation.faces import SeenFace, judge_reference, quality
from magref.curation.identities import Identity
from magref.curation.outcome import Kept, Outcome
from magref.curation.settings import CandidateSettings, FaceSettings


@dataclass(frozen=True, eq=False)
class JudgedFace:
    """A face as a candidate; `quality` ranks it."""

    seen: SeenFace
    quality: float
    outcome: Outcome


def judge_candidates(
    identity: Identity, clip: int, face_settings: FaceSettings, settings: CandidateSettings
) -> list[JudgedFace]:
    """The identity's faces in a clip and its neighbours of the same video, each judged by itself."""
    reach = face_settings.neighbours
    near = [seen for seen in identity.faces if abs(seen.clip - clip) <= reach]
    return [
        JudgedFace(seen, quality(seen.face), judge_reference(seen.face, face_settings, settings) or Kept())
        for seen in near
    ]


def draw_candidates(judged: Sequence[JudgedFace], settings: CandidateSettings) -> list[JudgedFace]:
    """The sample: of the `pool` best, `sample` spread evenly over time; all of them where there are fewer. Best first.

    Ranked first and spread then, so that ten good faces of one moment do not fill the sample.
    """
    kept = [face for face in judged if isinstance(face.outcome, Kept)]
    best = sorted(kept, key=lambda face: (-face.quality, face.seen.time_s))[: settings.pool]
    in_time = sorted(best, key=lambda face: (face.seen.time_s, face.seen.clip))
    places = np.linspace(0, len(in_time) - 1, min(settings.sample, len(in_time))).round().astype(int)
    return sorted((in_time[n] for n in places), key=lambda face: -face.quality)
