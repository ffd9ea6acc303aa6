"""A person part by part, from the back to the front, and the limbs, which swing with the walk."""

from __future__ import annotations

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Easel
from magref.synthetic.people.clothes import draw_backpack, draw_clothes, draw_extras
from magref.synthetic.people.faces import draw_face
from magref.synthetic.people.hair import draw_back_hair, draw_front_hair
from magref.synthetic.people.headwear import draw_glasses, draw_hat
from magref.synthetic.people.looks import Looks, looks
from magref.synthetic.people.stance import Stance, stance
from magref.synthetic.shapes import capsule, ellipse
from magref.synthetic.traits import Strings, Traits
from magref.synthetic.views import View


def draw_people(easel: Easel, traits: Traits, kinds: Strings, view: View) -> None:
    """Paint B people, the whole body within [-1, 1]; `kinds` (B,) of `PEOPLE`."""
    look = looks(traits, kinds)
    body = stance(look, view)
    draw_back_hair(easel, look, body, view)
    draw_backpack(easel, look, body, view)
    _arm(easel, look, body, view, -1)
    _legs(easel, look, body, view)
    draw_clothes(easel, traits, look, body)
    draw_extras(easel, look, body)
    _arm(easel, look, body, view, 1)
    draw_face(easel, traits, look, body.head, view)
    draw_front_hair(easel, traits, look, body.head)
    draw_glasses(easel, traits, look, body.head)
    draw_hat(easel, traits, look, body.head, view)


def _legs(easel: Easel, look: Looks, body: Stance, view: View) -> None:
    """In trousers, or bare; the far one darker."""
    dress = look.top == "dress"
    colour = palette.either(dress | (look.bottom != "trousers"), look.skin, look.bottom_colour)
    shorts = (look.bottom == "shorts") & ~dress
    hip_y, thick = body.hip_y, body.hips * 0.40
    length = (0.90 - hip_y) / 2
    for side, dim in ((-1, 0.86), (1, 1.0)):
        angle = side * view.stride * 0.62 * np.sin(2 * np.pi * view.phase)
        bend = view.stride * 0.85 * np.clip(np.sin(2 * np.pi * view.phase + side * np.pi / 2 + np.pi / 2), 0, 1)
        hip_x = side * body.hips * 0.5
        knee_x, knee_y = hip_x + length * np.sin(angle), hip_y + length * np.cos(angle)
        foot_x, ankle_y = knee_x + length * np.sin(angle - bend), knee_y + length * np.cos(angle - bend)
        easel.paint(capsule(hip_x, hip_y, knee_x, knee_y, thick, thick * 0.85), colour * dim)
        easel.paint(capsule(knee_x, knee_y, foot_x, ankle_y, thick * 0.85, thick * 0.7), colour * dim)
        hem_x, hem_y = hip_x + length * 0.8 * np.sin(angle), hip_y + length * 0.8 * np.cos(angle)
        leg = capsule(hip_x, hip_y, hem_x, hem_y, thick * 1.15, thick * 1.2)
        easel.paint(leg, look.bottom_colour * dim, where=shorts)
        shoe = ellipse(foot_x + 0.04 + 0.02 * view.turn, ankle_y + 0.03, 0.105, 0.06, angle=-bend * 0.4)
        easel.paint(shoe, look.shoes * dim)


def _arm(easel: Easel, look: Looks, body: Stance, view: View, side: int) -> None:
    """One arm: it swings against its leg, or is raised to wave."""
    sleeve = palette.either(np.isin(look.top, ("T-shirt", "dress")), look.skin, look.top_colour)
    hang = 0.2 * side - side * view.stride * 0.6 * np.sin(2 * np.pi * view.phase)
    if side > 0:
        raised = 2.5 + 0.35 * np.sin(4 * np.pi * view.phase)
        hang = hang * (1 - view.wave) + raised * view.wave
    upper, lower = np.where(look.child, 0.17, 0.2), np.where(look.child, 0.16, 0.19)
    x, y = side * (body.shoulders * 0.92), body.shoulder_y + 0.07
    elbow_x, elbow_y = x + upper * np.sin(hang), y + upper * np.cos(hang)
    bent = hang + np.where(view.wave > 0.5, 0.5, 0.25 * view.stride)
    hand_x, hand_y = elbow_x + lower * np.sin(bent), elbow_y + lower * np.cos(bent)
    dim = 0.86 if side < 0 else 1.0
    thick = 0.055 + 0.1 * (body.shoulders - 0.17)
    easel.paint(ellipse(hand_x, hand_y, 0.058, 0.058), look.skin * dim)
    easel.paint(capsule(elbow_x, elbow_y, hand_x, hand_y, thick, thick * 0.85), sleeve * dim)
    easel.paint(capsule(x, y, elbow_x, elbow_y, thick * 1.25, thick * 1.1), look.top_colour * dim)
