"""Identities: a number stands for one person, animal or thing, with all that lasts of it and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from magref.references import Role
from magref.synthetic.animals import (
    CREATURES,
    SPECIES,
    describe_creature,
    describe_quadruped,
    draw_creatures,
    draw_quadrupeds,
)
from magref.synthetic.easel import Easel, straight
from magref.synthetic.people import PEOPLE, describe_person, draw_people
from magref.synthetic.things import THINGS, describe_thing, draw_things
from magref.synthetic.traits import Choices, Strings, Traits
from magref.synthetic.views import View
from magref.synthetic.words import Description

Family = Literal["person", "animal", "creature", "thing"]
Gait = Literal["walks", "flies", "swims", "crawls", "drives", "sails", "floats", "rolls", "stands"]
"""How a kind gets from place to place, which decides the verbs and whether it stands on the ground."""

_CHUNK = 48
"""Pictures painted at once: enough to hide the cost of each call, few enough to stay in a CPU's cache."""


@dataclass(frozen=True)
class Kind:
    """A sort of subject. `number` counts within its family; `weight` is how often it occurs."""

    name: str
    family: Family
    number: int
    weight: float
    gait: Gait

    @property
    def role(self) -> Role:
        """As which sort of reference it is given."""
        return "person" if self.family == "person" else "object"

    @property
    def grounded(self) -> bool:
        """Whether it stands on the ground."""
        return self.gait in ("walks", "crawls", "drives", "rolls", "stands")


@dataclass(frozen=True)
class _Members:
    """A family: its kinds, how often they occur together and how most of them go; who describes and draws them."""

    names: tuple[str, ...]
    share: float
    gait: Gait
    describe: Callable[[Traits, str], Description]
    draw: Callable[[Easel, Traits, Strings, View], None]


_FAMILIES: dict[Family, _Members] = {
    "person": _Members(PEOPLE, 40, "walks", describe_person, draw_people),
    "animal": _Members(tuple(SPECIES), 24, "walks", describe_quadruped, draw_quadrupeds),
    "creature": _Members(CREATURES, 12, "walks", describe_creature, draw_creatures),
    "thing": _Members(tuple(THINGS), 24, "stands", describe_thing, draw_things),
}
_GAITS: dict[str, Gait] = {
    **dict.fromkeys(("bird", "parrot", "butterfly", "owl", "rocket"), "flies"),
    **dict.fromkeys(("fish", "shark", "whale"), "swims"),
    **dict.fromkeys(("snake", "turtle"), "crawls"),
    **dict.fromkeys(("robot", "teddy"), "walks"),
    **dict.fromkeys(("car", "bus", "train"), "drives"),
    **dict.fromkeys(("ball", "apple"), "rolls"),
    **dict.fromkeys(("balloon", "kite", "umbrella", "star"), "floats"),
    "boat": "sails",
}

KINDS = {
    name: Kind(name, family, number, members.share / len(members.names), _GAITS.get(name, members.gait))
    for family, members in _FAMILIES.items()
    for number, name in enumerate(members.names)
}
_LIST = tuple(KINDS.values())
_WEIGHTS = tuple(kind.weight for kind in _LIST)


def kind_of(identity: int) -> Kind:
    """What an identity is."""
    return Choices(identity, "identity").of("kind", _LIST, _WEIGHTS)


@lru_cache(maxsize=8192)
def describe(identity: int) -> Description:
    """The words for an identity."""
    kind = kind_of(identity)
    return _FAMILIES[kind.family].describe(Traits([identity], kind.family), kind.name)


def draw_subjects(
    identities: Sequence[int],
    view: View,
    size_px: int,
    *,
    device: torch.device | str = "cpu",
    premultiplied: bool = False,
) -> torch.Tensor:
    """Paint each identity as its row of the view has it.

    Returns:
        (B, 4, S, S) float32 in [0, 1] on the device: RGB and alpha; straight, or multiplied by alpha.
    """
    kinds = [kind_of(identity) for identity in identities]
    result = torch.empty(len(kinds), 4, size_px, size_px, device=device)
    numbers, names = np.asarray(identities, dtype=np.int64), np.array([kind.name for kind in kinds])
    families = np.array([kind.family for kind in kinds])
    for family, members in _FAMILIES.items():
        found = np.flatnonzero(families == family)
        # Pictures of one kind are painted together: their parts lie alike, which keeps each window small.
        found = found[np.argsort([kinds[n].number for n in found], kind="stable")]
        for start in range(0, len(found), _CHUNK):
            rows = found[start : start + _CHUNK]
            easel = Easel(view[rows], size_px, device)
            members.draw(easel, Traits(numbers[rows], family), names[rows], view[rows])
            result[torch.from_numpy(rows).to(device)] = easel.finish()
    return result if premultiplied else straight(result)
