"""Faces: skin, eyes, nose, beard and mouth, each with proportions that last and an expression that is the person's."""

from __future__ import annotations

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Easel
from magref.synthetic.people.looks import Looks
from magref.synthetic.shapes import Head, bow, box, ellipse
from magref.synthetic.traits import Traits
from magref.synthetic.views import View

_IRISES = np.array(
    [(0.28, 0.17, 0.10), (0.16, 0.36, 0.70), (0.18, 0.50, 0.28), (0.36, 0.38, 0.42), (0.50, 0.32, 0.12)], np.float32
)


def draw_face(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    """Paint the heads of B people, without their hair."""
    _skin(easel, traits, look, head)
    _eyes(easel, traits, look, head, view)
    _nose(easel, traits, look, head, view)
    _beard(easel, look, head)
    _mouth(easel, traits, look, head, view)


def _skin(easel: Easel, traits: Traits, look: Looks, head: Head) -> None:
    """Ears, skull and jaw, blush and freckles."""
    skin, r, rx = look.skin, head.r, head.rx
    for side in (-1, 1):
        easel.paint(ellipse(*head.at(side * 0.99, 0.08, -0.35), 0.17 * r, 0.22 * r), skin * 0.94)
    easel.paint(ellipse(*head.at(0, 0, 0), rx, r, head.lean), skin, depth=0.22)
    jaw = ellipse(*head.at(0, 0.42, 0.3), rx * traits.uniform("jaw", 0.55, 0.85), r * 0.6, head.lean)
    easel.paint(jaw, skin, depth=0.05, rim=0, soft=0.04)
    blush = np.clip(skin * np.array([1.0, 0.74, 0.74], np.float32), 0, 1)
    blushing = traits.chance("blush", 0.55) & (look.beard == "none")
    for side in (-1, 1):
        cheek = ellipse(*head.at(side * 0.55, 0.38), 0.2 * rx, 0.14 * r)
        easel.paint(cheek, blush, where=blushing, rim=0, depth=0, opacity=0.75, soft=0.03)
    freckled = traits.chance("freckles", 0.18)
    for u, v in ((-0.5, 0.3), (-0.35, 0.38), (0.38, 0.3), (0.52, 0.38)):
        easel.paint(ellipse(*head.at(u, v), 0.045 * r, 0.04 * r), skin * 0.66, where=freckled, rim=0, depth=0)


def _eyes(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    """Open or shut, with lashes and brows; the irises go where the face looks."""
    t, skin, high = traits, look.skin, look.eye_height
    r, tall = head.r * t.uniform("eye size", 0.15, 0.215), t.uniform("eye shape", 0.95, 1.35)
    iris = _IRISES[t.pick("iris", (2, 1.3, 1, 0.8, 0.8))]
    squeeze, gaze, shut = 1 - 0.28 * np.abs(view.turn), view.turn * 0.22, view.blink > 0.5
    brow_colour, slant = np.minimum(look.hair * 0.75, 0.62), t.uniform("slant", -0.22, 0.22)
    brow_r = head.r * np.where(look.female, t.uniform("brow", 0.028, 0.045), t.uniform("brow", 0.04, 0.075))
    for side in (-1, 1):
        u = side * look.eye_gap * squeeze
        x, y = head.at(u, high)
        px, py = head.at(u + gaze * 0.35, high + 0.02)
        socket = ellipse(x, y, r * 1.08 * squeeze, r * tall * 1.08)
        easel.paint(socket, skin * 0.55, where=~shut, rim=0, depth=0)
        easel.paint(ellipse(x, y, r * squeeze, r * tall), (0.98, 0.98, 0.97), where=~shut, rim=0, depth=0.1)
        easel.paint(ellipse(px, py, r * 0.68 * squeeze, r * 0.72), iris, where=~shut, rim=0.2, depth=0)
        easel.paint(ellipse(px, py, r * 0.36, r * 0.4), (0.05, 0.05, 0.06), where=~shut, rim=0, depth=0)
        glint = ellipse(px - r * 0.2, py - r * 0.25, r * 0.17, r * 0.17)
        easel.paint(glint, (1, 1, 1), where=~shut, rim=0, depth=0)
        easel.paint(bow(x, y, r * 0.9, r * 0.4, 0.014), skin * 0.4, where=shut, rim=0, depth=0)
        lash = bow(x, y - r * tall * 0.62, r * 0.95, -r * 0.45, 0.014)
        easel.paint(lash, (0.1, 0.07, 0.07), where=look.female & ~shut, rim=0)
        bx, by = head.at(u, high - 0.36 - t.uniform("brow height", 0, 0.1))
        brow = bow(bx, by, r * 0.95, -r * 0.32, brow_r, angle=head.lean + side * slant)
        easel.paint(brow, brow_colour, rim=0, depth=0)


def _nose(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    r = head.r * traits.uniform("nose", 0.07, 0.15)
    x, y = head.at(view.turn * 0.16, look.eye_height + 0.34)
    shadow = ellipse(x, y + r * 0.18, r * traits.uniform("nose width", 0.8, 1.25), r)
    easel.paint(shadow, look.skin * 0.8, rim=0.12, soft=1.5)
    easel.paint(ellipse(x, y, r * 0.8, r * 0.75), np.minimum(look.skin * 1.03, 1), rim=0, soft=1.5)


def _beard(easel: Easel, look: Looks, head: Head) -> None:
    r, rx, colour = head.r, head.rx, look.hair * 0.92
    full, upper, chin = (look.beard == name for name in ("beard", "moustache", "goatee"))
    lower = box(*head.at(0, 1.0, 0.3), rx * 1.3, r * 0.72, head.lean, 0.1)
    cheeks = ellipse(*head.at(0, 0.48, 0.5), rx * 0.93, r * 0.74, head.lean)
    easel.paint(cheeks, colour, where=full, within=lower, rim=0.15)
    easel.paint(ellipse(*head.at(0, 1.0, 0.6), rx * 0.36, r * 0.26), colour, where=chin, rim=0.15)
    for side in (-1, 1):
        half = ellipse(*head.at(side * 0.2, 0.5, 1.1), rx * 0.27, r * 0.085, head.lean + side * 0.28)
        easel.paint(half, colour * 0.95, where=full | upper, rim=0.15)


def _mouth(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    """Smiling or laughing; beside the mouths of the old there are lines."""
    t, r = traits, head.r
    smile, wide = t.uniform("smile", 0.04, 0.16), head.rx * t.uniform("mouth", 0.24, 0.42)
    pale = look.skin * np.array([0.72, 0.45, 0.42], np.float32)
    lips = palette.either(look.female & t.chance("lipstick", 0.6), (0.80, 0.16, 0.22), pale)
    x, y = head.at(view.turn * 0.06, 0.60)
    laughing = t.chance("laugh", 0.35)
    lower = box(x, y + r * 0.18, wide * 1.2, r * 0.2, head.lean, 0.0)
    mouth = ellipse(x, y - r * 0.03, wide, r * (smile + 0.1), head.lean)
    easel.paint(mouth, (0.35, 0.08, 0.09), where=laughing, rim=0, depth=0, within=lower)
    teeth = box(x, y + r * 0.01, wide * 0.8, r * 0.035, head.lean)
    easel.paint(teeth, (0.97, 0.97, 0.96), where=laughing, rim=0, depth=0)
    thick = r * np.where(look.female, 0.05, 0.035)
    easel.paint(bow(x, y - r * smile * 0.4, wide, r * smile, thick, head.lean), lips, where=~laughing, rim=0, depth=0)
    for side in (-1, 1):
        line = bow(*head.at(side * 0.42, 0.45), 0.12 * r, 0.03 * r, 0.012, angle=1.3)
        easel.paint(line, look.skin * 0.7, where=look.old, rim=0, depth=0, opacity=0.8)
