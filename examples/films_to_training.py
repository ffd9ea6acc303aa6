"""The whole road without any weights: films of the synthetic world, a curation of them, a checked dataset, training.

    python examples/films_to_training.py road

What is there already is gone on with. In place of curation's models, the truth beside the films answers.
"""

import argparse
import sys
from pathlib import Path

from magref.curation.running.engines import LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.report import write_report
from magref.curation.running.run import curate
from magref.curation.running.sources import find_sources
from magref.curation.running.work import find_work
from magref.curation.truth import TruthModels
from magref.dataset.check import check_dataset
from magref.dataset.format import DatasetInfo
from magref.models import find_model
from magref.synthetic.footage import FootageSettings, write_footage
from magref.training.recipe import read_recipe
from magref.training.trainer import train

CHANGES = [
    "source.min_short_side_px=64", "aesthetic.least=4.0", "motion.least=0.0", "caption.least_words=4",
    "faces.least_side_px=8",
]  # fmt: skip
"""The films are small, still at times, and tersely described."""


def main() -> None:
    """Walk it, in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=3)
    options = parser.parse_args()
    films, dataset, work = (options.folder / name for name in ("films", "dataset", "dataset-work"))
    model = find_model("magref-nano").defaults

    settings = FootageSettings(height=96, width=144, fps=model.fps, shots=(2, 3), shot_frames=(24, 40))
    list(write_footage(films, settings, count=options.films))

    length = [f"windows.frames={model.num_frames}", f"windows.fps={model.fps}"]
    finished = curate(
        find_sources([str(films)]), dataset, read_settings(None, [*length, *CHANGES]), work=work,
        make=TruthModels(str(films)), engine=LocalEngine(0), info=DatasetInfo(name="films"),
    )  # fmt: skip
    write_report(find_work(work), options.folder / "report.html", overwrite=True)
    print(f"{finished.samples} samples; {options.folder / 'report.html'} shows what became of the rest")

    problems = list(check_dataset(dataset, decode=True))
    if problems:
        sys.exit("\n".join(f"{problem.sample}: {problem.sentence}" for problem in problems))

    changes = [f"data.dataset={dataset}", "optim.steps=2", "validation.samples=0", "save_every=2"]
    trained = train(read_recipe("nano-smoke", changes), options.folder / "run")
    print(f"trained for {trained.step} steps; the run is in {options.folder / 'run'}")


if __name__ == "__main__":
    main()
