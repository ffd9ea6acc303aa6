"""Train magref-nano's transformer and text encoder on cached latents with flow matching."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from magref.flow import TRAIN_TIMESTEPS, add_noise, flow_loss, training_sigmas
from magref.training.latents import LatentSamples
from magref.training.muon import Muon


@dataclass(frozen=True)
class TransformerRecipe:
    """The defaults of the shipped transformer; its model card says where its own run differed."""

    steps: int = 10_000
    batch: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    text_dropout: float = 0.1
    flow_shift: float = 5.0
    ema_decay: float = 0.998
    seed: int = 0


def text_rows(
    captions: list[str], tokenizer: PreTrainedTokenizerFast, text_encoder: UMT5EncoderModel, text_tokens: int
) -> torch.Tensor:
    """(B, text_tokens, D) features, zero beyond each caption's end, as generation pads them."""
    tokens = tokenizer(captions, padding=True, max_length=text_tokens, truncation=True, return_tensors="pt")
    features = text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
    features = features * tokens.attention_mask[..., None]
    return F.pad(features, (0, 0, 0, text_tokens - features.shape[1]))


def learning_rate(recipe: TransformerRecipe, step: int) -> float:
    """Linear warm-up, the full rate, and over the last three tenths of the steps linearly to zero."""
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps, (1 - step / recipe.steps) / 0.3)


def optimizers(recipe: TransformerRecipe, models: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the transformer's blocks, AdamW for all else."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in models.named_parameters():
        hidden = name.startswith("transformer.blocks.") and parameter.ndim == 2
        (matrices if hidden else others).append(parameter)
    return [
        Muon(matrices, lr=recipe.learning_rate, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(others, weight_decay=recipe.weight_decay, betas=(0.9, 0.98), fused=True),
    ]


def train_transformer(
    recipe: TransformerRecipe,
    samples: LatentSamples,
    transformer: WanTransformer3DModel,
    text_encoder: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    text_tokens: int,
    save_every: int = 200,
    stop_after: int | None = None,
    compiled: bool = False,
) -> tuple[WanTransformer3DModel, UMT5EncoderModel]:
    """Train, or go on from `folder/checkpoint.pt`; returns the moving averages of both models.

    `stop_after` ends this run at an earlier step of the schedule, to be resumed; `compiled` lets torch compile the
    transformer, which takes a C++ compiler and a minute or two, and then a quarter less time for each step.
    """
    models = torch.nn.ModuleDict({"transformer": transformer, "text_encoder": text_encoder})
    averages = copy.deepcopy(models).requires_grad_(False)
    steppers = optimizers(recipe, models)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        models.load_state_dict(state["models"])
        averages.load_state_dict(state["averages"])
        for optimizer, saved in zip(steppers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    if compiled:
        transformer.compile()
    running, begun = 0.0, time.monotonic()
    last = min(recipe.steps, stop_after or recipe.steps)
    for step in range(first, last):
        loss = _step(recipe, samples, models, tokenizer, step, text_tokens)
        models.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(models.parameters(), recipe.clip_norm)
        for optimizer in steppers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step)
            optimizer.step()
        decay = min(recipe.ema_decay, (step + 1) / (step + 10))
        _average(averages, models, decay)
        running += loss.item()
        if (step + 1) % 25 == 0:
            with (folder / "loss.csv").open("a") as log:
                log.write(f"{step + 1},{running / 25:.5f},{time.monotonic() - begun:.0f}\n")
            running = 0.0
        if (step + 1) % save_every == 0 or step + 1 == last:
            temporary = checkpoint.with_suffix(".tmp")
            state = {"models": models.state_dict(), "averages": averages.state_dict(), "step": step + 1}
            torch.save(state | {"optimizers": [optimizer.state_dict() for optimizer in steppers]}, temporary)
            temporary.replace(checkpoint)
    return averages["transformer"], averages["text_encoder"]


def _step(
    recipe: TransformerRecipe, samples: LatentSamples, models: Any, tokenizer: Any, step: int, text_tokens: int
) -> torch.Tensor:
    """One batch's flow-matching loss over all latent frames."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    guidance, clean, captions = samples.batch(step, recipe.batch)
    dropped = torch.rand(len(captions), generator=generator) < recipe.text_dropout
    captions = ["" if drop else caption for caption, drop in zip(captions, dropped.tolist(), strict=True)]
    noise = torch.randn(clean.shape, generator=generator)
    sigmas = training_sigmas(len(captions), recipe.flow_shift, generator)
    noisy = add_noise(clean, noise, sigmas)
    predicted = models["transformer"](
        hidden_states=torch.cat([noisy, guidance], dim=1),
        timestep=sigmas * TRAIN_TIMESTEPS,
        encoder_hidden_states=text_rows(captions, tokenizer, models["text_encoder"], text_tokens),
        return_dict=False,
    )[0]
    return flow_loss(predicted, clean, noise).mean()


@torch.no_grad()
def _average(averages: torch.nn.Module, models: torch.nn.Module, decay: float) -> None:
    for average, parameter in zip(averages.parameters(), models.parameters(), strict=True):
        average.lerp_(parameter, 1 - decay)
