"""Colours with names: what a caption calls red is red in the picture, in one of many shades."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from magref.synthetic.traits import Flags, Floats, Strings, Traits, Whole

Colour = tuple[float, float, float]
"""Red, green and blue from 0 to 1: one colour for all, where `Floats` (B, 3) has one for each."""

COLOURS: dict[str, Colour] = {
    "red": (0.83, 0.15, 0.16), "orange": (0.94, 0.52, 0.12), "yellow": (0.96, 0.83, 0.20),
    "green": (0.22, 0.60, 0.27), "blue": (0.18, 0.36, 0.80), "purple": (0.50, 0.25, 0.66),
    "pink": (0.96, 0.56, 0.70), "brown": (0.48, 0.30, 0.17), "white": (0.95, 0.95, 0.94),
    "grey": (0.55, 0.56, 0.58), "black": (0.12, 0.12, 0.14), "turquoise": (0.20, 0.72, 0.70),
}  # fmt: skip
NAMES = tuple(COLOURS)
TABLE = np.array(list(COLOURS.values()), dtype=np.float32)  # (12, 3)

SKIN = np.array(
    [(0.99, 0.87, 0.78), (0.96, 0.80, 0.67), (0.90, 0.70, 0.54), (0.78, 0.57, 0.40), (0.60, 0.41, 0.27),
     (0.42, 0.28, 0.19)], dtype=np.float32)  # fmt: skip
HAIR: dict[str, Colour] = {
    "black": (0.10, 0.09, 0.10), "brown": (0.34, 0.20, 0.11), "blond": (0.90, 0.74, 0.38), "red": (0.76, 0.28, 0.10),
    "grey": (0.66, 0.66, 0.68), "white": (0.93, 0.93, 0.92), "blue": (0.22, 0.42, 0.82), "pink": (0.95, 0.48, 0.68),
    "green": (0.25, 0.62, 0.36),
}  # fmt: skip
COATS: dict[str, Colour] = {
    "white": (0.95, 0.94, 0.92), "grey": (0.58, 0.58, 0.60), "black": (0.16, 0.15, 0.16), "brown": (0.50, 0.32, 0.19),
    "golden": (0.87, 0.65, 0.34), "orange": (0.91, 0.52, 0.18), "cream": (0.93, 0.85, 0.68), "dark": (0.30, 0.21, 0.15),
    "pink": (0.96, 0.68, 0.70), "green": (0.36, 0.60, 0.24), "yellow": (0.96, 0.81, 0.26), "blue": (0.27, 0.48, 0.82),
    "red": (0.84, 0.21, 0.18),
}  # fmt: skip


def shade(traits: Traits, name: str, base: Floats, amount: float = 0.05) -> Floats:
    """(B, 3): each colour a little lighter or darker and tinted, as its number has it."""
    light = traits.uniform(f"{name} light", 1 - 3 * amount, 1 + 2 * amount)[:, None]
    tint = np.stack([traits.uniform(f"{name} tint {c}", -amount, amount) for c in range(3)], axis=1)
    return np.clip(base * light + tint, 0.02, 1.0).astype(np.float32)


def any_shade(traits: Traits, name: str) -> Floats:
    """(B, 3): a shade of any named colour."""
    return shade(traits, name, TABLE[traits.integer(name, len(NAMES))])


def between(traits: Traits, name: str, low: Colour, high: Colour) -> Floats:
    """(B, 3): red, green and blue each on its own between two colours, whatever they are called."""
    channels = [traits.uniform(f"{name}{c}", a, b) for c, (a, b) in enumerate(zip(low, high, strict=True))]
    return np.stack(channels, axis=1)


def of(table: Mapping[str, Colour], names: Strings) -> Floats:
    """(B, 3) of a table's colours by name (B,)."""
    return np.array([table[name] for name in names.tolist()], dtype=np.float32)


def either(flags: Flags, one: Floats | Colour, other: Floats | Colour) -> Floats:
    """(B, 3) float32: one colour where the flag (B,) is set, the other elsewhere."""
    return np.where(flags[:, None], np.asarray(one, np.float32), np.asarray(other, np.float32))


def other(traits: Traits, name: str, first: Whole, count: int = len(COLOURS)) -> Whole:
    """(B,) numbers of a colour that is not the first."""
    return (first + 1 + traits.integer(name, count - 1)) % count
