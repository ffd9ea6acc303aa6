"""A curation by Ray Data on this machine, against the same with processes: what Ray itself costs.

Films of the synthetic world with models that know their truth, so that little is computed. Ray is started before and
not counted; each run begins from nothing. Both end in the same samples, which is compared first.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import count
from pathlib import Path

import ray
from rich.console import Console

from curation_world import CHANGES
from magref.curation.running.cluster import RayEngine
from magref.curation.running.engines import Engine, LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.run import curate
from magref.curation.running.sources import find_sources
from magref.curation.truth import TruthModels
from magref.dataset.format import DatasetInfo
from magref.dataset.store import Dataset
from magref.synthetic.footage import FootageSettings, write_footage
from pairs import describe_machine, measure, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--films", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    numbers = count()
    with tempfile.TemporaryDirectory() as folder:
        films = Path(folder) / "films"
        list(write_footage(films, FootageSettings(height=96, width=144), count=options.films))

        def run(engine: Engine) -> list[str]:
            place = Path(folder) / f"run-{next(numbers)}"
            curate(
                find_sources([str(films)]), place / "dataset", read_settings(None, CHANGES), work=place / "work",
                make=TruthModels(str(films)), engine=engine, info=DatasetInfo(name="world"),
            )  # fmt: skip
            return Dataset(place / "dataset").ids()

        by_ray = RayEngine(processes=options.processes)
        try:
            assert run(by_ray) == run(LocalEngine(options.processes)), "the datasets differ"
            wall, _ = measure(lambda: run(by_ray), lambda: run(LocalEngine(options.processes)), options.pairs)
        finally:
            ray.shutdown()
    console = Console(highlight=False)
    console.print(describe_machine())
    console.print(f"{options.films} films, {options.processes} processes, {options.pairs} pairs")
    for name, times in (("Ray", wall.a), ("processes", wall.b)):
        console.print(f"{name}: {', '.join(seconds(value) for value in times)}")
    console.print(f"RATIO {wall.ratio:.2f} ({wall.spread})")


if __name__ == "__main__":
    main()
