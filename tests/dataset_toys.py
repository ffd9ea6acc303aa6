"""A small dataset's clips, subjects and samples: what the tests of datasets share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magref.cli import main
from magref.dataset.check import check_dataset
from magref.dataset.format import DatasetInfo, Provenance
from magref.dataset.store import DatasetWriter, NewPicture, NewSubject

INFO = DatasetInfo(name="toys", license="CC0-1.0")
CAPTION = "A man in a red hat throws a ball in the park."


def video(frames: int = 6, value: int = 90) -> np.ndarray:
    clip = np.full((frames, 32, 48, 3), value, dtype=np.uint8)
    clip[:, 8:20, 10:30] = np.arange(frames, dtype=np.uint8)[:, None, None, None] * 20
    return clip


def cut_out(colour: tuple[int, int, int], alpha: int = 255) -> Image.Image:
    image = Image.new("RGBA", (20, 24), (0, 0, 0, 0))
    image.paste((*colour, alpha), (4, 4, 16, 20))
    return image


def subjects() -> list[NewSubject]:
    faces = [NewPicture(cut_out((200, 10 * n, 0)), frame=n, box=(4, 4, 16, 20), score=0.9 - n / 10) for n in range(3)]
    return [
        NewSubject("man", "person", faces, label="a man in a red hat", identity="man-1"),
        NewSubject("ball", "object", [NewPicture(cut_out((0, 0, 250)))], label="ball"),
        NewSubject("park", "background", [NewPicture(Image.new("RGB", (48, 32), "green"))], label="the lake"),
    ]


def add(writer: DatasetWriter, name: str = "one", **changes):
    inside = np.zeros((32, 48), dtype=bool)
    inside[8:20, 10:30] = True
    given = {"fps": 16.0, "window": (1, 6), "masks": {("man", 2): inside}, "provenance": Provenance(source="film.mp4")}
    return writer.add(name, CAPTION, video(), subjects(), **given | changes)


def save_toys(folder: Path) -> Path:
    """A dataset of two samples, the second without masks."""
    with DatasetWriter(folder, INFO) as writer:
        add(writer, "one")
        add(writer, "two.b", masks=None)
    return folder


def problems(folder, **options) -> list[str]:
    return [f"{p.sample}: {p.sentence}" for p in check_dataset(folder, **options)]


def run(*arguments) -> int:
    """The command's exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code
