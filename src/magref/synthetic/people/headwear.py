"""What is worn on the head: hats, bows, headbands and glasses."""

from __future__ import annotations

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Easel, Texture
from magref.synthetic.people.looks import Looks
from magref.synthetic.shapes import Head, bow, box, ellipse, ring, star, trapezoid, triangle
from magref.synthetic.traits import Traits
from magref.synthetic.views import View

_FRAMES = np.array(
    [(0.08, 0.08, 0.09), (0.45, 0.25, 0.12), (0.75, 0.12, 0.15), (0.82, 0.68, 0.25), (0.15, 0.25, 0.6)], np.float32
)
_GOLD = (0.97, 0.79, 0.22)


def draw_glasses(easel: Easel, traits: Traits, look: Looks, head: Head) -> None:
    """Round, square or dark ones, for those of B people who wear them."""
    r, rx = head.r, head.rx
    frame = _FRAMES[traits.integer("frame", len(_FRAMES))]
    round_, square, dark = (look.glasses == name for name in ("round", "square", "sunglasses"))
    for side in (-1, 1):
        x, y = head.at(side * look.eye_gap, look.eye_height + 0.02)
        easel.paint(ring(x, y, r * 0.29, r * 0.3, 0.016), frame, where=round_, rim=0, depth=0)
        easel.paint(box(x, y, r * 0.33, r * 0.27, head.lean, 0.03), frame, where=square | dark, rim=0, depth=0)
        lens = box(x, y, r * 0.26, r * 0.2, head.lean, 0.02)
        easel.paint(lens, (0.82, 0.92, 0.97), where=square, rim=0, depth=0, opacity=0.55)
        easel.paint(box(x, y, r * 0.3, r * 0.24, head.lean, 0.03), (0.06, 0.06, 0.08), where=dark, rim=0, depth=0.4)
        easel.paint(ellipse(x, y, r * 0.13, r * 0.17), (0.1, 0.08, 0.08), where=square, rim=0, depth=0)
    bridge = bow(*head.at(0, look.eye_height), rx * 0.16, -0.02, 0.016, head.lean)
    easel.paint(bridge, frame, where=look.glasses != "none", rim=0, depth=0)


def draw_hat(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    """A hat, a bow or a headband, for those of B people who wear one."""
    at, r, rx, lean, colour = head.at, head.r, head.rx, head.lean, look.hat_colour
    cap, beanie, top, sun, crown, party, bow_, band = (
        look.hat == name for name in ("cap", "beanie", "top hat", "sun hat", "crown", "party hat", "bow", "headband")
    )
    other = palette.shade(traits, "band", palette.TABLE[palette.other(traits, "band", look.hat_name)])
    upper = box(*at(0, -1.36, 0.4), rx * 1.6, r * 1.0, lean, 0.02)

    easel.paint(ellipse(*at(0, -0.3, 0.05), rx * 1.14, r * 0.86, lean), colour, where=cap | beanie, within=upper)
    brim = np.where(view.turn >= 0, 1.0, -1.0)
    easel.paint(ellipse(*at(brim * 0.62, -0.44, 0.6), rx * 0.72, r * 0.13, lean), colour * 0.82, where=cap)
    easel.paint(ellipse(*at(0, -1.12, 0.05), r * 0.09, r * 0.07), colour * 0.8, where=cap, rim=0)
    easel.paint(box(*at(0, -0.47, 0.1), rx * 1.17, r * 0.17, lean, 0.05), other, where=beanie)
    pompom = ellipse(*at(0, -1.2, 0), r * 0.23, r * 0.21)
    easel.paint(pompom, other, where=beanie & traits.chance("pompom", 0.6))

    easel.paint(trapezoid(*at(0, -0.92, 0.1), rx * 0.86, rx * 0.78, r * 0.5, lean, 0.02), colour, where=top)
    easel.paint(box(*at(0, -0.62, 0.1), rx * 0.8, r * 0.1, lean, 0.01), other, where=top, rim=0)
    easel.paint(ellipse(*at(0, -0.5, 0.15), rx * 1.35, r * 0.14, lean), colour, where=top)

    easel.paint(ellipse(*at(0, -0.62, 0.1), rx * 0.92, r * 0.6, lean), colour, where=sun, within=upper)
    easel.paint(box(*at(0, -0.56, 0.1), rx * 0.9, r * 0.09, lean, 0.02), other, where=sun, rim=0)
    easel.paint(ellipse(*at(0, -0.44, 0.1), rx * 1.72, r * 0.2, lean), colour, where=sun)

    easel.paint(trapezoid(*at(0, -0.78, 0.1), rx * 0.82, rx * 0.72, r * 0.2, lean, 0.01), _GOLD, where=crown)
    for u in (-0.56, 0.0, 0.56):
        easel.paint(triangle(*at(u, -0.88, 0.1), rx * 0.25, r * 0.38, lean), _GOLD, where=crown, rim=0.1)
        easel.paint(ellipse(*at(u, -0.78, 0.1), r * 0.07, r * 0.07), colour, where=crown, rim=0)

    cone = triangle(*at(0.1, -0.72, 0.1), rx * 0.5, r * 0.82, lean + 0.1)
    easel.paint(cone, colour, where=party, texture=Texture.of("diagonal", other, 0.14))
    easel.paint(star(*at(0.2, -1.5, 0.1), r * 0.2, 0.45), _GOLD, where=party, rim=0)

    for side in (-1, 1):
        x, y = at(0.45 + side * 0.26, -0.86, 0.3)
        easel.paint(triangle(x + side * 0.03, y, r * 0.22, r * 0.34, lean - side * 1.57), colour, where=bow_)
    easel.paint(ellipse(*at(0.45, -0.86, 0.3), r * 0.11, r * 0.11), colour * 0.8, where=bow_, rim=0)

    easel.paint(bow(*at(0, -0.5, 0.4), rx * 1.03, -r * 0.28, r * 0.09, lean), colour, where=band, rim=0.15)
