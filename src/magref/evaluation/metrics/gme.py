"""GmeScore: how well frames fit the prompt, by one network that embeds both, gme-Qwen2-VL.

Unlike CLIP it reads long prompts whole. `gme_model.py` runs it in this process, `gme_server.py` asks a server; both say
what they have run with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from magref.batch import Case
from magref.curation.interfaces import Image
from magref.evaluation.decoding import DecodedVideo, evenly
from magref.evaluation.metrics.interface import FRAMES, About, Measure, Profile, Score, Value

TEXT_INSTRUCTION = "Find an image that matches the given text."
IMAGE_INSTRUCTION = "You are a helpful assistant."
"""What the network is told before a prompt and before a frame, as published."""

Embeddings = npt.NDArray[np.float32]
"""(N, D), of length 1."""


class JointEmbedder(Protocol):
    """Embeds texts and images into one space."""

    @property
    def ran(self) -> str:
        """What it has run with."""

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Of prompts, told `TEXT_INSTRUCTION`."""

    def images(self, images: Sequence[Image]) -> Embeddings:
        """Of frames, told `IMAGE_INSTRUCTION`."""


class Gme:
    """The mean over 32 frames of the cosine between the prompt and the frame. Both profiles measure the same; `strict`
    converts the frames exactly.
    """

    def __init__(self, embedder: JointEmbedder, profile: Profile) -> None:
        self.profile = profile
        self._embedder = embedder

    @property
    def about(self) -> About:
        """See `Metric`."""
        return About(
            source="gme-Qwen2-VL-7B-Instruct; profile opens2v: OpenS2V-Eval's get_gmescore.py",
            licence="gme-Qwen2-VL is Apache-2.0",
            ran=self._embedder.ran,
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """See `Metric`."""
        return (Measure(name="gme", meaning="mean cosine of the prompt's embedding with a frame's"),)

    def measure(self, video: DecodedVideo, case: Case) -> dict[str, Score]:
        """See `Metric`."""
        numbers, times = np.unique(evenly(FRAMES, len(video)), return_counts=True)
        text = self._embedder.texts([case.prompt])[0]  # first: one question tells whether a server answers at all
        cosines = self._embedder.images(list(video.rgb(numbers, published=self.profile == "opens2v"))) @ text
        return {"gme": Value(value=float(np.average(cosines, weights=times)))}
