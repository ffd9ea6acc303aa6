"""Aesthetic: how pleasing single frames are, by CLIP ViT-L/14 and the improved-aesthetic-predictor's head.

The networks are curation's (`curation/models/aesthetics.py`), where it says what has run: the head with its published
weights, CLIP with random ones alone.
"""

from __future__ import annotations

import numpy as np

from magref.batch import Case
from magref.curation.interfaces import AestheticScorer
from magref.evaluation.decoding import DecodedVideo, evenly
from magref.evaluation.metrics.interface import FRAMES, About, Measure, Profile, Score, Value

LOW, HIGH = 4.0, 7.0
"""What the published report cuts scores at, to make them 0 to 1."""


class Aesthetic:
    """The mean over 32 frames.

    `opens2v`: cut at 4 and 7 and scaled to 0 to 1, as published; whatever lies outside looks alike.
    `strict`: in the head's own points, about 1 to 10.
    """

    def __init__(self, scorer: AestheticScorer, profile: Profile) -> None:
        self.profile = profile
        self._scorer = scorer

    @property
    def about(self) -> About:
        """See `Metric`."""
        return About(
            source="improved-aesthetic-predictor (sac+logos+ava1-l14-linearMSE); profile opens2v: OpenS2V-Eval's "
            "get_aesscore.py",
            licence="head Apache-2.0, CLIP ViT-L/14 MIT",
            ran="the head with its published weights; CLIP with random weights of the same architecture",
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """See `Metric`."""
        if self.profile == "opens2v":
            meaning = f"mean predicted rating, cut at {LOW:g} and {HIGH:g} and scaled to 0 to 1"
            return (Measure(name="aesthetic", meaning=meaning),)
        return (Measure(name="aesthetic", meaning="mean predicted rating", unit="points, about 1 to 10"),)

    def measure(self, video: DecodedVideo, case: Case) -> dict[str, Score]:
        """See `Metric`; the case plays no part."""
        numbers, times = np.unique(evenly(FRAMES, len(video)), return_counts=True)
        scores = self._scorer.score(list(video.rgb(numbers, published=self.profile == "opens2v")))
        points = float(np.average(scores, weights=times))
        if self.profile == "strict":
            return {"aesthetic": Value(value=points)}
        scaled = (min(max(points, LOW), HIGH) - LOW) / (HIGH - LOW)
        return {"aesthetic": Value(value=scaled, parts={"points": points})}
