"""Animals: those on four legs share one body plan; birds, fish and others have their own.

- `species`: what makes a dog a dog and a horse a horse
- `quadrupeds`: the lasting features of each animal on four legs, and the words for it
- `bodies`, `heads`: how they are painted
- `creatures`: what flies, swims and crawls
"""

from magref.synthetic.animals.bodies import draw_quadrupeds
from magref.synthetic.animals.creatures import CREATURES, describe_creature, draw_creatures
from magref.synthetic.animals.quadrupeds import describe_quadruped
from magref.synthetic.animals.species import SPECIES

__all__ = ["CREATURES", "SPECIES", "describe_creature", "describe_quadruped", "draw_creatures", "draw_quadrupeds"]
