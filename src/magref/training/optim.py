"""Optimizers, the learning rate over the steps, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from magref.training.muon import Muon
from magref.training.recipe import OptimRecipe

_DECAY_SHARE = 0.3
"""Of the trapezoid's steps, so many at the end lead down to zero."""


def build_optimizers(model: torch.nn.Module, recipe: OptimRecipe) -> list[torch.optim.Optimizer]:
    """AdamW for all that is trained (paper 4.1); or Muon for the blocks' matrices and AdamW for the rest."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if recipe.optimizer == "muon" and ".blocks." in f".{name}" and p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for _, p in named if id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        muon = Muon(matrices, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        muon.param_groups[0]["scale"] = recipe.muon_scale
        optimizers.append(muon)
    if others:  # adapters are all matrices
        rate, decay = recipe.learning_rate, recipe.weight_decay
        optimizers.append(torch.optim.AdamW(others, lr=rate, betas=recipe.betas, weight_decay=decay, fused=True))
    return optimizers


def learning_rate(recipe: OptimRecipe, step: int) -> float:
    """Of one step: a linear warm-up, and then the schedule (paper 4.1: cosine annealing with periodic restarts)."""
    share = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    if recipe.schedule == "trapezoid":
        share = min(share, (1 - step / recipe.steps) / _DECAY_SHARE)
    elif recipe.schedule == "cosine":
        within = max(0, step - recipe.warmup_steps) % recipe.period_steps / recipe.period_steps
        share *= recipe.lowest + (1 - recipe.lowest) * 0.5 * (1 + math.cos(math.pi * within))
    return recipe.learning_rate * share


class Averages:
    """Exponential moving averages of the weights that are trained, in float32, sharded as they are."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.values = {name: p.detach().clone().float() for name, p in self._parameters}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights; early steps, whose weights are poor, are forgotten faster."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters:
            self.values[name].lerp_(parameter.float(), 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their averages; a second time undoes it."""
        for name, parameter in self._parameters:
            kept = parameter.detach().clone()
            parameter.copy_(self.values[name])
            self.values[name].copy_(kept)


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """The same rate for all, but where a group has a scale of its own."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)


def trainable(model: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    """The parameters that are trained."""
    return (parameter for parameter in model.parameters() if parameter.requires_grad)
