"""Vehicles: what drives, sails and flies."""

from __future__ import annotations

import numpy as np

from magref.synthetic.shapes import box, capsule, ellipse, petals, ribbon, trapezoid, triangle
from magref.synthetic.things.paints import DARK, GLASS, GOLD, WOOD, Paints


def _wheel(p: Paints, x: float, y: float, r: float) -> None:
    p.easel.paint(ellipse(x, y, r, r), DARK)
    p.easel.paint(ellipse(x, y, r * 0.55, r * 0.55), (0.8, 0.8, 0.82), rim=0.2)
    for turn in (0.0, np.pi / 2):
        p.easel.paint(box(x, y, r * 0.5, r * 0.08, 2 * np.pi * p.view.phase + turn, 0.0), (0.35, 0.35, 0.37), rim=0)


def car(p: Paints) -> None:
    """A car with a roof of its own height."""
    roof = p.traits.uniform("roof", 0.22, 0.34)
    p.easel.paint(trapezoid(-0.08, -0.12, roof + 0.08, roof + 0.26, 0.26, r=0.1), p.first)
    for side in (-1, 1):
        p.easel.paint(trapezoid(-0.08 + side * 0.21, -0.12, 0.13, 0.18, 0.16, r=0.04), GLASS, rim=0.2)
    p.easel.paint(box(0, 0.2, 0.84, 0.22, r=0.14), p.first, texture=p.texture)
    p.easel.paint(box(0, 0.24, 0.84, 0.045, r=0.02), p.second, where=p.traits.chance("line", 0.6), rim=0)
    p.easel.paint(ellipse(0.76, 0.15, 0.07, 0.07), (1, 0.93, 0.6))
    p.easel.paint(ellipse(-0.78, 0.15, 0.05, 0.07), (0.85, 0.15, 0.12))
    for x in (-0.46, 0.46):
        _wheel(p, x, 0.42, 0.2)


def bus(p: Paints) -> None:
    """A bus with a line along its side."""
    p.easel.paint(box(0, -0.04, 0.88, 0.46, r=0.1), p.first)
    p.easel.paint(box(0, 0.2, 0.88, 0.07, r=0.02), p.second, rim=0)
    for x in (-0.62, -0.25, 0.12):
        p.easel.paint(box(x, -0.2, 0.15, 0.15, r=0.03), GLASS, rim=0.2)
    p.easel.paint(box(0.6, -0.1, 0.2, 0.28, r=0.03), GLASS, rim=0.2)
    p.easel.paint(ellipse(0.82, 0.28, 0.05, 0.06), (1, 0.93, 0.6))
    for x in (-0.5, 0.5):
        _wheel(p, x, 0.44, 0.18)


def train(p: Paints) -> None:
    """A steam engine."""
    p.easel.paint(box(-0.44, -0.12, 0.34, 0.46, r=0.04), p.first, texture=p.texture)
    p.easel.paint(box(-0.44, -0.6, 0.42, 0.06, r=0.03), p.second)
    p.easel.paint(box(-0.44, -0.24, 0.19, 0.17, r=0.03), GLASS, rim=0.2)
    p.easel.paint(capsule(0.0, 0.1, 0.58, 0.1, 0.25), p.first)
    p.easel.paint(ellipse(0.64, 0.1, 0.19, 0.22), p.second)
    p.easel.paint(trapezoid(0.46, -0.3, 0.13, 0.08, 0.2), p.second)
    p.easel.paint(ellipse(0.1, -0.18, 0.12, 0.1), GOLD)
    drift = 0.08 * np.sin(2 * np.pi * p.view.phase)
    p.easel.paint(petals(0.38 + drift, -0.68, 0.17, 0.16, 7.0), (0.92, 0.92, 0.93), rim=0.1)
    for x, r in ((-0.56, 0.22), (-0.08, 0.18), (0.36, 0.18), (0.7, 0.14)):
        _wheel(p, x, 0.58 - r, r)


def boat(p: Paints) -> None:
    """A sailing boat with a flag."""
    p.easel.paint(box(0.02, -0.2, 0.03, 0.66, r=0.01), WOOD)
    p.easel.paint(triangle(0.3, 0.14, 0.26, 0.9, 0.0), p.second)
    p.easel.paint(triangle(-0.24, 0.14, 0.22, 0.64, 0.0), np.minimum(p.second * 0.5 + 0.5, 1))
    p.easel.paint(trapezoid(0, 0.46, 0.84, 0.5, 0.22, r=0.06), p.first, texture=p.texture)
    p.easel.paint(box(0, 0.3, 0.8, 0.045, r=0.02), p.third, rim=0.1)
    flag = ribbon(0.02, -0.8, 0.3, -0.8, 0.06, 0.05, 0.03, 1.0, p.view.phase)
    p.easel.paint(flag, p.third)


def rocket(p: Paints) -> None:
    """A toy rocket with a flame."""
    flame = 0.16 + 0.07 * np.sin(6 * np.pi * p.view.phase)
    p.easel.paint(triangle(0, 0.56, 0.18, flame * 2, np.pi), (0.98, 0.62, 0.12), rim=0)
    p.easel.paint(triangle(0, 0.56, 0.1, flame, np.pi), (1, 0.92, 0.4), rim=0)
    for side in (-1, 1):
        p.easel.paint(triangle(side * 0.28, 0.58, 0.18, 0.46, side * 0.12), p.second)
    p.easel.paint(ellipse(0, -0.1, 0.32, 0.78), p.first, texture=p.texture, within=box(0, -0.2, 0.6, 0.78, r=0.0))
    p.easel.paint(ellipse(0, -0.1, 0.32, 0.78), p.second, within=box(0, -0.85, 0.6, 0.3, r=0.0))
    p.easel.paint(ellipse(0, -0.18, 0.17, 0.17), p.third)
    p.easel.paint(ellipse(0, -0.18, 0.12, 0.12), GLASS, rim=0)
