"""Plants and food."""

from __future__ import annotations

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Texture
from magref.synthetic.shapes import box, capsule, ellipse, petals, trapezoid
from magref.synthetic.things.paints import GOLD, LEAF, SHINE, WOOD, Paints


def flower(p: Paints) -> None:
    """A flower of five to nine petals that sways."""
    sway = 0.06 * np.sin(2 * np.pi * p.view.phase) * (0.3 + p.view.stride)
    p.easel.paint(capsule(0, 0.86, sway, -0.2, 0.04), LEAF)
    p.easel.paint(ellipse(-0.2, 0.5, 0.22, 0.09, 0.5), LEAF)
    p.easel.paint(ellipse(0.2, 0.38, 0.22, 0.09, -0.5), LEAF)
    count = (5.0 + p.traits.integer("petals", 5)).astype(np.float32)
    p.easel.paint(petals(sway, -0.34, 0.52, p.traits.uniform("depth", 0.3, 0.6), count, 1.0, sway * 2), p.first)
    inner = petals(sway, -0.34, 0.34, 0.35, count, 1.0, sway * 2 + 0.3)
    p.easel.paint(inner, p.second, where=p.traits.chance("double", 0.5))
    heart = palette.either(p.traits.chance("dark heart", 0.4), (0.25, 0.25, 0.25), GOLD)
    p.easel.paint(ellipse(sway, -0.34, 0.18, 0.18), heart)


def potted(p: Paints) -> None:
    """A leafy plant or a cactus in a pot."""
    sway = 0.05 * np.sin(2 * np.pi * p.view.phase) * (0.3 + p.view.stride)
    cactus = p.traits.chance("cactus", 0.4)
    green = palette.between(p.traits, "g", (0.15, 0.45, 0.15), (0.4, 0.7, 0.35))
    for angle in (-1.0, -0.6, -0.25, 0.15, 0.5, 0.9):
        x, y = 0.52 * np.sin(angle) + sway, 0.3 - 0.78 * np.cos(angle)
        leaf = capsule(0, 0.32, x, y, 0.05, 0.13)
        p.easel.paint(leaf, green * (0.85 + 0.15 * np.cos(angle * 9)), where=~cactus)
    ribs = Texture.of("striped", green * 0.75, 0.14)
    p.easel.paint(capsule(0, 0.3, 0, -0.5, 0.22), green, where=cactus, texture=ribs)
    for side, y in ((-1, -0.1), (1, 0.02)):
        p.easel.paint(capsule(side * 0.2, y, side * 0.46, y, 0.1), green, where=cactus)
        p.easel.paint(capsule(side * 0.46, y, side * 0.46, y - 0.26, 0.1), green, where=cactus)
    p.easel.paint(petals(0, -0.76, 0.15, 0.4, 6.0), p.second, where=cactus)
    p.easel.paint(trapezoid(0, 0.58, 0.42, 0.28, 0.3, r=0.03), p.first, texture=p.texture)
    p.easel.paint(box(0, 0.3, 0.47, 0.08, r=0.03), p.first * 0.85)


def apple(p: Paints) -> None:
    """An apple of any apple's colour."""
    p.easel.paint(capsule(0.02, -0.42, 0.1, -0.72, 0.035), WOOD)
    p.easel.paint(ellipse(0.3, -0.62, 0.2, 0.1, -0.4), LEAF)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.2, 0.12, 0.42, 0.56, side * 0.1), p.first, rim=0.25, depth=0.4)
    p.easel.paint(ellipse(0, 0.16, 0.4, 0.5), p.first, rim=0, depth=0.25, soft=0.08)
    p.easel.paint(ellipse(-0.3, -0.1, 0.09, 0.15, 0.4), SHINE, opacity=0.45, rim=0, soft=0.05)


def cake(p: Paints) -> None:
    """A cake with one to three candles."""
    p.easel.paint(ellipse(0, 0.72, 0.82, 0.12), (0.9, 0.9, 0.92))
    p.easel.paint(box(0, 0.42, 0.64, 0.3, r=0.05), p.first, texture=p.texture)
    p.easel.paint(box(0, 0.02, 0.44, 0.24, r=0.05), p.second)
    for x in (-0.5, -0.25, 0.0, 0.25, 0.5):
        p.easel.paint(ellipse(x, 0.2, 0.13, 0.1), (0.98, 0.96, 0.92), rim=0.1)
    count = 1 + p.traits.integer("candles", 3)
    flicker = 0.02 * np.sin(6 * np.pi * p.view.phase)
    for n in range(3):
        at = (n - (count - 1) / 2) * 0.24
        lit = n < count
        p.easel.paint(box(at, -0.36, 0.035, 0.16, r=0.0), p.third, where=lit)
        p.easel.paint(ellipse(at + flicker, -0.6, 0.045, 0.085), (1, 0.75, 0.2), where=lit, rim=0)
