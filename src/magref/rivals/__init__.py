"""The published rivals' own inference, as re-implementations: their checkpoints, their preprocessing, their guidance.

Written from their public code and run on small random files of their layout; not compared with numbers that their own
code computes. The rivals' mechanisms over this package's backbone are another thing: `magref.mechanisms`.
"""

from magref.rivals.phantom import PhantomPipeline
from magref.rivals.skyreels_a2 import SkyReelsA2Pipeline

__all__ = ["PhantomPipeline", "SkyReelsA2Pipeline"]
