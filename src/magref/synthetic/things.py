"""Things: toys, vehicles, vessels, food and instruments, each with its own shape, colours and pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import (
    PATTERNS,
    Easel,
    Texture,
    bow,
    box,
    capsule,
    ellipse,
    petals,
    ribbon,
    ring,
    star,
    trapezoid,
    triangle,
)
from magref.synthetic.traits import Flags, Floats, Traits, Whole
from magref.synthetic.views import View
from magref.synthetic.words import PATTERN_WORDS, Description, article


@dataclass(frozen=True)
class Paints:
    """What a thing is painted with: which rows it is, its traits, three colours (B, 3) and its pattern."""

    easel: Easel
    where: Flags
    traits: Traits
    view: View
    first: Floats
    second: Floats
    third: Floats
    texture: Texture


_DARK, _WOOD = (0.12, 0.12, 0.13), (0.55, 0.36, 0.2)
_GLASS, _GOLD, _LEAF = (0.72, 0.87, 0.95), (0.95, 0.78, 0.25), (0.25, 0.58, 0.25)


def _ball(p: Paints) -> None:
    shape = ellipse(0, 0, 0.66, 0.66)
    p.easel.paint(shape, p.first, where=p.where, texture=p.texture, depth=0.5)
    plain = p.where & (p.texture.pattern == 0)
    p.easel.paint(ellipse(0, 0, 0.2, 0.66, 0.3), p.second, where=plain, rim=0.1, depth=0.4)
    p.easel.paint(ellipse(0, 0, 0.66, 0.09, 0.3), p.third, where=plain & p.traits.chance("belt", 0.5), rim=0, depth=0.4)
    p.easel.paint(ellipse(-0.24, -0.28, 0.13, 0.09, -0.7), (1, 1, 1), where=p.where, opacity=0.5, rim=0, soft=0.06)


def _cup(p: Paints) -> None:
    wide, low = p.traits.uniform("top", 0.4, 0.52), p.traits.uniform("low", 0.3, 0.46)
    high = p.traits.uniform("high", 0.4, 0.58)
    p.easel.paint(ring(wide + 0.06, 0.0, 0.2, 0.24, 0.055), p.first * 0.9, where=p.where)
    p.easel.paint(trapezoid(-0.05, 0.06, wide, low, high, r=0.07), p.first, where=p.where, texture=p.texture)
    p.easel.paint(ellipse(-0.05, 0.06 - high + 0.03, wide * 0.98, 0.11), p.first * 0.75, where=p.where)
    p.easel.paint(
        ellipse(-0.05, 0.06 - high + 0.05, wide * 0.84, 0.075), (0.35, 0.2, 0.1), where=p.where, rim=0, depth=0
    )
    heart = p.where & p.traits.chance("emblem", 0.5) & (p.texture.pattern == 0)
    p.easel.paint(star(-0.05, 0.12, 0.24, 0.45), p.second, where=heart & p.traits.chance("star", 0.5), rim=0.15)
    p.easel.paint(petals(-0.05, 0.12, 0.2, 0.3, 6.0), p.second, where=heart & ~p.traits.chance("star", 0.5), rim=0.15)


def _wheel(p: Paints, x: float, y: float, r: float) -> None:
    p.easel.paint(ellipse(x, y, r, r), _DARK, where=p.where)
    p.easel.paint(ellipse(x, y, r * 0.55, r * 0.55), (0.8, 0.8, 0.82), where=p.where, rim=0.2)
    for turn in (0.0, np.pi / 2):
        p.easel.paint(
            box(x, y, r * 0.5, r * 0.08, 2 * np.pi * p.view.phase + turn, 0.0), (0.35, 0.35, 0.37), where=p.where, rim=0
        )


def _car(p: Paints) -> None:
    roof = p.traits.uniform("roof", 0.22, 0.34)
    p.easel.paint(trapezoid(-0.08, -0.12, roof + 0.08, roof + 0.26, 0.26, r=0.1), p.first, where=p.where)
    for side in (-1, 1):
        p.easel.paint(trapezoid(-0.08 + side * 0.21, -0.12, 0.13, 0.18, 0.16, r=0.04), _GLASS, where=p.where, rim=0.2)
    p.easel.paint(box(0, 0.2, 0.84, 0.22, r=0.14), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, 0.24, 0.84, 0.045, r=0.02), p.second, where=p.where & p.traits.chance("line", 0.6), rim=0)
    p.easel.paint(ellipse(0.76, 0.15, 0.07, 0.07), (1, 0.93, 0.6), where=p.where)
    p.easel.paint(ellipse(-0.78, 0.15, 0.05, 0.07), (0.85, 0.15, 0.12), where=p.where)
    for x in (-0.46, 0.46):
        _wheel(p, x, 0.42, 0.2)


def _bus(p: Paints) -> None:
    p.easel.paint(box(0, -0.04, 0.88, 0.46, r=0.1), p.first, where=p.where)
    p.easel.paint(box(0, 0.2, 0.88, 0.07, r=0.02), p.second, where=p.where, rim=0)
    for x in (-0.62, -0.25, 0.12):
        p.easel.paint(box(x, -0.2, 0.15, 0.15, r=0.03), _GLASS, where=p.where, rim=0.2)
    p.easel.paint(box(0.6, -0.1, 0.2, 0.28, r=0.03), _GLASS, where=p.where, rim=0.2)
    p.easel.paint(ellipse(0.82, 0.28, 0.05, 0.06), (1, 0.93, 0.6), where=p.where)
    for x in (-0.5, 0.5):
        _wheel(p, x, 0.44, 0.18)


def _train(p: Paints) -> None:
    p.easel.paint(box(-0.44, -0.12, 0.34, 0.46, r=0.04), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(-0.44, -0.6, 0.42, 0.06, r=0.03), p.second, where=p.where)
    p.easel.paint(box(-0.44, -0.24, 0.19, 0.17, r=0.03), _GLASS, where=p.where, rim=0.2)
    p.easel.paint(capsule(0.0, 0.1, 0.58, 0.1, 0.25), p.first, where=p.where)
    p.easel.paint(ellipse(0.64, 0.1, 0.19, 0.22), p.second, where=p.where)
    p.easel.paint(trapezoid(0.46, -0.3, 0.13, 0.08, 0.2), p.second, where=p.where)
    p.easel.paint(ellipse(0.1, -0.18, 0.12, 0.1), _GOLD, where=p.where)
    drift = 0.08 * np.sin(2 * np.pi * p.view.phase)
    p.easel.paint(petals(0.38 + drift, -0.68, 0.17, 0.16, 7.0), (0.92, 0.92, 0.93), where=p.where, rim=0.1)
    for x, r in ((-0.56, 0.22), (-0.08, 0.18), (0.36, 0.18), (0.7, 0.14)):
        _wheel(p, x, 0.58 - r, r)


def _house(p: Paints) -> None:
    p.easel.paint(box(0.3, -0.56, 0.09, 0.24, r=0.01), (0.6, 0.3, 0.24), where=p.where)
    p.easel.paint(box(0, 0.28, 0.6, 0.44, r=0.01), p.first, where=p.where, texture=p.texture)
    p.easel.paint(triangle(0, -0.14, 0.76, p.traits.uniform("roof", 0.5, 0.72)), p.second, where=p.where)
    p.easel.paint(box(0.0, 0.48, 0.13, 0.24, r=0.02), p.third, where=p.where)
    p.easel.paint(ellipse(0.07, 0.5, 0.025, 0.025), _GOLD, where=p.where, rim=0)
    for x in (-0.36, 0.36):
        p.easel.paint(box(x, 0.18, 0.14, 0.14, r=0.01), (0.97, 0.97, 0.95), where=p.where)
        p.easel.paint(box(x, 0.18, 0.11, 0.11, r=0.01), _GLASS, where=p.where, rim=0)
        p.easel.paint(box(x, 0.18, 0.11, 0.014, r=0.0), (0.97, 0.97, 0.95), where=p.where, rim=0)
        p.easel.paint(box(x, 0.18, 0.014, 0.11, r=0.0), (0.97, 0.97, 0.95), where=p.where, rim=0)


def _flower(p: Paints) -> None:
    sway = 0.06 * np.sin(2 * np.pi * p.view.phase) * (0.3 + p.view.stride)
    p.easel.paint(capsule(0, 0.86, sway, -0.2, 0.04), _LEAF, where=p.where)
    p.easel.paint(ellipse(-0.2, 0.5, 0.22, 0.09, 0.5), _LEAF, where=p.where)
    p.easel.paint(ellipse(0.2, 0.38, 0.22, 0.09, -0.5), _LEAF, where=p.where)
    count = 5.0 + p.traits.integer("petals", 5)
    p.easel.paint(
        petals(sway, -0.34, 0.52, p.traits.uniform("depth", 0.3, 0.6), count.astype(np.float32), 1.0, sway * 2),
        p.first,
        where=p.where,
    )
    p.easel.paint(
        petals(sway, -0.34, 0.34, 0.35, count.astype(np.float32), 1.0, sway * 2 + 0.3),
        p.second,
        where=p.where & p.traits.chance("double", 0.5),
    )
    p.easel.paint(
        ellipse(sway, -0.34, 0.18, 0.18),
        np.where(p.traits.chance("dark heart", 0.4)[:, None], np.float32(0.25), np.array([_GOLD], np.float32)),
        where=p.where,
    )


def _gift(p: Paints) -> None:
    p.easel.paint(box(0, 0.22, 0.58, 0.48, r=0.03), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, -0.24, 0.66, 0.13, r=0.03), p.first * 0.9, where=p.where)
    p.easel.paint(box(0, 0.16, 0.1, 0.54, r=0.0), p.second, where=p.where, rim=0.1)
    p.easel.paint(box(0, 0.22, 0.58, 0.07, r=0.0), p.second, where=p.where & p.traits.chance("cross", 0.5), rim=0.1)
    for side in (-1, 1):
        p.easel.paint(ring(side * 0.2, -0.5, 0.19, 0.12, 0.045, side * 0.4), p.second, where=p.where)
    p.easel.paint(ellipse(0, -0.4, 0.1, 0.08), p.second * 0.85, where=p.where)


def _balloon(p: Paints) -> None:
    sway = 0.08 * np.sin(2 * np.pi * p.view.phase)
    p.easel.paint(
        ribbon(0, 0.28, sway, 0.92, 0.014, 0.014, 0.05, 1.2, p.view.phase, 0.5), (0.3, 0.3, 0.32), where=p.where, rim=0
    )
    p.easel.paint(triangle(0, 0.32, 0.08, 0.12), p.first * 0.8, where=p.where)
    p.easel.paint(ellipse(0, -0.26, 0.46, 0.54), p.first, where=p.where, texture=p.texture, depth=0.45)
    p.easel.paint(ellipse(-0.17, -0.48, 0.09, 0.15, 0.4), (1, 1, 1), where=p.where, opacity=0.55, rim=0, soft=0.05)


def _kite(p: Paints) -> None:
    sway = np.sin(2 * np.pi * p.view.phase)
    p.easel.paint(
        ribbon(-0.05, 0.36, -0.35, 0.94, 0.016, 0.016, 0.08, 1.6, p.view.phase, 0.6),
        (0.25, 0.25, 0.28),
        where=p.where,
        rim=0,
    )
    for step in (0.35, 0.65, 0.95):
        x, y = -0.05 - 0.3 * step + 0.03 * sway, 0.36 + 0.56 * step
        p.easel.paint(ellipse(x, y, 0.09, 0.04, 0.5 * sway), p.third, where=p.where)
    p.easel.paint(triangle(0.0, -0.14, 0.52, 0.72), p.first, where=p.where)
    p.easel.paint(triangle(0.0, -0.14, 0.52, 0.6, np.pi), p.second, where=p.where)
    p.easel.paint(box(0, -0.18, 0.016, 0.62, r=0.0), _WOOD, where=p.where, rim=0)
    p.easel.paint(box(0, -0.14, 0.5, 0.016, r=0.0), _WOOD, where=p.where, rim=0)


def _boat(p: Paints) -> None:
    p.easel.paint(box(0.02, -0.2, 0.03, 0.66, r=0.01), _WOOD, where=p.where)
    p.easel.paint(triangle(0.3, 0.14, 0.26, 0.9, 0.0), p.second, where=p.where)
    p.easel.paint(triangle(-0.24, 0.14, 0.22, 0.64, 0.0), np.minimum(p.second * 0.5 + 0.5, 1), where=p.where)
    p.easel.paint(trapezoid(0, 0.46, 0.84, 0.5, 0.22, r=0.06), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, 0.3, 0.8, 0.045, r=0.02), p.third, where=p.where, rim=0.1)
    flag = ribbon(0.02, -0.8, 0.3, -0.8, 0.06, 0.05, 0.03, 1.0, p.view.phase)
    p.easel.paint(flag, p.third, where=p.where)


def _lamp(p: Paints) -> None:
    p.easel.paint(ellipse(0, 0.78, 0.34, 0.1), p.second, where=p.where)
    p.easel.paint(box(0, 0.32, 0.045, 0.46, r=0.02), p.second, where=p.where)
    p.easel.paint(ellipse(0, 0.5, 0.13, 0.17), p.second, where=p.where & p.traits.chance("bulge", 0.5))
    p.easel.paint(ellipse(0, 0.02, 0.3, 0.1), (1, 0.95, 0.7), where=p.where, rim=0)
    p.easel.paint(
        trapezoid(0, -0.38, p.traits.uniform("shade", 0.18, 0.34), 0.54, 0.4, r=0.03),
        p.first,
        where=p.where,
        texture=p.texture,
        depth=0.2,
    )


def _book(p: Paints) -> None:
    tilt = 0.12
    p.easel.paint(box(0.05, 0.03, 0.54, 0.7, tilt, 0.03), (0.96, 0.94, 0.86), where=p.where)
    p.easel.paint(box(0, 0, 0.54, 0.72, tilt, 0.03), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(-0.46, -0.05, 0.07, 0.72, tilt, 0.02), p.first * 0.7, where=p.where, rim=0.1)
    p.easel.paint(box(0.12, -0.24, 0.3, 0.17, tilt, 0.02), p.second, where=p.where)
    p.easel.paint(star(0.04, 0.3, 0.2, 0.5, 5.0, tilt), p.second, where=p.where & p.traits.chance("star", 0.5))


def _fruit(p: Paints) -> None:
    p.easel.paint(capsule(0.02, -0.42, 0.1, -0.72, 0.035), _WOOD, where=p.where)
    p.easel.paint(ellipse(0.3, -0.62, 0.2, 0.1, -0.4), _LEAF, where=p.where)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.2, 0.12, 0.42, 0.56, side * 0.1), p.first, where=p.where, rim=0.25, depth=0.4)
    p.easel.paint(ellipse(0, 0.16, 0.4, 0.5), p.first, where=p.where, rim=0, depth=0.25, soft=0.08)
    p.easel.paint(ellipse(-0.3, -0.1, 0.09, 0.15, 0.4), (1, 1, 1), where=p.where, opacity=0.45, rim=0, soft=0.05)


def _teapot(p: Paints) -> None:
    p.easel.paint(ring(-0.56, 0.08, 0.22, 0.27, 0.055), p.second, where=p.where)
    p.easel.paint(capsule(0.4, 0.2, 0.8, -0.2, 0.14, 0.07), p.first * 0.95, where=p.where)
    p.easel.paint(ellipse(0, 0.16, 0.56, 0.46), p.first, where=p.where, texture=p.texture)
    p.easel.paint(ellipse(0, -0.26, 0.34, 0.1), p.second, where=p.where)
    p.easel.paint(ellipse(0, -0.4, 0.1, 0.09), p.second, where=p.where)
    p.easel.paint(box(0, 0.6, 0.3, 0.05, r=0.03), p.second, where=p.where)


def _umbrella(p: Paints) -> None:
    p.easel.paint(capsule(0, -0.2, 0, 0.74, 0.032), _WOOD, where=p.where)
    p.easel.paint(ring(0.12, 0.74, 0.12, 0.12, 0.03), _WOOD, where=p.where, within=box(0.12, 0.86, 0.2, 0.13, r=0.0))
    dome, above = ellipse(0, 0.02, 0.84, 0.76), box(0, -0.5, 1.0, 0.52, r=0.0)
    p.easel.paint(dome, p.first, where=p.where, within=above, texture=p.texture)
    p.easel.paint(
        ellipse(0, 0.02, 0.3, 0.76), p.second, where=p.where & (p.texture.pattern == 0), within=above, rim=0.15
    )
    for x in (-0.63, -0.21, 0.21, 0.63):
        p.easel.paint(ellipse(x, 0.02, 0.2, 0.07), p.first * 0.8, where=p.where, rim=0.1)


def _robot(p: Paints) -> None:
    move = 0.16 * p.view.stride * np.sin(2 * np.pi * p.view.phase)
    for side in (-1, 1):
        p.easel.paint(
            box(side * 0.22 + side * move * 0.5, 0.72 - 0.05 * np.maximum(side * move, 0), 0.12, 0.16, r=0.03),
            p.second,
            where=p.where,
        )
        hand = 0.26 + side * move - p.view.wave * 0.75 * (side > 0)
        p.easel.paint(capsule(side * 0.46, 0.02, side * 0.66, hand, 0.07), p.second, where=p.where)
        p.easel.paint(ellipse(side * 0.66, hand, 0.1, 0.1), p.third, where=p.where)
    p.easel.paint(box(0, 0.24, 0.42, 0.38, r=0.06), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, 0.2, 0.22, 0.17, r=0.03), (0.2, 0.25, 0.3), where=p.where)
    for x, colour in ((-0.1, (0.9, 0.2, 0.2)), (0.0, (0.95, 0.85, 0.2)), (0.1, (0.3, 0.8, 0.4))):
        p.easel.paint(ellipse(x, 0.2, 0.04, 0.04), colour, where=p.where, rim=0)
    p.easel.paint(capsule(0, -0.7, 0, -0.86, 0.025), _DARK, where=p.where)
    p.easel.paint(ellipse(0, -0.9, 0.06, 0.06), p.third, where=p.where)
    p.easel.paint(box(p.view.turn * 0.04, -0.44, 0.36, 0.26, p.view.lean, 0.07), p.first, where=p.where)
    round_eyes = p.traits.chance("round eyes", 0.6)
    for side in (-1, 1):
        eye_x = side * 0.15 + p.view.turn * 0.1
        p.easel.paint(ellipse(eye_x, -0.48, 0.1, 0.1), (0.97, 0.97, 0.8), where=p.where & round_eyes)
        p.easel.paint(box(eye_x, -0.48, 0.1, 0.08, r=0.01), (0.97, 0.97, 0.8), where=p.where & ~round_eyes)
        p.easel.paint(ellipse(eye_x + p.view.turn * 0.03, -0.48, 0.045, 0.045), _DARK, where=p.where, rim=0)
    p.easel.paint(box(p.view.turn * 0.1, -0.28, 0.16, 0.035, r=0.02), _DARK, where=p.where, rim=0)


def _teddy(p: Paints) -> None:
    swing = 0.14 * p.view.stride * np.sin(2 * np.pi * p.view.phase)
    pale = np.minimum(p.first * 0.45 + 0.52, 1)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.3, 0.68 - 0.05 * side * swing, 0.2, 0.2), p.first, where=p.where)
        p.easel.paint(ellipse(side * 0.3, 0.7 - 0.05 * side * swing, 0.11, 0.11), pale, where=p.where, rim=0)
        hand = 0.3 + side * swing - 0.62 * p.view.wave * (side > 0)
        p.easel.paint(capsule(side * 0.34, 0.1, side * 0.58, hand, 0.13, 0.12), p.first, where=p.where)
        p.easel.paint(ellipse(side * 0.3, -0.76, 0.16, 0.16), p.first, where=p.where)
        p.easel.paint(ellipse(side * 0.3, -0.75, 0.09, 0.09), pale, where=p.where, rim=0)
    p.easel.paint(ellipse(0, 0.32, 0.42, 0.42), p.first, where=p.where, texture=p.texture)
    p.easel.paint(ellipse(0, 0.36, 0.26, 0.28), pale, where=p.where & (p.texture.pattern == 0), rim=0)
    turn = p.view.turn * 0.1
    p.easel.paint(ellipse(0, -0.42, 0.42, 0.38), p.first, where=p.where)
    p.easel.paint(ellipse(turn, -0.3, 0.2, 0.16), pale, where=p.where, rim=0.1)
    p.easel.paint(ellipse(turn * 1.2, -0.37, 0.075, 0.055), _DARK, where=p.where, rim=0)
    p.easel.paint(bow(turn, -0.25, 0.08, 0.05, 0.014), _DARK, where=p.where, rim=0)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.17 + turn, -0.5, 0.055, 0.065), _DARK, where=p.where, rim=0)
        p.easel.paint(
            triangle(side * 0.03, -0.04, 0.12, 0.22, side * 1.57), p.second, where=p.where & p.traits.chance("bow", 0.6)
        )


def _rocket(p: Paints) -> None:
    flame = 0.16 + 0.07 * np.sin(6 * np.pi * p.view.phase)
    p.easel.paint(triangle(0, 0.56, 0.18, flame * 2, np.pi), (0.98, 0.62, 0.12), where=p.where, rim=0)
    p.easel.paint(triangle(0, 0.56, 0.1, flame, np.pi), (1, 0.92, 0.4), where=p.where, rim=0)
    for side in (-1, 1):
        p.easel.paint(triangle(side * 0.28, 0.58, 0.18, 0.46, side * 0.12), p.second, where=p.where)
    p.easel.paint(
        ellipse(0, -0.1, 0.32, 0.78), p.first, where=p.where, texture=p.texture, within=box(0, -0.2, 0.6, 0.78, r=0.0)
    )
    p.easel.paint(ellipse(0, -0.1, 0.32, 0.78), p.second, where=p.where, within=box(0, -0.85, 0.6, 0.3, r=0.0))
    p.easel.paint(ellipse(0, -0.18, 0.17, 0.17), p.third, where=p.where)
    p.easel.paint(ellipse(0, -0.18, 0.12, 0.12), _GLASS, where=p.where, rim=0)


def _clock(p: Paints) -> None:
    for side in (-1, 1):
        p.easel.paint(capsule(side * 0.36, 0.6, side * 0.46, 0.8, 0.06), p.second, where=p.where)
        p.easel.paint(ellipse(side * 0.32, -0.62, 0.18, 0.14, side * 0.6), p.second, where=p.where)
    p.easel.paint(ellipse(0, 0.06, 0.64, 0.64), p.first, where=p.where)
    p.easel.paint(ellipse(0, 0.06, 0.5, 0.5), (0.97, 0.96, 0.92), where=p.where, rim=0.2)
    for hour in range(12):
        x, y = 0.41 * np.sin(hour * np.pi / 6), 0.06 - 0.41 * np.cos(hour * np.pi / 6)
        p.easel.paint(ellipse(x, y, 0.03, 0.03), _DARK, where=p.where, rim=0)
    turn = p.traits.uniform("hour", 0, 6.28) + 2 * np.pi * p.view.phase
    p.easel.paint(capsule(0, 0.06, 0.34 * np.sin(turn), 0.06 - 0.34 * np.cos(turn), 0.022), _DARK, where=p.where, rim=0)
    low = p.traits.uniform("hand", 0, 6.28)
    p.easel.paint(capsule(0, 0.06, 0.22 * np.sin(low), 0.06 - 0.22 * np.cos(low), 0.034), p.third, where=p.where, rim=0)


def _plant(p: Paints) -> None:
    sway = 0.05 * np.sin(2 * np.pi * p.view.phase) * (0.3 + p.view.stride)
    cactus = p.traits.chance("cactus", 0.4)
    green = np.stack(
        [p.traits.uniform("g0", 0.15, 0.4), p.traits.uniform("g1", 0.45, 0.7), p.traits.uniform("g2", 0.15, 0.35)], 1
    )
    for angle in (-1.0, -0.6, -0.25, 0.15, 0.5, 0.9):
        x, y = 0.52 * np.sin(angle) + sway, 0.3 - 0.78 * np.cos(angle)
        leaf = capsule(0, 0.32, x, y, 0.05, 0.13)
        p.easel.paint(leaf, green * (0.85 + 0.15 * np.cos(angle * 9)), where=p.where & ~cactus)
    ribs = Texture(np.full(len(p.easel), 1), green * 0.75, 0.14)
    p.easel.paint(capsule(0, 0.3, 0, -0.5, 0.22), green, where=p.where & cactus, texture=ribs)
    for side, y in ((-1, -0.1), (1, 0.02)):
        p.easel.paint(capsule(side * 0.2, y, side * 0.46, y, 0.1), green, where=p.where & cactus)
        p.easel.paint(capsule(side * 0.46, y, side * 0.46, y - 0.26, 0.1), green, where=p.where & cactus)
    p.easel.paint(petals(0, -0.76, 0.15, 0.4, 6.0), p.second, where=p.where & cactus)
    p.easel.paint(trapezoid(0, 0.58, 0.42, 0.28, 0.3, r=0.03), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, 0.3, 0.47, 0.08, r=0.03), p.first * 0.85, where=p.where)


def _cake(p: Paints) -> None:
    p.easel.paint(ellipse(0, 0.72, 0.82, 0.12), (0.9, 0.9, 0.92), where=p.where)
    p.easel.paint(box(0, 0.42, 0.64, 0.3, r=0.05), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, 0.02, 0.44, 0.24, r=0.05), p.second, where=p.where)
    for x in (-0.5, -0.25, 0.0, 0.25, 0.5):
        p.easel.paint(ellipse(x, 0.2, 0.13, 0.1), (0.98, 0.96, 0.92), where=p.where, rim=0.1)
    count = 1 + p.traits.integer("candles", 3)
    flicker = 0.02 * np.sin(6 * np.pi * p.view.phase)
    for n in range(3):
        at = (n - (count - 1) / 2) * 0.24
        lit = p.where & (n < count)
        p.easel.paint(box(at, -0.36, 0.035, 0.16, r=0.0), p.third, where=lit)
        p.easel.paint(ellipse(at + flicker, -0.6, 0.045, 0.085), (1, 0.75, 0.2), where=lit, rim=0)


def _guitar(p: Paints) -> None:
    tilt = 0.5
    sin, cos = np.sin(tilt), np.cos(tilt)
    p.easel.paint(capsule(0, 0.1, 0.82 * sin, 0.1 - 0.86 * cos, 0.055), _WOOD, where=p.where)
    p.easel.paint(box(0.86 * sin, 0.1 - 0.92 * cos, 0.08, 0.12, tilt, 0.02), (0.3, 0.18, 0.1), where=p.where)
    p.easel.paint(ellipse(-0.26 * sin - 0.05, 0.2 + 0.22 * cos, 0.42, 0.38), p.first, where=p.where, texture=p.texture)
    p.easel.paint(ellipse(0.1 * sin, 0.16 - 0.12 * cos, 0.3, 0.28), p.first, where=p.where, texture=p.texture, rim=0.15)
    p.easel.paint(ellipse(-0.05, 0.18, 0.13, 0.13), _DARK, where=p.where, rim=0)
    p.easel.paint(
        capsule(-0.3 * sin, 0.2 + 0.36 * cos, 0.8 * sin, 0.1 - 0.84 * cos, 0.012),
        (0.9, 0.9, 0.88),
        where=p.where,
        rim=0,
    )
    p.easel.paint(box(-0.3 * sin, 0.2 + 0.36 * cos, 0.13, 0.03, tilt, 0.01), p.second, where=p.where)


def _star(p: Paints) -> None:
    p.easel.paint(star(0, 0.04, 0.84, p.traits.uniform("inner", 0.42, 0.62)), p.first, where=p.where, texture=p.texture)
    face = p.where & p.traits.chance("face", 0.6)
    for side in (-1, 1):
        p.easel.paint(ellipse(side * 0.15, -0.06, 0.065, 0.09), _DARK, where=face, rim=0)
        p.easel.paint(ellipse(side * 0.27, 0.09, 0.08, 0.055), (0.95, 0.5, 0.5), where=face, rim=0, opacity=0.7)
    p.easel.paint(bow(0, 0.1, 0.12, 0.08, 0.025), _DARK, where=face, rim=0)
    p.easel.paint(star(0, 0.04, 0.36, 0.5), p.second, where=p.where & ~face)


def _chair(p: Paints) -> None:
    for x, dim in ((-0.34, 0.75), (0.44, 0.75), (-0.44, 1.0), (0.34, 1.0)):
        p.easel.paint(capsule(x, 0.2, x, 0.84 - 0.05 * (dim < 1), 0.05), p.second * dim, where=p.where)
    p.easel.paint(box(-0.38, -0.32, 0.1, 0.54, r=0.05), p.second, where=p.where)
    p.easel.paint(box(-0.3, -0.42, 0.13, 0.38, r=0.06), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, 0.18, 0.5, 0.12, r=0.06), p.first, where=p.where, texture=p.texture)


def _backpack(p: Paints) -> None:
    p.easel.paint(ring(0, -0.64, 0.16, 0.16, 0.045), p.second, where=p.where)
    for side in (-1, 1):
        p.easel.paint(box(side * 0.54, 0.3, 0.12, 0.28, r=0.08), p.second, where=p.where)
    p.easel.paint(box(0, 0.08, 0.52, 0.7, r=0.24), p.first, where=p.where, texture=p.texture)
    p.easel.paint(box(0, 0.38, 0.38, 0.26, r=0.1), p.second, where=p.where)
    p.easel.paint(box(0, 0.2, 0.38, 0.025, r=0.0), _GOLD, where=p.where, rim=0)
    p.easel.paint(bow(0, -0.14, 0.46, -0.1, 0.025), _GOLD, where=p.where, rim=0)
    p.easel.paint(star(0, 0.4, 0.13, 0.5), p.third, where=p.where & p.traits.chance("badge", 0.5), rim=0)


THINGS: dict[str, tuple[tuple[str, ...], Callable[[Paints], None]]] = {
    "ball": (("ball", "toy ball"), _ball), "cup": (("cup", "mug"), _cup), "car": (("car", "toy car"), _car),
    "bus": (("bus",), _bus), "train": (("train", "steam engine"), _train), "house": (("house", "toy house"), _house),
    "flower": (("flower", "blossom"), _flower), "gift": (("gift box", "present"), _gift),
    "balloon": (("balloon",), _balloon), "kite": (("kite",), _kite), "boat": (("sailing boat", "boat"), _boat),
    "lamp": (("lamp", "table lamp"), _lamp), "book": (("book",), _book), "apple": (("apple",), _fruit),
    "teapot": (("teapot",), _teapot), "umbrella": (("umbrella",), _umbrella), "robot": (("robot", "toy robot"), _robot),
    "teddy": (("teddy bear", "plush bear"), _teddy), "rocket": (("rocket", "toy rocket"), _rocket),
    "clock": (("alarm clock", "clock"), _clock), "plant": (("potted plant", "plant"), _plant), "cake": (("cake",),
    _cake),
    "guitar": (("guitar",), _guitar), "star": (("star", "toy star"), _star), "chair": (("chair",), _chair),
    "backpack": (("backpack", "rucksack"), _backpack),
}  # fmt: skip
NAMES = tuple(THINGS)


def _colours(t: Traits, kind: Whole) -> tuple[Whole, Whole, Whole, Whole]:
    """Numbers of three colours and of the pattern."""
    first = t.integer("colour", len(palette.NAMES))
    first = np.where((kind == NAMES.index("apple")), np.array([0, 2, 3, 1])[t.integer("fruit", 4)], first)
    second, third = palette.other(t, "second colour", first), palette.other(t, "third colour", first)
    third = np.where(third == second, palette.NAMES.index("white"), third)
    pattern = t.pick("pattern", (3, 1.3, 0.8, 0.6, 0.8, 1.3, 0.9, 0.5, 0.6))
    bare = [NAMES.index(n) for n in ("bus", "flower", "kite", "apple", "clock", "lamp")]
    return first, second, third, np.where(np.isin(kind, bare), 0, pattern)


def describe(traits: Traits, kind: int) -> Description:
    """The words for one thing; `traits` of one number."""
    first, second, _, pattern = _colours(traits, np.array([kind]))
    colour, other = palette.NAMES[int(first[0])], palette.NAMES[int(second[0])]
    marked = PATTERN_WORDS[PATTERNS[int(pattern[0])]]
    adjectives = (f"{marked} {colour}", colour) if marked else (colour,)
    having = {
        "house": article(f"{other} roof"), "lamp": article(f"{other} foot"), "boat": f"{other} sails",
        "bus": article(f"{other} line"), "gift": article(f"{other} ribbon"), "robot": f"{other} arms",
        "teapot": article(f"{other} lid"), "rocket": f"{other} fins", "cake": article(f"{other} top"),
    }.get(NAMES[kind])  # fmt: skip
    return Description(THINGS[NAMES[kind]][0], adjectives, () if having is None else (having,))


def draw(easel: Easel, traits: Traits, kind: Whole, view: View) -> None:
    """Paint B things, the whole within [-1, 1]."""
    numbers = _colours(traits, kind)
    first, second, third = (
        palette.shade(traits, f"paint {n}", palette.TABLE[number]) for n, number in enumerate(numbers[:3])
    )
    texture = Texture(numbers[3], second, traits.uniform("period", 0.18, 0.34), traits.uniform("phase", 0, 6.3))
    for number in np.unique(kind):
        THINGS[NAMES[number]][1](Paints(easel, kind == number, traits, view, first, second, third, texture))
