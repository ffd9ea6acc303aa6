"""A model that has been checked but not read: an empty model, and where each of its tensors comes from.

Loading and converting walk the same parts, one tensor at a time, so that a float32 14B never exists in memory whole.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import WanTransformer3DModel

from magref.checkpoints.architecture import Shape, check_shapes
from magref.checkpoints.headers import TensorEntry
from magref.errors import CheckpointError

Read = Callable[[], torch.Tensor]
DtypeOf = Callable[[str], torch.dtype]


@dataclass(frozen=True)
class Part:
    """One model of a checkpoint.

    `model` is on the meta device; `reads` has one function for every tensor that `model` needs, in the order in which
    they lie on disk; `dtype_of` says in which precision a tensor is to be held.
    """

    model: Any
    reads: Mapping[str, Read]
    dtype_of: DtypeOf

    def shape(self, name: str) -> Shape:
        """The shape of one tensor, without reading it."""
        return tuple(self.model.get_parameter(name).shape)

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor, in its precision."""
        return self.reads[name]().to(self.dtype_of(name))

    def load(self) -> Any:
        """Fill the model and return it, ready for inference; one tensor beyond the model is in memory at a time."""
        for name in self.reads:
            module, _, leaf = name.rpartition(".")
            setattr(self.model.get_submodule(module), leaf, torch.nn.Parameter(self.tensor(name)))
        if hasattr(self.model, "tie_weights"):
            self.model.tie_weights()
        return self.model.eval()


def make_part(
    build: Callable[[], Any], shapes: Mapping[str, Shape], reads: Mapping[str, Read], dtype_of: DtypeOf, source: object
) -> Part:
    """Build the empty model and check that these tensors are exactly the ones it needs.

    Args:
        build: makes the model; called where parameters take no memory.
        shapes: name in the model -> shape of what `reads` gives for it.
        reads: name in the model -> reads the tensor.
        dtype_of: name in the model -> precision.
        source: what the errors name.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    with init_empty_weights(include_buffers=False):
        model = build()
    tied = getattr(model, "_tied_weights_keys", None) or ()  # umT5 has its embedding under two names, files under one
    needed = {name: tuple(p.shape) for name, p in model.named_parameters() if name not in tied}
    check_shapes(shapes, needed, source)
    return Part(model, reads, dtype_of)


def always(dtype: torch.dtype) -> DtypeOf:
    """Every tensor in one precision."""
    return lambda name: dtype


def transformer_dtype(dtype: torch.dtype) -> DtypeOf:
    """The transformer's precision: what diffusers keeps in float32 (norms, modulation, time) stays there.

    As `WanTransformer3DModel.from_pretrained` does it, so that a model loaded, saved and loaded again is equal to the
    bit.
    """
    kept: Sequence[str] = WanTransformer3DModel._keep_in_fp32_modules
    return lambda name: torch.float32 if any(part in kept for part in name.split(".")) else dtype


def read_tensor(entry: TensorEntry) -> torch.Tensor:
    """Read one tensor of a safetensors file into memory of its own (no mapping of the file stays behind).

    Raises:
        CheckpointError: the file went away, changed, or has a dtype that torch does not know.
    """
    dtype = getattr(torch, entry.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise CheckpointError(
            f"{entry.file} has tensors of type {entry.dtype}, which cannot be read; give another file"
        )
    buffer = bytearray(entry.nbytes)
    try:
        with entry.file.open("rb") as file:
            file.seek(entry.start)
            count = file.readinto(buffer)
    except OSError as error:
        raise CheckpointError(f"{entry.file} cannot be read ({error.strerror}); check the disk") from None
    if count != entry.nbytes:
        raise CheckpointError(f"{entry.file} changed while it was being read; try again")
    if not buffer:
        return torch.empty(entry.shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).view(entry.shape)


def read_torch_file(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .pth file, mapped from disk where its format allows.

    Only tensors are unpickled (`weights_only=True`): a file cannot run code here.

    Raises:
        CheckpointError: the file holds anything else, or is damaged.
    """
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"  # torch's format before 1.6 cannot be mapped
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds more than tensors and could run code, so it is refused; get it from the model's authors"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError):
        raise CheckpointError(f"{path} is damaged; download this file again") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise CheckpointError(f"{path} is not a dictionary of tensors; download this file again")
    return tensors
