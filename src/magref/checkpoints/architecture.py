"""Names and sizes of the transformer: Wan2.1's image-to-video DiT, as the authors store it and as diffusers has it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from magref.checkpoints.headers import some
from magref.errors import CheckpointError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

MASK_CHANNELS = 4
"""One per pixel frame that a latent frame stands for (equation 3)."""
WAN_HEAD_DIM = 128
"""The width of one attention head in every published Wan2.1 transformer."""

# Ordered: head.modulation before modulation; norm2 and norm3 swap through a placeholder, and the norms of the image
# embedding, which do not swap, come after that.
_RENAMES = (
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("head.modulation", "scale_shift_table"),
    ("head.head", "proj_out"),
    ("modulation", "scale_shift_table"),
    ("cross_attn", "attn2"),
    ("self_attn", "attn1"),
    (".q.", ".to_q."),
    (".k.", ".to_k."),
    (".v.", ".to_v."),
    (".o.", ".to_out.0."),
    (".k_img.", ".add_k_proj."),
    (".v_img.", ".add_v_proj."),
    (".norm_k_img.", ".norm_added_k."),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
    ("norm2", "normX"),
    ("norm3", "norm2"),
    ("normX", "norm3"),
    ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
)


def diffusers_key(name: str) -> str:
    """A transformer tensor's name in diffusers, from its name in the published checkpoint."""
    for old, new in _RENAMES:
        name = name.replace(old, new)
    return name


def transformer_config(shapes: Shapes, *, num_heads: int | None = None, eps: float = 1e-6) -> dict[str, Any]:
    """The configuration of a `WanTransformer3DModel` that has these tensors (diffusers names).

    Args:
        shapes: name -> shape; names beyond the architecture's are not looked at.
        num_heads: not readable from shapes; left out, heads are 128 wide as in every published Wan2.1 model.
        eps: not readable either.

    Raises:
        CheckpointError: the tensors are not a Wan transformer's.
    """
    try:
        dim, in_channels, *patch = shapes["patch_embedding.weight"]
        out_width, _ = shapes["proj_out.weight"]
        _, text_dim = shapes["condition_embedder.text_embedder.linear_1.weight"]
        _, freq_dim = shapes["condition_embedder.time_embedder.linear_1.weight"]
        ffn_dim, _ = shapes["blocks.0.ffn.net.0.proj.weight"]
    except KeyError as missing:
        raise CheckpointError(f"tensor {missing} is absent: this is not a Wan transformer, or not all of it") from None
    except ValueError:
        raise CheckpointError("the tensors have other ranks than a Wan transformer's; give another file") from None
    if num_heads is None and dim % WAN_HEAD_DIM:
        raise CheckpointError(f"width {dim} is no multiple of {WAN_HEAD_DIM}, so the heads must be given by a config")
    heads = num_heads or dim // WAN_HEAD_DIM
    if dim % heads or out_width % math.prod(patch):
        raise CheckpointError(f"width {dim} does not divide into {heads} heads; check num_heads in config.json")
    image_norm = shapes.get("condition_embedder.image_embedder.norm1.weight")
    blocks = {int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))}
    return {
        "patch_size": tuple(patch),
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": in_channels,
        "out_channels": out_width // math.prod(patch),
        "text_dim": text_dim,
        "freq_dim": freq_dim,
        "ffn_dim": ffn_dim,
        "num_layers": max(blocks) + 1,
        "cross_attn_norm": "blocks.0.norm2.weight" in shapes,
        "qk_norm": "rms_norm_across_heads",
        "eps": eps,
        "image_dim": image_norm[0] if image_norm else None,
        "added_kv_proj_dim": dim if "blocks.0.attn2.add_k_proj.weight" in shapes else None,
    }


def magref_14b_config() -> dict[str, Any]:
    """The configuration of the published 14B transformer."""
    return {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 40,
        "attention_head_dim": 128,
        "in_channels": 36,
        "out_channels": 16,
        "text_dim": 4096,
        "freq_dim": 256,
        "ffn_dim": 13824,
        "num_layers": 40,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "image_dim": 1280,
        "added_kv_proj_dim": 5120,
    }


def check_masked_guidance(config: Mapping[str, Any], source: object) -> None:
    """Raise CheckpointError unless the transformer takes [latents, mask, canvas latents] (equation 3)."""
    in_channels, out_channels = config["in_channels"], config["out_channels"]
    needed = 2 * out_channels + MASK_CHANNELS
    if in_channels != needed:
        kind = "a text-to-video model" if in_channels == out_channels else "another architecture"
        raise CheckpointError(
            f"{source} takes {in_channels} input channels where masked guidance needs {needed}: it is {kind}; "
            "give MAGREF or Wan2.1 image-to-video weights"
        )


def check_text_to_video(config: Mapping[str, Any], source: object) -> None:
    """Raise CheckpointError unless the transformer takes latents alone, as Wan2.1 text-to-video and Phantom do."""
    in_channels, out_channels = config["in_channels"], config["out_channels"]
    if in_channels != out_channels:
        raise CheckpointError(
            f"{source} takes {in_channels} input channels where {out_channels} are needed: it is no text-to-video "
            "model; give weights of Phantom"
        )


def check_shapes(found: Shapes, expected: Shapes, source: object) -> None:
    """Raise CheckpointError unless both have the same names and shapes; names the first that differ."""
    if missing := expected.keys() - found.keys():
        raise CheckpointError(f"{source} lacks {some(missing)}; download it again or give weights of this architecture")
    if unexpected := found.keys() - expected.keys():
        raise CheckpointError(f"{source} has unknown tensors {some(unexpected)}; give weights of this architecture")
    for name, shape in expected.items():
        if tuple(found[name]) != tuple(shape):
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(found[name])} where {tuple(shape)} is needed; "
                "the file is damaged or of another architecture, give another"
            )
