"""The world as training samples on disk, through the dataset's own writer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field, model_validator

from magref import __version__
from magref.dataset.format import DatasetInfo, Provenance
from magref.dataset.store import DatasetWriter, NewPicture, NewSubject
from magref.settings import Record
from magref.synthetic.plans import WorldConfig
from magref.synthetic.splits import Split
from magref.synthetic.world import Scenes, render_scenes

LICENSE = "CC0-1.0"
_PAD_PX = 2


class SampleSettings(Record):
    """What samples are like; kept in the dataset, so that it goes on only with the same."""

    frames: Annotated[int, Field(ge=1, le=1000)] = 17
    height: Annotated[int, Field(ge=32, le=2160)] = 64
    width: Annotated[int, Field(ge=32, le=3840)] = 96
    fps: Annotated[float, Field(gt=0, le=120)] = 16.0
    seed: Annotated[int, Field(ge=0, lt=2**30)] = 0
    split: Split = "train"
    world: WorldConfig = WorldConfig()

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.height % 2 or self.width % 2:
            raise ValueError(f"a video of {self.width}x{self.height} cannot be an .mp4; use even sides")
        return self


@dataclass(frozen=True)
class Written:
    """One sample of the dataset; `new` is False where it was there already."""

    name: str
    new: bool


def write_samples(
    folder: str | Path,
    settings: SampleSettings,
    *,
    count: int,
    batch: int = 16,
    name: str | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Written]:
    """Write samples 0 to `count` - 1, or those that are missing; yields each as it is done.

    Raises:
        OutputError: the folder holds something else, or samples made with other settings.
    """
    info = DatasetInfo(
        name=name or f"synthetic-{settings.split}",
        license=LICENSE,
        description=f"made by magref.synthetic with {settings.model_dump_json()}",
    )
    with DatasetWriter(folder, info) as writer:
        names = {index: f"{settings.split}-{settings.seed}-{index:07d}" for index in range(count)}
        missing = [index for index in names if names[index] not in writer]
        yield from (Written(names[index], False) for index in names if names[index] in writer)
        for start in range(0, len(missing), batch):
            indices = missing[start : start + batch]
            scenes = render_scenes(
                indices, frames=settings.frames, height=settings.height, width=settings.width, seed=settings.seed,
                split=settings.split, config=settings.world, device=device,
            )  # fmt: skip
            for row, index in enumerate(indices):
                add_sample(writer, names[index], scenes, row, settings)
                yield Written(names[index], True)


def add_sample(writer: DatasetWriter, name: str, scenes: Scenes, row: int, settings: SampleSettings) -> None:
    """Write one clip of a batch as a sample."""
    truth = scenes.truths[row]
    subjects, masks = [], {}
    for n, known in enumerate(truth.subjects):
        key = f"{known.kind}-{n + 1}"
        pictures = [NewPicture(picture_of(picture, settings.world)) for picture in scenes.references[row, n]]
        subjects.append(
            NewSubject(key, known.role, pictures, known.label, known.span, identity=f"{known.kind}-{known.identity}")
        )
        if known.role == "person":
            masks.update(_masks(key, scenes.masks[row, n]))
    if truth.place is not None:
        picture = Image.fromarray(scenes.backgrounds[row].permute(1, 2, 0).cpu().numpy())
        subjects.append(
            NewSubject(
                "background", "background", [NewPicture(picture)], truth.place_label, truth.place_span,
                identity=f"{truth.place}-{truth.place_number}",
            )
        )  # fmt: skip
    writer.add(
        name,
        truth.caption,
        scenes.frames[row].permute(0, 2, 3, 1).cpu().numpy(),
        subjects,
        fps=settings.fps,
        masks=masks,
        provenance=Provenance(
            source=f"magref.synthetic, split {settings.split}, seed {settings.seed}, sample {truth.index}",
            license=LICENSE,
            made_by=f"magref {__version__}",
        ),
    )


def picture_of(picture: torch.Tensor, world: WorldConfig) -> Image.Image:
    """(4, S, S) uint8 RGBA -> a reference: cut out, but not for staged clips, which are drawn to its whole size."""
    return as_image(picture) if world.staged else cut_out(picture)


def as_image(picture: torch.Tensor) -> Image.Image:
    """(4, S, S) uint8 RGBA -> all of it."""
    return Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())


def cut_out(picture: torch.Tensor) -> Image.Image:
    """(4, S, S) uint8 RGBA -> what is visible of it, with a little room."""
    image = as_image(picture)
    box = image.getchannel("A").point(lambda alpha: 255 if alpha > 25 else 0).getbbox()
    if box is None:
        return image
    left, top, right, bottom = box
    return image.crop(
        (
            max(left - _PAD_PX, 0),
            max(top - _PAD_PX, 0),
            min(right + _PAD_PX, image.width),
            min(bottom + _PAD_PX, image.height),
        )
    )


def _masks(key: str, masks: torch.Tensor) -> dict[tuple[str, int], npt.NDArray[np.bool_]]:
    """Where a person is in the first, the middle and the last of the frames that show it; `masks` (F, H, W)."""
    seen = torch.nonzero(masks.flatten(1).any(dim=1)).flatten().tolist()
    chosen = sorted({seen[0], seen[len(seen) // 2], seen[-1]}) if seen else []
    return {(key, frame): masks[frame].cpu().numpy() for frame in chosen}
