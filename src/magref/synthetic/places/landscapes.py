"""Landscapes: parks, coasts, mountains, deserts, woods, the sea bed, the sky and space."""

from __future__ import annotations

import numpy as np

from magref.synthetic.easel import Texture
from magref.synthetic.places.site import Site
from magref.synthetic.shapes import bow, box, capsule, ellipse, petals, ribbon, star, trapezoid, triangle


def park(s: Site) -> None:
    """Grass and hills, round trees, perhaps a path and a bench."""
    s.grassland((0.28, 0.52, 0.22), (0.52, 0.74, 0.32), clouds=3, dim=0.85)
    path = trapezoid(s.x("path", -0.5, 0.5), 0.66, 0.1, 0.55, 0.46, r=0.0)
    s.easel.paint(path, (0.82, 0.73, 0.55), where=s.traits.chance("path", 0.6), rim=0.1)
    leaves = s.colour("leaves", (0.16, 0.42, 0.16), (0.45, 0.62, 0.22))
    for n in range(4):
        size = s.traits.uniform(f"tree size {n}", 0.6, 1.05)
        s.tree(f"tree {n}", s.x(f"tree {n}"), 0.25 + 0.04 * n, size, leaves * (0.85 + 0.06 * n))
    bx = s.x("bench", -0.8, 0.8)
    bench = s.traits.chance("bench", 0.4)
    for y in (0.22, 0.32):
        s.easel.paint(box(bx, y, 0.3, 0.035), (0.5, 0.32, 0.18), where=bench)
    for dx in (-0.24, 0.24):
        s.easel.paint(box(bx + dx, 0.38, 0.025, 0.1), (0.25, 0.2, 0.18), where=bench)


def meadow(s: Site) -> None:
    """Grass full of flowers of two colours."""
    s.grassland((0.36, 0.58, 0.22), (0.62, 0.78, 0.34), clouds=4, dim=0.9, hills=0.0, top=0.1)
    bloom, other = s.any_colour("bloom"), s.any_colour("bloom 2")
    for n in range(26):
        flower = petals(s.x(f"fx {n}"), 0.2 + 0.8 * (n / 26), 0.035 + 0.03 * n / 26, 0.35, 5.0)
        s.easel.paint(flower, bloom if n % 2 else other, rim=0.1)


def beach(s: Site) -> None:
    """Sand before the sea, with a palm or a parasol."""
    s.sky()
    s.clouds(2, -0.5)
    water = s.colour("sea", (0.10, 0.42, 0.70), (0.20, 0.68, 0.74))
    s.fill(water, -0.08)
    for n in range(4):
        crest = s.wave(f"wave {n}", 0.1 * n, 0.012, 0.02, 5.0 + n)
        s.easel.paint(crest, np.minimum(water * 1.25 + 0.12, 1), rim=0, depth=0)
    sand = s.colour("sand", (0.90, 0.78, 0.55), (0.96, 0.88, 0.68))
    s.fill((0.95, 0.97, 0.98), 0.38)
    s.fill(sand, 0.42)
    x = s.x("palm", -0.9, 0.9)
    palm = s.traits.chance("palm", 0.6)
    s.easel.paint(capsule(x, 0.6, x + 0.12, -0.32, 0.06, 0.04), (0.55, 0.4, 0.24), where=palm)
    for angle in (-1.9, -1.2, -0.4, 0.4, 1.2):
        leaf = capsule(x + 0.12, -0.34, x + 0.12 + 0.44 * np.sin(angle), -0.36 - 0.24 * np.cos(angle), 0.07, 0.02)
        s.easel.paint(leaf, (0.2, 0.52, 0.24), where=palm)
    ux = s.x("parasol", -0.9, 0.9)
    shade = ~s.traits.chance("palm", 0.6)
    s.easel.paint(box(ux, 0.4, 0.02, 0.42), (0.9, 0.88, 0.84), where=shade, rim=0)
    striped = Texture.of("pinstriped", np.full((len(s.easel), 3), 0.96, np.float32), 0.2)
    cloth, upper = ellipse(ux, 0.1, 0.46, 0.3), box(ux, -0.1, 0.6, 0.2, r=0.0)
    s.easel.paint(cloth, s.any_colour("cloth"), where=shade, within=upper, texture=striped)


def sea(s: Site) -> None:
    """Waves up to the horizon, perhaps an island."""
    s.sky()
    s.clouds(3, -0.5)
    water = s.colour("sea", (0.06, 0.28, 0.55), (0.14, 0.52, 0.70))
    s.fill(water, -0.15)
    for n in range(9):
        crest = s.wave(f"wave {n}", -0.1 + 0.13 * n, 0.018, 0.03, 7.0 - 0.4 * n)
        s.easel.paint(crest, water * (1.3 if n % 2 else 0.8), rim=0, depth=0, opacity=0.8)
    x = s.x("island", -0.8, 0.8)
    island, above = ellipse(x, -0.13, 0.4, 0.18), box(x, -0.3, 0.5, 0.16, r=0.0)
    s.easel.paint(island, (0.4, 0.52, 0.36), where=s.traits.chance("island", 0.5), within=above)


def mountains(s: Site) -> None:
    """Peaks with snow above a valley with firs."""
    s.sky()
    s.clouds(3)
    rock = s.colour("rock", (0.38, 0.40, 0.48), (0.56, 0.50, 0.48))
    for n in range(5):
        x = -s.wide + (n + s.traits.uniform(f"peak {n}", -0.4, 0.4)) * s.wide / 2
        high, half = s.traits.uniform(f"high {n}", 0.6, 1.15), s.traits.uniform(f"half {n}", 0.5, 0.8)
        s.easel.paint(triangle(x, 0.3, half, high), rock * (0.8 + 0.08 * n), rim=0.1)
        s.easel.paint(triangle(x, 0.3 - high * 0.7, half * 0.3, high * 0.3), (0.97, 0.98, 1.0), rim=0.05)
    s.fill(s.colour("grass", (0.30, 0.46, 0.24), (0.52, 0.60, 0.36)), 0.28)
    fir = s.colour("fir", (0.10, 0.3, 0.16), (0.2, 0.42, 0.2))
    for n in range(4):
        s.tree(f"fir {n}", s.x(f"tree {n}"), 0.34 + 0.03 * n, s.traits.uniform(f"size {n}", 0.3, 0.55), fir)


def snow(s: Site) -> None:
    """White hills and firs while it snows."""
    s.sky()
    s.hills(np.full((len(s.easel), 3), 0.92, np.float32), 0.0)
    s.fill((0.95, 0.97, 1.0), 0.22)
    fir = s.colour("fir", (0.12, 0.34, 0.22), (0.75, 0.85, 0.88))
    for n in range(4):
        s.tree(f"fir {n}", s.x(f"tree {n}"), 0.32, s.traits.uniform(f"size {n}", 0.5, 0.8), fir)
    for n in range(16):
        x, y = s.x(f"flake x {n}"), s.traits.uniform(f"flake y {n}", -1, 0.9)
        s.easel.paint(ellipse(x, y, 0.022, 0.022), (1, 1, 1), rim=0, depth=0, opacity=0.9)


def desert(s: Site) -> None:
    """Dunes and cactuses."""
    s.sky()
    sand = s.colour("sand", (0.86, 0.62, 0.34), (0.95, 0.80, 0.52))
    s.hills(sand * 0.92, 0.05)
    s.fill(sand, 0.22)
    for n in range(3):
        s.easel.paint(s.wave(f"dune {n}", 0.4 + 0.22 * n, 0.03, 0.05, 2.0 + n), sand * 0.9, rim=0, depth=0)
    green = (0.28, 0.5, 0.26)
    for n in range(3):
        x = s.x(f"cactus {n}")
        shown = s.traits.chance(f"cactus {n} there", 0.65)
        s.easel.paint(capsule(x, 0.4, x, -0.15, 0.075), green, where=shown)
        for side, y in ((-1, 0.1), (1, 0.0)):
            tip = x + side * 0.17
            s.easel.paint(capsule(x, y + 0.06, tip, y + 0.04, 0.04), green, where=shown)
            s.easel.paint(capsule(tip, y + 0.04, tip, y - 0.14, 0.04), green, where=shown)


def forest(s: Site) -> None:
    """Trunks under leaves, ferns on the moss."""
    s.fill(s.colour("back", (0.20, 0.34, 0.20), (0.50, 0.62, 0.40)))
    for n in range(12):
        x = -s.wide + (n + s.traits.uniform(f"x {n}", -0.3, 0.3)) * s.wide / 5.5
        half = s.traits.uniform(f"half {n}", 0.04, 0.11)
        bark = s.colour(f"bark {n}", (0.24, 0.17, 0.11), (0.48, 0.36, 0.25))
        s.easel.paint(trapezoid(x, -0.3, half * 0.8, half * 1.2, 0.85, r=0.0), bark * (0.7 + 0.03 * n))
    leaves = s.colour("leaves", (0.12, 0.34, 0.14), (0.62, 0.46, 0.16))
    for n in range(9):
        crown = petals(-s.wide + n * s.wide / 4, -0.95 + 0.06 * (n % 3), 0.36, 0.16, 9.0)
        s.easel.paint(crown, leaves * (0.85 + 0.03 * n), rim=0.2)
    s.fill(s.colour("moss", (0.22, 0.30, 0.14), (0.42, 0.46, 0.22)), 0.36)
    for n in range(8):
        fern = petals(s.x(f"fern {n}"), 0.42 + 0.05 * n, 0.1, 0.3, 8.0, 0.6)
        s.easel.paint(fern, leaves * 1.1, rim=0.2)


def underwater(s: Site) -> None:
    """The sea bed with weeds, corals and bubbles."""
    deep = s.colour("water", (0.04, 0.26, 0.46), (0.08, 0.46, 0.56))
    s.fill(np.clip(deep * 1.5 + 0.05, 0, 1))
    s.fill(deep, -0.3, soft=0.95)
    s.fill(deep * 0.65, 0.5, soft=0.95)
    s.fill((0.78, 0.70, 0.50), 0.72)
    for n in range(6):
        x, top = s.x(f"weed {n}"), 0.82 - s.traits.uniform(f"tall {n}", 0.4, 1.0)
        weed = ribbon(x, 0.82, x, top, 0.06, 0.02, 0.06, 1.5, s.traits.uniform(f"p {n}"))
        s.easel.paint(weed, s.colour(f"weed {n}", (0.10, 0.45, 0.25), (0.45, 0.62, 0.2)))
    for n in range(4):
        coral, shown = petals(s.x(f"coral {n}"), 0.76, 0.16, 0.35, 7.0), s.traits.chance(f"c {n}", 0.7)
        s.easel.paint(coral, s.any_colour(f"coral {n}"), where=shown)
    for n in range(9):
        x, y = s.x(f"bubble {n}"), s.traits.uniform(f"by {n}", -0.9, 0.6)
        s.easel.paint(ellipse(x, y, 0.035, 0.035), (0.85, 0.95, 1.0), rim=0.5, opacity=0.5)


def sky(s: Site) -> None:
    """Nothing but clouds."""
    s.sky()
    s.clouds(7, 0.9)


def space(s: Site) -> None:
    """Craters below stars and a planet."""
    s.fill(s.colour("dark", (0.03, 0.03, 0.09), (0.12, 0.06, 0.2)))
    for n in range(30):
        x, y = s.x(f"x {n}"), s.traits.uniform(f"y {n}", -1, 1)
        r = s.traits.uniform(f"r {n}", 0.01, 0.03)
        s.easel.paint(star(x, y, r * 1.6, 0.4), (1, 1, 0.92), rim=0, depth=0)
    x, y = s.x("planet", -0.8, 0.8), s.traits.uniform("planet y", -0.7, -0.1)
    r, planet = s.traits.uniform("planet r", 0.2, 0.42), s.any_colour("planet")
    bands = Texture.of("striped", s.any_colour("bands"), r * 0.7)
    s.easel.paint(ellipse(x, y, r, r), planet, texture=bands, depth=0.5)
    ring = bow(x, y, r * 1.5, r * 0.35, 0.03, -0.25)
    s.easel.paint(ring, (0.92, 0.84, 0.66), where=s.traits.chance("ring", 0.5))
    s.fill(s.colour("ground", (0.40, 0.38, 0.40), (0.62, 0.46, 0.36)), 0.55)
    for n in range(5):
        s.easel.paint(ellipse(s.x(f"crater {n}"), 0.66 + 0.07 * n, 0.14, 0.04), (0.3, 0.28, 0.3), rim=0.2)
