"""Reels: shots of the synthetic world joined by every sort of transition, to hold detectors of cuts against.

Films (`footage.py`) look like films. Reels are harder, and all about cuts: as many dissolves, fades and wipes as hard
cuts, from a quarter of a second on, and between them what is taken for one: cameras that swing and shake, flashes,
light that goes up or down, pictures that stand still.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from magref.settings import Record
from magref.synthetic.splits import Split
from magref.synthetic.traits import Choices
from magref.synthetic.world import render_scenes
from magref.video import Frames

Joint: TypeAlias = Literal["cut", "dissolve", "fade", "wipe"]
JOINTS: tuple[Joint, ...] = get_args(Joint)
WIPES = ("left", "right", "up", "down", "iris")

_RENDERED = 40
"""Frames that are rendered of each shot; longer shots go through them to and fro."""
_ROOM = 1.33
"""How much larger shots are rendered than shown, so that a camera can move over them."""
_QUIET_S = 0.8
"""The least of a shot between its transitions."""
_SHARED = 2
"""Reels that are cut from the same clips, in other ways, since rendering takes longest."""


class ReelSettings(Record):
    """What reels are like."""

    height: Annotated[int, Field(ge=32)] = 108
    width: Annotated[int, Field(ge=32)] = 192
    fps: Annotated[float, Field(gt=0)] = 24.0
    seed: Annotated[int, Field(ge=0, lt=2**30)] = 0
    split: Split = "train"
    shots: Annotated[int, Field(ge=2)] = 13
    length_s: tuple[float, float] = (0.25, 1.25)
    """Of a dissolve, a fade without the time that it stays blank, or a wipe."""


@dataclass(frozen=True)
class JointTruth:
    """Frames `start` to `stop` - 1 belong to both shots or neither; a cut has none and lies before `start`."""

    kind: Joint
    start: int
    stop: int
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Reel:
    """`frames` (F, H, W, 3) and what is known of them; `flashes` are ranges of frames."""

    frames: Frames
    joints: tuple[JointTruth, ...]
    flashes: tuple[tuple[int, int], ...]
    cameras: tuple[str, ...]


def render_reel(number: int, settings: ReelSettings) -> Reel:
    """Reel `number` of the settings."""
    choices = Choices(number, f"reel {settings.seed} {settings.split}")
    clips = _clips(number // _SHARED, settings)
    order = sorted(range(settings.shots), key=lambda n: choices.uniform(f"order {n}"))
    kinds = [choices.of(f"kind {n}", JOINTS) for n in range(settings.shots - 1)]
    lengths = [0, *(_length(choices, n, kind, settings) for n, kind in enumerate(kinds)), 0]
    cameras, shots = [], []
    for n, clip in enumerate(order):
        own = Choices(n, f"shot {number} {settings.seed} {settings.split}")
        quiet = round(settings.fps * own.uniform("quiet", _QUIET_S, 2.4))
        camera, shot = _film(own, clips[clip], lengths[n] + quiet + lengths[n + 1], settings)
        shot = _happenings(own, shot, lengths[n], lengths[n + 1], settings)
        cameras.append(camera)
        shots.append(shot)
    frames, joints = _join(choices, shots, kinds, lengths[1:-1], settings)
    flashes = _flash(choices, frames, joints)
    return Reel(frames, tuple(joints), tuple(flashes), tuple(cameras))


@lru_cache(1)  # reels that share clips are made one after the other
def _clips(pool: int, settings: ReelSettings) -> list[Frames]:
    """(F, H, W, 3) each, larger than they are shown."""
    clips = []
    for n in range(settings.shots):
        scenes = render_scenes(
            [pool * settings.shots + n], frames=_RENDERED, height=round(settings.height * _ROOM),
            width=round(settings.width * _ROOM), seed=settings.seed, split=settings.split,
        )  # fmt: skip
        clips.append(scenes.frames[0].permute(0, 2, 3, 1).cpu().numpy())
    return clips


def _length(choices: Choices, n: int, kind: Joint, settings: ReelSettings) -> int:
    low, high = (round(length * settings.fps) for length in settings.length_s)
    return 0 if kind == "cut" else low + choices.integer(f"length {n}", high - low + 1)


def _film(choices: Choices, clip: Frames, length: int, settings: ReelSettings) -> tuple[str, Frames]:
    """A camera's way over the clip, for `length` frames, as which kind of way it is and what it shows."""
    if choices.chance("mirrored", 0.5):
        clip = clip[:, :, ::-1]
    to_and_fro = np.arange(length) % (2 * len(clip) - 2)
    shown = clip[np.minimum(to_and_fro, 2 * len(clip) - 2 - to_and_fro)]
    room = np.array([clip.shape[1] - settings.height, clip.shape[2] - settings.width])
    camera = choices.of("camera", ("still", "slow", "swing", "shake"), (0.35, 0.3, 0.2, 0.15))
    start = np.array([choices.uniform("y"), choices.uniform("x")])
    end = np.array([choices.uniform("to y"), choices.uniform("to x")])
    along = np.linspace(0, 1, length)
    if camera == "swing":  # the whole way in a third of a second or so
        start[1], end[1] = (0, 1) if choices.chance("to the right", 0.5) else (1, 0)
        frames = settings.fps * choices.uniform("swing", 0.25, 0.6)
        along = np.clip((np.arange(length) - choices.uniform("from", 0.3, 0.6) * length) / frames, 0, 1)
    elif camera == "still":
        end = start
    way = start + (end - start) * along[:, None]
    if camera == "shake":
        noise = np.array([[choices.uniform(f"{t} {axis}", -1, 1) for axis in "yx"] for t in range(length + 4)])
        way = 0.5 + 0.25 * np.stack([np.convolve(noise[:, axis], np.ones(5) / 2, "valid") for axis in range(2)], axis=1)
    tops, lefts = np.round(np.clip(way, 0, 1) * room).astype(int).T
    height, width = settings.height, settings.width
    shot = np.stack([f[y : y + height, x : x + width] for f, y, x in zip(shown, tops, lefts, strict=True)])
    return camera, shot


def _happenings(choices: Choices, shot: Frames, entering: int, leaving: int, settings: ReelSettings) -> Frames:
    """The shot with what may happen between its transitions: the picture stands still, the light changes."""
    middle = shot[entering : len(shot) - leaving]
    if choices.chance("stands still", 0.25):
        at = choices.integer("still at", len(middle))
        times = round(settings.fps * choices.uniform("still for", 0.3, 1.2))
        middle = np.concatenate([middle[:at], np.repeat(middle[at : at + 1], times, axis=0), middle[at:]])
    if choices.chance("light", 0.15):
        frames = settings.fps * choices.uniform("light for", 0.15, 0.6)
        along = np.clip((np.arange(len(middle)) - choices.uniform("light at", 0.2, 0.6) * len(middle)) / frames, 0, 1)
        dark = choices.uniform("dark", 0.4, 0.7)
        gain = 1 + (dark - 1) * (along if choices.chance("goes down", 0.5) else 1 - along)
        middle = _blend(np.zeros_like(middle), middle, gain)
        shot = _blend(np.zeros_like(shot), shot, np.repeat(gain[[0, -1]], [entering, len(shot) - entering]))
    return np.concatenate([shot[:entering], middle, shot[len(shot) - leaving :]])


def _join(
    choices: Choices, shots: list[Frames], kinds: list[Joint], lengths: list[int], settings: ReelSettings
) -> tuple[Frames, list[JointTruth]]:
    parts: list[Frames] = []
    joints: list[JointTruth] = []
    at, entering = 0, 0
    for n, (kind, length) in enumerate(zip(kinds, lengths, strict=True)):
        whole = shots[n][entering : len(shots[n]) - length]
        joint, detail = _joint(choices, n, kind, shots[n][len(shots[n]) - length :], shots[n + 1][:length], settings)
        at += len(whole)
        joints.append(JointTruth(kind, at, at + len(joint), detail))
        at += len(joint)
        parts += [whole, joint]
        entering = length
    parts.append(shots[-1][entering:])
    return np.concatenate(parts), joints


def _joint(
    choices: Choices, n: int, kind: Joint, before: Frames, after: Frames, settings: ReelSettings
) -> tuple[Frames, str]:
    """The frames of a transition, and which one of its kind it is."""
    along = (np.arange(len(before)) + 0.5) / max(len(before), 1)
    if kind == "dissolve":
        eased = choices.chance(f"eased {n}", 0.3)
        return _blend(before, after, along * along * (3 - 2 * along) if eased else along), "eased" if eased else "even"
    if kind == "fade":
        white = choices.chance(f"white {n}", 0.25)
        blank = np.full_like(before, 255 if white else 0)
        out, into = _blend(before, blank, np.minimum(2 * along, 1)), _blend(blank, after, np.maximum(2 * along - 1, 0))
        half = int((along < 0.5).sum())
        held = round(settings.fps * choices.uniform(f"held {n}", 0, 0.5)) if choices.chance(f"holds {n}", 0.4) else 0
        return np.concatenate([out[:half], blank[:1].repeat(held, axis=0), into[half:]]), "white" if white else "black"
    if kind == "wipe":
        detail = choices.of(f"wipe {n}", WIPES)
        soft = choices.of(f"soft {n}", (0.005, 0.05, 0.12))
        edge = along[:, None, None] * (1 + soft) - _distance(detail, *before.shape[1:3])
        return _blend(before, after, np.clip(edge / soft, 0, 1)), detail
    return before[:0], ""


def _distance(wipe: str, height: int, width: int) -> npt.NDArray[np.float64]:
    """When a wipe reaches each pixel, (H, W) from 0 to 1."""
    y, x = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width)[None] + 0.5) / width
    ways = {"left": 1 - x, "right": x, "up": 1 - y, "down": y, "iris": np.hypot(x - 0.5, y - 0.5) / np.hypot(0.5, 0.5)}
    return np.broadcast_to(ways[wipe], (height, width))


def _blend(a: Frames, b: Frames, share: npt.NDArray[np.float64]) -> Frames:
    """`a` at share 0, `b` at 1; the share for each frame, or for each pixel of each."""
    weight = share.reshape(*share.shape, *[1] * (4 - share.ndim)).astype(np.float32)
    return (a + (b.astype(np.float32) - a) * weight).round().clip(0, 255).astype(np.uint8)


def _flash(choices: Choices, frames: Frames, joints: list[JointTruth]) -> list[tuple[int, int]]:
    """Brighten one to three frames here and there, in place, away from transitions."""
    flashes = []
    for n in range(5):
        start = 6 + choices.integer(f"flash {n}", len(frames) - 15)
        stop = start + 1 + choices.integer(f"flash for {n}", 3)
        if all(stop + 6 < joint.start or start - 6 > joint.stop for joint in joints):
            part = frames[start:stop]
            strength = np.full(stop - start, choices.uniform(f"strength {n}", 0.5, 1.0))
            part[:] = _blend(part, np.full_like(part, 255), strength)
            flashes.append((start, stop))
    return flashes
