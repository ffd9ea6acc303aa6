"""Low-rank adapters on a frozen transformer, through peft; quantised where asked."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from peft import LoraConfig

from magref.errors import InputError
from magref.quantization import quantize_layers
from magref.training.loading import copy_own_part
from magref.training.recipe import LoraRecipe


def add_lora(transformer: Any, recipe: LoraRecipe) -> None:
    """Freeze the weights and put adapters beside the layers whose names end in one of the recipe's targets.

    Works on a model without memory too; `fill_lora` then gives the adapters their first values.

    Raises:
        InputError: no layer has such a name.
    """
    transformer.requires_grad_(False)
    transformer.add_adapter(
        LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=_targets(transformer, recipe))
    )
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # adapters are small; in bfloat16 their steps would be lost


def fill_lora(transformer: Any, seed: int) -> None:
    """The usual first values: `lora_A` random, by the seed and its name; `lora_B` zero, so that nothing changes."""
    for name, parameter in transformer.named_parameters():
        if ".lora_A." in name:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            bound = math.sqrt(1 / parameter.shape[1])  # what peft draws: Kaiming's with a slope of sqrt(5)
            copy_own_part(parameter, (2 * torch.rand(parameter.shape, generator=generator) - 1) * bound)
        elif ".lora_B." in name:
            copy_own_part(parameter, torch.zeros(parameter.shape))


def quantize(transformer: Any, recipe: LoraRecipe, device: torch.device) -> None:
    """Keep the weights that get adapters in 8 bits, and bring the blocks to `device`.

    Each block is quantised as it comes there, so that one at a time lies there as it was stored.

    Raises:
        ResourceError: a package is missing.
    """
    targets = _targets(transformer, recipe)
    for number, block in enumerate(transformer.blocks):
        block.to(device)
        prefix = f"blocks.{number}."
        wanted = {name.removeprefix(prefix) for name in targets if name.startswith(prefix)}
        quantize_layers(block, "int8", partial(_among, wanted))


def _among(names: Collection[str], _layer: torch.nn.Module, name: str) -> bool:
    return name in names


def _targets(transformer: Any, recipe: LoraRecipe) -> list[str]:
    names = [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    targets = [name for name in names if name.startswith("blocks.") and name.endswith(recipe.targets)]
    if not targets:
        raise InputError(f"no layer's name ends in {', '.join(recipe.targets)}; mend model.lora.targets")
    return targets
