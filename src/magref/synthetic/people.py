"""People: faces, hair, clothes and accessories, all from the identity's number; limbs, head and light from the view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import (
    PATTERNS,
    Easel,
    Rows,
    Texture,
    bow,
    box,
    capsule,
    ellipse,
    petals,
    ring,
    star,
    trapezoid,
    triangle,
)
from magref.synthetic.traits import Flags, Floats, Traits, Whole
from magref.synthetic.views import View
from magref.synthetic.words import PATTERN_WORDS, Description, article

PEOPLE = ("woman", "man", "girl", "boy")

HAIR_STYLES = (
    "bald", "short", "cropped", "bob", "long", "ponytail", "pigtails", "bun", "curly", "spiky", "mohawk", "braids",
)  # fmt: skip
HATS = ("none", "cap", "beanie", "top hat", "sun hat", "crown", "party hat", "bow", "headband")
GLASSES = ("none", "round", "square", "sunglasses")
BEARDS = ("none", "beard", "moustache", "goatee")
TOPS = ("T-shirt", "sweater", "jacket", "dress", "coat", "shirt")
BOTTOMS = ("trousers", "shorts", "skirt")
EXTRAS = ("none", "scarf", "shoulder bag", "tie", "necklace", "backpack", "apron")

_FEMALE_HAIR = (0, 0.7, 0.3, 1.6, 2, 1.6, 1.0, 1.2, 1.4, 0.2, 0.1, 1.2)
_MALE_HAIR = (0.9, 2.4, 1.4, 0.2, 0.4, 0.3, 0, 0.3, 1.2, 1.6, 0.6, 0.1)
_HAIR_COLOURS = {"girl": (2, 2.4, 2, 1.6, 0, 0, 0.3, 0.5, 0.2), "boy": (2, 2.4, 2, 1.6, 0, 0, 0.3, 0.2, 0.3),
                 "woman": (2, 2.2, 2, 1.6, 0.3, 0.2, 0.4, 0.5, 0.3), "man": (2, 2.2, 1.6, 1.4, 0.5, 0.3, 0.2, 0.1,
                 0.2)}  # fmt: skip


@dataclass(frozen=True)
class Looks:
    """All lasting features of B people; colours (B, 3), choices numbers into the tables above, lengths in units."""

    kind: Whole
    female: Flags
    child: Flags
    old: Flags
    skin: Floats
    hair_style: Whole
    hair_name: Whole
    hair: Floats
    hat: Whole
    hat_name: Whole
    hat_colour: Floats
    glasses: Whole
    beard: Whole
    top: Whole
    top_name: Whole
    top_colour: Floats
    top_pattern: Whole
    top_other: Floats
    bottom: Whole
    bottom_name: Whole
    bottom_colour: Floats
    shoes: Floats
    extra: Whole
    extra_name: Whole
    extra_colour: Floats
    head_r: Floats
    head_rx: Floats
    shoulders: Floats
    hips: Floats


def looks(traits: Traits, kind: Whole) -> Looks:
    """The lasting features; `kind` (B,) numbers into `PEOPLE`."""
    t, count = traits, len(traits)
    female, child = (kind == 0) | (kind == 2), kind >= 2
    old = ~child & t.chance("old", 0.18)
    style = np.where(female, t.pick("hair style", _FEMALE_HAIR), t.pick("hair style", _MALE_HAIR))
    style = np.where(child & (style == 0), 1, style)
    hair_name = np.zeros(count, dtype=np.int64)
    for number, name in enumerate(PEOPLE):
        hair_name = np.where(kind == number, t.pick("hair", _HAIR_COLOURS[name]), hair_name)
    hair_name = np.where(old, np.where(t.chance("white hair", 0.5), 5, 4), hair_name)
    hat = t.pick("hat", (5.2, 1.1, 0.9, 0.5, 0.8, 0.35, 0.35, 0, 0.5))
    hat = np.where(female & t.chance("bow", 0.1), 7, hat)
    # Hair that stands up does not fit under a hat.
    tall = np.isin(style, (7, 8, 9, 10))
    style = np.where(tall & np.isin(hat, (1, 2, 3, 4)), np.where(female, 3, 1), style)
    top = np.where(female, t.pick("top", (1.2, 1.2, 1, 2, 0.7, 0.8)), t.pick("top", (1.6, 1.4, 1.3, 0, 0.8, 1.4)))
    bottom = np.where(female, t.pick("bottom", (1.4, 0.6, 1.4)), t.pick("bottom", (2.2, 1, 0)))
    top_name, hat_name, extra_name = (
        t.integer(n, len(palette.NAMES)) for n in ("top colour", "hat colour", "extra colour")
    )
    bottom_name = t.pick("bottom colour", (0.6, 0.4, 0.5, 0.8, 2.2, 0.6, 0.4, 1.4, 0.7, 1.2, 1.4, 0.5))
    bottom_name = np.where(bottom_name == top_name, (bottom_name + 3) % 12, bottom_name)
    beard = np.where(female | child, 0, t.pick("beard", (2, 1, 0.7, 0.4)))
    extra = t.pick("extra", (3.4, 1, 0.9, 0.0, 0.0, 0.6, 0.35))
    extra = np.where((extra == 0) & ~female & ~child & t.chance("tie", 0.25), 3, extra)
    extra = np.where((extra == 0) & female & t.chance("necklace", 0.25), 4, extra)
    head_r = np.where(child, t.uniform("head", 0.345, 0.385), t.uniform("head", 0.29, 0.33))
    shoulders = np.where(child, t.uniform("shoulders", 0.18, 0.25), np.where(
        female, t.uniform("shoulders", 0.2, 0.28), t.uniform("shoulders", 0.235, 0.34)))  # fmt: skip
    pattern = t.pick("top pattern", (3.2, 1.6, 0.6, 0.5, 0.8, 1.2, 0.8, 0, 0.9))
    tops = palette.TABLE[top_name]
    return Looks(
        kind=kind, female=female, child=child, old=old,
        skin=palette.shade(t, "skin", palette.SKIN[t.pick("skin", (1, 1.4, 1.2, 1, 1, 0.9))], 0.012),
        hair_style=style, hair_name=hair_name, hair=palette.shade(t, "hair", palette.of(palette.HAIR, hair_name), 0.03),
        hat=hat, hat_name=hat_name, hat_colour=palette.shade(t, "hat", palette.TABLE[hat_name]),
        glasses=t.pick("glasses", (3.4, 0.8, 0.6, 0.6)), beard=beard,
        top=top, top_name=top_name, top_colour=palette.shade(t, "top", tops), top_pattern=pattern,
        top_other=palette.shade(t, "top other", palette.TABLE[palette.other(t, "top other", top_name)]),
        bottom=bottom, bottom_name=bottom_name,
        bottom_colour=palette.shade(t, "bottom", palette.TABLE[bottom_name]),
        shoes=palette.shade(t, "shoes", palette.TABLE[t.pick("shoes", (1, 0.3, 0.3, 0.3, 0.7, 0.3, 0.4, 2, 1.4, 1,
        2.4, 0.3))]),
        extra=extra, extra_name=extra_name, extra_colour=palette.shade(t, "extra", palette.TABLE[extra_name]),
        head_r=head_r.astype(np.float32), head_rx=(head_r * t.uniform("face width", 0.84, 1.02)).astype(np.float32),
        shoulders=shoulders.astype(np.float32),
        hips=(shoulders * np.where(female, t.uniform("hips", 0.82, 1.02), t.uniform("hips", 0.74,
        0.95))).astype(np.float32),
    )  # fmt: skip


def describe(traits: Traits, kind: int) -> Description:
    """The words for one person; `traits` of one number."""
    look = looks(traits, np.array([kind]))

    def at(values: Whole) -> int:
        return int(values[0])

    name, old = PEOPLE[kind], bool(look.old[0])
    nouns = {"woman": ("woman", "lady"), "man": ("man", "guy"), "girl": ("girl", "little girl"),
             "boy": ("boy", "little boy")}[name]  # fmt: skip
    having, wearing = [], []
    style, colour = HAIR_STYLES[at(look.hair_style)], list(palette.HAIR)[at(look.hair_name)]
    hat = HATS[at(look.hat)]
    if hat in ("none", "bow", "headband") or style in ("bob", "long", "ponytail", "pigtails", "braids"):
        hair = {"bald": "a bald head", "short": f"short {colour} hair", "cropped": f"cropped {colour} hair",
                "bob": f"a {colour} bob", "long": f"long {colour} hair", "ponytail": article(f"{colour} ponytail"),
                "pigtails": f"{colour} pigtails", "bun": article(f"{colour} bun"), "curly": f"curly {colour} hair",
                "spiky": f"spiky {colour} hair", "mohawk": article(f"{colour} mohawk"),
                "braids": f"{colour} braids"}  # fmt: skip
        having.append(hair[style])
    if at(look.beard):
        having.append(article(BEARDS[at(look.beard)]))
    glasses = GLASSES[at(look.glasses)]
    if glasses != "none":
        having.append({"round": "round glasses", "square": "glasses", "sunglasses": "sunglasses"}[glasses])
    extra, extra_name = EXTRAS[at(look.extra)], palette.NAMES[at(look.extra_name)]
    if extra in ("scarf", "shoulder bag", "backpack"):
        having.append(article(f"{extra_name} {extra.removeprefix('shoulder ')}"))
    if extra in ("tie", "apron"):
        wearing.append(article(f"{extra_name} {extra}"))
    if hat != "none":
        wearing.append(article(f"{palette.NAMES[at(look.hat_name)]} {hat}" if hat != "crown" else "golden crown"))
    top, top_name = TOPS[at(look.top)], palette.NAMES[at(look.top_name)]
    pattern = PATTERN_WORDS[PATTERNS[at(look.top_pattern)]]
    wearing.insert(0, article(f"{pattern} {top}" if pattern else f"{top_name} {top}"))
    if top != "dress":
        bottom, bottom_name = BOTTOMS[at(look.bottom)], palette.NAMES[at(look.bottom_name)]
        wearing.append(article(f"{bottom_name} skirt") if bottom == "skirt" else f"{bottom_name} {bottom}")
    adjectives = ("old", "elderly") if old else ("young", "small") if kind >= 2 else ()
    return Description(nouns, adjectives, tuple(having), tuple(wearing))


@dataclass(frozen=True)
class _Head:
    """A frame that turns with the head; lengths in units of its radius."""

    x: Floats
    y: Floats
    r: Floats
    rx: Floats
    lean: Floats
    shift: Floats

    def at(self, u: Rows, v: Rows, turned: float = 1.0) -> tuple[Floats, Floats]:
        """A point: u in half widths, v in radii, moved sideways as far as the head is turned."""
        du, dv = (np.asarray(u) + turned * self.shift) * self.rx, np.asarray(v) * self.r
        cos, sin = np.cos(self.lean), np.sin(self.lean)
        return (self.x + du * cos - dv * sin).astype(np.float32), (self.y + du * sin + dv * cos).astype(np.float32)


def draw(easel: Easel, traits: Traits, kind: Whole, view: View) -> None:
    """Paint B people, the whole body within [-1, 1]."""
    look = looks(traits, kind)
    bob = np.abs(np.sin(2 * np.pi * view.phase)) * view.stride * 0.03
    head_y = -0.80 + look.head_r - bob
    hip_y = np.where(look.child, 0.44, 0.34) - bob
    shoulder_y = head_y + look.head_r * 0.98 + 0.03
    head = _Head(view.lean * 0.5, head_y, look.head_r, look.head_rx, view.lean, view.turn * 0.3)
    narrow = 1 - 0.14 * np.abs(view.turn)
    shoulders, hips = look.shoulders * narrow, look.hips * narrow

    _back_hair(easel, look, head, view, shoulder_y)
    pack = look.extra == 5
    easel.paint(box(-view.turn * 0.1, shoulder_y + 0.22, shoulders + 0.07, 0.2, r=0.1), look.extra_colour, where=pack)
    _arm(easel, look, view, -1, shoulders, shoulder_y)
    _legs(easel, look, view, hips, hip_y)
    _body(easel, look, traits, shoulders, hips, shoulder_y, hip_y, view)
    _arm(easel, look, view, 1, shoulders, shoulder_y)
    _face(easel, look, traits, head, view)
    _front_hair(easel, look, traits, head, view, shoulder_y)
    _glasses(easel, look, traits, head)
    _hat(easel, look, traits, head, view)


def _legs(easel: Easel, look: Looks, view: View, hips: Floats, hip_y: Floats) -> None:
    bare = (look.top == 3) | (look.bottom != 0)
    colour = np.where(bare[:, None], look.skin, look.bottom_colour)
    shorts = (look.bottom == 1) & (look.top != 3)
    thick = hips * 0.40
    foot_y = 0.90
    length = (foot_y - hip_y) / 2
    for side, dim in ((-1, 0.86), (1, 1.0)):
        angle = side * view.stride * 0.62 * np.sin(2 * np.pi * view.phase)
        bend = view.stride * 0.85 * np.clip(np.sin(2 * np.pi * view.phase * 1.0 + side * np.pi / 2 + np.pi / 2), 0, 1)
        hip_x = side * hips * 0.5
        knee_x, knee_y = hip_x + length * np.sin(angle), hip_y + length * np.cos(angle)
        foot_x = knee_x + length * np.sin(angle - bend)
        ankle_y = knee_y + length * np.cos(angle - bend)
        easel.paint(capsule(hip_x, hip_y, knee_x, knee_y, thick, thick * 0.85), colour * dim)
        easel.paint(capsule(knee_x, knee_y, foot_x, ankle_y, thick * 0.85, thick * 0.7), colour * dim)
        short_x, short_y = hip_x + length * 0.8 * np.sin(angle), hip_y + length * 0.8 * np.cos(angle)
        easel.paint(
            capsule(hip_x, hip_y, short_x, short_y, thick * 1.15, thick * 1.2), look.bottom_colour * dim, where=shorts
        )
        easel.paint(
            ellipse(foot_x + 0.04 + 0.02 * view.turn, ankle_y + 0.03, 0.105, 0.06, angle=-bend * 0.4), look.shoes * dim
        )


def _body(
    easel: Easel, look: Looks, traits: Traits, shoulders: Floats, hips: Floats, shoulder_y: Floats, hip_y: Floats,
    view: View,
) -> None:  # fmt: skip
    texture = _top_texture(look, traits)
    middle, half = (shoulder_y + hip_y) / 2, (hip_y - shoulder_y) / 2 + 0.04
    dress, coat, jacket = look.top == 3, look.top == 4, look.top == 2
    skirt = (look.bottom == 2) & ~dress
    easel.paint(capsule(0, shoulder_y - 0.1, 0, shoulder_y + 0.04, 0.07), look.skin * 0.92)
    easel.paint(box(0, hip_y - 0.01, hips * 1.02, 0.09, r=0.06), look.bottom_colour, where=~dress)
    flare = hips * traits.uniform("flare", 1.5, 2.1)
    length = traits.uniform("skirt", 0.14, 0.24)
    easel.paint(trapezoid(0, hip_y + length * 0.8, hips * 0.9, flare, length), look.bottom_colour, where=skirt)
    easel.paint(trapezoid(0, middle, shoulders, hips * 0.96, half, r=0.09), look.top_colour, texture=texture)
    easel.paint(
        trapezoid(0, hip_y + length * 0.7, hips * 0.72, flare, length * 1.15),
        look.top_colour,
        texture=texture,
        where=dress,
    )
    easel.paint(trapezoid(0, hip_y + 0.12, hips * 1.0, hips * 1.25, 0.24), look.top_colour, texture=texture, where=coat)
    shift = view.turn * shoulders * 0.35
    # A jacket is open over what is under it; a coat has buttons, a shirt a row of them.
    easel.paint(
        trapezoid(shift, middle, shoulders * 0.34, shoulders * 0.22, half, r=0.02),
        look.top_other,
        where=jacket,
        rim=0.15,
    )
    for row in (0.25, 0.55, 0.85):
        y = shoulder_y + row * (hip_y - shoulder_y)
        buttons = (look.top == 5) | coat
        easel.paint(ellipse(shift, y, 0.02, 0.02), look.top_other, where=buttons, rim=0)
    collar = look.top == 5
    for side in (-1, 1):
        easel.paint(
            triangle(shift + side * 0.06, shoulder_y + 0.09, 0.06, 0.1, angle=side * 0.5),
            look.top_other,
            where=collar,
            rim=0.2,
        )
    _extras(easel, look, shift, shoulders, shoulder_y, hip_y)


def _extras(easel: Easel, look: Looks, shift: Floats, shoulders: Floats, shoulder_y: Floats, hip_y: Floats) -> None:
    scarf, bag, tie, chain, apron = (look.extra == n for n in (1, 2, 3, 4, 6))
    colour = look.extra_colour
    easel.paint(trapezoid(0, hip_y - 0.02, shoulders * 0.6, shoulders * 0.85, 0.28), colour, where=apron)
    easel.paint(capsule(shift, shoulder_y + 0.07, shift, shoulder_y + 0.3, 0.03, 0.055), colour, where=tie)
    easel.paint(ellipse(shift, shoulder_y + 0.06, 0.04, 0.035), colour * 0.85, where=tie)
    easel.paint(bow(shift, shoulder_y + 0.02, shoulders * 0.55, 0.1, 0.014), (0.95, 0.8, 0.3), where=chain, rim=0)
    easel.paint(ellipse(shift, shoulder_y + 0.13, 0.03, 0.03), colour, where=chain, rim=0.1)
    easel.paint(
        capsule(-shoulders * 0.8, shoulder_y + 0.04, shoulders * 0.9, hip_y - 0.02, 0.022), colour * 0.7, where=bag
    )
    easel.paint(box(shoulders * 1.02, hip_y + 0.06, 0.13, 0.1, r=0.04), colour, where=bag)
    easel.paint(box(shoulders * 1.02, hip_y + 0.02, 0.12, 0.03, r=0.02), colour * 0.75, where=bag, rim=0)
    easel.paint(
        capsule(-shoulders * 0.3, shoulder_y + 0.04, -shoulders * 0.4, shoulder_y + 0.32, 0.06),
        colour * 0.85,
        where=scarf,
    )
    easel.paint(ellipse(0, shoulder_y + 0.02, shoulders * 0.75, 0.085), colour, where=scarf)
    for side in (-1, 1):  # the straps of a backpack
        easel.paint(
            capsule(side * shoulders * 0.6, shoulder_y + 0.02, side * shoulders * 0.62, shoulder_y + 0.3, 0.03),
            colour * 0.8, where=look.extra == 5,
        )  # fmt: skip


def _top_texture(look: Looks, traits: Traits) -> Texture:
    return Texture(look.top_pattern, look.top_other, traits.uniform("top period", 0.13, 0.2), 0.6)


def _arm(easel: Easel, look: Looks, view: View, side: int, shoulders: Floats, shoulder_y: Floats) -> None:
    """One arm: it swings against its leg, or is raised to wave."""
    long = ~np.isin(look.top, (0, 3))
    sleeve = np.where(long[:, None], look.top_colour, look.skin)
    swing = -side * view.stride * 0.6 * np.sin(2 * np.pi * view.phase)
    hang = 0.2 * side + swing
    if side > 0:
        raised = 2.5 + 0.35 * np.sin(4 * np.pi * view.phase)
        hang = hang * (1 - view.wave) + raised * view.wave
    upper, lower = np.where(look.child, 0.17, 0.2), np.where(look.child, 0.16, 0.19)
    x, y = side * (shoulders * 0.92), shoulder_y + 0.07
    elbow_x, elbow_y = x + upper * np.sin(hang), y + upper * np.cos(hang)
    bent = hang + np.where(view.wave > 0.5, 0.5, 0.25 * view.stride)
    hand_x, hand_y = elbow_x + lower * np.sin(bent), elbow_y + lower * np.cos(bent)
    dim = 0.86 if side < 0 else 1.0
    thick = 0.055 + 0.1 * (shoulders - 0.17)
    easel.paint(ellipse(hand_x, hand_y, 0.058, 0.058), look.skin * dim)
    easel.paint(capsule(elbow_x, elbow_y, hand_x, hand_y, thick, thick * 0.85), sleeve * dim)
    easel.paint(capsule(x, y, elbow_x, elbow_y, thick * 1.25, thick * 1.1), look.top_colour * dim)


def _face(easel: Easel, look: Looks, traits: Traits, head: _Head, view: View) -> None:
    t, r, rx = traits, head.r, head.rx
    skin, count = look.skin, len(traits)
    for side in (-1, 1):
        x, y = head.at(side * 0.99, 0.08, -0.35)
        easel.paint(ellipse(x, y, 0.17 * r, 0.22 * r), skin * 0.94)
    easel.paint(ellipse(*head.at(0, 0, 0), rx, r, head.lean), skin, depth=0.22)
    jaw = t.uniform("jaw", 0.55, 0.85)
    easel.paint(ellipse(*head.at(0, 0.42, 0.3), rx * jaw, r * 0.6, head.lean), skin, depth=0.05, rim=0, soft=0.04)
    blush = np.clip(skin * np.array([1.0, 0.74, 0.74], np.float32), 0, 1)
    beard_skin = look.beard > 0
    for side in (-1, 1):
        easel.paint(
            ellipse(*head.at(side * 0.55, 0.38), 0.2 * rx, 0.14 * r), blush, where=t.chance("blush",
            0.55) & ~beard_skin,
            rim=0, depth=0, opacity=0.75, soft=0.03,
        )  # fmt: skip
    freckled = t.chance("freckles", 0.18)
    for u, v in ((-0.5, 0.3), (-0.35, 0.38), (0.38, 0.3), (0.52, 0.38)):
        easel.paint(ellipse(*head.at(u, v), 0.045 * r, 0.04 * r), skin * 0.66, where=freckled, rim=0, depth=0)

    gap, high = t.uniform("eye gap", 0.36, 0.46), t.uniform("eye height", -0.02, 0.12)
    eye_r = r * t.uniform("eye size", 0.15, 0.215)
    iris = np.array(
        [(0.28, 0.17, 0.10), (0.16, 0.36, 0.70), (0.18, 0.50, 0.28), (0.36, 0.38, 0.42), (0.50, 0.32, 0.12)], np.float32
    )[t.pick("iris", (2, 1.3, 1, 0.8, 0.8))]  # fmt: skip
    brow_colour = np.minimum(look.hair * 0.75, 0.62)
    squeeze = 1 - 0.28 * np.abs(view.turn)
    gaze = view.turn * 0.22
    shut = view.blink > 0.5
    round_eye, slant = t.uniform("eye shape", 0.95, 1.35), t.uniform("slant", -0.22, 0.22)
    for side in (-1, 1):
        x, y = head.at(side * gap * squeeze, high)
        px, py = head.at(side * gap * squeeze + gaze * 0.35, high + 0.02)
        easel.paint(
            ellipse(x, y, eye_r * 1.08 * squeeze, eye_r * round_eye * 1.08), skin * 0.55, where=~shut, rim=0, depth=0
        )
        easel.paint(
            ellipse(x, y, eye_r * squeeze, eye_r * round_eye), (0.98, 0.98, 0.97), where=~shut, rim=0, depth=0.1
        )
        easel.paint(ellipse(px, py, eye_r * 0.68 * squeeze, eye_r * 0.72), iris, where=~shut, rim=0.2, depth=0)
        easel.paint(ellipse(px, py, eye_r * 0.36, eye_r * 0.4), (0.05, 0.05, 0.06), where=~shut, rim=0, depth=0)
        easel.paint(
            ellipse(px - eye_r * 0.2, py - eye_r * 0.25, eye_r * 0.17, eye_r * 0.17),
            (1, 1, 1),
            where=~shut,
            rim=0,
            depth=0,
        )
        easel.paint(bow(x, y, eye_r * 0.9, eye_r * 0.4, 0.014), skin * 0.4, where=shut, rim=0, depth=0)
        lash = look.female & ~shut
        easel.paint(
            bow(x, y - eye_r * round_eye * 0.62, eye_r * 0.95, -eye_r * 0.45, 0.014),
            (0.1, 0.07, 0.07),
            where=lash,
            rim=0,
        )
        bx, by = head.at(side * gap * squeeze, high - 0.36 - t.uniform("brow height", 0, 0.1))
        thick = r * np.where(look.female, t.uniform("brow", 0.028, 0.045), t.uniform("brow", 0.04, 0.075))
        easel.paint(
            bow(bx, by, eye_r * 0.95, -eye_r * 0.32, thick, angle=head.lean + side * slant), brow_colour, rim=0, depth=0
        )
    nose = r * t.uniform("nose", 0.07, 0.15)
    nx, ny = head.at(view.turn * 0.16, high + 0.34)
    easel.paint(
        ellipse(nx, ny + nose * 0.18, nose * t.uniform("nose width", 0.8, 1.25), nose), skin * 0.8, rim=0.12, soft=1.5
    )
    easel.paint(ellipse(nx, ny, nose * 0.8, nose * 0.75), np.minimum(skin * 1.03, 1), rim=0, soft=1.5)

    _beard(easel, look, head, high)
    smile, wide = t.uniform("smile", 0.04, 0.16), rx * t.uniform("mouth", 0.24, 0.42)
    lips = np.where(
        (look.female & t.chance("lipstick", 0.6))[:, None],
        np.array([(0.80, 0.16, 0.22)], np.float32), skin * np.array([0.72, 0.45, 0.42], np.float32),
    )  # fmt: skip
    mx, my = head.at(view.turn * 0.06, 0.60)
    laughing = t.chance("laugh", 0.35)
    easel.paint(
        ellipse(mx, my - r * 0.03, wide, r * (smile + 0.1), head.lean), (0.35, 0.08, 0.09), where=laughing, rim=0,
        depth=0,
        within=box(mx, my + r * 0.18, wide * 1.2, r * 0.2, head.lean, 0.0),
    )  # fmt: skip
    easel.paint(
        box(mx, my + r * 0.01, wide * 0.8, r * 0.035, head.lean), (0.97, 0.97, 0.96), where=laughing, rim=0, depth=0
    )
    thick = r * np.where(look.female, 0.05, 0.035)
    easel.paint(bow(mx, my - r * smile * 0.4, wide, r * smile, thick, head.lean), lips, where=~laughing, rim=0, depth=0)
    if look.old.any():  # lines beside the mouth
        for side in (-1, 1):
            x, y = head.at(side * 0.42, 0.45)
            easel.paint(
                bow(x, y, 0.12 * r, 0.03 * r, 0.012, angle=1.3 * np.ones(count, np.float32)), skin * 0.7,
                where=look.old,
                rim=0, depth=0, opacity=0.8,
            )  # fmt: skip


def _beard(easel: Easel, look: Looks, head: _Head, eyes: Floats) -> None:
    r, rx, colour = head.r, head.rx, look.hair * 0.92
    full, upper, chin = (look.beard == n for n in (1, 2, 3))
    x, y = head.at(0, 0.48, 0.5)
    lower = box(*head.at(0, 1.0, 0.3), rx * 1.3, r * 0.72, head.lean, 0.1)
    easel.paint(ellipse(x, y, rx * 0.93, r * 0.74, head.lean), colour, where=full, within=lower, rim=0.15)
    easel.paint(ellipse(*head.at(0, 1.0, 0.6), rx * 0.36, r * 0.26), colour, where=chin, rim=0.15)
    both = full | upper
    for side in (-1, 1):
        mx, my = head.at(side * 0.2, 0.5, 1.1)
        easel.paint(ellipse(mx, my, rx * 0.27, r * 0.085, head.lean + side * 0.28), colour * 0.95, where=both, rim=0.15)


def _back_hair(easel: Easel, look: Looks, head: _Head, view: View, shoulder_y: Floats) -> None:
    """What lies behind the head and the shoulders."""
    r, rx, colour, style = head.r, head.rx, look.hair * 0.88, look.hair_style
    sway = 0.12 * view.stride * np.sin(2 * np.pi * view.phase) - view.turn * 0.1
    bob, long, tail, pig, curly = (style == n for n in (3, 4, 5, 6, 8))
    x, y = head.at(0, 0.18, -0.3)
    easel.paint(ellipse(x, y, rx * 1.3, r * 1.12), colour, where=bob)
    easel.paint(box(x, y + 0.1, rx * 1.28, r * 0.85, r=0.12), colour, where=bob)
    easel.paint(
        trapezoid(x + sway * 0.3, shoulder_y - 0.02, rx * 1.15, rx * 1.35, r * 1.25, r=0.12), colour, where=long
    )
    easel.paint(petals(*head.at(0, -0.12, -0.2), r * 1.5, 0.16, 11.0), colour, where=curly)
    back = np.where(np.abs(view.turn) > 0.15, -np.sign(view.turn), -1)
    tx, ty = head.at(back * 0.75, -0.5, -0.4)
    easel.paint(capsule(tx, ty, tx + back * 0.2 + sway, ty + r * 1.9, r * 0.3, r * 0.16), colour, where=tail)
    for side in (-1, 1):
        px, py = head.at(side * 1.12, -0.1, -0.4)
        easel.paint(capsule(px, py, px + side * 0.12 + sway, py + r * 1.25, r * 0.3, r * 0.16), colour, where=pig)


def _front_hair(easel: Easel, look: Looks, traits: Traits, head: _Head, view: View, shoulder_y: Floats) -> None:
    r, rx, colour, style = head.r, head.rx, look.hair, look.hair_style
    hairy, cropped, curly = style > 0, style == 2, style == 8
    low = traits.uniform("hairline", -0.46, -0.3)
    part = traits.uniform("parting", -0.55, 0.55)
    # The cap: what of the skull lies above the hairline, which is an arc or a parting.
    above = box(*head.at(0, low - 1.0, 0.6), rx * 1.6, r * 1.0, head.lean + part * 0.45, 0.02)
    grown = np.where(cropped, 1.02, 1.09)
    easel.paint(
        ellipse(*head.at(0, -0.03, 0), rx * grown, r * grown, head.lean), colour, where=hairy, within=above, depth=0.25
    )
    sides = hairy & ~cropped
    for side in (-1, 1):
        down = np.where(np.isin(style, (3, 4, 11)), 0.55, np.where(look.female, 0.2, 0.02))
        x0, y0 = head.at(side * 0.93, -0.5, -0.1)
        x1, y1 = head.at(side * 1.0, down, -0.25)
        easel.paint(capsule(x0, y0, x1, y1, r * 0.17, r * 0.13), colour, where=sides)
    fringe = traits.integer("fringe", 3)
    bangs = sides & (fringe == 1) & ~np.isin(style, (9, 10))
    for u in (-0.55, 0.0, 0.55):
        easel.paint(ellipse(*head.at(u, low + 0.02, 0.8), rx * 0.36, r * 0.26), colour, where=bangs, rim=0.12)
    swept = sides & (fringe == 2) & ~np.isin(style, (9, 10))
    easel.paint(ellipse(*head.at(0.3 * np.sign(part), low - 0.04, 0.8), rx * 0.75, r * 0.24,
    head.lean + 0.35 * np.sign(part)),
                colour, where=swept, rim=0.12)  # fmt: skip
    for u in (-0.75, -0.4, 0.0, 0.4, 0.75):  # curls and spikes stand along the hairline
        easel.paint(
            ellipse(*head.at(u, low - 0.42 + 0.3 * abs(u), 0.4), r * 0.34, r * 0.32), colour, where=curly, rim=0.2
        )
        sx, sy = head.at(u, -0.62 + 0.35 * abs(u), 0.3)
        easel.paint(
            triangle(sx, sy, r * 0.26, r * traits.uniform("spikes", 0.55, 0.8), head.lean + u * 0.6),
            colour,
            where=style == 9,
            rim=0.1,
        )
    for u in (-0.16, 0.0, 0.16):
        easel.paint(
            triangle(*head.at(u, -0.75, 0.3), r * 0.2, r * 0.72, head.lean + u), colour, where=style == 10, rim=0.1
        )
    easel.paint(ellipse(*head.at(0, -1.12, -0.3), r * 0.42, r * 0.36), colour, where=style == 7)
    for side in (-1, 1):
        x, y = head.at(side * 1.02, 0.35, -0.2)
        for step in range(4):
            easel.paint(
                ellipse(x + side * 0.01 * step, y + step * r * 0.3, r * 0.19, r * 0.2), colour, where=style == 11
            )
        easel.paint(ellipse(x + side * 0.04, y + 3.7 * r * 0.3, r * 0.12, r * 0.1), look.top_colour, where=style == 11)


def _glasses(easel: Easel, look: Looks, traits: Traits, head: _Head) -> None:
    r, rx = head.r, head.rx
    gap, high = traits.uniform("eye gap", 0.36, 0.46), traits.uniform("eye height", -0.02, 0.12)
    frame = np.array([(0.08, 0.08, 0.09), (0.45, 0.25, 0.12), (0.75, 0.12, 0.15), (0.82, 0.68, 0.25), (0.15, 0.25,
    0.6)], np.float32)[
        traits.integer("frame", 5)
    ]  # fmt: skip
    round_, square, dark = (look.glasses == n for n in (1, 2, 3))
    for side in (-1, 1):
        x, y = head.at(side * gap, high + 0.02)
        easel.paint(ring(x, y, r * 0.29, r * 0.3, 0.016), frame, where=round_, rim=0, depth=0)
        easel.paint(box(x, y, r * 0.33, r * 0.27, head.lean, 0.03), frame, where=square | dark, rim=0, depth=0)
        easel.paint(
            box(x, y, r * 0.26, r * 0.2, head.lean, 0.02),
            (0.82, 0.92, 0.97),
            where=square,
            rim=0,
            depth=0,
            opacity=0.55,
        )
        easel.paint(box(x, y, r * 0.3, r * 0.24, head.lean, 0.03), (0.06, 0.06, 0.08), where=dark, rim=0, depth=0.4)
        easel.paint(ellipse(x, y, r * 0.13, r * 0.17), (0.1, 0.08, 0.08), where=square, rim=0, depth=0)
    easel.paint(
        bow(*head.at(0, high), rx * 0.16, -0.02, 0.016, head.lean), frame, where=look.glasses > 0, rim=0, depth=0
    )


def _hat(easel: Easel, look: Looks, traits: Traits, head: _Head, view: View) -> None:
    r, rx, colour, lean = head.r, head.rx, look.hat_colour, head.lean
    cap, beanie, top, sun, crown, party, bow_, band = (look.hat == n for n in range(1, 9))
    band_colour = palette.shade(traits, "band", palette.TABLE[palette.other(traits, "band", look.hat_name)])
    upper = box(*head.at(0, -1.36, 0.4), rx * 1.6, r * 1.0, lean, 0.02)
    easel.paint(ellipse(*head.at(0, -0.3, 0.05), rx * 1.14, r * 0.86, lean), colour, where=cap | beanie, within=upper)
    side = np.where(view.turn >= 0, 1.0, -1.0)
    easel.paint(ellipse(*head.at(side * 0.62, -0.44, 0.6), rx * 0.72, r * 0.13, lean), colour * 0.82, where=cap)
    easel.paint(ellipse(*head.at(0, -1.12, 0.05), r * 0.09, r * 0.07), colour * 0.8, where=cap, rim=0)
    easel.paint(box(*head.at(0, -0.47, 0.1), rx * 1.17, r * 0.17, lean, 0.05), band_colour, where=beanie)
    easel.paint(
        ellipse(*head.at(0, -1.2, 0), r * 0.23, r * 0.21), band_colour, where=beanie & traits.chance("pompom", 0.6)
    )
    easel.paint(trapezoid(*head.at(0, -0.92, 0.1), rx * 0.86, rx * 0.78, r * 0.5, lean, 0.02), colour, where=top)
    easel.paint(box(*head.at(0, -0.62, 0.1), rx * 0.8, r * 0.1, lean, 0.01), band_colour, where=top, rim=0)
    easel.paint(ellipse(*head.at(0, -0.5, 0.15), rx * 1.35, r * 0.14, lean), colour, where=top)
    easel.paint(ellipse(*head.at(0, -0.62, 0.1), rx * 0.92, r * 0.6, lean), colour, where=sun, within=upper)
    easel.paint(box(*head.at(0, -0.56, 0.1), rx * 0.9, r * 0.09, lean, 0.02), band_colour, where=sun, rim=0)
    easel.paint(ellipse(*head.at(0, -0.44, 0.1), rx * 1.72, r * 0.2, lean), colour, where=sun)
    gold = (0.97, 0.79, 0.22)
    easel.paint(trapezoid(*head.at(0, -0.78, 0.1), rx * 0.82, rx * 0.72, r * 0.2, lean, 0.01), gold, where=crown)
    for u in (-0.56, 0.0, 0.56):
        easel.paint(triangle(*head.at(u, -0.88, 0.1), rx * 0.25, r * 0.38, lean), gold, where=crown, rim=0.1)
        easel.paint(ellipse(*head.at(u, -0.78, 0.1), r * 0.07, r * 0.07), look.hat_colour, where=crown, rim=0)
    pointed = Texture(np.full(len(traits), 3), band_colour, 0.14)
    easel.paint(
        triangle(*head.at(0.1, -0.72, 0.1), rx * 0.5, r * 0.82, lean + 0.1), colour, where=party, texture=pointed
    )
    easel.paint(star(*head.at(0.2, -1.5, 0.1), r * 0.2, 0.45), gold, where=party, rim=0)
    for sign in (-1, 1):
        x, y = head.at(0.45 + sign * 0.26, -0.86, 0.3)
        easel.paint(triangle(x + sign * 0.03, y, r * 0.22, r * 0.34, lean - sign * 1.57), colour, where=bow_)
    easel.paint(ellipse(*head.at(0.45, -0.86, 0.3), r * 0.11, r * 0.11), colour * 0.8, where=bow_, rim=0)
    easel.paint(bow(*head.at(0, -0.5, 0.4), rx * 1.03, -r * 0.28, r * 0.09, lean), colour, where=band, rim=0.15)
