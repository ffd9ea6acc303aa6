"""Where a run's figures go: always a JSON line each, and TensorBoard, wandb or trackio as the recipe names them."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from magref.errors import ResourceError
from magref.outputs import append


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
        OutputError: the folder cannot be written.
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
        self._path = path

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        line = json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in values.items()}})
        append(self._path, f"{line}\n".encode())

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        pass  # validation writes its pictures into the run's folder itself

    def close(self) -> None:
        pass


class _TensorBoard:
    """An event file of its own for each part of a run.

    Torch's SummaryWriter writes in a thread, which on a full disk dies with a traceback and leaves half an event.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from torch.utils.tensorboard import summary

        self._event, self._summary = Event, summary
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / "tensorboard" / name
        self._write([Event(wall_time=time.time(), file_version="brain.Event:2")])

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        self._add(step, [self._summary.scalar(name, value) for name, value in values.items()])

    def picture(self, step: int, name: str, image: Image.Image) -> None:
        self._add(step, [self._summary.image(name, np.asarray(image), dataformats="HWC")])

    def close(self) -> None:
        pass

    def _add(self, step: int, summaries: Sequence[Any]) -> None:
        self._write([self._event(wall_time=time.time(), step=step, summary=each) for each in summaries])

    def _write(self, events: Sequence[Any]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        records = io.BytesIO()
        for event in events:
            RecordWriter(records).write(event.SerializeToString())
        append(self._path, records.getvalue())


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
