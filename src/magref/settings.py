"""How a video is generated: one strict, frozen record that Python, the command line and the sidecar share."""

from __future__ import annotations

import math
import secrets
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from magref.canvas import MaskKind, Order
from magref.errors import InputError
from magref.geometry import Strides, VideoShape

Solver = Literal["unipc", "dpm++"]
Mechanism = Literal["masked", "vanilla", "tokenwise"]
"""How a transformer was taught to take its references: the paper's masked guidance, or one of its rivals."""
Quantization = Literal["int8", "int8-dynamic", "fp8"]
"""What the transformer's large matrices are kept in, see `quantization.py`."""

NEGATIVE_PROMPT = (
    "镜头晃动，色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""Wan2.1's default negative prompt with "camera shake" before it, as the published MAGREF code has it."""


class Record(BaseModel):
    """Base of everything that is stored: frozen, strictly typed, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class GenerationDefaults(Record):
    """What a model makes unless asked otherwise; stored with the model (`model_index.json`).

    The values here are those of the published 14B checkpoint at 480p (paper 4.1 and the published code).
    """

    height: Annotated[int, Field(gt=0)] = 480
    """In pixels; a multiple of 16 for Wan2.1."""
    width: Annotated[int, Field(gt=0)] = 832
    num_frames: Annotated[int, Field(gt=0)] = 81
    """Generated frames, 4k+1; `drop_frames` of them are cut after decoding."""
    num_inference_steps: Annotated[int, Field(gt=0)] = 40
    guidance_scale: Annotated[float, Field(ge=0)] = 5.0
    """Weight of the prompt over the negative prompt; 1 skips the unconditional pass."""
    flow_shift: Annotated[float, Field(gt=0)] = 3.0
    solver: Solver = "unipc"
    drop_frames: Annotated[int, Field(ge=0)] = 4
    """Pixel frames cut from the start of the decoded video, where the checkpoint shows the canvas."""
    fps: Annotated[float, Field(gt=0)] = 16.0
    """The rate the model was trained at; the published code writes 15."""
    negative_prompt: str = NEGATIVE_PROMPT
    text_tokens: Annotated[int, Field(gt=0)] = 512
    """Prompt tokens the transformer sees; shorter prompts are padded with zero features."""
    mechanism: Mechanism = "masked"
    """A property of the weights, as `text_tokens` is: see `mechanisms.py`."""


Attention = Literal["exact", "int8"]


class Savings(Record):
    """What sampling leaves out to be faster, at a price in the video that docs/speed.md tells; by default nothing."""

    step_cache: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A step takes over the velocity of an earlier one where it is expected to differ by less than this share; 0: none
    does. See `savings.StepCache`."""
    guidance_interval: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=1)]] = (0.0, 1.0)
    """The steps with guidance, from one share of all steps up to another; the others skip the unconditional pass."""
    attention: Attention = "exact"
    """int8: self-attention's products of queries and keys in 8 bits. See `attention_int8`."""

    @model_validator(mode="after")
    def _interval_is_one(self) -> Savings:
        first, last = self.guidance_interval
        if first > last:
            raise ValueError(f"the guidance interval {first:g}:{last:g} ends before it begins; use 0:1 or less")
        return self

    def guides(self, step: int, steps: int) -> bool:
        """Whether step `step` of `steps` has guidance."""
        first, last = self.guidance_interval
        return first * steps <= step < last * steps


class GenerationSettings(GenerationDefaults):
    """Everything, beside the model and the references, that decides one generated video."""

    prompt: str
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    order: Order = "given"
    mask: MaskKind = "rectangle"
    savings: Savings = Savings()


def resolve_settings(
    defaults: GenerationDefaults,
    strides: Strides,
    *,
    prompt: str,
    seed: int | None,
    savings: Savings | None = None,
    **given: Any,
) -> GenerationSettings:
    """A model's defaults under what was given; None counts as not given.

    Raises:
        InputError: a value is out of range; the sentence names the nearest valid ones.
    """
    values = defaults.model_dump() | {name: value for name, value in given.items() if value is not None}
    seed = secrets.randbelow(2**31) if seed is None else seed
    # numpy's numbers are as good as Python's, but are no ints and floats to the strict record.
    values = {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
    seed = seed.item() if hasattr(seed, "item") else seed
    for name, value in {**values, "prompt": prompt, "seed": seed}.items():
        _check_kind(name, value)
    frames = values["num_frames"]
    VideoShape(frames, values["height"], values["width"]).check(strides)
    if given.get("drop_frames") is None:
        values["drop_frames"] = min(defaults.drop_frames, frames - 1)  # a picture asked for is not dropped
    drop = values["drop_frames"]
    if values["num_inference_steps"] < 1:
        raise InputError(f"{values['num_inference_steps']} steps were asked for; use 1 or more")
    if not 0 <= drop < frames:
        raise InputError(f"{drop} of {frames} frames are to be dropped; use 0 to {frames - 1}")
    if values["guidance_scale"] < 0:
        raise InputError(f"guidance scale {values['guidance_scale']} is negative; use 0 or more (1 turns it off)")
    if values["flow_shift"] <= 0:
        raise InputError(f"flow shift {values['flow_shift']} is not positive; use 1 to 10")
    if values.get("mask", "rectangle") != "rectangle" and values["mechanism"] != "masked":
        raise InputError(
            f"mask {values['mask']} is for masked guidance, and this model is {values['mechanism']}; drop it"
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed} is out of range; use 0 to 2**63 - 1")
    if values["fps"] <= 0:
        raise InputError(f"{values['fps']} frames a second were asked for; use more than 0")
    return GenerationSettings(prompt=prompt, seed=seed, savings=savings or Savings(), **values)


def check_references(mechanism: Mechanism, count: int, shape: VideoShape, strides: Strides) -> None:
    """Raise InputError unless a video of this shape takes `count` references by this mechanism."""
    frames = shape.latent(strides).frames
    if mechanism == "vanilla" and count > frames:
        least = (count - 1) * strides.temporal + 1
        raise InputError(f"{count} references do not fit into {shape.frames} frames; use {least} frames or more")
    if mechanism == "tokenwise" and frames + count > strides.positions:
        most = (strides.positions - count - 1) * strides.temporal + 1
        raise InputError(f"{shape.frames} frames and {count} references are too many for this model; use {most} frames")


def _check_kind(name: str, value: Any) -> None:
    """Raise InputError unless `value` is of the kind that the setting `name` holds."""
    kind = GenerationSettings.model_fields[name].annotation
    what = name.replace("_", " ")
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise InputError(f"{what} {value!r} is unknown; use {' or '.join(get_args(kind))}")
    elif kind is str:
        if not isinstance(value, str):
            raise InputError(f"the {what} is a {type(value).__name__}; give one string")
    elif kind is int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{what} {value!r} is not a whole number; give an int")
    elif not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{what} {value!r} is not a finite number; give a float")
