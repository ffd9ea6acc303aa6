"""What models of the synthetic world are asked for: held-out identities in held-out combinations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from magref.canvas import Canvas
from magref.evaluation.measures.score import Case, CaseSubject, VideoScore, score_video
from magref.mechanisms import reference_pictures
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.settings import Mechanism
from magref.sheets import video_strip
from magref.synthetic.motions import BASIC
from magref.synthetic.plans import STAGED, WorldConfig
from magref.synthetic.samples import picture_of
from magref.synthetic.world import render_scenes
from magref.video import Frames

FREE = WorldConfig(motions=BASIC, camera=0.0, occlusion=0.0)
"""Six motions before a camera that stands still; references in another pose, light and size than in the clip."""
_SEED = 7


@dataclass(frozen=True)
class Group:
    """A kind of task: how many subjects, whether a background picture comes with them, how long the video is."""

    subjects: int
    background: bool = False
    length: int = 1
    """In multiples of the trained one."""


@dataclass(frozen=True)
class Task:
    """What a video is made of, and what it is measured against."""

    caption: str
    references: tuple[Reference, ...]
    case: Case
    new: tuple[str, ...] = ()
    """What no training sample has: of "identity", "combination" and "words"."""


Made: TypeAlias = tuple[Frames, Case]
"""A video, uint8 (F, H, W, 3), and its case with the canvas that was used."""
System: TypeAlias = Callable[[Task, int], Made]
"""Makes a task's video with a seed."""


def tasks(group: Group, count: int, *, world: WorldConfig = STAGED) -> list[Task]:
    """The first tasks of a group in that world, always the same."""
    config = world.model_copy(update={"max_subjects": 3, "pictures": 1.0 if group.background else 0.0, "references": 1})
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
                    Reference(picture_of(scenes.references[row, n, 0], world), role=one.role, label=one.label),
                    one.motion,
                )
                for n, one in enumerate(truth.subjects)
            ]
            references = [one.reference for one in known if isinstance(one.reference, Reference)]
            behind: Image.Image | str = truth.colour
            if group.background:
                behind = Image.fromarray(scenes.backgrounds[row].permute(1, 2, 0).numpy())
                references.append(Reference(behind, role="background"))
            found.append(Task(truth.caption, tuple(references), Case(tuple(known), behind), truth.new))
    return found[:count]


def paraphrases(count: int) -> list[Task]:
    """One subject each, asked for in free wording that training never has; `data/paraphrases.txt`, spread evenly."""
    listed = resources.files("magref.evaluation") / "data" / "paraphrases.txt"
    lines = [line for line in listed.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    chosen = [lines[index * len(lines) // count] for index in range(count)]
    found = []
    for line, task in zip(chosen, tasks(Group(1), count), strict=True):
        motion, text = (part.strip() for part in line.split("|", 1))
        (subject,) = task.case.subjects
        assert isinstance(subject.reference, Reference)
        words = text.format(subject.reference.label)
        case = Case((CaseSubject(subject.reference, motion),))
        new = (*(what for what in task.new if what != "words"), "words")
        found.append(Task(words[0].upper() + words[1:], task.references, case, new))
    return found


def generator(pipeline: MagrefPipeline, *, num_frames: int | None = None, reverse: bool = False) -> System:
    """A model as a system.

    `num_frames` is the model's own by default. `reverse` gives the subjects' references in reverse order; the video
    should not depend on it.
    """

    def generate(task: Task, seed: int) -> Made:
        subjects = [reference for reference in task.references if reference.role != "background"]
        behind = [reference for reference in task.references if reference.role == "background"]
        out = pipeline(
            task.caption,
            [*(subjects[::-1] if reverse else subjects), *behind],
            seed=seed,
            num_frames=num_frames,
            output_type="np",
        )
        pictures = _given_apart(out.canvas, pipeline.defaults.mechanism)
        case = replace(task.case, canvas=out.canvas.image, pictures=pictures)
        return (out.frames * 255).round().astype(np.uint8), case

    return generate


def _given_apart(canvas: Canvas, mechanism: Mechanism) -> tuple[Image.Image, ...]:
    """The pictures that a mechanism is given one by one; none where it is given the canvas.

    Without a background's: the video is to show it, and it is no layout that should have gone.
    """
    if mechanism == "masked":
        return ()
    pictures = reference_pictures(canvas, fill_background=mechanism == "vanilla")
    return tuple(picture for picture, of in zip(pictures, canvas.by_cell(), strict=True) if of.role != "background")


def measure(system: System, wanted: list[Task], path: Path, *, frames: Path | None = None, shown: int = 0) -> None:
    """Score a system's videos, a line of JSON each in `path`; a second call goes on where the first one ended.

    Task i is made with the seed i. Of the first `shown` videos, frames are kept as `<frames>-<i>.png`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    done = len(load_scores(path)) if path.exists() else 0
    with path.open("a", encoding="utf-8") as lines:
        for number, task in enumerate(wanted[done:], done):
            video, case = system(task, number)
            if frames is not None and number < shown:
                with writing(frames.with_name(f"{frames.name}-{number}.png"), overwrite=True) as temporary:
                    video_strip(video, case.canvas, columns=6).save(temporary, format="PNG")
            lines.write(score_video(video, case).model_dump_json() + "\n")
            lines.flush()


def load_scores(path: Path) -> list[VideoScore]:
    """What `measure` wrote; a line that a kill cut short is cut off the file."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [VideoScore.model_validate_json(line) for line in whole.splitlines()]
