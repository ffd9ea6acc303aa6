"""All metrics by name, each with its networks, or with word of why they are not here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from magref.curation.interfaces import AestheticScorer, Face, FaceFinder, Image
from magref.curation.models.catalogue import HEAD_FILE, locate
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError, InputError, MagrefError
from magref.evaluation.metrics.aesthetic import Aesthetic
from magref.evaluation.metrics.face_similarity import DETECTION_PX, PACK, FaceSimilarity
from magref.evaluation.metrics.gme import Embeddings, Gme, JointEmbedder
from magref.evaluation.metrics.interface import Metric, Profile
from magref.evaluation.metrics.motion import Motion

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

PAPER = ("face", "aesthetic", "gme", "motion")
"""The paper's four (4.1), in Table 1's order."""
NAMES = (*PAPER, "world")
GME_SERVED = "Alibaba-NLP/gme-Qwen2-VL-7B-Instruct"

_KEPT = 4
"""Models that stay loaded: every metric looks at every video in turn."""


@dataclass(frozen=True)
class Weights:
    """Where networks are; what is left out is looked for where `magref download` puts it.

    Attributes:
        faces: the folder of an ONNX face pack.
        clip: the folder of clip-vit-large-patch14.
        aesthetic_head: the head's file.
        gme: the folder of gme-Qwen2-VL, which is found nowhere by itself.
        gme_server: the address of an embedding server, instead.
        gme_model: the name that the server has for the model.
        device: None for the best one here.
    """

    faces: Path | None = None
    clip: Path | None = None
    aesthetic_head: Path | None = None
    gme: Path | None = None
    gme_server: str | None = None
    gme_model: str = GME_SERVED
    device: str | None = None


@dataclass(frozen=True)
class Made:
    """A metric, and what its networks were loaded from; None where they are not here and every score is missing."""

    metric: Metric
    weights: str | None


def make_metrics(names: Sequence[str], profile: Profile, weights: Weights) -> dict[str, Made]:
    """The named metrics; nothing is loaded before the first video.

    Raises:
        InputError: there is no such metric, or none is named.
    """
    if not names:
        raise InputError(f"no metric is named; use {', '.join(NAMES)}")
    for name in names:
        if name not in NAMES:
            raise InputError(f"there is no metric {name!r}; use {', '.join(NAMES)}")
    shelf = Shelf(weights.device, keep=_KEPT)
    return {name: _make(name, profile, weights, shelf) for name in dict.fromkeys(names)}


def _make(name: str, profile: Profile, weights: Weights, shelf: Shelf) -> Made:
    if name == "motion":
        return Made(Motion(profile), "none")
    if name == "world":
        from magref.evaluation.metrics.world import World

        return Made(World(), "magref.evaluation.measures")
    if name == "face":
        faces, where = _or_absent(lambda: _faces(weights, shelf))
        return Made(FaceSimilarity(faces, profile), where)
    if name == "aesthetic":
        scorer, where = _or_absent(lambda: _aesthetics(weights, shelf))
        return Made(Aesthetic(scorer, profile), where)
    embedder, where = _or_absent(lambda: _gme(weights, shelf))
    return Made(Gme(embedder, profile), where)


def _faces(weights: Weights, shelf: Shelf) -> tuple[FaceFinder, str]:
    from magref.curation.models.faces import FacePack

    folder = locate(PACK, weights.faces)
    return FacePack(folder, shelf=shelf, poses=False, detection_px=DETECTION_PX), str(folder)


def _aesthetics(weights: Weights, shelf: Shelf) -> tuple[AestheticScorer, str]:
    from magref.curation.models.aesthetics import ClipAesthetics

    clip = locate("clip-vit-l14", weights.clip)
    head = _file(weights.aesthetic_head) if weights.aesthetic_head else locate("aesthetic-predictor") / HEAD_FILE
    return ClipAesthetics(clip, head, shelf=shelf), f"{clip}, {head}"


def _gme(weights: Weights, shelf: Shelf) -> tuple[JointEmbedder, str]:
    from magref.evaluation.metrics.gme_model import GmeModel
    from magref.evaluation.metrics.gme_server import GmeServer

    if weights.gme_server is not None:
        server = GmeServer(weights.gme_server, weights.gme_model)
        return server, f"{weights.gme_model} behind a server"
    if weights.gme is None:
        raise CheckpointError(
            f"GmeScore needs {GME_SERVED}; give its folder with --gme, or a server that has it with --gme-server"
        )
    folder = Path(os.path.expanduser(weights.gme))
    if not folder.is_dir():
        raise CheckpointError(f"the folder {folder} for GmeScore does not exist; check its path")
    return GmeModel(folder, shelf=shelf), str(folder)


def _file(path: Path) -> Path:
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise CheckpointError(f"the file {path} does not exist; check its path")
    return path


def _or_absent(make: Callable[[], tuple[T, str]]) -> tuple[T | _Absent, str | None]:
    try:
        return make()
    except CheckpointError as error:
        return _Absent(error), None


class _Absent:
    """Stands for networks that are not here: whatever it is asked, it says so."""

    ran = "not here"

    def __init__(self, error: MagrefError) -> None:
        self._error = error

    def find(self, images: Sequence[Image]) -> list[list[Face]]:
        self._fail()

    def score(self, images: Sequence[Image]) -> list[float]:
        self._fail()

    def texts(self, texts: Sequence[str]) -> Embeddings:
        self._fail()

    def images(self, images: Sequence[Image]) -> Embeddings:
        self._fail()

    def _fail(self) -> NoReturn:
        raise self._error
