"""What flies, swims and crawls: birds, fish, a snake, a turtle, a butterfly. Drawn from the side, facing right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Easel, Texture
from magref.synthetic.shapes import Rows, bow, capsule, ellipse, petals, ribbon, triangle
from magref.synthetic.traits import Floats, Strings, Traits, Whole
from magref.synthetic.views import View
from magref.synthetic.words import Description, article

CREATURES = (
    "bird", "parrot", "duck", "penguin", "owl", "chicken", "fish", "shark", "whale", "snake", "turtle", "butterfly",
)  # fmt: skip
_NOUNS = {"bird": ("bird", "little bird"), "chicken": ("chicken", "hen"), "fish": ("fish", "little fish"),
          "snake": ("snake", "serpent")}  # fmt: skip
_USUAL_COLOURS = {"penguin": "black", "whale": "blue", "shark": "grey", "owl": "brown"}
_PATTERNS = {"plain": 1.4, "pinstriped": 1, "dotted": 0.9, "patchy": 0.7}
_PATTERN_WORDS = {"plain": "", "pinstriped": "striped", "dotted": "spotted", "patchy": "patched"}
_PLAIN = ("penguin", "whale", "shark")


def _colours(t: Traits, kinds: Strings) -> tuple[Whole, Whole]:
    """(B,) each: the numbers of two colours."""
    first = t.integer("colour", len(palette.NAMES))
    for kind, colour in _USUAL_COLOURS.items():
        usual = (kinds == kind) & t.chance("usual colour", 0.75)
        first = np.where(usual, palette.NAMES.index(colour), first)
    second = palette.other(t, "second colour", first)
    return first, np.where(kinds == "penguin", palette.NAMES.index("white"), second)


def _pattern(t: Traits, kinds: Strings) -> Strings:
    """(B,) of the easel's patterns."""
    return np.where(np.isin(kinds, _PLAIN), "plain", t.choose("pattern", _PATTERNS))


def describe_creature(traits: Traits, kind: str) -> Description:
    """The words for one creature; `traits` of one number."""
    kinds = np.array([kind])
    colour, other = (palette.NAMES[int(number[0])] for number in _colours(traits, kinds))
    marked = _PATTERN_WORDS[str(_pattern(traits, kinds)[0])]
    adjectives: tuple[str, ...] = (f"{marked} {colour}", colour, marked) if marked else (colour,)
    having: tuple[str, ...] = ()
    if kind in ("bird", "parrot", "duck", "chicken", "butterfly") and not marked:
        having = (f"{other} wings",)
    if kind == "fish":
        having = (f"{other} fins",)
    if kind == "turtle":
        adjectives, having = (colour,), (article(f"{colour} shell"),)
    return Description(_NOUNS.get(kind, (kind,)), adjectives, having)


@dataclass(frozen=True)
class _Creatures:
    """B rows of traits and views, and an easel that paints those rows which have one body plan.

    `kinds` (B,) of `CREATURES`; `first` and `second` (B, 3) are their colours, and `texture` their pattern.
    """

    easel: Easel
    kinds: Strings
    traits: Traits
    view: View
    first: Floats
    second: Floats
    texture: Texture


def draw_creatures(easel: Easel, traits: Traits, kinds: Strings, view: View) -> None:
    """Paint B creatures, the whole within [-1, 1]; `kinds` (B,) of `CREATURES`."""
    first, second = _colours(traits, kinds)
    one = palette.shade(traits, "colour", palette.TABLE[first])
    other = palette.shade(traits, "second colour", palette.TABLE[second])
    period, phase = traits.uniform("period", 0.16, 0.26), traits.uniform("phase", 0, 6.3)
    texture = Texture(_pattern(traits, kinds), other, period, phase)
    for names, paint in _PLANS.items():
        where = np.isin(kinds, names)
        if where.any():
            paint(_Creatures(easel.only(where), kinds, traits, view, one, other, texture))


def _eye(c: _Creatures, x: Rows, y: Rows, r: Rows) -> None:
    """A round eye at (x, y), or the line of a shut one; numbers or (B,)."""
    shut = c.view.blink > 0.5
    r = np.multiply(r, 1.0)
    c.easel.paint(ellipse(x, y, r, r), (0.98, 0.98, 0.96), where=~shut, rim=0.25, depth=0)
    pupil = ellipse(np.add(x, r * 0.25), y, r * 0.55, r * 0.62)
    c.easel.paint(pupil, (0.04, 0.04, 0.05), where=~shut, rim=0, depth=0)
    glint = ellipse(np.add(x, r * 0.1), np.subtract(y, r * 0.3), r * 0.2, r * 0.2)
    c.easel.paint(glint, (1, 1, 1), where=~shut, rim=0)
    c.easel.paint(bow(x, y, r, r * 0.4, 0.014), (0.1, 0.1, 0.1), where=shut, rim=0, depth=0)


def _birds(c: _Creatures) -> None:
    duck, hen, parrot = c.kinds == "duck", c.kinds == "chicken", c.kinds == "parrot"
    fat, comb = c.traits.uniform("fat", 0.9, 1.15), (0.86, 0.13, 0.13)
    head_r = np.where(hen | duck, 0.2, 0.235) * c.traits.uniform("head", 0.92, 1.12)
    head_x = np.where(duck, 0.42, 0.4)
    head_y = np.where(duck | hen, -0.42, -0.3) + 0.02 * np.sin(2 * np.pi * c.view.phase)
    beak = palette.either(parrot & c.traits.chance("dark beak", 0.5), (0.2, 0.2, 0.2), (0.97, 0.62, 0.12))
    tail_x, tail_y = np.where(parrot, -0.86, -0.72), np.where(hen | duck, -0.26, 0.22)
    c.easel.paint(capsule(-0.3, 0.08, tail_x, tail_y, 0.15, np.where(parrot, 0.06, 0.1)), c.second * 0.9)
    step = 0.12 * c.view.stride * np.sin(2 * np.pi * c.view.phase)
    for side in (-1, 1):
        x = 0.02 + side * 0.1
        c.easel.paint(capsule(x, 0.3, x + side * step, 0.56, 0.026), (0.9, 0.5, 0.12), where=~duck)
        foot = capsule(x + side * step - 0.02, 0.57, x + side * step + 0.1, 0.57, 0.026)
        c.easel.paint(foot, (0.9, 0.5, 0.12), where=~duck)
    # The far wing, the body, the head, then the near wing, which beats.
    beat = np.sin(2 * np.pi * c.view.phase) * np.clip(c.view.stride * 1.3, 0, 1)
    lift = np.where(hen | duck, beat * 0.35, beat)
    rest = np.clip(1 - c.view.stride * 1.3, 0, 1)
    wing_x, wing_y = -0.28 - 0.12 * rest, 0.12 * rest - 0.55 * lift - 0.1 * (1 - rest)
    c.easel.paint(capsule(0.1, -0.05, wing_x + 0.16, wing_y - 0.06, 0.12, 0.07), c.second * 0.65)
    c.easel.paint(capsule(0.18, -0.05, head_x, head_y, 0.2, head_r * 0.85), c.first, texture=c.texture, rim=0.15)
    c.easel.paint(ellipse(0, 0.06, 0.46, 0.3 * fat, -0.22), c.first, texture=c.texture)
    breast, pale = ellipse(0.14, 0.14, 0.26, 0.18 * fat, -0.2), np.minimum(c.first * 0.4 + 0.58, 1)
    c.easel.paint(breast, pale, where=c.traits.chance("pale breast", 0.5), rim=0, soft=0.05)
    c.easel.paint(ellipse(head_x, head_y, head_r, head_r * 0.96), c.first)
    crest = (parrot | (c.kinds == "bird")) & c.traits.chance("crest", 0.45)
    for angle in (-0.7, -0.25, 0.2):
        feather = ellipse(head_x - 0.02 + 0.26 * np.sin(angle), head_y - head_r * 1.1, 0.055, 0.13, angle)
        c.easel.paint(feather, c.second, where=crest)
        c.easel.paint(
            ellipse(head_x + 0.12 * angle + 0.03, head_y - head_r * 0.98, 0.07, 0.085), comb, where=hen, rim=0.2
        )
    c.easel.paint(ellipse(head_x + head_r * 0.9, head_y + head_r * 0.75, 0.05, 0.09), comb, where=hen)
    long, down = np.where(parrot, 0.16, 0.2), np.pi / 2 + np.where(parrot, 0.5, 0.08)
    c.easel.paint(triangle(head_x + head_r * 0.86, head_y + 0.02, 0.08, long, down), beak, where=~duck)
    c.easel.paint(ellipse(head_x + head_r * 1.25, head_y + 0.06, 0.16, 0.065, 0.08), beak, where=duck)
    ring = capsule(head_x - 0.18, head_y + head_r, head_x + 0.08, head_y + head_r * 1.15, 0.032)
    c.easel.paint(ring, (0.95, 0.95, 0.94), where=duck & c.traits.chance("ring", 0.5), rim=0)
    _eye(c, head_x + head_r * 0.3, head_y - head_r * 0.15, head_r * 0.26)
    c.easel.paint(capsule(0.06, -0.02, wing_x, wing_y + 0.05, 0.16, 0.075), c.second)
    c.easel.paint(capsule(0.04, 0.0, wing_x - 0.03, wing_y + 0.09, 0.09, 0.045), c.second * 0.82, rim=0.15)


def _upright(c: _Creatures) -> None:
    owl = c.kinds == "owl"
    fat, turn = c.traits.uniform("fat", 0.92, 1.12), c.view.turn * 0.08
    rock = 0.06 * c.view.stride * np.sin(2 * np.pi * c.view.phase)
    lift = np.sin(2 * np.pi * c.view.phase) * c.view.stride * np.where(owl, 1.1, 0.5)
    for side in (-1, 1):
        c.easel.paint(ellipse(side * 0.17 + rock, 0.72, 0.15, 0.065), (0.96, 0.58, 0.12))
        tip_x, tip_y = side * (0.52 + 0.18 * np.abs(lift)), 0.32 - 0.55 * np.clip(lift, 0, 1)
        c.easel.paint(capsule(side * 0.34, -0.15, tip_x, tip_y, 0.11, 0.06), c.first * 0.85)
    c.easel.paint(ellipse(rock * 0.3, 0.18, 0.43 * fat, 0.54), c.first, texture=c.texture)
    belly = palette.either(owl, np.minimum(c.first * 0.45 + 0.5, 1), (0.96, 0.96, 0.96))
    c.easel.paint(ellipse(rock * 0.3 + turn, 0.27, 0.31 * fat, 0.42), belly, rim=0.1)
    for row, v in enumerate((0.12, 0.28, 0.44)):
        for u in (-0.14, 0.0, 0.14):
            feather = bow(u + turn + 0.05 * (row % 2), v, 0.055, 0.04, 0.014)
            c.easel.paint(feather, c.first * 0.8, where=owl, rim=0, depth=0)
    head_y, r = -0.38, c.traits.uniform("head", 0.33, 0.39)
    for side in (-1, 1):
        c.easel.paint(triangle(side * r * 0.62, head_y - r * 0.6, r * 0.26, r * 0.62, side * 0.35), c.first, where=owl)
    c.easel.paint(ellipse(rock, head_y, r, r * 0.94), c.first)
    for side in (-1, 1):
        disc = np.where(owl, 0.48, 0.42) * r
        c.easel.paint(ellipse(side * r * 0.42 + turn + rock, head_y + r * 0.06, disc, disc * 1.05), belly, rim=0.1)
    beak = (0.97, 0.62, 0.12)
    for side in (-1, 1):
        _eye(c, side * r * 0.38 + turn * 1.3 + rock, head_y, r * np.where(owl, 0.3, 0.17))
    c.easel.paint(triangle(turn * 1.6 + rock, head_y + r * 0.2, r * 0.2, r * 0.36, np.pi), beak)
    scarf = (c.kinds == "penguin") & c.traits.chance("scarf", 0.45)
    colour = palette.TABLE[c.traits.integer("scarf colour", len(palette.NAMES))]
    c.easel.paint(ellipse(rock * 0.6, head_y + r * 0.98, r * 0.85, 0.075), colour, where=scarf)
    c.easel.paint(capsule(0.16, head_y + r, 0.2, head_y + r + 0.26, 0.055), colour * 0.9, where=scarf)


def _fish(c: _Creatures) -> None:
    fish, shark, whale = (c.kinds == n for n in ("fish", "shark", "whale"))
    half = np.where(fish, 0.5, 0.64)
    high = np.where(fish, c.traits.uniform("high", 0.26, 0.42), np.where(shark, 0.2, 0.36))
    fins = palette.either(fish, c.second, c.first * 0.85)
    swing = np.sin(2 * np.pi * c.view.phase) * (0.25 + 0.75 * c.view.stride)
    x, base = 0.12, -half + 0.2
    tail_y = np.where(whale, -0.12, 0.0) + swing * np.where(whale, 0.16, 0.05)
    for side in (-1, 1):
        fan_x = base - 0.26 - 0.05 * swing * side
        fan_y = tail_y + side * np.where(shark & (side < 0), 0.3, 0.22) * (1 - 0.25 * swing * side)
        c.easel.paint(capsule(base + 0.08, tail_y * 0.8, fan_x, fan_y, 0.07, np.where(fish, 0.12, 0.06)), fins)
    c.easel.paint(capsule(base - 0.05, tail_y, 0.0, 0.0, 0.09, high * 0.72), c.first, where=~fish)
    dorsal = triangle(x - 0.1, -high * 0.75, np.where(fish, 0.3, 0.16), np.where(shark, 0.34, 0.2) + high * 0.25, -0.3)
    c.easel.paint(dorsal, fins, where=~whale)
    c.easel.paint(triangle(x - 0.12, high * 0.7, 0.15, 0.22, np.pi + 0.3), fins, where=fish)
    shape = ellipse(x, 0, half, high)
    c.easel.paint(shape, c.first, texture=c.texture)
    belly, pale = ellipse(x + 0.06, high * 0.72, half * 0.95, high * 0.52), ~fish | c.traits.chance("pale belly", 0.3)
    c.easel.paint(belly, (0.93, 0.94, 0.95), where=pale, within=shape, rim=0)
    flipper = capsule(x + 0.02, high * 0.3, x - 0.18, high * 0.55 + 0.16 * (1 + 0.5 * swing), 0.09, 0.05)
    c.easel.paint(flipper, fins * 0.9)
    face_x = x + half * np.where(whale, 0.62, 0.6)
    _eye(c, face_x, -high * 0.2, np.where(fish, 0.1, 0.055) * c.traits.uniform("eye", 0.9, 1.25))
    c.easel.paint(bow(x + half * 0.85, high * 0.22, 0.11, 0.06, 0.016, -0.5), c.first * 0.4, rim=0, depth=0)
    for n in range(3):
        gill = bow(x + half * 0.28 - 0.07 * n, -0.01, 0.1, 0.04, 0.012, np.pi / 2)
        c.easel.paint(gill, c.first * 0.55, where=shark | fish & (n == 0), rim=0)
    spout = (0.6, 0.85, 0.97)
    c.easel.paint(bow(x + 0.3, -high - 0.14, 0.1, -0.12, 0.03), spout, where=whale, rim=0)
    c.easel.paint(capsule(x + 0.3, -high * 0.86, x + 0.3, -high - 0.2, 0.03), spout, where=whale, rim=0)


def _snake(c: _Creatures) -> None:
    thick, waves = c.traits.uniform("thick", 0.085, 0.12), c.traits.uniform("waves", 1.3, 2.0)
    height = c.traits.uniform("bend", 0.12, 0.2)
    ringed = np.where(np.isin(c.texture.pattern, ("plain", "patchy")), c.texture.pattern, "pinstriped")
    rings = Texture(ringed, c.second, 0.2)
    band = ribbon(-0.86, 0.16, 0.5, 0.16, 0.02, thick, height, waves, -c.view.phase, 0.4)
    c.easel.paint(band, c.first, texture=rings)
    # The head sits on the band's end.
    end_y = 0.16 + height * np.sin(2 * np.pi * (waves - c.view.phase))
    c.easel.paint(capsule(0.5, end_y, 0.63, end_y - 0.1, thick, thick * 1.1), c.first, texture=rings, rim=0.15)
    flick = np.where(np.sin(6 * np.pi * c.view.phase) > -0.2, 1.0, 0.3)
    c.easel.paint(capsule(0.78, end_y - 0.08, 0.8 + 0.16 * flick, end_y - 0.05, 0.016), (0.85, 0.1, 0.15), rim=0)
    c.easel.paint(ellipse(0.68, end_y - 0.12, 0.17, 0.125), c.first)
    _eye(c, 0.70, end_y - 0.17, 0.052)
    c.easel.paint(bow(0.77, end_y - 0.075, 0.08, 0.03, 0.012, -0.1), c.first * 0.4, rim=0, depth=0)


def _turtle(c: _Creatures) -> None:
    skins = np.array([(0.45, 0.66, 0.30), (0.62, 0.62, 0.34), (0.40, 0.56, 0.46)], np.float32)
    skin = skins[c.traits.integer("skin", 3)]
    step = 2 * np.pi * c.view.phase
    for x, dim, turn in ((-0.42, 0.75, 0.0), (0.22, 0.75, np.pi), (-0.34, 1.0, np.pi), (0.30, 1.0, 0.0)):
        move = 0.12 * c.view.stride * np.sin(step + turn)
        c.easel.paint(capsule(x, 0.26, x + move, 0.5, 0.11, 0.1), skin * dim)
    c.easel.paint(capsule(-0.5, 0.26, -0.76, 0.32, 0.07, 0.02), skin)
    nod = 0.03 * np.sin(step) * c.view.stride
    c.easel.paint(capsule(0.38, 0.2, 0.66, -0.06 + nod, 0.11, 0.12), skin)
    c.easel.paint(ellipse(0.72, -0.1 + nod, 0.19, 0.16), skin)
    dome = ellipse(-0.05, 0.24, 0.56, c.traits.uniform("dome", 0.5, 0.62))
    upper = capsule(-0.9, -0.26, 0.9, -0.26, 0.52)
    c.easel.paint(dome, c.first, within=upper)
    angular = c.traits.integer("shell", 2) == 0
    plates = ((-0.32, 0.06, 0.12), (-0.05, -0.08, 0.14), (0.22, 0.06, 0.12), (-0.18, 0.12, 0.07), (0.1, 0.12, 0.07))
    for x, y, r in plates:
        c.easel.paint(petals(x, y, r, 0.12, 6.0), c.second, where=angular, rim=0.25)
        c.easel.paint(ellipse(x, y, r * 0.8, r * 0.8), c.second, where=~angular, rim=0.25)
    c.easel.paint(capsule(-0.55, 0.25, 0.46, 0.25, 0.05), c.first * 0.75)
    _eye(c, 0.78, -0.15 + nod, 0.05)
    c.easel.paint(bow(0.8, -0.03 + nod, 0.07, 0.03, 0.012), skin * 0.4, rim=0, depth=0)


def _butterfly(c: _Creatures) -> None:
    fold = 1 - 0.6 * np.abs(np.sin(2 * np.pi * c.view.phase)) * np.clip(0.3 + c.view.stride, 0, 1)
    tall, low = c.traits.uniform("upper", 0.34, 0.44), c.traits.uniform("lower", 0.24, 0.34)
    dots = replace(c.texture, phase=0.0)
    for side in (-1, 1):
        c.easel.paint(ellipse(side * 0.36 * fold, 0.32, low * fold, low * 1.05, side * 0.4), c.second)
        c.easel.paint(ellipse(side * 0.42 * fold, -0.26, tall * fold, tall * 1.1, -side * 0.5), c.first, texture=dots)
        spot = ellipse(side * 0.48 * fold, -0.32, tall * 0.42 * fold, tall * 0.45)
        c.easel.paint(spot, c.second, where=c.texture.pattern == "plain")
        c.easel.paint(ellipse(side * 0.38 * fold, 0.36, low * 0.4 * fold, low * 0.4), c.first)
        c.easel.paint(capsule(side * 0.03, -0.4, side * 0.2, -0.7, 0.014), (0.1, 0.1, 0.1), rim=0)
        c.easel.paint(ellipse(side * 0.2, -0.71, 0.035, 0.035), (0.1, 0.1, 0.1), rim=0)
    c.easel.paint(capsule(0, -0.3, 0, 0.42, 0.075, 0.045), (0.2, 0.16, 0.16))
    c.easel.paint(ellipse(0, -0.38, 0.1, 0.1), (0.24, 0.2, 0.2))
    for side in (-1, 1):
        _eye(c, side * 0.045, -0.4, 0.034)


_PLANS: dict[tuple[str, ...], Callable[[_Creatures], None]] = {
    ("bird", "parrot", "duck", "chicken"): _birds,
    ("penguin", "owl"): _upright,
    ("fish", "shark", "whale"): _fish,
    ("snake",): _snake,
    ("turtle",): _turtle,
    ("butterfly",): _butterfly,
}
