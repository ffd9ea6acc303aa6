"""Things: toys, vehicles, what stands about a home, plants, food; each with its own shape, colours and pattern.

- `catalogue`: which things there are, their colours, the words for them, and their pictures
- `paints`: what every thing is painted with
- `vehicles`, `toys`, `household`, `plants`: how each is painted
"""

from magref.synthetic.things.catalogue import THINGS, describe_thing, draw_things

__all__ = ["THINGS", "describe_thing", "draw_things"]
