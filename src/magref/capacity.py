"""Whether a machine can run a model, as an estimate from sizes; and what is known of processors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.filesize import decimal

from magref.errors import InputError
from magref.models import EMBEDDED_NAME
from magref.presets import CARDS, Preset
from magref.sizes import ENCODERS, Sizes, block_matrices, published_sizes

Verdict = Literal["fits", "slow", "no"]
GB = 1e9
USABLE = 0.95
"""Of a card's memory: the rest goes to its driver's own context, and to gaps between tensors."""


@dataclass(frozen=True)
class Gpu:
    """One processor: dense bfloat16 FLOP/s at its peak, its memory, and whether it multiplies fp8 twice as fast."""

    name: str
    peak_flops: float
    memory_bytes: float
    fp8: bool = False


_GIB = 2**30
GPUS = {
    "h100": Gpu("H100 80 GB", 989e12, 80 * _GIB, fp8=True),
    "h200": Gpu("H200 141 GB", 989e12, 140 * _GIB, fp8=True),
    "a100": Gpu("A100 80 GB", 312e12, 80 * _GIB),
    "l40s": Gpu("L40S 48 GB", 362e12, 48 * _GIB, fp8=True),
    "rtxa6000": Gpu("RTX A6000 48 GB", 155e12, 48 * _GIB),
    "rtx5090": Gpu("RTX 5090 32 GB", 209e12, 32 * _GIB, fp8=True),
    "rtx4090": Gpu("RTX 4090 24 GB", 165e12, 24 * _GIB, fp8=True),
    "rtx3090": Gpu("RTX 3090 24 GB", 71e12, 24 * _GIB),
    "rtx4080": Gpu("RTX 4080 16 GB", 97e12, 16 * _GIB, fp8=True),
    "cpu": Gpu("two CPU cores", 0.15e12, 16 * _GIB),
}
"""Peaks as their makers state them, with sums in float32; the CPU's is a guess at a laptop's."""


def find_gpu(name: str) -> Gpu:
    """The processor of this short name.

    Raises:
        InputError: it is not known.
    """
    if name not in GPUS:
        raise InputError(f"the processor {name!r} is unknown; use one of {', '.join(GPUS)}")
    return GPUS[name]


def known_gpu(model: str) -> Gpu | None:
    """The one that a driver calls so, "NVIDIA GeForce RTX 4090"; None where it is not in the table."""
    squeezed = model.lower().replace(" ", "")
    return next((gpu for name, gpu in GPUS.items() if name in squeezed), None)


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
class Working:
    """The most bytes beside the weights while the references are encoded, in a sampling step, and in decoding."""

    encode: int
    step: int
    decode: int


@dataclass(frozen=True)
class Memory:
    """What one video takes by a preset, in bytes: on the card, by network and stage of work, and beside it.

    `networks` is what of each network is on the card while it works; `host` what lies in the CPU's memory meanwhile.
    """

    networks: Mapping[str, int]
    working: Working
    peak: int
    host: int

    def on_card(self, shared: bool) -> int:
        """What the card holds; on a Mac, whose memory is `shared`, also what lies beside it."""
        return self.peak + (self.host if shared else 0)

    def fits(self, card_bytes: float, host_bytes: float, *, shared: bool) -> bool:
        """Whether a card and a CPU with so much memory suffice."""
        return self.on_card(shared) <= USABLE * card_bytes and (shared or self.host <= host_bytes)


def needed_memory(sizes: Sizes, preset: Preset, working: Working, element: int = 2) -> Memory:
    """The arithmetic of `Memory`: weights that stay, and the stage that takes most beside them.

    `element` is the size of a weight in bytes; the VAE's are float32. Of a network that is streamed, its largest layer
    is on the card; of the transformer two blocks, one that works and one on its way, and what is not in blocks.
    """
    whole = {"transformer": transformer_bytes(sizes, preset, element)}
    whole |= {name: sizes.parameters(name) * (4 if name == "vae" else element) for name in ENCODERS}
    pieces = {name: sizes.encoders[name].largest * element for name in ENCODERS if name in sizes.encoders}
    blocks = block_matrices(sizes.config) * (1 if preset.quantize else element)
    pieces["transformer"] = whole["transformer"] - blocks + 2 * blocks // sizes.config["num_layers"]
    networks = {name: pieces[name] if name in preset.streamed else size for name, size in whole.items() if size}
    resident = sum(size for name, size in networks.items() if name not in preset.streamed)
    passing = {name: networks.get(name, 0) for name in preset.streamed}
    stages = (
        passing.get("text_encoder", 0),
        passing.get("image_encoder", 0),
        working.encode,
        passing.get("transformer", 0) + working.step,
        working.decode,
    )
    return Memory(networks, working, resident + max(stages), sum(whole[name] for name in preset.streamed))


def transformer_bytes(sizes: Sizes, preset: Preset, element: int = 2) -> int:
    """Of the transformer's weights; the scales of quantised rows, a thousandth of them, are left out."""
    matrices = block_matrices(sizes.config) if preset.quantize else 0
    return matrices + (sizes.parameters("transformer") - matrices) * element


@dataclass(frozen=True)
class Need:
    """What a model takes, in bytes; an estimate.

    `cards` has presets for cards and what they need, that which gives up least first; `cpu_bytes` is what a CPU
    needs with weights of two bytes.
    """

    name: str
    cards: tuple[tuple[Preset, Memory], ...]
    cpu_bytes: int


@dataclass(frozen=True)
class Ability:
    """Whether this machine can run a model, as an estimate, in one sentence."""

    model: str
    verdict: Verdict
    sentence: str


_WHOLE = Working(encode=int(8.9 * GB), step=int(6.2 * GB), decode=int(7.1 * GB))
_IN_TILES = Working(encode=int(4 * GB), step=int(6.2 * GB), decode=int(4.3 * GB))
"""Of 81 frames at 480 x 832, rounded up from `costs.count_working`; with streamed blocks a step takes less."""


def _published_need() -> Need:
    sizes = published_sizes()
    cards = tuple((preset, needed_memory(sizes, preset, _IN_TILES if preset.tile_vae else _WHOLE)) for preset in CARDS)
    networks = sum(sizes.parameters(name) * (4 if name == "vae" else 2) for name in ("transformer", *ENCODERS))
    return Need("magref-14B", cards, networks + _WHOLE.decode)


_NANO = Memory({"transformer": int(0.1 * GB)}, Working(0, 0, int(0.5 * GB)), int(0.6 * GB), 0)
NEEDS = (Need(EMBEDDED_NAME, ((CARDS[0], _NANO),), _NANO.peak), _published_need())


def ability(need: Need, devices: Sequence[Device]) -> Ability:
    """Whether a model fits: on the GPU with the most memory by one of the presets, or on the CPU."""
    gpus = [device for device in devices if device.name != "cpu"]
    ram = next((device.memory_bytes for device in devices if device.name == "cpu"), 0)
    if not gpus:
        return _cpu_ability(need, next(device for device in devices if device.name == "cpu"))
    gpu = max(gpus, key=lambda device: device.memory_bytes)
    shared = gpu.name == "mps"  # on a Mac the card's memory is the CPU's
    where = f"{gpu.name} with {decimal(gpu.memory_bytes)}"
    for preset, memory in need.cards:
        if memory.fits(gpu.memory_bytes, ram, shared=shared):
            how = "" if preset is CARDS[0] else f" with --preset {preset.name}"
            return Ability(need.name, "fits", f"fits on {where}{how}; it needs about {decimal(memory.on_card(shared))}")
    least, memory = need.cards[-1]
    return Ability(
        need.name,
        "no",
        f"cannot run: even with --preset {least.name} it needs about {decimal(memory.peak)}, and "
        f"{decimal(memory.host)} of memory beside it; here are {where} and {decimal(ram)} of memory",
    )


def _cpu_ability(need: Need, cpu: Device) -> Ability:
    needed = need.cpu_bytes * (1 if cpu.bf16 else 2)  # float32 where bfloat16 is slow
    said = f"about {decimal(needed)} of {decimal(cpu.memory_bytes)}"
    if cpu.memory_bytes < needed:
        return Ability(need.name, "no", f"cannot run: there is no GPU, and the CPU needs {said}")
    if need.name == EMBEDDED_NAME:
        return Ability(need.name, "fits", f"fits: it runs on this CPU in seconds, with {said}")
    return Ability(need.name, "slow", f"fits in the memory ({said}), but without a GPU one video takes a day or more")
