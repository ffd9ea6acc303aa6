"""A run's folder: its recipe, its checkpoints, and going on from the newest.

recipe.yaml                     the whole recipe, defaults included
log.jsonl                       a line for each logged step
skipped.jsonl                   samples that could not be used, and why
checkpoints/step-00000500/      torch's distributed checkpoint: trained weights, averages, optimizers, step; and
                                seen.json: which samples, and how many a step
samples/step-00000500/          validation videos
model/ or lora.safetensors      what the run made, once it is done
exported.json                   which of these was written last, and of which step: see `result`
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import shutil
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from magref.errors import InputError, MagrefError, OutputError
from magref.geometry import VideoShape
from magref.outputs import system_error, writing
from magref.settings import Record
from magref.training.optim import Averages
from magref.training.parallel import Team
from magref.training.recipe import Recipe, parse_recipe, recipe_yaml

RECIPE_FILE = "recipe.yaml"
SEEN_FILE = "seen.json"
_STEP = re.compile(r"step-(\d{8})(?:\.(\d+))?")
"""The number after the dot is there where a step was saved again: a finished checkpoint is never written over."""
_FULL_BYTES = 1 << 20
"""A disk with less room than this is why a checkpoint could not be written."""
_FREE = {
    "optim.steps",
    "optim.learning_rate",
    "optim.clip_norm",
    "optim.batch",
    "optim.accumulate",
    "save_every",
    "keep",
    "loggers",
    "validation",
    "data.workers",
    "optim.compile",
    "optim.checkpointing",
    "data.dataset",
    "data.cache",
}
"""What may change between the parts of one run; of batch and accumulation, not what they come to, of dataset and cache
their places and not what lies there: see `Seen`.
"""


class Seen(Record):
    """What a run sees. Its later parts must see the same, or they would not go on with it: every step's batch follows
    from these, and a sample held out must never have been trained on.
    """

    samples: int
    samples_sha256: str
    """Of the ids and shapes, in their order."""
    held_out: tuple[str, ...]
    samples_per_step: int
    """Over all processes: batch, passes and processes may change as long as their product stays."""

    @classmethod
    def of(cls, samples: Sequence[tuple[str, VideoShape]], held_out: Sequence[str], samples_per_step: int) -> Seen:
        """The record of a run that trains on these."""
        rows = "\n".join(f"{name} {shape.frames} {shape.height} {shape.width}" for name, shape in samples)
        digest = hashlib.sha256(rows.encode()).hexdigest()
        return cls(
            samples=len(samples),
            samples_sha256=digest,
            held_out=tuple(held_out),
            samples_per_step=samples_per_step,
        )


def open_run(folder: Path, recipe: Recipe) -> None:
    """Begin a run in a new or empty folder, or go on with the one there.

    Raises:
        InputError: the folder holds a run of another recipe.
        OutputError: it is no run's folder, or cannot be written.
    """
    path = folder / RECIPE_FILE
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"the folder {folder} is not empty and no run; choose another with -o")
        note_recipe(folder, recipe)
        return
    before = parse_recipe(path.read_text(encoding="utf-8"), str(path))
    changed = sorted(set(_differences(before.model_dump(), recipe.model_dump())) - _FREE)
    if changed and checkpoints(folder):
        raise InputError(
            f"the run in {folder} was begun with another {changed[0]}; choose another folder with -o, or the old value"
        )


def note_recipe(folder: Path, recipe: Recipe) -> None:
    """Save the recipe that a run has from now on."""
    with writing(folder / RECIPE_FILE, overwrite=True) as temporary:
        temporary.write_text(recipe_yaml(recipe), encoding="utf-8")


def check_seen(folder: Path, now: Seen) -> None:
    """Whether what the newest checkpoint has been trained on is what would be trained on now.

    Raises:
        InputError: it is not; the sentence says what differs.
    """
    found = checkpoints(folder)
    path = found[-1][1] / SEEN_FILE if found else None
    if path is None or not path.is_file():
        return
    before = Seen.model_validate_json(path.read_text(encoding="utf-8"))
    if before.samples_per_step != now.samples_per_step:
        raise InputError(
            f"the run in {folder} takes {before.samples_per_step} samples a step, and this would take "
            f"{now.samples_per_step}; change optim.batch or optim.accumulate until their product with the number of "
            "processes is the same, or choose another folder with -o"
        )
    if before.held_out != now.held_out:
        raise InputError(
            f"the run in {folder} was begun with {len(before.held_out)} samples held out, and this would hold out "
            f"{len(now.held_out)} or others; set validation.samples and the dataset back, or choose another folder "
            "with -o"
        )
    if before != now:
        raise InputError(
            f"the run in {folder} was begun with other samples ({before.samples} then, {now.samples} now); give it the "
            "dataset, sizes and cache of then, or choose another folder with -o"
        )


def _differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in a.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(b[key], dict) and name not in _FREE:
            yield from _differences(value, b[key], f"{name}.")
        elif value != b[key]:
            yield name


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """The finished checkpoints of a run, oldest first; of a step that was saved again, the later one."""
    found: dict[int, tuple[int, Path]] = {}
    for path in (folder / "checkpoints").glob("step-*"):
        match = _STEP.fullmatch(path.name)
        if match and (path / ".metadata").is_file():
            step, again = int(match[1]), int(match[2] or 0)
            found[step] = max(found.get(step, (again, path)), (again, path))
    return [(step, path) for step, (_, path) in sorted(found.items())]


def kept(folder: Path) -> str:
    """What a run that ends here has not lost, in words."""
    found = checkpoints(folder)
    return f"the checkpoint of step {found[-1][0]} is kept" if found else "no checkpoint had been written"


def save_checkpoint(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    averages: Averages | None,
    seen: Seen,
    team: Team,
    *,
    keep: int,
) -> None:
    """Write all that the next step depends on; every process its own shards. It gets its name when it is whole.

    Raises:
        OutputError: it could not be written; the checkpoints before it are as they were.
    """
    place = folder / "checkpoints"
    aside = place / f".step-{step:08d}.part"

    def begin() -> None:
        for left in place.glob(".step-*.part"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        aside.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        with _quiet():
            save(
                _state(step, model, optimizers, averages),
                checkpoint_id=aside,
                process_group=team.desk,
                no_dist=team.world == 1,
            )

    def finish() -> None:
        (aside / SEEN_FILE).write_text(seen.model_dump_json(indent=2) + "\n", encoding="utf-8")
        final, again = place / f"step-{step:08d}", 0
        while final.exists():
            again += 1
            final = place / f"step-{step:08d}.{again}"
        aside.rename(final)
        stay = [path for _, path in checkpoints(folder)[-keep:]]
        for old in place.glob("step-*"):
            if _STEP.fullmatch(old.name) and old not in stay:
                _remove(old)

    try:
        team.first(lambda: _saving(folder, step, begin))
        team.each(lambda: _saving(folder, step, write))
        team.first(lambda: _saving(folder, step, finish))
    except MagrefError:
        if team.leads:
            shutil.rmtree(aside, ignore_errors=True)
        raise


def _saving(folder: Path, step: int, work: Callable[[], None]) -> None:
    problem: BaseException | None = None
    try:
        work()
    except CheckpointException as error:  # torch's collection of what went wrong in the processes
        problem = next(iter(error.failures.values()))[0]
    except (OSError, RuntimeError) as error:
        problem = error
    if problem is None:
        return
    if not isinstance(problem, Exception):  # an interrupt
        raise problem
    reported = system_error(problem)
    full = reported is not None and reported.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or shutil.disk_usage(folder).free < _FULL_BYTES:  # of another process, torch tells no number
        why = "the disk is full; free some space"
    else:
        why = f"{traceback.format_exception_only(reported or problem)[-1].strip()}; see to the folder"
    raise OutputError(f"the checkpoint of step {step} could not be written: {why} ({kept(folder)})") from problem


def _remove(path: Path) -> None:
    """A checkpoint that is half removed must not look like one."""
    aside = path.with_name(f".{path.name}.part")
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)  # what stays is removed with the next checkpoint


def load_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    averages: Averages | None,
    team: Team,
    *,
    step: int | None = None,
) -> int:
    """Restore the checkpoint of a step, or the newest; returns the number of steps done, 0 where there is none.

    Raises:
        InputError: there is none of this step, or it cannot be read.
    """
    found = team.first(lambda: checkpoints(folder))
    if step is not None:
        found = [(number, path) for number, path in found if number == step]
        if not found:
            raise InputError(f"the run in {folder} has no checkpoint of step {step}; name one that is there")
    if not found:
        return 0
    step, path = found[-1]
    state = _state(step, model, optimizers, averages)

    def read() -> None:
        try:
            with _quiet():
                load(state, checkpoint_id=path, process_group=team.desk, no_dist=team.world == 1)
        except (OSError, CheckpointException, RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"the checkpoint {path} cannot be read ({str(error).splitlines()[0]}); delete it, and the run goes on "
                "from the one before"
            ) from error

    team.each(read)
    options = StateDictOptions(strict=False)
    set_model_state_dict(model, state["model"], options=options)
    set_optimizer_state_dict(model, list(optimizers), state["optimizers"], options=options)
    if averages is not None:
        for name, value in state["averages"].items():
            averages.values[name].copy_(value)
    return int(state["step"])


def _state(
    step: int, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], averages: Averages | None
) -> dict[str, Any]:
    # Random numbers are no part of it: each step draws its own from the seed and its number.
    options = StateDictOptions(ignore_frozen_params=True)
    state: dict[str, Any] = {
        "model": get_model_state_dict(model, options=options),
        "optimizers": get_optimizer_state_dict(model, list(optimizers), options=options),
        "step": torch.tensor(step),
    }
    if averages is not None:
        state["averages"] = averages.values
    return state


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about process groups that a lone process does not need
        yield
