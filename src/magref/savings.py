"""Approximate savings in the sampling: steps that take over an earlier velocity, guidance on a part of the steps,
attention in 8 bits.

Each is off by default, is recorded with the video, and costs something: docs/speed.md tells how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

from pydantic import ValidationError

from magref.errors import InputError
from magref.settings import Attention, Savings

if TYPE_CHECKING:
    import torch

FAST = Savings(step_cache=0.05)
FASTER = Savings(step_cache=0.1, guidance_interval=(0.2, 1.0))
"""What `--fast` and `--faster` stand for."""

_WARM_UP = 0.2
"""Share of the steps, from the first on, that are always computed: there the layout of the video is decided."""


class StepCache:
    """A velocity that some steps compute and the others take over from the last that did.

    How much the velocity changes when the latents move is nearly the same from one step to the next. By that rate, and
    by how far the latents have moved, its change since it was last computed is estimated without the transformer; a
    step at which the estimate reaches the threshold computes it (EasyCache, arXiv 2507.02860). There the conditional
    velocity decides and each pass adds the latents' move to what it takes over; here it is the guided velocity, taken
    over as it is. That needs nothing of the transformer, so that the exact savings, offloading and several GPUs stay,
    and was nearer to the exact video on the embedded model; so was it than diffusers' FirstBlockCache, in less time.

    Args:
        velocity: the guided model, called with latents and step.
        steps: how many there are; the first fifth, at least two, and the last one compute.
        threshold: of the estimated change, as a share of the velocity's mean magnitude.
        guides: whether a step has guidance. Where that changes the velocity jumps, and is computed.
    """

    def __init__(
        self,
        velocity: Callable[[torch.Tensor, int], torch.Tensor],
        *,
        steps: int,
        threshold: float,
        guides: Callable[[int], bool] = lambda step: True,
    ) -> None:
        self.computed: list[int] = []
        """The steps that did not take over."""
        self._velocity = velocity
        self._taken_over = range(max(2, round(_WARM_UP * steps)), steps - 1)
        self._threshold = threshold
        self._guides = guides
        self._latents: torch.Tensor | None = None
        self._computed_at: torch.Tensor | None = None
        self._last: torch.Tensor | None = None
        self._rate = 0.0
        self._change = 0.0

    def __call__(self, latents: torch.Tensor, step: int) -> torch.Tensor:
        """Latents (B, C, T, h, w) at sampling step `step` -> their velocity, of that shape."""
        alike = self._guides(step) == self._guides(step - 1)
        if self._last is not None and self._latents is not None and step in self._taken_over and alike:
            self._change += _ratio(self._rate * _size(latents - self._latents), _size(self._last))
            if self._change < self._threshold:
                self._latents = latents
                return self._last
        velocity = self._velocity(latents, step)
        if self._last is not None and self._computed_at is not None:
            self._rate = _ratio(_size(velocity - self._last), _size(latents - self._computed_at))
        self._latents = self._computed_at = latents
        self._last, self._change = velocity, 0.0
        self.computed.append(step)
        return velocity


def chosen_savings(
    *,
    fast: bool = False,
    faster: bool = False,
    step_cache: float | None = None,
    guidance_interval: tuple[float, float] | None = None,
    attention: str | None = None,
) -> Savings:
    """A bundle, or none, under what was asked for by name.

    Raises:
        InputError: both bundles were asked for, or a value is none of those that can be.
    """
    if fast and faster:
        raise InputError("--fast and --faster were both given; choose one of them")
    bundle = FASTER if faster else FAST if fast else Savings()
    if attention not in (None, *get_args(Attention)):
        raise InputError(f"there is no attention {attention!r}; use {' or '.join(get_args(Attention))}")
    named = {"step_cache": step_cache, "guidance_interval": guidance_interval, "attention": attention}
    try:
        return Savings(**bundle.model_dump() | {name: value for name, value in named.items() if value is not None})
    except ValidationError:
        raise InputError(
            "the step cache's threshold lies from 0 to below 1 and the guidance interval within 0:1, its end after its "
            "beginning; use, for example, --step-cache 0.05 --guidance-interval 0.2:1"
        ) from None


def _size(tensor: torch.Tensor) -> float:
    return float(tensor.abs().mean())


def _ratio(part: float, whole: float) -> float:
    """Of nothing: infinite, unless the part is nothing too."""
    return part / whole if whole else (math.inf if part else 0.0)
