"""What every thing is painted with: three colours and a pattern of its own, and the colours of materials."""

from __future__ import annotations

from dataclasses import dataclass

from magref.synthetic.easel import Easel, Texture
from magref.synthetic.palette import Colour
from magref.synthetic.traits import Flags, Floats, Traits
from magref.synthetic.views import View

DARK: Colour = (0.12, 0.12, 0.13)
WOOD: Colour = (0.55, 0.36, 0.2)
GLASS: Colour = (0.72, 0.87, 0.95)
GOLD: Colour = (0.95, 0.78, 0.25)
LEAF: Colour = (0.25, 0.58, 0.25)
SHINE: Colour = (1, 1, 1)


@dataclass(frozen=True)
class Paints:
    """B rows of traits and views, and an easel that paints those rows which are of one kind.

    `first`, `second` and `third` (B, 3) are a thing's colours, and `texture` its pattern of the second one.
    """

    easel: Easel
    traits: Traits
    view: View
    first: Floats
    second: Floats
    third: Floats
    texture: Texture

    @property
    def plain(self) -> Flags:
        """(B,) which have no pattern."""
        return self.texture.pattern == "plain"
