"""Faces in the frames of clips: found, looked at again where none was found, and judged (paper 3.1, stage 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from magref.curation.interfaces import Face, FaceFinder, Image
from magref.curation.outcome import Rejected, above, below
from magref.curation.settings import CandidateSettings, FaceSettings

Pose: TypeAlias = tuple[float, float, float]
"""Pitch, yaw and roll in degrees."""

_GREY = 127


@dataclass(frozen=True, eq=False)
class SeenFace:
    """A face with its place in the video: the clip's number, the frame's in that clip, and when it is shown.

    Faces are followed within a shot, also from one of its clips to the next.
    """

    shot: int
    clip: int
    frame: int
    time_s: float
    face: Face


def find_faces(finder: FaceFinder, images: Sequence[Image], settings: FaceSettings) -> list[list[Face]]:
    """The faces of each image that are sure enough. Images without any are looked at again with a border around
    them: a face that touches the edge is missed otherwise.
    """
    found = [_sure(faces, settings) for faces in finder.find(images)]
    missing = [n for n, faces in enumerate(found) if not faces]
    if missing and settings.padding:
        for n, faces in zip(missing, finder.find([_padded(images[n], settings) for n in missing]), strict=True):
            down, right = _borders(images[n], settings)
            found[n] = _sure([_moved(face, -right, -down) for face in faces], settings)
    return found


def judge_reference(face: Face, face_settings: FaceSettings, settings: CandidateSettings) -> Rejected | None:
    """Rejected where a face is too small, or turned too far, to be a reference."""
    left, top, right, bottom = face.corners
    small = below("candidates", "small", min(right - left, bottom - top), face_settings.least_side_px)
    if small is not None:
        return small
    pitch, yaw, roll = pose_of(face) or (0.0, 0.0, 0.0)
    return (
        above("candidates", "turned aside", abs(yaw), settings.yaw)
        or above("candidates", "looks up or down", abs(pitch), settings.pitch)
        or above("candidates", "tilted", abs(roll), settings.roll)
    )


def quality(face: Face) -> float:
    """Detection x cos(yaw) x cos(pitch): what candidates are ranked by; without a pose the detection alone."""
    pitch, yaw, _ = pose_of(face) or (0.0, 0.0, 0.0)
    return face.score * max(0.0, math.cos(math.radians(yaw))) * max(0.0, math.cos(math.radians(pitch)))


def pose_of(face: Face) -> Pose | None:
    """The pose that the face comes with, or yaw and roll guessed from its five points; None where it has neither.

    The guess takes the nose to stand out by half the eyes' distance, so that it moves by half the tangent of the yaw;
    it tells a face from a profile, no more. Pitch is then left at 0.
    """
    if face.pose is not None or face.points is None:
        return face.pose
    eyes, nose = face.points[:2].astype(np.float64), face.points[2].astype(np.float64)
    across = eyes[1] - eyes[0]
    apart = float(np.hypot(*across))
    if apart < 1e-6:
        return 0.0, 90.0, 0.0
    roll = math.degrees(math.atan2(across[1], across[0]))
    # In a profile the eyes lie above each other, or have changed sides: then their line says nothing of the roll.
    upright = np.array([1.0, 0.0]) if abs(roll) > 60 else across / apart
    aside = float((nose - eyes.mean(axis=0)) @ upright) / apart
    yaw = math.degrees(math.atan(2 * aside))
    return 0.0, yaw, roll if abs(roll) <= 60 else 0.0


def _sure(faces: Sequence[Face], settings: FaceSettings) -> list[Face]:
    return [face for face in faces if face.score >= settings.least_score]


def _borders(image: Image, settings: FaceSettings) -> tuple[int, int]:
    return round(settings.padding * image.shape[0]), round(settings.padding * image.shape[1])


def _padded(image: Image, settings: FaceSettings) -> Image:
    down, right = _borders(image, settings)
    return np.pad(image, ((down, down), (right, right), (0, 0)), constant_values=_GREY)


def _moved(face: Face, right: float, down: float) -> Face:
    a, b, c, d = face.corners
    points = None if face.points is None else face.points + np.array([right, down], np.float32)
    return replace(face, corners=(a + right, b + down, c + right, d + down), points=points)
