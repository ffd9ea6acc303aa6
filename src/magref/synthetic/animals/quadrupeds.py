"""Who an animal on four legs is: the lasting features, from its number and its species, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magref.synthetic import palette
from magref.synthetic.animals.species import SPECIES
from magref.synthetic.easel import Texture
from magref.synthetic.traits import Flags, Floats, Strings, Traits, Whole
from magref.synthetic.words import Description, article

_DARK_MARKS = {"grey": 0.4, "black": 1.4, "brown": 1.4, "golden": 0.3, "orange": 0.5, "dark": 1.0}
_PALE_MARKS = {"white": 2, "grey": 0.3, "golden": 0.6, "cream": 1.2}
_PATTERNS = {"spots": "dotted", "patches": "patchy", "stripes": "pinstriped"}
_EYES = np.array([(0.08, 0.06, 0.06), (0.35, 0.20, 0.08), (0.25, 0.55, 0.25), (0.20, 0.45, 0.75)], np.float32)
_BLACK, _WHITE = (0.13, 0.13, 0.13), (0.95, 0.95, 0.95)


@dataclass(frozen=True)
class Looks:
    """All lasting features of B animals: words, flags, numbers and lengths (B,), colours (B, 3).

    `skin` is what is seen where there is no wool; `markings` is the coat's pattern. Lengths are in units, the snout's
    in radii of the head; `neck_x` and `neck_y` lead from the shoulder forwards and up to the head.
    """

    kind: Strings
    coat_name: Strings
    coat: Floats
    skin: Floats
    mark: Strings
    mark_colour: Floats
    markings: Texture
    ear: Strings
    tail: Strings
    mane: Strings
    horned: Flags
    woolly: Flags
    trunk: Flags
    collar: Flags
    collar_name: Whole
    collar_colour: Floats
    eye: Floats
    half: Floats
    thick: Floats
    leg: Floats
    leg_r: Floats
    neck_x: Floats
    neck_y: Floats
    head_r: Floats
    snout: Floats
    snout_h: Floats


def looks(traits: Traits, kinds: Strings) -> Looks:
    """The lasting features; `kinds` (B,) of `SPECIES`."""
    species = [SPECIES[kind] for kind in kinds.tolist()]
    coat_name, mark, ear = (np.empty(len(traits), dtype="<U8") for _ in range(3))
    for kind in np.unique(kinds).tolist():
        rows, plan = kinds == kind, SPECIES[kind]
        coat_name[rows] = traits.choose("coat", plan.coats)[rows]
        mark[rows] = traits.choose("marks", plan.marks)[rows]
        ear[rows] = np.array(plan.ears)[traits.integer("ears", len(plan.ears))][rows]
    coat = palette.shade(traits, "coat", palette.of(palette.COATS, coat_name), 0.035)
    mark_colour, woolly = _mark_colour(traits, coat, mark), np.array([s.woolly for s in species])
    collar_name = traits.integer("collar colour", len(palette.NAMES))
    fat = traits.uniform("fat", 0.86, 1.16)

    def measure(values: list[float]) -> Floats:
        return np.array(values, dtype=np.float32)

    return Looks(
        kind=kinds, coat_name=coat_name, coat=coat,
        skin=palette.either(woolly, palette.either(coat.mean(axis=1) > 0.4, coat * 0.36, coat * 1.7 + 0.1), coat),
        mark=mark, mark_colour=mark_colour, markings=_markings(traits, mark, mark_colour),
        ear=ear, tail=np.array([s.tail for s in species]), mane=np.array([s.mane for s in species]),
        horned=np.array([s.horns for s in species]), woolly=woolly, trunk=np.array([s.trunk for s in species]),
        collar=traits.chance("collar", measure([s.collar for s in species])), collar_name=collar_name,
        collar_colour=palette.shade(traits, "collar", palette.TABLE[collar_name]),
        eye=_EYES[traits.pick("eyes", (2, 1.4, 0.7, 0.5))],
        half=measure([s.body[0] for s in species]) * traits.uniform("stretch", 0.88, 1.12),
        thick=measure([s.body[1] for s in species]) * fat,
        leg=measure([s.legs[0] for s in species]) * traits.uniform("leggy", 0.82, 1.1),
        leg_r=measure([s.legs[1] for s in species]) * fat**0.5,
        neck_x=measure([s.neck[0] for s in species]), neck_y=measure([s.neck[1] for s in species]),
        head_r=measure([s.head for s in species]) * traits.uniform("big head", 0.9, 1.13),
        snout=measure([s.snout[0] for s in species]), snout_h=measure([s.snout[1] for s in species]),
    )  # fmt: skip


def _mark_colour(traits: Traits, coat: Floats, mark: Strings) -> Floats:
    """(B, 3): dark marks on a light coat (B, 3) and light ones on a dark coat; paws and bellies are pale."""
    light = coat.mean(axis=1)
    dark_marks = palette.of(palette.COATS, traits.choose("mark colour", _DARK_MARKS))
    pale_marks = palette.of(palette.COATS, traits.choose("mark colour", _PALE_MARKS))
    colour = palette.either(light > 0.5, dark_marks, pale_marks)
    colour = palette.either((mark == "stripes") & (light > 0.38), _BLACK, colour)
    colour = palette.either(np.isin(mark, ("belly", "socks")), palette.either(light < 0.85, _WHITE, coat * 0.8), colour)
    return palette.either(mark == "panda", _BLACK, colour)


def _markings(traits: Traits, mark: Strings, colour: Floats) -> Texture:
    """The pattern of the coat; `mark` (B,) and `colour` (B, 3)."""
    wide, close = traits.uniform("patches", 0.17, 0.28), traits.uniform("spots", 0.17, 0.26)
    period = np.where(mark == "stripes", traits.uniform("stripes", 0.13, 0.19), np.where(mark == "spots", close, wide))
    pattern = np.array([_PATTERNS.get(name, "plain") for name in mark.tolist()])
    return Texture(pattern, colour, period, traits.uniform("mark phase", 0, 6.3))


def describe_quadruped(traits: Traits, kind: str) -> Description:
    """The words for one animal; `traits` of one number."""
    look, species = looks(traits, np.array([kind])), SPECIES[kind]
    coat, mark = str(look.coat_name[0]), str(look.mark[0])
    marked = {"spots": "spotted", "patches": "patched", "stripes": "striped"}.get(mark)
    colour = {"dark": "dark brown"}.get(coat, coat)
    adjectives = [colour] if mark != "panda" else []
    if marked and kind not in ("zebra", "tiger", "giraffe"):
        adjectives = [marked, f"{marked} {colour}"]
    having = []
    if look.collar[0]:
        having.append(article(f"{palette.NAMES[int(look.collar_name[0])]} collar"))
    if mark == "socks":
        having.append("white paws" if species.legs[0] < 0.4 else "white feet")
    if mark == "belly":
        having.append("a pale belly")
    if kind == "dog":
        having.append("floppy ears" if look.ear[0] == "floppy" else "pointed ears")
    return Description(species.nouns, tuple(adjectives), tuple(having))
