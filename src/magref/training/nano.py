"""The parts of magref-nano, the small model that ships with the package, and how they are put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from magref.flow import make_scheduler
from magref.pipeline import MagrefPipeline
from magref.settings import GenerationDefaults
from magref.synthetic.clips import caption_sample

DEFAULTS = GenerationDefaults(
    height=64,
    width=96,
    num_frames=17,
    num_inference_steps=20,
    guidance_scale=2.0,
    flow_shift=5.0,
    solver="unipc",
    drop_frames=0,
    fps=8.0,
    negative_prompt="",
    text_tokens=64,
)

TEXT_WIDTH = 128
VOCABULARY = 1024

TRANSFORMER: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 4,
    "attention_head_dim": 48,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": TEXT_WIDTH,
    "freq_dim": 128,
    "ffn_dim": 768,
    "num_layers": 8,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 128,
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, its merges learnt on captions of the synthetic world; it can spell any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(caption_sample(20_000), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")  # noqa: S106


def build_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    """A two-layer umT5 encoder, trained together with the transformer."""
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=TEXT_WIDTH,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return UMT5EncoderModel(config)


def build_transformer() -> WanTransformer3DModel:
    """A Wan2.1 image-to-video transformer of a few million parameters, without image encoder tokens."""
    return WanTransformer3DModel(**TRANSFORMER)


def export(
    folder: Path,
    *,
    transformer: WanTransformer3DModel,
    text_encoder: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    vae: AutoencoderKLWan,
) -> None:
    """Save the pipeline with weights in bfloat16; they are loaded in float32 where the CPU is faster with it."""
    pipeline = MagrefPipeline(
        transformer=transformer.to(torch.bfloat16),
        vae=vae.to(torch.bfloat16),
        text_encoder=text_encoder.to(torch.bfloat16),
        tokenizer=tokenizer,
        scheduler=make_scheduler("unipc"),
        generation_defaults=DEFAULTS.model_dump(),
    )
    pipeline.save_pretrained(folder)
