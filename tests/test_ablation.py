"""The ablation's arithmetic on scores that are known, its tasks, and once, slowly, all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from magref.evaluation.ablation.budget import ARMS, GROUPS, QUICK, Arm, Budget
from magref.evaluation.ablation.measuring import Scored
from magref.evaluation.ablation.tables import MEASURES, _drift, _group_table, _orders, _pairs, quarters
from magref.evaluation.measures.score import SubjectScore, VideoScore
from magref.evaluation.tasks import Task, load_scores, tasks
from magref.references import open_references
from magref.synthetic.plans import WorldConfig, plan_scene
from magref.training.nano import make_text, write_base

BUDGET = Budget(marks=(10,), seeds=(0, 1), cases=3)


def _video(*identities: tuple[float | None, ...]) -> VideoScore:
    """One subject for each row of identities by frame."""
    subjects = []
    for by_frame in identities:
        known = [value for value in by_frame if value is not None]
        subjects.append(
            SubjectScore(
                seen=len(known) / len(by_frame),
                identity=sum(known) / len(known) if known else None,
                by_frame=by_frame,
                rank=None,
                rank_distinct=None,
                nearest_by_frame=None,
                path=None,
                right=None,
                down=None,
                growth=None,
                motion_right=None,
                constancy=None,
                colour_drift=None,
            )
        )
    return VideoScore(
        subjects=tuple(subjects),
        count=1,
        count_right=True,
        background=None,
        layout_left=None,
        flicker=None,
        camera_known=False,
    )


def _write(scored: Scored, arm: Arm, seed: int, videos: list[VideoScore], changes: list[float]) -> None:
    for group in GROUPS:
        path = scored.place(arm, seed, 10, group)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(video.model_dump_json() + "\n" for video in videos))
    scored.order(arm, seed).write_text(json.dumps(changes))


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    """Masked guidance: 0.8 and 0.6 by seed; each further arm 0.1 less, but for a subject that is not found."""
    found = Scored(tmp_path)
    for n, arm in enumerate(ARMS):
        for seed in (0, 1):
            level = 0.8 - 0.2 * seed - 0.1 * n
            videos = [_video((level + 0.05, level, level, level - 0.05)) for _ in range(3)]
            if n == 1:
                videos[2] = _video((None, None, None, None))
            _write(found, arm, seed, videos, changes=[0.1 * n, 0.1 * n, 0.1 * n])
    return found


def _row(table: str, name: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_a_table_pools_the_seeds_and_shows_each(scored: Scored) -> None:
    table = _group_table(scored, BUDGET, "one")
    column = list(MEASURES).index("identity")
    assert _row(table, "masked")[column].startswith("0.700 ")
    assert _row(table, "&nbsp; seed 0")[column] == "0.800"
    assert _row(table, "tokenwise")[column].startswith("0.500 ")


def test_who_is_never_found_lowers_seen_and_leaves_identity_alone(scored: Scored) -> None:
    row = _row(_group_table(scored, BUDGET, "one"), "vanilla")
    assert row[list(MEASURES).index("seen")].startswith("0.667 ")
    assert row[list(MEASURES).index("identity")].startswith("0.600 ")


def test_differences_are_of_pairs(scored: Scored) -> None:
    """All pairs differ by the same, so the interval has no width, though the seeds are far apart."""
    column = list(MEASURES).index("identity")
    assert _row(_pairs(scored, BUDGET, "one"), "tokenwise")[column] == "-0.200 [-0.200, -0.200]"
    assert _row(_pairs(scored, BUDGET, "one"), "vanilla")[column] == "-0.100 [-0.100, -0.100]"


def test_drift_is_from_the_first_quarter_to_the_last(scored: Scored) -> None:
    assert quarters((1.0, 0.8, None, 0.4, None, 0.2, 0.1, None)) == (0.9, 0.1)
    assert quarters((None, None, None, 0.5)) == (None, 0.5)
    assert _row(_drift(scored, BUDGET), "masked")[0].startswith("-0.100 ")


def test_the_order_table_has_each_arm_s_change(scored: Scored) -> None:
    assert _row(_orders(scored, BUDGET), "tokenwise")[0].startswith("0.200 ")


@pytest.mark.parametrize("name", GROUPS)
def test_tasks_are_what_their_group_says_and_always_the_same(name: str) -> None:
    group = GROUPS[name]
    first, again = tasks(group, 3), tasks(group, 3)
    for one, other in zip(first, again, strict=True):
        assert len(one.case.subjects) == group.subjects
        assert [r.role for r in one.references].count("background") == group.background
        assert one.caption == other.caption
        assert _pixels(one) == _pixels(other)


def test_no_task_is_in_the_training_data() -> None:
    config = WorldConfig()
    trained = {
        plan_scene(index, frames=5, height=64, width=96, seed=seed, split="train", config=config).caption.text
        for index in range(200)
        for seed in (0, 1)
    }
    assert not trained & {task.caption for group in GROUPS.values() for task in tasks(group, 5)}


def test_a_line_of_scores_that_a_kill_cut_short_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    line = _video((0.5, 0.4)).model_dump_json() + "\n"
    path.write_text(line + line[: len(line) // 2])
    assert len(load_scores(path)) == 1
    assert path.read_text() == line


def _pixels(task: Task) -> list[bytes]:
    return [np.asarray(opened.rgb).tobytes() for opened in open_references(task.references)]


@pytest.mark.slow
def test_all_of_it_runs_and_goes_on_where_it_ended(tmp_path: Path, tiny_vae_base: Path) -> None:
    command = [sys.executable, "-m", "magref.evaluation.ablation", str(tiny_vae_base), str(tmp_path / "out"), "--quick"]
    subprocess.run(command, check=True)
    report = tmp_path / "out" / "ablation.md"
    written = report.read_text()
    scores = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scores").rglob("*.json*")}
    assert len(scores) == len(ARMS) * (2 + len(GROUPS) + 1) * len(QUICK.seeds)
    report.unlink()
    subprocess.run(command, check=True)
    assert report.read_text() == written
    assert all(path.stat().st_mtime_ns == then for path, then in scores.items())
    for name in ("curves", "drift", *(f"frames-{group}" for group in GROUPS)):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 1000


@pytest.fixture
def tiny_vae_base(tmp_path: Path) -> Path:
    from magref.pipeline import MagrefPipeline

    write_base(MagrefPipeline.from_pretrained().vae, *make_text(2), tmp_path / "base", layers=2, heads=2)
    return tmp_path / "base"
