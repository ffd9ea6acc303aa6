"""Painting B pictures at once, part by part: each part is a shape with soft edges, a colour, a pattern and light."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from magref.synthetic.palette import Colour
from magref.synthetic.shapes import Rows, Shape
from magref.synthetic.traits import Flags, Floats, Strings, Whole
from magref.synthetic.views import View

_OUTLINE = 0.035  # the width of the darker rim of each part, in the subject's units


@dataclass(frozen=True)
class Texture:
    """A pattern of a second colour that is fixed to the part it covers.

    `pattern` (B,) of `words.PATTERN_WORDS`, `colour` (B, 3), `period` in the subject's units, `phase` in radians.
    """

    pattern: Strings
    colour: Floats
    period: Rows
    phase: Rows = 0.0

    @classmethod
    def of(cls, pattern: str, colour: Floats, period: Rows) -> Self:
        """The same pattern for all; `colour` (B, 3)."""
        return cls(np.full(len(colour), pattern), colour, period)


class Easel:
    """B pictures that are painted at once, each as its view has it.

    `size` is the side in pixels, or height and width; a unit is half the height. `pixels` (B, 4, H, W) float32 is RGB
    multiplied by alpha, and alpha.
    """

    def __init__(self, view: View, size: int | tuple[int, int], device: torch.device | str = "cpu") -> None:
        height, width = (size, size) if isinstance(size, int) else size
        count = len(view)
        self._view, self._height, self._width, self._device = view, height, width, torch.device(device)
        self._unit_px = height / 2
        self.pixels = torch.zeros(count, 4, height, width, device=device)
        self._x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self._unit_px
        self._y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / self._unit_px
        self._cos, self._sin = np.cos(view.rotation), np.sin(view.rotation)
        self._where = np.ones(count, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._view)

    def rows(self, value: Rows) -> Floats:
        """(B,) float32 of a number or of rows."""
        if isinstance(value, np.ndarray) and value.ndim:
            return value.astype(np.float32, copy=False)
        return np.full(len(self), value, dtype=np.float32)

    def only(self, where: Flags) -> Easel:
        """The same B pictures, of which what is painted through this one reaches only those with the flag (B,)."""
        narrowed = copy.copy(self)
        narrowed._where = self._where & where
        return narrowed

    def paint(
        self,
        shape: Shape,
        colour: Floats | Colour,
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
        index = np.flatnonzero(self._where if where is None else self._where & where)
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
            if kind == "plain":
                continue
            some = np.flatnonzero(kinds == kind)
            chosen = torch.from_numpy(some).to(self._device)
            every = len(some) == len(index)
            # Edges of about a pixel, whatever the size; what is too fine to be seen fades into a mixture.
            sharp = self._tensor(np.minimum(period[some] * scale[some] * 0.35, 9))
            turn = 2 * np.pi / self._tensor(period[some])
            one, two = (u, v) if every else (u[chosen], v[chosen])
            wave = _WAVES[kind](one * turn + self._tensor(phase[some]), two * turn)
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
