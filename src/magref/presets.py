"""How a model is laid out on a processor: presets by the memory of a card, and putting a pipeline where one says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from rich.filesize import decimal

from magref.errors import InputError, ResourceError
from magref.settings import GenerationDefaults, Quantization, Record

if TYPE_CHECKING:
    import torch

    from magref.sizes import Sizes

AUTO = "auto"


class Preset(Record):
    """Where each network lies and what it is kept in; whatever is not said is on the device, as it was loaded."""

    name: str
    quantize: Quantization | None = None
    """Of the transformer's large matrices; an approximation."""
    streamed: tuple[str, ...] = ()
    """Networks that lie in the CPU's memory and come to the card piece by piece, whenever they are used."""
    tile_vae: bool = False
    """Code videos in overlapping tiles that are blended; an approximation."""


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(name="80gb"),
        Preset(name="48gb", streamed=("text_encoder", "image_encoder")),
        Preset(name="24gb", quantize="int8", streamed=("text_encoder", "image_encoder"), tile_vae=True),
        Preset(name="16gb", quantize="int8", streamed=("text_encoder", "image_encoder", "transformer"), tile_vae=True),
        Preset(name="cpu"),
    )
}
"""For cards of so many gigabytes: the less a card holds, the more is given up."""
CPU = PRESETS["cpu"]
CARDS = tuple(preset for preset in PRESETS.values() if preset is not CPU)


def check_preset(name: str | None, device: torch.device) -> None:
    """Raise InputError unless there is a preset of this name, for this kind of device; no name will do."""
    if name not in (None, AUTO, *PRESETS):
        raise InputError(f"preset {name!r} is unknown; use {', '.join((AUTO, *PRESETS))}")
    if device.type == "cpu" and name not in (None, AUTO, CPU.name):
        raise InputError(f"the preset {name} is for a GPU, and this runs on the CPU; use --preset cpu or auto")
    if device.type != "cpu" and name == CPU.name:
        raise InputError(f"the preset cpu is for the CPU, not for {device}; leave out the device, or use --preset auto")


def with_quantization(preset: Preset, quantize: str | None) -> Preset:
    """The preset with another quantisation than its own; "none" for weights as they are, None for its own.

    Raises:
        InputError: there is no such quantisation.
    """
    if quantize is None:
        return preset
    if quantize not in (*get_args(Quantization), "none"):
        raise InputError(f"quantisation {quantize!r} is unknown; use {', '.join(get_args(Quantization))} or none")
    return preset.model_copy(update={"quantize": None if quantize == "none" else quantize})


def choose_preset(
    name: str | None,
    device: torch.device,
    sizes: Callable[[], Sizes],
    settings: GenerationDefaults,
    *,
    element: int,
    quantize: str | None = None,
) -> Preset:
    """The preset of this name for videos with these settings; "auto" is the first by which they fit.

    Without a name everything is put on the device, whether or not it fits.

    Args:
        name: of `PRESETS`, "auto" or None.
        device: what the transformer runs on.
        sizes: tells the model's; called where a card's memory decides.
        settings: of the largest video.
        element: bytes of a weight.
        quantize: takes the place of the preset's own; "none" for weights as they are.

    Raises:
        InputError: name or quantisation is unknown, or for another kind of device.
        ResourceError: the card's memory does not suffice, or the package for quantised weights is missing.
    """
    from magref.quantization import check_quantization

    check_preset(name, device)
    if device.type == "cpu" or name is None:
        chosen = with_quantization(CPU if device.type == "cpu" else CARDS[0], quantize)
    else:
        cards = [with_quantization(card, quantize) for card in CARDS]
        chosen = _fitting(name, cards, device, sizes(), settings, element)
    if chosen.quantize is not None:
        check_quantization(chosen.quantize, device)
    return chosen


def _fitting(
    name: str, cards: list[Preset], device: torch.device, sizes: Sizes, settings: GenerationDefaults, element: int
) -> Preset:
    from magref.costs import predict

    memory, beside, shared = card_memory(device), host_memory(), device.type == "mps"
    wanted = [card for card in cards if name in (AUTO, card.name)]
    costs = []
    for card in wanted:
        costs += predict(sizes, settings, [card], element=element)
        if costs[-1].memory.fits(memory, beside, shared=shared):
            return card
    others = predict(sizes, settings, [card for card in cards if card not in wanted], element=element)
    fitting = [cost.preset.name for cost in others if cost.memory.fits(memory, beside, shared=shared)]
    remedy = f"use --preset {fitting[0]}" if fitting else "use a smaller size or fewer frames"
    needed = costs[-1].memory
    where = f"{decimal(needed.on_card(shared))} of {device}, which has {decimal(memory)}"
    if needed.fits(memory, needed.host, shared=shared):
        where = f"{decimal(needed.host)} of the CPU's memory, which has {decimal(beside)}"
        remedy = f"use --preset {fitting[0]}" if fitting else "use a machine with more"
    raise ResourceError(f"with the preset {wanted[-1].name} this needs about {where}; {remedy}")


def card_memory(device: torch.device) -> int:
    """In bytes; a Mac's card has the CPU's."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return host_memory()


def host_memory() -> int:
    """The CPU's, in bytes."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total)


def place(pipeline: Any, preset: Preset, device: torch.device) -> None:
    """Put a pipeline whose networks are in the CPU's memory where the preset says.

    Raises:
        ResourceError: the preset quantises, and the package for it is missing.
    """
    import torch

    from magref.quantization import quantize_transformer

    networks = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    homes = {name: torch.device("cpu") if name in preset.streamed else device for name in networks}
    if preset.quantize is not None:
        quantize_transformer(pipeline.transformer, preset.quantize, device, homes["transformer"])
    for name, network in networks.items():
        network.to(homes[name])
        if name in preset.streamed:
            _stream(network, device, ahead=name == "transformer")
    if preset.tile_vae:
        pipeline.vae.enable_tiling()


def _stream(network: torch.nn.Module, device: torch.device, *, ahead: bool) -> None:
    """Block by block, the next on its way while one works; or, for what is used once a video, layer by layer."""
    from diffusers.hooks import apply_group_offloading

    if ahead:
        cuda = device.type == "cuda"
        apply_group_offloading(
            network, device, offload_type="block_level", num_blocks_per_group=1, use_stream=cuda, record_stream=cuda
        )
    else:
        apply_group_offloading(network, device, offload_type="leaf_level")
