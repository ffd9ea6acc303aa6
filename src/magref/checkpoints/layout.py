"""Which kind of model folder this is, and whether it is complete, before anything heavy is imported or read."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from pathlib import Path

from magref.checkpoints.headers import TensorEntry, read_headers, read_json
from magref.errors import CheckpointError

CONFIG = "config.json"
MODEL_INDEX = "model_index.json"
TRANSFORMER = "diffusion_pytorch_model"
VAE = "Wan2.1_VAE.pth"
TEXT_ENCODER = "models_t5_umt5-xxl-enc-bf16.pth"
IMAGE_ENCODER = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
TOKENIZER = "google/umt5-xxl"
"""Files of the published layout, the same in Wan2.1's own releases."""

TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
WEIGHTLESS = {
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
    "image_processor": "preprocessor_config.json",
    "feature_extractor": "preprocessor_config.json",
}
"""The components without weights, and the file that each has instead."""
WEIGHT_STEMS = ("diffusion_pytorch_model", "model")


def is_published(folder: str | Path) -> bool:
    """Whether the folder has the authors' layout or Wan2.1's own, complete or not."""
    folder = Path(os.path.expanduser(folder))
    if (folder / MODEL_INDEX).is_file():
        return False
    if any((folder / name).is_file() for name in (VAE, TEXT_ENCODER, IMAGE_ENCODER)):
        return True
    # The authors' transformer alone: a download that has not come to the other parts yet.
    config = folder / CONFIG
    return config.is_file() and read_json(config).get("_class_name") == "WanModel"


def check_published(folder: str | Path) -> None:
    """Check that every file of a published checkpoint is there and whole; reads headers only.

    Raises:
        CheckpointError: names the first thing that is missing, truncated or not what it should be.
    """
    folder = existing_folder(folder)
    if (folder / MODEL_INDEX).is_file():
        raise CheckpointError(f"{folder} has diffusers' layout, not the published one; open it with from_pretrained")
    if not is_published(folder) and not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} is not a model folder; it has neither {MODEL_INDEX} nor {CONFIG}")
    read_json(folder / CONFIG)
    entries = published_transformer(folder)
    for name in (VAE, TEXT_ENCODER):
        check_torch_file(folder / name)
    if uses_image_encoder(entries):
        check_torch_file(folder / IMAGE_ENCODER)
    if not any((folder / TOKENIZER / name).is_file() for name in TOKENIZER_FILES):
        missing = folder / TOKENIZER / TOKENIZER_FILES[0]
        raise CheckpointError(f"{missing} is missing; the download is incomplete, fetch the folder {TOKENIZER} again")


def published_transformer(folder: Path) -> dict[str, TensorEntry]:
    """The transformer's tensors under their original names, from one file or several."""
    return read_headers(folder, TRANSFORMER)


def uses_image_encoder(original_names: dict[str, TensorEntry]) -> bool:
    """Whether a transformer with these tensors takes image features, and so needs CLIP beside it."""
    return any(name.startswith("img_emb.") for name in original_names)


def check_torch_file(path: Path) -> None:
    """Check that a .pth file is there and not cut off.

    torch writes a zip archive, whose directory lies at the end: a truncated file has none.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the download is incomplete, fetch this file again")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from None
    legacy = start[:1] == b"\x80"  # a bare pickle, as torch wrote before 1.6: it has no directory to look for
    if not legacy and not zipfile.is_zipfile(path):
        state = "truncated" if start == b"PK\x03\x04" or not start else "not a file that torch wrote"
        raise CheckpointError(f"{path} is {state}; download this file again")


def check_diffusers(folder: str | Path) -> None:
    """Check that every model named in a diffusers folder's model_index.json is there and whole; reads headers only."""
    stored_entries(folder)


def stored_dtypes(folder: str | Path) -> dict[str, str]:
    """The precision in which most of each model of a diffusers folder is stored: component -> torch's dtype name.

    diffusers loads as float32 unless told otherwise, twice the memory of a bfloat16 folder; handing it these (as
    `torch_dtype={component: dtype}`) loads what was saved.
    """
    dtypes = {}
    for component, entries in stored_entries(folder).items():
        nbytes: Counter[str] = Counter()
        for entry in entries.values():
            nbytes[entry.dtype] += entry.nbytes
        dtypes[component] = max(nbytes, key=lambda dtype: nbytes[dtype])
    return dtypes


def stored_entries(folder: str | Path) -> dict[str, dict[str, TensorEntry]]:
    """The tensors of each model of a diffusers folder: component -> name -> entry; errors as for `check_diffusers`."""
    folder = existing_folder(folder)
    if not (folder / MODEL_INDEX).is_file():
        raise CheckpointError(f"{folder} is not a model folder in diffusers' layout; it has no {MODEL_INDEX}")
    found = {}
    for component, value in read_json(folder / MODEL_INDEX).items():
        if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)):
            continue  # a setting, or a component that is switched off: [null, null]
        part = folder / component
        if not part.is_dir():
            raise CheckpointError(f"{part} is missing; the download is incomplete, fetch this folder again")
        read_json(part / WEIGHTLESS.get(component, CONFIG))
        if component in WEIGHTLESS:
            continue
        stem = next((s for s in WEIGHT_STEMS if any(part.glob(f"{s}*.safetensors*"))), WEIGHT_STEMS[0])
        found[component] = read_headers(part, stem)
    return found


def existing_folder(folder: str | Path) -> Path:
    """The folder as a path; CheckpointError unless it exists and is one."""
    path = Path(os.path.expanduser(folder))
    if not path.exists():
        raise CheckpointError(f"the model folder {path} does not exist; check its path, or run magref download")
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file, not a model folder; give the folder that holds the model")
    return path
