"""Tiny random models of what the metrics use beside curation's, saved to disk as the large ones are."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from tiny import seeded
from tiny_models import qwen_tokenizer

HEAD_PLACES = (0, 2, 4, 6, 7)


def save_gme(folder: Path) -> Path:
    """Qwen2-VL of two layers with a tokenizer."""
    tokenizer = qwen_tokenizer()
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.5,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0},
        },
        vision_config={
            "depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "initializer_range": 0.5,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )  # fmt: skip
    with seeded(21):
        model = Qwen2VLForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_head(path: Path, width: int = 12) -> Path:
    """The aesthetic head over a narrow CLIP; its answers lie around 5, as those of the published one."""
    with seeded(22):
        layers = [nn.Linear(*pair) for pair in pairwise((width, 1024, 128, 64, 16, 1))]
        with torch.no_grad():
            layers[-1].bias.fill_(5.0)
            layers[-1].weight.mul_(40)
    path.parent.mkdir(parents=True, exist_ok=True)
    named = zip(HEAD_PLACES, layers, strict=True)
    state = {f"layers.{place}.{name}": value for place, layer in named for name, value in layer.state_dict().items()}
    torch.save(state, path)
    return path
