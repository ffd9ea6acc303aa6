"""Bodies on four legs: tail, legs, trunk, neck and collar. Seen from the side, facing right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magref.synthetic import palette
from magref.synthetic.animals.heads import draw_head
from magref.synthetic.animals.quadrupeds import Looks, looks
from magref.synthetic.easel import Easel, Texture
from magref.synthetic.shapes import Head, box, capsule, ellipse, petals, ribbon
from magref.synthetic.traits import Floats, Strings, Traits
from magref.synthetic.views import View


@dataclass(frozen=True)
class _Stance:
    """Where the parts are in this view; (B,) in units. `step` is the phase of the walk in radians."""

    step: Floats
    bounce: Floats
    ground: Floats
    body_y: Floats
    middle: Floats
    chest_x: Floats
    rump_x: Floats
    head: Head


def draw_quadrupeds(easel: Easel, traits: Traits, kinds: Strings, view: View) -> None:
    """Paint B animals facing right, the whole within [-1, 1]; `kinds` (B,) of `SPECIES`."""
    look = looks(traits, kinds)
    stance = _stance(look, view)
    _tail(easel, look, view, stance)
    _legs(easel, look, view, stance, near=False)
    _trunk(easel, look, stance)
    _legs(easel, look, view, stance, near=True)
    _neck(easel, look, stance)
    draw_head(easel, traits, look, stance.head, view)


def _stance(look: Looks, view: View) -> _Stance:
    """All stands on the ground, and the middle of the whole is the middle of the picture."""
    step = 2 * np.pi * view.phase
    bounce = np.abs(np.sin(step)) * view.stride * 0.04
    tall = look.leg + 2 * look.thick * 0.7 + look.neck_y + look.head_r
    ground = np.minimum(tall / 2 + 0.02, 0.9)
    body_y = ground - look.leg - look.thick * 0.7 - bounce
    middle = -(look.neck_x + look.head_r * (0.4 + look.snout * 0.6)) * 0.45
    chest_x, rump_x = look.half * 0.62 + middle, -look.half * 0.62 + middle
    head_x, head_y = chest_x + look.neck_x + 0.02, body_y - look.neck_y + 0.02 * np.sin(step) * view.stride
    head = Head(head_x, head_y, look.head_r, look.head_r, view.lean + 0.05 * np.sin(step) * view.stride)
    return _Stance(step, bounce, ground, body_y, middle, chest_x, rump_x, head)


def _hair(coat: Floats) -> Floats:
    """(B, 3): a mane's and a tail's colour, dark on a light coat and light on a dark one."""
    return palette.either(coat.mean(axis=1) > 0.55, coat * 0.5, np.minimum(coat * 1.5 + 0.1, 1))


def _tail(easel: Easel, look: Looks, view: View, stance: _Stance) -> None:
    x, y = stance.rump_x - look.half * 0.32, stance.body_y - look.thick * 0.4
    coat, hair = look.coat, _hair(look.coat)
    up, thin, bushy, puff, curl, long, tuft = (
        look.tail == name for name in ("up", "thin", "bushy", "puff", "curl", "hair", "tuft")
    )
    swing = 0.35 * np.sin(2 * np.pi * view.phase) * (0.4 + view.stride)
    ex, ey = x - 0.20 - 0.08 * swing, y - 0.28 + 0.1 * swing
    easel.paint(capsule(x + 0.06, y + 0.04, ex + 0.02, ey, 0.06, 0.035), coat, where=up)
    rings = Texture(np.where(look.mark == "stripes", "pinstriped", "plain"), look.mark_colour, 0.12)
    band = ribbon(x + 0.08, y + 0.06, x - 0.34, y - 0.34, 0.042, 0.03, 0.09, 1.0, 0.1 + 0.1 * swing)
    easel.paint(band, coat, where=thin, texture=rings)
    easel.paint(capsule(x + 0.06, y + 0.06, x - 0.36, y - 0.06 + 0.2 * swing, 0.05, 0.125), coat, where=bushy)
    easel.paint(ellipse(x - 0.42, y - 0.08 + 0.22 * swing, 0.1, 0.085), (0.96, 0.95, 0.93), where=bushy, rim=0.15)
    easel.paint(petals(x + 0.01, y, 0.12, 0.18, 7.0), np.minimum(coat * 1.1 + 0.1, 1), where=puff)
    curled = ribbon(x + 0.06, y, x - 0.22, y - 0.08, 0.028, 0.018, 0.08, 1.5, swing * 0.2, 0.2)
    easel.paint(curled, coat * 0.92, where=curl)
    easel.paint(capsule(x + 0.06, y, x - 0.13 + 0.25 * swing, y + 0.42, 0.05, 0.1), hair, where=long, rim=0.15)
    tx, ty = x - 0.14 + 0.25 * swing, y + 0.26
    easel.paint(capsule(x + 0.06, y, tx, ty, 0.03, 0.022), coat * 0.92, where=tuft)
    easel.paint(ellipse(tx, ty + 0.03, 0.05, 0.075), hair, where=tuft)


def _legs(easel: Easel, look: Looks, view: View, stance: _Stance, *, near: bool) -> None:
    """The front and the hind leg of the near side, or of the far side, which is darker and steps against it."""
    dim, leg_r, step = 1.0 if near else 0.72, look.leg_r, stance.step
    legs = palette.either(look.mark == "panda", look.mark_colour, look.skin)
    socks = palette.either(look.mark == "socks", look.mark_colour, legs)
    top = stance.body_y + look.thick * 0.35
    length = stance.ground - top - stance.bounce * 0.3
    for front in (True, False):
        turn = view.stride * 0.6 * np.sin(step + (0 if front == near else np.pi))
        bent = np.clip(np.sin(step + (0.9 if front == near else np.pi + 0.9)), 0, 1) * view.stride * 0.5
        x = (stance.chest_x if front else stance.rump_x) + (0.05 if near else -0.06)
        knee_x, knee_y = x + np.sin(turn) * length * 0.5, top + np.cos(turn) * length * 0.5
        foot_x = knee_x + np.sin(turn - bent) * length * 0.45
        foot_y = knee_y + np.cos(turn - bent) * length * 0.45
        texture = look.markings if near else None
        easel.paint(capsule(x, top, knee_x, knee_y, leg_r * 1.35, leg_r), legs * dim, texture=texture)
        easel.paint(capsule(knee_x, knee_y, foot_x, foot_y, leg_r, leg_r * 0.85), socks * dim)
        paw = ellipse(foot_x + leg_r * 0.35, foot_y + leg_r * 0.2, leg_r * 1.25, leg_r * 0.75)
        easel.paint(paw, socks * dim * 0.85)


def _trunk(easel: Easel, look: Looks, stance: _Stance) -> None:
    x, y, half, thick = stance.middle, stance.body_y, look.half, look.thick
    wool = petals(x, y, half * 1.05, 0.14, 13.0, thick / half * 1.1)
    easel.paint(wool, look.coat, where=look.woolly, rim=0.15)
    easel.paint(ellipse(stance.rump_x, y - 0.01, thick * 0.98, thick * 0.95), look.coat, where=~look.woolly)
    barrel = ellipse(x, y, half, thick)
    easel.paint(barrel, look.coat, texture=look.markings, where=~look.woolly)
    belly, band = (
        ellipse(x * 0.6, y + thick * 0.55, half * 0.72, thick * 0.42),
        box(stance.chest_x - 0.04, y, 0.13, thick * 1.2),
    )
    easel.paint(belly, look.mark_colour, where=look.mark == "belly", rim=0, within=barrel)
    easel.paint(band, look.mark_colour, where=look.mark == "panda", rim=0, within=barrel)


def _neck(easel: Easel, look: Looks, stance: _Stance) -> None:
    """From the shoulder to the head, with a mane and a collar."""
    head, y, thick = stance.head, stance.body_y, look.thick
    x, r = stance.chest_x - 0.02, np.minimum(thick * 0.72, head.r * 0.85)
    neck = capsule(x, y - thick * 0.2, head.x, head.y + head.r * 0.15, r, head.r * 0.62)
    easel.paint(neck, look.skin, texture=look.markings, rim=0.15)
    hair = _hair(look.coat)
    for up in (0.15, 0.4, 0.65, 0.9):
        mx = x + (head.x - x) * up - r * 0.75
        my = y - thick * 0.3 + (head.y - y) * up - 0.02
        easel.paint(ellipse(mx, my, head.r * 0.42, head.r * 0.5), hair, where=look.mane == "hair", rim=0.1)
    up = 0.55
    cx, cy = x + (head.x - x) * up, y - thick * 0.2 + (head.y - y + thick * 0.2) * up
    collar = box(cx, cy, r * 0.95, 0.035, angle=np.arctan2(head.y - y, head.x - x) + np.pi / 2)
    easel.paint(collar, look.collar_colour, where=look.collar, rim=0.1)
