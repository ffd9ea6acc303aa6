"""Hair: what hangs behind head and shoulders, and what lies over the face."""

from __future__ import annotations

import numpy as np

from magref.synthetic.easel import Easel
from magref.synthetic.people.looks import Looks
from magref.synthetic.people.stance import Stance
from magref.synthetic.shapes import Head, box, capsule, ellipse, petals, trapezoid, triangle
from magref.synthetic.traits import Floats, Traits
from magref.synthetic.views import View


def draw_back_hair(easel: Easel, look: Looks, body: Stance, view: View) -> None:
    """What lies behind the head and the shoulders of B people; it sways with the walk."""
    head, colour = body.head, look.hair * 0.88
    r, rx = head.r, head.rx
    sway = 0.12 * view.stride * np.sin(2 * np.pi * view.phase) - view.turn * 0.1
    bob, long, ponytail, pigtails, curly = (
        look.hair_style == name for name in ("bob", "long", "ponytail", "pigtails", "curly")
    )
    x, y = head.at(0, 0.18, -0.3)
    easel.paint(ellipse(x, y, rx * 1.3, r * 1.12), colour, where=bob)
    easel.paint(box(x, y + 0.1, rx * 1.28, r * 0.85, r=0.12), colour, where=bob)
    fall = trapezoid(x + sway * 0.3, body.shoulder_y - 0.02, rx * 1.15, rx * 1.35, r * 1.25, r=0.12)
    easel.paint(fall, colour, where=long)
    easel.paint(petals(*head.at(0, -0.12, -0.2), r * 1.5, 0.16, 11.0), colour, where=curly)
    back = np.where(np.abs(view.turn) > 0.15, -np.sign(view.turn), -1)
    x, y = head.at(back * 0.75, -0.5, -0.4)
    easel.paint(capsule(x, y, x + back * 0.2 + sway, y + r * 1.9, r * 0.3, r * 0.16), colour, where=ponytail)
    for side in (-1, 1):
        x, y = head.at(side * 1.12, -0.1, -0.4)
        easel.paint(capsule(x, y, x + side * 0.12 + sway, y + r * 1.25, r * 0.3, r * 0.16), colour, where=pigtails)


def draw_front_hair(easel: Easel, traits: Traits, look: Looks, head: Head) -> None:
    """What lies over the heads of B people."""
    style = look.hair_style
    low, part = traits.uniform("hairline", -0.46, -0.3), traits.uniform("parting", -0.55, 0.55)
    hairy, cropped = style != "bald", style == "cropped"
    r, rx, colour = head.r, head.rx, look.hair
    # The cap: what of the skull lies above the hairline, which is an arc or a parting.
    above = box(*head.at(0, low - 1.0, 0.6), rx * 1.6, r * 1.0, head.lean + part * 0.45, 0.02)
    grown = np.where(cropped, 1.02, 1.09)
    cap = ellipse(*head.at(0, -0.03, 0), rx * grown, r * grown, head.lean)
    easel.paint(cap, colour, where=hairy, within=above, depth=0.25)
    down = np.where(np.isin(style, ("bob", "long", "braids")), 0.55, np.where(look.female, 0.2, 0.02))
    for side in (-1, 1):
        strand = capsule(*head.at(side * 0.93, -0.5, -0.1), *head.at(side * 1.0, down, -0.25), r * 0.17, r * 0.13)
        easel.paint(strand, colour, where=hairy & ~cropped)
    _fringe(easel, traits, look, head, low, part)
    _standing(easel, traits, look, head, low)
    _braids(easel, look, head)


def _fringe(easel: Easel, traits: Traits, look: Looks, head: Head, low: Floats, part: Floats) -> None:
    """Over the forehead, even or swept to a side; `low` (B,) is the hairline in radii, `part` (B,) the parting."""
    r, rx, style = head.r, head.rx, look.hair_style
    fringe, able = traits.integer("fringe", 3), ~np.isin(style, ("bald", "cropped", "spiky", "mohawk"))
    for u in (-0.55, 0.0, 0.55):
        lock = ellipse(*head.at(u, low + 0.02, 0.8), rx * 0.36, r * 0.26)
        easel.paint(lock, look.hair, where=able & (fringe == 1), rim=0.12)
    side = np.sign(part)
    swept = ellipse(*head.at(0.3 * side, low - 0.04, 0.8), rx * 0.75, r * 0.24, head.lean + 0.35 * side)
    easel.paint(swept, look.hair, where=able & (fringe == 2), rim=0.12)


def _standing(easel: Easel, traits: Traits, look: Looks, head: Head, low: Floats) -> None:
    """Curls and spikes along the hairline (B,), a mohawk, a bun."""
    r, colour = head.r, look.hair
    curly, spiky, mohawk, bun = (look.hair_style == name for name in ("curly", "spiky", "mohawk", "bun"))
    for u in (-0.75, -0.4, 0.0, 0.4, 0.75):
        curl = ellipse(*head.at(u, low - 0.42 + 0.3 * abs(u), 0.4), r * 0.34, r * 0.32)
        easel.paint(curl, colour, where=curly, rim=0.2)
        high = r * traits.uniform("spikes", 0.55, 0.8)
        spike = triangle(*head.at(u, -0.62 + 0.35 * abs(u), 0.3), r * 0.26, high, head.lean + u * 0.6)
        easel.paint(spike, colour, where=spiky, rim=0.1)
    for u in (-0.16, 0.0, 0.16):
        crest = triangle(*head.at(u, -0.75, 0.3), r * 0.2, r * 0.72, head.lean + u)
        easel.paint(crest, colour, where=mohawk, rim=0.1)
    easel.paint(ellipse(*head.at(0, -1.12, -0.3), r * 0.42, r * 0.36), colour, where=bun)


def _braids(easel: Easel, look: Looks, head: Head) -> None:
    r, braided = head.r, look.hair_style == "braids"
    for side in (-1, 1):
        x, y = head.at(side * 1.02, 0.35, -0.2)
        for step in range(4):
            knot = ellipse(x + side * 0.01 * step, y + step * r * 0.3, r * 0.19, r * 0.2)
            easel.paint(knot, look.hair, where=braided)
        easel.paint(ellipse(x + side * 0.04, y + 3.7 * r * 0.3, r * 0.12, r * 0.1), look.top_colour, where=braided)
