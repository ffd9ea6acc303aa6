"""Opening a transformers model from a folder: all of its weights or an error, on the device from the start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from magref.checkpoints.headers import read_headers, some
from magref.errors import CheckpointError

T = TypeVar("T")


def load_pretrained(kind: Any, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A transformers model in evaluation mode, its weights read from safetensors.

    transformers fills weights that a file lacks with random numbers and says so in its log; here that is an error.

    Raises:
        CheckpointError: a file is missing, cut off, or of another model.
    """
    read_headers(folder, "model")
    model, report = opened(
        folder,
        lambda: kind.from_pretrained(
            str(folder),
            dtype=dtype,
            device_map={"": device},
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        ),
    )
    absent = [*report["missing_keys"], *(str(entry[0]) for entry in report["mismatched_keys"])]
    if absent:
        raise CheckpointError(
            f"{folder} lacks {some(absent)} of a {kind.__name__}; give the folder of that model, or download it again"
        )
    return model.eval()


def opened(path: Path, load: Callable[[], T]) -> T:
    """What `load` reads from the folder or file; whatever the libraries raise becomes one sentence."""
    try:
        return load()
    except Exception as error:  # the libraries raise whatever the files provoke
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise CheckpointError(f"{path} cannot be opened ({reason}); download it again, or give another") from error


def batches(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """The items, `size` at a time."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
