"""Numbers that belong to a number: each trait of an identity, a place or a scene is a hash of its number and its name.

Nothing depends on the order in which traits are asked for, so that a new trait leaves all the others as they were.
Traits are small and live on the CPU in numpy; pixels live in torch (see `easel.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
"""float32 where it is stored; what is computed on the way may be wider."""
Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]
T = TypeVar("T")

_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MASK = 2**64 - 1
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: neighbouring values go to unrelated ones."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


class Traits:
    """The traits of B numbers, in a world of its own for each `salt` (a seed, or a word)."""

    def __init__(self, numbers: Sequence[int] | npt.NDArray[np.int64], salt: int | str = 0) -> None:
        self.numbers = np.asarray(numbers, dtype=np.int64)
        base = np.array([zlib.crc32(salt.encode()) if isinstance(salt, str) else salt % 2**63], dtype=np.uint64)
        self._state = _mix(_mix((base + np.uint64(1)) * _WEYL) ^ self.numbers.astype(np.uint64) * _WEYL)

    def __len__(self) -> int:
        return len(self.numbers)

    def uniform(self, name: str, low: float | Floats = 0.0, high: float | Floats = 1.0) -> Floats:
        """(B,) numbers in [low, high)."""
        salt = np.uint64(zlib.crc32(name.encode()) * int(_WEYL) % 2**64)
        hashed = _mix(self._state ^ salt)
        unit = ((hashed >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)
        return (low + (high - low) * unit).astype(np.float32)

    def integer(self, name: str, count: int) -> Whole:
        """(B,) integers in [0, count)."""
        return np.minimum((self.uniform(name).astype(np.float64) * count).astype(np.int64), count - 1)

    def pick(self, name: str, weights: Sequence[float]) -> Whole:
        """(B,) integers, `i` as often as its share of the weights."""
        bounds = np.cumsum(np.asarray(weights, dtype=np.float64))
        return np.minimum(np.searchsorted(bounds / bounds[-1], self.uniform(name), side="right"), len(weights) - 1)

    def choose(self, name: str, weights: Mapping[str, float]) -> Strings:
        """(B,) words, each as often as its share of the weights."""
        return np.array(list(weights))[self.pick(name, list(weights.values()))]

    def chance(self, name: str, probability: float | Floats) -> Flags:
        """(B,) booleans, true with this probability."""
        return self.uniform(name) < probability


class Choices:
    """The traits of a single number, as plain Python numbers: for decisions, of which a scene takes many."""

    def __init__(self, number: int, salt: int | str = 0) -> None:
        base = zlib.crc32(salt.encode()) if isinstance(salt, str) else salt % 2**63
        self._state = _mix_one(_mix_one((base + 1) * int(_WEYL)) ^ (number * int(_WEYL)))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        unit = (_mix_one(self._state ^ (zlib.crc32(name.encode()) * int(_WEYL))) >> 11) / 2**53
        return low + (high - low) * unit

    def integer(self, name: str, count: int) -> int:
        """An integer in [0, count)."""
        return int(self.uniform(name) * count)

    def chance(self, name: str, probability: float) -> bool:
        """True with this probability."""
        return self.uniform(name) < probability

    def of(self, name: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options, each as often or by weight."""
        if weights is None:
            return options[self.integer(name, len(options))]
        at = self.uniform(name, 0, sum(weights))
        for option, weight in zip(options, weights, strict=True):
            at -= weight
            if at < 0:
                return option
        return options[-1]


def _mix_one(value: int) -> int:
    value &= _MASK
    value = (value ^ (value >> 30)) * int(_MIX_1) & _MASK
    value = (value ^ (value >> 27)) * int(_MIX_2) & _MASK
    return value ^ (value >> 31)
