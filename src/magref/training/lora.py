"""Low-rank adapters on a frozen transformer, through peft; quantised where asked."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig

from magref.errors import InputError, ResourceError
from magref.training.recipe import LoraRecipe


def add_lora(transformer: Any, recipe: LoraRecipe, seed: int) -> None:
    """Freeze the weights and put adapters beside the layers whose names end in one of the recipe's targets.

    Raises:
        InputError: no layer has such a name.
        ResourceError: quantisation needs a package.
    """
    transformer.requires_grad_(False)
    names = [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    targets = [name for name in names if name.startswith("blocks.") and name.endswith(recipe.targets)]
    if not targets:
        raise InputError(f"no layer's name ends in {', '.join(recipe.targets)}; mend model.lora.targets")
    if recipe.quantize == "int8":
        _quantize(transformer, targets)
    device = next(transformer.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer.add_adapter(LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=targets))
    transformer.to(device)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # adapters are small; in bfloat16 their steps would be lost


def _quantize(transformer: Any, names: list[str]) -> None:
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise ResourceError("quantised training needs an extra package; run pip install 'magref[int8]'") from None
    wanted = set(names)
    quantize_(transformer, Int8WeightOnlyConfig(), filter_fn=lambda module, name: name in wanted)
