"""Plots by matplotlib, which is an extra, all in one plain style."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magref.errors import ResourceError
from magref.outputs import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pyplot() -> Any:
    """matplotlib.pyplot, drawing into files.

    Raises:
        ResourceError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise ResourceError("plots need an extra package; run pip install 'magref[evaluate]'") from None
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plain(axis: Axes) -> None:
    """Two spines and a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all, and close the figure."""
    with writing(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot().close(figure)
