"""Places: backgrounds as pictures, each from its number, with the words for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from magref.synthetic import palette
from magref.synthetic.easel import Easel, Texture, bow, box, capsule, ellipse, petals, ribbon, star, trapezoid, triangle
from magref.synthetic.traits import Choices, Flags, Floats, Traits
from magref.synthetic.views import View


@dataclass(frozen=True)
class Place:
    """A sort of background: words for it after their preposition, and how its picture is painted."""

    words: tuple[str, ...]
    preposition: str
    paint: Callable[[_Site], None]
    ground: bool = True


@dataclass(frozen=True)
class _Site:
    """The easel with the rows that show this place; `wide` is half the picture's width in half heights."""

    easel: Easel
    where: Flags
    traits: Traits
    wide: float

    def colour(self, name: str, low: tuple[float, float, float], high: tuple[float, float, float]) -> Floats:
        """(B, 3) between two colours."""
        share = self.traits.uniform(name)[:, None]
        base = np.array(low, np.float32) * (1 - share) + np.array(high, np.float32) * share
        return palette.shade(self.traits, name, base, 0.03)

    def any_colour(self, name: str) -> Floats:
        """(B, 3) a named colour's shade."""
        return palette.shade(self.traits, name, palette.TABLE[self.traits.integer(name, len(palette.NAMES))])

    def fill(
        self,
        colour: Floats | tuple[float, float, float],
        top: float = -1.5,
        texture: Texture | None = None,
        soft: float = 1.0,
    ) -> None:
        """Everything from `top` down, with an edge as soft as it says."""
        shape = box(0, (top + 2) / 2, self.wide + 1, (2 - top) / 2, r=0.0)
        self.easel.paint(shape, colour, where=self.where, rim=0, depth=0.06, texture=texture, soft=soft)

    def sky(self, night: float = 0.0) -> Floats:
        """A sky with a sun or a moon; returns (B,) how dark it is: 0 by day, 0.5 at sunset, 1 at night."""
        hour = self.traits.pick("hour", (6, 1.4, 1.2)) if night == 0 else np.full(len(self.traits), 2)
        top = np.array([(0.40, 0.66, 0.94), (0.42, 0.36, 0.62), (0.05, 0.07, 0.18)], np.float32)[hour]
        low = np.array([(0.78, 0.90, 0.99), (0.98, 0.68, 0.42), (0.16, 0.19, 0.36)], np.float32)[hour]
        self.fill(top)
        self.fill((top + low) / 2, -0.6, soft=0.7)
        self.fill(low, -0.05, soft=0.6)
        x = self.traits.uniform("sun", -0.8, 0.8) * self.wide
        sun = np.array([(1, 0.95, 0.6), (1, 0.75, 0.4), (0.94, 0.94, 0.88)], np.float32)[hour]
        self.easel.paint(
            ellipse(x, -0.68, 0.15, 0.15), sun, where=self.where & self.traits.chance("sun shows", 0.6), rim=0, depth=0
        )
        for n in range(5):
            sx, sy = (
                self.traits.uniform(f"star x {n}", -1, 1) * self.wide,
                self.traits.uniform(f"star y {n}", -0.95, -0.2),
            )
            self.easel.paint(ellipse(sx, sy, 0.018, 0.018), (1, 1, 0.9), where=self.where & (hour == 2), rim=0, depth=0)
        return hour.astype(np.float32) / 2

    def clouds(self, count: int = 3, low: float = -0.35) -> None:
        """Clouds in the sky."""
        for n in range(count):
            x = self.traits.uniform(f"cloud x {n}", -1, 1) * self.wide
            y, r = self.traits.uniform(f"cloud y {n}", -0.9, low), self.traits.uniform(f"cloud r {n}", 0.16, 0.32)
            shown = self.where & self.traits.chance(f"cloud {n}", 0.7)
            self.easel.paint(
                petals(x, y, r, 0.2, 9.0, 0.55), (0.97, 0.98, 1.0), where=shown, rim=0.08, depth=0.15, opacity=0.92
            )

    def hills(self, colour: Floats, y: float = 0.1) -> None:
        """Three round hills behind the ground."""
        for n, dim in enumerate((0.78, 0.88, 0.96)):
            x = self.traits.uniform(f"hill x {n}", -1, 1) * self.wide
            rx, ry = self.traits.uniform(f"hill w {n}", 0.6, 1.3), self.traits.uniform(f"hill h {n}", 0.2, 0.55)
            self.easel.paint(ellipse(x, y + 0.2, rx, ry), colour * dim, where=self.where, rim=0.08, depth=0.15)

    def tree(self, name: str, x: Floats, y: Floats | float, scale: Floats | float, colour: Floats) -> None:
        """A round tree, a fir or a poplar."""
        sort = self.traits.integer(f"{name} sort", 3)
        scale = np.asarray(scale, np.float32)
        trunk = (0.42, 0.28, 0.17)
        self.easel.paint(capsule(x, y, x, y - 0.5 * scale, 0.055 * scale, 0.045 * scale), trunk, where=self.where)
        self.easel.paint(
            petals(x, y - 0.8 * scale, 0.42 * scale, 0.14, 9.0), colour, where=self.where & (sort == 0), rim=0.2
        )
        self.easel.paint(
            ellipse(x, y - 0.85 * scale, 0.24 * scale, 0.55 * scale), colour, where=self.where & (sort == 1), rim=0.2
        )
        for level in (0.25, 0.55, 0.85):
            self.easel.paint(
                triangle(x, y - level * scale, (0.46 - 0.32 * level) * scale, 0.5 * scale),
                colour * (0.8 + 0.2 * level),
                where=self.where & (sort == 2), rim=0.15,
            )  # fmt: skip


_GREEN_1, _GREEN_2 = (0.28, 0.52, 0.22), (0.52, 0.74, 0.32)


def _park(s: _Site) -> None:
    s.sky()
    s.clouds()
    grass = s.colour("grass", _GREEN_1, _GREEN_2)
    s.hills(grass * 0.85)
    s.fill(grass, 0.2)
    x = s.traits.uniform("path", -0.5, 0.5) * s.wide
    s.easel.paint(
        trapezoid(x, 0.66, 0.1, 0.55, 0.46, r=0.0),
        (0.82, 0.73, 0.55),
        where=s.where & s.traits.chance("path", 0.6),
        rim=0.1,
    )
    leaves = s.colour("leaves", (0.16, 0.42, 0.16), (0.45, 0.62, 0.22))
    for n in range(4):
        tx = s.traits.uniform(f"tree {n}", -1, 1) * s.wide
        s.tree(
            f"tree {n}", tx, 0.25 + 0.04 * n, s.traits.uniform(f"tree size {n}", 0.6, 1.05), leaves * (0.85 + 0.06 * n)
        )
    bx = s.traits.uniform("bench", -0.8, 0.8) * s.wide
    bench = s.where & s.traits.chance("bench", 0.4)
    for y in (0.22, 0.32):
        s.easel.paint(box(bx, y, 0.3, 0.035), (0.5, 0.32, 0.18), where=bench)
    for dx in (-0.24, 0.24):
        s.easel.paint(box(bx + dx, 0.38, 0.025, 0.1), (0.25, 0.2, 0.18), where=bench)


def _meadow(s: _Site) -> None:
    s.sky()
    s.clouds(4)
    grass = s.colour("grass", (0.36, 0.58, 0.22), (0.62, 0.78, 0.34))
    s.hills(grass * 0.9, 0.0)
    s.fill(grass, 0.1)
    bloom, other = s.any_colour("bloom"), s.any_colour("bloom 2")
    for n in range(26):
        x = s.traits.uniform(f"fx {n}", -1, 1) * s.wide
        y = 0.2 + 0.8 * (n / 26)
        s.easel.paint(petals(x, y, 0.035 + 0.03 * n / 26, 0.35, 5.0), bloom if n % 2 else other, where=s.where, rim=0.1)


def _beach(s: _Site) -> None:
    s.sky()
    s.clouds(2, -0.5)
    sea = s.colour("sea", (0.10, 0.42, 0.70), (0.20, 0.68, 0.74))
    s.fill(sea, -0.08)
    for n in range(4):
        y = 0.0 + 0.1 * n
        line = ribbon(
            -s.wide - 0.2, y, s.wide + 0.2, y, 0.012, 0.012, 0.02, 5.0 + n, s.traits.uniform(f"wave {n}"), 0.0
        )
        s.easel.paint(line, np.minimum(sea * 1.25 + 0.12, 1), where=s.where, rim=0, depth=0)
    sand = s.colour("sand", (0.90, 0.78, 0.55), (0.96, 0.88, 0.68))
    s.fill((0.95, 0.97, 0.98), 0.38)
    s.fill(sand, 0.42)
    x = s.traits.uniform("palm", -0.9, 0.9) * s.wide
    palm = s.where & s.traits.chance("palm", 0.6)
    s.easel.paint(capsule(x, 0.6, x + 0.12, -0.32, 0.06, 0.04), (0.55, 0.4, 0.24), where=palm)
    for angle in (-1.9, -1.2, -0.4, 0.4, 1.2):
        s.easel.paint(
            capsule(x + 0.12, -0.34, x + 0.12 + 0.44 * np.sin(angle), -0.36 - 0.24 * np.cos(angle), 0.07, 0.02),
            (0.2, 0.52, 0.24), where=palm,
        )  # fmt: skip
    ux = s.traits.uniform("parasol", -0.9, 0.9) * s.wide
    shade = s.where & ~s.traits.chance("palm", 0.6)
    s.easel.paint(box(ux, 0.4, 0.02, 0.42), (0.9, 0.88, 0.84), where=shade, rim=0)
    striped = Texture(np.full(len(s.easel), 2), np.full((len(s.easel), 3), 0.96, np.float32), 0.2)
    s.easel.paint(
        ellipse(ux, 0.1, 0.46, 0.3),
        s.any_colour("cloth"),
        where=shade,
        within=box(ux, -0.1, 0.6, 0.2, r=0.0),
        texture=striped,
    )


def _sea(s: _Site) -> None:
    s.sky()
    s.clouds(3, -0.5)
    sea = s.colour("sea", (0.06, 0.28, 0.55), (0.14, 0.52, 0.70))
    s.fill(sea, -0.15)
    for n in range(9):
        y = -0.1 + 0.13 * n
        line = ribbon(
            -s.wide - 0.2, y, s.wide + 0.2, y, 0.018, 0.018, 0.03, 7.0 - 0.4 * n, s.traits.uniform(f"wave {n}"), 0.0
        )
        s.easel.paint(line, sea * (1.3 if n % 2 else 0.8), where=s.where, rim=0, depth=0, opacity=0.8)
    x = s.traits.uniform("island", -0.8, 0.8) * s.wide
    s.easel.paint(ellipse(x, -0.13, 0.4, 0.18), (0.4, 0.52, 0.36), where=s.where & s.traits.chance("island", 0.5),
                  within=box(x, -0.3, 0.5, 0.16, r=0.0))  # fmt: skip


def _street(s: _Site) -> None:
    dark = s.sky()
    x = -s.wide - 0.1
    for n in range(7):
        half, high = s.traits.uniform(f"half {n}", 0.24, 0.36), s.traits.uniform(f"high {n}", 0.45, 0.95)
        wall = s.any_colour(f"wall {n}") * 0.55 + 0.3
        cx = x + n * (2 * s.wide + 0.3) / 6.5
        s.easel.paint(box(cx, 0.4 - high, half, high, r=0.0), wall, where=s.where, rim=0.12)
        pane = np.where(
            (dark > 0.4)[:, None], np.array([(1.0, 0.88, 0.5)], np.float32), np.array([(0.55, 0.7, 0.82)], np.float32)
        )
        for row in range(3):
            for column in (-0.5, 0.5):
                y = 0.4 - 2 * high + 0.2 + row * 0.36
                s.easel.paint(box(cx + column * half, y, 0.075, 0.1, r=0.0), pane, where=s.where & (y < 0.22), rim=0.15)
        door = s.any_colour(f"door {n}")
        s.easel.paint(box(cx, 0.27, 0.08, 0.16, r=0.0), door, where=s.where, rim=0.15)
    s.fill((0.70, 0.68, 0.65), 0.42)
    s.fill(s.colour("road", (0.28, 0.28, 0.31), (0.42, 0.42, 0.44)), 0.62)
    for n in range(8):
        s.easel.paint(
            box(-s.wide + n * s.wide / 3.5, 0.82, 0.12, 0.018, r=0.0), (0.93, 0.91, 0.8), where=s.where, rim=0
        )
    lx = s.traits.uniform("lantern", -0.9, 0.9) * s.wide
    s.easel.paint(box(lx, 0.1, 0.022, 0.48), (0.2, 0.2, 0.22), where=s.where)
    s.easel.paint(ellipse(lx, -0.42, 0.08, 0.1), (1, 0.94, 0.7), where=s.where)


def _city(s: _Site) -> None:
    s.sky(night=1)
    for n in range(9):
        half, high = s.traits.uniform(f"half {n}", 0.16, 0.28), s.traits.uniform(f"high {n}", 0.4, 0.85)
        cx = -s.wide + n * s.wide / 4
        wall = s.colour(f"wall {n}", (0.12, 0.13, 0.22), (0.26, 0.24, 0.38))
        s.easel.paint(box(cx, 0.5 - high, half, high, r=0.0), wall, where=s.where, rim=0.2)
        for row in range(4):
            for column in (-0.5, 0.0, 0.5):
                lit = s.where & s.traits.chance(f"lit {n} {row} {column}", 0.5)
                s.easel.paint(
                    box(cx + column * half, 0.62 - 2 * high + row * 0.22, 0.035, 0.05, r=0.0),
                    (1.0, 0.87, 0.45),
                    where=lit,
                    rim=0,
                    depth=0,
                )
    s.fill((0.16, 0.16, 0.20), 0.5)


def _room(s: _Site) -> None:
    wall = s.any_colour("wall") * 0.5 + 0.42
    pattern = s.traits.pick("paper", (2, 1, 1, 0.6, 0, 1.2, 0.5))
    paper = Texture(pattern, np.clip(wall * 0.9, 0, 1), 0.22)
    s.fill(wall, -1.5, paper)
    floor = s.colour("floor", (0.48, 0.32, 0.20), (0.76, 0.58, 0.38))
    s.fill(floor, 0.42, Texture(np.full(len(s.easel), 2), floor * 0.9, 0.24))
    s.easel.paint(box(0, 0.4, s.wide + 0.2, 0.035, r=0.0), (0.95, 0.94, 0.91), where=s.where, rim=0)
    wx = s.traits.uniform("window", -0.8, 0.8) * s.wide
    window = s.where & s.traits.chance("window", 0.7)
    s.easel.paint(box(wx, -0.38, 0.38, 0.4, r=0.0), (0.96, 0.96, 0.94), where=window)
    s.easel.paint(box(wx, -0.38, 0.33, 0.35, r=0.0), (0.66, 0.85, 0.97), where=window, rim=0)
    s.easel.paint(box(wx, -0.38, 0.02, 0.35, r=0.0), (0.96, 0.96, 0.94), where=window, rim=0)
    curtain = s.any_colour("curtain")
    for side in (-1, 1):
        s.easel.paint(
            trapezoid(wx + side * 0.38, -0.32, 0.07, 0.13, 0.5),
            curtain,
            where=window & s.traits.chance("curtains", 0.6),
        )
    px = s.traits.uniform("picture", -0.9, 0.9) * s.wide
    hung = s.where & s.traits.chance("picture", 0.6) & (np.abs(px - wx) > 0.65)
    s.easel.paint(box(px, -0.42, 0.24, 0.2, r=0.0), (0.5, 0.34, 0.18), where=hung)
    s.easel.paint(box(px, -0.42, 0.19, 0.15, r=0.0), s.any_colour("painting"), where=hung, rim=0)
    s.easel.paint(ellipse(px, -0.36, 0.1, 0.07), s.any_colour("painted"), where=hung, rim=0)
    sx = s.traits.uniform("sofa", -0.8, 0.8) * s.wide
    sofa, seats = s.any_colour("sofa"), s.where & s.traits.chance("sofa", 0.55)
    s.easel.paint(box(sx, 0.2, 0.5, 0.22, r=0.08), sofa * 0.9, where=seats)
    s.easel.paint(box(sx, 0.38, 0.5, 0.12, r=0.06), sofa, where=seats)
    for side in (-1, 1):
        s.easel.paint(box(sx + side * 0.52, 0.3, 0.09, 0.2, r=0.08), sofa, where=seats)
    rug = s.where & s.traits.chance("rug", 0.5)
    s.easel.paint(
        ellipse(s.traits.uniform("rug x", -0.5, 0.5) * s.wide, 0.76, 0.75, 0.17),
        s.any_colour("rug"),
        where=rug,
        rim=0.15,
    )


def _kitchen(s: _Site) -> None:
    tile = s.colour("tile", (0.80, 0.88, 0.90), (0.95, 0.93, 0.86))
    s.fill(tile, -1.5, Texture(np.full(len(s.easel), 8), tile * 0.86, 0.2))
    floor = s.any_colour("floor") * 0.4 + 0.45
    wood = s.any_colour("cupboard") * 0.7 + 0.2
    for n in range(7):
        x = -s.wide + n * s.wide / 3
        s.easel.paint(box(x, -0.78, s.wide / 6.4, 0.28, r=0.01), wood, where=s.where)
        s.easel.paint(ellipse(x + 0.1, -0.62, 0.022, 0.022), (0.3, 0.3, 0.3), where=s.where, rim=0)
        s.easel.paint(box(x, 0.3, s.wide / 6.4, 0.24, r=0.01), wood * 0.94, where=s.where)
        s.easel.paint(box(x, 0.16, 0.08, 0.016), (0.3, 0.3, 0.3), where=s.where, rim=0)
    s.easel.paint(box(0, 0.04, s.wide + 0.2, 0.045, r=0.0), (0.4, 0.36, 0.34), where=s.where)
    s.fill(floor, 0.54, Texture(np.full(len(s.easel), 4), floor * 0.82, 0.5))
    px = s.traits.uniform("pot", -0.8, 0.8) * s.wide
    s.easel.paint(box(px, -0.1, 0.16, 0.1, r=0.03), s.any_colour("pot"), where=s.where)
    s.easel.paint(box(px, -0.1, 0.22, 0.02), (0.3, 0.3, 0.32), where=s.where, rim=0)
    bx = s.traits.uniform("bottle", -0.8, 0.8) * s.wide
    s.easel.paint(box(bx, -0.12, 0.05, 0.12, r=0.03), s.any_colour("bottle"), where=s.where)
    s.easel.paint(box(bx, -0.28, 0.02, 0.06, r=0.0), (0.3, 0.45, 0.3), where=s.where)


def _library(s: _Site) -> None:
    wood = s.colour("wood", (0.30, 0.19, 0.11), (0.52, 0.35, 0.20))
    s.fill(wood * 0.7)
    for row in range(3):
        base = -0.5 + 0.46 * row
        for n in range(16):
            x = -s.wide + (n + 0.5) * s.wide / 8
            high = s.traits.uniform(f"book {row} {n}", 0.1, 0.18)
            book = s.any_colour(f"book {row} {n}")
            s.easel.paint(
                box(x, base - high, s.wide / 18, high, r=0.01),
                book,
                where=s.where & s.traits.chance(f"there {row} {n}", 0.9),
                rim=0.2,
            )
        s.easel.paint(box(0, base + 0.03, s.wide + 0.2, 0.035, r=0.0), wood, where=s.where)
    s.fill(s.colour("carpet", (0.35, 0.14, 0.16), (0.24, 0.28, 0.42)), 0.52)


def _mountains(s: _Site) -> None:
    s.sky()
    s.clouds(3)
    rock = s.colour("rock", (0.38, 0.40, 0.48), (0.56, 0.50, 0.48))
    for n in range(5):
        x = -s.wide + (n + s.traits.uniform(f"peak {n}", -0.4, 0.4)) * s.wide / 2
        high, half = s.traits.uniform(f"high {n}", 0.6, 1.15), s.traits.uniform(f"half {n}", 0.5, 0.8)
        s.easel.paint(triangle(x, 0.3, half, high), rock * (0.8 + 0.08 * n), where=s.where, rim=0.1)
        s.easel.paint(triangle(x, 0.3 - high * 0.7, half * 0.3, high * 0.3), (0.97, 0.98, 1.0), where=s.where, rim=0.05)
    s.fill(s.colour("grass", (0.30, 0.46, 0.24), (0.52, 0.60, 0.36)), 0.28)
    for n in range(4):
        tx = s.traits.uniform(f"tree {n}", -1, 1) * s.wide
        s.tree(
            f"fir {n}",
            tx,
            0.34 + 0.03 * n,
            s.traits.uniform(f"size {n}", 0.3, 0.55),
            s.colour("fir", (0.10, 0.3, 0.16), (0.2, 0.42, 0.2)),
        )


def _snow(s: _Site) -> None:
    s.sky()
    s.hills(np.full((len(s.easel), 3), 0.92, np.float32), 0.0)
    s.fill((0.95, 0.97, 1.0), 0.22)
    for n in range(4):
        x = s.traits.uniform(f"tree {n}", -1, 1) * s.wide
        s.tree(
            f"fir {n}",
            x,
            0.32,
            s.traits.uniform(f"size {n}", 0.5, 0.8),
            s.colour("fir", (0.12, 0.34, 0.22), (0.75, 0.85, 0.88)),
        )
    for n in range(16):
        x, y = s.traits.uniform(f"flake x {n}", -1, 1) * s.wide, s.traits.uniform(f"flake y {n}", -1, 0.9)
        s.easel.paint(ellipse(x, y, 0.022, 0.022), (1, 1, 1), where=s.where, rim=0, depth=0, opacity=0.9)


def _desert(s: _Site) -> None:
    s.sky()
    sand = s.colour("sand", (0.86, 0.62, 0.34), (0.95, 0.80, 0.52))
    s.hills(sand * 0.92, 0.05)
    s.fill(sand, 0.22)
    for n in range(3):
        y = 0.4 + 0.22 * n
        line = ribbon(-s.wide - 0.2, y, s.wide + 0.2, y, 0.03, 0.03, 0.05, 2.0 + n, s.traits.uniform(f"dune {n}"), 0.0)
        s.easel.paint(line, sand * 0.9, where=s.where, rim=0, depth=0)
    for n in range(3):
        x = s.traits.uniform(f"cactus {n}", -1, 1) * s.wide
        shown = s.where & s.traits.chance(f"cactus {n} there", 0.65)
        s.easel.paint(capsule(x, 0.4, x, -0.15, 0.075), (0.28, 0.5, 0.26), where=shown)
        for side, y in ((-1, 0.1), (1, 0.0)):
            s.easel.paint(capsule(x, y + 0.06, x + side * 0.17, y + 0.04, 0.04), (0.28, 0.5, 0.26), where=shown)
            s.easel.paint(
                capsule(x + side * 0.17, y + 0.04, x + side * 0.17, y - 0.14, 0.04), (0.28, 0.5, 0.26), where=shown
            )


def _forest(s: _Site) -> None:
    back = s.colour("back", (0.20, 0.34, 0.20), (0.50, 0.62, 0.40))
    s.fill(back)
    for n in range(12):
        x = -s.wide + (n + s.traits.uniform(f"x {n}", -0.3, 0.3)) * s.wide / 5.5
        half = s.traits.uniform(f"half {n}", 0.04, 0.11)
        bark = s.colour(f"bark {n}", (0.24, 0.17, 0.11), (0.48, 0.36, 0.25))
        s.easel.paint(trapezoid(x, -0.3, half * 0.8, half * 1.2, 0.85, r=0.0), bark * (0.7 + 0.03 * n), where=s.where)
    leaves = s.colour("leaves", (0.12, 0.34, 0.14), (0.62, 0.46, 0.16))
    for n in range(9):
        leaf_x = -s.wide + n * s.wide / 4
        s.easel.paint(
            petals(leaf_x, -0.95 + 0.06 * (n % 3), 0.36, 0.16, 9.0), leaves * (0.85 + 0.03 * n), where=s.where, rim=0.2
        )
    s.fill(s.colour("moss", (0.22, 0.30, 0.14), (0.42, 0.46, 0.22)), 0.36)
    for n in range(8):
        x = s.traits.uniform(f"fern {n}", -1, 1) * s.wide
        s.easel.paint(petals(x, 0.42 + 0.05 * n, 0.1, 0.3, 8.0, 0.6), leaves * 1.1, where=s.where, rim=0.2)


def _underwater(s: _Site) -> None:
    deep = s.colour("water", (0.04, 0.26, 0.46), (0.08, 0.46, 0.56))
    s.fill(np.clip(deep * 1.5 + 0.05, 0, 1))
    s.fill(deep, -0.3, soft=0.95)
    s.fill(deep * 0.65, 0.5, soft=0.95)
    s.fill((0.78, 0.70, 0.50), 0.72)
    for n in range(6):
        x = s.traits.uniform(f"weed {n}", -1, 1) * s.wide
        weed = s.colour(f"weed {n}", (0.10, 0.45, 0.25), (0.45, 0.62, 0.2))
        s.easel.paint(
            ribbon(
                x,
                0.82,
                x,
                0.82 - s.traits.uniform(f"tall {n}", 0.4, 1.0),
                0.06,
                0.02,
                0.06,
                1.5,
                s.traits.uniform(f"p {n}"),
            ),
            weed,
            where=s.where,
        )
    for n in range(4):
        x = s.traits.uniform(f"coral {n}", -1, 1) * s.wide
        s.easel.paint(
            petals(x, 0.76, 0.16, 0.35, 7.0), s.any_colour(f"coral {n}"), where=s.where & s.traits.chance(f"c {n}", 0.7)
        )
    for n in range(9):
        x, y = s.traits.uniform(f"bubble {n}", -1, 1) * s.wide, s.traits.uniform(f"by {n}", -0.9, 0.6)
        s.easel.paint(ellipse(x, y, 0.035, 0.035), (0.85, 0.95, 1.0), where=s.where, rim=0.5, opacity=0.5)


def _sky(s: _Site) -> None:
    s.sky()
    s.clouds(7, 0.9)


def _farm(s: _Site) -> None:
    s.sky()
    s.clouds(3)
    grass = s.colour("grass", (0.40, 0.56, 0.24), (0.72, 0.70, 0.36))
    s.hills(grass * 0.9)
    s.fill(grass, 0.2)
    x = s.traits.uniform("barn", -0.7, 0.7) * s.wide
    wall = np.where(
        s.traits.chance("red barn", 0.6)[:, None], np.array([(0.70, 0.18, 0.16)], np.float32), s.any_colour("barn")
    )
    s.easel.paint(box(x, 0.0, 0.5, 0.32, r=0.0), wall, where=s.where)
    s.easel.paint(triangle(x, -0.3, 0.6, 0.38), wall * 0.6, where=s.where)
    s.easel.paint(box(x, 0.1, 0.16, 0.22, r=0.0), (0.95, 0.93, 0.88), where=s.where)
    s.easel.paint(box(x, 0.1, 0.13, 0.19, r=0.0), wall * 0.8, where=s.where, rim=0)
    for y in (0.3, 0.42):
        s.easel.paint(box(0, y, s.wide + 0.2, 0.022, r=0.0), (0.93, 0.91, 0.86), where=s.where)
    for n in range(10):
        s.easel.paint(box(-s.wide + n * s.wide / 4.5, 0.37, 0.028, 0.14), (0.93, 0.91, 0.86), where=s.where)


def _stage(s: _Site) -> None:
    cloth = s.any_colour("curtain")
    s.fill(cloth, -1.5, Texture(np.full(len(s.easel), 2), cloth * 0.72, 0.3))
    s.fill(s.colour("boards", (0.45, 0.30, 0.18), (0.66, 0.48, 0.30)), 0.5)
    for n in range(6):
        s.easel.paint(ellipse(-s.wide + (n + 0.5) * s.wide / 3, -0.98, 0.26, 0.2), cloth * 0.85, where=s.where)
    x = s.traits.uniform("light", -0.4, 0.4) * s.wide
    s.easel.paint(
        trapezoid(x, -0.2, 0.12, 0.75, 0.95, r=0.0), (1, 0.97, 0.8), where=s.where, rim=0, opacity=0.22, depth=0
    )


def _playground(s: _Site) -> None:
    s.sky()
    s.clouds(2)
    grass = s.colour("grass", _GREEN_1, _GREEN_2)
    s.hills(grass * 0.8)
    s.fill(grass, 0.2)
    s.easel.paint(ellipse(0, 0.86, s.wide * 0.9, 0.3), (0.9, 0.8, 0.58), where=s.where, rim=0.1)
    x = s.traits.uniform("slide", -0.85, -0.2) * s.wide
    colour = s.any_colour("slide")
    s.easel.paint(capsule(x - 0.1, -0.4, x + 0.6, 0.4, 0.055), colour, where=s.where)
    for dx in (-0.22, -0.1):
        s.easel.paint(box(x + dx, 0.0, 0.025, 0.42), (0.6, 0.6, 0.64), where=s.where)
    sx, post = s.traits.uniform("swing", 0.3, 0.8) * s.wide, s.any_colour("post")
    for dx in (-0.36, 0.36):
        s.easel.paint(capsule(sx + dx * 0.8, -0.5, sx + dx, 0.36, 0.03), post, where=s.where)
    s.easel.paint(box(sx, -0.5, 0.34, 0.03), post, where=s.where)
    for dx in (-0.1, 0.1):
        s.easel.paint(box(sx + dx, -0.16, 0.008, 0.34, r=0.0), (0.3, 0.3, 0.3), where=s.where, rim=0)
    s.easel.paint(box(sx, 0.18, 0.14, 0.025), (0.6, 0.35, 0.2), where=s.where)


def _space(s: _Site) -> None:
    s.fill(s.colour("dark", (0.03, 0.03, 0.09), (0.12, 0.06, 0.2)))
    for n in range(30):
        x, y = s.traits.uniform(f"x {n}", -1, 1) * s.wide, s.traits.uniform(f"y {n}", -1, 1)
        r = s.traits.uniform(f"r {n}", 0.01, 0.03)
        s.easel.paint(star(x, y, r * 1.6, 0.4), (1, 1, 0.92), where=s.where, rim=0, depth=0)
    x, y = s.traits.uniform("planet", -0.8, 0.8) * s.wide, s.traits.uniform("planet y", -0.7, -0.1)
    r, planet = s.traits.uniform("planet r", 0.2, 0.42), s.any_colour("planet")
    bands = Texture(np.full(len(s.easel), 1), s.any_colour("bands"), r * 0.7)
    s.easel.paint(ellipse(x, y, r, r), planet, where=s.where, texture=bands, depth=0.5)
    s.easel.paint(
        bow(x, y, r * 1.5, r * 0.35, 0.03, -0.25), (0.92, 0.84, 0.66), where=s.where & s.traits.chance("ring", 0.5)
    )
    s.fill(s.colour("ground", (0.40, 0.38, 0.40), (0.62, 0.46, 0.36)), 0.55)
    for n in range(5):
        x = s.traits.uniform(f"crater {n}", -1, 1) * s.wide
        s.easel.paint(ellipse(x, 0.66 + 0.07 * n, 0.14, 0.04), (0.3, 0.28, 0.3), where=s.where, rim=0.2)


PLACES: dict[str, Place] = {
    "park": Place(("a park", "a green park", "the park"), "in", _park),
    "meadow": Place(("a meadow", "a field of flowers", "a flowering field"), "in", _meadow),
    "beach": Place(("a beach", "a sandy beach", "the beach"), "on", _beach),
    "sea": Place(("the sea", "the open sea", "a wide sea"), "on", _sea, ground=False),
    "street": Place(("a street", "a street with houses", "the street"), "in", _street),
    "city": Place(("a city at night", "a dark city", "the city at night"), "in", _city),
    "room": Place(("a room", "a living room", "the living room"), "in", _room),
    "kitchen": Place(("a kitchen", "the kitchen", "a tidy kitchen"), "in", _kitchen),
    "library": Place(("a library", "the library", "a room full of books"), "in", _library),
    "mountains": Place(("the mountains", "a mountain valley", "high mountains"), "in", _mountains),
    "snow": Place(("the snow", "a snowy landscape", "a winter landscape"), "in", _snow),
    "desert": Place(("a desert", "the desert", "a hot desert"), "in", _desert),
    "forest": Place(("a forest", "the forest", "a wood"), "in", _forest),
    "underwater": Place(("deep water", "the deep sea", "a coral reef"), "in", _underwater, ground=False),
    "sky": Place(("the sky", "a cloudy sky", "the open sky"), "in", _sky, ground=False),
    "farm": Place(("a farm", "the farm", "a farmyard"), "on", _farm),
    "stage": Place(("a stage", "the stage", "a theatre stage"), "on", _stage),
    "space": Place(("a strange planet", "a far planet", "the moon"), "on", _space),
    "playground": Place(("a playground", "the playground"), "on", _playground),
}  # fmt: skip
NAMES = tuple(PLACES)


def place_of(number: int) -> str:
    """Which sort of place a number is."""
    return Choices(number, "place").of("sort", NAMES)


def draw_places(
    numbers: Sequence[int], view: View, height: int, width: int, *, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """(B, 3, H, W) float32 in [0, 1]: the places with these numbers, in the view's light."""
    easel = Easel(view, (height, width), device)
    traits = Traits(numbers, "place")
    sorts = np.array([place_of(number) for number in numbers])
    for name in NAMES:
        if (sorts == name).any():
            PLACES[name].paint(_Site(easel, sorts == name, traits, width / height))
    return easel.finish()[:, :3]
