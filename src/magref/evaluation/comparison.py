"""Small models and two baselines on magref-bench-synthetic: `python -m magref.evaluation.comparison FOLDER`.

All that needs no download: the embedded model, other models in diffusers' layout as NAME=MODEL, a still of the canvas,
and the references pasted before the background. What is in the folder already is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from magref.errors import InputError
from magref.evaluation import evaluate
from magref.evaluation.making import Progress, Request, make_videos
from magref.evaluation.metrics.interface import Profile
from magref.evaluation.report.systems import read_bench
from magref.evaluation.report.writing import write_report
from magref.evaluation.synthetic_bench.pictures import write_synthetic
from magref.evaluation.systems.registry import read_settings
from magref.evaluation.videos import Failure
from magref.evaluation.workers import LocalEngine
from magref.models import EMBEDDED_NAME

METRICS = ("motion", "world")
BASELINES = ("still", "pasted")


def compare(
    folder: Path, models: Mapping[str, str | None], cases: Path | None = None, profile: Profile = "strict"
) -> None:
    """Make and score every system's videos, and write FOLDER/report-PROFILE.

    Args:
        models: a model's folder under its name; None for the embedded one.
        cases: a case file; None for magref-bench-synthetic, which is drawn.
    """
    if cases is None:
        cases = folder / "bench" / "cases.jsonl"
        if not cases.exists():
            write_synthetic(cases.parent)
    systems = {name: ("magref", read_settings("magref", model=model)) for name, model in models.items()}
    systems |= {name: (name, read_settings(name)) for name in BASELINES}
    scores = []
    for name, (system, settings) in systems.items():
        videos = folder / "videos" / name
        made = make_videos(Request(cases, videos, system, settings), LocalEngine(), progress=_told(name))
        print(f"{name}: {made.there} of {made.cases} videos", flush=True)
        place = folder / f"scores-{profile}" / name
        evaluate.evaluate(evaluate.Request(videos, cases, place, METRICS, profile))
        scores.append(f"{name}={place}")
    written = write_report(read_bench(scores), folder / f"report-{profile}", published=False)
    print(*written.files, sep="\n")


def _told(name: str) -> Progress:
    def tell(done: int, total: int, failure: Failure | None) -> None:
        if failure is not None:
            print(f"{name}, {failure.case}: {failure.reason}: {failure.why}", flush=True)
        elif done % 20 == 0:
            print(f"{name}: {done} of {total}", flush=True)

    return tell


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.comparison", description=__doc__)
    parser.add_argument("folder", type=Path, help="videos, scores and the report")
    parser.add_argument("models", nargs="*", metavar="NAME=MODEL", help="further models, in diffusers' layout")
    parser.add_argument("--profile", choices=("opens2v", "strict"), default="strict")
    options = parser.parse_args()
    models: dict[str, str | None] = {EMBEDDED_NAME: None}
    for given in options.models:
        name, mark, model = given.partition("=")
        if not (name and mark and model) or name in {*models, *BASELINES}:
            raise InputError(f"{given!r} names no model; write NAME=MODEL, with a name of its own")
        models[name] = model
    compare(options.folder, models, profile=options.profile)


if __name__ == "__main__":
    main()
