"""What places share: skies, clouds, hills, trees and the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Easel, Texture
from magref.synthetic.palette import Colour
from magref.synthetic.shapes import Rows, Shape, box, capsule, ellipse, petals, ribbon, triangle
from magref.synthetic.traits import Floats, Traits


@dataclass(frozen=True)
class Site:
    """Where places of one sort are painted: B rows of traits, and an easel that paints those which are of this sort.

    `wide` is half the pictures' width in half heights: x runs from -wide to wide, y from -1 to 1, down.
    """

    easel: Easel
    traits: Traits
    wide: float

    def x(self, name: str, low: float = -1.0, high: float = 1.0) -> Floats:
        """(B,) somewhere from side to side; `low` and `high` in half widths."""
        return self.traits.uniform(name, low, high) * self.wide

    def colour(self, name: str, low: Colour, high: Colour) -> Floats:
        """(B, 3) between two colours."""
        share = self.traits.uniform(name)[:, None]
        base = np.array(low, np.float32) * (1 - share) + np.array(high, np.float32) * share
        return palette.shade(self.traits, name, base, 0.03)

    def any_colour(self, name: str) -> Floats:
        """(B, 3) a named colour's shade."""
        return palette.any_shade(self.traits, name)

    def bar(self, y: Rows, half: float) -> Shape:
        """From side to side: a skirting board, a shelf, the bar of a fence; its half height in half heights."""
        return box(0, y, self.wide + 0.2, half, r=0.0)

    def wave(self, name: str, y: float, thick: float, height: float, waves: float) -> Shape:
        """From side to side, up and down: the crests of a sea, the ridge of a dune."""
        x = self.wide + 0.2
        return ribbon(-x, y, x, y, thick, thick, height, waves, self.traits.uniform(name), 0.0)

    def fill(
        self, colour: Floats | Colour, top: float = -1.5, texture: Texture | None = None, soft: float = 1.0
    ) -> None:
        """Everything from `top` down, with an edge as soft as it says."""
        shape = box(0, (top + 2) / 2, self.wide + 1, (2 - top) / 2, r=0.0)
        self.easel.paint(shape, colour, rim=0, depth=0.06, texture=texture, soft=soft)

    def sky(self, night: bool = False) -> Floats:
        """A sky with a sun or a moon; returns (B,) how dark it is: 0 by day, 0.5 at sunset, 1 at night."""
        hour = np.full(len(self.traits), 2) if night else self.traits.pick("hour", (6, 1.4, 1.2))
        top = np.array([(0.40, 0.66, 0.94), (0.42, 0.36, 0.62), (0.05, 0.07, 0.18)], np.float32)[hour]
        low = np.array([(0.78, 0.90, 0.99), (0.98, 0.68, 0.42), (0.16, 0.19, 0.36)], np.float32)[hour]
        self.fill(top)
        self.fill((top + low) / 2, -0.6, soft=0.7)
        self.fill(low, -0.05, soft=0.6)
        sun = np.array([(1, 0.95, 0.6), (1, 0.75, 0.4), (0.94, 0.94, 0.88)], np.float32)[hour]
        shows = self.traits.chance("sun shows", 0.6)
        self.easel.paint(ellipse(self.x("sun", -0.8, 0.8), -0.68, 0.15, 0.15), sun, where=shows, rim=0, depth=0)
        for n in range(5):
            star = ellipse(self.x(f"star x {n}"), self.traits.uniform(f"star y {n}", -0.95, -0.2), 0.018, 0.018)
            self.easel.paint(star, (1, 1, 0.9), where=hour == 2, rim=0, depth=0)
        return hour.astype(np.float32) / 2

    def clouds(self, count: int, low: float = -0.35) -> None:
        """Clouds in the sky, none below `low`."""
        for n in range(count):
            y, r = self.traits.uniform(f"cloud y {n}", -0.9, low), self.traits.uniform(f"cloud r {n}", 0.16, 0.32)
            cloud = petals(self.x(f"cloud x {n}"), y, r, 0.2, 9.0, 0.55)
            shown = self.traits.chance(f"cloud {n}", 0.7)
            self.easel.paint(cloud, (0.97, 0.98, 1.0), where=shown, rim=0.08, depth=0.15, opacity=0.92)

    def hills(self, colour: Floats, y: float = 0.1) -> None:
        """Three round hills behind the ground; `colour` (B, 3)."""
        for n, dim in enumerate((0.78, 0.88, 0.96)):
            rx, ry = self.traits.uniform(f"hill w {n}", 0.6, 1.3), self.traits.uniform(f"hill h {n}", 0.2, 0.55)
            self.easel.paint(ellipse(self.x(f"hill x {n}"), y + 0.2, rx, ry), colour * dim, rim=0.08, depth=0.15)

    def grassland(
        self, low: Colour, high: Colour, *, clouds: int, dim: float, hills: float = 0.1, top: float = 0.2
    ) -> None:
        """Grass of a colour between two, from `top` down, before hills `dim` times as bright, below a cloudy sky."""
        self.sky()
        self.clouds(clouds)
        grass = self.colour("grass", low, high)
        self.hills(grass * dim, hills)
        self.fill(grass, top)

    def tree(self, name: str, x: Floats, y: float, scale: Floats, colour: Floats) -> None:
        """A round tree, a poplar or a fir with its foot at `x` (B,) and `y`; `scale` (B,), `colour` (B, 3)."""
        sort = self.traits.integer(f"{name} sort", 3)
        trunk = capsule(x, y, x, y - 0.5 * scale, 0.055 * scale, 0.045 * scale)
        self.easel.paint(trunk, (0.42, 0.28, 0.17))
        crown = petals(x, y - 0.8 * scale, 0.42 * scale, 0.14, 9.0)
        self.easel.paint(crown, colour, where=sort == 0, rim=0.2)
        poplar = ellipse(x, y - 0.85 * scale, 0.24 * scale, 0.55 * scale)
        self.easel.paint(poplar, colour, where=sort == 1, rim=0.2)
        for level in (0.25, 0.55, 0.85):
            tier = triangle(x, y - level * scale, (0.46 - 0.32 * level) * scale, 0.5 * scale)
            self.easel.paint(tier, colour * (0.8 + 0.2 * level), where=sort == 2, rim=0.15)
