"""Where a run's result goes, and whether it lies there already: a run that is done says so and writes nothing again."""

from __future__ import annotations

import json
from itertools import chain, count
from pathlib import Path

from magref.outputs import writing
from magref.training.recipe import Recipe

RECORD_FILE = "exported.json"
"""Which result was written last, and of which step."""


def find_result(folder: Path, recipe: Recipe) -> tuple[Path, bool]:
    """The path of the result, and whether it has been written; an earlier one stays, and the next goes beside it."""
    steps, record = recipe.optim.steps, folder / RECORD_FILE
    done = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if done.get("steps") == steps and (folder / done["name"]).exists():
        return folder / str(done["name"]), True
    first = folder / ("model" if recipe.model.lora is None else "lora.safetensors")
    endings = chain(["", f"-{steps}"], (f"-{steps}.{number}" for number in count(2)))
    paths = (first.with_name(f"{first.stem}{ending}{first.suffix}") for ending in endings)
    return next(path for path in paths if not path.exists()), False


def note_result(folder: Path, recipe: Recipe, path: Path) -> None:
    """Record that the result has been written.

    Raises:
        OutputError: the record could not be.
    """
    with writing(folder / RECORD_FILE, overwrite=True) as temporary:
        temporary.write_text(json.dumps({"steps": recipe.optim.steps, "name": path.name}), encoding="utf-8")


def forget_result(folder: Path, done: int) -> None:
    """Forget a result of a step beyond those done: its weights were others, for that step is yet to be made.

    So it is where a person deleted the checkpoints and begins again. The result itself stays.
    """
    record = folder / RECORD_FILE
    if record.exists() and json.loads(record.read_text(encoding="utf-8"))["steps"] > done:
        record.unlink()
