"""Which videos of a batch need not be made again: those that are there, whole, as they are wanted now."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from magref.errors import InputError, OutputError
from magref.presets import AUTO, CARDS, PRESETS
from magref.references import Reference, file_sha256, open_reference
from magref.settings import GenerationSettings
from magref.sidecar import ModelRecord, Sidecar, read_sidecar, sidecar_path

Weights: TypeAlias = tuple[str, str | None, tuple[tuple[str, float], ...]]
"""Hashes as a sidecar has them: the model's, that of a file in its transformer's place, and LoRAs with their scales."""


@dataclass(frozen=True)
class Keeping:
    """How weights are kept, as far as it was asked for. No dtype is the device's best, the preset "auto" the card's."""

    dtype: str | None = None
    quantize: str | None = None
    preset: str | None = None

    def difference(self, model: ModelRecord) -> str | None:
        """In what a video's weights were kept otherwise, in words that follow "was made with"."""
        if self.dtype not in (None, model.dtype):
            return f"--dtype {model.dtype}"
        wanted, made = PRESETS.get(self.preset or CARDS[0].name), PRESETS.get(model.preset or "")
        quantize = self.quantize
        if quantize is None and self.preset != AUTO and wanted is not None:
            quantize = wanted.quantize or "none"
        if quantize not in (None, model.quantize or "none"):
            return f"--quantize {model.quantize or 'none'}"
        if wanted is not None and made is not None and wanted.tile_vae != made.tile_vae:
            return f"--preset {made.name}"
        return None


def is_finished(
    output: Path,
    settings: GenerationSettings,
    references: Sequence[Reference],
    weights: Callable[[], Weights],
    keeping: Keeping,
    *,
    any_seed: bool = False,
) -> bool:
    """Whether a video is there with its sidecar, made as it is wanted now.

    Args:
        output: the video.
        settings, references: what it is wanted with.
        weights: called where settings and references agree.
        keeping: of the weights.
        any_seed: the settings' seed was drawn, not asked for.

    Raises:
        OutputError: it was made with something else, or is not what was made.
    """
    output = Path(os.path.expanduser(output))
    beside = sidecar_path(output)
    if not (output.is_file() and beside.is_file()):
        return False
    try:
        sidecar = read_sidecar(beside)
    except InputError:
        raise OutputError(f"{beside} is not the record of {output}; move both away or use another folder") from None
    if any_seed:
        settings = settings.model_copy(update={"seed": sidecar.settings.seed})
    if (difference := _difference(sidecar, settings, references)) is None and _weights(sidecar.model) != weights():
        difference = "another model, or another LoRA"
    if difference is None:
        difference = keeping.difference(sidecar.model)
    if difference is not None:
        raise OutputError(f"{output} was made with {difference}; use --overwrite or another folder")
    if sidecar.output_sha256 != file_sha256(output):
        raise OutputError(f"{output} is not the video that {beside} tells of; use --overwrite or another folder")
    return True


def _weights(model: ModelRecord) -> Weights:
    transformer = None if model.transformer is None else model.transformer.weights_sha256
    return model.weights_sha256, transformer, tuple((lora.sha256, lora.scale) for lora in model.lora)


def _difference(sidecar: Sidecar, settings: GenerationSettings, references: Sequence[Reference]) -> str | None:
    """In what a video differs from what is wanted, the prompt first, in words that follow "was made with"."""
    made, wanted = sidecar.settings.model_dump(), settings.model_dump()
    if made["prompt"] != wanted["prompt"]:
        return "another prompt"
    if changed := [name.replace("_", " ") for name, value in wanted.items() if made[name] != value]:
        return f"other settings ({', '.join(changed)})"
    # Backgrounds come last on a canvas, and so in its record.
    ordered = sorted(references, key=lambda reference: reference.role == "background")
    pictures = [(_sha256(reference), reference.role, reference.crop) for reference in ordered]
    if pictures != [(record.sha256, record.role, record.crop) for record in sidecar.references]:
        return "other references"
    return None


def _sha256(reference: Reference) -> str:
    """Without decoding a picture that is a file: a batch may have thousands."""
    if isinstance(reference.image, (str, Path)):
        return file_sha256(Path(os.path.expanduser(reference.image)))
    return open_reference(reference).sha256
