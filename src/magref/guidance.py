"""Guidance: the velocities of several passes through the transformer become one, and some steps are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from magref.conditioning import Conditioning
from magref.parallel import Denoise
from magref.savings import StepCache
from magref.settings import GenerationSettings

Velocity = Callable[[torch.Tensor, int], torch.Tensor]
"""Latents (B, C, T, h, w) and the number of the sampling step -> their velocity, of that shape, in float32."""
Passes = Callable[[Sequence[torch.Tensor], Conditioning], Denoise]
"""Texts (n, D), one for each pass, and the references that all passes see -> what computes the passes."""


def text_guidance(
    passes: Passes, texts: Sequence[torch.Tensor], conditioning: Conditioning, settings: GenerationSettings
) -> Velocity:
    """v_neg + scale (v - v_neg): guidance on the text alone, the references stay in both passes.

    `texts` are the prompt and, with guidance, the negative prompt.
    """
    steps = settings.num_inference_steps
    unguided = {step for step in range(steps) if not settings.savings.guides(step, steps)}
    both = passes(texts, conditioning)
    alone = passes(texts[:1], conditioning) if unguided and len(texts) > 1 else both

    def velocity(latents: torch.Tensor, step: int) -> torch.Tensor:
        denoise = alone if step in unguided else both
        conditional, *rest = (v.float() for v in denoise(latents, step))
        if not rest:
            return conditional
        return rest[0] + settings.guidance_scale * (conditional - rest[0])

    return velocity


def reference_and_text_guidance(
    passes: Passes,
    texts: Sequence[torch.Tensor],
    conditioning: Conditioning,
    *,
    reference_scale: float,
    text_scale: float,
) -> Velocity:
    """v_neg + reference scale (v_ref - v_neg) + text scale (v - v_ref): Phantom's three passes.

    v has prompt and references, v_ref the negative prompt and the references, v_neg the negative prompt and zeros in
    the references' place. `texts` are the prompt and the negative prompt; the references are the conditioning's tail.
    """
    if conditioning.tail is None:
        raise ValueError("the references are the conditioning's tail")
    empty = Conditioning(conditioning.guidance, None, torch.zeros_like(conditioning.tail))
    with_references = passes(texts, conditioning)
    without = passes(texts[1:], empty)

    def velocity(latents: torch.Tensor, step: int) -> torch.Tensor:
        both, referenced = (v.float() for v in with_references(latents, step))
        negative = without(latents, step)[0].float()
        return negative + reference_scale * (referenced - negative) + text_scale * (both - referenced)

    return velocity


def with_step_cache(velocity: Velocity, settings: GenerationSettings) -> Velocity:
    """The same, but for steps whose velocity is taken over from the one before, where the settings ask for it."""
    steps, threshold = settings.num_inference_steps, settings.savings.step_cache
    if not threshold:
        return velocity
    return StepCache(velocity, steps=steps, threshold=threshold, guides=partial(settings.savings.guides, steps=steps))
