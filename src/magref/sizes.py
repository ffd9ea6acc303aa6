"""How large a model is and how much it computes, from its configuration or its files' headers; no weights are read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magref.checkpoints import layout
from magref.checkpoints.architecture import magref_14b_config
from magref.checkpoints.headers import read_json
from magref.errors import CheckpointError
from magref.geometry import Strides
from magref.models import Model, find_model
from magref.settings import GenerationDefaults

ENCODERS = ("vae", "text_encoder", "image_encoder")
_PUBLISHED_NAMES = ("magref-14b", "magref", "wan2.1-i2v-14b-480p", "wan2.1-i2v-14b-720p")
"""In lower case; what a run begins from has the same sizes."""
IMAGE_TOKENS = 257
"""Of CLIP ViT-H."""


@dataclass(frozen=True)
class Network:
    """Parameters of a model in all, and of its largest single tensor."""

    parameters: int
    largest: int


WAN_ENCODERS = {
    "vae": Network(126_892_531, 384 * 384 * 27),
    "text_encoder": Network(5_680_910_336, 256_384 * 4096),
    "image_encoder": Network(630_766_080, 1280 * 5120),
}
"""Wan2.1's: its VAE, umT5-xxl, whose largest tensor is the embedding, and CLIP ViT-H's vision half."""


@dataclass(frozen=True)
class Sizes:
    """A whole model: the transformer's and the VAE's configurations, and the encoders that it has."""

    name: str
    config: Mapping[str, Any]
    vae_config: Mapping[str, Any]
    encoders: Mapping[str, Network]
    strides: Strides
    defaults: GenerationDefaults

    def parameters(self, name: str) -> int:
        """Of one network; 0 where the model does without."""
        if name == "transformer":
            return transformer_parameters(self.config)
        return self.encoders[name].parameters if name in self.encoders else 0


def published_sizes() -> Sizes:
    """Of the published model: Wan2.1's image-to-video 14B and its encoders."""
    return Sizes("the published magref-14B", magref_14b_config(), {}, WAN_ENCODERS, Strides(), GenerationDefaults())


def find_sizes(name: str | None) -> Sizes:
    """Of a model in a folder; one that is not here and is called as the published one or Wan2.1's is taken for that.

    Raises:
        CheckpointError: there is no such model, or it does not take masked guidance.
    """
    try:
        model = find_model(name)
    except CheckpointError:
        path = Path(os.path.expanduser(name or ""))
        if path.exists() or path.name.lower() not in _PUBLISHED_NAMES:
            raise
        return published_sizes()
    from magref.training.loading import find_transformer

    config = find_transformer(model).config
    vae_config, encoders = _published_encoders(model) if model.layout == "published" else _stored_encoders(model)
    return Sizes(model.name, config, vae_config, encoders, model.strides, model.defaults)


def sizes_of(pipeline: Any) -> Sizes:
    """Of a pipeline that has been loaded."""
    encoders = {}
    for name in ENCODERS:
        if (network := getattr(pipeline, name)) is not None:
            counts = [parameter.numel() for parameter in network.parameters()]
            encoders[name] = Network(sum(counts), max(counts))
    config, vae_config = (dict(network.config) for network in (pipeline.transformer, pipeline.vae))
    return Sizes(type(pipeline).__name__, config, vae_config, encoders, pipeline.strides, pipeline.defaults)


def transformer_parameters(config: Mapping[str, Any]) -> int:
    """Of a `WanTransformer3DModel` with this configuration."""
    dim, patch = _dim(config), math.prod(config["patch_size"])
    image = config.get("image_dim")
    ends = _linear(config["in_channels"] * patch, dim) + _linear(dim, config["out_channels"] * patch) + 2 * dim
    time = _linear(config["freq_dim"], dim) + _linear(dim, dim) + _linear(dim, 6 * dim)
    text = _linear(config["text_dim"], dim) + _linear(dim, dim)
    clip = _linear(image, image) + _linear(image, dim) + 2 * image + 2 * dim if image else 0
    added = config.get("added_kv_proj_dim")
    norms = 4 * dim + (2 * dim if config["cross_attn_norm"] else 0) + (dim if added else 0)
    biases = 8 * dim + (2 * dim if added else 0) + config["ffn_dim"] + dim
    return ends + time + text + clip + block_matrices(config) + config["num_layers"] * (norms + biases + 6 * dim)


def block_matrices(config: Mapping[str, Any]) -> int:
    """Parameters of the matrices in the blocks' linear layers: those that quantisation takes."""
    dim, added = _dim(config), config.get("added_kv_proj_dim")
    return config["num_layers"] * (8 * dim**2 + (2 * dim * added if added else 0) + 2 * dim * config["ffn_dim"])


def forward_flops(config: Mapping[str, Any], tokens: int, text_tokens: int) -> float:
    """Of one pass through the transformer, two for each multiplication and addition."""
    dim = _dim(config)
    context = text_tokens + (IMAGE_TOKENS if config.get("image_dim") else 0)
    attention = 4 * tokens * (tokens + context) * dim
    return float(config["num_layers"] * attention) + linear_flops(config, tokens, text_tokens)


def linear_flops(config: Mapping[str, Any], tokens: int, text_tokens: int) -> float:
    """The part of `forward_flops` that the blocks' linear layers take."""
    dim = _dim(config)
    context = text_tokens + (IMAGE_TOKENS if config.get("image_dim") else 0)
    each = tokens * (12 * dim**2 + 4 * dim * config["ffn_dim"]) + 4 * context * dim**2
    return float(config["num_layers"] * each)


def _linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def _dim(config: Mapping[str, Any]) -> int:
    dim: int = config["num_attention_heads"] * config["attention_head_dim"]
    return dim


def _stored_encoders(model: Model) -> tuple[Mapping[str, Any], dict[str, Network]]:
    stored = layout.stored_entries(model.folder)
    sizes = {name: [math.prod(e.shape) for e in stored[name].values()] for name in ENCODERS if name in stored}
    config = read_json(model.folder / "vae" / layout.CONFIG)
    return config, {name: Network(sum(counts), max(counts)) for name, counts in sizes.items()}


def _published_encoders(model: Model) -> tuple[Mapping[str, Any], dict[str, Network]]:
    from magref.checkpoints.published import published_parts

    parts = published_parts(model.folder)
    named = {"vae": parts.vae, "text_encoder": parts.text_encoder, "image_encoder": parts.image_encoder}
    sizes = {name: [math.prod(part.shape(n)) for n in part.reads] for name, part in named.items() if part}
    return parts.vae.model.config, {name: Network(sum(counts), max(counts)) for name, counts in sizes.items()}
