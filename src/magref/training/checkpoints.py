"""A run's folder: its recipe, its checkpoints, and going on from the newest.

recipe.yaml                     the whole recipe, defaults included
log.jsonl                       a line for each logged step
skipped.jsonl                   samples that could not be used, and why
checkpoints/step-00000500/      torch's distributed checkpoint: trained weights, averages, optimizers, step
samples/step-00000500/          validation videos
model/ or lora.safetensors      what the run made, once it is done
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
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

from magref.errors import InputError, OutputError
from magref.outputs import writing
from magref.training.optim import Averages
from magref.training.parallel import Team
from magref.training.recipe import Recipe, parse_recipe, recipe_yaml

RECIPE_FILE = "recipe.yaml"
_STEP = re.compile(r"step-(\d{8})")
_FREE = {
    "optim.steps",
    "optim.learning_rate",
    "optim.clip_norm",
    "save_every",
    "keep",
    "loggers",
    "validation",
    "data.workers",
    "optim.compile",
}
"""What may change between the parts of one run."""


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
        with writing(path) as temporary:
            temporary.write_text(recipe_yaml(recipe), encoding="utf-8")
        return
    before = parse_recipe(path.read_text(encoding="utf-8"), str(path))
    changed = sorted(set(_differences(before.model_dump(), recipe.model_dump())) - _FREE)
    if changed and checkpoints(folder):
        raise InputError(
            f"the run in {folder} was begun with another {changed[0]}; choose another folder with -o, or the old value"
        )
    with writing(path, overwrite=True) as temporary:
        temporary.write_text(recipe_yaml(recipe), encoding="utf-8")


def _differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in a.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(b[key], dict) and name not in _FREE:
            yield from _differences(value, b[key], f"{name}.")
        elif value != b[key]:
            yield name


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """The finished checkpoints of a run, oldest first."""
    found = []
    for path in (folder / "checkpoints").glob("step-*"):
        match = _STEP.fullmatch(path.name)
        if match and (path / ".metadata").is_file():
            found.append((int(match[1]), path))
    return sorted(found)


def save_checkpoint(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    averages: Averages | None,
    team: Team,
    *,
    keep: int,
) -> None:
    """Write all that the next step depends on; every process its own shards. It gets its name when it is whole.

    Raises:
        OutputError: it could not be written; the checkpoints before it are as they were.
    """
    final = folder / "checkpoints" / f"step-{step:08d}"
    aside = final.with_name(f".{final.name}.part")
    if team.leads:
        shutil.rmtree(aside, ignore_errors=True)
    team.wait()
    try:
        with _quiet():
            save(_state(step, model, optimizers, averages), checkpoint_id=aside, no_dist=team.world == 1)
        if team.leads:
            if final.exists():  # of a run that was resumed from an earlier one
                shutil.rmtree(final)
            aside.rename(final)
    except (OSError, CheckpointException, RuntimeError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        why = "the disk is full; free some space" if full else f"{str(error).splitlines()[0]}; see to the folder"
        last = checkpoints(folder)
        kept = f"step {last[-1][0]} is kept" if last else "there is none before it"
        raise OutputError(f"the checkpoint of step {step} could not be written: {why} ({kept})") from error
    team.wait()
    if team.leads:
        for _, old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)


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
    found = checkpoints(folder)
    if step is not None:
        found = [(number, path) for number, path in found if number == step]
        if not found:
            raise InputError(f"the run in {folder} has no checkpoint of step {step}; name one that is there")
    if not found:
        return 0
    step, path = found[-1]
    state = _state(step, model, optimizers, averages)
    try:
        with _quiet():
            load(state, checkpoint_id=path, no_dist=team.world == 1)
    except (OSError, CheckpointException, RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"the checkpoint {path} cannot be read ({str(error).splitlines()[0]}); delete it, and the run goes on from "
            "the one before"
        ) from error
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
