"""The package opens in a moment: heavy libraries load only where they are used."""

import json
import subprocess
import sys

import pytest

import magref
from magref.canvas import compose_canvas
from magref.pipeline import MagrefPipeline
from magref.references import Reference

HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after this statement."""
    code = f"{statement}\nimport json, sys; print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement",
    [
        "import magref; magref.__version__; dir(magref)",
        "import magref.cli",
        "import magref.models",
        "from magref import compose_canvas, Reference, GenerationSettings, MagrefError",
    ],
)
def test_nothing_heavy_is_loaded(statement):
    loaded = loaded_by(statement)
    assert "magref" in loaded
    assert not loaded & HEAVY


def test_the_names_are_what_their_modules_hold():
    assert magref.MagrefPipeline is MagrefPipeline
    assert magref.Reference is Reference
    assert magref.compose_canvas is compose_canvas


def test_every_name_that_is_promised_is_there_and_listed():
    for name in magref.__all__:
        assert getattr(magref, name).__name__ == name
        assert name in dir(magref)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'magref' has no attribute 'Pipeline'"):
        _ = magref.Pipeline
    with pytest.raises(ImportError, match="cannot import name 'Pipeline'"):
        from magref import Pipeline  # noqa: F401
