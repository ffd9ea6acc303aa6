"""What a model is, told from headers and configurations: no weights are read."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from magref.checkpoints import layout
from magref.checkpoints.headers import TensorEntry, read_header, read_json
from magref.errors import CheckpointError, ResourceError
from magref.geometry import Strides
from magref.models import EMBEDDED_FOLDER, find_model
from magref.settings import GenerationDefaults

Kind = Literal["embedded", "diffusers", "published", "hub", "single file", "GGUF", "LoRA"]

CARD = "README.md"
_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)
_GGUF_MAGIC = b"GGUF"
_VISION = "visual."  # the published CLIP file holds its text half too, which is never used


@dataclass(frozen=True)
class Component:
    """One network: `dtypes` are the precisions of its tensors, the one that takes most bytes first."""

    name: str
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it; a single file has neither strides nor defaults of its own.

    `components` is empty where only the configuration is here (a model on the hub that has not been fetched).
    """

    name: str
    path: Path
    layout: Kind
    components: tuple[Component, ...]
    disk_bytes: int
    image_encoder: bool
    """Whether the transformer takes image features, and so needs CLIP."""
    strides: Strides | None = None
    defaults: GenerationDefaults | None = None
    model_card: Path | None = None
    licence: str | None = None

    @property
    def parameters(self) -> int:
        """Of all networks together."""
        return sum(component.parameters for component in self.components)


def describe(model: str | Path | None = None) -> ModelInfo:
    """Look at a model.

    Args:
        model: a folder in diffusers' or the published layout, a .safetensors or .gguf file, a hub id, or nothing for
            the embedded model.

    Raises:
        CheckpointError: there is no such model, or it is not whole.
        ResourceError: a GGUF file, and the package gguf is not installed.
    """
    if model is not None and (path := Path(os.path.expanduser(model))).is_file():
        return _file(path)
    found = find_model(model)
    folder = found.folder
    kind: Kind = "embedded" if folder == EMBEDDED_FOLDER else found.layout
    if kind == "published":
        tensors = layout.published_transformer(folder)
        image_encoder = layout.uses_image_encoder(tensors)
        components = (_component("transformer", tensors), *_torch_files(folder, image_encoder))
    else:
        stored = {} if kind == "hub" and not _has_weights(folder) else layout.stored_entries(folder)
        components = tuple(_component(name, entries) for name, entries in stored.items())
        image_encoder = _uses_image_encoder(folder)
    card = folder / CARD
    return ModelInfo(
        name=found.name,
        path=folder,
        layout=kind,
        components=components,
        disk_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        image_encoder=image_encoder,
        strides=found.strides,
        defaults=found.defaults,
        model_card=card if card.is_file() else None,
        licence=_licence(card),
    )


def _has_weights(folder: Path) -> bool:
    """Whether more of a hub model than its configuration is in the cache."""
    return any(folder.rglob("*.safetensors"))


def render(info: ModelInfo) -> RenderableType:
    """The description as tables for a terminal."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")  # paths stay readable
    facts.add_row("model", escape(info.name))
    facts.add_row("layout", info.layout)
    facts.add_row("path", escape(str(info.path)))
    facts.add_row("on disk", decimal(info.disk_bytes))
    facts.add_row("image encoder", "yes" if info.image_encoder else "no")
    if info.strides is not None:
        s = info.strides
        facts.add_row("strides", f"{s.temporal} in time, {s.spatial} in space, patch {s.patch}")
    facts.add_row("licence", info.licence or "not stated")
    facts.add_row("model card", escape(str(info.model_card or "none")))
    if info.defaults is not None:
        for name, value in info.defaults.model_dump().items():
            facts.add_row(f"default {name}", escape(str(value)) if value != "" else "none")
    if not info.components:
        return Group(facts, f"weights: not here yet; magref download {info.name} fetches them")
    networks = Table("network", "parameters", "on disk", "precision")
    for part in info.components:
        networks.add_row(part.name, f"{part.parameters:,}", decimal(part.nbytes), ", ".join(part.dtypes))
    networks.add_row("all", f"{info.parameters:,}", decimal(sum(part.nbytes for part in info.components)), "")
    return Group(facts, networks)


def _file(path: Path) -> ModelInfo:
    with path.open("rb") as file:
        start = file.read(4)
    kind: Kind = "GGUF" if start == _GGUF_MAGIC else "single file"
    name = "transformer"
    if kind == "GGUF":
        names, component = _gguf(path)
    else:
        entries = read_header(path)
        names = list(entries)
        if any(".lora_" in key for key in names):
            kind, name = "LoRA", "LoRA"
        elif not any(key.endswith("patch_embedding.weight") for key in names):
            raise CheckpointError(f"{path} holds no Wan transformer and no LoRA; give another file, or a model folder")
        else:
            from magref.checkpoints.files import MARKER, NOT_WEIGHTS, SCALES

            beside = (*SCALES, *NOT_WEIGHTS, MARKER)
            entries = {key: entry for key, entry in entries.items() if not key.endswith(beside)}
        component = _component(name, entries)
    return ModelInfo(
        name=path.name,
        path=path,
        layout=kind,
        components=(component,),
        disk_bytes=path.stat().st_size,
        image_encoder=any("img_emb." in key or "image_embedder." in key for key in names),
    )


def _gguf(path: Path) -> tuple[list[str], Component]:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ResourceError(
            f"{path} is a GGUF file, which needs an extra package; run pip install 'magref[gguf]'"
        ) from None
    try:
        tensors = GGUFReader(path).tensors
    except (ValueError, KeyError, IndexError, OSError):
        raise CheckpointError(f"{path} is a damaged or truncated GGUF file; download this file again") from None
    rows = [(math.prod(map(int, t.shape)), int(t.n_bytes), str(t.tensor_type.name)) for t in tensors]
    return [str(t.name) for t in tensors], _summed("transformer", rows)


def _torch_files(folder: Path, image_encoder: bool) -> list[Component]:
    """The networks that the published layout stores as .pth, their tensors without content."""
    import torch

    found = []
    files = {"vae": layout.VAE, "text_encoder": layout.TEXT_ENCODER}
    if image_encoder:
        files["image_encoder"] = layout.IMAGE_ENCODER
    for name, file in files.items():
        try:
            tensors = torch.load(folder / file, map_location="meta", weights_only=True, mmap=True)
            rows = [
                (tensor.numel(), tensor.numel() * tensor.element_size(), str(tensor.dtype).removeprefix("torch."))
                for key, tensor in tensors.items()
                if name != "image_encoder" or key.startswith(_VISION)
            ]
        except Exception as error:  # torch raises whatever the file provokes
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{folder / file} cannot be read ({reason}); download this file again") from None
        found.append(_summed(name, rows))
    return found


def _component(name: str, entries: Mapping[str, TensorEntry]) -> Component:
    return _summed(name, ((math.prod(entry.shape), entry.nbytes, entry.dtype) for entry in entries.values()))


def _summed(name: str, rows: Iterable[tuple[int, int, str]]) -> Component:
    """One network from the (parameters, bytes, precision) of its tensors."""
    parameters = 0
    nbytes: Counter[str] = Counter()
    for count, size, dtype in rows:
        parameters += count
        nbytes[dtype] += size
    return Component(name, parameters, nbytes.total(), tuple(dtype for dtype, _ in nbytes.most_common()))


def _uses_image_encoder(folder: Path) -> bool:
    value = read_json(folder / layout.MODEL_INDEX).get("image_encoder")
    return isinstance(value, list) and None not in value


def _licence(card: Path) -> str | None:
    """As the model card's front matter states it (https://huggingface.co/docs/hub/model-cards)."""
    try:
        text = card.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    _, _, rest = text.partition("---\n") if text.startswith("---\n") else ("", "", "")
    match = _LICENCE.search(rest.partition("\n---")[0])
    return match[1] if match else None
