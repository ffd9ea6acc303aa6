"""What flies, swims and crawls: birds, fish, a snake, a turtle, a butterfly. Drawn from the side, facing right."""

from __future__ import annotations

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Easel, Rows, Texture, bow, capsule, ellipse, petals, ribbon, triangle
from magref.synthetic.traits import Flags, Floats, Traits, Whole
from magref.synthetic.views import View
from magref.synthetic.words import Description, article

CREATURES = ("bird", "parrot", "duck", "penguin", "owl", "chicken", "fish", "shark", "whale", "snake", "turtle",
"butterfly")  # fmt: skip
_NOUNS = {"bird": ("bird", "little bird"), "chicken": ("chicken", "hen"), "fish": ("fish", "little fish"),
          "duck": ("duck",), "snake": ("snake", "serpent")}  # fmt: skip
_PATTERNS = ("plain", "striped", "spotted", "patched")
_PATTERN_NUMBERS = np.array([0, 2, 5, 7])


def _colours(t: Traits, kind: Whole) -> tuple[Whole, Floats, Whole, Floats, Whole]:
    """First and second colour, as numbers and (B, 3), and the pattern's number."""
    first = t.integer("colour", len(palette.NAMES))
    own = {"penguin": 10, "whale": 4, "shark": 9, "owl": 7}
    for name, number in own.items():
        usual = (kind == CREATURES.index(name)) & t.chance("usual colour", 0.75)
        first = np.where(usual, number, first)
    second = palette.other(t, "second colour", first)
    second = np.where(kind == CREATURES.index("penguin"), 8, second)
    pattern = t.pick("pattern", (1.4, 1, 0.9, 0.7))
    pattern = np.where(np.isin(kind, [CREATURES.index(n) for n in ("penguin", "whale", "shark")]), 0, pattern)
    return (
        first, palette.shade(t, "colour", palette.TABLE[first]), second,
        palette.shade(t, "second colour", palette.TABLE[second]), pattern,
    )  # fmt: skip


def describe(traits: Traits, kind: int) -> Description:
    """The words for one creature; `traits` of one number."""
    first, _, second, _, pattern = _colours(traits, np.array([kind]))
    name, colour, other = CREATURES[kind], palette.NAMES[int(first[0])], palette.NAMES[int(second[0])]
    marked = _PATTERNS[int(pattern[0])]
    adjectives: tuple[str, ...] = (colour,) if marked == "plain" else (f"{marked} {colour}", colour, marked)
    having: tuple[str, ...] = ()
    if name in ("bird", "parrot", "duck", "chicken", "butterfly") and marked == "plain":
        having = (f"{other} wings",)
    if name == "fish":
        having = (f"{other} fins",)
    if name == "turtle":
        adjectives, having = (f"{colour}",), (article(f"{colour} shell"),)
    return Description(_NOUNS.get(name, (name,)), adjectives, having)


def draw(easel: Easel, traits: Traits, kind: Whole, view: View) -> None:
    """Paint B creatures, the whole within [-1, 1]."""
    _, first, _, second, pattern = _colours(traits, kind)
    name = np.array(CREATURES)[kind]
    texture = Texture(
        _PATTERN_NUMBERS[pattern], second, traits.uniform("period", 0.16, 0.26), traits.uniform("phase", 0, 6.3)
    )
    _birds(easel, traits, np.isin(name, ("bird", "parrot", "duck", "chicken")), name, first, second, texture, view)
    _upright(easel, traits, np.isin(name, ("penguin", "owl")), name, first, second, texture, view)
    _fish(easel, traits, np.isin(name, ("fish", "shark", "whale")), name, first, second, texture, view)
    _snake(easel, traits, name == "snake", first, second, texture, view)
    _turtle(easel, traits, name == "turtle", first, second, view)
    _butterfly(easel, traits, name == "butterfly", first, second, texture, view)


def _eye(easel: Easel, x: Rows, y: Rows, r: Rows, where: Flags, view: View) -> None:
    shut = view.blink > 0.5
    r = np.multiply(r, 1.0)
    easel.paint(ellipse(x, y, r, r), (0.98, 0.98, 0.96), where=where & ~shut, rim=0.25, depth=0)
    easel.paint(
        ellipse(np.add(x, r * 0.25), y, r * 0.55, r * 0.62), (0.04, 0.04, 0.05), where=where & ~shut, rim=0, depth=0
    )
    easel.paint(
        ellipse(np.add(x, r * 0.1), np.subtract(y, r * 0.3), r * 0.2, r * 0.2), (1, 1, 1), where=where & ~shut, rim=0
    )
    easel.paint(bow(x, y, r, r * 0.4, 0.014), (0.1, 0.1, 0.1), where=where & shut, rim=0, depth=0)


def _birds(
    easel: Easel, t: Traits, where: Flags, name: np.typing.NDArray[np.str_], first: Floats, second: Floats,
    texture: Texture,
    view: View,
) -> None:  # fmt: skip
    if not where.any():
        return
    duck, hen, parrot = name == "duck", name == "chicken", name == "parrot"
    fat = t.uniform("fat", 0.9, 1.15)
    head_r = np.where(hen | duck, 0.2, 0.235) * t.uniform("head", 0.92, 1.12)
    head_x, head_y = (
        np.where(duck, 0.42, 0.4),
        np.where(duck | hen, -0.42, -0.3) + 0.02 * np.sin(2 * np.pi * view.phase),
    )
    beak = np.where(
        (parrot & t.chance("dark beak", 0.5))[:, None], np.float32(0.2), np.array([(0.97, 0.62, 0.12)], np.float32)
    )
    tail_x, tail_y = np.where(parrot, -0.86, -0.72), np.where(hen | duck, -0.26, 0.22)
    easel.paint(capsule(-0.3, 0.08, tail_x, tail_y, 0.15, np.where(parrot, 0.06, 0.1)), second * 0.9, where=where)
    step = 0.12 * view.stride * np.sin(2 * np.pi * view.phase)
    for side in (-1, 1):
        x = 0.02 + side * 0.1
        legged = where & ~duck
        easel.paint(capsule(x, 0.3, x + side * step, 0.56, 0.026), (0.9, 0.5, 0.12), where=legged)
        easel.paint(
            capsule(x + side * step - 0.02, 0.57, x + side * step + 0.1, 0.57, 0.026), (0.9, 0.5, 0.12), where=legged
        )
    # The far wing, the body, the head, then the near wing, which beats.
    beat = np.sin(2 * np.pi * view.phase) * np.clip(view.stride * 1.3, 0, 1)
    lift = np.where(hen | duck, beat * 0.35, beat)
    rest = np.clip(1 - view.stride * 1.3, 0, 1)
    wing_x, wing_y = -0.28 - 0.12 * rest, 0.12 * rest - 0.55 * lift - 0.1 * (1 - rest)
    easel.paint(capsule(0.1, -0.05, wing_x + 0.16, wing_y - 0.06, 0.12, 0.07), second * 0.65, where=where)
    easel.paint(capsule(0.18, -0.05, head_x, head_y, 0.2, head_r * 0.85), first, where=where, texture=texture, rim=0.15)
    easel.paint(ellipse(0, 0.06, 0.46, 0.3 * fat, -0.22), first, where=where, texture=texture)
    easel.paint(
        ellipse(0.14, 0.14, 0.26, 0.18 * fat, -0.2),
        np.minimum(first * 0.4 + 0.58, 1),
        where=where & t.chance("pale breast", 0.5),
        rim=0,
        soft=0.05,
    )
    easel.paint(ellipse(head_x, head_y, head_r, head_r * 0.96), first, where=where)
    crest = (parrot | (name == "bird")) & t.chance("crest", 0.45)
    for angle in (-0.7, -0.25, 0.2):
        easel.paint(
            ellipse(head_x - 0.02 + 0.26 * np.sin(angle), head_y - head_r * 1.1, 0.055, 0.13, angle),
            second,
            where=crest,
        )
        easel.paint(
            ellipse(head_x + 0.12 * angle + 0.03, head_y - head_r * 0.98, 0.07, 0.085),
            (0.86, 0.13, 0.13),
            where=hen,
            rim=0.2,
        )
    easel.paint(ellipse(head_x + head_r * 0.9, head_y + head_r * 0.75, 0.05, 0.09), (0.86, 0.13, 0.13), where=hen)
    pointed = where & ~duck
    easel.paint(
        triangle(
            head_x + head_r * 0.86,
            head_y + 0.02,
            0.08,
            np.where(parrot, 0.16, 0.2),
            np.pi / 2 + np.where(parrot, 0.5, 0.08),
        ),
        beak,
        where=pointed,
    )
    easel.paint(ellipse(head_x + head_r * 1.25, head_y + 0.06, 0.16, 0.065, 0.08), beak, where=duck)
    ring = duck & t.chance("ring", 0.5)
    easel.paint(
        capsule(head_x - 0.18, head_y + head_r, head_x + 0.08, head_y + head_r * 1.15, 0.032),
        (0.95, 0.95, 0.94),
        where=ring,
        rim=0,
    )
    _eye(easel, head_x + head_r * 0.3, head_y - head_r * 0.15, head_r * 0.26, where, view)
    easel.paint(capsule(0.06, -0.02, wing_x, wing_y + 0.05, 0.16, 0.075), second, where=where)
    easel.paint(capsule(0.04, 0.0, wing_x - 0.03, wing_y + 0.09, 0.09, 0.045), second * 0.82, where=where, rim=0.15)


def _upright(
    easel: Easel, t: Traits, where: Flags, name: np.typing.NDArray[np.str_], first: Floats, second: Floats,
    texture: Texture,
    view: View,
) -> None:  # fmt: skip
    if not where.any():
        return
    owl = name == "owl"
    fat, turn = t.uniform("fat", 0.92, 1.12), view.turn * 0.08
    rock = 0.06 * view.stride * np.sin(2 * np.pi * view.phase)
    lift = np.sin(2 * np.pi * view.phase) * view.stride * np.where(owl, 1.1, 0.5)
    for side in (-1, 1):
        easel.paint(ellipse(side * 0.17 + rock, 0.72, 0.15, 0.065), (0.96, 0.58, 0.12), where=where)
        tip_x, tip_y = side * (0.52 + 0.18 * np.abs(lift)), 0.32 - 0.55 * np.clip(lift, 0, 1)
        easel.paint(capsule(side * 0.34, -0.15, tip_x, tip_y, 0.11, 0.06), first * 0.85, where=where)
    easel.paint(ellipse(rock * 0.3, 0.18, 0.43 * fat, 0.54), first, where=where, texture=texture)
    belly = np.where(owl[:, None], np.minimum(first * 0.45 + 0.5, 1), np.float32(0.96))
    easel.paint(ellipse(rock * 0.3 + turn, 0.27, 0.31 * fat, 0.42), belly, where=where, rim=0.1)
    for row, v in enumerate((0.12, 0.28, 0.44)):
        for u in (-0.14, 0.0, 0.14):
            easel.paint(bow(u + turn + 0.05 * (row % 2), v, 0.055, 0.04, 0.014), first * 0.8, where=owl, rim=0, depth=0)
    head_y, r = -0.38, t.uniform("head", 0.33, 0.39)
    for side in (-1, 1):
        easel.paint(triangle(side * r * 0.62, head_y - r * 0.6, r * 0.26, r * 0.62, side * 0.35), first, where=owl)
    easel.paint(ellipse(rock, head_y, r, r * 0.94), first, where=where)
    for side in (-1, 1):
        disc = np.where(owl, 0.48, 0.42) * r
        easel.paint(
            ellipse(side * r * 0.42 + turn + rock, head_y + r * 0.06, disc, disc * 1.05), belly, where=where, rim=0.1
        )
    beak = (0.97, 0.62, 0.12)
    for side in (-1, 1):
        _eye(easel, side * r * 0.38 + turn * 1.3 + rock, head_y, r * np.where(owl, 0.3, 0.17), where, view)
    easel.paint(triangle(turn * 1.6 + rock, head_y + r * 0.2, r * 0.2, r * 0.36, np.pi), beak, where=where)
    scarf = (name == "penguin") & t.chance("scarf", 0.45)
    colour = palette.TABLE[t.integer("scarf colour", 12)]
    easel.paint(ellipse(rock * 0.6, head_y + r * 0.98, r * 0.85, 0.075), colour, where=scarf)
    easel.paint(capsule(0.16, head_y + r, 0.2, head_y + r + 0.26, 0.055), colour * 0.9, where=scarf)


def _fish(
    easel: Easel, t: Traits, where: Flags, name: np.typing.NDArray[np.str_], first: Floats, second: Floats,
    texture: Texture,
    view: View,
) -> None:  # fmt: skip
    if not where.any():
        return
    fish, shark, whale = (name == n for n in ("fish", "shark", "whale"))
    half, high = np.where(fish, 0.5, 0.64), np.where(fish, t.uniform("high", 0.26, 0.42), np.where(shark, 0.2, 0.36))
    fins = np.where(fish[:, None], second, first * 0.85)
    swing = np.sin(2 * np.pi * view.phase) * (0.25 + 0.75 * view.stride)
    x, base = 0.12, -half + 0.2
    tail_y = np.where(whale, -0.12, 0.0) + swing * np.where(whale, 0.16, 0.05)
    for side in (-1, 1):
        fan_x = base - 0.26 - 0.05 * swing * side
        fan_y = tail_y + side * np.where(shark & (side < 0), 0.3, 0.22) * (1 - 0.25 * swing * side)
        easel.paint(
            capsule(base + 0.08, tail_y * 0.8, fan_x, fan_y, 0.07, np.where(fish, 0.12, 0.06)), fins, where=where
        )
    easel.paint(capsule(base - 0.05, tail_y, 0.0, 0.0, 0.09, high * 0.72), first, where=where & ~fish)
    dorsal = np.where(shark, 0.34, 0.2)
    easel.paint(
        triangle(x - 0.1, -high * 0.75, np.where(fish, 0.3, 0.16), dorsal + high * 0.25, -0.3),
        fins,
        where=where & ~whale,
    )
    easel.paint(triangle(x - 0.12, high * 0.7, 0.15, 0.22, np.pi + 0.3), fins, where=fish)
    shape = ellipse(x, 0, half, high)
    easel.paint(shape, first, where=where, texture=texture)
    pale = (~fish) | t.chance("pale belly", 0.3)
    easel.paint(
        ellipse(x + 0.06, high * 0.72, half * 0.95, high * 0.52),
        (0.93, 0.94, 0.95),
        where=where & pale,
        within=shape,
        rim=0,
    )
    easel.paint(
        capsule(x + 0.02, high * 0.3, x - 0.18, high * 0.55 + 0.16 * (1 + 0.5 * swing), 0.09, 0.05),
        fins * 0.9,
        where=where,
    )
    face_x = x + half * np.where(whale, 0.62, 0.6)
    _eye(easel, face_x, -high * 0.2, np.where(fish, 0.1, 0.055) * t.uniform("eye", 0.9, 1.25), where, view)
    easel.paint(bow(x + half * 0.85, high * 0.22, 0.11, 0.06, 0.016, -0.5), first * 0.4, where=where, rim=0, depth=0)
    for n in range(3):
        easel.paint(
            bow(x + half * 0.28 - 0.07 * n, -0.01, 0.1, 0.04, 0.012, np.pi / 2),
            first * 0.55,
            where=shark | fish & (n == 0),
            rim=0,
        )
    easel.paint(bow(x + 0.3, -high - 0.14, 0.1, -0.12, 0.03), (0.6, 0.85, 0.97), where=whale, rim=0)
    easel.paint(capsule(x + 0.3, -high * 0.86, x + 0.3, -high - 0.2, 0.03), (0.6, 0.85, 0.97), where=whale, rim=0)


def _snake(easel: Easel, t: Traits, where: Flags, first: Floats, second: Floats, texture: Texture, view: View) -> None:
    if not where.any():
        return
    thick, waves = t.uniform("thick", 0.085, 0.12), t.uniform("waves", 1.3, 2.0)
    height = t.uniform("bend", 0.12, 0.2)
    rings = Texture(np.where(texture.pattern == 0, 0, np.where(texture.pattern == 7, 7, 2)), second, 0.2)
    band = ribbon(-0.86, 0.16, 0.5, 0.16, 0.02, thick, height, waves, -view.phase, 0.4)
    easel.paint(band, first, where=where, texture=rings)
    # The head sits on the band's end.
    end_y = 0.16 + height * np.sin(2 * np.pi * (waves - view.phase))
    easel.paint(capsule(0.5, end_y, 0.63, end_y - 0.1, thick, thick * 1.1), first, where=where, texture=rings, rim=0.15)
    flick = np.where(np.sin(6 * np.pi * view.phase) > -0.2, 1.0, 0.3)
    easel.paint(
        capsule(0.78, end_y - 0.08, 0.8 + 0.16 * flick, end_y - 0.05, 0.016), (0.85, 0.1, 0.15), where=where, rim=0
    )
    easel.paint(ellipse(0.68, end_y - 0.12, 0.17, 0.125), first, where=where)
    _eye(easel, 0.70, end_y - 0.17, 0.052, where, view)
    easel.paint(bow(0.77, end_y - 0.075, 0.08, 0.03, 0.012, -0.1), first * 0.4, where=where, rim=0, depth=0)


def _turtle(easel: Easel, t: Traits, where: Flags, first: Floats, second: Floats, view: View) -> None:
    if not where.any():
        return
    skin = np.array([(0.45, 0.66, 0.30), (0.62, 0.62, 0.34), (0.40, 0.56, 0.46)], np.float32)[t.integer("skin", 3)]
    step = 2 * np.pi * view.phase
    for x, dim, turn in ((-0.42, 0.75, 0.0), (0.22, 0.75, np.pi), (-0.34, 1.0, np.pi), (0.30, 1.0, 0.0)):
        move = 0.12 * view.stride * np.sin(step + turn)
        easel.paint(capsule(x, 0.26, x + move, 0.5, 0.11, 0.1), skin * dim, where=where)
    easel.paint(capsule(-0.5, 0.26, -0.76, 0.32, 0.07, 0.02), skin, where=where)
    nod = 0.03 * np.sin(step) * view.stride
    easel.paint(capsule(0.38, 0.2, 0.66, -0.06 + nod, 0.11, 0.12), skin, where=where)
    easel.paint(ellipse(0.72, -0.1 + nod, 0.19, 0.16), skin, where=where)
    dome = ellipse(-0.05, 0.24, 0.56, t.uniform("dome", 0.5, 0.62))
    upper = capsule(-0.9, -0.26, 0.9, -0.26, 0.52)
    easel.paint(dome, first, where=where, within=upper)
    texture = t.integer("shell", 2)
    for x, y, r in (
        (-0.32, 0.06, 0.12),
        (-0.05, -0.08, 0.14),
        (0.22, 0.06, 0.12),
        (-0.18, 0.12, 0.07),
        (0.1, 0.12, 0.07),
    ):
        easel.paint(petals(x, y, r, 0.12, 6.0), second, where=where & (texture == 0), rim=0.25)
        easel.paint(ellipse(x, y, r * 0.8, r * 0.8), second, where=where & (texture == 1), rim=0.25)
    easel.paint(capsule(-0.55, 0.25, 0.46, 0.25, 0.05), first * 0.75, where=where)
    _eye(easel, 0.78, -0.15 + nod, 0.05, where, view)
    easel.paint(bow(0.8, -0.03 + nod, 0.07, 0.03, 0.012), skin * 0.4, where=where, rim=0, depth=0)


def _butterfly(
    easel: Easel, t: Traits, where: Flags, first: Floats, second: Floats, texture: Texture, view: View
) -> None:
    if not where.any():
        return
    fold = 1 - 0.6 * np.abs(np.sin(2 * np.pi * view.phase)) * np.clip(0.3 + view.stride, 0, 1)
    tall, low = t.uniform("upper", 0.34, 0.44), t.uniform("lower", 0.24, 0.34)
    dots = Texture(texture.pattern, second, texture.period)
    for side in (-1, 1):
        easel.paint(ellipse(side * 0.36 * fold, 0.32, low * fold, low * 1.05, side * 0.4), second, where=where)
        easel.paint(
            ellipse(side * 0.42 * fold, -0.26, tall * fold, tall * 1.1, -side * 0.5), first, where=where, texture=dots
        )
        easel.paint(
            ellipse(side * 0.48 * fold, -0.32, tall * 0.42 * fold, tall * 0.45),
            second,
            where=where & (texture.pattern == 0),
        )
        easel.paint(ellipse(side * 0.38 * fold, 0.36, low * 0.4 * fold, low * 0.4), first, where=where)
        easel.paint(capsule(side * 0.03, -0.4, side * 0.2, -0.7, 0.014), (0.1, 0.1, 0.1), where=where, rim=0)
        easel.paint(ellipse(side * 0.2, -0.71, 0.035, 0.035), (0.1, 0.1, 0.1), where=where, rim=0)
    easel.paint(capsule(0, -0.3, 0, 0.42, 0.075, 0.045), (0.2, 0.16, 0.16), where=where)
    easel.paint(ellipse(0, -0.38, 0.1, 0.1), (0.24, 0.2, 0.2), where=where)
    for side in (-1, 1):
        _eye(easel, side * 0.045, -0.4, 0.034, where, view)
