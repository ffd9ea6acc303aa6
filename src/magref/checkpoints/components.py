"""Whether the models of a diffusers folder are what their configurations say, and fit each other.

Each model is built on the meta device, where parameters take no memory, and compared with the headers of its weights:
the 14B takes about a second. diffusers and transformers themselves would fail with a traceback while they load, or
fill a missing tensor with random numbers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from magref.checkpoints.architecture import Shape, Shapes, check_masked_guidance, check_shapes
from magref.checkpoints.headers import read_json
from magref.checkpoints.layout import CONFIG, MODEL_INDEX, TOKENIZER_FILES, existing_folder, stored_entries
from magref.errors import CheckpointError

NEEDED = ("transformer", "vae", "text_encoder")
VOCABULARIES = (*TOKENIZER_FILES, "vocab.json")
"""A tokenizer needs one of these."""
KEPT_NAMES = ("umt5", "t5", "mt5", "clip_vision_model")
"""Types of encoders whose tensors have the same names in files and in memory, but for `_PREFIX`.

transformers renames the tensors of others while it loads them, so that their names tell nothing here.
"""

_PREFIX = "vision_model."
"""CLIP: transformers 4 wrote it, transformers 5 has dropped it from `CLIPVisionModel`, and loads both."""


def check_components(
    folder: str | Path, check_channels: Callable[[Mapping[str, Any], object], None] = check_masked_guidance
) -> None:
    """Check a diffusers folder down to each tensor's name and shape; reads configurations and headers only.

    `check_channels` judges the transformer's `in_channels` and `out_channels`; its second argument names the source.

    Raises:
        CheckpointError: names the first thing that is missing, cannot be built, or does not fit.
    """
    folder = existing_folder(folder)
    found = {
        component: {name: entry.shape for name, entry in entries.items()}
        for component, entries in stored_entries(folder).items()
    }
    index = read_json(folder / MODEL_INDEX)
    for component in NEEDED:
        if component not in found:
            raise CheckpointError(
                f"{folder / MODEL_INDEX} names no {component} that has weights; fetch the model again, or give another"
            )
    _check_tokenizer(folder / "tokenizer")
    transformer = _check_transformer(folder / "transformer", found["transformer"], check_channels)
    vae = _check_vae(folder / "vae", found["vae"])
    if vae.z_dim != transformer.out_channels:
        raise CheckpointError(
            f"{folder / 'vae'} has {vae.z_dim} latent channels where the transformer makes {transformer.out_channels}; "
            "give the VAE that the transformer was trained with"
        )
    encoders = {"text_encoder": transformer.text_dim, "image_encoder": transformer.image_dim}
    for component, needed in encoders.items():
        if component not in found:
            if needed is not None:
                raise CheckpointError(
                    f"{folder} has no {component}, whose features the transformer needs; fetch the model again"
                )
            continue
        width = _check_encoder(folder / component, index[component], found[component])
        if needed is not None and width != needed:
            raise CheckpointError(
                f"{folder / component} makes features {width} wide where the transformer takes {needed}; "
                f"give the {component} that the transformer was trained with"
            )


def _check_tokenizer(part: Path) -> None:
    if not any((part / name).is_file() for name in VOCABULARIES):
        raise CheckpointError(f"{part} has no {VOCABULARIES[0]}; the download is incomplete, fetch this folder again")


def _check_transformer(part: Path, found: Shapes, check_channels: Callable[[Mapping[str, Any], object], None]) -> Any:
    """Check the transformer; its configuration, with diffusers' values for what config.json leaves out."""
    from diffusers import WanTransformer3DModel

    config = read_json(part / CONFIG)
    model = _build(part, lambda: WanTransformer3DModel.from_config(config))
    in_channels = model.config.in_channels
    channels = {"in_channels": in_channels, "out_channels": model.config.out_channels or in_channels}
    # Before the shapes: a text-to-video model is whole, and has another remedy than a damaged one.
    check_channels(channels, part)
    ignored = WanTransformer3DModel._keys_to_ignore_on_load_unexpected or ()
    known = {name: shape for name, shape in found.items() if not any(re.search(key, name) for key in ignored)}
    if not _is_quantized(config):
        check_shapes(known, _shapes(model), part)
    return model.config


def _check_vae(part: Path, found: Shapes) -> Any:
    """Check the VAE; its configuration, with diffusers' values for what config.json leaves out."""
    from diffusers import AutoencoderKLWan

    config = read_json(part / CONFIG)
    model = _build(part, lambda: AutoencoderKLWan.from_config(config))
    if not _is_quantized(config):
        check_shapes(found, _shapes(model), part)
    return model.config


def _check_encoder(part: Path, named: list[str], found: Shapes) -> int | None:
    """Check a model of transformers; the width of its features.

    Args:
        part: its folder.
        named: library and class in model_index.json; diffusers loads this class whatever config.json says.
        found: the stored tensors; more than the class has are allowed, such as the decoder beside an encoder.
    """
    import transformers

    library, name = named
    kind: Any = getattr(transformers, name, None) if library == "transformers" else None
    is_model = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if not is_model or kind.config_class is None:
        raise CheckpointError(
            f"{part.parent / MODEL_INDEX} names {name} of {library} for {part.name}, which is no model that the "
            f"installed transformers {transformers.__version__} has; update transformers, or give another model"
        )
    # from_pretrained of a configuration reads config.json of this folder and nothing else; CLIP's whole configuration
    # is cut down to the vision half, as when the model is loaded.
    model = _build(part, lambda: kind(kind.config_class.from_pretrained(str(part), local_files_only=True)))
    if model.config.model_type in KEPT_NAMES and not _is_quantized(read_json(part / CONFIG)):
        expected = {name.removeprefix(_PREFIX): shape for name, shape in _shapes(model).items()}
        stored = {name.removeprefix(_PREFIX): shape for name, shape in found.items()}
        for tied, source in model.all_tied_weights_keys.items():
            if tied in stored or source in stored:  # files have the embedding under one of its names, or under both
                for absent in {tied, source} - stored.keys():
                    expected.pop(absent, None)
        check_shapes({name: shape for name, shape in stored.items() if name in expected}, expected, part)
    return getattr(model.config, "hidden_size", None)


def _build(part: Path, build: Callable[[], Any]) -> Any:
    """The empty model; CheckpointError where its configuration describes none."""
    import torch

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again when the model is loaded
            return build()
    except Exception as error:  # the libraries raise whatever the values provoke
        lines = str(error).strip().splitlines()
        reason = lines[0].rstrip(".:") if lines else type(error).__name__
        raise CheckpointError(
            f"{part / CONFIG} does not describe a model that can be built ({reason}); download this file again"
        ) from None


def _shapes(model: Any) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _is_quantized(config: Mapping[str, Any]) -> bool:
    """Whether weights are stored packed, under names and shapes that only their library knows."""
    return "quantization_config" in config
