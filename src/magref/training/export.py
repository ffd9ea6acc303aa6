"""What a run made, as files that `magref generate` takes: a model folder, or a LoRA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from magref.checkpoints import layout
from magref.checkpoints.convert import convert_published
from magref.checkpoints.headers import read_json
from magref.errors import OutputError
from magref.models import Model
from magref.outputs import writing
from magref.settings import GenerationDefaults
from magref.training.parallel import Team
from magref.training.recipe import LoraRecipe

SHARD_BYTES = 5_000_000_000
_STEM = layout.TRANSFORMER


def export_model(
    folder: Path,
    base: Model,
    transformer: Any,
    text_encoder: Any | None,
    defaults: GenerationDefaults,
    team: Team,
    *,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write a folder for `MagrefPipeline.from_pretrained`: the base's parts, and what was trained in their place.

    Every process takes part; at no time does one hold more than a shard of the file. The folder gets its name when it
    is whole.
    """
    aside = folder.with_name(f".{folder.name}.part")
    if team.leads:
        if folder.exists():
            raise OutputError(f"the output {folder} exists; move it away, or choose another name")
        shutil.rmtree(aside, ignore_errors=True)
        _copy_base(base, aside, defaults)
    team.wait()
    _write_weights(aside / "transformer", transformer, dtype, team)
    if text_encoder is not None:
        tensors = {name: whole(tensor).to(dtype) for name, tensor in text_encoder.state_dict().items()}
        if team.leads:
            text_encoder.config.save_pretrained(aside / "text_encoder")
            kept = {
                n: t for n, t in tensors.items() if n not in (getattr(text_encoder, "_tied_weights_keys", None) or {})
            }
            save_file(kept, aside / "text_encoder" / "model.safetensors", metadata={"format": "pt"})
    if team.leads:
        aside.rename(folder)
    team.wait()


def export_lora(path: Path, transformer: Any, recipe: LoraRecipe, team: Team) -> None:
    """Write the adapters as one file, under the names that diffusers reads; alpha / rank is multiplied into lora_B."""
    tensors = {}
    for name, parameter in transformer.named_parameters():
        if ".lora_" in name:
            tensor = whole(parameter.detach()).float()
            scale = recipe.alpha / recipe.rank if ".lora_B." in name else 1.0
            tensors[f"transformer.{name.replace('.default.', '.')}"] = (tensor * scale).to(torch.bfloat16).contiguous()
    if team.leads:
        with writing(path, overwrite=True) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be spread over processes, gathered, on the CPU."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def _copy_base(base: Model, folder: Path, defaults: GenerationDefaults) -> None:
    if base.layout == "published":
        convert_published(base.folder, folder)
        for path in (folder / "transformer").glob("*.safetensors*"):
            path.unlink()
    else:
        for part in base.folder.iterdir():
            if part.is_dir():
                names = shutil.ignore_patterns("*.safetensors", "*.index.json") if part.name == "transformer" else None
                shutil.copytree(part, folder / part.name, ignore=names)
        shutil.copyfile(base.folder / layout.MODEL_INDEX, folder / layout.MODEL_INDEX)
    index = read_json(folder / layout.MODEL_INDEX) | {"generation_defaults": defaults.model_dump()}
    (folder / layout.MODEL_INDEX).write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_weights(folder: Path, model: Any, dtype: torch.dtype, team: Team) -> None:
    """The weights in shards, gathered tensor by tensor; what the architecture keeps in float32 stays so."""
    parameters = dict(model.named_parameters())
    keep = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    kinds = {n: torch.float32 if any(part in n.split(".") for part in keep) else dtype for n in parameters}
    groups = list(_groups({n: p.numel() * kinds[n].itemsize for n, p in parameters.items()}))
    weight_map = {}
    for number, names in enumerate(groups, 1):
        shard = f"{_STEM}.safetensors" if len(groups) == 1 else f"{_STEM}-{number:05d}-of-{len(groups):05d}.safetensors"
        tensors = {}
        for name in names:
            tensor = whole(parameters[name]).to(kinds[name])  # every process gathers, since gathering takes all of them
            if team.leads:
                tensors[name] = tensor.contiguous()
            weight_map[name] = shard
        if team.leads:
            save_file(tensors, folder / shard, metadata={"format": "pt"})
    if team.leads:
        if len(groups) > 1:
            total = sum(p.numel() * kinds[n].itemsize for n, p in parameters.items())
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (folder / f"{_STEM}.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
        model.save_config(folder)


def _groups(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    names: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if names and filled + size > SHARD_BYTES:
            yield names
            names, filled = [], 0
        names.append(name)
        filled += size
    yield names
