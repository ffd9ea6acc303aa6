"""Where and in what precision a model runs."""

from __future__ import annotations

import torch

from magref.errors import InputError, ResourceError

AMPERE = (8, 0)
"""The compute capability from which NVIDIA's GPUs multiply bfloat16 in hardware."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the best one present: CUDA, then Apple's MPS, then the CPU.

    Raises:
        ResourceError: the named device is not present.
        InputError: the name is no device's.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"device {name!r} is unknown here; use cpu, cuda, cuda:0 or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        present = torch.cuda.device_count()
        raise ResourceError(f"device {name} was asked for, but this PyTorch sees {present} GPUs; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("device mps was asked for, but there is none here; use --device cpu")
    return device


def choose_dtype(device: torch.device, name: str | None = None) -> torch.dtype:
    """The named precision of transformer and encoders, or the best one for the device; the VAE stays in float32.

    bfloat16 on GPUs and CPUs that multiply it in hardware; other CPUs take up to a hundred times longer with it.
    """
    if name is not None:
        if name not in DTYPES:
            raise InputError(f"dtype {name!r} is unknown; use {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
        return torch.bfloat16 if native else torch.float32
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < AMPERE:
        return torch.float32
    return torch.bfloat16


def loading_dtype(stored: str) -> torch.dtype:
    """The precision to load weights in that are stored as torch's dtype of this name, on the best device here."""
    return choose_dtype(choose_device()) if stored == "bfloat16" else getattr(torch, stored)
