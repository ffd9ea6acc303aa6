"""Under a roof: a living room, a kitchen, a library, a stage."""

from __future__ import annotations

import numpy as np

from magref.synthetic.easel import Texture
from magref.synthetic.places.site import Site
from magref.synthetic.shapes import box, ellipse, trapezoid

_WALLPAPERS = {"plain": 2, "striped": 1, "pinstriped": 1, "diagonal": 0.6, "dotted": 1.2, "zigzag": 0.5}


def room(s: Site) -> None:
    """A living room: perhaps a window, a picture, a sofa, a rug."""
    wall = s.any_colour("wall") * 0.5 + 0.42
    pattern = s.traits.choose("paper", _WALLPAPERS)
    s.fill(wall, texture=Texture(pattern, np.clip(wall * 0.9, 0, 1), 0.22))
    floor = s.colour("floor", (0.48, 0.32, 0.20), (0.76, 0.58, 0.38))
    s.fill(floor, 0.42, Texture.of("pinstriped", floor * 0.9, 0.24))
    s.easel.paint(s.bar(0.4, 0.035), (0.95, 0.94, 0.91), rim=0)
    wx, frame = s.x("window", -0.8, 0.8), (0.96, 0.96, 0.94)
    window = s.traits.chance("window", 0.7)
    s.easel.paint(box(wx, -0.38, 0.38, 0.4, r=0.0), frame, where=window)
    s.easel.paint(box(wx, -0.38, 0.33, 0.35, r=0.0), (0.66, 0.85, 0.97), where=window, rim=0)
    s.easel.paint(box(wx, -0.38, 0.02, 0.35, r=0.0), frame, where=window, rim=0)
    curtain, curtained = s.any_colour("curtain"), window & s.traits.chance("curtains", 0.6)
    for side in (-1, 1):
        s.easel.paint(trapezoid(wx + side * 0.38, -0.32, 0.07, 0.13, 0.5), curtain, where=curtained)
    px = s.x("picture", -0.9, 0.9)
    hung = s.traits.chance("picture", 0.6) & (np.abs(px - wx) > 0.65)
    s.easel.paint(box(px, -0.42, 0.24, 0.2, r=0.0), (0.5, 0.34, 0.18), where=hung)
    s.easel.paint(box(px, -0.42, 0.19, 0.15, r=0.0), s.any_colour("painting"), where=hung, rim=0)
    s.easel.paint(ellipse(px, -0.36, 0.1, 0.07), s.any_colour("painted"), where=hung, rim=0)
    sx = s.x("sofa", -0.8, 0.8)
    sofa, seats = s.any_colour("sofa"), s.traits.chance("sofa", 0.55)
    s.easel.paint(box(sx, 0.2, 0.5, 0.22, r=0.08), sofa * 0.9, where=seats)
    s.easel.paint(box(sx, 0.38, 0.5, 0.12, r=0.06), sofa, where=seats)
    for side in (-1, 1):
        s.easel.paint(box(sx + side * 0.52, 0.3, 0.09, 0.2, r=0.08), sofa, where=seats)
    rug = ellipse(s.x("rug x", -0.5, 0.5), 0.76, 0.75, 0.17)
    s.easel.paint(rug, s.any_colour("rug"), where=s.traits.chance("rug", 0.5), rim=0.15)


def kitchen(s: Site) -> None:
    """Tiles, cupboards and a worktop with a pot and a bottle."""
    tile = s.colour("tile", (0.80, 0.88, 0.90), (0.95, 0.93, 0.86))
    s.fill(tile, texture=Texture.of("plaid", tile * 0.86, 0.2))
    floor = s.any_colour("floor") * 0.4 + 0.45
    wood = s.any_colour("cupboard") * 0.7 + 0.2
    for n in range(7):
        x = -s.wide + n * s.wide / 3
        s.easel.paint(box(x, -0.78, s.wide / 6.4, 0.28, r=0.01), wood)
        s.easel.paint(ellipse(x + 0.1, -0.62, 0.022, 0.022), (0.3, 0.3, 0.3), rim=0)
        s.easel.paint(box(x, 0.3, s.wide / 6.4, 0.24, r=0.01), wood * 0.94)
        s.easel.paint(box(x, 0.16, 0.08, 0.016), (0.3, 0.3, 0.3), rim=0)
    s.easel.paint(s.bar(0.04, 0.045), (0.4, 0.36, 0.34))
    s.fill(floor, 0.54, Texture.of("checked", floor * 0.82, 0.5))
    px = s.x("pot", -0.8, 0.8)
    s.easel.paint(box(px, -0.1, 0.16, 0.1, r=0.03), s.any_colour("pot"))
    s.easel.paint(box(px, -0.1, 0.22, 0.02), (0.3, 0.3, 0.32), rim=0)
    bx = s.x("bottle", -0.8, 0.8)
    s.easel.paint(box(bx, -0.12, 0.05, 0.12, r=0.03), s.any_colour("bottle"))
    s.easel.paint(box(bx, -0.28, 0.02, 0.06, r=0.0), (0.3, 0.45, 0.3))


def library(s: Site) -> None:
    """Shelves full of books."""
    wood = s.colour("wood", (0.30, 0.19, 0.11), (0.52, 0.35, 0.20))
    s.fill(wood * 0.7)
    for row in range(3):
        base = -0.5 + 0.46 * row
        for n in range(16):
            high = s.traits.uniform(f"book {row} {n}", 0.1, 0.18)
            book = box(-s.wide + (n + 0.5) * s.wide / 8, base - high, s.wide / 18, high, r=0.01)
            there = s.traits.chance(f"there {row} {n}", 0.9)
            s.easel.paint(book, s.any_colour(f"book {row} {n}"), where=there, rim=0.2)
        s.easel.paint(s.bar(base + 0.03, 0.035), wood)
    s.fill(s.colour("carpet", (0.35, 0.14, 0.16), (0.24, 0.28, 0.42)), 0.52)


def stage(s: Site) -> None:
    """Boards before a curtain, in the beam of a lamp."""
    cloth = s.any_colour("curtain")
    s.fill(cloth, texture=Texture.of("pinstriped", cloth * 0.72, 0.3))
    s.fill(s.colour("boards", (0.45, 0.30, 0.18), (0.66, 0.48, 0.30)), 0.5)
    for n in range(6):
        s.easel.paint(ellipse(-s.wide + (n + 0.5) * s.wide / 3, -0.98, 0.26, 0.2), cloth * 0.85)
    beam = trapezoid(s.x("light", -0.4, 0.4), -0.2, 0.12, 0.75, 0.95, r=0.0)
    s.easel.paint(beam, (1, 0.97, 0.8), rim=0, opacity=0.22, depth=0)
