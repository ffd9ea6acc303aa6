"""Where people build: streets, a city, a farm, a playground."""

from __future__ import annotations

from magref.synthetic import palette
from magref.synthetic.places.site import Site
from magref.synthetic.shapes import box, capsule, ellipse, triangle


def street(s: Site) -> None:
    """A row of houses behind a road, with a lantern."""
    dark = s.sky()
    pane = palette.either(dark > 0.4, (1.0, 0.88, 0.5), (0.55, 0.7, 0.82))
    for n in range(7):
        half, high = s.traits.uniform(f"half {n}", 0.24, 0.36), s.traits.uniform(f"high {n}", 0.45, 0.95)
        wall = s.any_colour(f"wall {n}") * 0.55 + 0.3
        cx = -s.wide - 0.1 + n * (2 * s.wide + 0.3) / 6.5
        s.easel.paint(box(cx, 0.4 - high, half, high, r=0.0), wall, rim=0.12)
        for row in range(3):
            for column in (-0.5, 0.5):
                y = 0.4 - 2 * high + 0.2 + row * 0.36
                s.easel.paint(box(cx + column * half, y, 0.075, 0.1, r=0.0), pane, where=y < 0.22, rim=0.15)
        s.easel.paint(box(cx, 0.27, 0.08, 0.16, r=0.0), s.any_colour(f"door {n}"), rim=0.15)
    s.fill((0.70, 0.68, 0.65), 0.42)
    s.fill(s.colour("road", (0.28, 0.28, 0.31), (0.42, 0.42, 0.44)), 0.62)
    for n in range(8):
        s.easel.paint(box(-s.wide + n * s.wide / 3.5, 0.82, 0.12, 0.018, r=0.0), (0.93, 0.91, 0.8), rim=0)
    lx = s.x("lantern", -0.9, 0.9)
    s.easel.paint(box(lx, 0.1, 0.022, 0.48), (0.2, 0.2, 0.22))
    s.easel.paint(ellipse(lx, -0.42, 0.08, 0.1), (1, 0.94, 0.7))


def city(s: Site) -> None:
    """Towers with lit windows at night."""
    s.sky(night=True)
    for n in range(9):
        half, high = s.traits.uniform(f"half {n}", 0.16, 0.28), s.traits.uniform(f"high {n}", 0.4, 0.85)
        cx = -s.wide + n * s.wide / 4
        wall = s.colour(f"wall {n}", (0.12, 0.13, 0.22), (0.26, 0.24, 0.38))
        s.easel.paint(box(cx, 0.5 - high, half, high, r=0.0), wall, rim=0.2)
        for row in range(4):
            for column in (-0.5, 0.0, 0.5):
                lit = s.traits.chance(f"lit {n} {row} {column}", 0.5)
                window = box(cx + column * half, 0.62 - 2 * high + row * 0.22, 0.035, 0.05, r=0.0)
                s.easel.paint(window, (1.0, 0.87, 0.45), where=lit, rim=0, depth=0)
    s.fill((0.16, 0.16, 0.20), 0.5)


def farm(s: Site) -> None:
    """A barn in the fields behind a fence."""
    s.grassland((0.40, 0.56, 0.24), (0.72, 0.70, 0.36), clouds=3, dim=0.9)
    x = s.x("barn", -0.7, 0.7)
    wall = palette.either(s.traits.chance("red barn", 0.6), (0.70, 0.18, 0.16), s.any_colour("barn"))
    s.easel.paint(box(x, 0.0, 0.5, 0.32, r=0.0), wall)
    s.easel.paint(triangle(x, -0.3, 0.6, 0.38), wall * 0.6)
    s.easel.paint(box(x, 0.1, 0.16, 0.22, r=0.0), (0.95, 0.93, 0.88))
    s.easel.paint(box(x, 0.1, 0.13, 0.19, r=0.0), wall * 0.8, rim=0)
    for y in (0.3, 0.42):
        s.easel.paint(s.bar(y, 0.022), (0.93, 0.91, 0.86))
    for n in range(10):
        s.easel.paint(box(-s.wide + n * s.wide / 4.5, 0.37, 0.028, 0.14), (0.93, 0.91, 0.86))


def playground(s: Site) -> None:
    """A slide and a swing on sand."""
    s.grassland((0.28, 0.52, 0.22), (0.52, 0.74, 0.32), clouds=2, dim=0.8)
    s.easel.paint(ellipse(0, 0.86, s.wide * 0.9, 0.3), (0.9, 0.8, 0.58), rim=0.1)
    x = s.x("slide", -0.85, -0.2)
    colour = s.any_colour("slide")
    s.easel.paint(capsule(x - 0.1, -0.4, x + 0.6, 0.4, 0.055), colour)
    for dx in (-0.22, -0.1):
        s.easel.paint(box(x + dx, 0.0, 0.025, 0.42), (0.6, 0.6, 0.64))
    sx, post = s.x("swing", 0.3, 0.8), s.any_colour("post")
    for dx in (-0.36, 0.36):
        s.easel.paint(capsule(sx + dx * 0.8, -0.5, sx + dx, 0.36, 0.03), post)
    s.easel.paint(box(sx, -0.5, 0.34, 0.03), post)
    for dx in (-0.1, 0.1):
        s.easel.paint(box(sx + dx, -0.16, 0.008, 0.34, r=0.0), (0.3, 0.3, 0.3), rim=0)
    s.easel.paint(box(sx, 0.18, 0.14, 0.025), (0.6, 0.35, 0.2))
