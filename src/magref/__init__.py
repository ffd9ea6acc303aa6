"""MAGREF: videos of your own people, objects and places, from reference pictures and a prompt.

Heavy libraries load when a name that needs them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magref.canvas import Canvas, compose_canvas
    from magref.errors import MagrefError
    from magref.pipeline import MagrefOutput, MagrefPipeline
    from magref.references import Reference
    from magref.settings import GenerationDefaults, GenerationSettings

__version__ = "0.1.0"

_HOMES = {
    "Canvas": "canvas",
    "GenerationDefaults": "settings",
    "GenerationSettings": "settings",
    "MagrefError": "errors",
    "MagrefOutput": "pipeline",
    "MagrefPipeline": "pipeline",
    "Reference": "references",
    "compose_canvas": "canvas",
}

__all__ = [
    "Canvas",
    "GenerationDefaults",
    "GenerationSettings",
    "MagrefError",
    "MagrefOutput",
    "MagrefPipeline",
    "Reference",
    "compose_canvas",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"magref.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'magref' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
