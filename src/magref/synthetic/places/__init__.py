"""Places: backgrounds as pictures, each from its number.

- `catalogue`: which sorts of place there are, the words for them, and their pictures
- `site`: what they share: a sky, clouds, hills, trees, the ground
- `landscapes`, `towns`, `rooms`: how each is painted
"""

from magref.synthetic.places.catalogue import NAMES, PLACES, draw_places, place_of

__all__ = ["NAMES", "PLACES", "draw_places", "place_of"]
