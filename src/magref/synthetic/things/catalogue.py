"""Which things there are: their kinds, colours and patterns, and the words for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Easel, Texture
from magref.synthetic.things import household, plants, toys, vehicles
from magref.synthetic.things.paints import Paints
from magref.synthetic.traits import Strings, Traits, Whole
from magref.synthetic.views import View
from magref.synthetic.words import PATTERN_WORDS, Description, article


@dataclass(frozen=True)
class Thing:
    """A kind of thing: synonyms for it, how it is painted, and the part that its second colour is named by, if any."""

    nouns: tuple[str, ...]
    paint: Callable[[Paints], None]
    part: str = ""
    patterned: bool = True


THINGS: dict[str, Thing] = {
    "ball": Thing(("ball", "toy ball"), toys.ball),
    "cup": Thing(("cup", "mug"), household.cup),
    "car": Thing(("car", "toy car"), vehicles.car),
    "bus": Thing(("bus",), vehicles.bus, "line", patterned=False),
    "train": Thing(("train", "steam engine"), vehicles.train),
    "house": Thing(("house", "toy house"), toys.house, "roof"),
    "flower": Thing(("flower", "blossom"), plants.flower, patterned=False),
    "gift": Thing(("gift box", "present"), toys.gift, "ribbon"),
    "balloon": Thing(("balloon",), toys.balloon),
    "kite": Thing(("kite",), toys.kite, patterned=False),
    "boat": Thing(("sailing boat", "boat"), vehicles.boat, "sails"),
    "lamp": Thing(("lamp", "table lamp"), household.lamp, "foot", patterned=False),
    "book": Thing(("book",), household.book),
    "apple": Thing(("apple",), plants.apple, patterned=False),
    "teapot": Thing(("teapot",), household.teapot, "lid"),
    "umbrella": Thing(("umbrella",), household.umbrella),
    "robot": Thing(("robot", "toy robot"), toys.robot, "arms"),
    "teddy": Thing(("teddy bear", "plush bear"), toys.teddy),
    "rocket": Thing(("rocket", "toy rocket"), vehicles.rocket, "fins"),
    "clock": Thing(("alarm clock", "clock"), household.clock, patterned=False),
    "plant": Thing(("potted plant", "plant"), plants.potted),
    "cake": Thing(("cake",), plants.cake, "top"),
    "guitar": Thing(("guitar",), household.guitar),
    "star": Thing(("star", "toy star"), toys.toy_star),
    "chair": Thing(("chair",), household.chair),
    "backpack": Thing(("backpack", "rucksack"), household.backpack),
}
_PATTERNS = {
    "plain": 3, "striped": 1.3, "pinstriped": 0.8, "diagonal": 0.6, "checked": 0.8, "dotted": 1.3, "zigzag": 0.9,
    "patchy": 0.5, "plaid": 0.6,
}  # fmt: skip
_APPLES = tuple(palette.NAMES.index(name) for name in ("red", "yellow", "green", "orange"))


def _colours(t: Traits, kinds: Strings) -> tuple[Whole, Whole, Whole]:
    """(B,) each: the numbers of three colours."""
    first = t.integer("colour", len(palette.NAMES))
    first = np.where(kinds == "apple", np.array(_APPLES)[t.integer("fruit", len(_APPLES))], first)
    second, third = palette.other(t, "second colour", first), palette.other(t, "third colour", first)
    return first, second, np.where(third == second, palette.NAMES.index("white"), third)


def _pattern(t: Traits, kinds: Strings) -> Strings:
    """(B,) of the easel's patterns."""
    patterned = np.array([THINGS[kind].patterned for kind in kinds.tolist()])
    return np.where(patterned, t.choose("pattern", _PATTERNS), "plain")


def describe_thing(traits: Traits, kind: str) -> Description:
    """The words for one thing; `traits` of one number."""
    thing, kinds = THINGS[kind], np.array([kind])
    colour, other = (palette.NAMES[int(number[0])] for number in _colours(traits, kinds)[:2])
    marked = PATTERN_WORDS[str(_pattern(traits, kinds)[0])]
    adjectives = (f"{marked} {colour}", colour) if marked else (colour,)
    part = f"{other} {thing.part}" if thing.part.endswith("s") else article(f"{other} {thing.part}")
    return Description(thing.nouns, adjectives, (part,) if thing.part else ())


def draw_things(easel: Easel, traits: Traits, kinds: Strings, view: View) -> None:
    """Paint B things, the whole within [-1, 1]; `kinds` (B,) of `THINGS`."""
    first, second, third = (
        palette.shade(traits, f"paint {n}", palette.TABLE[number]) for n, number in enumerate(_colours(traits, kinds))
    )
    period, phase = traits.uniform("period", 0.18, 0.34), traits.uniform("phase", 0, 6.3)
    texture = Texture(_pattern(traits, kinds), second, period, phase)
    for kind in np.unique(kinds).tolist():
        THINGS[kind].paint(Paints(easel.only(kinds == kind), traits, view, first, second, third, texture))
