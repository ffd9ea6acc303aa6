"""Looking at a run: the loss on samples that it does not train on, and videos of some of them.

The samples are dealt out to the processes, and each takes its own. Where the weights are spread, every pass takes all
processes: one that has nothing left of its own repeats a sample, which is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image

from magref.dataset.format import Sample
from magref.errors import MagrefError, ResourceError, memory_errors
from magref.geometry import VideoShape
from magref.outputs import write_image
from magref.parallel import Denoise
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.sheets import stacked_strips, video_strip
from magref.training.examples import draw_canvas, read_clip
from magref.training.objective import Example, Objective
from magref.training.parallel import Team
from magref.training.setup import Setting
from magref.video import Frames, write_video

T = TypeVar("T")

OnSkip: TypeAlias = Callable[[str, str], None]
"""Told the name of a sample, and why it is left out."""

NOISE_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The loss is the mean over these: drawn at random, few samples would give a figure of chance."""

_NO_ROOM = ("validation videos", "set validation.videos to 0, or use smaller data.sizes or fewer data.frames")
"""What memory does not suffice for, and the remedy."""


class Stopped(Exception):  # noqa: N818 - no error
    """The run was asked to stop, and all processes know."""


class NoRoom(Exception):  # noqa: N818 - no error
    """Memory does not suffice for the videos, which a run can do without, and all processes know."""


@dataclass(frozen=True)
class Case:
    """A video to generate: what is asked for, and its size."""

    caption: str
    references: list[Reference]
    shape: VideoShape


def obey(team: Team, stop: Sequence[bool]) -> None:
    """Stop all processes where any of them is asked to; all call it together.

    Raises:
        Stopped: one is.
    """
    if team.most(int(stop[0])):
        raise Stopped


def dealt(count: int, team: Team) -> Iterator[tuple[int, bool]]:
    """In rounds, the number of one of `count` things for this process, and whether it is its own to count."""
    for start in range(0, count, team.world):
        number = start + team.rank
        yield number % count, number < count


def apart(team: Team, work: Callable[[], T]) -> T:
    """Every process does the work, in which none waits for another.

    Raises:
        NoRoom: in all, where memory does not suffice in any.
    """
    done: list[T] = []
    problem = None
    try:
        with memory_errors(*_NO_ROOM):
            done.append(work())
    except ResourceError as error:
        problem = str(error)
    problems = [text for text in team.gather(problem) if text is not None]
    if problems:
        raise NoRoom(problems[0])
    return done[0]


@contextmanager
def brought(models: Sequence[Any], team: Team) -> Iterator[None]:
    """Models that idle in the CPU's memory, on the run's device for as long.

    Raises:
        NoRoom: memory does not suffice for them.
    """
    idle = [model for model in models if model.device != team.device]
    try:
        apart(team, lambda: [model.to(team.device) for model in idle])
        yield
    finally:
        for model in idle:
            model.to("cpu")


class RunPipeline(MagrefPipeline):
    """A pipeline over weights that may be spread; the VAE's work, which needs most memory, is each process's own."""

    team: Team
    autocast = False
    """Spread weights are float32 by name, and bfloat16 when they are gathered: what they are multiplied with must
    become so too."""

    def _denoiser(self, *arguments: Any, **named: Any) -> Denoise:
        denoise = super()._denoiser(*arguments, **named)

        def computed(latents: torch.Tensor, step: int) -> list[torch.Tensor]:
            with torch.autocast(latents.device.type, torch.bfloat16, enabled=self.autocast):
                return denoise(latents, step)

        return computed

    def _conditioning(self, *arguments: Any) -> Any:
        return apart(self.team, partial(super()._conditioning, *arguments))

    def _decoded(self, *arguments: Any) -> Any:
        return apart(self.team, partial(super()._decoded, *arguments))


@dataclass(frozen=True)
class HeldOut:
    """What the samples that are not trained on say; `names` are those that could be read."""

    names: list[str]
    loss: float
    """The mean over samples and noise levels."""
    caption_gain: float | None
    """From noise alone, by how much the loss is lower with a sample's own caption than with another's. Near zero, the
    words are not heeded, whatever the loss may be: below the highest levels the clip itself shows through. None where a
    single sample is held out, which has no other."""

    def figures(self) -> dict[str, float]:
        """As they are logged."""
        gain = {} if self.caption_gain is None else {"caption_gain": self.caption_gain}
        return {"validation_loss": self.loss, **gain}


@torch.no_grad()
def look_at_held_out(
    objective: Objective,
    held_out: Sequence[str],
    read: Callable[[int, str], Example],
    on_skip: OnSkip,
    team: Team,
    stop: Sequence[bool],
) -> HeldOut | None:
    """The losses of samples that stay the same throughout the run, with the same noise.

    Args:
        held_out: names of samples; what cannot be read is left out, and told to `on_skip`.
        read: encodes one, by its number and name.
        stop: is set from outside when the run is to stop.

    Returns:
        The same in every process and for any number of them; None where no sample can be read.

    Raises:
        Stopped: between two samples.
    """
    rounds: list[tuple[int, bool, Example]] = []
    for number, counts in dealt(len(held_out), team):
        obey(team, stop)
        # Where its own cannot be read, any that can be takes part.
        others = [*range(number, len(held_out)), *range(number)]
        place, example = _readable([(place, held_out[place]) for place in others], read, on_skip)
        if any(team.gather(example is None)):
            return None
        assert example is not None
        rounds.append((place, counts and place == number, example))
    own = [(place, _on_cpu(example.text)) for place, counts, example in rounds if counts]
    texts = dict(sorted(pair for pairs in team.gather(own) for pair in pairs))
    following = dict(zip(texts, [*texts][1:] + [*texts][:1], strict=True))

    found: list[tuple[int, str, list[float], float]] = []
    for place, counts, example in rounds:
        obey(team, stop)
        losses = [float(objective.loss([example], sigma=level)) for level in NOISE_LEVELS]
        swapped = replace(example, text=texts[following[place]])
        told, mistold = (float(objective.loss([each], sigma=1.0)) for each in (example, swapped))
        if counts:
            found.append((place, example.name, losses, mistold - told))
    rows = sorted(row for rows in team.gather(found) for row in rows)
    return HeldOut(
        names=[name for _, name, _, _ in rows],
        loss=mean(loss for _, _, losses, _ in rows for loss in losses),
        caption_gain=mean(gain for _, _, _, gain in rows) if len(texts) > 1 else None,
    )


def _on_cpu(text: torch.Tensor | str) -> torch.Tensor | str:
    """What travels between processes; from a GPU, each would lay it on the sender's."""
    return text if isinstance(text, str) else text.cpu()


def _readable(
    places: Sequence[tuple[int, str]],
    read: Callable[[int, str], Example],
    on_skip: OnSkip,
) -> tuple[int, Example | None]:
    """The first of these samples that can be read."""
    for place, name in places:
        try:
            return place, read(place, name)
        except MagrefError as error:
            on_skip(name, str(error))
    return -1, None


def cases_of(setting: Setting, held_out: Sequence[tuple[str, VideoShape]], on_skip: OnSkip) -> list[Case]:
    """Of up to `validation.videos` of these samples; what cannot be read is told to `on_skip`, and the next follows."""
    cases: list[Case] = []
    for name, shape in held_out:
        if len(cases) == setting.recipe.validation.videos:
            break
        try:
            sample = setting.rows[name]
            cases.append(Case(sample.caption, _references(setting, sample, shape), shape))
        except MagrefError as error:
            on_skip(name, str(error))
    return cases


def _references(setting: Setting, sample: Sample, shape: VideoShape) -> list[Reference]:
    folder, data = setting.dataset.folder, setting.recipe.data
    if data.condition == "first-frame":
        return [Reference(Image.fromarray(read_clip(folder, sample.clip, shape, data.fps)[0]))]
    plain = data.model_copy(update={"shuffle": False, "object_dropout": 0.0})
    canvas = draw_canvas(folder, sample, shape, plain, (setting.recipe.seed, 0))
    return [Reference(reference.rgb, role=reference.role) for reference in canvas.references]


def validation_videos(
    pipeline: MagrefPipeline,
    cases: Sequence[Case],
    folder: Path,
    team: Team,
    stop: Sequence[bool],
) -> Image.Image:
    """Generate the cases, each by one process, and write the videos and a contact sheet, which is returned.

    Raises:
        Stopped: after any sampling step.
        NoRoom: memory does not suffice for one.
        ResourceError: nor does it in one process while it samples, where the others wait for it and cannot go on.
    """

    def on_step(*_: Any) -> None:
        obey(team, stop)

    own: list[tuple[int, Image.Image]] = []
    for number, counts in dealt(len(cases), team):
        case = cases[number]
        out = _generated(pipeline, case, number, on_step, team)
        frames = np.stack([np.asarray(frame) for frame in out.frames])
        team.each(partial(_write, frames, folder / f"{number}.mp4" if counts else None, pipeline.defaults.fps))
        if counts:
            own.append((number, video_strip(frames, out.canvas.image)))
    strips = dict(row for rows in team.gather(own) for row in rows)
    sheet = stacked_strips([strips[number] for number in sorted(strips)], [case.caption for case in cases])
    team.first(lambda: write_image(sheet, folder / "sheet.png", overwrite=True))
    return sheet


def _generated(pipeline: MagrefPipeline, case: Case, seed: int, on_step: Callable[..., Any], team: Team) -> Any:
    try:
        return pipeline(
            case.caption,
            case.references,
            seed=seed,
            height=case.shape.height,
            width=case.shape.width,
            num_frames=case.shape.frames,
            callback_on_step_end=on_step,
        )
    except ResourceError:  # whose remedies are those of a command that generates
        problem = "memory does not suffice for {}; {}".format(*_NO_ROOM)
    raise NoRoom(problem) if team.world == 1 else ResourceError(problem)


def _write(frames: Frames, path: Path | None, fps: float) -> None:
    if path is not None:
        write_video(frames, path, fps=fps, overwrite=True)
