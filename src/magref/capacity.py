"""Whether a machine can run a model, as an estimate from sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.filesize import decimal

from magref.models import EMBEDDED_NAME

Verdict = Literal["fits", "offloading", "slow", "no"]
GB = 1e9


@dataclass(frozen=True)
class Device:
    """One processor that can run a model; `bf16` says whether it multiplies bfloat16 in hardware.

    `detail` is the number of cores, or the compute capability. MPS shares the memory of the CPU.
    """

    name: str
    model: str
    memory_bytes: int
    bf16: bool
    detail: str = ""


@dataclass(frozen=True)
class Need:
    """What a model takes, in bytes; an estimate.

    `working_bytes` is for the activations of a video at the model's defaults, decoding included.
    """

    name: str
    networks_bytes: tuple[int, ...]
    working_bytes: int

    @property
    def all_bytes(self) -> int:
        """Every network on the device at once."""
        return sum(self.networks_bytes) + self.working_bytes

    @property
    def largest_bytes(self) -> int:
        """One network on the device at a time."""
        return max(self.networks_bytes) + self.working_bytes


@dataclass(frozen=True)
class Ability:
    """Whether this machine can run a model, as an estimate, in one sentence."""

    model: str
    verdict: Verdict
    sentence: str


# Transformer, umT5, CLIP and VAE of the published model; the VAE runs in float32. Working memory: 32,760 tokens through
# a 14B transformer, then the decoding of 81 frames at 480 x 832.
_COMPANIONS = (int(11.4 * GB), int(1.3 * GB), int(0.5 * GB))
NEEDS = (
    Need(EMBEDDED_NAME, (int(0.1 * GB),), int(0.5 * GB)),
    Need("magref-14B, bfloat16", (int(32.8 * GB), *_COMPANIONS), int(6 * GB)),
    Need("magref-14B, transformer in fp8", (int(16.4 * GB), *_COMPANIONS), int(6 * GB)),
)


def ability(need: Need, devices: Sequence[Device]) -> Ability:
    """Whether a model fits: on the GPU with the most memory, offloaded to the CPU's memory, or on the CPU alone."""
    gpus = [device for device in devices if device.name != "cpu"]
    ram = next((device.memory_bytes for device in devices if device.name == "cpu"), 0)
    if not gpus:
        return _cpu_ability(need, next(device for device in devices if device.name == "cpu"))
    gpu = max(gpus, key=lambda device: device.memory_bytes)
    where = f"{gpu.name} with {decimal(gpu.memory_bytes)}"
    whole, largest = (f"about {decimal(size)}" for size in (need.all_bytes, need.largest_bytes))
    ram_suffices = ram >= sum(need.networks_bytes) and gpu.name != "mps"  # on a Mac both are the same memory
    if gpu.memory_bytes >= need.all_bytes:
        return Ability(need.name, "fits", f"fits on {where}; it needs {whole}")
    if gpu.memory_bytes >= need.largest_bytes and ram_suffices:
        return Ability(
            need.name,
            "offloading",
            f"needs offloading, pipe.enable_model_cpu_offload(): one network at a time needs {largest} of {where}",
        )
    if gpu.memory_bytes >= need.working_bytes and ram_suffices:
        return Ability(
            need.name,
            "slow",
            f"needs offloading layer by layer, pipe.enable_sequential_cpu_offload(), which is slow: one network at a "
            f"time would need {largest}, more than {where}",
        )
    return Ability(
        need.name,
        "no",
        f"cannot run: it needs {whole}, or {largest} with offloading and {decimal(sum(need.networks_bytes))} of "
        f"memory beside it; here are {where} and {decimal(ram)} of memory",
    )


def _cpu_ability(need: Need, cpu: Device) -> Ability:
    networks = sum(need.networks_bytes) * (1 if cpu.bf16 else 2)  # float32 where bfloat16 is slow
    needed, here = decimal(networks + need.working_bytes), decimal(cpu.memory_bytes)
    if cpu.memory_bytes < networks + need.working_bytes:
        return Ability(need.name, "no", f"cannot run: there is no GPU, and the CPU needs about {needed} of {here}")
    if need.name == EMBEDDED_NAME:
        return Ability(need.name, "fits", f"fits: it runs on this CPU in seconds, with about {needed} of {here}")
    return Ability(
        need.name, "slow", f"fits in the memory ({needed} of {here}), but without a GPU one video takes a day or more"
    )
