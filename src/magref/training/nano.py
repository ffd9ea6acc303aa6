"""A small model to train from nothing: `python -m magref.training.nano VAE FOLDER`.

It writes a model folder with the sizes that the embedded model has: a random transformer, and a text encoder that was
taught to read the synthetic world's captions; the recipes nano-start and nano then train the transformer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from magref.flow import make_scheduler
from magref.pipeline import MagrefPipeline
from magref.settings import GenerationDefaults
from magref.synthetic.plans import WorldConfig, plan_scene
from magref.training.reading import teach

DEFAULTS = GenerationDefaults(
    height=64,
    width=96,
    num_frames=17,
    num_inference_steps=20,
    guidance_scale=2.0,
    flow_shift=10.0,
    solver="unipc",
    drop_frames=0,
    fps=8.0,
    negative_prompt="",
    text_tokens=64,
)

TEXT_WIDTH = 128
VOCABULARY = 1024
CAPTIONS = 10_000
"""Of the synthetic world, from which the tokenizer learns its merges."""
READING_STEPS = 5000
"""Eight minutes of two CPU cores."""


def world_captions(count: int) -> list[str]:
    """Captions of the synthetic world's first samples, nothing rendered."""
    plans = (
        plan_scene(
            index,
            frames=DEFAULTS.num_frames,
            height=DEFAULTS.height,
            width=DEFAULTS.width,
            seed=0,
            split="train",
            config=WorldConfig(),
        )
        for index in range(count)
    )
    return [plan.caption.text for plan in plans]


def build_tokenizer(captions: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, its merges learnt on these captions; it can spell any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")  # noqa: S106


def build_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    """A random umT5 encoder of two layers, to be taught to read."""
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


def build_transformer(vae: AutoencoderKLWan, *, layers: int, heads: int) -> WanTransformer3DModel:
    """A Wan2.1 image-to-video transformer of 48 channels a head, without image encoder tokens.

    A token is one latent pixel and not Wan2.1's 2x2: four of them would bring 128 numbers of noise and 132 of the
    canvas into a width of 192, and since the velocity has the noise in it, the width would have to carry it to the end.
    """
    channels, mask = vae.config.z_dim, vae.config.scale_factor_temporal
    sizes: dict[str, Any] = {
        "patch_size": (1, 1, 1),
        "num_attention_heads": heads,
        "attention_head_dim": 48,
        "in_channels": 2 * channels + mask,
        "out_channels": channels,
        "text_dim": TEXT_WIDTH,
        "freq_dim": 128,
        "ffn_dim": 4 * 48 * heads,
        "num_layers": layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 128,
    }
    return WanTransformer3DModel(**sizes)


def make_text(reading_steps: int = READING_STEPS, seed: int = 0) -> tuple[PreTrainedTokenizerFast, UMT5EncoderModel]:
    """A tokenizer of the world's captions, and a text encoder that was taught to read them; prints its progress."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(world_captions(CAPTIONS))
    encoder = build_text_encoder(len(tokenizer))
    size = DEFAULTS.num_frames, DEFAULTS.height, DEFAULTS.width
    right = teach(encoder, tokenizer, size, steps=reading_steps, text_tokens=DEFAULTS.text_tokens, report=_tell)
    print(f"reading: {right:.1%} of the answers to new captions are right", flush=True)
    return tokenizer, encoder


def _tell(step: int, loss: float) -> None:
    print(f"reading, step {step}: loss {loss:.3f}", flush=True)


def write_base(
    vae: AutoencoderKLWan, tokenizer: PreTrainedTokenizerFast, text_encoder: UMT5EncoderModel, folder: Path, *,
    layers: int = 6, heads: int = 4, seed: int = 0,
) -> None:  # fmt: skip
    """Write the model folder."""
    torch.manual_seed(seed)
    pipeline = MagrefPipeline(
        transformer=build_transformer(vae, layers=layers, heads=heads),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=make_scheduler("unipc"),
        generation_defaults=DEFAULTS.model_dump(),
    )
    pipeline.save_pretrained(folder)


def main() -> None:
    """Put a trained autoencoder, a text encoder that reads, and random weights together."""
    parser = argparse.ArgumentParser(prog="python -m magref.training.nano", description=__doc__)
    parser.add_argument("vae", type=Path, help="the folder of an autoencoder, from magref.training.autoencoder")
    parser.add_argument("folder", type=Path, help="the model folder to write")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4, help="of 48 channels each")
    options = parser.parse_args()
    config = AutoencoderKLWan.load_config(options.vae)
    vae = AutoencoderKLWan.from_config({key: value for key, value in config.items() if key != "_name_or_path"})
    vae.load_state_dict(AutoencoderKLWan.from_pretrained(options.vae).state_dict())
    write_base(vae.to(torch.bfloat16), *make_text(), options.folder, layers=options.layers, heads=options.heads)


if __name__ == "__main__":
    main()
