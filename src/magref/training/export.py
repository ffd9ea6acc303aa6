"""What a run made, as files that `magref generate` takes: a model folder, or a LoRA."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from magref.checkpoints import layout
from magref.checkpoints.convert import convert_published
from magref.checkpoints.headers import read_json
from magref.checkpoints.parts import DtypeOf, always, transformer_dtype
from magref.errors import OutputError
from magref.models import Model
from magref.outputs import write_errors, writing
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

    Raises:
        OutputError: it could not be written; nothing of it stays.
    """
    aside = folder.with_name(f".{folder.name}.part")
    trained = ("transformer",) if text_encoder is None else ("transformer", "text_encoder")

    def begin() -> None:
        if folder.exists():
            raise OutputError(f"the output {folder} exists; move it away, or choose another name")
        shutil.rmtree(aside, ignore_errors=True)
        _copy_base(base, aside, defaults, without=trained)
        for part in trained:
            (aside / part).mkdir()

    try:
        _first(team, folder, begin)
        _write_weights(aside / "transformer", transformer, dtype, team)
        if text_encoder is not None:
            _write_text_encoder(aside / "text_encoder", text_encoder, dtype, team)
        _first(team, folder, partial(aside.rename, folder))
    except BaseException:
        if team.leads:
            shutil.rmtree(aside, ignore_errors=True)
        raise


def export_lora(path: Path, transformer: Any, recipe: LoraRecipe, team: Team) -> None:
    """Write the adapters as one file, under the names that diffusers reads; alpha / rank is multiplied into lora_B."""
    tensors = {}
    for name, parameter in transformer.named_parameters():
        if ".lora_" in name:
            tensor = whole(parameter.detach()).float()
            scale = recipe.alpha / recipe.rank if ".lora_B." in name else 1.0
            tensors[f"transformer.{name.replace('.default.', '.')}"] = (tensor * scale).to(torch.bfloat16).contiguous()

    def write() -> None:
        with writing(path, overwrite=True) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})

    team.first(write)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be spread over processes, gathered, on the CPU."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def _first(team: Team, path: Path, work: Callable[[], object]) -> None:
    """The first process does it; where the system refuses, all end with an `OutputError` about `path`."""

    def written() -> None:
        with write_errors(path):
            work()

    team.first(written)


def _copy_base(base: Model, folder: Path, defaults: GenerationDefaults, *, without: Collection[str]) -> None:
    """The base's components but for some, and its index; nothing else that may lie in its folder."""
    if base.layout == "published":
        convert_published(base.folder, folder, without=without)
    else:
        folder.mkdir()
        stored = read_json(base.folder / layout.MODEL_INDEX)
        for name, value in stored.items():
            if isinstance(value, list) and all(value) and name not in without:
                shutil.copytree(base.folder / name, folder / name)
        shutil.copyfile(base.folder / layout.MODEL_INDEX, folder / layout.MODEL_INDEX)
    index = read_json(folder / layout.MODEL_INDEX) | {"generation_defaults": defaults.model_dump()}
    (folder / layout.MODEL_INDEX).write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_weights(folder: Path, model: Any, dtype: torch.dtype, team: Team) -> None:
    """The weights in shards, gathered tensor by tensor; what the architecture keeps in float32 stays so."""
    parameters = dict(model.named_parameters())
    kind = transformer_dtype(dtype)
    sizes = {name: p.numel() * kind(name).itemsize for name, p in parameters.items()}
    groups = list(_groups(sizes))
    weight_map = {}
    for number, names in enumerate(groups, 1):
        shard = f"{_STEM}.safetensors" if len(groups) == 1 else f"{_STEM}-{number:05d}-of-{len(groups):05d}.safetensors"
        weight_map.update(dict.fromkeys(names, shard))
        tensors = _gathered({name: parameters[name] for name in names}, kind, team)
        _first(team, folder, partial(save_file, tensors, folder / shard, metadata={"format": "pt"}))
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}

    def describe() -> None:
        if len(groups) > 1:
            (folder / f"{_STEM}.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
        model.save_config(folder)
        # Spreading gives the model a class of its own, "FSDP...", whose name diffusers writes down and no one can load.
        own = next(kind for kind in type(model).__mro__ if not issubclass(kind, FSDPModule))
        config = read_json(folder / layout.CONFIG) | {"_class_name": own.__name__}
        (folder / layout.CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    _first(team, folder, describe)


def _write_text_encoder(folder: Path, model: Any, dtype: torch.dtype, team: Team) -> None:
    tied = getattr(model, "_tied_weights_keys", None) or {}  # one tensor under two names, of which files have one
    stored = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    tensors = _gathered(stored, always(dtype), team)

    def write() -> None:
        model.config.save_pretrained(folder)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    _first(team, folder, write)


def _gathered(tensors: Mapping[str, torch.Tensor], kind: DtypeOf, team: Team) -> dict[str, torch.Tensor]:
    """Whole tensors for the first process; none for the others, which take part all the same."""
    found = {}
    for name, tensor in tensors.items():
        value = whole(tensor).to(kind(name))
        if team.leads:
            found[name] = value.contiguous()
    return found


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
