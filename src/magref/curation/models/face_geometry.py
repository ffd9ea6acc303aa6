"""The geometry around face networks, as InsightFace computes it: boxes from anchors, upright crops, angles of the head.

Numbers agree with InsightFace's python package (1.0 and 0.7); written anew over numpy, which spares its dependencies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where eyes, nose and corners of the mouth lie in the 112 x 112 pixels that ArcFace networks were trained on."""
ARCFACE_PX = 112


def anchor_centres(side_px: tuple[int, int], stride: int, per_place: int) -> Floats:
    """The points from which SCRFD measures, row by row, (places x per_place, 2) as x and y in pixels of its input.

    Args:
        side_px: height and width of the network's input.
    """
    rows, columns = np.mgrid[: side_px[0] // stride, : side_px[1] // stride]
    places = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32) * stride
    return np.repeat(places, per_place, axis=0)


def boxes_from_distances(centres: Floats, distances: Floats) -> Floats:
    """Left, top, right and bottom (N, 4) from the distances of these four edges to each centre."""
    return np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)


def points_from_offsets(centres: Floats, offsets: Floats) -> Floats:
    """Points (N, P, 2) from their offsets (N, 2 P) to each centre."""
    return centres[:, None] + offsets.reshape(len(offsets), -1, 2)


def suppress(boxes: Floats, scores: Floats, threshold: float) -> list[int]:
    """Which boxes stay when each removes the less sure ones that it overlaps by more than `threshold`, surest first.

    Areas count the edge's pixel too, as in InsightFace.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2] + 1, 0)
    areas = sides.prod(axis=1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        top_left = np.maximum(boxes[first, :2], boxes[rest, :2])
        bottom_right = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = np.maximum(bottom_right - top_left + 1, 0).prod(axis=1)
        order = rest[shared / (areas[first] + areas[rest] - shared) <= threshold]
    return kept


def similarity(source: Floats, target: Floats) -> Floats:
    """The (2, 3) matrix that turns, scales and moves `source` (N, 2) nearest to `target`, by least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, equations 40-42.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred, wanted = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(wanted.T @ centred / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])  # a face is not mirrored
    turn = u @ np.diag(signs) @ vt
    scale = (singular * signs).sum() / centred.var(axis=0).sum()
    return np.column_stack([scale * turn, target_mean - scale * turn @ source_mean])


def square_crop(corners: Sequence[float], side_px: int, *, margin: float = 1.5) -> Floats:
    """The (2, 3) matrix that brings a box, with room around it, to the middle of a square picture."""
    left, top, right, bottom = corners
    scale = side_px / (max(right - left, bottom - top) * margin)
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.array([[scale, 0.0, side_px / 2 - x * scale], [0.0, scale, side_px / 2 - y * scale]])


def head_pose(points: Floats, mean_shape: Floats) -> tuple[float, float, float]:
    """Pitch, yaw and roll in degrees of a head with these landmarks.

    The affine map from the mean shape to the points, by least squares; the directions of its first two rows are two
    axes of the rotation, from which the angles are read.

    Args:
        points: (68, 3), x and y in pixels, z in the same unit.
        mean_shape: (68, 3), the same landmarks of a head that looks ahead.
    """
    known = np.column_stack([mean_shape, np.ones(len(mean_shape))])
    affine = np.linalg.lstsq(known, points, rcond=None)[0].T  # (3, 4)
    right, down = (row / np.linalg.norm(row) for row in affine[:2, :3])
    rotation = np.stack([right, down, np.cross(right, down)])
    level = math.hypot(rotation[0, 0], rotation[1, 0])
    if level < 1e-6:  # looks straight to a side: roll and pitch turn about one axis
        angles = math.atan2(-rotation[1, 2], rotation[1, 1]), math.atan2(-rotation[2, 0], level), 0.0
    else:
        angles = (
            math.atan2(rotation[2, 1], rotation[2, 2]),
            math.atan2(-rotation[2, 0], level),
            math.atan2(rotation[1, 0], rotation[0, 0]),
        )
    pitch, yaw, roll = (math.degrees(angle) for angle in angles)
    return pitch, yaw, roll
