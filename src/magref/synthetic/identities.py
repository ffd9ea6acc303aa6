"""Identities: a number stands for one person, animal or thing, with all that lasts of it and the words for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from magref.references import Role
from magref.synthetic import animals, creatures, people, things
from magref.synthetic.easel import Easel, straight
from magref.synthetic.traits import Choices, Traits
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


_FLYING = {"bird", "parrot", "butterfly", "owl"}
_GAITS: dict[str, Gait] = {
    **dict.fromkeys(_FLYING, "flies"), **dict.fromkeys(("fish", "shark", "whale"), "swims"), "snake": "crawls",
    "turtle": "crawls", "duck": "walks", **dict.fromkeys(("car", "bus", "train"), "drives"), "boat": "sails",
    **dict.fromkeys(("balloon", "kite", "umbrella", "star"), "floats"), "rocket": "flies", "ball": "rolls",
    "apple": "rolls",
    "robot": "walks", "teddy": "walks", **dict.fromkeys(("penguin", "chicken"), "walks"),
}  # fmt: skip


def _table() -> dict[str, Kind]:
    kinds: list[Kind] = []
    families: tuple[tuple[Family, Sequence[str], float, Gait], ...] = (
        ("person", people.PEOPLE, 40, "walks"),
        ("animal", animals.QUADRUPEDS, 24, "walks"),
        ("creature", creatures.CREATURES, 12, "walks"),
        ("thing", things.NAMES, 24, "stands"),
    )
    for family, names, share, gait in families:
        for number, name in enumerate(names):
            kinds.append(Kind(name, family, number, share / len(names), _GAITS.get(name, gait)))
    return {kind.name: kind for kind in kinds}


KINDS = _table()
_LIST = tuple(KINDS.values())
_WEIGHTS = tuple(kind.weight for kind in _LIST)


def kind_of(identity: int) -> Kind:
    """What an identity is."""
    return Choices(identity, "identity").of("kind", _LIST, _WEIGHTS)


@lru_cache(maxsize=8192)
def describe(identity: int) -> Description:
    """The words for an identity."""
    kind = kind_of(identity)
    traits = Traits([identity], kind.family)
    if kind.family == "person":
        return people.describe(traits, kind.number)
    if kind.family == "animal":
        return animals.describe(traits, kind.number)
    return (creatures if kind.family == "creature" else things).describe(traits, kind.number)


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
    numbers, families = np.asarray(identities, dtype=np.int64), np.array([kind.family for kind in kinds])
    for family, module in (("person", people), ("animal", animals), ("creature", creatures), ("thing", things)):
        members = np.flatnonzero(families == family)
        # Pictures of one kind are painted together: their parts lie alike, which keeps each window small.
        members = members[np.argsort([kinds[m].number for m in members], kind="stable")]
        for start in range(0, len(members), _CHUNK):
            rows = members[start : start + _CHUNK]
            easel = Easel(view[rows], size_px, device)
            module.draw(easel, Traits(numbers[rows], family), np.array([kinds[r].number for r in rows]), view[rows])
            result[torch.from_numpy(rows).to(device)] = easel.finish()
    return result if premultiplied else straight(result)
