"""Finding a model and what it makes by default, before anything heavy is imported; then loading it."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from magref.checkpoints import layout
from magref.checkpoints.headers import read_json
from magref.errors import CheckpointError
from magref.geometry import Strides
from magref.settings import GenerationDefaults

if TYPE_CHECKING:
    import torch

    from magref.pipeline import MagrefPipeline

EMBEDDED_NAME = "magref-nano"
EMBEDDED_FOLDER = Path(__file__).parent / "embedded" / EMBEDDED_NAME

_RIVALS = {name: name for name in ("SkyReelsA2Pipeline", "PhantomPipeline")} | {"A2Pipeline": "SkyReelsA2Pipeline"}
"""The class names that rivals' folders state, and the pipelines here that are theirs."""
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*")


@dataclass(frozen=True)
class Model:
    """A model that has been found and checked, its weights not yet read.

    `name` is what a person would pass to `--model`; `folder` holds its configuration and, unless `layout` is "hub",
    its weights.
    """

    name: str
    folder: Path
    layout: Literal["diffusers", "published", "hub"]
    defaults: GenerationDefaults
    strides: Strides


def find_model(name: str | Path | None = None) -> Model:
    """The embedded model, a folder in diffusers' or the published layout, or a hub id `owner/name`.

    Raises:
        CheckpointError: there is no such model, or it is incomplete.
    """
    if name is None or str(name) == EMBEDDED_NAME:
        return _diffusers_model(EMBEDDED_NAME, EMBEDDED_FOLDER)
    folder = Path(os.path.expanduser(name))
    if _exists(folder):
        if layout.is_published(folder):
            layout.check_published(folder)
            text_tokens = read_json(folder / layout.CONFIG).get("text_len", GenerationDefaults().text_tokens)
            return Model(str(folder), folder, "published", GenerationDefaults(text_tokens=text_tokens), Strides())
        return _diffusers_model(str(folder), layout.existing_folder(folder))
    check_hub_id(str(name))
    return _hub_model(str(name))


def check_hub_id(name: str) -> None:
    """Raise CheckpointError unless the name has the form of a hub id."""
    if not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"the model {name} is neither a folder here nor a hub id (owner/name); check its path")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long to be a path
        return False


def load_model(model: Model, dtype: torch.dtype, *, transformer_file: Path | None = None) -> MagrefPipeline:
    """Read the weights; `transformer_file` is a single file that takes the place of the model's own transformer.

    Raises:
        CheckpointError: as `MagrefPipeline.from_pretrained`; or a hub's model has not been fetched, which is not done
            unasked.
    """
    if model.layout == "hub":
        _check_fetched(model)
    from magref.pipeline import MagrefPipeline

    if model.layout == "published":
        return MagrefPipeline.from_published(model.folder, torch_dtype=dtype, transformer_file=transformer_file)
    location = model.name if model.layout == "hub" else model.folder
    parts: dict[str, Any] = {}
    if transformer_file is not None:
        from magref.checkpoints.files import load_transformer_file

        config = read_json(model.folder / "transformer" / layout.CONFIG)
        parts["transformer"] = load_transformer_file(transformer_file, like=config, torch_dtype=dtype)
    return MagrefPipeline.from_pretrained(location, torch_dtype=dtype, **parts)


def quiet_libraries() -> None:
    """No progress bars and no warnings of diffusers and transformers: commands show their own."""
    # torchao, where it is installed, is imported by diffusers and warns of its GPU parts on every machine without one.
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def transformer_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The shapes of a transformer that lies in a folder, under diffusers' names; reads headers only."""
    from magref.checkpoints.architecture import diffusers_key

    if model.layout == "published":
        entries = layout.published_transformer(model.folder)
        return {diffusers_key(name): entry.shape for name, entry in entries.items()}
    return {name: entry.shape for name, entry in layout.stored_entries(model.folder)["transformer"].items()}


def _diffusers_model(name: str, folder: Path) -> Model:
    layout.check_diffusers(folder)
    check_pipeline(folder)
    return Model(name, folder, "diffusers", stored_defaults(folder), stored_strides(folder))


def check_pipeline(folder: Path, wanted: str = "MagrefPipeline") -> None:
    """Raise CheckpointError where a folder's model is sampled by the rules of another pipeline than `wanted`.

    That the folder is a model's at all is for others to say.
    """
    index = folder / layout.MODEL_INDEX
    stored = read_json(index).get("_class_name") if index.is_file() else None
    rival = _RIVALS.get(str(stored), wanted)
    if rival != wanted:
        raise CheckpointError(
            f"{folder} is a model of {rival}, which has its own rules; load it with magref.rivals.{rival}, or see "
            "magref bench run --help"
        )


def _hub_model(name: str) -> Model:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:  # ValueError: no valid hub id
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"the model {name} is not a folder here and cannot be fetched from the hub ({reason}); check the name and "
            "the connection, or give a folder"
        ) from None
    if not (folder / layout.MODEL_INDEX).is_file():
        raise CheckpointError(f"the hub's {name} has no {layout.MODEL_INDEX}; fetch it with magref download {name}")
    check_pipeline(folder)
    return Model(name, folder, "hub", stored_defaults(folder), stored_strides(folder))


def _check_fetched(model: Model) -> None:
    try:
        layout.check_diffusers(model.folder)
    except CheckpointError:
        raise CheckpointError(
            f"the weights of {model.name} are not here; run magref download {model.name} and give its folder to --model"
        ) from None


def stored_defaults(folder: Path) -> GenerationDefaults:
    """What a model in diffusers' layout makes by default; the published model's values where it says nothing."""
    path = folder / layout.MODEL_INDEX
    stored = read_json(path).get("generation_defaults") or {}
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path} has generation_defaults that are no JSON object; download this file again")
    try:
        return GenerationDefaults(**stored)
    except ValidationError as error:
        keys = ", ".join(str(e["loc"][0]) for e in error.errors())
        raise CheckpointError(f"{path} has generation_defaults that cannot be used ({keys}); mend these keys") from None


def stored_strides(folder: Path) -> Strides:
    """The strides of a model in diffusers' layout, from its components' configurations."""
    vae, transformer = (read_json(folder / part / layout.CONFIG) for part in ("vae", "transformer"))
    patch = transformer.get("patch_size", (1, 2, 2))
    try:
        return Strides(
            int(vae.get("scale_factor_temporal", 4)),
            int(vae.get("scale_factor_spatial", 8)),
            int(patch[-1]),
            int(transformer.get("rope_max_seq_len", Strides.positions)),
        )
    except (TypeError, ValueError, LookupError):
        raise CheckpointError(
            f"the configurations of {folder} do not state its sizes (patch_size, scale factors, rope_max_seq_len); "
            "download them again"
        ) from None
