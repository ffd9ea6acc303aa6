"""Clothes: tops, skirts and dresses, and what is worn over them: bags, scarves, ties, necklaces, aprons."""

from __future__ import annotations

from magref.synthetic.easel import Easel
from magref.synthetic.people.looks import Looks
from magref.synthetic.people.stance import Stance
from magref.synthetic.shapes import bow, box, capsule, ellipse, trapezoid, triangle
from magref.synthetic.traits import Traits
from magref.synthetic.views import View


def draw_clothes(easel: Easel, traits: Traits, look: Looks, body: Stance) -> None:
    """The neck, and what is worn from there to the hips and below; trousers are painted with the legs."""
    shoulders, hips, shoulder_y, hip_y, front = body.shoulders, body.hips, body.shoulder_y, body.hip_y, body.front
    dress, coat, jacket, shirt = (look.top == name for name in ("dress", "coat", "jacket", "shirt"))
    colour, other, texture = look.top_colour, look.top_other, look.top_texture
    middle, half = (shoulder_y + hip_y) / 2, (hip_y - shoulder_y) / 2 + 0.04
    easel.paint(capsule(0, shoulder_y - 0.1, 0, shoulder_y + 0.04, 0.07), look.skin * 0.92)
    easel.paint(box(0, hip_y - 0.01, hips * 1.02, 0.09, r=0.06), look.bottom_colour, where=~dress)
    flare, length = hips * traits.uniform("flare", 1.5, 2.1), traits.uniform("skirt", 0.14, 0.24)
    skirt = trapezoid(0, hip_y + length * 0.8, hips * 0.9, flare, length)
    easel.paint(skirt, look.bottom_colour, where=(look.bottom == "skirt") & ~dress)
    easel.paint(trapezoid(0, middle, shoulders, hips * 0.96, half, r=0.09), colour, texture=texture)
    skirt = trapezoid(0, hip_y + length * 0.7, hips * 0.72, flare, length * 1.15)
    easel.paint(skirt, colour, texture=texture, where=dress)
    easel.paint(trapezoid(0, hip_y + 0.12, hips * 1.0, hips * 1.25, 0.24), colour, texture=texture, where=coat)
    # A jacket is open over what is under it; coats and shirts have a row of buttons.
    opening = trapezoid(front, middle, shoulders * 0.34, shoulders * 0.22, half, r=0.02)
    easel.paint(opening, other, where=jacket, rim=0.15)
    for row in (0.25, 0.55, 0.85):
        button = ellipse(front, shoulder_y + row * (hip_y - shoulder_y), 0.02, 0.02)
        easel.paint(button, other, where=shirt | coat, rim=0)
    for side in (-1, 1):
        collar = triangle(front + side * 0.06, shoulder_y + 0.09, 0.06, 0.1, angle=side * 0.5)
        easel.paint(collar, other, where=shirt, rim=0.2)


def draw_backpack(easel: Easel, look: Looks, body: Stance, view: View) -> None:
    """What of a backpack is seen behind the shoulders; `draw_extras` has its straps."""
    pack = box(-view.turn * 0.1, body.shoulder_y + 0.22, body.shoulders + 0.07, 0.2, r=0.1)
    easel.paint(pack, look.extra_colour, where=look.extra == "backpack")


def draw_extras(easel: Easel, look: Looks, body: Stance) -> None:
    """What is worn over the clothes."""
    x, y, hip_y, front, colour = body.shoulders, body.shoulder_y, body.hip_y, body.front, look.extra_colour
    scarf, bag, tie, chain, apron, backpack = (
        look.extra == name for name in ("scarf", "shoulder bag", "tie", "necklace", "apron", "backpack")
    )
    easel.paint(trapezoid(0, hip_y - 0.02, x * 0.6, x * 0.85, 0.28), colour, where=apron)
    easel.paint(capsule(front, y + 0.07, front, y + 0.3, 0.03, 0.055), colour, where=tie)
    easel.paint(ellipse(front, y + 0.06, 0.04, 0.035), colour * 0.85, where=tie)
    easel.paint(bow(front, y + 0.02, x * 0.55, 0.1, 0.014), (0.95, 0.8, 0.3), where=chain, rim=0)
    easel.paint(ellipse(front, y + 0.13, 0.03, 0.03), colour, where=chain, rim=0.1)
    easel.paint(capsule(-x * 0.8, y + 0.04, x * 0.9, hip_y - 0.02, 0.022), colour * 0.7, where=bag)
    easel.paint(box(x * 1.02, hip_y + 0.06, 0.13, 0.1, r=0.04), colour, where=bag)
    easel.paint(box(x * 1.02, hip_y + 0.02, 0.12, 0.03, r=0.02), colour * 0.75, where=bag, rim=0)
    easel.paint(capsule(-x * 0.3, y + 0.04, -x * 0.4, y + 0.32, 0.06), colour * 0.85, where=scarf)
    easel.paint(ellipse(0, y + 0.02, x * 0.75, 0.085), colour, where=scarf)
    for side in (-1, 1):
        strap = capsule(side * x * 0.6, y + 0.02, side * x * 0.62, y + 0.3, 0.03)
        easel.paint(strap, colour * 0.8, where=backpack)
