"""How subjects move: paths over the frames, and the poses of their limbs on the way.

Lengths are in half heights of the frame: y from -1 at its top to 1, x from -A to A with A = width / height.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from magref.synthetic.identities import Kind
from magref.synthetic.traits import Floats, Whole
from magref.synthetic.views import View, plain_view

BASIC = ("left", "right", "up", "down", "grows", "still")
MOTIONS = (*BASIC, "shrinks", "circles", "jumps", "turns", "spins", "sways", "waves")

POSES = 8
"""Pictures of each subject in a clip; its frames take these in turn."""
_CYCLE_FRAMES = 9
"""Frames that one cycle of walking takes at ordinary speed."""

_ARMED = ("robot", "teddy")


@dataclass(frozen=True)
class Track:
    """A subject over F frames, each (F,) but for `pose_view`, which has `POSES` rows.

    Centre `x`, `y` and half side `size` of its picture; `rotation` clockwise in radians; `squash` scales its width, -1
    mirrors it; `pose` is the row of `pose_view` that a frame shows.
    """

    x: Floats
    y: Floats
    size: Floats
    rotation: Floats
    squash: Floats
    pose: Whole
    pose_view: View


def possible(kind: Kind, motions: tuple[str, ...] = MOTIONS) -> tuple[str, ...]:
    """Those of the motions that a kind can make."""
    armed = kind.family == "person" or kind.name in _ARMED
    without = {"waves"} if not armed else set()
    without |= {"spins"} if kind.family != "thing" else {"turns"} if not armed else {"spins"}
    return tuple(motion for motion in motions if motion not in without)


def track(
    kind: Kind, motion: str, *, frames: int, x: float, y: float, size: float, travel: tuple[float, float], speed: float,
    mirror: int, phase: float, growth: float = 2.0,
) -> Track:  # fmt: skip
    """The path of one subject.

    Args:
        x, y: the middle of its path.
        size: its half side; where it grows or shrinks, the larger of the two.
        travel: how far it goes sideways and up or down, from one end to the other.
        speed: of its limbs; 1 is ordinary.
        mirror: where it looks when it does not move sideways.
        growth: how many times as large the larger of two sizes is.
    """
    time = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    still: Floats = np.zeros(frames)
    xs: Floats
    xs, ys, sizes, rotation, squash = x + still, y + still, size + still, still.copy(), mirror + still
    clock: Floats = np.arange(frames) * speed / _CYCLE_FRAMES + phase
    if motion in ("left", "right"):
        sign = -1 if motion == "left" else 1
        xs = x + sign * travel[0] * (time - 0.5)
        squash = sign + still
    elif motion in ("up", "down"):
        ys = y + (-1 if motion == "up" else 1) * travel[1] * (time - 0.5)
    elif motion in ("grows", "shrinks"):
        along = time if motion == "grows" else 1 - time
        sizes = size / growth * (1 + (growth - 1) * along)
        ys = y + 0.9 * (size - sizes) * (1.0 if kind.grounded else 0.0) * 0.6
    elif motion == "circles":
        turn = 2 * np.pi * (time + phase)
        xs, ys = x + travel[0] * 0.36 * np.cos(turn), y + travel[1] * 0.36 * np.sin(turn)
    elif motion == "jumps":
        ys = y - travel[1] * 0.5 * np.abs(np.sin(2 * np.pi * time))
    elif motion == "turns":
        clock = time * (1 - 1e-4)
        if kind.family != "person":
            swing = np.cos(2 * np.pi * time)
            squash = mirror * np.where(np.abs(swing) < 0.15, np.where(swing < 0, -0.15, 0.15), swing)
    elif motion == "spins":
        rotation = 2 * np.pi * time * mirror
    elif motion == "sways":
        rotation = 0.24 * np.sin(4 * np.pi * time)
        xs = x + size * 0.35 * np.sin(4 * np.pi * time)
    elif motion == "waves":
        clock = np.arange(frames) * speed / _CYCLE_FRAMES * 0.7
    else:
        clock = np.arange(frames) * speed / (2.5 * _CYCLE_FRAMES) + phase
    if kind.gait == "rolls" and motion in ("left", "right"):
        rotation = (xs - xs[0]) / max(size * 0.66, 1e-3)
        squash = 1 + still
    pose = (np.floor(clock % 1 * POSES)).astype(np.int64) % POSES
    return Track(
        xs.astype(np.float32), ys.astype(np.float32), sizes.astype(np.float32), rotation.astype(np.float32),
        squash.astype(np.float32), pose, _poses(kind, motion),
    )  # fmt: skip


def _poses(kind: Kind, motion: str) -> View:
    """The poses of one cycle, in which arms, legs, wings and head go with the motion."""
    phase = np.arange(POSES, dtype=np.float32) / POSES
    going = {"left": 0.75, "right": 0.75, "up": 0.35, "down": 0.35, "grows": 0.55, "shrinks": 0.55, "circles": 0.7,
             "jumps": 0.5, "sways": 0.1, "turns": 0.15, "waves": 0.05, "still": 0.05}  # fmt: skip
    stride = going.get(motion, 0.0)
    if kind.gait in ("flies", "swims"):
        stride = max(stride, 0.65)
    turn = {"left": 0.6, "right": 0.6, "circles": 0.4}.get(motion, 0.0) + 0 * phase
    lean = 0.0 * phase
    if motion == "turns":
        turn = 0.95 * np.sin(2 * np.pi * phase)
    if motion in ("still", "waves"):
        lean = 0.06 * np.sin(2 * np.pi * phase)
    return replace(
        plain_view(POSES),
        phase=phase,
        stride=np.full(POSES, stride, np.float32),
        turn=turn.astype(np.float32),
        lean=lean.astype(np.float32),
        wave=np.full(POSES, float(motion == "waves"), np.float32),
        blink=(phase == 0.5).astype(np.float32) * float(motion == "still"),
    )
