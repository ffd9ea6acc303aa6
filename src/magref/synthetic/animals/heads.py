"""Heads of animals on four legs: ears, horns, snouts and eyes. Seen from the side, a little from the front."""

from __future__ import annotations

import numpy as np

from magref.synthetic import palette
from magref.synthetic.animals.quadrupeds import Looks
from magref.synthetic.easel import Easel
from magref.synthetic.shapes import Head, bow, capsule, ellipse, petals, triangle
from magref.synthetic.traits import Floats, Traits
from magref.synthetic.views import View


def draw_head(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    """Paint the heads of B animals."""
    r, dark = head.r, look.coat * 0.55
    lions = look.coat * np.array([0.62, 0.46, 0.36], np.float32)
    easel.paint(petals(*head.at(-0.15, 0.05), r * 1.62, 0.14, 13.0), lions, where=look.mane == "round")
    _ears(easel, traits, look, head, view)
    _horns(easel, look, head)
    skull = ellipse(head.x, head.y, r, r * traits.uniform("head shape", 0.86, 1.0), head.lean)
    easel.paint(skull, look.skin, texture=look.markings)
    _floppy_ears(easel, traits, look, head, view)
    easel.paint(petals(*head.at(-0.1, -0.72), r * 0.62, 0.2, 8.0, 0.75), look.coat, where=look.woolly, rim=0.15)
    easel.paint(ellipse(*head.at(-0.05, -0.85), r * 0.32, r * 0.4), dark, where=look.mane == "hair", rim=0.1)
    forward, down = 0.35 + look.snout * 0.62, 0.3 + 0.16 * (look.snout > 0.6)
    _snout(easel, traits, look, head, forward, down)
    _trunk(easel, look, head, view)
    _eyes(easel, traits, look, head, view)
    _whiskers(easel, look, head, forward, down)


def _ear_colour(look: Looks) -> Floats:
    return palette.either(look.mark == "panda", look.mark_colour, look.skin)


def _twitch(view: View) -> Floats:
    return 0.1 * np.sin(2 * np.pi * view.phase) * view.stride


def _ears(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    """Ears that stand behind the head."""
    at, r, ears = head.at, head.r, _ear_colour(look)
    pink = np.minimum(look.coat * 0.5 + np.array([0.45, 0.22, 0.24], np.float32), 1)
    pointed, round_, long, big, aside = (look.ear == name for name in ("pointed", "round", "long", "big", "side"))
    cat, mouse = look.kind == "cat", look.kind == "mouse"
    twitch, tall = _twitch(view), traits.uniform("ear size", 0.85, 1.2)
    for side, dim in ((-1, 1.0), (1, 0.94)):
        lean = head.lean + side * 0.35
        tip = triangle(*at(side * 0.58 - 0.05, -0.55), r * 0.36, r * 0.78 * tall, lean)
        easel.paint(tip, ears * dim, where=pointed)
        inner = triangle(*at(side * 0.58 - 0.05, -0.62), r * 0.19, r * 0.46 * tall, lean)
        easel.paint(inner, pink, where=pointed & cat, rim=0)
        easel.paint(ellipse(*at(side * 0.7, -0.75), r * 0.36 * tall, r * 0.36 * tall), ears * dim, where=round_)
        easel.paint(ellipse(*at(side * 0.7, -0.72), r * 0.19, r * 0.19), ears * 0.7, where=round_, rim=0)
        ex, ey = at(side * 0.34, -0.7)
        tx, ty = at(side * (0.55 + 0.3 * twitch) - 0.1, -1.3 - 0.75 * tall)
        easel.paint(capsule(ex, ey, tx, ty, r * 0.24, r * 0.2), ears * dim, where=long)
        easel.paint(capsule(ex, ey, tx, ty + 0.02, r * 0.11, r * 0.08), pink, where=long, rim=0)
        level = at(side * 0.98, -0.06 if side < 0 else -0.35)
        easel.paint(
            ellipse(*level, r * 0.42, r * 0.2, head.lean + side * (0.35 + twitch)), ears * dim * 0.92, where=aside
        )
        big_r = np.where(mouse, 0.62, 0.95) * tall
        disc = ellipse(*at(side * 0.9 - 0.15, np.where(mouse, -0.8, -0.15)), r * big_r * 0.86, r * big_r)
        easel.paint(disc, ears * 0.92 * dim, where=big)
        inner = ellipse(*at(side * 0.9 - 0.15, np.where(mouse, -0.8, -0.12)), r * big_r * 0.55, r * big_r * 0.68)
        easel.paint(inner, pink, where=big, rim=0, opacity=0.8)


def _floppy_ears(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    """Ears that hang over the head's sides."""
    r, tall, twitch = head.r, traits.uniform("ear size", 0.85, 1.2), _twitch(view)
    for side, u in ((-1, -0.92), (1, 0.62)):
        hang = ellipse(*head.at(u, 0.12), r * 0.27, r * 0.58 * tall, head.lean - side * (0.22 + twitch))
        easel.paint(hang, _ear_colour(look) * 0.72, where=look.ear == "floppy")


def _horns(easel: Easel, look: Looks, head: Head) -> None:
    r, giraffe = head.r, look.kind == "giraffe"
    for side in (-1, 1):
        x, y = head.at(side * 0.42, -0.75)
        horn = capsule(x, y, x + side * np.where(giraffe, 0.02, 0.09), y - r * 0.65, r * 0.14, r * 0.07)
        easel.paint(horn, (0.93, 0.88, 0.74), where=look.horned)
        knob = ellipse(x + side * 0.02, y - r * 0.7, r * 0.16, r * 0.14)
        easel.paint(knob, look.coat * 0.55, where=look.horned & giraffe)


def _snout(easel: Easel, traits: Traits, look: Looks, head: Head, forward: Floats, down: Floats) -> None:
    """A long one goes forwards and down, a short one is a muzzle below the eyes; its end is at (forward, down)."""
    at, r, high, shown = head.at, head.r, look.snout_h, ~look.trunk
    pale = (look.mark == "belly") | np.isin(look.kind, ("bear", "lion", "tiger", "dog", "cat", "panda"))
    muzzle = palette.either(pale, np.minimum(look.skin * 0.5 + 0.48, 1), look.skin)
    muzzle = palette.either(np.isin(look.kind, ("cow", "pig")), (0.96, 0.68, 0.68), muzzle)
    shape = capsule(*at(0.2, 0.2), *at(forward, down), r * np.maximum(high, 0.35), r * np.maximum(high * 0.78, 0.25))
    easel.paint(shape, muzzle, where=shown, rim=0.18)
    nose = palette.either(np.isin(look.kind, ("rabbit", "mouse", "cat")), (0.92, 0.5, 0.55), (0.1, 0.1, 0.1))
    nosed = shown & ~np.isin(look.kind, ("pig", "cow", "horse", "zebra", "giraffe", "sheep"))
    easel.paint(
        ellipse(*at(forward + high * 0.62, down - 0.12), r * 0.17, r * 0.14, head.lean), nose, where=nosed, rim=0
    )
    for aside in (-0.14, 0.14):
        nostril = ellipse(*at(forward + 0.28 * high + aside, down - 0.1), r * 0.075, r * 0.09)
        easel.paint(nostril, muzzle * 0.4, where=shown & ~nosed, rim=0)
    mouth = bow(*at(forward - 0.05, down + high * 0.42), r * 0.24, r * 0.1, 0.012, head.lean)
    easel.paint(mouth, muzzle * 0.35, where=shown & (look.snout < 0.9), rim=0, depth=0)
    tongue = ellipse(*at(forward + 0.08, down + 0.5), r * 0.13, r * 0.22)
    easel.paint(tongue, (0.93, 0.38, 0.42), where=(look.kind == "dog") & traits.chance("tongue", 0.55))


def _trunk(easel: Easel, look: Looks, head: Head, view: View) -> None:
    """An elephant's, with a tusk."""
    at, r, skin, trunk = head.at, head.r, look.skin, look.trunk
    curl = 0.2 * np.sin(2 * np.pi * view.phase) * (0.3 + view.stride)
    tx, ty = at(0.85, 1.45)
    mx, my = at(0.75, 0.5)
    easel.paint(capsule(*at(0.45, 0.2), mx, my, r * 0.4, r * 0.3), skin, where=trunk, rim=0.15)
    easel.paint(capsule(mx, my, tx + curl * 0.3, ty, r * 0.3, r * 0.2), skin, where=trunk, rim=0.15)
    end = capsule(tx + curl * 0.3, ty, tx + 0.1 + curl * 0.4, ty + 0.02, r * 0.2, r * 0.15)
    easel.paint(end, skin, where=trunk, rim=0.15)
    easel.paint(capsule(*at(0.3, 0.55), *at(0.75, 0.9), r * 0.1, r * 0.05), (0.97, 0.95, 0.88), where=trunk)


def _eyes(easel: Easel, traits: Traits, look: Looks, head: Head, view: View) -> None:
    shut = view.blink > 0.5
    r = head.r * traits.uniform("eye size", 0.15, 0.21)
    for side, u in ((-1, -0.18), (1, 0.46)):
        x, y = head.at(u + view.turn * 0.08, -0.16)
        patch = ellipse(x, y, r * 1.8, r * 2.0, head.lean + side * 0.4)
        easel.paint(patch, look.mark_colour, where=look.mark == "panda", rim=0)
        easel.paint(ellipse(x, y, r, r * 1.12), (0.98, 0.98, 0.96), where=~shut, rim=0.25, depth=0)
        easel.paint(ellipse(x + r * 0.22, y, r * 0.7, r * 0.82), look.eye, where=~shut, rim=0, depth=0)
        easel.paint(ellipse(x + r * 0.26, y, r * 0.42, r * 0.55), (0.04, 0.04, 0.05), where=~shut, rim=0, depth=0)
        easel.paint(ellipse(x + r * 0.1, y - r * 0.3, r * 0.22, r * 0.22), (1, 1, 1), where=~shut, rim=0, depth=0)
        easel.paint(bow(x, y, r, r * 0.5, 0.014), look.coat * 0.3, where=shut, rim=0, depth=0)


def _whiskers(easel: Easel, look: Looks, head: Head, forward: Floats, down: Floats) -> None:
    whiskered = np.isin(look.kind, ("cat", "mouse", "rabbit", "tiger"))
    for v in (0.16, 0.34):
        right = capsule(*head.at(forward + 0.1, down + v - 0.3), *head.at(forward + 0.95, down + v * 1.6 - 0.4), 0.007)
        easel.paint(right, (0.96, 0.96, 0.96), where=whiskered, rim=0, depth=0)
        left = capsule(*head.at(forward - 0.3, down + v - 0.3), *head.at(forward - 1.1, down + v * 1.6 - 0.4), 0.007)
        easel.paint(left, (0.9, 0.9, 0.9), where=whiskered, rim=0, depth=0)
