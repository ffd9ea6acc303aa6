"""Timing on a GPU in alternating pairs, and the table and the file that every benchmark here gives.

Results are compared before they are timed. A part that fails, for want of memory or of a compiler, is noted with its
reason, and the others go on: a GPU may be there for minutes only.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

if "--tiny" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: its kernels then run on the CPU

import torch
from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent.parent / "results"
PACKAGES = ("torch", "triton", "diffusers", "transformers", "torchao")

Side = tuple[str, Callable[[], Any]]
"""A name, and what is done; it gives tensors to compare, or nothing."""


@dataclass
class Row:
    """One measurement. Times are medians in seconds; the ratio is that of the pairs, ours over the peer's."""

    what: str
    ours: str
    peer: str = ""
    ours_s: float | None = None
    peer_s: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    difference: float | None = None
    """Relative, of the two results."""
    aim: str = ""
    met: bool | None = None
    notes: dict[str, float | str] = field(default_factory=dict)


class Bench:
    """Collects one benchmark's rows."""

    def __init__(self, name: str, *, tiny: bool = False, on_row: Callable[[Bench], None] = lambda bench: None) -> None:
        self.name, self.tiny, self._on_row = name, tiny, on_row
        self.device = torch.device("cpu" if tiny else "cuda")
        self.dtype = torch.float32 if tiny else torch.bfloat16
        self.rows: list[Row] = []

    def compare(
        self,
        what: str,
        ours: Side,
        peer: Side,
        *,
        pairs: int = 7,
        repeats: int = 1,
        most_ratio: float | None = None,
        most_s: float | None = None,
        most_difference: float = 0.05,
        work: Callable[[float], dict[str, float | str]] = lambda seconds: {},
    ) -> Row:
        """Compare and time ours against a peer's.

        Args:
            what: is measured.
            ours, peer: one run of each.
            pairs: how many, `repeats` runs to a measurement.
            repeats: see `pairs`.
            most_ratio, most_s: aims, of the ratio and of our time.
            most_difference: from which on the results count as different, which fails the comparison.
            work: notes on our median time, such as the rate it means.
        """
        with self.part(what, ours[0], peer[0]) as row:
            row.difference = difference(ours[1](), peer[1]())
            if not row.difference < most_difference:
                raise RuntimeError(f"results differ by {row.difference:.2g}")
            times = alternate(ours[1], peer[1], 1 if self.tiny else pairs, repeats, self.device)
            ratios = [a / b for a, b in zip(*times, strict=True)]
            row.ours_s, row.peer_s = median(times[0]), median(times[1])
            row.ratio, row.ratio_low, row.ratio_high = median(ratios), min(ratios), max(ratios)
            row.notes |= work(row.ours_s)
            self._judge(row, most_ratio, most_s)
        return row

    def alone(
        self,
        what: str,
        ours: Side,
        *,
        runs: int = 7,
        repeats: int = 1,
        most_s: float | None = None,
        work: Callable[[float], dict[str, float | str]] = lambda seconds: {},
    ) -> Row:
        """Time something that has no peer."""
        with self.part(what, ours[0]) as row:
            ours[1]()
            times = [clocked(ours[1], repeats, self.device) for _ in range(1 if self.tiny else runs)]
            row.ours_s = median(times)
            row.notes |= work(row.ours_s)
            self._judge(row, None, most_s)
        return row

    @contextlib.contextmanager
    def part(self, what: str, ours: str, peer: str = "") -> Iterator[Row]:
        """A row that is filled inside, with the peak of the GPU's memory; an error ends it and is noted."""
        row = Row(what, ours, peer)
        self.rows.append(row)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            yield row
        except Exception as error:
            if self.tiny:
                raise
            traceback.print_exc()
            row.notes["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        if self.device.type == "cuda":
            row.notes["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        print(describe_row(row), flush=True)
        self._on_row(self)

    def aim(self, row: Row, aim: str, *, met: bool) -> None:
        """State an aim and whether it was met, which tiny shapes do not tell."""
        row.aim = "; ".join(filter(None, (row.aim, aim)))
        row.met = None if self.tiny else met and row.met is not False

    def _judge(self, row: Row, most_ratio: float | None, most_s: float | None) -> None:
        if most_ratio is not None and row.ratio is not None:
            self.aim(row, f"ratio <= {most_ratio}", met=row.ratio <= most_ratio)
        if most_s is not None and row.ours_s is not None:
            self.aim(row, f"<= {most_s} s", met=row.ours_s <= most_s)

    def record(self) -> dict[str, Any]:
        """All of it, with what it depends on."""
        return {"benchmark": self.name, **environment(), "rows": [asdict(row) for row in self.rows]}


def alternate(
    ours: Callable[[], Any], peer: Callable[[], Any], pairs: int, repeats: int, device: torch.device
) -> tuple[list[float], list[float]]:
    """Seconds of a run of each, pair by pair; which of them goes first alternates."""
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(pairs):
        sides = [(ours, times[0]), (peer, times[1])]
        for run, kept in sides if index % 2 == 0 else reversed(sides):
            kept.append(clocked(run, repeats, device))
    return times


def clocked(run: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Seconds of one of `repeats` runs in a row, by the GPU's own clock where there is one."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    first.record()
    for _ in range(repeats):
        run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000 / repeats


def difference(ours: Any, theirs: Any) -> float:
    """The largest relative difference of two tensors, or of two sequences of them."""
    if isinstance(ours, torch.Tensor):
        a, b = ours.float(), theirs.float()
        return float((a - b).norm() / b.norm())
    return max(difference(a, b) for a, b in zip(ours, theirs, strict=True))


def free() -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def environment() -> dict[str, Any]:
    """Hardware, versions and date."""
    hardware: dict[str, Any] = {"processor": platform.processor() or platform.machine()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        hardware |= {
            "gpu": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"hardware": hardware, "versions": versions, "date": datetime.now(UTC).isoformat(timespec="seconds")}


def describe_row(row: Row) -> str:
    """One line."""
    parts = [f"{row.what}: {row.ours}"]
    if row.ours_s is not None:
        parts.append(duration(row.ours_s))
    if row.peer_s is not None:
        parts.append(f"against {row.peer} {duration(row.peer_s)}")
    if row.ratio is not None:
        parts.append(f"ratio {row.ratio:.3f} ({row.ratio_low:.3f} to {row.ratio_high:.3f})")
    if row.difference is not None:
        parts.append(f"difference {row.difference:.1e}")
    parts += [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.notes.items()
    ]
    if row.met is not None:
        parts.append(f"aim {row.aim}: {'met' if row.met else 'NOT met'}")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """For people."""
    return (
        f"{seconds * 1e6:.0f} us"
        if seconds < 1e-3
        else f"{seconds * 1e3:.2f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )


def print_table(records: Sequence[dict[str, Any]]) -> None:
    """All rows of some benchmarks."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("what", "ours", "against"):
        table.add_column(name)
    for name in ("ours", "against", "RATIO", "difference", "aim", ""):
        table.add_column(name, justify="right")
    for record in records:
        for values in record["rows"]:
            row = Row(**values)
            failed = "failed" in row.notes
            table.add_row(
                row.what,
                row.ours,
                row.peer,
                "failed" if failed else "" if row.ours_s is None else duration(row.ours_s),
                "" if row.peer_s is None else duration(row.peer_s),
                "" if row.ratio is None else f"{row.ratio:.3f}",
                "" if row.difference is None else f"{row.difference:.0e}",
                row.aim,
                "" if row.met is None else "met" if row.met else "NOT met",
            )
    Console(width=170).print(table)


def slug_of(record: dict[str, Any]) -> str:
    """The GPU's name as a part of a file's."""
    return str(record["hardware"]["gpu"]).lower().replace(" ", "-")


def write_record(record: Any, name: str, folder: Path, gpu: str) -> None:
    """Into `name`-`gpu`.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{gpu}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path}")


def main(
    name: str,
    description: str | None,
    work: Callable[[Bench], None],
    sweep: Callable[[Bench], None] | None = None,
) -> None:
    """The command of one benchmark; `--sweep` runs another part too, where there is one."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tiny", action="store_true", help="on the CPU with tiny shapes, to try the script; not stored"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the results")
    if sweep is not None:
        parser.add_argument("--sweep", action="store_true", help="try other sizes of the kernels' programs too")
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        sys.exit("no GPU is here; --tiny tries the script on the CPU")
    bench = Bench(name, tiny=arguments.tiny)
    work(bench)
    if sweep is not None and arguments.sweep:
        sweep(bench)
    record = bench.record()
    print_table([record])
    if not arguments.tiny:
        write_record(record, name, arguments.out, slug_of(record))
