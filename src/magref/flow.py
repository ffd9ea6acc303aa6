"""Flow matching: the noise schedule, the training target and loss, and the solvers.

Latents at noise level sigma are x = (1 - sigma) clean + sigma noise; the model predicts the velocity noise - clean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from magref.errors import InputError
from magref.settings import Solver

TRAIN_TIMESTEPS = 1000


def shifted(sigmas: Any, shift: float) -> Any:
    """Move noise levels towards 1 by the flow shift: shift s / (1 + (shift - 1) s)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def sampling_sigmas(steps: int, shift: float, solver: Solver) -> npt.NDArray[np.float64]:
    """(steps + 1,) noise levels from about 1 down to a final 0, as in the published samplers.

    UniPC starts at 0.999 and DPM-Solver++ at 1 before shifting; diffusers' own flow schedules differ by 5e-3 in the
    final latents.
    """
    # The published UniPC keeps its 0.999 in float32; rounding it otherwise shifts whole timesteps by one at shift 1.
    start = float(np.float32(0.999)) if solver == "unipc" else 1.0
    return np.append(shifted(np.linspace(start, 0, steps + 1)[:-1], shift), 0.0)


def make_scheduler(
    solver: Solver, config: Mapping[str, Any] | None = None, *, steps: int | None = None, shift: float = 1.0
) -> Any:
    """A second-order diffusers scheduler for flow matching, on the published noise levels where `steps` is given.

    Its timesteps are whole, floor(1000 sigma), as in the published samplers. `config` is another scheduler's, as in
    diffusers' `from_config`.
    """
    kinds: dict[str, Any] = {"unipc": UniPCMultistepScheduler, "dpm++": DPMSolverMultistepScheduler}
    if solver not in kinds:
        raise InputError(f"solver {solver!r} is unknown; use unipc or dpm++")
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "num_train_timesteps": TRAIN_TIMESTEPS}
    scheduler = kinds[solver].from_config({**(config or {}), **flow})
    if steps is not None:
        scheduler.set_timesteps(steps)
        sigmas = sampling_sigmas(steps, shift, solver)
        scheduler.sigmas = torch.from_numpy(sigmas.astype(np.float32))
        scheduler.timesteps = torch.from_numpy(sigmas[:-1] * TRAIN_TIMESTEPS).long()
        scheduler.set_begin_index(0)  # neighbouring timesteps can be equal, so that a search by value would go wrong
    return scheduler


def sample(
    velocity: Callable[[torch.Tensor, int], torch.Tensor],
    noise: torch.Tensor,
    scheduler: Any,
    on_step: Callable[[int, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Integrate from noise (B, C, T, h, w) to clean latents.

    `velocity(latents, step)` is the guided model; `on_step(step, latents)` sees each step's result and may replace it.
    """
    latents = noise
    for step, timestep in enumerate(scheduler.timesteps):
        latents = scheduler.step(velocity(latents, step), timestep, latents, return_dict=False)[0]
        latents = on_step(step, latents)
    return latents


def training_sigmas(count: int, shift: float, generator: torch.Generator, *, spread: float = 1.0) -> torch.Tensor:
    """(count,) noise levels, logit-normal and then shifted, so that training dwells where sampling takes its steps.

    `spread` is the standard deviation of their logits.
    """
    normal = spread * torch.randn(count, generator=generator)
    return shifted(normal.sigmoid(), shift)


def add_noise(clean: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """x = (1 - sigma) clean + sigma noise, for (B, C, T, h, w) and (B,) noise levels."""
    sigmas = sigmas.view(-1, *[1] * (clean.ndim - 1)).to(clean)
    return (1 - sigmas) * clean + sigmas * noise


def flow_loss(predicted: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """(B,) mean squared errors between the predicted velocity and noise - clean, over all latent frames."""
    return (predicted.float() - (noise - clean).float()).square().flatten(1).mean(dim=1)
