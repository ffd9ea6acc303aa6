"""A tiny model on disk, and the command line called in this process: what the tests of `magref generate` share."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from magref.cli import main
from magref.pipeline import MagrefPipeline
from magref.settings import GenerationDefaults
from tiny import tiny_components

DEFAULTS = GenerationDefaults(
    height=32,
    width=48,
    num_frames=5,
    num_inference_steps=2,
    guidance_scale=2.0,
    drop_frames=1,
    fps=8.0,
    negative_prompt="",
    text_tokens=64,
)


def save_model(folder: Path) -> Path:
    """A tiny random model without an image encoder."""
    parts = tiny_components(image_encoder=False)
    MagrefPipeline(**parts, generation_defaults=DEFAULTS.model_dump()).save_pretrained(folder)
    return folder


def save_pictures(folder: Path) -> None:
    """Three pictures to refer to."""
    for name, colour in (("dog.png", "brown"), ("cat.png", "grey"), ("park.png", "green")):
        Image.new("RGB", (40, 30), colour).save(folder / name)


def magref(*arguments: object) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return int(stop.value.code or 0)


def says(capsys, *arguments: object) -> str:
    """What a failing command line says: one line on stderr, after exit code 2."""
    assert magref(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert said.startswith("magref: ")
    assert "Traceback" not in said
    return said
