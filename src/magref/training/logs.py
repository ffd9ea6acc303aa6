"""Where a run's figures go: always a JSON line each, and TensorBoard, wandb or trackio as the recipe names them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from magref.errors import ResourceError


class Logger(Protocol):
    """One place for figures and pictures."""

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Note numbers of a step."""

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        """Note a picture of a step."""

    def close(self) -> None:
        """Write what is left."""


def open_loggers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """The JSON lines and those by name.

    Raises:
        ResourceError: a package is not installed.
    """
    loggers: list[Logger] = [_Lines(folder / "log.jsonl")]
    for name in names:
        try:
            loggers.append(_TensorBoard(folder) if name == "tensorboard" else _Tracker(name, folder, config))
        except ImportError:
            remedy = "pip install 'magref[train]'" if name == "tensorboard" else f"pip install {name}"
            raise ResourceError(
                f"the logger {name} is not installed; run {remedy}, or leave it out of loggers"
            ) from None
    return loggers


class _Lines:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in values.items()}}) + "\n")

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        pass  # validation writes its pictures into the run's folder itself

    def close(self) -> None:
        pass


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        self._writer.add_image(name, np.asarray(image), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class _Tracker:
    """wandb, and trackio, which has the same functions."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import importlib

        self._module = importlib.import_module(name)
        self._module.init(project="magref", name=folder.name, config=dict(config))

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        self._module.log(dict(values), step=step)

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        self._module.log({name: self._module.Image(image)}, step=step)

    def close(self) -> None:
        self._module.finish()
