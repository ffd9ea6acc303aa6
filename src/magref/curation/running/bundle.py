"""The models that a curation looks through, and how they come to be where they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from magref.curation.interfaces import Captioner, Detector, FaceFinder, Rater, Segmenter
from magref.curation.settings import CurationSettings
from magref.errors import ResourceError

if TYPE_CHECKING:
    import torch

    from magref.curation.models.shelf import Shelf


@dataclass(frozen=True)
class Models:
    """One of each; `clips` are captioned at a time, `images` go into the other models at a time.

    Attributes:
        device: what they run on, in words that begin with cuda where it is a GPU.
        server: the address at which clips are captioned elsewhere.
    """

    captioner: Captioner
    detector: Detector
    segmenter: Segmenter
    faces: FaceFinder
    aesthetics: Rater
    clips: int = 1
    images: int = 8
    device: str = "cpu"
    server: str | None = None

    def runs_on(self, stage: str) -> str:
        """Where a stage's models run."""
        return f"server {self.server}" if stage == "captions" and self.server else self.device


class MakeModels(Protocol):
    """Makes the models; it can be pickled, so that it can be called on another machine."""

    def __call__(self, settings: CurationSettings) -> Models:
        """The models for these settings."""


@dataclass(frozen=True)
class PretrainedModels:
    """The published models; each loads when it is first asked, and then gives way to the next.

    Attributes:
        device: None: a GPU where there is one.
        folders: own folders by the catalogue's names, for weights that are not to be fetched.
        captioner: its name in the catalogue; None: by the device's memory.
        faces: its name in the catalogue. The packs are for non-commercial use.
        server: the address of an OpenAI-compatible server that captions, in place of a model here.
        server_model: the name that the server has for its model.
        keep: how many models stay in the device's memory.
        fetch: brings weights that are not here; None: they must be here.
    """

    device: str | None = None
    folders: tuple[tuple[str, str], ...] = ()
    captioner: str | None = None
    faces: str = "buffalo_l"
    server: str | None = None
    server_model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    keep: int = 1
    fetch: Callable[..., object] | None = None

    def ready(self) -> PretrainedModels:
        """The same with all weights fetched and their folders named whole, so that it can be called from anywhere.

        Raises:
            CheckpointError: weights are not here, and may not or could not be fetched.
            ResourceError: the device's memory suffices for no captioner.
        """
        names = ["clip-vit-l14", "aesthetic-predictor", "grounding-dino-base", "sam2.1-hiera-large", self.faces,
                 "meanshape_68"]  # fmt: skip
        captioner = self.captioner
        if self.server is None:
            captioner = self._captioner_name()
            names.append(captioner)
        folders = tuple((name, os.path.abspath(self._locate(name))) for name in names)
        return replace(self, folders=folders, captioner=captioner, fetch=None)

    def __call__(self, settings: CurationSettings) -> Models:
        """The models; weights are found or fetched now, and loaded when they are first needed."""
        from magref.curation.models.aesthetics import ClipAesthetics
        from magref.curation.models.catalogue import MEAN_SHAPE_FILE
        from magref.curation.models.faces import FacePack
        from magref.curation.models.grounding import GroundingDetector
        from magref.curation.models.presets import preset
        from magref.curation.models.sam import SamSegmenter
        from magref.curation.models.shelf import Shelf

        shelf = Shelf(self.device, keep=self.keep)
        sizes = preset(shelf.device)
        fps = (settings.windows.fps or 16.0) / settings.windows.stride
        return Models(
            captioner=self._captioner(shelf, fps, sizes.clips),
            detector=GroundingDetector(
                self._locate("grounding-dino-base"), shelf=shelf,
                box_threshold=settings.boxes.least_score, batch=sizes.images,
            ),
            segmenter=SamSegmenter(self._locate("sam2.1-hiera-large"), shelf=shelf, batch=sizes.images),
            faces=FacePack(
                self._locate(self.faces), shelf=shelf, mean_shape=self._locate("meanshape_68") / MEAN_SHAPE_FILE,
                score=settings.faces.least_score, batch=sizes.pictures,
            ),
            aesthetics=ClipAesthetics(
                self._locate("clip-vit-l14"), self._head(), shelf=shelf, batch=sizes.pictures
            ),
            clips=sizes.clips,
            images=max(sizes.images, sizes.pictures),
            device=_in_words(shelf.device),
            server=self.server,
        )  # fmt: skip

    def _captioner(self, shelf: Shelf, fps: float, clips: int) -> Captioner:
        from magref.curation.models.qwen import QwenCaptioner
        from magref.curation.models.server import ServerCaptioner

        if self.server is not None:
            return ServerCaptioner(self.server, self.server_model, fps=fps)
        return QwenCaptioner(self._locate(self._captioner_name()), shelf=shelf, fps=fps, batch=clips)

    def _captioner_name(self) -> str:
        """The one that was named, or the one that this machine's device has room for."""
        from magref.curation.models.presets import preset
        from magref.placement import choose_device

        name = self.captioner or preset(choose_device(self.device)).captioner
        if name is None:
            raise ResourceError("the device's memory suffices for no captioner; give a server with --caption-server")
        return name

    def _head(self) -> Path:
        from magref.curation.models.catalogue import HEAD_FILE

        return self._locate("aesthetic-predictor") / HEAD_FILE

    def _locate(self, name: str) -> Path:
        from magref.curation.models.catalogue import locate

        return locate(name, dict(self.folders).get(name), fetch=self.fetch)


def _in_words(device: torch.device) -> str:
    import torch

    return f"cuda {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
