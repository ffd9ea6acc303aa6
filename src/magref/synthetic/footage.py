"""Films with cuts: several shots in one mp4, in which the same subjects come back, with the truth beside each.

    footage.json                    what the films were made with
    film-00000.mp4                  hard cuts, fades through black and dissolves
    film-00000.json                 `FilmTruth`: shots, transitions, captions, cameras, identities, boxes in every frame
    film-00000/masks/00000.png      one for each frame: 0, or the number of the subject that is seen there (from 1)

A curation that runs on the films, or a detector of cuts, can be held against these files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field, ValidationError, model_validator

from magref.errors import InputError, OutputError
from magref.outputs import write_image, writing
from magref.references import Role
from magref.settings import Record
from magref.sidecar import first_problem
from magref.synthetic.plans import WorldConfig, plan_scene
from magref.synthetic.splits import Split, nth_identity
from magref.synthetic.traits import Choices
from magref.synthetic.world import Scenes, SceneTruth, render_plans
from magref.video import write_video

SETTINGS_FILE = "footage.json"
Pixels = tuple[int, int, int, int]


class FootageSettings(Record):
    """What films are like."""

    format: Literal["magref-footage"] = "magref-footage"
    version: Literal[1] = 1
    height: Annotated[int, Field(ge=32, le=2160)] = 192
    width: Annotated[int, Field(ge=32, le=3840)] = 288
    fps: Annotated[float, Field(gt=0, le=120)] = 16.0
    seed: Annotated[int, Field(ge=0, lt=2**30)] = 0
    split: Split = "train"
    shots: tuple[int, int] = (3, 6)
    """The fewest and the most shots of a film."""
    shot_frames: tuple[int, int] = (20, 48)
    gradual: Annotated[float, Field(ge=0, le=1)] = 0.4
    """How many of the transitions are fades or dissolves."""
    world: WorldConfig = WorldConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.height % 2 or self.width % 2:
            raise ValueError(f"a video of {self.width}x{self.height} cannot be an .mp4; use even sides")
        if not 1 <= self.shots[0] <= self.shots[1]:
            raise ValueError(f"from {self.shots[0]} to {self.shots[1]} shots is no range")
        if not 2 * _LONGEST <= self.shot_frames[0] <= self.shot_frames[1]:
            raise ValueError(f"shots need at least {2 * _LONGEST} frames, the fewest first; not {self.shot_frames}")
        return self


_SHORTEST, _LONGEST = 5, 9
"""Frames of a fade or a dissolve."""


class Transition(Record):
    """From one shot to the next.

    A cut lies before frame `start` (and `stop` is the same); a fade or a dissolve covers frames `start` to `stop` - 1.
    """

    kind: Literal["cut", "fade", "dissolve"]
    start: int
    stop: int


class Appearance(Record):
    """A subject in a shot; `number` is its value in the mask pictures, `boxes` by the film's frames."""

    number: int
    identity: int
    kind: str
    role: Role
    label: str
    span: tuple[int, int]
    motion: str
    boxes: dict[str, Pixels]
    """The frame, as text, and left, top, right, bottom in pixels; only frames in which something of it is seen."""


class Shot(Record):
    """Frames `start` to `stop` - 1, which at a dissolve overlap the next shot's."""

    start: int
    stop: int
    caption: str
    camera: str
    place: str | None
    place_label: str | None
    colour: str | None
    subjects: tuple[Appearance, ...]


class FilmTruth(Record):
    """Everything there is to know of a film."""

    video: str
    fps: float
    num_frames: int
    height: int
    width: int
    identities: tuple[int, ...]
    shots: tuple[Shot, ...]
    transitions: tuple[Transition, ...]


@dataclass(frozen=True)
class _Take:
    """A shot with its pixels; `start` is its first frame in the film."""

    scenes: Scenes
    start: int
    length: int

    @property
    def stop(self) -> int:
        return self.start + self.length


def write_footage(
    folder: str | Path, settings: FootageSettings, *, count: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[str, bool]]:
    """Write films 0 to `count` - 1; yields each film's name, and False where it was there already.

    Raises:
        OutputError: the folder holds something else, or films made with other settings.
    """
    folder = Path(folder).expanduser()
    _open(folder, settings)
    for number in range(count):
        name = f"film-{number:05d}"
        if (folder / f"{name}.json").exists():
            yield name, False
            continue
        frames, masks, truth = render_film(number, settings, device=device)
        write_video(frames, folder / f"{name}.mp4", fps=settings.fps, overwrite=True)
        for index, mask in enumerate(masks):
            write_image(Image.fromarray(mask), folder / name / "masks" / f"{index:05d}.png", overwrite=True)
        # Written last: a film whose truth is there is whole.
        with writing(folder / f"{name}.json") as path:
            path.write_text(truth.model_dump_json(indent=1) + "\n", encoding="utf-8")
        yield name, True


def read_truth(path: str | Path) -> FilmTruth:
    """A film's truth; InputError where the file is none."""
    try:
        return FilmTruth.model_validate_json(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); check the file") from None
    except ValidationError as error:
        raise InputError(f"{path} is no film's truth: {first_problem(error)}") from None


def render_film(
    number: int, settings: FootageSettings, *, device: torch.device | str = "cpu"
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], FilmTruth]:
    """Film `number` of the settings.

    Returns:
        Frames (F, H, W, 3) and masks (F, H, W), both uint8, and the truth.
    """
    choices = Choices(number, f"film {settings.seed} {settings.split}")
    pool = _cast(choices, settings)
    count = settings.shots[0] + choices.integer("shots", settings.shots[1] - settings.shots[0] + 1)
    transitions: list[Transition] = []
    takes: list[_Take] = []
    before = None
    for n in range(count):
        length = settings.shot_frames[0] + choices.integer(
            f"length {n}", settings.shot_frames[1] - settings.shot_frames[0] + 1
        )
        scenes = _shoot(choices, number, n, length, pool, before, settings, device)
        before = scenes.truths[0]
        start = takes[-1].stop if takes else 0
        if takes:
            transition = _transition(choices, n, start, settings)
            transitions.append(transition)
            if transition.kind == "dissolve":
                start = transition.start
        takes.append(_Take(scenes, start, length))
    frames = _cut_together(takes, transitions, settings)
    masks, shots = _truths(takes, transitions, pool, settings)
    used = {subject.number for shot in shots for subject in shot.subjects}
    truth = FilmTruth(
        video=f"film-{number:05d}.mp4", fps=settings.fps, num_frames=len(frames),
        height=settings.height, width=settings.width,
        identities=tuple(identity for n, identity in enumerate(pool, 1) if n in used), shots=tuple(shots),
        transitions=tuple(transitions),
    )  # fmt: skip
    return frames, masks, truth


def _open(folder: Path, settings: FootageSettings) -> None:
    path = folder / SETTINGS_FILE
    if path.exists():
        try:
            same = FootageSettings.model_validate_json(path.read_text(encoding="utf-8")) == settings
        except ValidationError:
            same = False
        if not same:
            raise OutputError(f"{folder} holds films made with other settings; choose another folder")
        return
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"the folder {folder} is not empty and holds no films; choose another")
    with writing(path) as temporary:
        temporary.write_text(settings.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _cast(choices: Choices, settings: FootageSettings) -> tuple[int, ...]:
    """The identities of a film: few, so that they come back."""
    chosen: list[int] = []
    for n in range(3 + choices.integer("cast", 2)):
        identity = nth_identity(settings.split, choices.integer(f"cast {n}", settings.world.identities))
        if identity not in chosen:
            chosen.append(identity)
    return tuple(chosen)


def _shoot(
    choices: Choices, number: int, n: int, length: int, pool: Sequence[int], before: SceneTruth | None,
    settings: FootageSettings, device: torch.device | str,
) -> Scenes:  # fmt: skip
    """One shot, in another place or before another colour than the shot before it."""
    size = {"frames": length, "height": settings.height, "width": settings.width, "seed": settings.seed}
    order = sorted(pool, key=lambda identity: choices.uniform(f"shot {n} {identity}"))
    cast = tuple(order[: 1 + choices.integer(f"cast of {n}", min(settings.world.max_subjects, len(pool)))])
    for attempt in range(20):
        index = (number * 1000 + n) * 20 + attempt
        plan = plan_scene(index, **size, split=settings.split, config=settings.world, cast=cast)
        if before is None or plan.place is not None or before.place is not None or plan.colour != before.colour:
            break
    return render_plans([plan], **size, split=settings.split, config=settings.world, device=device)


def _transition(choices: Choices, n: int, at: int, settings: FootageSettings) -> Transition:
    """The transition into shot n, where the shot before ends at frame `at`."""
    if not choices.chance(f"gradual {n}", settings.gradual):
        return Transition(kind="cut", start=at, stop=at)
    length = _SHORTEST + choices.integer(f"transition {n}", _LONGEST - _SHORTEST + 1)
    if choices.chance(f"fade {n}", 0.5):
        return Transition(kind="fade", start=at - length // 2, stop=at + length - length // 2)
    return Transition(kind="dissolve", start=at - length, stop=at)


def _cut_together(
    takes: Sequence[_Take], transitions: Sequence[Transition], settings: FootageSettings
) -> npt.NDArray[np.uint8]:
    video = np.zeros((takes[-1].stop, settings.height, settings.width, 3), np.float32)
    for n, take in enumerate(takes):
        pixels = take.scenes.frames[0].permute(0, 2, 3, 1).cpu().numpy().astype(np.float32)
        share = np.ones(take.length, np.float32)
        frame = take.start + np.arange(take.length) + 0.5
        before = transitions[n - 1] if n else None
        after = transitions[n] if n < len(transitions) else None
        for transition, entering in ((before, True), (after, False)):
            if transition is None or transition.kind == "cut":
                continue
            along = np.clip((frame - transition.start) / (transition.stop - transition.start), 0, 1)
            if transition.kind == "fade":
                along = np.clip(2 * along - 1, 0, 1) if entering else np.clip(2 * along, 0, 1)
            share *= along if entering else 1 - along
        video[take.start : take.stop] += pixels * share[:, None, None, None]
    return video.round().clip(0, 255).astype(np.uint8)


def _truths(
    takes: Sequence[_Take], transitions: Sequence[Transition], pool: Sequence[int], settings: FootageSettings
) -> tuple[npt.NDArray[np.uint8], list[Shot]]:
    """Masks (F, H, W) and shots; in a dissolve, a mask is of the shot that shows more."""
    masks = np.zeros((takes[-1].stop, settings.height, settings.width), np.uint8)
    shots = []
    for n, take in enumerate(takes):
        truth = take.scenes.truths[0]
        entering = transitions[n - 1] if n else None
        first = (entering.start + entering.stop) // 2 if entering and entering.kind == "dissolve" else take.start
        masks[first : take.stop] = 0
        subjects = []
        for slot, known in enumerate(truth.subjects):
            number = pool.index(known.identity) + 1
            inside = take.scenes.masks[0, slot].cpu().numpy()
            masks[first : take.stop][inside[first - take.start :]] = number
            boxes = {}
            for frame, (left, top, right, bottom) in enumerate(take.scenes.boxes[0, slot].tolist()):
                if right > left:
                    boxes[str(take.start + frame)] = (left, top, right, bottom)
            subjects.append(
                Appearance(
                    number=number, identity=known.identity, kind=known.kind, role=known.role, label=known.label,
                    span=known.span, motion=known.motion, boxes=boxes,
                )
            )  # fmt: skip
        shots.append(
            Shot(
                start=take.start, stop=take.stop, caption=truth.caption, camera=truth.camera, place=truth.place,
                place_label=truth.place_label, colour=None if truth.place else truth.colour, subjects=tuple(subjects),
            )
        )  # fmt: skip
    return masks, shots
