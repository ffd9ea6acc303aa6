"""Settings of a curation from a YAML file and from KEY=VALUE, as the command line has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from magref.curation.settings import CurationSettings
from magref.errors import InputError
from magref.sidecar import first_problem


def read_settings(path: Path | None, changes: Sequence[str] = ()) -> CurationSettings:
    """The defaults, under a file's values, under changes such as "motion.least=1.0".

    Raises:
        InputError: the file cannot be read, or a key or a value is none.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"the settings {path} cannot be read ({str(error).splitlines()[0]}); check it") from None
        if not isinstance(loaded, dict):
            raise InputError(f"the settings {path} hold no sections; write for example 'motion: {{least: 1.0}}'")
        values = loaded
    return _validated(values, changes)


def changed_settings(settings: CurationSettings, changes: Sequence[str]) -> CurationSettings:
    """Settings with changes such as "motion.least=1.0"; InputError as `read_settings`."""
    return _validated(settings.model_dump(mode="json"), changes)


def _validated(values: dict[str, Any], changes: Sequence[str]) -> CurationSettings:
    for change in changes:
        key, equals, text = change.partition("=")
        *sections, last = key.strip().split(".")
        if not equals or not sections:
            raise InputError(f"the change {change!r} is not KEY=VALUE; write for example motion.least=1.0")
        place = values
        for section in sections:
            inner = place.get(section)
            place[section] = inner if isinstance(inner, dict) else {}
            place = place[section]
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"the value in the change {change!r} is no YAML; put it in quotes") from None
    try:
        # By way of JSON, where lists may stand for tuples.
        return CurationSettings.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise InputError(f"the settings cannot be used: {first_problem(error)}") from None
