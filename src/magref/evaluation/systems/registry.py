"""The systems by name, and their settings as the command line has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from magref.errors import InputError
from magref.evaluation.systems.baselines import PASTED, STILL
from magref.evaluation.systems.command import COMMAND
from magref.evaluation.systems.consisid import CONSISID
from magref.evaluation.systems.interface import Kind
from magref.evaluation.systems.pipelines import OWN, PHANTOM, SKYREELS_A2
from magref.evaluation.systems.vace import VACE
from magref.settings import Record
from magref.sidecar import first_problem

SYSTEMS: dict[str, Kind] = {
    "magref": OWN,
    "skyreels-a2": SKYREELS_A2,
    "phantom": PHANTOM,
    "vace": VACE,
    "consisid": CONSISID,
    "command": COMMAND,
    "still": STILL,
    "pasted": PASTED,
}


def kind_of(name: str) -> Kind:
    """InputError where there is no such system."""
    if name not in SYSTEMS:
        raise InputError(f"there is no system {name!r}; use {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def read_settings(name: str, changes: Sequence[str] = (), **given: str | None) -> Record:
    """A system's settings.

    Args:
        changes: KEY=VALUE each, the value as in YAML.
        given: settings that have options of their own; None is not given.

    Raises:
        InputError: there is no such system or setting, or a value does not do.
    """
    values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise InputError(f"the setting {change!r} is not KEY=VALUE; write for example num_inference_steps=20")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"the value in the setting {change!r} is no YAML; put it in quotes") from None
    try:
        # By way of JSON, where lists may stand for tuples.
        return kind_of(name).settings.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise InputError(f"{name} cannot be set so: {first_problem(error)}; see docs/systems.md") from None
