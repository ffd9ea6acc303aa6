"""Two systems without a model, against which one has to show what it is worth: a still of the canvas, and the
references pasted over the background and moved by rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from magref.canvas import compose_canvas
from magref.geometry import VideoShape
from magref.references import ImageLike, OpenReference, Reference, open_references
from magref.synthetic.palette import COLOURS
from magref.video import Frames

if TYPE_CHECKING:
    from magref.evaluation.tasks import Made, System, Task

_SHARE = 0.5
"""Of the frame's height or of a column's width: what a pasted reference fills at most."""
_TRAVEL = 0.35
"""Of the frame's side, in each direction from the middle."""
_STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def still_canvas(shape: VideoShape) -> System:
    """Every frame is the canvas: identity as good as it gets, and no video."""

    def make(task: Task, seed: int) -> Made:
        canvas, frames = still_frames(task.references, shape)
        return frames, replace(task.case, canvas=canvas)

    return make


def pasted(shape: VideoShape) -> System:
    """Each reference, cut out, in a column of its own before the background, moving linearly as its motion says.

    It is told each subject's motion and the background's colour, which a model has to read from the prompt.
    """

    def make(task: Task, seed: int) -> Made:
        canvas = compose_canvas(task.references, height=shape.height, width=shape.width).image
        subjects = [subject.reference for subject in task.case.subjects]
        motions = [subject.motion for subject in task.case.subjects]
        frames = pasted_frames(subjects, motions, task.case.background, shape)
        return frames, replace(task.case, canvas=canvas)

    return make


def still_frames(references: Sequence[Reference | ImageLike], shape: VideoShape) -> tuple[Image.Image, Frames]:
    """The canvas, and a video that shows nothing else."""
    canvas = compose_canvas(references, height=shape.height, width=shape.width).image
    return canvas, np.stack([np.asarray(canvas)] * shape.frames)


def pasted_frames(
    subjects: Sequence[Reference | ImageLike],
    motions: Sequence[str | None],
    background: Reference | Image.Image | str | None,
    shape: VideoShape,
) -> Frames:
    """Subjects over a background.

    Args:
        motions: one for each subject. Others than left, right, up, down, grows and shrinks leave it where it is.
        background: a picture, the name of a plain colour, or None for white.
    """
    behind = _background(background, shape)
    cut = [_cut_out(opened) for opened in open_references(subjects)] if subjects else []
    times = np.linspace(-1, 1, shape.frames)
    return np.stack([np.asarray(_frame(behind, cut, motions, float(time))) for time in times])


def _frame(behind: Image.Image, cut: Sequence[Image.Image], motions: Sequence[str | None], time: float) -> Image.Image:
    """The picture at a time from -1 to 1."""
    frame = behind.copy()
    column = behind.width / max(1, len(cut))
    for n, (picture, motion) in enumerate(zip(cut, motions, strict=True)):
        scale = _SHARE * min(behind.height / picture.height, column / picture.width)
        if motion in ("grows", "shrinks"):
            scale *= 1 + 0.4 * (time if motion == "grows" else -time)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        right, down = _STEPS.get(motion or "", (0, 0))
        x = (n + 0.5) * column + right * time * _TRAVEL * column
        y = behind.height / 2 + down * time * _TRAVEL * behind.height
        small = picture.resize(size, Image.Resampling.LANCZOS)
        frame.paste(small, (round(x - size[0] / 2), round(y - size[1] / 2)), small)
    return frame


def _background(behind: Reference | Image.Image | str | None, shape: VideoShape) -> Image.Image:
    size = (shape.width, shape.height)
    if behind is None or isinstance(behind, str):
        colour = np.array(COLOURS[behind]) if behind else np.ones(3)
        return Image.fromarray(np.broadcast_to((colour * 255).round().astype(np.uint8), (*size[::-1], 3)).copy())
    (opened,) = open_references([behind])
    return opened.rgb.resize(size, Image.Resampling.LANCZOS)


def _cut_out(opened: OpenReference) -> Image.Image:
    picture = opened.rgb.convert("RGBA")
    if opened.alpha is not None:
        picture.putalpha(opened.alpha)
    return picture
