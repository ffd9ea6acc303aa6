"""The transformer's large matrices in 8 bits: less memory, and on new GPUs less time.

"int8" keeps the weights alone in 8 bits, for memory, on any device; "int8-dynamic" brings what is multiplied with them
to 8 bits too, for time: both through torchao. "fp8" is this package's own (`fp8.py`), for Ada, Hopper and later GPUs.
Approximations, off by default; docs/speed.md tells what they cost.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

from magref.elementwise import FP8_CAPABILITY
from magref.errors import InputError, ResourceError
from magref.fp8 import to_fp8
from magref.settings import Quantization


def check_quantization(kind: Quantization, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Before any weights load; `dtype` is that of all else.

    Raises:
        InputError: fp8 with another precision than bfloat16, which most GPUs do not multiply it to.
        ResourceError: the device does not multiply so, or the package that it needs is missing.
    """
    if kind != "fp8":
        if find_spec("torchao") is None:
            raise ResourceError(_MISSING.format(kind=kind))
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
        raise ResourceError(f"{device} does not multiply fp8, as Ada, Hopper and later GPUs do; use int8")
    if dtype not in (None, torch.bfloat16):
        raise InputError("weights in fp8 go with bfloat16 alone; leave out --dtype, or use --quantize int8")


def quantize_transformer(transformer: Any, kind: Quantization, device: torch.device, home: torch.device) -> None:
    """Keep the matrices of the blocks, 98% of a 14B model, in 8 bits with a scale for each row.

    Each block is quantised on `device` and goes to `home`, so that one at a time is on a device which cannot hold all.
    Adapters of LoRA stay as they are.
    """
    for block in transformer.blocks:
        block.to(device)
        quantize_layers(block, kind, lambda layer, name: isinstance(layer, torch.nn.Linear) and "lora_" not in name)
        block.to(home)


def quantize_layers(model: torch.nn.Module, kind: Quantization, wanted: Callable[[torch.nn.Module, str], bool]) -> None:
    """Quantise the linear layers of a model for which `wanted(layer, name)` holds, in place.

    Raises:
        ResourceError: the package that it needs is missing.
    """
    if kind == "fp8":
        to_fp8(model, wanted)
        return
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise ResourceError(_MISSING.format(kind=kind)) from None
    config: Any = Int8WeightOnlyConfig() if kind == "int8" else Int8DynamicActivationInt8WeightConfig()
    quantize_(model, config, filter_fn=wanted)


_MISSING = "weights in {kind} need an extra package; run pip install 'magref[int8]'"
