"""Run the stages of the ablation that are missing, and write its report."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from magref.evaluation.ablation.budget import ARMS, QUICK, Budget
from magref.evaluation.ablation.figures import draw_figures
from magref.evaluation.ablation.measuring import measure_baselines, measure_run
from magref.evaluation.ablation.tables import report
from magref.evaluation.ablation.training import make_worlds, train_arm, train_base
from magref.models import find_model, quiet_libraries
from magref.outputs import writing


def main() -> None:
    """A second call goes on where the first one ended."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.ablation", description=__doc__)
    parser.add_argument("base", type=Path, help="a model folder with random weights, from magref.training.nano")
    parser.add_argument("folder", type=Path, help="everything that is made")
    parser.add_argument("--quick", action="store_true", help="a few steps and videos of everything")
    options = parser.parse_args()
    budget = QUICK if options.quick else Budget()
    quiet_libraries()
    make_worlds(options.folder, budget)
    train_base(options.base, options.folder, budget)
    for arm, seed in sorted(product(ARMS, budget.seeds), key=lambda run: (not run[0].shuffle, run[1])):
        train_arm(arm, seed, options.folder, budget)
        measure_run(arm, seed, options.folder, budget)
    measure_baselines(options.folder, find_model(str(options.base)).defaults, budget)
    with writing(options.folder / "ablation.md", overwrite=True) as temporary:
        temporary.write_text(report(options.folder, budget), encoding="utf-8")
    draw_figures(options.folder, budget)
    print(options.folder / "ablation.md")


if __name__ == "__main__":
    main()
