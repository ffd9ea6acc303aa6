"""Load the authors' checkpoint layout, and Wan2.1's own, which has the same files.

Sizes come from the tensors' shapes; config.json leaves out many. Sources of names and constants: the published code
(MAGREF-Video/MAGREF, wan/modules) and the models they came from (google/umt5-xxl, open_clip's XLM-RoBERTa ViT-H/14).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from transformers import AutoTokenizer, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from magref.checkpoints import layout
from magref.checkpoints.architecture import check_masked_guidance, diffusers_key, transformer_config
from magref.checkpoints.files import load_transformer_file
from magref.checkpoints.headers import TensorEntry, read_json
from magref.checkpoints.layout import check_published, is_published
from magref.checkpoints.parts import Part, Read, always, make_part, read_tensor, read_torch_file, transformer_dtype
from magref.errors import CheckpointError

CLIP_HEAD_DIM = 80
"""ViT-H/14: 1280 wide, 16 heads."""
TEXT_TOKENS = 512


@dataclass(frozen=True)
class Components:
    """The models of a checkpoint; `image_encoder` is None where the transformer takes no image features.

    `text_tokens` is how many prompt tokens the transformer was trained on, shorter prompts padded with zero features.
    """

    transformer: WanTransformer3DModel
    vae: AutoencoderKLWan
    text_encoder: UMT5EncoderModel
    tokenizer: Any
    image_encoder: CLIPVisionModel | None
    text_tokens: int


@dataclass(frozen=True)
class PublishedParts:
    """A published checkpoint whose names and shapes have been checked, and no weight read."""

    transformer: Part
    vae: Part
    text_encoder: Part
    image_encoder: Part | None
    tokenizer_folder: Path
    text_tokens: int


def load_published(
    folder: str | Path,
    *,
    torch_dtype: torch.dtype = torch.bfloat16,
    clip_num_heads: int | None = None,
    transformer_file: str | Path | None = None,
) -> Components:
    """Load a checkpoint in the published layout, at most one tensor beyond the models in memory.

    Args:
        folder: holds config.json, the transformer's safetensors and Wan2.1's .pth files.
        torch_dtype: of transformer, text encoder and image encoder. The VAE is always float32, as are the
            transformer's norms, modulation and time embedding.
        clip_num_heads: not readable from the tensors; left out, heads are 80 wide (ViT-H/14: 16 heads).
        transformer_file: a single file of weights that takes the place of the folder's own transformer.

    Raises:
        CheckpointError: something is missing, truncated, or not of this architecture; before any weight is read.
    """
    parts = published_parts(folder, torch_dtype=torch_dtype, clip_num_heads=clip_num_heads)
    tokenizer = load_tokenizer(parts.tokenizer_folder)
    if transformer_file is None:
        transformer = parts.transformer.load()
    else:
        like = dict(parts.transformer.model.config)
        transformer = load_transformer_file(transformer_file, like=like, torch_dtype=torch_dtype)
    return Components(
        transformer=transformer,
        vae=parts.vae.load(),
        text_encoder=parts.text_encoder.load(),
        tokenizer=tokenizer,
        image_encoder=parts.image_encoder.load() if parts.image_encoder else None,
        text_tokens=parts.text_tokens,
    )


def published_parts(
    folder: str | Path, *, torch_dtype: torch.dtype = torch.bfloat16, clip_num_heads: int | None = None
) -> PublishedParts:
    """Check a published checkpoint down to each tensor's name and shape; arguments and errors as `load_published`."""
    check_published(folder)
    folder = Path(os.path.expanduser(folder))
    config = read_json(folder / layout.CONFIG)
    entries = layout.published_transformer(folder)
    clip = folder / layout.IMAGE_ENCODER
    transformer = transformer_part(entries, config, folder, torch_dtype)
    check_masked_guidance(transformer.model.config, folder)
    return PublishedParts(
        transformer=transformer,
        vae=vae_part(folder / layout.VAE),
        text_encoder=text_encoder_part(folder / layout.TEXT_ENCODER, torch_dtype),
        image_encoder=image_encoder_part(clip, torch_dtype, clip_num_heads)
        if layout.uses_image_encoder(entries)
        else None,
        tokenizer_folder=folder / layout.TOKENIZER,
        text_tokens=_whole(config, "text_len", folder) or TEXT_TOKENS,
    )


def transformer_part(
    entries: Mapping[str, TensorEntry], config: Mapping[str, Any], folder: Path, dtype: torch.dtype
) -> Part:
    """The DiT: `entries` by original names, `config` the published config.json."""
    reads: dict[str, Read] = {}
    shapes = {}
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].file, item[1].start)):
        shapes[diffusers_key(name)] = entry.shape
        reads[diffusers_key(name)] = partial(read_tensor, entry)
    sizes = transformer_config(
        shapes, num_heads=_whole(config, "num_heads", folder), eps=float(config.get("eps", 1e-6))
    )
    return make_part(lambda: WanTransformer3DModel(**sizes), shapes, reads, transformer_dtype(dtype), folder)


def vae_part(path: Path) -> Part:
    """Wan2.1's VAE, always float32: encoding the canvas in less loses its detail."""
    tensors = convert_wan_vae_to_diffusers(read_torch_file(path))
    widths = {"base_dim": "encoder.conv_in.weight", "z_dim": "post_quant_conv.weight"}
    sizes = {key: _shape(tensors, name, path)[0] for key, name in widths.items()}
    if sizes["z_dim"] != 16:
        raise CheckpointError(f"{path} has {sizes['z_dim']} latent channels where Wan2.1's VAE has 16; give that one")
    return _torch_part(lambda: AutoencoderKLWan(**sizes), tensors, torch.float32, path)


def text_encoder_part(path: Path, dtype: torch.dtype) -> Part:
    """The umT5 encoder. Every layer has its own relative position bias, (buckets, heads), which tells the heads."""
    tensors = {text_encoder_key(name): tensor for name, tensor in read_torch_file(path).items()}
    vocab_size, d_model = _shape(tensors, "shared.weight", path)
    first = "encoder.block.0.layer"
    buckets, heads = _shape(tensors, f"{first}.0.SelfAttention.relative_attention_bias.weight", path)
    config = UMT5Config(
        vocab_size=vocab_size,
        d_model=d_model,
        d_kv=_shape(tensors, f"{first}.0.SelfAttention.q.weight", path)[0] // heads,
        d_ff=_shape(tensors, f"{first}.1.DenseReluDense.wi_0.weight", path)[0],
        num_layers=sum(name.endswith(".SelfAttention.q.weight") for name in tensors),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
    )
    return _torch_part(lambda: UMT5EncoderModel(config), tensors, dtype, path)


def image_encoder_part(path: Path, dtype: torch.dtype, num_heads: int | None) -> Part:
    """The vision half of open_clip's XLM-RoBERTa ViT-H/14; what comes after the last layer is loaded but not used."""
    stored = read_torch_file(path)
    tensors = image_encoder_tensors(stored, path)
    width, _, patch, _ = _shape(tensors, "embeddings.patch_embedding.weight", path)
    positions = _shape(tensors, "embeddings.position_embedding.weight", path)[0]
    heads = num_heads or max(1, width // CLIP_HEAD_DIM)
    if width % heads:
        raise CheckpointError(f"{path} is {width} wide, which {heads} heads do not divide; give clip_num_heads")
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=_shape(tensors, "encoder.layers.0.mlp.fc1.weight", path)[0],
        projection_dim=_shape(stored, "visual.head", path)[1],
        num_hidden_layers=sum(name.endswith(".mlp.fc1.weight") for name in tensors),
        num_attention_heads=heads,
        image_size=math.isqrt(positions - 1) * patch,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    )
    return _torch_part(lambda: CLIPVisionModel(config), tensors, dtype, path)


def load_tokenizer(folder: Path) -> Any:
    """The umT5 tokenizer, from its folder and from nowhere else."""
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # transformers raises whatever the files provoke
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be loaded ({reason}); download that folder again"
        ) from None


def text_encoder_key(name: str) -> str:
    """A umT5 tensor's name in transformers, from its name in the published file."""
    for old, new in (
        ("token_embedding.", "shared."),
        ("blocks.", "encoder.block."),
        (".norm1.", ".layer.0.layer_norm."),
        (".attn.", ".layer.0.SelfAttention."),
        (".pos_embedding.embedding.", ".layer.0.SelfAttention.relative_attention_bias."),
        (".norm2.", ".layer.1.layer_norm."),
        (".ffn.gate.0.", ".layer.1.DenseReluDense.wi_0."),
        (".ffn.fc1.", ".layer.1.DenseReluDense.wi_1."),
        (".ffn.fc2.", ".layer.1.DenseReluDense.wo."),
    ):
        name = name.replace(old, new)
    return "encoder.final_layer_norm.weight" if name == "norm.weight" else name


def image_encoder_tensors(stored: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The vision tensors under transformers' names; the joint query-key-value projections are split (as views)."""
    tensors: dict[str, torch.Tensor] = {}
    for original, tensor in stored.items():
        name = original.removeprefix("visual.")
        if name in (original, "head"):  # text half, temperature, and the projection into the joint space
            continue
        for old, new in (
            ("cls_embedding", "embeddings.class_embedding"),
            ("pos_embedding", "embeddings.position_embedding.weight"),
            ("patch_embedding.", "embeddings.patch_embedding."),
            ("pre_norm.", "pre_layrnorm."),
            ("post_norm.", "post_layernorm."),
            ("transformer.", "encoder.layers."),
            (".norm1.", ".layer_norm1."),
            (".norm2.", ".layer_norm2."),
            (".attn.proj.", ".self_attn.out_proj."),
            (".mlp.0.", ".mlp.fc1."),
            (".mlp.2.", ".mlp.fc2."),
        ):
            name = name.replace(old, new)
        if ".attn.to_qkv." in name:
            if tensor.shape[0] % 3:
                raise CheckpointError(f"{path}: {original} has shape {tuple(tensor.shape)}; download this file again")
            for kind, third in zip("qkv", tensor.chunk(3), strict=True):
                tensors[name.replace(".attn.to_qkv.", f".self_attn.{kind}_proj.")] = third
        elif name == "embeddings.class_embedding":
            tensors[name] = tensor.flatten()  # (1, 1, D) -> (D)
        elif name == "embeddings.position_embedding.weight":
            tensors[name] = tensor.flatten(0, -2)  # (1, 1 + patches, D) -> (1 + patches, D)
        else:
            tensors[name] = tensor
    return tensors


def _torch_part(build: Any, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, path: Path) -> Part:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    reads = {name: partial(tensors.__getitem__, name) for name in tensors}
    return make_part(build, shapes, reads, always(dtype), path)


def _shape(tensors: Mapping[str, torch.Tensor], name: str, path: Path) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"{path} lacks {name}; it is another model's file, download it again")
    return tuple(tensors[name].shape)


def _whole(config: Mapping[str, Any], key: str, folder: Path) -> int | None:
    """A positive whole number of config.json, None where it is left out."""
    value = config.get(key)
    if value is not None and (not isinstance(value, int) or value < 1):
        raise CheckpointError(f"{folder / layout.CONFIG}: {key} is {value!r}; download this file again")
    return value


__all__ = ["Components", "PublishedParts", "check_published", "is_published", "load_published", "published_parts"]
