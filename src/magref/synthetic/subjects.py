"""Procedural subjects: cut-out pictures of any shape and texture, some with a face."""

from __future__ import annotations

import math

import torch

from magref.synthetic.draw import Draw
from magref.synthetic.textures import colours, grid, pattern, scene


def _ellipse(
    x: torch.Tensor, y: torch.Tensor, cx: torch.Tensor, cy: torch.Tensor, rx: torch.Tensor, ry: torch.Tensor
) -> torch.Tensor:
    """Signed inside-ness of an axis-aligned ellipse, positive inside, about one unit per radius. (B, S, S)"""
    dx = (x - cx[:, None, None]) / rx[:, None, None]
    dy = (y - cy[:, None, None]) / ry[:, None, None]
    return (1 - (dx.square() + dy.square()).sqrt()) * torch.minimum(rx, ry)[:, None, None]


def _box(
    x: torch.Tensor, y: torch.Tensor, cx: torch.Tensor, cy: torch.Tensor, rx: torch.Tensor, ry: torch.Tensor
) -> torch.Tensor:
    """Signed inside-ness of an axis-aligned box with half sides rx, ry. (B, S, S)"""
    dx = rx[:, None, None] - (x - cx[:, None, None]).abs()
    dy = ry[:, None, None] - (y - cy[:, None, None]).abs()
    return torch.minimum(dx, dy)


def _blob(draw: Draw, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    theta = torch.atan2(y, x)
    aspect = draw.uniform(0.6, 1.6)[:, None, None]
    outline = draw.uniform(0.5, 0.75)[:, None, None] * torch.ones_like(theta)
    for harmonic in (2, 3, 4, 5, 7):
        amplitude = draw.uniform(0, 0.28)[:, None, None] / harmonic**0.7
        outline = outline + amplitude * torch.cos(harmonic * theta + draw.uniform(0, 2 * math.pi)[:, None, None])
    return outline * 0.8 - ((x * aspect.clamp(min=1)).square() + (y / aspect.clamp(max=1)).square()).sqrt()


def _polygon(draw: Draw, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A regular polygon or, where the dent is deep, a star."""
    sides = (3 + draw.integer(6)).float()[:, None, None]
    turn = draw.uniform(0, 2 * math.pi)[:, None, None]
    theta = (torch.atan2(y, x) + turn) % (2 * math.pi / sides) - math.pi / sides
    dent = draw.uniform(-0.5, 1.0)[:, None, None]
    radius = 0.85 * (1 - dent.clamp(min=0) * 0.55 * (1 - theta.abs() * sides / math.pi))
    return radius - (x * x + y * y).sqrt() * torch.cos(theta).clamp(min=0.5) ** (1 - dent.clamp(min=0))


def _animal(draw: Draw, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Body, legs and tail; head and ears apart, for a second colour. Returns (body, head, head centre (B, 2))."""
    side = torch.where(draw.chance(0.5), 1.0, -1.0)
    zero = torch.zeros_like(side)
    body_rx, body_ry = draw.uniform(0.4, 0.65), draw.uniform(0.2, 0.4)
    body = _ellipse(x, y, zero, zero, body_rx, body_ry)
    leg_ry, leg_rx = draw.uniform(0.15, 0.35), draw.uniform(0.05, 0.1)
    for where in (-0.8, -0.45, 0.45, 0.8):
        body = torch.maximum(body, _box(x, y, where * body_rx, body_ry * 0.6 + leg_ry, leg_rx, leg_ry))
    tail_y = draw.uniform(-0.35, 0.1)
    tail = _ellipse(x, y, -side * body_rx, tail_y, draw.uniform(0.1, 0.35), draw.uniform(0.05, 0.1))
    body = torch.maximum(body, tail)
    head_x, head_y, head_r = side * body_rx * draw.uniform(0.7, 1.0), -draw.uniform(0.25, 0.55), draw.uniform(0.18, 0.3)
    head = _ellipse(x, y, head_x, head_y, head_r, head_r * draw.uniform(0.8, 1.2))
    ear_rx, ear_ry = draw.uniform(0.05, 0.12), draw.uniform(0.08, 0.25)
    for sign in (-1, 1):
        head = torch.maximum(head, _ellipse(x, y, head_x + sign * head_r * 0.7, head_y - head_r * 0.9, ear_rx, ear_ry))
    return body, head, torch.stack([head_x, head_y, head_r], dim=1)


def _person(draw: Draw, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Torso, legs and arms; the head apart. Returns (body, head, head centre (B, 2))."""
    zero = torch.zeros(len(draw))
    torso_rx, torso_ry = draw.uniform(0.18, 0.4), draw.uniform(0.25, 0.4)
    body = _box(x, y, zero, zero + 0.05, torso_rx, torso_ry)
    leg = draw.uniform(0.06, 0.14)
    for sign in (-1, 1):
        body = torch.maximum(body, _box(x, y, sign * torso_rx * 0.6, torso_ry + 0.3, leg, zero + 0.32))
        arm_x = sign * (torso_rx + draw.uniform(0.0, 0.12))
        body = torch.maximum(body, _ellipse(x, y, arm_x, zero + 0.05, draw.uniform(0.07, 0.13), torso_ry))
    head_r = draw.uniform(0.18, 0.32)
    head_y = 0.05 - torso_ry - head_r * 0.8
    head = _ellipse(x, y, zero, head_y, head_r * draw.uniform(0.75, 1.0), head_r)
    return body, head, torch.stack([zero, head_y, head_r], dim=1)


def _face(draw: Draw, x: torch.Tensor, y: torch.Tensor, head: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
    """Eyes with pupils, a mouth and sometimes a nose painted around `head` (B, 3: x, y, radius)."""
    cx, cy, r = head.unbind(1)
    gap, eye, mouth = draw.uniform(0.3, 0.5) * r, draw.uniform(0.12, 0.3) * r, draw.uniform(0.25, 0.5) * r
    iris, lips = colours(draw)[..., None, None] * 0.6, colours(draw)[..., None, None]

    def paint(image: torch.Tensor, inside: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
        alpha = (inside * 120).sigmoid()[:, None]
        return image * (1 - alpha) + colour * alpha

    white = torch.full_like(iris, 0.97)
    for sign in (-1, 1):
        rgb = paint(rgb, _ellipse(x, y, cx + sign * gap, cy - 0.15 * r, eye, eye * 0.8), white)
        rgb = paint(rgb, _ellipse(x, y, cx + sign * gap, cy - 0.15 * r, eye * 0.55, eye * 0.55), iris)
    rgb = paint(rgb, _ellipse(x, y, cx, cy + 0.2 * r, 0.12 * r, 0.16 * r), lips * 0.5)
    return paint(rgb, _ellipse(x, y, cx, cy + 0.55 * r, mouth, 0.1 * r + 0.02), lips)


def subjects(draw: Draw, size: int) -> torch.Tensor:
    """(B, 4, S, S) cut-out subjects: straight RGB and alpha, float32 in [0, 1].

    An eighth are whole pictures (alpha 1 over a rectangle), since people also give photographs that are not cut out.
    """
    x, y = grid(size)
    batch = torch.arange(len(draw))
    zeros = torch.zeros(len(draw))
    animal_body, animal_head, animal_face = _animal(draw, x, y)
    person_body, person_head, person_face = _person(draw, x, y)
    whole = _box(x, y, zeros, zeros, draw.uniform(0.5, 0.98), draw.uniform(0.5, 0.98))
    nowhere = torch.full_like(whole, -1.0)
    centre = torch.stack([zeros, zeros - 0.05, zeros + draw.uniform(0.3, 0.5)], dim=1)
    bodies = [animal_body, person_body, _blob(draw, x, y), _polygon(draw, x, y), whole]
    heads = [animal_head, person_head, nowhere, nowhere, nowhere]
    faces = [animal_face, person_face, centre, centre, centre]
    kind = torch.tensor([0, 0, 0, 1, 1, 2, 3, 4])[draw.integer(8)]
    body, head = torch.stack(bodies, 1)[batch, kind], torch.stack(heads, 1)[batch, kind]
    face = torch.stack(faces, 1)[batch, kind]

    surface, other = pattern(draw, size), pattern(draw, size)
    photo_like = draw.chance(0.35) | (kind == 4)
    surface = torch.where(photo_like[:, None, None, None], scene(draw, size), surface)
    on_head = (head > 0)[:, None] & draw.chance(0.6)[:, None, None, None]
    rgb = torch.where(on_head, other, surface)
    inside = torch.maximum(body, head)
    shade = 1 - draw.uniform(0, 0.5)[:, None, None] * (0.5 + 0.5 * y) * (kind != 4)[:, None, None]
    rim = 1 - draw.uniform(0, 0.6)[:, None, None] * (1 - (inside * 8).clamp(0, 1)) * (kind != 4)[:, None, None]
    rgb = rgb * (shade * rim)[:, None]
    has_face = (draw.chance(0.75) & (kind < 2)) | (draw.chance(0.4) & (kind != 4))
    rgb = torch.where(has_face[:, None, None, None], _face(draw, x, y, face, rgb), rgb)
    alpha = (inside * size / 2).clamp(-0.5, 0.5)[:, None] + 0.5
    return torch.cat([rgb.clamp(0, 1), alpha], dim=1)
