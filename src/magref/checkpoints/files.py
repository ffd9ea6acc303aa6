"""Transformers in one file, as the community shares them.

Original or diffusers names, with or without a prefix; float32 to fp8; "scaled fp8", where each weight comes with a
factor; GGUF.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel

from magref.checkpoints.architecture import (
    Shape,
    check_masked_guidance,
    diffusers_key,
    transformer_config,
)
from magref.checkpoints.headers import TensorEntry, read_header
from magref.checkpoints.parts import Read, make_part, read_tensor, transformer_dtype
from magref.errors import CheckpointError, ResourceError

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "")
SCALES = (".scale_weight", ".weight_scale")
NOT_WEIGHTS = (".scale_input", ".input_scale", ".comfy_quant")
MARKER = "scaled_fp8"
"""An empty tensor that says: the weights of this file have to be multiplied by their scales."""


def load_transformer_file(
    path: str | Path, *, like: Mapping[str, Any] | None = None, torch_dtype: torch.dtype = torch.bfloat16
) -> WanTransformer3DModel:
    """Load a transformer from a single safetensors or GGUF file, at most one tensor beyond the model in memory.

    Args:
        path: the file.
        like: the configuration of the transformer that it replaces (`pipe.transformer.config`); left out, sizes come
            from the tensors and heads are 128 wide.
        torch_dtype: what fp8 and other weights are held in. A GGUF file's quantised weights stay as they are, and are
            computed with in this precision.

    Raises:
        CheckpointError: the file is missing, truncated, of an unknown kind, or of another architecture.
        ResourceError: a GGUF file, and the package gguf is not installed.
    """
    path = Path(os.path.expanduser(path))
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name one .safetensors or .gguf file")
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; check its path")
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    return _load_gguf(path, like, torch_dtype) if is_gguf else _load_safetensors(path, like, torch_dtype)


def _load_safetensors(path: Path, like: Mapping[str, Any] | None, dtype: torch.dtype) -> WanTransformer3DModel:
    entries = _transformer_names(read_header(path), path)
    scales = {}
    weights = {}
    for name, entry in entries.items():
        if suffix := next((s for s in SCALES if name.endswith(s)), None):
            scales[name.removesuffix(suffix) + ".weight"] = entry
        elif name != MARKER and not name.endswith(NOT_WEIGHTS) and "norm_added_q" not in name:
            weights[name] = entry
    if orphans := scales.keys() - weights.keys():
        raise CheckpointError(f"{path} has a scale but no weight for {min(orphans)}; download this file again")
    for name, entry in weights.items():
        if not entry.dtype.startswith(("float", "bfloat")):
            raise CheckpointError(
                f"{path} stores {name} as {entry.dtype}, a quantisation that is not known here; give fp8, bf16 or GGUF"
            )
        if entry.dtype.startswith("float8") and MARKER in entries and name.endswith(".weight") and name not in scales:
            raise CheckpointError(f"{path} is marked as scaled fp8 but {name} has no scale; download this file again")
    reads: dict[str, Read] = {
        name: partial(_read_scaled, entry, scales.get(name))
        for name, entry in sorted(weights.items(), key=lambda item: item[1].start)
    }
    shapes = {name: entry.shape for name, entry in weights.items()}
    config = _config(shapes, like, path)
    part = make_part(lambda: WanTransformer3DModel(**config), shapes, reads, transformer_dtype(dtype), path)
    return part.load()


def _read_scaled(entry: TensorEntry, scale: TensorEntry | None) -> torch.Tensor:
    """One weight, times its scale: a scalar, or one number for each output (row)."""
    tensor = read_tensor(entry)
    if scale is None:
        return tensor
    factor = read_tensor(scale).float()
    if factor.numel() not in (1, tensor.shape[0]):
        raise CheckpointError(f"{entry.file} has a scale of shape {scale.shape} for {entry.shape}; give another file")
    return tensor.float() * factor.view(-1, *[1] * (tensor.ndim - 1))


def _transformer_names(entries: Mapping[str, TensorEntry], path: Path) -> dict[str, TensorEntry]:
    """The transformer's tensors under diffusers' names; those of other models in the same file are left out."""
    prefix = next((p for p in PREFIXES if f"{p}patch_embedding.weight" in entries), None)
    if prefix is None:
        raise CheckpointError(f"{path} holds no Wan transformer (no patch_embedding.weight); give another file")
    inside = {name.removeprefix(prefix): entry for name, entry in entries.items() if name.startswith(prefix)}
    return {_to_diffusers(name, inside): entry for name, entry in inside.items()}


def _to_diffusers(name: str, names: Mapping[str, Any]) -> str:
    return name if "condition_embedder.time_proj.weight" in names else diffusers_key(name)


def _config(shapes: Mapping[str, Shape], like: Mapping[str, Any] | None, path: Path) -> dict[str, Any]:
    """The configuration to build: sizes from the tensors; heads and eps, which they do not tell, from `like`."""
    like = like or {}
    try:
        config = transformer_config(shapes, num_heads=like.get("num_attention_heads"), eps=like.get("eps", 1e-6))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    check_masked_guidance(config, path)
    for key, value in config.items():
        wanted = like.get(key, value)
        if (tuple(wanted) if isinstance(wanted, (list, tuple)) else wanted) != value:
            raise CheckpointError(
                f"{path} has {key} {value} where the model it is to replace has {wanted}; give weights of that size"
            )
    return config


def _load_gguf(path: Path, like: Mapping[str, Any] | None, dtype: torch.dtype) -> WanTransformer3DModel:
    """Through diffusers, whose linear layers keep GGUF's blocks and unpack them as they compute."""
    if importlib.util.find_spec("gguf") is None:
        raise ResourceError(f"{path} is a GGUF file, which needs an extra package; run pip install 'magref[gguf]'")
    from diffusers import GGUFQuantizationConfig
    from gguf import GGUFReader

    try:
        # ggml lists sizes from the innermost axis outwards.
        stored = {t.name: tuple(int(n) for n in reversed(t.shape)) for t in GGUFReader(path).tensors}
    except (ValueError, KeyError, IndexError, OSError):
        raise CheckpointError(f"{path} is a damaged or truncated GGUF file; download this file again") from None
    stored = {name.removeprefix(PREFIXES[0]): shape for name, shape in stored.items()}  # as diffusers does
    shapes = {_to_diffusers(name, stored): shape for name, shape in stored.items() if "norm_added_q" not in name}
    config = _config(shapes, like, path)
    # Checked here, before anything is read: diffusers' own message would come after minutes and name a byte shape.
    empty = make_part(lambda: WanTransformer3DModel(**config), shapes, {}, transformer_dtype(dtype), path).model
    with tempfile.TemporaryDirectory() as folder:
        empty.save_config(folder)  # from_single_file would look for a configuration on the hub
        try:
            return WanTransformer3DModel.from_single_file(
                str(path),
                config=folder,
                quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
                torch_dtype=dtype,
            )
        except (ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} cannot be loaded by diffusers ({error}); give another quantisation"
            ) from None
