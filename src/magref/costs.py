"""What a video takes by each preset, in memory and time, predicted from sizes; no weights are loaded.

Memory is counted by running the code on tensors without data (`accounting.py`). Time is arithmetic, the work over what
an assumed share of the processor's peak does, and is marked as predicted wherever it is shown.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from rich import box
from rich.filesize import decimal
from rich.table import Table

from magref.accounting import Use, use_of
from magref.autoencoder import PIECE_PIXELS
from magref.capacity import (
    GPUS,
    USABLE,
    Gpu,
    Memory,
    Working,
    find_gpu,
    known_gpu,
    needed_memory,
    transformer_bytes,
)
from magref.conditioning import Conditioning, decode_pieces, encode_video
from magref.denoiser import Denoiser, PlainDenoiser
from magref.geometry import LatentShape, Strides, VideoShape
from magref.placement import choose_device, choose_dtype
from magref.presets import Preset, card_memory
from magref.settings import GenerationDefaults, Quantization
from magref.sizes import IMAGE_TOKENS, Sizes, forward_flops, linear_flops, published_sizes
from magref.training.loading import build_transformer

UTILISATION = 0.5
"""Share of a card's peak that a step reaches; an assumption. diffusers reaches 0.35 on an H100, the fastest published
engine 0.66."""
HOST_BYTES_S, STREAM_BYTES_S = 8e9, 20e9
"""From the CPU's memory to the card, at once and ahead of use; assumptions for PCIe 4.0."""

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
_STEP = "guided step"
_KINDS: dict[str, Quantization | None] = {"ours": None, "ours, fp8": "fp8"}
"""The names of what is looked for there."""
_MEASURED_SHAPE, _MEASURED_GUIDANCE = VideoShape(81, 480, 832), 5.0
_META = torch.device("meta")
_EVEN = 3
"""The latent frame from which on encoding takes evenly more memory and work."""
_TILED_COPIES = 7
"""Of the video in float32, which encoding in tiles holds beside the tile in work; counted for Wan2.1's VAE."""
TAIL_FRAMES = 4
"""References that a token-wise model is counted with; Phantom takes no more."""


@dataclass(frozen=True)
class Processor:
    """What a plan is for; `gpu` is None for a card whose peak is not known."""

    name: str
    memory_bytes: int
    gpu: Gpu | None
    cpu: bool = False
    element: int = 2
    """Bytes of a weight."""


def find_processor(name: str | None = None) -> Processor:
    """The one of this short name in `GPUS`, or the best one here.

    Raises:
        InputError: the name is not known.
    """
    if name is not None:
        gpu = find_gpu(name)
        return Processor(gpu.name, int(gpu.memory_bytes), gpu, cpu=name == "cpu")
    device = choose_device()
    memory, element = card_memory(device), choose_dtype(device).itemsize
    if device.type == "cuda":
        model = torch.cuda.get_device_name(device)
        return Processor(model, memory, known_gpu(model), element=element)
    here = device.type == "cpu"
    return Processor("this CPU" if here else "this Mac", memory, GPUS["cpu"] if here else None, here, element)


@dataclass(frozen=True)
class Cost:
    """What a video takes by one preset; the seconds are predicted, and None where the processor is not known.

    `measured_step_s` is what a step of this size took on this card with the transformer on it, where a benchmark of
    this repository has measured that.
    """

    preset: Preset
    memory: Memory
    step_s: float | None
    video_s: float | None
    measured_step_s: float | None = None

    def fits(self, memory_bytes: float) -> bool:
        """Whether a card with so much memory suffices."""
        return self.memory.peak <= USABLE * memory_bytes


def predict(
    sizes: Sizes, settings: GenerationDefaults, presets: Sequence[Preset], gpu: Gpu | None = None, *, element: int = 2
) -> list[Cost]:
    """The cost of a video with these settings by each preset; `gpu` is None where its peak is not known.

    `element` is the size of a weight in bytes: 2, or 4 for a processor without fast bfloat16.
    """
    shape = VideoShape(settings.num_frames, settings.height, settings.width)
    measured: Mapping[Quantization | None, float] = {}
    same_model = sizes.parameters("transformer") == published_sizes().parameters("transformer")
    if same_model and (shape, settings.guidance_scale) == (_MEASURED_SHAPE, _MEASURED_GUIDANCE):
        measured = measured_steps(gpu)
    costs = []
    for preset in presets:
        guided = settings.guidance_scale != 1
        working, coding = count_working(sizes, shape, preset, guided=guided, element=element, tail=_tail(settings))
        memory = needed_memory(sizes, preset, working, element)
        step_s = None if gpu is None else _step_s(sizes, settings, preset, gpu)
        video_s = None
        if gpu is not None and step_s is not None:
            streamed = sum(sizes.parameters(n) * element for n in preset.streamed if n != "transformer")
            coding_s = coding / (gpu.peak_flops / 2 * UTILISATION)  # the VAE in float32: half the rate at best
            video_s = settings.num_inference_steps * step_s + coding_s + 2 * streamed / HOST_BYTES_S
        resident = "transformer" not in preset.streamed
        costs.append(Cost(preset, memory, step_s, video_s, measured.get(preset.quantize) if resident else None))
    return costs


def measured_steps(gpu: Gpu | None, folder: Path = RESULTS) -> dict[Quantization | None, float]:
    """Seconds of a guided step of the published model by its weights, as `benchmarks/gpu` has measured it on this card.

    Empty for other cards, and where the package is installed without its repository.
    """
    found: dict[Quantization | None, float] = {}
    for path in sorted(folder.glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        for record in stored if isinstance(stored, list) else [stored]:
            if gpu is None or known_gpu(record.get("hardware", {}).get("gpu", "")) is not gpu:
                continue
            for row in record["rows"]:
                if row["what"] == _STEP and row["ours"] in _KINDS and row["ours_s"] is not None:
                    found[_KINDS[row["ours"]]] = row["ours_s"]
    return found


def count_working(
    sizes: Sizes, shape: VideoShape, preset: Preset, *, guided: bool, element: int, tail: int = 0
) -> tuple[Working, float]:
    """Memory beside the weights at each stage, and the work of encoding the canvas and decoding the video, in FLOP.

    `tail` is the latent frames that token-wise concatenation puts behind the video's.
    """
    plain = "transformer" in preset.streamed  # hooks take the fast path's place
    latent = shape.latent(sizes.strides)
    step = _step_use(_key(sizes.config), latent, tail, sizes.defaults.text_tokens, guided, plain, element)
    encode, decode = _coding_uses(_key(sizes.vae_config), shape, sizes.strides, preset.tile_vae, element == 2)
    return Working(encode.peak_bytes, step.peak_bytes, decode.peak_bytes), float(encode.flops + decode.flops)


def costs_table(costs: Sequence[Cost], processor: Processor) -> Table:
    """The costs as people read them."""
    title = f"on {processor.name} with {decimal(processor.memory_bytes)}"
    table = Table(title=title, caption=_CAPTION, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    table.add_column("preset")
    for column in (*_NETWORKS.values(), "work", "peak", "beside", "a step", "a video", "fits"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in costs:
        working = cost.memory.working
        sizes = [cost.memory.networks.get(name, 0) for name in _NETWORKS]
        sizes += [max(working.encode, working.step, working.decode), cost.memory.peak, cost.memory.host]
        times = ["unknown" if time is None else _duration(time) for time in (cost.step_s, cost.video_s)]
        if cost.measured_step_s is not None:
            times[0] += f", measured {_duration(cost.measured_step_s)}"
        fits = "yes" if cost.fits(processor.memory_bytes) else "no"
        table.add_row(cost.preset.name, *(f"{size / 1e9:.1f}" for size in sizes), *times, fits)
    return table


_NETWORKS = {"transformer": "DiT", "text_encoder": "text", "image_encoder": "image", "vae": "VAE"}
_CAPTION = (
    "In GB, 10^9 bytes: of each network what is on the card while it works; work, what is computed, at the stage that "
    "takes most; peak, all together; beside, in the CPU's memory. "
    f"All is predicted, time from the arithmetic at {UTILISATION:.0%} of the card's peak, but for what reads measured."
)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def _tail(settings: GenerationDefaults) -> int:
    """The latent frames behind the video's own: one for each reference, whose number is not known yet."""
    return TAIL_FRAMES if settings.mechanism == "tokenwise" else 0


def _step_s(sizes: Sizes, settings: GenerationDefaults, preset: Preset, gpu: Gpu) -> float:
    """Of one sampling step: its passes through the transformer, or through the wire where that takes longer."""
    shape = VideoShape(settings.num_frames, settings.height, settings.width)
    latent = shape.latent(sizes.strides)
    tokens = replace(latent, frames=latent.frames + _tail(settings)).tokens(sizes.strides)
    linear = linear_flops(sizes.config, tokens, settings.text_tokens)
    attention = forward_flops(sizes.config, tokens, settings.text_tokens) - linear
    if gpu.fp8 and preset.quantize == "fp8":
        linear /= 2
    seconds = (attention + linear) / (gpu.peak_flops * UTILISATION)
    if "transformer" in preset.streamed:
        seconds = max(seconds, transformer_bytes(sizes, preset) / STREAM_BYTES_S)
    return seconds if settings.guidance_scale == 1 else 2 * seconds


def _key(config: Mapping[str, Any]) -> str:
    """A configuration as something that a cache can remember."""
    return json.dumps({name: value for name, value in config.items() if not name.startswith("_")}, default=list)


@functools.cache
def _transformer(config: str, dtype: torch.dtype) -> Any:
    return build_transformer(json.loads(config), dtype)


@functools.cache
def _step_use(
    config: str, latent: LatentShape, tail: int, text_tokens: int, guided: bool, plain: bool, element: int
) -> Use:
    """Of one step, and of what is computed once before; texts as long as they may be."""
    sizes = json.loads(config)
    dtype = torch.bfloat16 if element == 2 else torch.float32
    transformer = _transformer(config, dtype)
    size = (latent.frames, latent.height, latent.width)
    channels = sizes["out_channels"]
    whole = (latent.frames + tail, latent.height, latent.width)
    guidance = torch.empty(1, sizes["in_channels"] - channels, *whole, dtype=dtype, device=_META)
    references = None if tail == 0 else torch.empty(1, channels, tail, *size[1:], dtype=dtype, device=_META)
    image = None
    if sizes.get("image_dim"):
        image = torch.empty(1, IMAGE_TOKENS, sizes["image_dim"], dtype=dtype, device=_META)
    text = torch.empty(text_tokens, sizes["text_dim"], dtype=dtype, device=_META)
    kind = PlainDenoiser if plain else Denoiser

    def step() -> None:
        timesteps = torch.zeros(1, dtype=torch.long, device=_META)
        texts = [text] * (2 if guided else 1)
        conditioning = Conditioning(guidance, image, references)
        denoiser = kind(transformer, texts, conditioning, timesteps, text_tokens=text_tokens)
        denoiser(torch.empty(1, channels, *size, device=_META), 0)

    return use_of(step)


@functools.cache
def _coding_uses(config: str, shape: VideoShape, strides: Strides, tiled: bool, half: bool) -> tuple[Use, Use]:
    """Of encoding the canvas's video in float32, and of decoding one, in 16 bits where the transformer runs so.

    What is decoded goes to the file piece by piece, so that its memory does not grow with the frames.
    """
    with _META:
        vae = AutoencoderKLWan(**json.loads(config))
    if tiled:
        vae.enable_tiling()
    frames = shape.latent(strides).frames

    def encoding(height: int, width: int) -> Use:
        def use(count: int) -> Use:
            video = torch.empty(1, 3, (count - 1) * strides.temporal + 1, height, width, device=_META)
            return use_of(lambda: encode_video(vae, video))

        return use(frames) if frames <= _EVEN else use(_EVEN).extrapolated(use(_EVEN + 1), frames - _EVEN)

    piece = PIECE_PIXELS["meta"] // (strides.temporal * shape.height * shape.width)
    count = min(frames, 1 + 2 * max(1, piece))  # from the second whole piece on, each takes as much
    latents = torch.empty(
        1, vae.config.z_dim, count, shape.height // strides.spatial, shape.width // strides.spatial, device=_META
    )
    dtype = torch.bfloat16 if half else torch.float32
    decode = use_of(lambda: deque(decode_pieces(vae, latents, dtype), maxlen=0))
    decode = Use(decode.peak_bytes, decode.flops * frames // count)
    height, width = (min(shape.height, vae.tile_sample_min_height), min(shape.width, vae.tile_sample_min_width))
    if not tiled or (height, width) == (shape.height, shape.width):
        return encoding(shape.height, shape.width), decode
    # diffusers' tiles are too many to be gone through one by one: one of them, and copies of the whole video.
    tile = encoding(height, width)
    overlap = vae.tile_sample_min_height * vae.tile_sample_min_width
    overlap /= vae.tile_sample_stride_height * vae.tile_sample_stride_width
    pixels = shape.frames * shape.height * shape.width
    encode = Use(
        tile.peak_bytes + _TILED_COPIES * 12 * pixels,
        round(tile.flops * overlap * shape.height * shape.width / (height * width)),
    )
    return encode, decode
