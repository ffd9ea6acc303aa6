"""Random numbers for a batch of samples, each sample's stream fixed by its own index alone."""

from __future__ import annotations

import torch

_UNIFORMS = 1024
_WEYL = 0x9E3779B97F4A7C15


class Draw:
    """Uniform numbers and noise fields for the samples `indices`, in the order in which they are asked for.

    Sample `i` of seed `s` gets the same numbers whatever batch it is rendered in.
    """

    def __init__(self, indices: list[int], seed: int) -> None:
        self._generators = []
        for index in indices:
            # The Weyl constant spreads neighbouring (seed, index) pairs over the 63-bit seeds that torch takes.
            mixed = (((seed + 1) * _WEYL) ^ (index * 0xD1B54A32D192ED03)) & (2**63 - 1)
            self._generators.append(torch.Generator().manual_seed(mixed))
        self._uniforms = torch.stack([torch.rand(_UNIFORMS, generator=g) for g in self._generators])
        self._used = 0

    def __len__(self) -> int:
        return len(self._generators)

    def uniform(self, low: float = 0.0, high: float = 1.0, n: int | None = None) -> torch.Tensor:
        """(B,) numbers in [low, high), or (B, n) where `n` is given."""
        count = 1 if n is None else n
        if self._used + count > _UNIFORMS:
            raise RuntimeError(f"a sample needs more than {_UNIFORMS} random numbers; raise _UNIFORMS")
        block = self._uniforms[:, self._used : self._used + count]
        self._used += count
        return low + (high - low) * (block[:, 0] if n is None else block)

    def integer(self, high: int) -> torch.Tensor:
        """(B,) integers in [0, high)."""
        return (self.uniform() * high).long().clamp_(max=high - 1)

    def chance(self, probability: float) -> torch.Tensor:
        """(B,) booleans, true with this probability."""
        return self.uniform() < probability

    def normal_field(self, *shape: int) -> torch.Tensor:
        """(B, *shape) standard normal noise."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])
