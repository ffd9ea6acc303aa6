"""The shapes that pictures are made of: signed distances, evaluated in a window around where they lie.

Positions are in the subject's own units: x and y in [-1, 1], y down. A shape's parameters are numbers, or numpy rows
(B,) on the CPU, so that the window it needs is known without asking the device; its distance is torch, on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from magref.synthetic.traits import Floats

Rows = float | Floats
"""A number for each picture (B,), or one for all."""
Distance = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Shape:
    """A part: where it lies, how far it reaches from there, and its signed distance in its own frame (u, v)."""

    x: Rows
    y: Rows
    angle: Rows
    reach: Rows
    params: tuple[Rows, ...]
    distance: Distance


def _length(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(u * u, v, v).sqrt_()


def _ellipse(u: torch.Tensor, v: torch.Tensor, rx: torch.Tensor, ry: torch.Tensor) -> torch.Tensor:
    return (_length(u / rx, v / ry) - 1).mul_(torch.minimum(rx, ry))


def _box(u: torch.Tensor, v: torch.Tensor, hx: torch.Tensor, hy: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    du, dv = u.abs() - (hx - r), v.abs() - (hy - r)
    return _length(du.clamp(min=0), dv.clamp(min=0)) + torch.maximum(du, dv).clamp_(max=0) - r


def _capsule(
    u: torch.Tensor, v: torch.Tensor, length: torch.Tensor, r0: torch.Tensor, r1: torch.Tensor
) -> torch.Tensor:
    along = ((u + length / 2) / length.clamp(min=1e-4)).clamp(0, 1)
    return _length(u - (along - 0.5) * length, v) - (r0 + (r1 - r0) * along)


def _trapezoid(
    u: torch.Tensor, v: torch.Tensor, top: torch.Tensor, bottom: torch.Tensor, h: torch.Tensor, r: torch.Tensor
) -> torch.Tensor:
    half = (top + bottom) / 2 + (bottom - top) / 2 * (v / h).clamp(-1.5, 1.5)
    du, dv = u.abs() - (half - r), v.abs() - (h - r)
    return _length(du.clamp(min=0), dv.clamp(min=0)) + torch.maximum(du, dv).clamp_(max=0) - r


def _ring(u: torch.Tensor, v: torch.Tensor, rx: torch.Tensor, ry: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return _ellipse(u, v, rx, ry).abs_() - w


def _bow(u: torch.Tensor, v: torch.Tensor, half: torch.Tensor, bend: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """A line that sags by `bend` in its middle."""
    along = u.clamp(-half, half)
    return _length(u - along, v - bend * (1 - (along / half).square())) - w


def _triangle(u: torch.Tensor, v: torch.Tensor, half: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
    """Its base is centred at (0, 0), its tip at (0, -height)."""
    side = ((u.abs() - half) * height + (-v) * half) / (half.square() + height.square()).sqrt()
    return torch.maximum(side, v)


def _petals(
    u: torch.Tensor, v: torch.Tensor, r: torch.Tensor, depth: torch.Tensor, count: torch.Tensor, squash: torch.Tensor
) -> torch.Tensor:
    v = v / squash
    bumps = (torch.atan2(v, u) * count / 2).cos().abs()
    return (_length(u, v) - r * (1 - depth * (1 - bumps))) * 0.85


def _star(u: torch.Tensor, v: torch.Tensor, r: torch.Tensor, inner: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    sector = 2 * torch.pi / count
    theta = (torch.atan2(u, -v) + sector / 2).remainder(sector) - sector / 2
    return (_length(u, v) - r * (1 - (1 - inner) * (theta.abs() / (sector / 2)))) * 0.6


def _ribbon(
    u: torch.Tensor, v: torch.Tensor, half: torch.Tensor, r0: torch.Tensor, r1: torch.Tensor, amplitude: torch.Tensor,
    waves: torch.Tensor, phase: torch.Tensor, hold: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """A band from (-half, 0) to (half, 0) that waves; `hold` damps the wave at its start."""
    along = ((u + half) / (2 * half)).clamp(0, 1)
    bend = amplitude * (1 - hold * (1 - along)) * (2 * torch.pi * (waves * along + phase)).sin()
    return _length(u - (along * 2 - 1) * half, v - bend) * 0.85 - (r0 + (r1 - r0) * along)


def ellipse(x: Rows, y: Rows, rx: Rows, ry: Rows, angle: Rows = 0.0) -> Shape:
    """An ellipse with the radii rx, ry."""
    return Shape(x, y, angle, np.maximum(rx, ry), (rx, ry), _ellipse)


def box(x: Rows, y: Rows, hx: Rows, hy: Rows, angle: Rows = 0.0, r: Rows = 0.02) -> Shape:
    """A box with half sides hx, hy and corners rounded by r."""
    return Shape(x, y, angle, np.hypot(hx, hy), (hx, hy, np.minimum(np.minimum(hx, hy), r)), _box)


def capsule(x0: Rows, y0: Rows, x1: Rows, y1: Rows, r0: Rows, r1: Rows | None = None) -> Shape:
    """A limb from one point to another, from the radius r0 to r1."""
    r1 = r0 if r1 is None else r1
    dx, dy = np.subtract(x1, x0), np.subtract(y1, y0)
    length = np.hypot(dx, dy)
    reach = length / 2 + np.maximum(r0, r1)
    return Shape(np.add(x0, x1) / 2, np.add(y0, y1) / 2, np.arctan2(dy, dx), reach, (length, r0, r1), _capsule)


def trapezoid(x: Rows, y: Rows, top: Rows, bottom: Rows, h: Rows, angle: Rows = 0.0, r: Rows = 0.03) -> Shape:
    """Half widths at the top and at the bottom, half height h."""
    reach = np.hypot(np.maximum(top, bottom), h)
    return Shape(x, y, angle, reach, (top, bottom, h, np.minimum(np.minimum(top, bottom), r)), _trapezoid)


def ring(x: Rows, y: Rows, rx: Rows, ry: Rows, w: Rows, angle: Rows = 0.0) -> Shape:
    """The line of an ellipse, of half width w."""
    return Shape(x, y, angle, np.maximum(rx, ry) + np.multiply(w, 2), (rx, ry, w), _ring)


def bow(x: Rows, y: Rows, half: Rows, bend: Rows, w: Rows, angle: Rows = 0.0) -> Shape:
    """A line of half length `half` that sags by `bend` in its middle."""
    return Shape(x, y, angle, np.hypot(half, bend) + w, (half, bend, w), _bow)


def triangle(x: Rows, y: Rows, half: Rows, height: Rows, angle: Rows = 0.0) -> Shape:
    """Its base is centred at (x, y), its tip lies `height` above."""
    return Shape(x, y, angle, np.maximum(half, height), (half, height), _triangle)


def petals(x: Rows, y: Rows, r: Rows, depth: Rows, count: Rows, squash: Rows = 1.0, angle: Rows = 0.0) -> Shape:
    """A circle with `count` bumps: a flower, a cloud, curls."""
    return Shape(x, y, angle, np.multiply(r, np.maximum(squash, 1)), (r, depth, count, squash), _petals)


def star(x: Rows, y: Rows, r: Rows, inner: Rows, count: Rows = 5.0, angle: Rows = 0.0) -> Shape:
    """A star with `count` tips; `inner` is the share of the radius between them."""
    return Shape(x, y, angle, r, (r, inner, count), _star)


def ribbon(
    x0: Rows, y0: Rows, x1: Rows, y1: Rows, r0: Rows, r1: Rows, amplitude: Rows, waves: Rows = 1.0, phase: Rows = 0.0,
    hold: Rows = 1.0,
) -> Shape:  # fmt: skip
    """A band from one point to another that waves: a tail, a snake, a scarf's end."""
    dx, dy = np.subtract(x1, x0), np.subtract(y1, y0)
    half = np.hypot(dx, dy) / 2
    reach = half + np.abs(amplitude) + np.maximum(r0, r1)
    params = (half, r0, r1, amplitude, waves, phase, hold)
    return Shape(np.add(x0, x1) / 2, np.add(y0, y1) / 2, np.arctan2(dy, dx), reach, params, _ribbon)


@dataclass(frozen=True)
class Head:
    """A frame that leans with a head and whose points move sideways as it turns; all (B,), in the subject's units.

    `x`, `y` is its middle, `r` its radius and `rx` half its width, `lean` is in radians, `shift` in half widths.
    """

    x: Floats
    y: Floats
    r: Floats
    rx: Floats
    lean: Floats
    shift: Rows = 0.0

    def at(self, u: Rows, v: Rows, turned: float = 1.0) -> tuple[Floats, Floats]:
        """(B,) x and y of a point: u in half widths, v in radii, moved sideways as far as `turned` says."""
        du, dv = (np.asarray(u) + turned * self.shift) * self.rx, np.asarray(v) * self.r
        cos, sin = np.cos(self.lean), np.sin(self.lean)
        return (self.x + du * cos - dv * sin).astype(np.float32), (self.y + du * sin + dv * cos).astype(np.float32)
