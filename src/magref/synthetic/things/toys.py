"""Toys and presents."""

from __future__ import annotations

import numpy as np

from magref.synthetic.shapes import bow, box, capsule, ellipse, ribbon, ring, star, triangle
from magref.synthetic.things.paints import DARK, GLASS, GOLD, SHINE, WOOD, Paints


def ball(p: Paints) -> None:
    """A ball: patterned, or with a stripe and perhaps a belt."""
    shape = ellipse(0, 0, 0.66, 0.66)
    p.easel.paint(shape, p.first, texture=p.texture, depth=0.5)
    belted = p.plain & p.traits.chance("belt", 0.5)
    p.easel.paint(ellipse(0, 0, 0.2, 0.66, 0.3), p.second, where=p.plain, rim=0.1, depth=0.4)
    p.easel.paint(ellipse(0, 0, 0.66, 0.09, 0.3), p.third, where=belted, rim=0, depth=0.4)
    p.easel.paint(ellipse(-0.24, -0.28, 0.13, 0.09, -0.7), SHINE, opacity=0.5, rim=0, soft=0.06)


def balloon(p: Paints) -> None:
    """A balloon on a string."""
    sway = 0.08 * np.sin(2 * np.pi * p.view.phase)
    p.easel.paint(ribbon(0, 0.28, sway, 0.92, 0.014, 0.014, 0.05, 1.2, p.view.phase, 0.5), (0.3, 0.3, 0.32), rim=0)
    p.easel.paint(triangle(0, 0.32, 0.08, 0.12), p.first * 0.8)
    p.easel.paint(ellipse(0, -0.26, 0.46, 0.54), p.first, texture=p.texture, depth=0.45)
    p.easel.paint(ellipse(-0.17, -0.48, 0.09, 0.15, 0.4), SHINE, opacity=0.55, rim=0, soft=0.05)


def kite(p: Paints) -> None:
    """A kite with three bows on its tail."""
    sway = np.sin(2 * np.pi * p.view.phase)
    tail = ribbon(-0.05, 0.36, -0.35, 0.94, 0.016, 0.016, 0.08, 1.6, p.view.phase, 0.6)
    p.easel.paint(tail, (0.25, 0.25, 0.28), rim=0)
    for step in (0.35, 0.65, 0.95):
        x, y = -0.05 - 0.3 * step + 0.03 * sway, 0.36 + 0.56 * step
        p.easel.paint(ellipse(x, y, 0.09, 0.04, 0.5 * sway), p.third)
    p.easel.paint(triangle(0.0, -0.14, 0.52, 0.72), p.first)
    p.easel.paint(triangle(0.0, -0.14, 0.52, 0.6, np.pi), p.second)
    p.easel.paint(box(0, -0.18, 0.016, 0.62, r=0.0), WOOD, rim=0)
    p.easel.paint(box(0, -0.14, 0.5, 0.016, r=0.0), WOOD, rim=0)


def robot(p: Paints) -> None:
    """A toy robot that walks and waves."""
    move = 0.16 * p.view.stride * np.sin(2 * np.pi * p.view.phase)
    for side in (-1, 1):
        lift = 0.05 * np.maximum(side * move, 0)
        p.easel.paint(box(side * 0.22 + side * move * 0.5, 0.72 - lift, 0.12, 0.16, r=0.03), p.second)
        hand = 0.26 + side * move - p.view.wave * 0.75 * (side > 0)
        p.easel.paint(capsule(side * 0.46, 0.02, side * 0.66, hand, 0.07), p.second)
        p.easel.paint(ellipse(side * 0.66, hand, 0.1, 0.1), p.third)
    p.easel.paint(box(0, 0.24, 0.42, 0.38, r=0.06), p.first, texture=p.texture)
    p.easel.paint(box(0, 0.2, 0.22, 0.17, r=0.03), (0.2, 0.25, 0.3))
    for x, colour in ((-0.1, (0.9, 0.2, 0.2)), (0.0, (0.95, 0.85, 0.2)), (0.1, (0.3, 0.8, 0.4))):
        p.easel.paint(ellipse(x, 0.2, 0.04, 0.04), colour, rim=0)
    p.easel.paint(capsule(0, -0.7, 0, -0.86, 0.025), DARK)
    p.easel.paint(ellipse(0, -0.9, 0.06, 0.06), p.third)
    p.easel.paint(box(p.view.turn * 0.04, -0.44, 0.36, 0.26, p.view.lean, 0.07), p.first)
    round_eyes, eye = p.traits.chance("round eyes", 0.6), (0.97, 0.97, 0.8)
    for side in (-1, 1):
        eye_x = side * 0.15 + p.view.turn * 0.1
        p.easel.paint(ellipse(eye_x, -0.48, 0.1, 0.1), eye, where=round_eyes)
        p.easel.paint(box(eye_x, -0.48, 0.1, 0.08, r=0.01), eye, where=~round_eyes)
        p.easel.paint(ellipse(eye_x + p.view.turn * 0.03, -0.48, 0.045, 0.045), DARK, rim=0)
    p.easel.paint(box(p.view.turn * 0.1, -0.28, 0.16, 0.035, r=0.02), DARK, rim=0)


def teddy(p: Paints) -> None:
    """A plush bear that walks and waves."""
    swing = 0.14 * p.view.stride * np.sin(2 * np.pi * p.view.phase)
    pale = np.minimum(p.first * 0.45 + 0.52, 1)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.3, 0.68 - 0.05 * side * swing, 0.2, 0.2), p.first)
        p.easel.paint(ellipse(side * 0.3, 0.7 - 0.05 * side * swing, 0.11, 0.11), pale, rim=0)
        hand = 0.3 + side * swing - 0.62 * p.view.wave * (side > 0)
        p.easel.paint(capsule(side * 0.34, 0.1, side * 0.58, hand, 0.13, 0.12), p.first)
        p.easel.paint(ellipse(side * 0.3, -0.76, 0.16, 0.16), p.first)
        p.easel.paint(ellipse(side * 0.3, -0.75, 0.09, 0.09), pale, rim=0)
    p.easel.paint(ellipse(0, 0.32, 0.42, 0.42), p.first, texture=p.texture)
    p.easel.paint(ellipse(0, 0.36, 0.26, 0.28), pale, where=p.plain, rim=0)
    turn, bowed = p.view.turn * 0.1, p.traits.chance("bow", 0.6)
    p.easel.paint(ellipse(0, -0.42, 0.42, 0.38), p.first)
    p.easel.paint(ellipse(turn, -0.3, 0.2, 0.16), pale, rim=0.1)
    p.easel.paint(ellipse(turn * 1.2, -0.37, 0.075, 0.055), DARK, rim=0)
    p.easel.paint(bow(turn, -0.25, 0.08, 0.05, 0.014), DARK, rim=0)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.17 + turn, -0.5, 0.055, 0.065), DARK, rim=0)
        p.easel.paint(triangle(side * 0.03, -0.04, 0.12, 0.22, side * 1.57), p.second, where=bowed)


def toy_star(p: Paints) -> None:
    """A toy star, some with a face."""
    p.easel.paint(star(0, 0.04, 0.84, p.traits.uniform("inner", 0.42, 0.62)), p.first, texture=p.texture)
    face = p.traits.chance("face", 0.6)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.15, -0.06, 0.065, 0.09), DARK, where=face, rim=0)
        p.easel.paint(ellipse(side * 0.27, 0.09, 0.08, 0.055), (0.95, 0.5, 0.5), where=face, rim=0, opacity=0.7)
    p.easel.paint(bow(0, 0.1, 0.12, 0.08, 0.025), DARK, where=face, rim=0)
    p.easel.paint(star(0, 0.04, 0.36, 0.5), p.second, where=~face)


def house(p: Paints) -> None:
    """A toy house with a roof, a door and two windows."""
    p.easel.paint(box(0.3, -0.56, 0.09, 0.24, r=0.01), (0.6, 0.3, 0.24))
    p.easel.paint(box(0, 0.28, 0.6, 0.44, r=0.01), p.first, texture=p.texture)
    p.easel.paint(triangle(0, -0.14, 0.76, p.traits.uniform("roof", 0.5, 0.72)), p.second)
    p.easel.paint(box(0.0, 0.48, 0.13, 0.24, r=0.02), p.third)
    p.easel.paint(ellipse(0.07, 0.5, 0.025, 0.025), GOLD, rim=0)
    frame = (0.97, 0.97, 0.95)
    for x in (-0.36, 0.36):
        p.easel.paint(box(x, 0.18, 0.14, 0.14, r=0.01), frame)
        p.easel.paint(box(x, 0.18, 0.11, 0.11, r=0.01), GLASS, rim=0)
        p.easel.paint(box(x, 0.18, 0.11, 0.014, r=0.0), frame, rim=0)
        p.easel.paint(box(x, 0.18, 0.014, 0.11, r=0.0), frame, rim=0)


def gift(p: Paints) -> None:
    """A box with a ribbon around it."""
    p.easel.paint(box(0, 0.22, 0.58, 0.48, r=0.03), p.first, texture=p.texture)
    p.easel.paint(box(0, -0.24, 0.66, 0.13, r=0.03), p.first * 0.9)
    p.easel.paint(box(0, 0.16, 0.1, 0.54, r=0.0), p.second, rim=0.1)
    p.easel.paint(box(0, 0.22, 0.58, 0.07, r=0.0), p.second, where=p.traits.chance("cross", 0.5), rim=0.1)
    for side in (-1, 1):
        p.easel.paint(ring(side * 0.2, -0.5, 0.19, 0.12, 0.045, side * 0.4), p.second)
    p.easel.paint(ellipse(0, -0.4, 0.1, 0.08), p.second * 0.85)
