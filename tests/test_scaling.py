"""The scaling plot's arithmetic on points that are known, and once, slowly, all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from magref.errors import InputError
from magref.evaluation.scaling import (
    QUICK,
    SHOWN,
    Budget,
    Point,
    Size,
    draw,
    points,
    power_law,
    recipe_of,
    report,
    step_flops,
)
from magref.evaluation.stages import finish
from magref.evaluation.statistics import Mean
from magref.training.trainer import Finished
from tiny import tiny_vae


def test_a_power_law_is_found_again_whatever_lies_above_it():
    flops = [1e12, 2e12, 4e12, 8e12, 8e12, 3e12, 1e11]
    losses = [3 * compute**-0.1 for compute in flops[:4]] + [0.9, 0.9, 0.7]  # the last before the loss falls steadily
    a, b = power_law(flops, losses)
    assert a == pytest.approx(3)
    assert b == pytest.approx(0.1)


def test_two_points_are_no_law():
    with pytest.raises(InputError, match="2 points do not show"):
        power_law([1e12, 2e12, 3e12], [0.5, 0.4, 0.6])


def test_the_report_says_what_was_measured_and_what_is_read_off():
    found = [
        Point("small", 100, 1e15, 0.5, {}),
        Point("small", 200, 2e15, 0.4, {"identity": Mean(value=0.61, n=24, low=0.5, high=0.7)}),
        Point("large", 100, 4e15, 0.32, {}),
    ]
    text = report(found)
    assert "| small | 100 | 1000.0 | 0.5000 |  |  |  |  |  |  |" in text
    assert "| small | 200 | 2000.0 | 0.4000 |  | 0.61 [0.50, 0.70] |  |  |  |  |" in text
    assert "FLOP^-0.322" in text  # a fifth less for twice the compute
    assert "0.2048 at 4 times the compute, 0.1311 at 16 times" in text
    assert "extrapolation" in text


def test_the_plot_has_a_line_for_each_size(tmp_path):
    figures = {name: Mean(value=0.5, n=24, low=0.4, high=0.7) for name in SHOWN}
    found = [
        Point(name, 1, 1e15 * n, 1 / n, figures if n > 1 else {}) for name in ("small", "large") for n in (1, 2, 3)
    ]
    draw(found, tmp_path / "scaling.png")
    assert Image.open(tmp_path / "scaling.png").width > 1000


def test_a_run_that_was_stopped_stops_the_comparison():
    finish(Finished(4, Path("model")))
    with pytest.raises(SystemExit, match="after step 3"):
        finish(Finished(3, None))


@pytest.mark.slow
def test_all_of_it_runs_and_goes_on(tmp_path):
    tiny_vae().save_pretrained(tmp_path / "vae")
    command = [
        sys.executable,
        "-m",
        "magref.evaluation.scaling",
        str(tmp_path / "vae"),
        str(tmp_path / "out"),
        "--quick",
    ]
    subprocess.run(command, check=True)
    found = points(tmp_path / "out", QUICK)
    assert [(point.size, point.step) for point in found] == [
        ("small", 2), ("small", 4), ("nano", 2), ("nano", 4), ("large", 2),
    ]  # fmt: skip
    assert all(point.figures for point in found)
    before = (tmp_path / "out" / "scaling.md").read_text()
    subprocess.run(command, check=True)
    assert (tmp_path / "out" / "scaling.md").read_text() == before
    assert Image.open(tmp_path / "out" / "scaling.png").width > 1000


def test_a_step_of_twice_the_passes_is_twice_the_work(tmp_path, base, dataset):
    """Twice the blocks are twice the work."""
    budget = Budget(changes=(f"model.base={base}", f"data.dataset={dataset}"))
    recipe = recipe_of(Size("any", 1, 1, 500), tmp_path, budget)
    assert step_flops(recipe) > 0
    doubled = recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"accumulate": 2})})
    assert step_flops(doubled) == 2 * step_flops(recipe)
