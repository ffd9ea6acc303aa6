"""Plots as SVG within a page, in its colours: a scatter of systems, and means against a number.

Systems are told apart by colour and by shape. Intervals are thin lines through the points.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from magref.evaluation.report.tables import Cell

WIDTH, HEIGHT = 520, 340
_LEFT, _RIGHT, _TOP, _FOOT = 52, 16, 14, 40
_TICKS = 5
_TEXT_PX, _LETTER_PX, _DOT_PX = 13, 7.0, 6
_REACHES = (_DOT_PX + 1.0, 16.0, 28.0, 42.0, 60.0)
_DIRECTIONS = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1), (0.5, -1), (-0.5, -1), (0.5, 1),
               (-0.5, 1))  # fmt: skip
"""Where a name may stand, from its dot: how far, and which way."""
_SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0", "M-4.5-4.5h9v9h-9z", "M0-6L5.6 4.4H-5.6z", "M0-6.2L6.2 0L0 6.2L-6.2 0z",
    "M-5.6-4.4H5.6L0 6z",
)  # fmt: skip

COLOURS = 8
"""Systems that have a colour of their own, in report.css; the next one begins again."""


@dataclass(frozen=True)
class Point:
    """A system in a scatter; `number` tells its colour, None is published."""

    name: str
    x: Cell
    y: Cell
    number: int | None


@dataclass(frozen=True)
class Series:
    """A system's means, one for each of a plot's places; where it has none, there is no point."""

    name: str
    cells: tuple[Cell, ...]
    number: int


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """Systems by two measures; those without one of the values are left out."""
    shown = [point for point in points if point.x.value is not None and point.y.value is not None]
    x = _scale([point.x for point in shown], _LEFT, WIDTH - _RIGHT)
    y = _scale([point.y for point in shown], HEIGHT - _FOOT, _TOP)
    spots = [(x(point.x.value or 0.0), y(point.y.value or 0.0)) for point in shown]
    taken = [box for point, spot in zip(shown, spots, strict=True) for box in _covered(point, spot, x, y)]
    parts = [_axes(x, y, x_title, y_title), _x_ticks(x)]
    for point, at in zip(shown, spots, strict=True):
        kind = "published" if point.number is None else f"own s{point.number % COLOURS}"
        said = html.escape(
            f"{point.name}: {x_title} {point.x} {point.x.interval}, {y_title} {point.y} {point.y.interval}"
        )
        parts.append(
            f"<g class='{kind}'><title>{said}</title>{_whisker(point.x, at[1], x)}{_upright(point.y, at[0], y)}"
            f"{_dot(at, point.number)}{_label(point.name, at, taken)}</g>"
        )
    return _svg(parts, f"{y_title} against {x_title}")


def against(places: Sequence[str], series: Sequence[Series], title: str) -> str:
    """Means over the cases at each place, joined by lines."""
    x = _Scale(-0.5, len(places) - 0.5, _LEFT, WIDTH - _RIGHT)
    y = _scale([cell for one in series for cell in one.cells], HEIGHT - _FOOT, _TOP)
    parts = [_axes(x, y, "", title)]
    parts += [f"<text x='{x(n):.1f}' y='{HEIGHT - _FOOT + 18}' text-anchor='middle'>{html.escape(name)}</text>"
              for n, name in enumerate(places)]  # fmt: skip
    for one in series:
        shift = (one.number - (len(series) - 1) / 2) * 9  # intervals side by side
        at = [None if cell.value is None else (x(n) + shift, y(cell.value)) for n, cell in enumerate(one.cells)]
        marks = "".join(
            f"<g><title>{html.escape(f'{one.name}, {place}: {cell} {cell.interval} {cell.counts}')}</title>"
            f"{_upright(cell, spot[0], y)}{_dot(spot, one.number)}</g>"
            for place, cell, spot in zip(places, one.cells, at, strict=True)
            if spot is not None
        )
        path = " ".join(f"{spot[0]:.1f},{spot[1]:.1f}" for spot in at if spot is not None)
        parts.append(f"<g class='own s{one.number % COLOURS}'><polyline class='path' points='{path}'/>{marks}</g>")
    return _svg(parts, title)


def key(names: Sequence[str]) -> str:
    """The systems' colours and shapes."""
    items = "".join(
        f"<span class='s{n % COLOURS}'><svg width='14' height='14' viewBox='-7 -7 14 14' aria-hidden='true'>"
        f"<path d='{_SHAPES[n % len(_SHAPES)]}'/></svg> {html.escape(name)}</span>"
        for n, name in enumerate(names)
    )
    return f"<p class='key'>{items}</p>"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about five."""
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _scale(cells: Sequence[Cell], start: float, end: float) -> _Scale:
    """Room for all values and their intervals."""
    reach = [value for cell in cells for value in _reach(cell)]
    low, high = (min(reach), max(reach)) if reach else (0.0, 1.0)
    margin = 0.08 * (high - low) or max(0.1 * abs(high), 0.05)
    return _Scale(low - margin, high + margin, start, end)


def _reach(cell: Cell) -> list[float]:
    return [*([] if cell.value is None else [cell.value]), *(cell.bounds or ())]


def _axes(x: _Scale, y: _Scale, x_title: str, y_title: str) -> str:
    bottom = HEIGHT - _FOOT
    lines = "".join(
        f"<line class='axis' x1='{_LEFT}' x2='{WIDTH - _RIGHT}' y1='{y(at):.1f}' y2='{y(at):.1f}'/>"
        f"<text class='tick' x='{_LEFT - 6}' y='{y(at) + 4:.1f}' text-anchor='end'>{at:.4g}</text>"
        for at in ticks(y.low, y.high)
    )
    return (
        f"{lines}<line class='axis' x1='{_LEFT}' x2='{WIDTH - _RIGHT}' y1='{bottom}' y2='{bottom}'/>"
        f"<text x='{(x.start + x.end) / 2:.0f}' y='{HEIGHT - 6}' text-anchor='middle'>{html.escape(x_title)}</text>"
        f"<text transform='translate(12 {(y.start + y.end) / 2:.0f}) rotate(-90)' text-anchor='middle'>"
        f"{html.escape(y_title)}</text>"
    )


def _x_ticks(x: _Scale) -> str:
    bottom = HEIGHT - _FOOT
    return "".join(
        f"<line class='axis' x1='{x(at):.1f}' x2='{x(at):.1f}' y1='{bottom}' y2='{bottom + 4}'/>"
        f"<text class='tick' x='{x(at):.1f}' y='{bottom + 17}' text-anchor='middle'>{at:.4g}</text>"
        for at in ticks(x.low, x.high)
    )


def _whisker(cell: Cell, y: float, scale: _Scale) -> str:
    if cell.bounds is None:
        return ""
    low, high = map(scale, cell.bounds)
    return f"<line class='whisker' x1='{low:.1f}' x2='{high:.1f}' y1='{y:.1f}' y2='{y:.1f}'/>"


def _upright(cell: Cell, x: float, scale: _Scale) -> str:
    if cell.bounds is None:
        return ""
    low, high = map(scale, cell.bounds)
    return f"<line class='whisker' x1='{x:.1f}' x2='{x:.1f}' y1='{low:.1f}' y2='{high:.1f}'/>"


def _dot(at: tuple[float, float], number: int | None) -> str:
    shape = _SHAPES[0 if number is None else number % len(_SHAPES)]
    return f"<path d='{shape}' transform='translate({at[0]:.1f} {at[1]:.1f})'/>"


_Box = tuple[float, float, float, float]


def _box(x: float, y: float, across: float, upwards: float) -> _Box:
    """Left, top, right, bottom of what reaches so far from its middle."""
    return x - across, y - upwards, x + across, y + upwards


def _covered(point: Point, at: tuple[float, float], x: _Scale, y: _Scale) -> list[_Box]:
    """What a dot and its intervals cover."""
    found = [_box(*at, _DOT_PX, _DOT_PX)]
    if point.x.bounds is not None:
        left, right = map(x, point.x.bounds)
        found.append((left, at[1] - 1, right, at[1] + 1))
    if point.y.bounds is not None:
        bottom, top = map(y, point.y.bounds)
        found.append((at[0] - 1, top, at[0] + 1, bottom))
    return found


def _label(name: str, at: tuple[float, float], taken: list[_Box]) -> str:
    """The name near its dot, at the nearest place that nothing else takes; away from it, a line leads there."""
    text = name if len(name) <= 24 else name[:23] + "…"
    width = len(text) * _LETTER_PX + 4
    best: tuple[int, float, _Box] | None = None
    for reach in _REACHES:
        for right, down in _DIRECTIONS:
            middle = at[0] + right * (reach + width / 2), at[1] + down * (reach + _TEXT_PX / 2)
            box = _box(*middle, width / 2, _TEXT_PX / 2)
            crossed = sum(_overlap(box, other) for other in taken) + 100 * (not _inside(box))
            if best is None or crossed < best[0]:
                best = crossed, reach, box
    assert best is not None
    _, reach, box = best
    taken.append(box)
    left, top, right, bottom = box
    lead = ""
    if reach > _REACHES[0]:
        end = min(max(at[0], left), right), min(max(at[1], top), bottom)
        lead = f"<line class='lead' x1='{at[0]:.1f}' y1='{at[1]:.1f}' x2='{end[0]:.1f}' y2='{end[1]:.1f}'/>"
    return f"{lead}<text x='{left:.1f}' y='{bottom - 2:.1f}'>{html.escape(text)}</text>"


def _inside(box: _Box) -> bool:
    return box[0] >= _LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - _FOOT


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f"<svg class='plot' role='img' aria-label='{html.escape(title, quote=True)}' width='{WIDTH}' height='{HEIGHT}' "
        f"viewBox='0 0 {WIDTH} {HEIGHT}'>{''.join(parts)}</svg>"
    )
