"""Dissolves, fades and wipes, found in a stream of looks. Our own; PySceneDetect's detectors find none of them.

A span of looks is a transition where

- the pictures before and after differ much (`change`), in colours or in place,
- neither side changes much over half the span's length (`unrest`): what goes on all the time is motion,
- every pixel within lies between what it was before and what it is after (`mixture_error`), as in a dissolve or a wipe,
  or the picture loses its contrast on the way, as in a fade; a camera that swings passes over other pictures,
- they still differ with one made as dark as the other (`relit`): what remains the same was only lit anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from magref.curation.looks import Look, difference, dimmed
from magref.curation.settings import CutSettings

_ASIDE: Final = 3
"""Looks that a side must have at least, to say that it is at rest."""
_LENGTHS: Final = 9
"""How many lengths of spans are tried, from two looks up."""
_FADED: Final = 0.4
"""A fade: contrast falls to this share of both ends' contrast, or below."""
_LENGTH_COST: Final = 0.004
"""Of two spans that say nearly the same, the shorter is meant."""
_REST: Final = 0.12
"""A look still is the one before while it differs from it by less than this share of the whole change."""
_BLACK: Final = 0.05
"""Up to this share of the other's light a picture is black."""
_NEARLY_BLANK: Final = 0.2
"""What has less than this share of the contrast before and after is the middle of a fade."""
_TOGETHER_S: Final = 0.33
"""Transitions closer than this are one: what is between is no shot."""


@dataclass(frozen=True)
class Edge:
    """One end of a transition: a frame's number and time, and the `Look.contrast` of the picture at rest beyond it."""

    number: int
    time_s: float
    contrast: float


@dataclass(frozen=True)
class Gradual:
    """A transition: `last` is the last look of the shot before, `first` the first of the shot after."""

    last: Edge
    first: Edge
    change: float
    unrest: float


@dataclass(frozen=True)
class _Span:
    """A candidate by its looks' places in the segment; where several overlap, the worthiest is meant."""

    start: int
    stop: int
    worth: float
    found: Gradual


class GradualFinder:
    """Takes looks in order; holds the last few seconds of them."""

    def __init__(self, settings: CutSettings) -> None:
        self._settings = settings
        longest = max(2, round(settings.longest_s * settings.rate_hz))
        self._lengths = sorted({round(2 * (longest / 2) ** (n / (_LENGTHS - 1))) for n in range(_LENGTHS)})
        self._looks: deque[Look] = deque(maxlen=longest + 2 * max(_ASIDE, longest // 2) + 1)
        self._count = 0  # of the segment's looks so far
        self._candidates: list[_Span] = []
        self._found: list[Gradual] = []

    def push(self, look: Look) -> None:
        """The next look."""
        self._looks.append(look)
        self._count += 1
        newest = self._count - 1
        for length in self._lengths:
            aside = _aside(length)
            self._try(newest - aside - length, newest - aside, aside)
        reach = self._looks.maxlen or 0
        if self._candidates and newest - max(span.stop for span in self._candidates) > reach:
            self._decide()

    def close(self) -> None:
        """A hard cut: what comes next has nothing to do with what was."""
        for length in self._lengths:
            aside = _aside(length)
            for stop in range(max(0, self._count - aside), self._count - _ASIDE):
                self._try(stop - length, stop, aside)
        self._decide()
        self._looks.clear()
        self._count = 0

    def finish(self) -> list[Gradual]:
        """All transitions, in order."""
        self.close()
        return list(_together(self._found, self._settings))

    def _try(self, start: int, stop: int, aside: int) -> None:
        """Note the span between these two of the segment's looks if it passes for a transition."""
        oldest = self._count - len(self._looks)
        before, after = max(oldest, start - aside), min(self._count - 1, stop + aside)
        if start - before < _ASIDE or after - stop < _ASIDE:
            return
        span = list(islice(self._looks, start - oldest, stop - oldest + 1))
        found = _judge(self._looks[before - oldest], span, self._looks[after - oldest], self._settings)
        if found is not None:
            worth = found.change - found.unrest - _LENGTH_COST * (stop - start)
            self._candidates.append(_Span(start, stop, worth, found))

    def _decide(self) -> None:
        taken: list[_Span] = []
        for span in sorted(self._candidates, key=lambda span: -span.worth):
            if all(span.stop <= other.start or span.start >= other.stop for other in taken):
                taken.append(span)
        self._found += [span.found for span in sorted(taken, key=lambda span: span.start)]
        self._candidates = []


def _aside(length: int) -> int:
    return max(_ASIDE, length // 2)


def _judge(before: Look, span: Sequence[Look], after: Look, settings: CutSettings) -> Gradual | None:
    """The transition from the span's first look to its last, or None where it is none."""
    start, stop = span[0], span[-1]
    if stop.time_s - start.time_s > 1.1 * settings.longest_s:  # few frames a second
        return None
    change = difference(start, stop)
    if change < settings.change:
        return None
    unrest = max(difference(before, start), difference(stop, after))
    if unrest > settings.unrest * change or _lit_anew(start, stop, settings):
        return None
    within = span[1:-1]
    faded = min(look.contrast for look in within) <= _FADED * min(start.contrast, stop.contrast)
    if not faded and _mixture_error(start, within, stop) > settings.mixture_error:
        return None
    rest = _REST * change + 0.5 * unrest
    last = next((n for n, look in enumerate(span[1:]) if difference(start, look) >= rest), 0)
    first = next((n for n, look in enumerate(span[-2::-1]) if difference(stop, look) >= rest), 0)
    a, b = span[last], span[max(len(span) - 1 - first, last + 1)]
    if _lit_anew(a, b, settings) and not _black(start, stop):  # the rest of the span was motion
        return None
    ends = Edge(a.number, a.time_s, start.contrast), Edge(b.number, b.time_s, stop.contrast)
    return Gradual(*ends, change, unrest)


def _lit_anew(a: Look, b: Look, settings: CutSettings) -> bool:
    """Whether two looks are nearly the same with the brighter one made as dark as the other."""
    dark, bright = sorted((a, b), key=_light)
    return not _black(a, b) and difference(dark, dimmed(bright, _light(dark) / _light(bright))) < settings.relit


def _black(a: Look, b: Look) -> bool:
    """Whether one is black beside the other, so that no other light would show what it was."""
    return min(_light(a), _light(b)) <= _BLACK * max(_light(a), _light(b))


def _light(look: Look) -> float:
    return float(look.pixels.mean())


def _mixture_error(start: Look, within: Sequence[Look], stop: Look) -> float:
    """How far the looks within are from lying between both ends, pixel by pixel, as a share of the ends' distance."""
    low, high = np.minimum(start.pixels, stop.pixels), np.maximum(start.pixels, stop.pixels)
    pixels = np.stack([look.pixels for look in within])
    outside = np.maximum(low - pixels, 0) + np.maximum(pixels - high, 0)  # one of the two is 0
    return float(outside.mean(axis=1).max() / (high - low).mean())


def _together(found: Sequence[Gradual], settings: CutSettings) -> Iterator[Gradual]:
    """Transitions in order; joined where they nearly touch, or nothing but a blank picture is between."""
    pending: Gradual | None = None
    for later in found:
        if pending is None:
            pending = later
            continue
        between = max(pending.first.contrast, later.last.contrast)
        around = min(pending.last.contrast, later.first.contrast)
        blank = between < max(settings.blank_contrast, _NEARLY_BLANK * around)
        if blank or later.last.time_s - pending.first.time_s < _TOGETHER_S:
            change, unrest = max(pending.change, later.change), max(pending.unrest, later.unrest)
            pending = Gradual(pending.last, later.first, change, unrest)
        else:
            yield pending
            pending = later
    if pending is not None:
        yield pending
