"""The authors' layout into diffusers' layout, tensor by tensor.

What is in memory at any time is one tensor; the .pth files are mapped, so their pages belong to the system's cache.
The result is written beside its final name and renamed when it is whole.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import diffusers
import torch
from diffusers import UniPCMultistepScheduler

from magref.checkpoints.headers import TORCH_DTYPES
from magref.checkpoints.layout import MODEL_INDEX
from magref.checkpoints.parts import Part
from magref.checkpoints.published import PublishedParts, load_tokenizer, published_parts
from magref.errors import OutputError, ResourceError
from magref.settings import GenerationDefaults

Progress = Callable[[str, int, int], None]
"""Called with what is being written, bytes done and bytes in all."""

_SAFETENSORS_DTYPES = {torch_name: name for name, torch_name in TORCH_DTYPES.items()}
_SPARE_BYTES = 64 << 20
"""Room for tokenizer, configurations and headers."""


@dataclass(frozen=True)
class _Stored:
    """One tensor of the result."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def convert_published(
    folder: str | Path,
    destination: str | Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    max_shard_size: int = 5_000_000_000,
    overwrite: bool = False,
    clip_num_heads: int | None = None,
    without: Collection[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Write a published checkpoint as a folder that `MagrefPipeline.from_pretrained` opens.

    Args:
        folder: in the published layout.
        destination: the folder to write; it appears under this name only when it is complete.
        dtype: of transformer, text encoder and image encoder; the VAE stays float32, as do the transformer's norms,
            modulation and time embedding.
        max_shard_size: in bytes, of one weights file.
        overwrite: replace an earlier conversion at `destination`; it is removed only after the new one is in place.
        clip_num_heads: as for `load_published`.
        without: components that are left out, for someone else to write.
        progress: called after each tensor.

    Returns:
        The destination.

    Raises:
        CheckpointError: the published checkpoint is not complete or not of this architecture; nothing was written.
        OutputError: the destination exists, or cannot be written.
        ResourceError: the disk has too little room.
    """
    source, destination = Path(os.path.expanduser(folder)), Path(os.path.expanduser(destination))
    parts = published_parts(source, torch_dtype=dtype, clip_num_heads=clip_num_heads)
    tokenizer = load_tokenizer(parts.tokenizer_folder)
    _check_destination(source, destination, overwrite)
    wanted = {name: part for name, part in _components(parts).items() if name not in without}
    total = sum(tensor.nbytes for part in wanted.values() for tensor in _stored(part))
    with _written_aside(destination.resolve(), total + _SPARE_BYTES) as aside:
        done = 0
        for component, part in wanted.items():
            for nbytes in _write_component(aside / component, part, max_shard_size):
                done += nbytes
                if progress:
                    progress(component, done, total)
        shutil.copytree(parts.tokenizer_folder, aside / "tokenizer", copy_function=shutil.copyfile)
        scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
        scheduler.save_pretrained(aside / "scheduler")
        _write_json(aside / MODEL_INDEX, _model_index(parts, tokenizer, scheduler))
    return destination


def _components(parts: PublishedParts) -> dict[str, Part]:
    found = {"transformer": parts.transformer, "vae": parts.vae, "text_encoder": parts.text_encoder}
    if parts.image_encoder:
        found["image_encoder"] = parts.image_encoder
    return found


def _model_index(parts: PublishedParts, tokenizer: Any, scheduler: Any) -> dict[str, Any]:
    """What diffusers reads first: the pipeline's class, the class of each component, and the pipeline's settings."""
    classes = {name: type(part.model).__name__ for name, part in _components(parts).items()}
    return {
        "_class_name": "MagrefPipeline",
        "_diffusers_version": diffusers.__version__,
        "generation_defaults": GenerationDefaults(text_tokens=parts.text_tokens).model_dump(),
        "image_encoder": ["transformers", classes["image_encoder"]] if "image_encoder" in classes else [None, None],
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", classes["text_encoder"]],
        "tokenizer": ["transformers", type(tokenizer).__name__],
        "transformer": ["diffusers", classes["transformer"]],
        "vae": ["diffusers", classes["vae"]],
    }


def _write_component(folder: Path, part: Part, max_shard_size: int) -> Iterator[int]:
    """Write one model's configuration and weights; yields the bytes of each tensor once it is written."""
    folder.mkdir()
    tensors = _stored(part)
    if hasattr(part.model, "save_config"):  # diffusers
        part.model.save_config(folder)
        stem = "diffusion_pytorch_model"
    else:  # transformers
        part.model.config.architectures = [type(part.model).__name__]
        part.model.config.dtype = max((t.dtype for t in tensors), key=[t.dtype for t in tensors].count)
        part.model.config.save_pretrained(folder)
        stem = "model"
    shards = _split(tensors, max_shard_size)
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        suffix = f"-{number:05}-of-{len(shards):05}" if len(shards) > 1 else ""
        file_name = f"{stem}{suffix}.safetensors"
        weight_map.update({tensor.name: file_name for tensor in shard})
        with (folder / file_name).open("wb") as file:
            yield from _write_safetensors(file, shard, part)
    if len(shards) > 1:
        total_size = sum(tensor.nbytes for tensor in tensors)
        index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
        _write_json(folder / f"{stem}.safetensors.index.json", index)


def _write_safetensors(file: BinaryIO, tensors: list[_Stored], part: Part) -> Iterator[int]:
    """One safetensors file, written as its tensors are read (safetensors' own writer takes them all at once).

    Wide dtypes come first, so that every tensor is aligned to its own size.
    """
    tensors = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": _SAFETENSORS_DTYPES[str(tensor.dtype).removeprefix("torch.")],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.nbytes],
        }
        position += tensor.nbytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write(len(encoded).to_bytes(8, "little") + encoded)
    for tensor in tensors:
        values = part.tensor(tensor.name).contiguous().reshape(-1)
        file.write(values.view(torch.uint8).numpy().data)
        yield tensor.nbytes


def _stored(part: Part) -> list[_Stored]:
    return [_Stored(name, part.shape(name), part.dtype_of(name)) for name in part.reads]


def _split(tensors: list[_Stored], max_shard_size: int) -> list[list[_Stored]]:
    """Successive tensors in shards of at most `max_shard_size` bytes; a larger tensor has a shard of its own."""
    shards: list[list[_Stored]] = []
    size = 0
    for tensor in tensors:
        if not shards or size + tensor.nbytes > max_shard_size:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    return shards


def _check_destination(source: Path, destination: Path, overwrite: bool) -> None:
    target, origin = destination.resolve(), source.resolve()
    if target == origin or target in origin.parents:
        raise OutputError(f"{destination} holds the checkpoint that is to be converted; name another folder")
    if not destination.exists():
        return
    if not overwrite:
        raise OutputError(f"{destination} exists; name another folder, or allow it to be overwritten")
    if not (destination / MODEL_INDEX).is_file():  # whatever this is, it is not ours to replace
        raise OutputError(f"{destination} exists and is not a model in diffusers' layout; name another folder")


@contextmanager
def _written_aside(destination: Path, nbytes: int) -> Iterator[Path]:
    """A folder beside `destination` that takes its name if all goes well and disappears if not."""
    aside = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(destination.parent).free
        if free < nbytes:
            raise ResourceError(
                f"{destination.parent} has {free / 1e9:.1f} GB free and the model needs {nbytes / 1e9:.1f} GB; "
                "free some space or name a folder on another disk"
            )
        aside.mkdir()
    except OSError as error:
        raise OutputError(f"{destination} cannot be written ({error.strerror}); name another folder") from None
    try:
        yield aside
        _put_in_place(aside, destination)
    except OSError as error:
        raise OutputError(
            f"{destination} could not be written ({error.strerror or error}); nothing was kept, "
            "free some space or name another folder"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put_in_place(aside: Path, destination: Path) -> None:
    """Give the finished folder its name; an earlier one is removed after that, and put back if that fails."""
    if not destination.exists():
        aside.rename(destination)
        return
    earlier = destination.with_name(f".{destination.name}.{os.getpid()}.earlier")
    destination.rename(earlier)
    try:
        aside.rename(destination)
    except BaseException:
        earlier.rename(destination)
        raise
    try:
        shutil.rmtree(earlier)
    except OSError:
        raise OutputError(f"{destination} is complete, but {earlier} could not be removed; delete it") from None


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
