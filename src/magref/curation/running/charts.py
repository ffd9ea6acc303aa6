"""Histograms of what a curation measured, with the limits it was held against; for `report.py`."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from magref.curation.running.rows import Level, Row
from magref.curation.settings import CurationSettings

WIDTH, TOP, HEIGHT, FOOT = 320, 16, 104, 18
"""Of a chart in pixels: the plot, the room for its limits' numbers above it, and that for its axis below."""
_BINS: Final = 32
_FEWEST: Final = 9
"""Numbers after the first that an axis of counts has at least."""
_LABEL_PX: Final = 40

STYLE = """
.charts{display:flex;flex-wrap:wrap;gap:1.2rem}.charts figure{width:320px;max-width:100%}.charts svg{max-width:100%}
.value{fill:var(--accent)}.axis{stroke:var(--faint)}.out{fill:var(--warn);opacity:.1}
line.limit{stroke:var(--warn);stroke-width:2;stroke-dasharray:4 3}svg text.limit{fill:var(--warn)}
"""


@dataclass(frozen=True)
class Score:
    """A score that is drawn: the rows that have it, what it is called, and which values pass."""

    stage: str
    level: Level
    name: str
    title: str
    least: float | None = None
    most: float | None = None
    counts: bool = False
    """Whether its values are whole numbers of something."""

    @property
    def passes(self) -> str:
        """Which values pass, in words."""
        if self.least is not None and self.most is not None:
            return f"passes from {self.least:g} to {self.most:g}"
        if self.least is not None:
            return f"passes from {self.least:g} on"
        return "no limit" if self.most is None else f"passes up to {self.most:g}"


def charts(rows: Mapping[str, Sequence[Row]], settings: CurationSettings) -> str:
    """A histogram of every score that some row has."""
    figures = []
    for score in _scores(settings):
        values = [
            row.scores[score.name] for row in rows[score.stage] if row.level == score.level and score.name in row.scores
        ]
        if values:
            caption = f"{html.escape(score.title)}<br><small>{score.passes}</small>"
            drawn = histogram(values, score.least, score.most, counts=score.counts)
            figures.append(f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>")
    return f"<div class=charts>{''.join(figures)}</div>" if figures else "<p>Nothing was measured yet.</p>"


def histogram(
    values: Sequence[float], least: float | None = None, most: float | None = None, *, counts: bool = False
) -> str:
    """An SVG of how often each value comes. What does not pass lies in the shade, beyond a line at the limit; limits
    far from all values are left out.

    Args:
        counts: whether values are whole numbers, which then have a bar each, unless they are too many.
    """
    finite = np.array([value for value in values if np.isfinite(value)])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    reach = max(high - low, 0.1 * abs(high), 1e-3)
    limits = [limit for limit in (least, most) if limit is not None and low - reach <= limit <= high + reach]
    low, high = min([low, *limits]), max([high, *limits])
    counts = counts and high - low < 2 * _BINS
    if counts:
        low, high = np.floor(low) - 0.5, max(np.ceil(high), np.floor(low) + _FEWEST) + 0.5
    elif low == high:
        low, high = low - reach / 2, high + reach / 2
    edges = np.arange(low, high + 1) if counts else np.linspace(low, high, _BINS + 1)
    often = np.histogram(finite, bins=edges)[0]
    tallest = max(1, int(often.max()))

    def x_of(value: float) -> float:
        return (value - low) / (high - low) * WIDTH

    parts = []
    if least in limits and least is not None:
        parts.append(f"<rect class='out' x='0' y='{TOP}' width='{x_of(least):.1f}' height='{HEIGHT}'/>")
    if most in limits and most is not None:
        x = x_of(most)
        parts.append(f"<rect class='out' x='{x:.1f}' y='{TOP}' width='{WIDTH - x:.1f}' height='{HEIGHT}'/>")
    step, base = WIDTH / len(often), TOP + HEIGHT
    for n, count in enumerate(often.tolist()):
        tall = max(1.5, HEIGHT * count / tallest) if count else 0.0  # a single value among thousands is seen too
        if tall:
            place = f"x='{n * step:.1f}' y='{base - tall:.1f}' width='{max(step - 1, 1):.1f}' height='{tall:.1f}'"
            parts.append(f"<rect class='value' {place}/>")
    for limit in limits:
        x = x_of(limit)
        anchor, at = ("start", x + 3) if x < WIDTH - _LABEL_PX else ("end", min(x + 3, WIDTH))
        parts.append(f"<line class='limit' x1='{x:.1f}' x2='{x:.1f}' y1='{TOP}' y2='{base}'/>")
        parts.append(
            f"<text class='limit' x='{at:.1f}' y='{TOP - 4}' font-size='11' text-anchor='{anchor}'>{limit:g}</text>"
        )
    parts.append(f"<line class='axis' x1='0' x2='{WIDTH}' y1='{base}' y2='{base}'/>")
    ends = (low + 0.5, high - 0.5) if counts else (low, high)
    about = f"{len(values)} value{'s' if len(values) > 1 else ''}, the tallest bar {tallest}"
    for x, anchor, text in (
        (0, "start", f"{ends[0]:.3g}"),
        (WIDTH / 2, "middle", about),
        (WIDTH, "end", f"{ends[1]:.3g}"),
    ):
        parts.append(f"<text x='{x}' y='{base + FOOT - 4}' font-size='11' text-anchor='{anchor}'>{text}</text>")
    size = f"width='{WIDTH}' height='{base + FOOT}' viewBox='0 0 {WIDTH} {base + FOOT}'"
    return f"<svg {size}>{''.join(parts)}</svg>"


def _scores(s: CurationSettings) -> list[Score]:
    usual, c, on_a_face = s.objects.usual, s.candidates, s.objects.face_measure
    return [
        Score("scan", "clip", "motion", "motion, % of the diagonal a second", s.motion.least, s.motion.most),
        Score("scan", "clip", "overlay", "overlays, share of the picture", None, s.overlay.most),
        Score("aesthetic", "clip", s.aesthetic.over, f"aesthetic score of a clip, {s.aesthetic.over} of its frames",
              s.aesthetic.least),
        Score("captions", "clip", "words", "words of a caption", s.caption.least_words, counts=True),
        Score("captions", "clip", "labels", "labels of a caption", counts=True),
        Score("boxes", "box", "score", "score of a box", s.boxes.least_score),
        Score("objects", "object", "area", "area of a mask, share of the frame (usual objects)", *usual.area),
        Score("objects", "object", "fill", "mask over box (usual objects)", *usual.fill),
        Score("objects", "object", "aspect", "width over height of a box (usual objects)", *usual.aspect),
        Score("objects", "object", "parts", "parts of a mask", None, usual.parts, counts=True),
        Score("objects", "object", "on a face" if on_a_face == "mask" else "face box", "object on a face", None,
              s.objects.face_overlap),
        Score("objects", "object", "human", "IoU with a person's mask", None, s.objects.human_iou),
        Score("identities", "identity", "faces", "faces of an identity", s.identities.least_faces, counts=True),
        Score("identities", "face", "score", "score of a face", s.faces.least_score),
        Score("identities", "face", "side", "shorter side of a face, pixels", s.faces.least_side_px),
        Score("identities", "face", "yaw", "yaw, degrees", None, c.yaw),
        Score("identities", "face", "pitch", "pitch, degrees", None, c.pitch),
        Score("identities", "face", "roll", "roll, degrees", None, c.roll),
        Score("samples", "sample", "objects", "objects of a sample", s.samples.least_objects, counts=True),
        Score("samples", "sample", "faces", "faces of a sample", counts=True),
    ]  # fmt: skip
