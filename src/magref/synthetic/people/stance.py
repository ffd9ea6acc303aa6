"""Where the parts of a body are in a view: the head's frame, the shoulders, the hips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magref.synthetic.people.looks import Looks
from magref.synthetic.shapes import Head
from magref.synthetic.traits import Floats
from magref.synthetic.views import View


@dataclass(frozen=True)
class Stance:
    """Of B people, (B,) in units: half widths and heights of shoulders and hips, and how far a body turns its front.

    `front` is where the middle of the chest is seen, to the right of the body's own.
    """

    head: Head
    shoulders: Floats
    hips: Floats
    shoulder_y: Floats
    hip_y: Floats
    front: Floats


def stance(look: Looks, view: View) -> Stance:
    """How B people stand; the whole body is within [-1, 1], the feet at 0.9."""
    bob = np.abs(np.sin(2 * np.pi * view.phase)) * view.stride * 0.03
    head_y = -0.80 + look.head_r - bob
    head = Head(view.lean * 0.5, head_y, look.head_r, look.head_rx, view.lean, view.turn * 0.3)
    narrow = 1 - 0.14 * np.abs(view.turn)
    shoulders = look.shoulders * narrow
    return Stance(
        head=head,
        shoulders=shoulders,
        hips=look.hips * narrow,
        shoulder_y=head_y + look.head_r * 0.98 + 0.03,
        hip_y=np.where(look.child, 0.44, 0.34) - bob,
        front=view.turn * shoulders * 0.35,
    )
