"""People: faces, hair, clothes and accessories from the identity's number; limbs, head and light from the view.

- `looks`: the lasting features of each person, and the words for them
- `stance`: where the parts of a body are in a view
- `bodies`: the whole, part by part; legs and arms
- `clothes`, `faces`, `hair`, `headwear`: how these are painted
"""

from magref.synthetic.people.bodies import draw_people
from magref.synthetic.people.looks import PEOPLE, describe_person

__all__ = ["PEOPLE", "describe_person", "draw_people"]
