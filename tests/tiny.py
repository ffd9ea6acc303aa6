"""Tiny random models of the true architecture, the same every time, built in milliseconds without files or network."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from magref.checkpoints.architecture import diffusers_key

GOLDEN = Path(__file__).parent / "golden"

LATENT_CHANNELS = 16
IN_CHANNELS = 2 * LATENT_CHANNELS + 4
TEXT_DIM = 16
IMAGE_DIM = 24
TRANSFORMER = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": IN_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "text_dim": TEXT_DIM,
    "freq_dim": 16,
    "ffn_dim": 64,
    "num_layers": 2,
}


@contextmanager
def seeded(seed: int):
    """torch's global generator starts at `seed` inside, and is put back after."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def tiny_transformer(image_encoder: bool = True, seed: int = 0, **changes: Any) -> WanTransformer3DModel:
    """36 channels in, 16 out; with or without the layers that take CLIP features. Its output depends on every input."""
    config = dict(TRANSFORMER)
    if image_encoder:
        config |= {"image_dim": IMAGE_DIM, "added_kv_proj_dim": 32}
    with seeded(seed):
        return WanTransformer3DModel(**config | changes).eval()


def tiny_vae(seed: int = 1, **changes: Any) -> AutoencoderKLWan:
    """Strides (4, 8, 8) as Wan2.1's, two of the eight by taking 2 x 2 pixels as channels; 4 base channels."""
    config = {
        "base_dim": 4,
        "z_dim": LATENT_CHANNELS,
        "dim_mult": [1, 2, 4],
        "num_res_blocks": 1,
        "temperal_downsample": [True, True],
        "patch_size": 2,
        "in_channels": 12,
        "out_channels": 12,
        "scale_factor_temporal": 4,
        "scale_factor_spatial": 8,
    }
    with seeded(seed):
        return AutoencoderKLWan(**config | changes).eval()


def tiny_text_encoder(seed: int = 2, **changes: Any) -> UMT5EncoderModel:
    """umT5 with two layers; its vocabulary is that of `tiny_tokenizer`."""
    config = {"vocab_size": 259, "d_model": TEXT_DIM, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 2}
    with seeded(seed):
        return UMT5EncoderModel(UMT5Config(**config | changes)).eval()


def tiny_image_encoder(seed: int = 3, **changes: Any) -> CLIPVisionModel:
    """A vision transformer with 32-pixel patches: 50 tokens, 24 wide."""
    config = {
        "hidden_size": IMAGE_DIM,
        "intermediate_size": 48,
        "projection_dim": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 32,
        "hidden_act": "gelu",
    }
    with seeded(seed):
        return CLIPVisionModel(CLIPVisionConfig(**config | changes)).eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and T5's special tokens: <pad> 0, </s> 1 at the end, <unk> 2."""
    special = ["<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(special + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def tiny_components(image_encoder: bool = True) -> dict[str, Any]:
    """Everything that MagrefPipeline takes; `image_encoder` is None where none is wanted."""
    return {
        "transformer": tiny_transformer(image_encoder),
        "vae": tiny_vae(),
        "text_encoder": tiny_text_encoder(),
        "tokenizer": tiny_tokenizer(),
        "scheduler": UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0),
        "image_encoder": tiny_image_encoder() if image_encoder else None,
    }


def published_names(num_layers: int, image_encoder: bool = True) -> list[str]:
    """The names of all of the transformer's tensors as the authors store them."""
    names = [f"{layer}.{leaf}" for layer in ("patch_embedding", "head.head") for leaf in ("weight", "bias")]
    layers = ["text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2", "time_projection.1"]
    if image_encoder:
        layers += [f"img_emb.proj.{index}" for index in (0, 1, 3, 4)]
    names.append("head.modulation")
    for block in (f"blocks.{index}" for index in range(num_layers)):
        crossed = ["q", "k", "v", "o"] + (["k_img", "v_img"] if image_encoder else [])
        layers += [f"{block}.self_attn.{kind}" for kind in "qkvo"] + [f"{block}.cross_attn.{kind}" for kind in crossed]
        layers += [f"{block}.norm3", f"{block}.ffn.0", f"{block}.ffn.2"]
        norms = ["self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q", "cross_attn.norm_k"]
        norms += ["cross_attn.norm_k_img"] if image_encoder else []
        names += [f"{block}.{norm}.weight" for norm in norms] + [f"{block}.modulation"]
    return names + [f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")]


def published_state(transformer: WanTransformer3DModel) -> dict[str, torch.Tensor]:
    """A transformer's tensors under the names of the published checkpoint."""
    state = transformer.state_dict()
    names = published_names(transformer.config.num_layers, transformer.config.image_dim is not None)
    return {name: state.pop(diffusers_key(name)).contiguous() for name in names} | state
