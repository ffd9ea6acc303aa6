"""Run the stages of the ablation that are missing, and write its report."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from magref.errors import MagrefError
from magref.evaluation.ablation.budget import ARMS, QUICK, Budget
from magref.evaluation.ablation.figures import draw_figures
from magref.evaluation.ablation.measuring import measure_baselines, measure_run
from magref.evaluation.ablation.tables import report
from magref.evaluation.ablation.training import make_base, make_worlds, train_arm, train_base
from magref.evaluation.stages import claim
from magref.models import find_model, quiet_libraries
from magref.outputs import writing


def main() -> None:
    """A second call goes on where the first one ended."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.ablation", description=__doc__)
    parser.add_argument("folder", type=Path, help="everything that is made")
    parser.add_argument("--quick", action="store_true", help="a few steps and videos of everything")
    options = parser.parse_args()
    quiet_libraries()
    try:
        print(run(options.folder, QUICK if options.quick else Budget()))
    except MagrefError as error:
        parser.error(str(error))


def run(folder: Path, budget: Budget) -> Path:
    """Everything, in order; returns the report.

    Raises:
        MagrefError: the folder is another's, or holds an ablation of another budget.
    """
    claim(folder, {"budget": str(budget)})
    base = make_base(folder)
    make_worlds(folder, budget)
    train_base(base, folder, budget)
    for arm, seed in sorted(product(ARMS, budget.seeds), key=lambda run: (not run[0].shuffle, run[1])):
        train_arm(arm, seed, folder, budget)
        measure_run(arm, seed, folder, budget)
    measure_baselines(folder, find_model(str(base)).defaults, budget)
    with writing(folder / "ablation.md", overwrite=True) as temporary:
        temporary.write_text(report(folder, budget), encoding="utf-8")
    draw_figures(folder, budget)
    return folder / "ablation.md"


if __name__ == "__main__":
    main()
