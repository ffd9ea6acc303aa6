"""LoRA files for Wan2.1 in the namings that trainers write, checked against a transformer and read as diffusers wants.

Every layer of the transformer is looked up by all the ways to write its name, so a file may hold any part of the
layers. Besides the two factors a file may hold the change of a layer's bias (`diff_b`) or of its whole weight (`diff`).
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magref.checkpoints.architecture import Shape, Shapes, diffusers_key
from magref.checkpoints.headers import TensorEntry, read_header, read_json, some
from magref.errors import CheckpointError, InputError

if TYPE_CHECKING:
    import torch

DIFFUSERS_SETTINGS = "lora_adapter_metadata"
"""Where diffusers keeps a LoRA's settings, alpha among them, in the metadata of the safetensors file."""
PEFT_FILE, PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"
"""Where peft keeps them: beside the weights."""

_LOG = logging.getLogger(__name__)

_PREFIX = re.compile(r"((base_model|model|diffusion_model|transformer|unet|pipe|dit)\.)*")
_KOHYA = "lora_unet_"
_DOWN, _UP = r"(?:lora_A|lora_down|lora\.down)(?:\.[^.]+)?", r"(?:lora_B|lora_up|lora\.up)(?:\.[^.]+)?"
_KEY = re.compile(
    rf".+?\.(?:(?P<A>{_DOWN}\.weight)|(?P<B>{_UP}\.weight)|(?P<bias>diff_b|{_UP}\.bias)|(?P<diff>diff)|(?P<alpha>alpha)"
    r"|(?P<other>diff_m|dora_scale))"
)

_BLOCK_LAYERS = (
    *(f"{attention}.{layer}" for attention in ("self_attn", "cross_attn") for layer in "qkvo"),
    *("cross_attn.k_img", "cross_attn.v_img", "ffn.0", "ffn.2"),
)
_OUTER_LAYERS = (
    *(f"{part}.{layer}" for part in ("text_embedding", "time_embedding") for layer in (0, 2)),
    *("patch_embedding", "time_projection.1", "img_emb.proj.1", "img_emb.proj.3", "head.head"),
)


@dataclass(frozen=True)
class _Change:
    """What a file holds for one layer: `name` is the layer's name in the file, `tensors` has the groups of `_KEY`."""

    name: str
    tensors: dict[str, TensorEntry] = field(default_factory=dict)


def split_lora(text: str) -> tuple[Path, float]:
    """Path and scale from "file.safetensors:0.8"; the scale is 1 where none is given."""
    path, _, number = text.rpartition(":")
    try:
        scale = float(number)
    except ValueError:
        path, scale = text, 1.0
    if not math.isfinite(scale):
        raise InputError(f"the scale {number} of the LoRA {path} is no number to multiply with; use 0 to 2")
    return Path(os.path.expanduser(path)), scale


def check_lora(path: str | Path, shapes: Shapes) -> None:
    """Raise CheckpointError unless this LoRA fits a transformer with these tensors; reads the file's header only.

    Args:
        path: a safetensors file.
        shapes: name in diffusers -> shape, of the transformer before any LoRA is loaded.
    """
    _changes(Path(os.path.expanduser(path)), shapes)


def read_lora(path: str | Path, shapes: Shapes) -> dict[str, torch.Tensor]:
    """The LoRA under diffusers' names, as `load_lora_weights` takes it; its alphas are multiplied into lora_B.

    What diffusers has no place for (changes of norms, of the modulation and of the patch embedding, DoRA's scales) is
    left out, with a warning in the log where it is not zero.

    Args:
        path: a safetensors file.
        shapes: name in diffusers -> shape, of the transformer before any LoRA is loaded.

    Raises:
        CheckpointError: the file is missing, not whole, no LoRA, or made for another model.
    """
    path = Path(os.path.expanduser(path))
    changes, left_out = _changes(path, shapes)
    scaling = _scaling(path)
    state = {}
    for module, change in changes.items():
        tensors = {kind: _read(entry) for kind, entry in change.tensors.items()}
        if "alpha" in tensors and "A" in tensors:
            _multiply(tensors, ("B",), float(tensors["alpha"]) / tensors["A"].shape[0])
        elif "A" in tensors:
            _multiply(tensors, ("B", "bias"), scaling(change.name, tensors["A"].shape[0]))
        down, up = _factors(tensors, shapes[f"{module}.weight"])
        state[f"transformer.{module}.lora_A.weight"] = down
        state[f"transformer.{module}.lora_B.weight"] = up
        if "bias" in tensors:
            state[f"transformer.{module}.lora_B.bias"] = tensors["bias"]
    if any("bias" in change.tensors for change in changes.values()):
        for module in changes:  # peft gives every layer a bias as soon as one has it, and leaves those without memory
            up = state[f"transformer.{module}.lora_B.weight"]
            state.setdefault(f"transformer.{module}.lora_B.bias", up.new_zeros(up.shape[0]))
    if lost := [name for name, entry in left_out.items() if _read(entry).any()]:
        _LOG.warning("%s: %s left out, since diffusers cannot apply them", path, some(lost))
    return state


def _changes(path: Path, shapes: Shapes) -> tuple[dict[str, _Change], dict[str, TensorEntry]]:
    """Module in diffusers -> what the file has for it, all checked; and what diffusers has no place for."""
    if not path.is_file():
        raise CheckpointError(f"the LoRA {path} does not exist; name one .safetensors file")
    modules = _spellings(shapes)
    changes: dict[str, _Change] = {}
    left_out, foreign, unknown = {}, set(), set()
    for key, entry in read_header(path).items():
        match = _KEY.fullmatch(key)
        kind = match.lastgroup if match else None
        if match is None or kind is None:
            unknown.add(key)
            continue
        name = _PREFIX.sub("", key[: match.start(kind) - 1], count=1)
        module = modules.get(name)
        linear = module is not None and len(shapes[f"{module}.weight"]) == 2
        if kind == "other" or (kind in ("bias", "diff") and not linear):
            left_out[key] = entry
        elif module is None:
            foreign.add(name)
        elif kind in changes.setdefault(module, _Change(name)).tensors:
            raise CheckpointError(f"{path} has several LoRAs for {name}; give a file with one")
        else:
            changes[module].tensors[kind] = entry
    if foreign:
        raise CheckpointError(
            f"{path} has LoRA weights for {some(foreign, 1)}, which this model does not have; "
            "give a LoRA made for Wan2.1 of this size"
        )
    if not changes:
        raise CheckpointError(f"{path} has no LoRA weights in it; give a LoRA made for Wan2.1")
    if unknown:
        raise CheckpointError(f"{path} has {some(unknown, 1)}, which is no part of a plain LoRA; give another file")
    for module, change in changes.items():
        _check(path, change, shapes[f"{module}.weight"])
        if "A" in change.tensors and "diff" in change.tensors:
            left_out[f"{change.name}.diff"] = change.tensors.pop("diff")
    return changes, left_out


def _spellings(shapes: Shapes) -> dict[str, str]:
    """Every way to write the name of a layer that can take a LoRA -> its name in diffusers."""
    modules = {n.removesuffix(".weight") for n, shape in shapes.items() if n.endswith(".weight") and len(shape) > 1}
    blocks = {module.split(".")[1] for module in modules if module.startswith("blocks.")}
    names = {module: module for module in modules}
    for name in (*_OUTER_LAYERS, *(f"blocks.{block}.{layer}" for block in blocks for layer in _BLOCK_LAYERS)):
        module = diffusers_key(f"{name}.weight").removesuffix(".weight")
        if module in modules:
            names[name] = module
    return names | {_KOHYA + name.replace(".", "_"): module for name, module in names.items()}


def _check(path: Path, change: _Change, weight: Shape) -> None:
    """Raise CheckpointError unless these tensors belong together and change a weight of this shape."""
    for entry in change.tensors.values():
        if not entry.dtype.startswith(("float", "bfloat")) and entry is not change.tensors.get("alpha"):
            raise CheckpointError(
                f"{path} stores {change.name} as {entry.dtype}, a quantisation unknown here; give fp16 or bf16"
            )
    found = {kind: entry.shape for kind, entry in change.tensors.items()}
    if found.keys() & {"A", "B"} or found.keys() == {"alpha"}:
        for kind, known_as in (("A", "lora_A (lora_down)"), ("B", "lora_B (lora_up)")):
            if kind not in found:
                raise CheckpointError(f"{path} has no {known_as} for {change.name}; download this file again")
    if "A" in found:
        down, up = found["A"], found["B"]
        if (
            not len(down) == len(up) == len(weight)
            or down[0] == 0
            or up[1:] != (down[0], *[1] * (len(weight) - 2))
            or math.prod(found.get("alpha", ())) != 1
        ):
            raise CheckpointError(
                f"{path} has factors of shapes {down} and {up} for {change.name}, which do not belong together; "
                "download this file again"
            )
        _check_size(path, change.name, (up[0], *down[1:]), weight)
    if "diff" in found:
        _check_size(path, change.name, found["diff"], weight)
    if "bias" in found:
        _check_size(path, change.name, found["bias"], weight[:1])


def _check_size(path: Path, name: str, found: Shape, needed: Shape) -> None:
    if found != needed:
        there, here = (" x ".join(map(str, shape)) for shape in (found, needed))
        raise CheckpointError(
            f"{path} was made for another size of model, such as 1.3B: {name} is {there} there and {here} here; "
            "give a LoRA made for Wan2.1 of this size"
        )


def _scaling(path: Path) -> Callable[[str, int], float]:
    """By what peft would multiply a layer's LoRA, from its name and rank, where the file has no alphas of its own."""
    beside = path.with_name(PEFT_SETTINGS)
    settings: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        if stored := header.get("__metadata__", {}).get(DIFFUSERS_SETTINGS):
            settings = {name.removeprefix("transformer."): value for name, value in json.loads(stored).items()}
        elif path.name == PEFT_FILE and beside.is_file():
            settings = read_json(beside)
        alpha = float(settings["lora_alpha"]) if "lora_alpha" in settings else None
        own = {name.removeprefix("^"): float(value) for name, value in (settings.get("alpha_pattern") or {}).items()}
    except (ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{path} has LoRA settings that cannot be read; download this file again") from None

    def scale(name: str, rank: int) -> float:
        value = next((own[end] for end in own if f".{name}".endswith(f".{end}")), alpha)
        if value is None:
            return 1.0
        return value / (math.sqrt(rank) if settings.get("use_rslora") else rank)

    return scale


def _multiply(tensors: dict[str, torch.Tensor], kinds: tuple[str, ...], scale: float) -> None:
    """Scale these of the tensors, in float32, and round back to how they are stored."""
    for kind in kinds:
        if kind in tensors and scale != 1:
            tensors[kind] = (tensors[kind].float() * scale).to(tensors[kind].dtype)


def _factors(tensors: dict[str, torch.Tensor], weight: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """lora_A and lora_B of one layer, whose weight has this shape."""
    import torch

    if "A" in tensors:
        return tensors["A"], tensors["B"]
    out, inside = weight
    if "diff" in tensors:  # the whole change as one factor, the identity as the other
        whole = tensors["diff"]
        identity = torch.eye(min(weight), dtype=whole.dtype)
        return (whole, identity) if out <= inside else (identity, whole)
    dtype = tensors["bias"].dtype  # a bias alone: diffusers takes it only beside two factors
    return torch.zeros(1, inside, dtype=dtype), torch.zeros(out, 1, dtype=dtype)


def _read(entry: TensorEntry) -> torch.Tensor:
    """One tensor; fp8, in which nothing can be computed, as bfloat16, which holds all of its values."""
    from magref.checkpoints.parts import read_tensor

    tensor = read_tensor(entry)
    return tensor.bfloat16() if tensor.dtype.itemsize == 1 else tensor
