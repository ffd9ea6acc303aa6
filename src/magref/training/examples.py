"""From a sample on disk to what the model is shown: a clip of the right size, and a canvas of its references.

Each draw takes one of the candidate pictures of every subject (paper 3.1: one of ten faces), may leave objects out,
changes the pictures against copy-paste, and shuffles them over the canvas's cells (paper 3.2).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magref.canvas import Canvas, Order, compose_canvas
from magref.dataset.format import Clip, Picture, Sample, Subject
from magref.dataset.store import read_picture
from magref.errors import InputError
from magref.geometry import VideoShape
from magref.references import Reference
from magref.seeking import read_frames
from magref.training.augment import augment
from magref.training.recipe import DataRecipe
from magref.video import Frames


@dataclass(frozen=True)
class Buckets:
    """The shapes that clips are brought to."""

    sizes: tuple[tuple[int, int], ...]
    """(width, height)"""
    frames: tuple[int, ...]
    fps: float | None

    def shapes(self) -> list[VideoShape]:
        """Every shape that a clip may get."""
        return [VideoShape(frames, height, width) for frames in self.frames for width, height in self.sizes]

    def choose(self, clip: Clip) -> VideoShape:
        """The size nearest in shape and the most frames that the clip's window fills.

        Raises:
            InputError: the clip is too short for every length.
        """
        aspect = np.log(clip.width / clip.height)
        width, height = min(self.sizes, key=lambda size: abs(np.log(size[0] / size[1]) - aspect))
        available = len(frame_numbers(clip, self.fps))
        fitting = [frames for frames in self.frames if frames <= available]
        if not fitting:
            raise InputError(f"its window has {available} frames; {min(self.frames)} are the fewest that are trained")
        return VideoShape(max(fitting), height, width)


def frame_numbers(clip: Clip, fps: float | None) -> list[int]:
    """The frames of the clip's window at this rate; every one where `fps` is None or not lower than the clip's."""
    if fps is None or fps >= clip.fps:
        return list(range(clip.start, clip.stop))
    count = int((clip.stop - clip.start - 1) * fps / clip.fps) + 1
    return [clip.start + round(n * clip.fps / fps) for n in range(count)]


def read_clip(folder: Path, clip: Clip, shape: VideoShape, fps: float | None) -> Frames:
    """The clip's first frames as uint8 (F, H, W, 3): scaled to cover the size, the rest cut off evenly."""
    frames = read_frames(folder / clip.path, frame_numbers(clip, fps)[: shape.frames])
    return np.stack([_cover(frame, shape) for frame in frames])


def _cover(frame: Frames, shape: VideoShape) -> Frames:
    height, width, _ = frame.shape
    if (height, width) == (shape.height, shape.width):
        return frame
    scale = max(shape.width / width, shape.height / height)
    across, down = shape.width / scale, shape.height / scale
    left, top = max(0.0, (width - across) / 2), max(0.0, (height - down) / 2)  # rounding may lie below 0
    box = left, top, min(float(width), left + across), min(float(height), top + down)
    return np.asarray(Image.fromarray(frame).resize((shape.width, shape.height), Image.Resampling.LANCZOS, box))


def draw_canvas(folder: Path, sample: Sample, shape: VideoShape, recipe: DataRecipe, seed: tuple[int, ...]) -> Canvas:
    """A canvas of the sample's references; a pure function of its arguments. `seed` is (run, sample, draw).

    Of more references than the recipe has room for, persons go first and the others are drawn.

    Raises:
        InputError: the sample has background references alone, or one of its pictures cannot be read.
    """
    random = np.random.default_rng([*seed, zlib.crc32(sample.id.encode())])
    subjects = [s for s in sample.subjects if recipe.backgrounds or s.role != "background"]
    kept = [s for s in subjects if s.role != "object" or random.random() >= recipe.object_dropout]
    kept = kept or subjects[:1]
    if not kept:
        raise InputError("it has background references alone, which this recipe leaves out")
    references = []
    for subject in _fitting(kept, recipe.references, random):
        ranked = candidates(subject.pictures, sample.clip)[: recipe.candidates]
        picture = ranked[random.integers(len(ranked))]
        image = read_picture(folder / picture.path).convert("RGBA")
        if subject.role != "background":
            image = augment(image, recipe.augment, random)
        references.append(Reference(image, role=subject.role, label=subject.label))
    order: Order = "shuffled" if recipe.shuffle else "given"
    return compose_canvas(
        references, height=shape.height, width=shape.width, order=order, seed=int(random.integers(2**31))
    )


def _fitting(subjects: list[Subject], count: int, random: np.random.Generator) -> list[Subject]:
    """At most `count` of the subjects, in their own order."""
    if len(subjects) <= count:  # without a draw, so that a seed's canvas depends on `count` only where it must
        return subjects
    drawn = sorted(random.permutation(len(subjects)).tolist(), key=lambda number: subjects[number].role != "person")
    return [subjects[number] for number in sorted(drawn[:count])]


def candidates(pictures: tuple[Picture, ...], clip: Clip) -> list[Picture]:
    """A subject's pictures, best first; those from outside of the trained window alone, where there are any."""
    outside = [p for p in pictures if p.frame is None or not clip.start <= p.frame < clip.stop]
    return sorted(outside or pictures, key=lambda p: -(p.score or 0.0))


def first_frame_canvas(frames: Frames) -> Canvas:
    """The clip's own first frame, all of it marked by the mask: Wan2.1's image-to-video conditioning."""
    whole = np.ones(frames.shape[1:3], dtype=np.bool_)
    return Canvas(Image.fromarray(frames[0]), whole, ((0, 0, frames.shape[2], frames.shape[1]),), ())


def blank_canvas(shape: VideoShape) -> Canvas:
    """No references at all: white, and a mask that is empty; what reference dropout shows."""
    empty = np.zeros((shape.height, shape.width), dtype=np.bool_)
    return Canvas(Image.new("RGB", (shape.width, shape.height), "white"), empty, (), ())


def clip_pixels(frames: Frames) -> torch.Tensor:
    """uint8 (F, H, W, 3) -> (3, F, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float().div_(127.5).sub_(1)
