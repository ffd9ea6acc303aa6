"""What the ablation's models are asked for: held-out identities in held-out combinations, the same for every arm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from magref.evaluation.ablation.budget import WORLD
from magref.evaluation.measures.score import Case, CaseSubject
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.synthetic.samples import cut_out
from magref.synthetic.world import render_scenes
from magref.video import Frames

_SEED = 7


@dataclass(frozen=True)
class Group:
    """A kind of task: how many subjects, whether a background picture comes with them, how long the video is."""

    subjects: int
    background: bool = False
    length: int = 1
    """In multiples of the trained one."""


GROUPS = {
    "one": Group(1),
    "two": Group(2),
    "three": Group(3),
    "background": Group(1, background=True),
    "long": Group(1, length=3),
}
"""Three subjects, a background and the length are zero-shot."""


@dataclass(frozen=True)
class Task:
    """What a video is made of, and what it is measured against."""

    caption: str
    references: tuple[Reference, ...]
    case: Case


def tasks(group: Group, count: int) -> list[Task]:
    """The first tasks of a group."""
    config = WORLD.model_copy(update={"max_subjects": 3, "pictures": 1.0 if group.background else 0.0, "references": 1})
    found: list[Task] = []
    start = 0
    while len(found) < count:
        indices = list(range(start, start + 16))
        start += 16
        scenes = render_scenes(indices, frames=5, height=64, width=96, seed=_SEED, split="held-out", config=config)
        for row, truth in enumerate(scenes.truths):
            if len(truth.subjects) != group.subjects or (group.background and truth.place is None):
                continue
            known = [
                CaseSubject(
                    Reference(cut_out(scenes.references[row, n, 0]), role=one.role, label=one.label), one.motion
                )
                for n, one in enumerate(truth.subjects)
            ]
            references = [one.reference for one in known if isinstance(one.reference, Reference)]
            behind: Image.Image | str = truth.colour
            if group.background:
                behind = Image.fromarray(scenes.backgrounds[row].permute(1, 2, 0).numpy())
                references.append(Reference(behind, role="background"))
            found.append(Task(truth.caption, tuple(references), Case(tuple(known), behind)))
    return found[:count]


def generate(
    pipeline: MagrefPipeline, task: Task, seed: int, *, length: int = 1, reverse: bool = False
) -> tuple[Frames, Case]:
    """One video, uint8 (F, H, W, 3), and its case with the canvas that was used.

    `reverse` gives the subjects' references in reverse order; the video should not depend on it.
    """
    subjects = [reference for reference in task.references if reference.role != "background"]
    behind = [reference for reference in task.references if reference.role == "background"]
    ordered = subjects[::-1] if reverse else subjects
    trained = pipeline.defaults.num_frames
    out = pipeline(
        task.caption,
        [*ordered, *behind],
        seed=seed,
        num_frames=length * (trained - 1) + 1,
        output_type="np",
    )
    return (out.frames * 255).round().astype(np.uint8), replace(task.case, canvas=out.canvas.image)
