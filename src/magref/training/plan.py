"""What a run would take, from the recipe and the sizes in the checkpoint's headers; nothing is allocated.

Estimates: matrix products alone are counted, and activations by the tensors that a block keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from magref.capacity import Gpu, find_gpu
from magref.geometry import VideoShape
from magref.sizes import Network, find_sizes, forward_flops, linear_flops
from magref.training.loading import build_transformer
from magref.training.recipe import Recipe, check_processes

UTILISATION = 0.4
"""Share of a processor's peak that training reaches; an assumption, for others report 0.18 to 0.33 of it."""
_KEPT_PER_TOKEN = 34
"""Tensors of the model's width that a block keeps for its backward pass, 2 bytes an element; attention by flash."""


@dataclass(frozen=True)
class RunPlan:
    """Sizes, work and time of a run; memory is of one processor, and beside it of the CPU for one process."""

    recipe: Recipe
    gpu: Gpu
    gpus: int
    parameters: int
    trained: int
    tokens: int
    """The most of a sample; token-wise, those of its references among them."""
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
        ResourceError: the recipe runs in one process alone.
    """
    check_processes(recipe, gpus)
    processor = find_gpu(gpu)
    base = find_sizes(recipe.model.base)
    config, encoders, strides, defaults = base.config, dict(base.encoders), base.strides, base.defaults
    from magref.training.lora import add_lora

    transformer = build_transformer(config)
    parameters = sum(p.numel() for p in transformer.parameters())
    if recipe.model.lora is not None:
        add_lora(transformer, recipe.model.lora)
    trained = sum(p.numel() for p in transformer.parameters() if p.requires_grad)
    if recipe.model.text_encoder:
        own = encoders.pop("text_encoder").parameters
        parameters, trained = parameters + own, trained + own
    sizes = recipe.data.sizes or ((defaults.width, defaults.height),)
    frames = max(recipe.data.frames or (defaults.num_frames,))
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    shape = VideoShape(frames, height, width)
    shape.check(strides)
    latent = shape.latent(strides)
    if recipe.model.mechanism == "tokenwise":
        latent = replace(latent, frames=latent.frames + recipe.data.references)
    tokens = latent.tokens(strides)
    sample_flops = _sample_flops(recipe, config, tokens, defaults.text_tokens)
    samples = recipe.optim.batch * recipe.optim.accumulate * gpus
    per_day = 86400 * processor.peak_flops * UTILISATION * gpus / sample_flops
    return RunPlan(
        recipe=recipe,
        gpu=processor,
        gpus=gpus,
        parameters=parameters,
        trained=trained,
        tokens=tokens,
        shape=shape,
        step_flops=sample_flops * samples,
        samples_per_step=samples,
        samples_per_day=per_day,
        days=recipe.optim.steps * samples / per_day,
        memory_bytes=_memory(recipe, config, parameters, trained, tokens, gpus, _encoder_bytes(recipe, encoders)),
        idle_bytes=_encoder_bytes(recipe, encoders) if recipe.data.cache and recipe.validation.videos else 0,
    )


def plan_table(plan: RunPlan) -> Table:
    """The plan as people read it."""
    table = Table(show_header=False, title=f"{plan.gpus} x {plan.gpu.name}")
    share = plan.trained / plan.parameters
    table.add_row("parameters", f"{plan.parameters:,}, of which {plan.trained:,} are trained ({share:.1%})")
    tokens = f"at most {plan.tokens:,}" if plan.recipe.model.mechanism == "tokenwise" else f"{plan.tokens:,}"
    table.add_row("a sample", f"{plan.shape.width}x{plan.shape.height}, {plan.shape.frames} frames: {tokens} tokens")
    table.add_row("a step", f"{plan.samples_per_step} samples, {_flops(plan.step_flops)} (without recomputation)")
    slower = "" if plan.recipe.optim.precision == "bf16" else " in bfloat16; fp32 takes longer"
    table.add_row("samples a day", f"{plan.samples_per_day:,.0f} at {UTILISATION:.0%} of the peak{slower}")
    table.add_row("the whole run", f"{plan.days:.2g} days, {plan.days * plan.gpus * 24:,.0f} GPU hours")
    for name, size in plan.memory_bytes.items():
        table.add_row(f"memory: {name}", decimal(int(size)))
    total = sum(plan.memory_bytes.values())
    if plan.idle_bytes:
        table.add_row("the CPU's memory", f"{decimal(int(plan.idle_bytes))} a process, of encoders that videos need")
    verdict = "fits" if plan.fits else "does not fit"
    table.add_row("memory of one", f"{decimal(int(total))} of {decimal(int(plan.gpu.memory_bytes))}: {verdict}")
    return table


def _sample_flops(recipe: Recipe, config: Mapping[str, Any], tokens: int, text_tokens: int) -> float:
    """Forward, and backward twice as much; under a LoRA the linear layers are frozen, and have no gradients of weights.

    The adapters' own products are left out: at rank 32 they are a hundredth of the layers' that they lie beside.
    """
    without = 0.0 if recipe.model.lora is None else linear_flops(config, tokens, text_tokens)
    return 3 * forward_flops(config, tokens, text_tokens) - without


def _encoder_bytes(recipe: Recipe, encoders: Mapping[str, Network]) -> float:
    """Of the frozen models before the transformer, without what they compute: the VAE stays in float32."""
    element = 2 if recipe.optim.precision == "bf16" else 4
    return float(sum(one.parameters * (4 if name == "vae" else element) for name, one in encoders.items()))


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
    # Selective checkpointing keeps what each block's self-attention gives, which is as large as the block's input.
    activations = {"none": layers * block, "selective": 2 * inputs + block, "full": inputs + block}[optim.checkpointing]
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
