"""Animals on four legs: one body plan, and a table that says what makes a dog a dog and a horse a horse.

They are drawn from the side, facing right, with the head towards the viewer a little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from magref.synthetic import palette
from magref.synthetic.easel import (
    Easel,
    Texture,
    bow,
    box,
    capsule,
    ellipse,
    petals,
    ribbon,
    triangle,
)
from magref.synthetic.traits import Flags, Floats, Traits, Whole
from magref.synthetic.views import View
from magref.synthetic.words import Description, article

EARS = ("pointed", "floppy", "round", "long", "big", "side")
TAILS = ("up", "thin", "bushy", "puff", "curl", "hair", "tuft", "none")
MARKS = ("plain", "spots", "patches", "stripes", "socks", "belly")
COATS = tuple(palette.COATS)
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Species:
    """A body plan; lengths in units, the whole in [-1, 1]. `coats` and `marks` with how often they occur."""

    nouns: tuple[str, ...]
    coats: dict[str, float]
    marks: dict[str, float]
    ears: tuple[str, ...]
    tail: str
    body: tuple[float, float]  # half length, half height
    legs: tuple[float, float]  # length, thickness
    neck: tuple[float, float]  # the head's place from the shoulder: forwards, up
    head: float
    snout: tuple[float, float]  # length, height, in heads
    mane: str = "none"
    horns: bool = False
    woolly: bool = False
    trunk: bool = False
    collar: float = 0.0


SPECIES: dict[str, Species] = {
    "dog": Species(("dog", "puppy"), {"white": 1, "brown": 1.5, "golden": 1.2, "black": 1, "grey": 0.7, "cream": 0.8},
                   {"plain": 1.2, "spots": 1, "patches": 1.2, "socks": 0.7, "belly": 0.8}, ("floppy", "floppy",
                   "pointed"),
                   "up", (0.42, 0.22), (0.34, 0.075), (0.14, 0.38), 0.27, (0.55, 0.5), collar=0.7),
    "cat": Species(("cat", "kitten"), {"grey": 1.2, "black": 1, "white": 1, "orange": 1.4, "cream": 0.8, "brown": 0.5},
                   {"plain": 1, "stripes": 1.6, "patches": 1, "socks": 0.8, "belly": 0.8}, ("pointed",), "thin",
                   (0.40, 0.19), (0.30, 0.06), (0.14, 0.34), 0.27, (0.22, 0.36), collar=0.4),
    "horse": Species(("horse", "pony"), {"brown": 1.6, "white": 1, "black": 1, "grey": 0.6, "golden": 0.7, "dark": 1},
                     {"plain": 1.6, "patches": 0.8, "socks": 1}, ("pointed",), "hair", (0.42, 0.21), (0.52, 0.06),
                     (0.26, 0.50), 0.19, (1.05, 0.62), mane="hair", collar=0.25),
    "rabbit": Species(("rabbit", "bunny"), {"white": 1.4, "grey": 1, "brown": 1.2, "black": 0.6, "cream": 0.8},
                      {"plain": 1.4, "patches": 0.9, "belly": 1.0, "socks": 0.5}, ("long",), "puff", (0.36, 0.27),
                      (0.20, 0.09), (0.10, 0.36), 0.26, (0.22, 0.4), collar=0.3),
    "cow": Species(("cow",), {"white": 1.5, "brown": 1.2, "black": 0.7, "cream": 0.6}, {"patches": 3, "plain": 0.7},
                   ("side",), "tuft", (0.50, 0.27), (0.36, 0.08), (0.16, 0.26), 0.23, (0.66, 0.72), horns=True,
                   collar=0.3),
    "sheep": Species(("sheep", "lamb"), {"white": 2, "cream": 1.4, "grey": 0.8, "black": 0.5, "brown": 0.5},
    {"plain": 1},
                     ("side",), "none", (0.42, 0.30), (0.32, 0.06), (0.12, 0.22), 0.21, (0.5, 0.62), woolly=True,
                     collar=0.3),
    "bear": Species(("bear",), {"brown": 1.6, "black": 1, "white": 1, "dark": 0.9}, {"plain": 1.5, "belly": 0.8},
    ("round",),
                    "none", (0.48, 0.33), (0.28, 0.13), (0.14, 0.26), 0.27, (0.48, 0.5), collar=0.2),
    "pig": Species(("pig", "piglet"), {"pink": 2.5, "grey": 0.6, "cream": 0.5, "brown": 0.4}, {"plain": 1.6,
    "spots": 1},
                   ("floppy", "pointed"), "curl", (0.46, 0.29), (0.24, 0.08), (0.16, 0.16), 0.26, (0.42, 0.5),
                   collar=0.2),
    "fox": Species(("fox",), {"orange": 3, "red": 0.5, "white": 0.4, "grey": 0.4}, {"belly": 2, "socks": 1.2},
    ("pointed",),
                   "bushy", (0.40, 0.17), (0.32, 0.055), (0.16, 0.30), 0.23, (0.72, 0.36)),
    "lion": Species(("lion",), {"golden": 2.5, "cream": 0.7, "orange": 0.6}, {"plain": 1, "belly": 0.6}, ("round",),
    "tuft",
                    (0.46, 0.23), (0.36, 0.085), (0.12, 0.30), 0.25, (0.42, 0.5), mane="round"),
    "tiger": Species(("tiger",), {"orange": 3, "white": 0.8}, {"stripes": 1}, ("round",), "thin", (0.47, 0.22),
                     (0.34, 0.085), (0.14, 0.30), 0.26, (0.38, 0.5)),
    "zebra": Species(("zebra",), {"white": 1}, {"stripes": 1}, ("pointed",), "tuft", (0.42, 0.22), (0.48, 0.06),
                     (0.24, 0.46), 0.19, (1.0, 0.6), mane="hair"),
    "elephant": Species(("elephant",), {"grey": 2.5, "blue": 0.3, "pink": 0.3, "brown": 0.4}, {"plain": 1}, ("big",),
    "tuft",
                        (0.46, 0.36), (0.34, 0.13), (0.12, 0.22), 0.29, (0.0, 0.0), trunk=True, collar=0.35),
    "mouse": Species(("mouse",), {"grey": 1.6, "white": 1, "brown": 1}, {"plain": 1.4, "belly": 0.8}, ("big",), "thin",
                     (0.38, 0.25), (0.16, 0.05), (0.16, 0.20), 0.27, (0.62, 0.4), collar=0.2),
    "giraffe": Species(("giraffe",), {"yellow": 1, "cream": 0.7, "golden": 0.8}, {"patches": 1}, ("side",), "tuft",
                       (0.32, 0.18), (0.48, 0.055), (0.26, 0.72), 0.16, (0.85, 0.58), mane="hair", horns=True),
    "panda": Species(("panda",), {"white": 1}, {"panda": 1}, ("round",), "puff", (0.44, 0.33), (0.28, 0.12), (0.12,
    0.28),
                     0.29, (0.34, 0.42)),
}  # fmt: skip
QUADRUPEDS = tuple(SPECIES)
_LIST = tuple(SPECIES.values())


@dataclass(frozen=True)
class Looks:
    """All lasting features of B animals."""

    coat_name: Whole
    coat: Floats
    mark: Strings
    mark_colour: Floats
    ear: Strings
    collar: Flags
    collar_name: Whole
    collar_colour: Floats
    eye: Floats
    stretch: Floats
    fat: Floats
    leggy: Floats
    big_head: Floats


def looks(traits: Traits, kind: Whole) -> Looks:
    """The lasting features; `kind` (B,) numbers into `QUADRUPEDS`."""
    count = len(traits)
    coat_name = np.zeros(count, dtype=np.int64)
    mark, ear = np.empty(count, dtype="<U8"), np.empty(count, dtype="<U8")
    for number in np.unique(kind):
        species, rows = _LIST[number], kind == number
        names = np.array([COATS.index(name) for name in species.coats])
        coat_name[rows] = names[traits.pick("coat", list(species.coats.values()))][rows]
        mark[rows] = np.array(list(species.marks))[traits.pick("marks", list(species.marks.values()))][rows]
        ear[rows] = np.array(species.ears)[traits.integer("ears", len(species.ears))][rows]
    coat = palette.shade(traits, "coat", palette.of(palette.COATS, coat_name), 0.035)
    light = coat.mean(axis=1) > 0.5
    dark_marks = palette.of(palette.COATS, traits.pick("mark colour", (0, 0.4, 1.4, 1.4, 0.3, 0.5, 0, 1.0)))
    pale_marks = palette.of(palette.COATS, traits.pick("mark colour", (2, 0.3, 0, 0, 0.6, 0, 1.2)))
    mark_colour = np.where(light[:, None], dark_marks, pale_marks)
    mark_colour = np.where(((mark == "stripes") & (coat.mean(axis=1) > 0.38))[:, None], np.float32(0.13), mark_colour)
    pale = np.isin(mark, ("belly", "socks"))
    mark_colour = np.where(pale[:, None] & (coat.mean(axis=1) < 0.85)[:, None], np.float32(0.95), mark_colour)
    mark_colour = np.where(pale[:, None] & (coat.mean(axis=1) >= 0.85)[:, None], coat * 0.8, mark_colour)
    mark_colour = np.where((mark == "panda")[:, None], np.float32(0.13), mark_colour)
    collar_name = traits.integer("collar colour", len(palette.NAMES))
    eyes = np.array([(0.08, 0.06, 0.06), (0.35, 0.20, 0.08), (0.25, 0.55, 0.25), (0.20, 0.45, 0.75)], np.float32)
    collars = np.array([species.collar for species in _LIST])[kind]
    return Looks(
        coat_name=coat_name, coat=coat, mark=mark, mark_colour=mark_colour.astype(np.float32), ear=ear,
        collar=traits.chance("collar", collars.astype(np.float32)), collar_name=collar_name,
        collar_colour=palette.shade(traits, "collar", palette.TABLE[collar_name]),
        eye=eyes[traits.pick("eyes", (2, 1.4, 0.7, 0.5))],
        stretch=traits.uniform("stretch", 0.88, 1.12), fat=traits.uniform("fat", 0.86, 1.16),
        leggy=traits.uniform("leggy", 0.82, 1.1), big_head=traits.uniform("big head", 0.9, 1.13),
    )  # fmt: skip


def describe(traits: Traits, kind: int) -> Description:
    """The words for one animal; `traits` of one number."""
    look, species = looks(traits, np.array([kind])), _LIST[kind]
    coat, mark = COATS[int(look.coat_name[0])], str(look.mark[0])
    marked = {"spots": "spotted", "patches": "patched", "stripes": "striped"}.get(mark)
    colour = {"dark": "dark brown"}.get(coat, coat)
    adjectives = [colour] if mark != "panda" else []
    if marked and QUADRUPEDS[kind] not in ("zebra", "tiger", "giraffe"):
        adjectives = [marked, f"{marked} {colour}"]
    having = []
    if look.collar[0]:
        having.append(article(f"{palette.NAMES[int(look.collar_name[0])]} collar"))
    if mark == "socks":
        having.append("white paws" if species.legs[0] < 0.4 else "white feet")
    if mark == "belly":
        having.append("a pale belly")
    if QUADRUPEDS[kind] == "dog":
        having.append("floppy ears" if look.ear[0] == "floppy" else "pointed ears")
    return Description(species.nouns, tuple(adjectives), tuple(having))


def draw(easel: Easel, traits: Traits, kind: Whole, view: View) -> None:  # noqa: PLR0915
    """Paint B animals facing right, the whole within [-1, 1]."""
    t, look = traits, looks(traits, kind)

    def of(values: list[float]) -> Floats:
        return np.array(values, dtype=np.float32)[kind]

    def has(test: list[bool]) -> Flags:
        return np.array(test)[kind]

    half = of([s.body[0] for s in _LIST]) * look.stretch
    thick = of([s.body[1] for s in _LIST]) * look.fat
    leg, leg_r = of([s.legs[0] for s in _LIST]) * look.leggy, of([s.legs[1] for s in _LIST]) * look.fat**0.5
    head_r = of([s.head for s in _LIST]) * look.big_head
    neck_x, neck_y = of([s.neck[0] for s in _LIST]), of([s.neck[1] for s in _LIST])
    snout, snout_h = of([s.snout[0] for s in _LIST]), of([s.snout[1] for s in _LIST])
    tail = np.array([s.tail for s in _LIST])[kind]
    mane = np.array([s.mane for s in _LIST])[kind]
    woolly, trunk, horned = has([s.woolly for s in _LIST]), has([s.trunk for s in _LIST]), has([s.horns for s in _LIST])

    coat, marks = look.coat, look.mark_colour
    panda, stripes = look.mark == "panda", look.mark == "stripes"
    pattern = np.select([look.mark == "spots", look.mark == "patches", stripes], [5, 7, 2], 0)
    period = np.where(stripes, t.uniform("stripes", 0.13, 0.19), np.where(
        look.mark == "spots", t.uniform("spots", 0.17, 0.26), t.uniform("patches", 0.17, 0.28)))  # fmt: skip
    texture = Texture(pattern, marks, period.astype(np.float32), t.uniform("mark phase", 0, 6.3))
    skin = np.where(woolly[:, None], np.where((coat.mean(axis=1) > 0.4)[:, None], coat * 0.36, coat * 1.7 + 0.1), coat)
    legs = np.where(panda[:, None], marks, skin)
    socks = np.where((look.mark == "socks")[:, None], marks, legs)

    # All stands on the ground, and the middle of the whole is the middle of the picture.
    step = 2 * np.pi * view.phase
    bounce = np.abs(np.sin(step)) * view.stride * 0.04
    tall = leg + 2 * thick * 0.7 + neck_y + head_r
    ground = np.minimum(tall / 2 + 0.02, 0.9)
    body_y = ground - leg - thick * 0.7 - bounce
    shift = -(neck_x + head_r * (0.4 + snout * 0.6)) * 0.45
    chest_x, rump_x = half * 0.62 + shift, -half * 0.62 + shift
    head_x, head_y = chest_x + neck_x + 0.02, body_y - neck_y + 0.02 * np.sin(step) * view.stride
    lean = view.lean + 0.05 * np.sin(step) * view.stride

    _tail(easel, tail, coat, marks, look, rump_x - half * 0.32, body_y - thick * 0.4, half, view, stripes)
    for near, dim in ((False, 0.72), (True, 1.0)):
        if near:  # the body comes between the far and the near legs
            wool = np.where(woolly, 1.0, 0.0)
            easel.paint(
                petals(shift, body_y, half * 1.05, 0.14, 13.0, thick / half * 1.1), coat, where=woolly, rim=0.15
            )
            easel.paint(ellipse(rump_x, body_y - 0.01, thick * 0.98, thick * 0.95), coat, where=wool < 1)
            easel.paint(ellipse(shift, body_y, half, thick), coat, texture=texture, where=wool < 1)
            easel.paint(ellipse(shift * 0.6, body_y + thick * 0.55, half * 0.72, thick * 0.42), marks,
                        where=look.mark == "belly", rim=0, within=ellipse(shift, body_y, half, thick))  # fmt: skip
            easel.paint(box(chest_x - 0.04, body_y, 0.13, thick * 1.2), marks, where=panda, rim=0,
                        within=ellipse(shift, body_y, half, thick))  # fmt: skip
        for front in (True, False):
            turn = view.stride * 0.6 * np.sin(step + (0 if front == near else np.pi))
            x = (chest_x if front else rump_x) + (0.05 if near else -0.06)
            top = body_y + thick * 0.35
            length = ground - top - bounce * 0.3
            bent = np.clip(np.sin(step + (0.9 if front == near else np.pi + 0.9)), 0, 1) * view.stride * 0.5
            knee_x, knee_y = x + np.sin(turn) * length * 0.5, top + np.cos(turn) * length * 0.5
            foot_x = knee_x + np.sin(turn - bent) * length * 0.45
            foot_y = knee_y + np.cos(turn - bent) * length * 0.45
            easel.paint(
                capsule(x, top, knee_x, knee_y, leg_r * 1.35, leg_r), legs * dim, texture=texture if near else None
            )
            easel.paint(capsule(knee_x, knee_y, foot_x, foot_y, leg_r, leg_r * 0.85), socks * dim)
            easel.paint(
                ellipse(foot_x + leg_r * 0.35, foot_y + leg_r * 0.2, leg_r * 1.25, leg_r * 0.75), socks * dim * 0.85
            )
    root_x = chest_x - 0.02
    neck_r = np.minimum(thick * 0.72, head_r * 0.85)
    easel.paint(
        capsule(root_x, body_y - thick * 0.2, head_x, head_y + head_r * 0.15, neck_r, head_r * 0.62),
        skin,
        texture=texture,
        rim=0.15,
    )
    mane_colour = np.where((coat.mean(axis=1) > 0.55)[:, None], coat * 0.5, np.minimum(coat * 1.5 + 0.1, 1))
    hairy = mane == "hair"
    for step_up in (0.15, 0.4, 0.65, 0.9):
        mx = root_x + (head_x - root_x) * step_up - neck_r * 0.75
        my = body_y - thick * 0.3 + (head_y - body_y) * step_up - 0.02
        easel.paint(ellipse(mx, my, head_r * 0.42, head_r * 0.5), mane_colour, where=hairy, rim=0.1)
    collar_at = 0.55
    cx, cy = root_x + (head_x - root_x) * collar_at, body_y - thick * 0.2 + (head_y - body_y + thick * 0.2) * collar_at
    easel.paint(
        box(cx, cy, neck_r * 0.95, 0.035, angle=np.arctan2(head_y - body_y, head_x - root_x) + np.pi / 2),
        look.collar_colour, where=look.collar, rim=0.1,
    )  # fmt: skip
    _head(easel, t, look, kind, head_x, head_y, head_r, lean, snout, snout_h, skin, texture, mane, trunk, horned, view)


def _tail(
    easel: Easel, tail: Strings, coat: Floats, marks: Floats, look: Looks, x: Floats, y: Floats, half: Floats,
    view: View,
    stripes: Flags,
) -> None:  # fmt: skip
    swing = 0.35 * np.sin(2 * np.pi * view.phase) * (0.4 + view.stride)
    ex, ey = x - 0.20 - 0.08 * swing, y - 0.28 + 0.1 * swing
    easel.paint(capsule(x + 0.06, y + 0.04, ex + 0.02, ey, 0.06, 0.035), coat, where=tail == "up")
    texture = Texture(np.where(stripes, 2, 0), marks, 0.12)
    easel.paint(
        ribbon(x + 0.08, y + 0.06, x - 0.34, y - 0.34, 0.042, 0.03, 0.09, 1.0, 0.1 + 0.1 * swing), coat,
        where=tail == "thin", texture=texture,
    )  # fmt: skip
    bushy = tail == "bushy"
    easel.paint(capsule(x + 0.06, y + 0.06, x - 0.36, y - 0.06 + 0.2 * swing, 0.05, 0.125), coat, where=bushy)
    easel.paint(ellipse(x - 0.42, y - 0.08 + 0.22 * swing, 0.1, 0.085), (0.96, 0.95, 0.93), where=bushy, rim=0.15)
    easel.paint(petals(x + 0.01, y, 0.12, 0.18, 7.0), np.minimum(coat * 1.1 + 0.1, 1), where=tail == "puff")
    curl = tail == "curl"
    easel.paint(
        ribbon(x + 0.06, y, x - 0.22, y - 0.08, 0.028, 0.018, 0.08, 1.5, swing * 0.2, 0.2), coat * 0.92, where=curl
    )
    hair = np.where((coat.mean(axis=1) > 0.55)[:, None], coat * 0.5, np.minimum(coat * 1.5 + 0.1, 1))
    easel.paint(
        capsule(x + 0.06, y, x - 0.13 + 0.25 * swing, y + 0.42, 0.05, 0.1), hair, where=tail == "hair", rim=0.15
    )
    tuft = tail == "tuft"
    tx, ty = x - 0.14 + 0.25 * swing, y + 0.26
    easel.paint(capsule(x + 0.06, y, tx, ty, 0.03, 0.022), coat * 0.92, where=tuft)
    easel.paint(ellipse(tx, ty + 0.03, 0.05, 0.075), hair, where=tuft)


def _head(  # noqa: PLR0915
    easel: Easel, t: Traits, look: Looks, kind: Whole, x: Floats, y: Floats, r: Floats, lean: Floats, snout: Floats,
    snout_h: Floats, skin: Floats, texture: Texture, mane: Strings, trunk: Flags, horned: Flags, view: View,
) -> None:  # fmt: skip
    coat, marks = look.coat, look.mark_colour
    name = np.array(QUADRUPEDS)[kind]
    panda, woolly = look.mark == "panda", name == "sheep"
    cos, sin = np.cos(lean), np.sin(lean)

    def at(u: float | Floats, v: float | Floats) -> tuple[Floats, Floats]:
        du, dv = np.asarray(u) * r, np.asarray(v) * r
        return (x + du * cos - dv * sin).astype(np.float32), (y + du * sin + dv * cos).astype(np.float32)

    dark = coat * 0.55
    easel.paint(
        petals(*at(-0.15, 0.05), r * 1.62, 0.14, 13.0),
        coat * np.array([0.62, 0.46, 0.36], np.float32),
        where=mane == "round",
    )
    ears = np.where(panda[:, None], marks, skin)
    pink = np.minimum(coat * 0.5 + np.array([0.45, 0.22, 0.24], np.float32), 1)
    twitch = 0.1 * np.sin(2 * np.pi * view.phase) * view.stride
    pointed, round_, long, big, side_, floppy = (
        look.ear == e for e in ("pointed", "round", "long", "big", "side", "floppy")
    )
    tall_ear = t.uniform("ear size", 0.85, 1.2)
    for side, dim in ((-1, 1.0), (1, 0.94)):
        easel.paint(
            triangle(*at(side * 0.58 - 0.05, -0.55), r * 0.36, r * 0.78 * tall_ear, lean + side * 0.35),
            ears * dim,
            where=pointed,
        )
        easel.paint(
            triangle(*at(side * 0.58 - 0.05, -0.62), r * 0.19, r * 0.46 * tall_ear, lean + side * 0.35),
            pink,
            where=pointed & (name == "cat"),
            rim=0,
        )
        easel.paint(ellipse(*at(side * 0.7, -0.75), r * 0.36 * tall_ear, r * 0.36 * tall_ear), ears * dim, where=round_)
        easel.paint(ellipse(*at(side * 0.7, -0.72), r * 0.19, r * 0.19), ears * 0.7, where=round_, rim=0)
        ex, ey = at(side * 0.34, -0.7)
        tx, ty = at(side * (0.55 + 0.3 * twitch) - 0.1, -1.3 - 0.75 * tall_ear)
        easel.paint(capsule(ex, ey, tx, ty, r * 0.24, r * 0.2), ears * dim, where=long)
        easel.paint(capsule(ex, ey, tx, ty + 0.02, r * 0.11, r * 0.08), pink, where=long, rim=0)
        easel.paint(
            ellipse(*at(side * 0.98, -0.06 if side < 0 else -0.35), r * 0.42, r * 0.2, lean + side * (0.35 + twitch)),
            ears * dim * 0.92,
            where=side_,
        )
        mouse = name == "mouse"
        big_r = np.where(mouse, 0.62, 0.95) * tall_ear
        easel.paint(
            ellipse(*at(side * 0.9 - 0.15, np.where(mouse, -0.8, -0.15)), r * big_r * 0.86, r * big_r),
            ears * 0.92 * dim,
            where=big,
        )
        easel.paint(
            ellipse(*at(side * 0.9 - 0.15, np.where(mouse, -0.8, -0.12)), r * big_r * 0.55, r * big_r * 0.68),
            pink,
            where=big,
            rim=0,
            opacity=0.8,
        )
    for side in (-1, 1):
        hx, hy = at(side * 0.42, -0.75)
        giraffe = name == "giraffe"
        easel.paint(
            capsule(hx, hy, hx + side * np.where(giraffe, 0.02, 0.09), hy - r * 0.65, r * 0.14, r * 0.07),
            (0.93, 0.88, 0.74),
            where=horned,
        )
        easel.paint(ellipse(hx + side * 0.02, hy - r * 0.7, r * 0.16, r * 0.14), dark, where=horned & giraffe)
    easel.paint(ellipse(x, y, r, r * t.uniform("head shape", 0.86, 1.0), lean), skin, texture=texture)
    for side, u in ((-1, -0.92), (1, 0.62)):  # they hang over the head's sides
        hang = ellipse(*at(u, 0.12), r * 0.27, r * 0.58 * tall_ear, lean - side * (0.22 + twitch))
        easel.paint(hang, ears * 0.72, where=floppy)
    easel.paint(petals(*at(-0.1, -0.72), r * 0.62, 0.2, 8.0, 0.75), coat, where=woolly, rim=0.15)
    forelock = mane == "hair"
    easel.paint(ellipse(*at(-0.05, -0.85), r * 0.32, r * 0.4), dark, where=forelock, rim=0.1)

    # Snout: a long one goes forwards and down, a short one is a muzzle below the eyes.
    muzzle = np.where((look.mark == "belly")[:, None] | np.isin(name, ("bear", "lion", "tiger", "dog", "cat",
    "panda"))[:, None],
                      np.minimum(skin * 0.5 + 0.48, 1), skin)  # fmt: skip
    cow = np.isin(name, ("cow", "pig"))
    muzzle = np.where(cow[:, None], np.array([(0.96, 0.68, 0.68)], np.float32), muzzle)
    forward, down = 0.35 + snout * 0.62, 0.3 + 0.16 * (snout > 0.6)
    sx, sy = at(forward, down)
    bx, by = at(0.2, 0.2)
    has_snout = ~trunk
    easel.paint(
        capsule(bx, by, sx, sy, r * np.maximum(snout_h, 0.35), r * np.maximum(snout_h * 0.78, 0.25)),
        muzzle,
        where=has_snout,
        rim=0.18,
    )
    nose = np.where(
        np.isin(name, ("rabbit", "mouse", "cat"))[:, None], np.array([(0.92, 0.5, 0.55)], np.float32), np.float32(0.1)
    )
    nx, ny = at(forward + snout_h * 0.62, down - 0.12)
    nosed = has_snout & ~np.isin(name, ("pig", "cow", "horse", "zebra", "giraffe", "sheep"))
    easel.paint(ellipse(nx, ny, r * 0.17, r * 0.14, lean), nose, where=nosed, rim=0)
    for aside in (-0.14, 0.14):
        easel.paint(
            ellipse(*at(forward + 0.28 * snout_h + aside, down - 0.1), r * 0.075, r * 0.09),
            muzzle * 0.4,
            where=has_snout & ~nosed,
            rim=0,
        )
    easel.paint(
        bow(*at(forward - 0.05, down + snout_h * 0.42), r * 0.24, r * 0.1, 0.012, lean),
        muzzle * 0.35,
        where=has_snout & (snout < 0.9),
        rim=0,
        depth=0,
    )
    tongue = (name == "dog") & t.chance("tongue", 0.55)
    easel.paint(ellipse(*at(forward + 0.08, down + 0.5), r * 0.13, r * 0.22), (0.93, 0.38, 0.42), where=tongue)
    tx, ty = at(0.85, 1.45)
    mx, my = at(0.75, 0.5)
    curl = 0.2 * np.sin(2 * np.pi * view.phase) * (0.3 + view.stride)
    easel.paint(capsule(*at(0.45, 0.2), mx, my, r * 0.4, r * 0.3), skin, where=trunk, rim=0.15)
    easel.paint(capsule(mx, my, tx + curl * 0.3, ty, r * 0.3, r * 0.2), skin, where=trunk, rim=0.15)
    easel.paint(
        capsule(tx + curl * 0.3, ty, tx + 0.1 + curl * 0.4, ty + 0.02, r * 0.2, r * 0.15), skin, where=trunk, rim=0.15
    )
    easel.paint(capsule(*at(0.3, 0.55), *at(0.75, 0.9), r * 0.1, r * 0.05), (0.97, 0.95, 0.88), where=trunk)

    shut = view.blink > 0.5
    eye_r = r * t.uniform("eye size", 0.15, 0.21)
    for side, u in ((-1, -0.18), (1, 0.46)):
        ex, ey = at(u + view.turn * 0.08, -0.16)
        easel.paint(ellipse(ex, ey, eye_r * 1.8, eye_r * 2.0, lean + side * 0.4), marks, where=panda, rim=0)
        easel.paint(ellipse(ex, ey, eye_r, eye_r * 1.12), (0.98, 0.98, 0.96), where=~shut, rim=0.25, depth=0)
        easel.paint(ellipse(ex + eye_r * 0.22, ey, eye_r * 0.7, eye_r * 0.82), look.eye, where=~shut, rim=0, depth=0)
        easel.paint(
            ellipse(ex + eye_r * 0.26, ey, eye_r * 0.42, eye_r * 0.55), (0.04, 0.04, 0.05), where=~shut, rim=0, depth=0
        )
        easel.paint(
            ellipse(ex + eye_r * 0.1, ey - eye_r * 0.3, eye_r * 0.22, eye_r * 0.22),
            (1, 1, 1),
            where=~shut,
            rim=0,
            depth=0,
        )
        easel.paint(bow(ex, ey, eye_r, eye_r * 0.5, 0.014), coat * 0.3, where=shut, rim=0, depth=0)
    whiskers = np.isin(name, ("cat", "mouse", "rabbit", "tiger"))
    for v in (0.16, 0.34):
        easel.paint(
            capsule(*at(forward + 0.1, down + v - 0.3), *at(forward + 0.95, down + v * 1.6 - 0.4), 0.007),
            (0.96, 0.96, 0.96),
            where=whiskers,
            rim=0,
            depth=0,
        )
        easel.paint(
            capsule(*at(forward - 0.3, down + v - 0.3), *at(forward - 1.1, down + v * 1.6 - 0.4), 0.007),
            (0.9, 0.9, 0.9),
            where=whiskers,
            rim=0,
            depth=0,
        )
