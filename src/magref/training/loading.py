"""The models of a run: the transformer read piece by piece into its shards, the frozen encoders whole.

No process ever holds a whole 14B transformer where it is sharded: the model is built without memory, spread over the
processes, and each reads its own rows of each tensor from the files.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors import safe_open
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from magref.checkpoints import layout
from magref.checkpoints.architecture import check_masked_guidance, diffusers_key, transformer_config
from magref.checkpoints.headers import TensorEntry, read_json
from magref.checkpoints.parts import transformer_dtype
from magref.errors import CheckpointError
from magref.models import Model


@dataclass(frozen=True)
class StoredTransformer:
    """A transformer on disk: its sizes, and where each tensor lies, (diffusers' name -> (entry, name in the file))."""

    config: Mapping[str, Any]
    tensors: Mapping[str, tuple[TensorEntry, str]]


def find_transformer(model: Model) -> StoredTransformer:
    """The transformer of a model in a folder; reads headers only.

    Raises:
        CheckpointError: it does not take masked guidance.
    """
    if model.layout == "hub":
        raise CheckpointError(f"{model.name} lies on the hub; fetch it first with magref download {model.name}")
    if model.layout == "published":
        entries = layout.published_transformer(model.folder)
        tensors = {diffusers_key(name): (entry, name) for name, entry in entries.items()}
        stored = read_json(model.folder / layout.CONFIG)
        shapes = {name: entry.shape for name, (entry, _) in tensors.items()}
        config = transformer_config(shapes, num_heads=stored.get("num_heads"), eps=float(stored.get("eps", 1e-6)))
    else:
        entries = layout.stored_entries(model.folder)["transformer"]
        tensors = {name: (entry, name) for name, entry in entries.items()}
        stored = read_json(model.folder / "transformer" / layout.CONFIG)
        config = {key: value for key, value in stored.items() if not key.startswith("_")}
    check_masked_guidance(config, model.name)
    return StoredTransformer(config, tensors)


def build_transformer(config: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> WanTransformer3DModel:
    """A transformer of these sizes whose weights take no memory, to be filled by `fill` or `draw`.

    In a lower precision than float32, what diffusers keeps in float32 when it loads (norms, modulation, time) stays so.
    """
    with torch.device("meta"):
        model = WanTransformer3DModel.from_config(dict(config))
    kind = transformer_dtype(dtype)
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(kind(name))
    return model


def fill(model: WanTransformer3DModel, stored: StoredTransformer, device: torch.device) -> None:
    """Give a model without memory its weights, each process its own shards. Adapters get memory and no values.

    Raises:
        CheckpointError: a tensor is missing or has another shape.
    """
    names = {name: name.replace(".base_layer.", ".") for name, _ in model.named_parameters() if ".lora_" not in name}
    for name, parameter in model.named_parameters():
        if name not in names:
            continue
        if names[name] not in stored.tensors:
            raise CheckpointError(f"the transformer has no {names[name]}; give another model, or convert it again")
        shape = stored.tensors[names[name]][0].shape
        if tuple(parameter.shape) != shape:
            raise CheckpointError(f"{name} is {shape} where {tuple(parameter.shape)} is needed; give another model")
    model.to_empty(device=device)
    restore_positions(model, device)
    by_file: dict[Path, list[str]] = {}
    for name in names:
        by_file.setdefault(stored.tensors[names[name]][0].file, []).append(name)
    parameters = dict(model.named_parameters())
    for path, inside in by_file.items():
        with safe_open(path, framework="pt") as file:
            for name in inside:
                copy_own_part(parameters[name], file.get_slice(stored.tensors[names[name]][1]))


def draw(model: WanTransformer3DModel, config: Mapping[str, Any], seed: int, device: torch.device) -> None:
    """Give a model without memory random first values, as its layers draw them.

    Each layer's come from the seed and its name alone, so that a model spread over processes, of which none holds more
    than a layer of it whole, gets those of one process.
    """
    model.to_empty(device=device)
    restore_positions(model, device)
    parameters = dict(model.named_parameters())
    for name, layer in build_transformer(config).named_modules():
        prefix = f"{name}." if name else ""
        shapes = {leaf: p.shape for leaf, p in layer.named_parameters(recurse=False)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            if hasattr(layer, "reset_parameters"):
                drawn = copy.deepcopy(layer).to_empty(device="cpu")
                drawn.reset_parameters()
                values = {leaf: drawn.get_parameter(leaf).detach() for leaf in shapes}
            else:  # the tables of modulation, as diffusers draws them
                values = {leaf: torch.randn(shape) / shape[-1] ** 0.5 for leaf, shape in shapes.items()}
        for leaf, value in values.items():
            copy_own_part(parameters[prefix + leaf], value)


@torch.no_grad()
def copy_own_part(parameter: torch.nn.Parameter, source: Any) -> None:
    """Copy a tensor, or a slice of a file, or of either this process's part, which may be empty."""
    if not isinstance(parameter, DTensor):
        parameter.copy_(source[:])
        return
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    if all(shape):
        part = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
        parameter.to_local().copy_(source[part])


def restore_positions(model: WanTransformer3DModel, device: torch.device) -> None:
    """Compute the rotary tables anew: they are not stored, and a model built without memory has none."""
    rope = model.rope
    fresh = type(rope)(rope.attention_head_dim, rope.patch_size, rope.max_seq_len)
    model.rope = fresh.to(device)


def load_encoders(model: Model, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any, Any, Any]:
    """VAE (float32), text encoder, tokenizer and image encoder (or None) of a model, without its transformer."""
    if model.layout == "published":
        from magref.checkpoints.published import load_tokenizer, published_parts

        parts = published_parts(model.folder, torch_dtype=dtype)
        image_encoder = parts.image_encoder.load() if parts.image_encoder else None
        loaded = (parts.vae.load(), parts.text_encoder.load(), load_tokenizer(parts.tokenizer_folder), image_encoder)
    else:
        from transformers import AutoTokenizer, CLIPVisionModel, UMT5EncoderModel

        folder = model.folder
        index = read_json(folder / layout.MODEL_INDEX)
        has_image_encoder = (index.get("image_encoder") or [None])[0] is not None
        loaded = (
            AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=torch.float32),
            UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=dtype),
            AutoTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True),
            CLIPVisionModel.from_pretrained(folder / "image_encoder", dtype=dtype) if has_image_encoder else None,
        )
    vae, text_encoder, tokenizer, image_encoder = loaded
    moved = [m if m is None else m.to(device).eval().requires_grad_(False) for m in (vae, text_encoder, image_encoder)]
    return moved[0], moved[1], tokenizer, moved[2]


def initialise(build: Callable[[], torch.nn.Module], seed: int) -> Any:
    """Build a model with random weights that depend on the seed alone, the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
