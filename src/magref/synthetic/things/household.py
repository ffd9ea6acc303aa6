"""What stands about a home: vessels, furniture, tools and instruments."""

from __future__ import annotations

import numpy as np

from magref.synthetic.shapes import bow, box, capsule, ellipse, petals, ring, star, trapezoid
from magref.synthetic.things.paints import DARK, GOLD, WOOD, Paints


def cup(p: Paints) -> None:
    """A cup with coffee, perhaps with a star or a flower on it."""
    wide, low = p.traits.uniform("top", 0.4, 0.52), p.traits.uniform("low", 0.3, 0.46)
    high = p.traits.uniform("high", 0.4, 0.58)
    p.easel.paint(ring(wide + 0.06, 0.0, 0.2, 0.24, 0.055), p.first * 0.9)
    p.easel.paint(trapezoid(-0.05, 0.06, wide, low, high, r=0.07), p.first, texture=p.texture)
    p.easel.paint(ellipse(-0.05, 0.06 - high + 0.03, wide * 0.98, 0.11), p.first * 0.75)
    p.easel.paint(ellipse(-0.05, 0.06 - high + 0.05, wide * 0.84, 0.075), (0.35, 0.2, 0.1), rim=0, depth=0)
    emblem, starred = p.traits.chance("emblem", 0.5) & p.plain, p.traits.chance("star", 0.5)
    p.easel.paint(star(-0.05, 0.12, 0.24, 0.45), p.second, where=emblem & starred, rim=0.15)
    p.easel.paint(petals(-0.05, 0.12, 0.2, 0.3, 6.0), p.second, where=emblem & ~starred, rim=0.15)


def teapot(p: Paints) -> None:
    """A teapot."""
    p.easel.paint(ring(-0.56, 0.08, 0.22, 0.27, 0.055), p.second)
    p.easel.paint(capsule(0.4, 0.2, 0.8, -0.2, 0.14, 0.07), p.first * 0.95)
    p.easel.paint(ellipse(0, 0.16, 0.56, 0.46), p.first, texture=p.texture)
    p.easel.paint(ellipse(0, -0.26, 0.34, 0.1), p.second)
    p.easel.paint(ellipse(0, -0.4, 0.1, 0.09), p.second)
    p.easel.paint(box(0, 0.6, 0.3, 0.05, r=0.03), p.second)


def lamp(p: Paints) -> None:
    """A table lamp."""
    p.easel.paint(ellipse(0, 0.78, 0.34, 0.1), p.second)
    p.easel.paint(box(0, 0.32, 0.045, 0.46, r=0.02), p.second)
    p.easel.paint(ellipse(0, 0.5, 0.13, 0.17), p.second, where=p.traits.chance("bulge", 0.5))
    p.easel.paint(ellipse(0, 0.02, 0.3, 0.1), (1, 0.95, 0.7), rim=0)
    shade = trapezoid(0, -0.38, p.traits.uniform("shade", 0.18, 0.34), 0.54, 0.4, r=0.03)
    p.easel.paint(shade, p.first, texture=p.texture, depth=0.2)


def book(p: Paints) -> None:
    """A closed book."""
    tilt = 0.12
    p.easel.paint(box(0.05, 0.03, 0.54, 0.7, tilt, 0.03), (0.96, 0.94, 0.86))
    p.easel.paint(box(0, 0, 0.54, 0.72, tilt, 0.03), p.first, texture=p.texture)
    p.easel.paint(box(-0.46, -0.05, 0.07, 0.72, tilt, 0.02), p.first * 0.7, rim=0.1)
    p.easel.paint(box(0.12, -0.24, 0.3, 0.17, tilt, 0.02), p.second)
    p.easel.paint(star(0.04, 0.3, 0.2, 0.5, 5.0, tilt), p.second, where=p.traits.chance("star", 0.5))


def clock(p: Paints) -> None:
    """An alarm clock whose hand turns."""
    for side in (-1, 1):
        p.easel.paint(capsule(side * 0.36, 0.6, side * 0.46, 0.8, 0.06), p.second)
        p.easel.paint(ellipse(side * 0.32, -0.62, 0.18, 0.14, side * 0.6), p.second)
    p.easel.paint(ellipse(0, 0.06, 0.64, 0.64), p.first)
    p.easel.paint(ellipse(0, 0.06, 0.5, 0.5), (0.97, 0.96, 0.92), rim=0.2)
    for hour in range(12):
        x, y = 0.41 * np.sin(hour * np.pi / 6), 0.06 - 0.41 * np.cos(hour * np.pi / 6)
        p.easel.paint(ellipse(x, y, 0.03, 0.03), DARK, rim=0)
    turn = p.traits.uniform("hour", 0, 6.28) + 2 * np.pi * p.view.phase
    p.easel.paint(capsule(0, 0.06, 0.34 * np.sin(turn), 0.06 - 0.34 * np.cos(turn), 0.022), DARK, rim=0)
    low = p.traits.uniform("hand", 0, 6.28)
    p.easel.paint(capsule(0, 0.06, 0.22 * np.sin(low), 0.06 - 0.22 * np.cos(low), 0.034), p.third, rim=0)


def chair(p: Paints) -> None:
    """A padded chair."""
    for x, dim in ((-0.34, 0.75), (0.44, 0.75), (-0.44, 1.0), (0.34, 1.0)):
        p.easel.paint(capsule(x, 0.2, x, 0.84 - 0.05 * (dim < 1), 0.05), p.second * dim)
    p.easel.paint(box(-0.38, -0.32, 0.1, 0.54, r=0.05), p.second)
    p.easel.paint(box(-0.3, -0.42, 0.13, 0.38, r=0.06), p.first, texture=p.texture)
    p.easel.paint(box(0, 0.18, 0.5, 0.12, r=0.06), p.first, texture=p.texture)


def umbrella(p: Paints) -> None:
    """An open umbrella."""
    p.easel.paint(capsule(0, -0.2, 0, 0.74, 0.032), WOOD)
    p.easel.paint(ring(0.12, 0.74, 0.12, 0.12, 0.03), WOOD, within=box(0.12, 0.86, 0.2, 0.13, r=0.0))
    dome, above = ellipse(0, 0.02, 0.84, 0.76), box(0, -0.5, 1.0, 0.52, r=0.0)
    p.easel.paint(dome, p.first, within=above, texture=p.texture)
    p.easel.paint(ellipse(0, 0.02, 0.3, 0.76), p.second, where=p.plain, within=above, rim=0.15)
    for x in (-0.63, -0.21, 0.21, 0.63):
        p.easel.paint(ellipse(x, 0.02, 0.2, 0.07), p.first * 0.8, rim=0.1)


def backpack(p: Paints) -> None:
    """A backpack, some with a badge."""
    p.easel.paint(ring(0, -0.64, 0.16, 0.16, 0.045), p.second)
    for side in (-1, 1):
        p.easel.paint(box(side * 0.54, 0.3, 0.12, 0.28, r=0.08), p.second)
    p.easel.paint(box(0, 0.08, 0.52, 0.7, r=0.24), p.first, texture=p.texture)
    p.easel.paint(box(0, 0.38, 0.38, 0.26, r=0.1), p.second)
    p.easel.paint(box(0, 0.2, 0.38, 0.025, r=0.0), GOLD, rim=0)
    p.easel.paint(bow(0, -0.14, 0.46, -0.1, 0.025), GOLD, rim=0)
    p.easel.paint(star(0, 0.4, 0.13, 0.5), p.third, where=p.traits.chance("badge", 0.5), rim=0)


def guitar(p: Paints) -> None:
    """A guitar."""
    tilt = 0.5
    sin, cos = np.sin(tilt), np.cos(tilt)
    p.easel.paint(capsule(0, 0.1, 0.82 * sin, 0.1 - 0.86 * cos, 0.055), WOOD)
    p.easel.paint(box(0.86 * sin, 0.1 - 0.92 * cos, 0.08, 0.12, tilt, 0.02), (0.3, 0.18, 0.1))
    p.easel.paint(ellipse(-0.26 * sin - 0.05, 0.2 + 0.22 * cos, 0.42, 0.38), p.first, texture=p.texture)
    p.easel.paint(ellipse(0.1 * sin, 0.16 - 0.12 * cos, 0.3, 0.28), p.first, texture=p.texture, rim=0.15)
    p.easel.paint(ellipse(-0.05, 0.18, 0.13, 0.13), DARK, rim=0)
    p.easel.paint(capsule(-0.3 * sin, 0.2 + 0.36 * cos, 0.8 * sin, 0.1 - 0.84 * cos, 0.012), (0.9, 0.9, 0.88), rim=0)
    p.easel.paint(box(-0.3 * sin, 0.2 + 0.36 * cos, 0.13, 0.03, tilt, 0.01), p.second)
