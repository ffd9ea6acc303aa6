"""Which places there are: backgrounds as pictures, each from its number, with the words for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from magref.synthetic.easel import Easel
from magref.synthetic.places import landscapes, rooms, towns
from magref.synthetic.places.site import Site
from magref.synthetic.traits import Choices, Traits
from magref.synthetic.views import View


@dataclass(frozen=True)
class Place:
    """A sort of background: words for it after their preposition, how it is painted, whether one can stand on it."""

    words: tuple[str, ...]
    preposition: str
    paint: Callable[[Site], None]
    ground: bool = True


PLACES: dict[str, Place] = {
    "park": Place(("a park", "a green park", "the park"), "in", landscapes.park),
    "meadow": Place(("a meadow", "a field of flowers", "a flowering field"), "in", landscapes.meadow),
    "beach": Place(("a beach", "a sandy beach", "the beach"), "on", landscapes.beach),
    "sea": Place(("the sea", "the open sea", "a wide sea"), "on", landscapes.sea, ground=False),
    "street": Place(("a street", "a street with houses", "the street"), "in", towns.street),
    "city": Place(("a city at night", "a dark city", "the city at night"), "in", towns.city),
    "room": Place(("a room", "a living room", "the living room"), "in", rooms.room),
    "kitchen": Place(("a kitchen", "the kitchen", "a tidy kitchen"), "in", rooms.kitchen),
    "library": Place(("a library", "the library", "a room full of books"), "in", rooms.library),
    "mountains": Place(("the mountains", "a mountain valley", "high mountains"), "in", landscapes.mountains),
    "snow": Place(("the snow", "a snowy landscape", "a winter landscape"), "in", landscapes.snow),
    "desert": Place(("a desert", "the desert", "a hot desert"), "in", landscapes.desert),
    "forest": Place(("a forest", "the forest", "a wood"), "in", landscapes.forest),
    "underwater": Place(("deep water", "the deep sea", "a coral reef"), "in", landscapes.underwater, ground=False),
    "sky": Place(("the sky", "a cloudy sky", "the open sky"), "in", landscapes.sky, ground=False),
    "farm": Place(("a farm", "the farm", "a farmyard"), "on", towns.farm),
    "stage": Place(("a stage", "the stage", "a theatre stage"), "on", rooms.stage),
    "space": Place(("a strange planet", "a far planet", "the moon"), "on", landscapes.space),
    "playground": Place(("a playground", "the playground"), "on", towns.playground),
}  # fmt: skip
NAMES = tuple(PLACES)


def place_of(number: int) -> str:
    """Which sort of place a number is."""
    return Choices(number, "place").of("sort", NAMES)


def draw_places(
    numbers: Sequence[int], view: View, height: int, width: int, *, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """(B, 3, H, W) float32 in [0, 1]: the places with these numbers, in the view's light."""
    easel = Easel(view, (height, width), device)
    traits = Traits(numbers, "place")
    sorts = np.array([place_of(number) for number in numbers])
    for name in NAMES:
        if (sorts == name).any():
            PLACES[name].paint(Site(easel.only(sorts == name), traits, width / height))
    return easel.finish()[:, :3]
