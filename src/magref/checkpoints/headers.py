"""What a safetensors file holds, read from its header alone, and a clear word when the file is not whole.

The format: 8 bytes with the header's length, the header as JSON (name -> dtype, shape, byte range), the bytes.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magref.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000
TORCH_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""Names of dtypes in safetensors headers -> names in torch."""


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: `dtype` is torch's name for it, `start` counts from the beginning of `file`."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    start: int
    nbytes: int


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one safetensors file.

    Raises:
        CheckpointError: the file is missing, is not safetensors, or has fewer or more bytes than its header promises.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the download is incomplete, fetch this file again")
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if prefix == b"version ":  # the first line of a Git LFS pointer
                raise CheckpointError(f"{path} is a Git LFS pointer, not the weights; run git lfs pull in its folder")
            if size < 8 or (0 < length <= MAX_HEADER_BYTES and size < 8 + length):
                raise CheckpointError(f"{path} is truncated after {size:,} bytes; download this file again")
            if not 0 < length <= MAX_HEADER_BYTES:
                raise CheckpointError(f"{path} is not a safetensors file; give one, or a folder that holds the model")
            header = json.loads(file.read(length))
        entries = {k: _entry(path, v, 8 + length) for k, v in header.items() if k != "__metadata__"}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path} is not a safetensors file that can be read; download this file again") from None
    promised = max((e.start + e.nbytes for e in entries.values()), default=8 + length)
    if size != promised:
        state = "truncated" if size < promised else "damaged"
        raise CheckpointError(
            f"{path} is {state}: it has {size:,} bytes and its header promises {promised:,}; download this file again"
        )
    return entries


def read_headers(folder: Path, stem: str) -> dict[str, TensorEntry]:
    """The tensors of `stem`.safetensors, or of all the shards that `stem`.safetensors.index.json lists.

    Raises:
        CheckpointError: neither exists, a shard is missing or not whole, or shards and index disagree.
    """
    index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
    if not index.is_file():
        return read_header(single)
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} lists no tensors; download this file again")
    entries: dict[str, TensorEntry] = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard:  # an index is data: it must not lead out of its folder
            raise CheckpointError(f"{index} names {shard!r}, which is not a file beside it; download this file again")
        entries.update(read_header(folder / shard))
    lost = [name for name in weight_map if name not in entries]
    if lost:
        raise CheckpointError(f"{index} lists {some(lost)}, absent from its shards; download the shards again")
    return entries


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object; CheckpointError where the file is missing or is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; the download is incomplete, fetch this file again") from None
    except (OSError, ValueError):
        raise CheckpointError(f"{path} is not JSON that can be read; download this file again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object; download this file again")
    return value


def some(names: Iterable[str], count: int = 3) -> str:
    """The first names of a long list, in words."""
    ordered = sorted(names)
    return ", ".join(ordered[:count]) + (f" and {len(ordered) - count} more" if len(ordered) > count else "")


def _entry(path: Path, value: dict[str, Any], data_start: int) -> TensorEntry:
    begin, end = value["data_offsets"]
    dtype = TORCH_DTYPES.get(value["dtype"], value["dtype"])
    return TensorEntry(path, tuple(map(int, value["shape"])), dtype, data_start + int(begin), int(end) - int(begin))
