"""What a run would take, from the recipe and the sizes in the checkpoint's headers; nothing is allocated.

Estimates: matrix products alone are counted, and activations by the tensors that a block keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from magref.checkpoints.layout import stored_entries
from magref.errors import InputError
from magref.geometry import Strides, VideoShape
from magref.models import Model, find_model
from magref.settings import GenerationDefaults
from magref.training.loading import build_transformer, find_transformer
from magref.training.recipe import Recipe

UTILISATION = 0.4
"""Share of a processor's peak that training reaches; an assumption, for others report 0.18 to 0.33 of it."""
_KEPT_PER_TOKEN = 34
"""Tensors of the model's width that a block keeps for its backward pass, 2 bytes an element; attention by flash."""
WAN_ENCODERS = {"vae": 126_892_531, "text_encoder": 5_680_910_336, "image_encoder": 630_766_080}
"""Parameters of Wan2.1's encoders: its VAE, umT5-xxl, and CLIP ViT-H's vision half."""


@dataclass(frozen=True)
class Gpu:
    """One processor: dense bfloat16 FLOP/s at its peak, and its memory."""

    name: str
    peak_flops: float
    memory_bytes: float


GPUS = {
    "h100": Gpu("H100 80 GB", 989e12, 80e9),
    "h200": Gpu("H200 141 GB", 989e12, 141e9),
    "a100": Gpu("A100 80 GB", 312e12, 80e9),
    "rtx4090": Gpu("RTX 4090 24 GB", 165e12, 24e9),
    "cpu": Gpu("two CPU cores", 0.15e12, 16e9),
}
"""Peaks as their makers state them; the CPU's is a guess at a laptop's."""


@dataclass(frozen=True)
class RunPlan:
    """Sizes, work and time of a run; memory is of one processor, and beside it of the CPU for one process."""

    gpu: Gpu
    gpus: int
    parameters: int
    trained: int
    tokens: int
    shape: VideoShape
    step_flops: float
    samples_per_step: int
    samples_per_day: float
    days: float
    memory_bytes: Mapping[str, float]
    idle_bytes: float
    """Encoders of a run with a cache, in the CPU's memory but while validation videos are generated."""

    @property
    def fits(self) -> bool:
        """Whether the sum of the memory lies under the processor's."""
        return sum(self.memory_bytes.values()) < self.gpu.memory_bytes


def plan_run(recipe: Recipe, *, gpu: str, gpus: int) -> RunPlan:
    """The plan of a recipe on `gpus` processors of a kind in `GPUS`.

    A base that is not on this machine is planned as Wan2.1 image-to-video 14B, whose sizes are known.

    Raises:
        InputError: the kind of processor is unknown.
    """
    if gpu not in GPUS:
        raise InputError(f"the processor {gpu!r} is unknown; use one of {', '.join(GPUS)}")
    config, encoders, strides, defaults = _sizes(recipe)
    from magref.training.lora import add_lora

    transformer = build_transformer(config)
    parameters = sum(p.numel() for p in transformer.parameters())
    if recipe.model.lora is not None:
        add_lora(transformer, recipe.model.lora)
    trained = sum(p.numel() for p in transformer.parameters() if p.requires_grad)
    if recipe.model.text_encoder:
        own = encoders.pop("text_encoder")
        parameters, trained = parameters + own, trained + own
    sizes = recipe.data.sizes or ((defaults.width, defaults.height),)
    frames = max(recipe.data.frames or (defaults.num_frames,))
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    shape = VideoShape(frames, height, width)
    shape.check(strides)
    tokens = shape.latent(strides).tokens(strides)
    forward = forward_flops(config, tokens, defaults.text_tokens)
    samples = recipe.optim.batch * recipe.optim.accumulate * gpus
    step_flops = 3 * forward * samples
    per_day = 86400 * GPUS[gpu].peak_flops * UTILISATION * gpus / (3 * forward)
    return RunPlan(
        gpu=GPUS[gpu],
        gpus=gpus,
        parameters=parameters,
        trained=trained,
        tokens=tokens,
        shape=shape,
        step_flops=step_flops,
        samples_per_step=samples,
        samples_per_day=per_day,
        days=recipe.optim.steps * samples / per_day,
        memory_bytes=_memory(recipe, config, parameters, trained, tokens, gpus, _encoder_bytes(recipe, encoders)),
        idle_bytes=_encoder_bytes(recipe, encoders) if recipe.data.cache is not None else 0,
    )


def forward_flops(config: Mapping[str, Any], tokens: int, text_tokens: int) -> float:
    """Of one pass through the transformer, two for each multiplication and addition."""
    dim = config["num_attention_heads"] * config["attention_head_dim"]
    image_tokens = 257 if config.get("image_dim") else 0
    context = text_tokens + image_tokens
    self_attention = 4 * tokens**2 * dim + 8 * tokens * dim**2
    cross_attention = 4 * tokens * context * dim + 4 * tokens * dim**2 + 4 * context * dim**2
    feed_forward = 4 * tokens * dim * config["ffn_dim"]
    return float(config["num_layers"] * (self_attention + cross_attention + feed_forward))


def plan_table(plan: RunPlan) -> Table:
    """The plan as people read it."""
    table = Table(show_header=False, title=f"{plan.gpus} x {plan.gpu.name}")
    share = plan.trained / plan.parameters
    table.add_row("parameters", f"{plan.parameters:,}, of which {plan.trained:,} are trained ({share:.1%})")
    table.add_row(
        "a sample", f"{plan.shape.width}x{plan.shape.height}, {plan.shape.frames} frames: {plan.tokens:,} tokens"
    )
    table.add_row("a step", f"{plan.samples_per_step} samples, {_flops(plan.step_flops)} (without recomputation)")
    table.add_row("samples a day", f"{plan.samples_per_day:,.0f} at {UTILISATION:.0%} of the peak")
    table.add_row("the whole run", f"{plan.days:.2g} days, {plan.days * plan.gpus * 24:,.0f} GPU hours")
    for name, size in plan.memory_bytes.items():
        table.add_row(f"memory: {name}", decimal(int(size)))
    total = sum(plan.memory_bytes.values())
    if plan.idle_bytes:
        table.add_row("the CPU's memory", f"{decimal(int(plan.idle_bytes))} a process, of encoders that videos need")
    verdict = "fits" if plan.fits else "does not fit"
    table.add_row("memory of one", f"{decimal(int(total))} of {decimal(int(plan.gpu.memory_bytes))}: {verdict}")
    return table


def _sizes(recipe: Recipe) -> tuple[Mapping[str, Any], dict[str, int], Strides, GenerationDefaults]:
    """The transformer's configuration, the encoders' parameters, and how the model generates."""
    from magref.checkpoints.architecture import magref_14b_config
    from magref.errors import CheckpointError

    try:
        base = find_model(recipe.model.base)
    except CheckpointError:
        if "14B" not in recipe.model.base:
            raise
        return magref_14b_config(), dict(WAN_ENCODERS), Strides(), GenerationDefaults()
    return find_transformer(base).config, _encoders(base), base.strides, base.defaults


def _encoders(base: Model) -> dict[str, int]:
    if base.layout == "published":
        from magref.checkpoints.published import published_parts

        parts = published_parts(base.folder)
        models = {"vae": parts.vae, "text_encoder": parts.text_encoder, "image_encoder": parts.image_encoder}
        return {name: sum(math.prod(part.shape(n)) for n in part.reads) for name, part in models.items() if part}
    stored = stored_entries(base.folder)
    return {name: sum(math.prod(e.shape) for e in stored[name].values()) for name in WAN_ENCODERS if name in stored}


def _encoder_bytes(recipe: Recipe, encoders: Mapping[str, int]) -> float:
    """Of the frozen models before the transformer, without what they compute: the VAE stays in float32."""
    element = 2 if recipe.optim.precision == "bf16" else 4
    return float(sum(count * (4 if name == "vae" else element) for name, count in encoders.items()))


def _memory(
    recipe: Recipe,
    config: Mapping[str, Any],
    parameters: int,
    trained: int,
    tokens: int,
    gpus: int,
    encoders: float,
) -> dict[str, float]:
    """Bytes on one processor, by what they are for."""
    optim, lora = recipe.optim, recipe.model.lora
    dim = config["num_attention_heads"] * config["attention_head_dim"]
    element = 2 if optim.precision == "bf16" else 4
    alone = 1.0 if lora is not None and lora.quantize == "int8" else float(element)
    stored = 4.0 if lora is None or gpus > 1 else alone
    frozen = parameters - (trained if lora is None else 0)
    memory = {
        "weights": (frozen * stored if lora is not None else trained * 4) / gpus
        + (4 * trained if lora is not None else 0),
        "gradients": 4 * trained / gpus,
        "optimizer": (4 if optim.optimizer == "muon" else 8) * trained / gpus,
    }
    if optim.ema:
        memory["moving average"] = 4 * trained / gpus
    layers, rows = config["num_layers"], tokens * optim.batch
    block = _KEPT_PER_TOKEN * rows * dim * element
    inputs = layers * rows * dim * element
    # Selective checkpointing keeps three attentions of a block: over itself, the text and the image.
    activations = {"none": layers * block, "selective": 4 * inputs + block, "full": inputs + block}[optim.checkpointing]
    if recipe.data.cache is None:
        memory["encoders"] = encoders
    elif recipe.validation.videos and encoders > activations:
        activations = 0
        memory["encoders, while videos are generated"] = encoders
    if activations:
        memory["activations"] = activations
    if gpus > 1:
        memory["two gathered blocks"] = 2 * element * parameters / layers
    return memory


def _flops(value: float) -> str:
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} FLOP"
