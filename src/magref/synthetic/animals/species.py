"""What makes a dog a dog and a horse a horse: one body plan for all animals on four legs, and a table of measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Ear = Literal["pointed", "floppy", "round", "long", "big", "side"]
Tail = Literal["up", "thin", "bushy", "puff", "curl", "hair", "tuft", "none"]


@dataclass(frozen=True)
class Species:
    """A body plan; lengths in units, the whole in [-1, 1].

    `coats` are of `palette.COATS` and `marks` are "plain", "spots", "patches", "stripes", "socks", "belly" or "panda",
    with how often they occur; each of `ears` is as frequent as the others.
    """

    nouns: tuple[str, ...]
    coats: Mapping[str, float]
    marks: Mapping[str, float]
    ears: tuple[Ear, ...]
    tail: Tail
    body: tuple[float, float]  # half length, half height
    legs: tuple[float, float]  # length, thickness
    neck: tuple[float, float]  # the head's place from the shoulder: forwards, up
    head: float
    snout: tuple[float, float]  # length, height, in heads
    mane: Literal["none", "hair", "round"] = "none"
    horns: bool = False
    woolly: bool = False
    trunk: bool = False
    collar: float = 0.0  # how often it has one


SPECIES: dict[str, Species] = {
    "dog": Species(
        ("dog", "puppy"), coats={"white": 1, "brown": 1.5, "golden": 1.2, "black": 1, "grey": 0.7, "cream": 0.8},
        marks={"plain": 1.2, "spots": 1, "patches": 1.2, "socks": 0.7, "belly": 0.8},
        ears=("floppy", "floppy", "pointed"), tail="up", collar=0.7,
        body=(0.42, 0.22), legs=(0.34, 0.075), neck=(0.14, 0.38), head=0.27, snout=(0.55, 0.5),
    ),
    "cat": Species(
        ("cat", "kitten"), coats={"grey": 1.2, "black": 1, "white": 1, "orange": 1.4, "cream": 0.8, "brown": 0.5},
        marks={"plain": 1, "stripes": 1.6, "patches": 1, "socks": 0.8, "belly": 0.8},
        ears=("pointed",), tail="thin", collar=0.4,
        body=(0.40, 0.19), legs=(0.30, 0.06), neck=(0.14, 0.34), head=0.27, snout=(0.22, 0.36),
    ),
    "horse": Species(
        ("horse", "pony"), coats={"brown": 1.6, "white": 1, "black": 1, "grey": 0.6, "golden": 0.7, "dark": 1},
        marks={"plain": 1.6, "patches": 0.8, "socks": 1},
        ears=("pointed",), tail="hair", mane="hair", collar=0.25,
        body=(0.42, 0.21), legs=(0.52, 0.06), neck=(0.26, 0.50), head=0.19, snout=(1.05, 0.62),
    ),
    "rabbit": Species(
        ("rabbit", "bunny"), coats={"white": 1.4, "grey": 1, "brown": 1.2, "black": 0.6, "cream": 0.8},
        marks={"plain": 1.4, "patches": 0.9, "belly": 1.0, "socks": 0.5},
        ears=("long",), tail="puff", collar=0.3,
        body=(0.36, 0.27), legs=(0.20, 0.09), neck=(0.10, 0.36), head=0.26, snout=(0.22, 0.4),
    ),
    "cow": Species(
        ("cow",), coats={"white": 1.5, "brown": 1.2, "black": 0.7, "cream": 0.6},
        marks={"patches": 3, "plain": 0.7},
        ears=("side",), tail="tuft", horns=True, collar=0.3,
        body=(0.50, 0.27), legs=(0.36, 0.08), neck=(0.16, 0.26), head=0.23, snout=(0.66, 0.72),
    ),
    "sheep": Species(
        ("sheep", "lamb"), coats={"white": 2, "cream": 1.4, "grey": 0.8, "black": 0.5, "brown": 0.5},
        marks={"plain": 1},
        ears=("side",), tail="none", woolly=True, collar=0.3,
        body=(0.42, 0.30), legs=(0.32, 0.06), neck=(0.12, 0.22), head=0.21, snout=(0.5, 0.62),
    ),
    "bear": Species(
        ("bear",), coats={"brown": 1.6, "black": 1, "white": 1, "dark": 0.9},
        marks={"plain": 1.5, "belly": 0.8},
        ears=("round",), tail="none", collar=0.2,
        body=(0.48, 0.33), legs=(0.28, 0.13), neck=(0.14, 0.26), head=0.27, snout=(0.48, 0.5),
    ),
    "pig": Species(
        ("pig", "piglet"), coats={"pink": 2.5, "grey": 0.6, "cream": 0.5, "brown": 0.4},
        marks={"plain": 1.6, "spots": 1},
        ears=("floppy", "pointed"), tail="curl", collar=0.2,
        body=(0.46, 0.29), legs=(0.24, 0.08), neck=(0.16, 0.16), head=0.26, snout=(0.42, 0.5),
    ),
    "fox": Species(
        ("fox",), coats={"orange": 3, "red": 0.5, "white": 0.4, "grey": 0.4},
        marks={"belly": 2, "socks": 1.2},
        ears=("pointed",), tail="bushy",
        body=(0.40, 0.17), legs=(0.32, 0.055), neck=(0.16, 0.30), head=0.23, snout=(0.72, 0.36),
    ),
    "lion": Species(
        ("lion",), coats={"golden": 2.5, "cream": 0.7, "orange": 0.6},
        marks={"plain": 1, "belly": 0.6},
        ears=("round",), tail="tuft", mane="round",
        body=(0.46, 0.23), legs=(0.36, 0.085), neck=(0.12, 0.30), head=0.25, snout=(0.42, 0.5),
    ),
    "tiger": Species(
        ("tiger",), coats={"orange": 3, "white": 0.8},
        marks={"stripes": 1},
        ears=("round",), tail="thin",
        body=(0.47, 0.22), legs=(0.34, 0.085), neck=(0.14, 0.30), head=0.26, snout=(0.38, 0.5),
    ),
    "zebra": Species(
        ("zebra",), coats={"white": 1},
        marks={"stripes": 1},
        ears=("pointed",), tail="tuft", mane="hair",
        body=(0.42, 0.22), legs=(0.48, 0.06), neck=(0.24, 0.46), head=0.19, snout=(1.0, 0.6),
    ),
    "elephant": Species(
        ("elephant",), coats={"grey": 2.5, "blue": 0.3, "pink": 0.3, "brown": 0.4},
        marks={"plain": 1},
        ears=("big",), tail="tuft", trunk=True, collar=0.35,
        body=(0.46, 0.36), legs=(0.34, 0.13), neck=(0.12, 0.22), head=0.29, snout=(0.0, 0.0),
    ),
    "mouse": Species(
        ("mouse",), coats={"grey": 1.6, "white": 1, "brown": 1},
        marks={"plain": 1.4, "belly": 0.8},
        ears=("big",), tail="thin", collar=0.2,
        body=(0.38, 0.25), legs=(0.16, 0.05), neck=(0.16, 0.20), head=0.27, snout=(0.62, 0.4),
    ),
    "giraffe": Species(
        ("giraffe",), coats={"yellow": 1, "cream": 0.7, "golden": 0.8},
        marks={"patches": 1},
        ears=("side",), tail="tuft", mane="hair", horns=True,
        body=(0.32, 0.18), legs=(0.48, 0.055), neck=(0.26, 0.72), head=0.16, snout=(0.85, 0.58),
    ),
    "panda": Species(
        ("panda",), coats={"white": 1},
        marks={"panda": 1},
        ears=("round",), tail="puff",
        body=(0.44, 0.33), legs=(0.28, 0.12), neck=(0.12, 0.28), head=0.29, snout=(0.34, 0.42),
    ),
}  # fmt: skip
