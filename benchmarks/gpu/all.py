"""Every benchmark of this folder, one after the other, each in a process of its own, as far as eight minutes go.

What one has measured is in the file before the next begins; one that takes too long or dies is left out.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

BEGIN = time.perf_counter()  # the imports below take seconds of the limit

from measuring import RESULTS, Bench, print_table, slug_of, write_record  # noqa: E402

NAMES = {
    "attention_kernels": 40,
    "one_block": 90,
    "fused_kernels": 60,
    "guided_step": 200,
    "vae_coding": 90,
    "whole_pipeline": 150,
    "fp8_linears": 60,
    "training_blocks": 90,
}
"""Modules, the most telling first, and the seconds after which each is stopped."""
LIMIT_S = 470.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tiny", action="store_true", help="on the CPU with tiny shapes, to try the scripts; not stored"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the results")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for all of them")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; none: all")
    arguments = parser.parse_args()
    left = arguments.limit - (time.perf_counter() - BEGIN)
    records = run_all(arguments.names or list(NAMES), tiny=arguments.tiny, out=arguments.out, limit_s=left)
    print_table(records)


def run_all(names: list[str], *, tiny: bool, out: Path, limit_s: float) -> list[dict[str, Any]]:
    """The records of those that came to their end or were stopped on the way."""
    begin = time.perf_counter()
    context = multiprocessing.get_context("forkserver")  # which imports once for all of them, and starts no CUDA
    context.set_forkserver_preload(["torch", "diffusers", "transformers", "magref.pipeline"])
    records: list[dict[str, Any]] = []
    for name in names:
        left = limit_s - (time.perf_counter() - begin)
        if left < 10:
            print(f"{name}: no time is left")
            continue
        results: Any = context.Queue()
        process = context.Process(target=run_one, args=(name, tiny, results))
        process.start()
        record = collected(process, results, min(left, NAMES[name]))
        if record is None:
            print(f"{name}: nothing was measured")
            continue
        records.append(record)
        if not tiny:
            write_record(records, "all", out, slug_of(record))
        print(f"{name}: done {time.perf_counter() - begin:.0f} s after the start", flush=True)
    return records


def collected(process: Any, results: Any, seconds: float) -> dict[str, Any] | None:
    """The last record that the process sent, within the time that it has."""
    end = time.perf_counter() + seconds
    record = None
    while time.perf_counter() < end:
        if not results.empty():
            record = results.get()
        elif not process.is_alive():
            break
        else:
            time.sleep(0.05)
    if process.is_alive():
        print("stopped: it took too long")
        process.kill()
    process.join()
    return record


def run_one(name: str, tiny: bool, results: Any) -> None:
    """In the other process: one benchmark, whose record is sent after every row."""
    sys.path.insert(0, str(Path(__file__).parent))
    module = importlib.import_module(name)
    bench = Bench(name, tiny=tiny, on_row=lambda bench: results.put(bench.record()))
    module.work(bench)
    results.put(bench.record())


if __name__ == "__main__":
    main()
