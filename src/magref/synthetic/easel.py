"""Painting B pictures at once, part by part: shapes are signed distances with soft edges, evaluated where they lie.

Positions are in the subject's own units: x and y in [-1, 1], y down. A shape's parameters are numpy rows on the CPU, so
that the window it needs is known without asking the device; the pixels are torch, on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from magref.synthetic.traits import Flags, Floats, Whole
from magref.synthetic.views import View

Rows = float | Floats
"""A number for each picture, or one for all."""
Distance = Callable[..., torch.Tensor]

PATTERNS = ("plain", "striped", "pinstriped", "diagonal", "checked", "dotted", "zigzag", "patchy", "plaid")
_OUTLINE = 0.035  # the width of the darker rim of each part, in the subject's units


@dataclass(frozen=True)
class Shape:
    """A part: where it lies, how far it reaches from there, and its signed distance in its own frame (u, v)."""

    x: Rows
    y: Rows
    angle: Rows
    reach: Rows
    params: tuple[Rows, ...]
    distance: Distance


@dataclass(frozen=True)
class Texture:
    """A pattern of a second colour (B, 3) that is fixed to the part it covers; `period` in the subject's units."""

    pattern: Whole
    colour: Floats
    period: Rows
    phase: Rows = 0.0


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


class Easel:
    """B pictures of S x S pixels that are painted at once, each as its view has it."""

    def __init__(self, view: View, size: int | tuple[int, int], device: torch.device | str = "cpu") -> None:
        height, width = (size, size) if isinstance(size, int) else size
        count = len(view)
        self._view, self._height, self._width, self._device = view, height, width, torch.device(device)
        self._unit_px = height / 2
        self.pixels = torch.zeros(count, 4, height, width, device=device)  # premultiplied by alpha
        self._x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self._unit_px
        self._y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / self._unit_px
        self._cos, self._sin = np.cos(view.rotation), np.sin(view.rotation)

    def __len__(self) -> int:
        return len(self._view)

    def rows(self, value: Rows) -> Floats:
        """(B,) float32 of a number or of rows."""
        if isinstance(value, np.ndarray) and value.ndim:
            return value.astype(np.float32, copy=False)
        return np.full(len(self), value, dtype=np.float32)

    def paint(
        self,
        shape: Shape,
        colour: Floats | tuple[float, float, float],
        *,
        where: Flags | None = None,
        within: Shape | None = None,
        texture: Texture | None = None,
        opacity: Rows = 1.0,
        depth: float = 0.3,
        rim: float = 0.3,
        soft: Rows = 1.0,
    ) -> None:
        """Lay a part over what is there.

        Args:
            colour: (B, 3), or one for all.
            where: (B,) which pictures have the part.
            within: only what lies in this shape too is painted.
            depth: how round the part looks in the light; 0 is flat.
            rim: how dark its outline is; 0 is none.
            soft: width of its edge in pixels at least 1; in the subject's units where it is less than 1.
        """
        view = self._view
        index = np.arange(len(self)) if where is None else np.flatnonzero(where)
        if not len(index):
            return
        cx, cy = self._place(shape)
        reach = self.rows(shape.reach) * view.zoom + 1.5 / self._unit_px
        x0, x1 = _span(cx[index], reach[index], self._x, self._unit_px)
        y0, y1 = _span(cy[index], reach[index], self._y, self._unit_px)
        if x0 >= x1 or y0 >= y1:
            return
        dx = self._x[None, x0:x1] - cx[index, None]  # (b, w)
        dy = self._y[None, y0:y1] - cy[index, None]  # (b, h)
        scale = view.zoom[index] * self._unit_px
        softness = self.rows(soft)[index]
        edge = scale / np.where(softness < 1, np.maximum(softness * scale, 1), softness)
        strength = depth * view.shading[index] / np.maximum(reach[index], 1e-3)
        light_x = 1 + strength[:, None] * view.light_x[index, None] * dx
        light_y = strength[:, None] * view.light_y[index, None] * dy

        u, v = self._local(shape, index, dx, dy)
        inside = shape.distance(u, v, *self._params(shape, index))
        if within is not None:
            wx, wy = self._place(within)
            wdx, wdy = self._x[None, x0:x1] - wx[index, None], self._y[None, y0:y1] - wy[index, None]
            frame = self._local(within, index, wdx, wdy)
            inside = torch.maximum(inside, within.distance(*frame, *self._params(within, index)))
        cover = (0.5 - inside * self._tensor(edge)).clamp_(0, 1)
        if not isinstance(opacity, float) or opacity < 1:
            cover.mul_(self._tensor(self.rows(opacity)[index]))
        tone = self._tensor(light_x, (len(index), 1, x1 - x0)) + self._tensor(light_y, (len(index), y1 - y0, 1))
        if rim:
            tone.mul_(1 - rim * (1 + inside / _OUTLINE).clamp_(0, 1))
        paint = self._tensor(np.broadcast_to(np.asarray(colour, np.float32), (len(self), 3))[index], (-1, 3, 1, 1))
        if texture is not None:
            other = self._tensor(texture.colour[index], (-1, 3, 1, 1))
            mix = self._pattern(texture, index, u, v, scale)[:, None]
            paint = paint + (other - paint) * mix
        tone.mul_(cover)
        window = self.pixels[:, :, y0:y1, x0:x1]
        everyone = len(index) == len(self)
        target = window if everyone else window[torch.from_numpy(index).to(self._device)]
        target.mul_((1 - cover)[:, None])
        target[:, :3].add_(paint * tone[:, None])
        target[:, 3].add_(cover)
        if not everyone:
            self.pixels[torch.from_numpy(index).to(self._device), :, y0:y1, x0:x1] = target

    def finish(self) -> torch.Tensor:
        """(B, 4, H, W) float32, premultiplied by alpha, in the view's light."""
        light = self._tensor(self._view.tint * self._view.light[:, None], (-1, 3, 1, 1))
        rgb = (self.pixels[:, :3] * light).clamp_(min=0)
        alpha = self.pixels[:, 3:].clamp(0, 1)
        return torch.cat([torch.minimum(rgb, alpha), alpha], dim=1)

    def _place(self, shape: Shape) -> tuple[Floats, Floats]:
        """Where a shape's centre lies in the picture."""
        view = self._view
        x = (self.rows(shape.x) - view.focus_x) * view.mirror * view.zoom
        y = (self.rows(shape.y) - view.focus_y) * view.zoom
        return x * self._cos - y * self._sin, x * self._sin + y * self._cos

    def _local(self, shape: Shape, index: Whole, dx: Floats, dy: Floats) -> tuple[torch.Tensor, torch.Tensor]:
        """The shape's own coordinates u, v (b, h, w) of each pixel of the window.

        The map is linear, so that each is a sum of a row and a column.
        """
        view = self._view
        angle = self.rows(shape.angle)[index]
        cos, sin, mirror = np.cos(angle), np.sin(angle), view.mirror[index]
        a, b = self._cos[index] * mirror / view.zoom[index], self._sin[index] * mirror / view.zoom[index]
        c, d = -self._sin[index] / view.zoom[index], self._cos[index] / view.zoom[index]
        width, height = dx.shape[1], dy.shape[1]
        u = self._tensor((cos * a + sin * c)[:, None] * dx, (-1, 1, width)) + self._tensor(
            (cos * b + sin * d)[:, None] * dy, (-1, height, 1)
        )
        v = self._tensor((-sin * a + cos * c)[:, None] * dx, (-1, 1, width)) + self._tensor(
            (-sin * b + cos * d)[:, None] * dy, (-1, height, 1)
        )
        return u, v

    def _params(self, shape: Shape, index: Whole) -> list[torch.Tensor]:
        return [self._tensor(self.rows(p)[index]) for p in shape.params]

    def _tensor(self, values: Floats, shape: tuple[int, ...] = (-1, 1, 1)) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self._device).view(shape)

    def _pattern(self, texture: Texture, index: Whole, u: torch.Tensor, v: torch.Tensor, scale: Floats) -> torch.Tensor:
        """(b, h, w) in [0, 1]: how much of the second colour."""
        kinds, period = texture.pattern[index], self.rows(texture.period)[index]
        phase = self.rows(texture.phase)[index]
        mix = torch.zeros_like(u)
        for kind in np.unique(kinds):
            if PATTERNS[kind] == "plain":
                continue
            some = np.flatnonzero(kinds == kind)
            chosen = torch.from_numpy(some).to(self._device)
            every = len(some) == len(index)
            # Edges of about a pixel, whatever the size; what is too fine to be seen fades into a mixture.
            sharp = self._tensor(np.minimum(period[some] * scale[some] * 0.35, 9))
            turn = 2 * np.pi / self._tensor(period[some])
            one, two = (u, v) if every else (u[chosen], v[chosen])
            wave = _WAVES[PATTERNS[kind]](one * turn + self._tensor(phase[some]), two * turn)
            value = (0.5 + wave * sharp).clamp_(0, 1)
            if every:
                return value
            mix[chosen] = value
        return mix


# Positive where a pattern has its second colour; u and v in radians of its period.
_WAVES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "striped": lambda u, v: v.sin(),
    "pinstriped": lambda u, v: u.sin() - 0.35,
    "diagonal": lambda u, v: (u * 0.7 + v * 0.7).sin(),
    "checked": lambda u, v: (u.sin() * v.sin()) * 2,
    "dotted": lambda u, v: u.cos() + v.cos() - 0.9,
    "zigzag": lambda u, v: (v + 1.1 * torch.asin(u.sin().mul_(0.98))).sin(),
    "patchy": lambda u, v: (u * 0.61 + 1.3 * (v * 0.43).sin()).sin() + (v * 0.53 + 1.7 * (u * 0.37).sin()).sin() - 0.35,
    "plaid": lambda u, v: torch.maximum(u.sin(), v.sin()) - 0.8,
}


def _span(centre: Floats, reach: Floats, axis: Floats, unit_px: float) -> tuple[int, int]:
    """The pixels, first and last + 1, that hold every picture's part."""
    low, high = float((centre - reach).min()), float((centre + reach).max())
    first = int(np.floor((low - axis[0]) * unit_px))
    last = int(np.ceil((high - axis[0]) * unit_px)) + 1
    return max(first, 0), min(last, len(axis))


def straight(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 4, H, W) premultiplied -> straight RGB and alpha."""
    alpha = pixels[:, 3:]
    return torch.cat([(pixels[:, :3] / alpha.clamp(min=1e-4)).clamp(0, 1), alpha], dim=1)
