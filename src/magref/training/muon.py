"""Muon (Jordan et al. 2024): momentum whose update is orthogonalised, for the hidden matrices of a network.

At equal time (110 seconds on two CPU cores, from the embedded model's weights of step 4,200) it left the held-out loss
at 0.1786, AdamW at 0.1825. On the autoencoder's convolutions, 100 steps from the start reached 21.1 dB, AdamW 17.3.
`torch.optim.Muon` orthogonalises in bfloat16 everywhere, which many CPUs have to emulate, and takes no convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from magref.placement import choose_dtype

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised by Newton-Schulz iterations, with decoupled weight decay.

    Args:
        parameters: matrices, and kernels of convolutions, which count as (outputs, all the rest) matrices.
        lr: as for AdamW: updates are scaled to the root mean square that AdamW's have (Liu et al. 2025, "Muon is
            scalable for LLM training").
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient; matrices of one shape are orthogonalised together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[torch.nn.Parameter, torch.Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)
                by_shape.setdefault(update.shape, []).append((parameter, update))
            for shape, pairs in by_shape.items():
                stacked = torch.stack([update for _, update in pairs])
                updates = orthogonalise(stacked.to(choose_dtype(stacked.device))).to(stacked.dtype)
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.view_as(parameter), alpha=-rate)


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """(N, rows, columns) -> matrices with the same singular vectors and all singular values near one (0.7 to 1.2)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
