"""The comparison of small models with two baselines, by one command."""

from __future__ import annotations

import sys

import pytest

from magref.errors import InputError
from magref.evaluation import comparison
from magref.evaluation.scores import read_scores
from magref.evaluation.synthetic_bench.pictures import write_synthetic


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Two of the 120."""
    folder = tmp_path_factory.mktemp("bench")
    write_synthetic(folder)
    path = folder / "cases.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(lines[0] + lines[-1], encoding="utf-8")
    return path


def test_every_system_is_made_scored_and_reported_and_a_second_call_makes_nothing_anew(cases, tmp_path):
    comparison.compare(tmp_path, {"magref-nano": None}, cases)
    names = ("magref-nano", "still", "pasted")
    scores = {name: list(read_scores(tmp_path / "scores-strict" / name)) for name in names}
    assert {name: len(found) for name, found in scores.items()} == dict.fromkeys(names, 2)
    assert all(one.scores["motion"].value == pytest.approx(0, abs=0.1) for one in scores["still"])
    assert all(one.scores["world_count"].value is not None for one in scores["pasted"])
    report = (tmp_path / "report-strict" / "report.md").read_text(encoding="utf-8")
    assert all(name in report for name in names)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").rglob("*.mp4")}
    assert len(times) == 6
    comparison.compare(tmp_path, {"magref-nano": None}, cases)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").rglob("*.mp4")}


@pytest.mark.parametrize("given", ["model", "=model", "still=model", "magref-nano=model"])
def test_a_model_without_a_name_of_its_own_is_refused(given, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["comparison", str(tmp_path), given])
    with pytest.raises(InputError, match="write NAME=MODEL"):
        comparison.main()
    assert list(tmp_path.iterdir()) == []
