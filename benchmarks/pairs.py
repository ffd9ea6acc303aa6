"""Timing in alternating pairs, and the table that every benchmark prints."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from statistics import median

import torch
from rich import box
from rich.console import Console
from rich.table import Table

Clock = Callable[[], float]


@dataclass(frozen=True)
class Pairs:
    """Seconds of two ways to do the same, measured one right after the other: `a[i]` and `b[i]` are neighbours.

    The ratio is the median of the pairs' own ratios, so that a load on the machine that lasts longer than a pair falls
    on both sides.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of a / b over the pairs."""
        return median(x / y for x, y in zip(self.a, self.b, strict=True))

    @property
    def spread(self) -> str:
        """The pairs' smallest and largest ratio."""
        ratios = [x / y for x, y in zip(self.a, self.b, strict=True)]
        return f"{min(ratios):.2f} to {max(ratios):.2f}"


def measure(a: Callable[[], object], b: Callable[[], object], count: int) -> tuple[Pairs, Pairs]:
    """Wall time and processor time of `count` pairs; which side goes first alternates. Each side runs once before."""
    a(), b()
    times: dict[str, list[tuple[float, float]]] = {"a": [], "b": []}
    for index in range(count):
        sides = [("a", a), ("b", b)]
        for name, run in sides if index % 2 == 0 else reversed(sides):
            wall, processor = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    (a_wall, a_processor), (b_wall, b_processor) = (zip(*times[side], strict=True) for side in "ab")
    return Pairs(a_wall, b_wall), Pairs(a_processor, b_processor)


def print_table(title: str, rows: Sequence[tuple[str, str, Pairs, Pairs, float | None]]) -> None:
    """One line for each comparison: name of side a, of side b, wall and processor times, and the ratio aimed at."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in ("ours", "against"):
        table.add_column(name)
    for name in ("ours", "against", "RATIO", "pairs' ratios", "ratio of processor time", "aim", "pairs"):
        table.add_column(name, justify="right")
    for a, b, wall, processor, aim in rows:
        table.add_row(
            a,
            b,
            seconds(median(wall.a)),
            seconds(median(wall.b)),
            f"{wall.ratio:.2f}",
            wall.spread,
            f"{processor.ratio:.2f}",
            "" if aim is None else f"<= {aim}",
            str(len(wall.a)),
        )
    Console(width=140).print(table)


def seconds(value: float) -> str:
    """A duration for people."""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def describe_machine() -> str:
    """Versions, threads and load: what the figures depend on."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "diffusers", "pillow", "numpy"))
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    cores = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores, {load}"
    return f"{cores}; Python {platform.python_version()}, {packages}"
