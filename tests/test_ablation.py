"""The ablation's arithmetic on scores that are known, its tasks, and once, slowly, all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from magref.errors import InputError, OutputError
from magref.evaluation.ablation.__main__ import run
from magref.evaluation.ablation.budget import ARMS, GROUPS, MECHANISMS, QUICK, Arm, Budget
from magref.evaluation.ablation.measuring import BASELINES, EARLY, REVERSED, Changes, Scored
from magref.evaluation.ablation.tables import (
    MEASURES,
    UNPAIRED,
    _drift,
    _group_table,
    _orders,
    _over_steps,
    _pairs,
    measured_arms,
    quarters,
)
from magref.evaluation.measures.score import SubjectScore, VideoScore
from magref.evaluation.stages import averaged_models, claim
from magref.evaluation.tasks import Task, generator, load_scores, tasks
from magref.references import open_references
from magref.settings import GenerationDefaults
from magref.synthetic.plans import STAGED, plan_scene
from magref.training.recipe import read_recipe
from tiny_pipeline import make_pipeline

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
        _write_scores(scored.place(arm, seed, 10, group), videos)
    _write_scores(scored.place(arm, seed, 10, REVERSED), [_video((0.3,) * 4)] * 3)
    scored.order(arm, seed).write_text(Changes(order=tuple(changes), noise=(0.5,) * len(changes)).model_dump_json())


def _write_scores(path: Path, videos: list[VideoScore]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(video.model_dump_json() + "\n" for video in videos))


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
    for name in BASELINES:
        _write_scores(found.baseline(name, "one"), [_video((1.0, 1.0, 1.0, 1.0))] * 3)
    return found


def _row(table: str, name: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


COLUMNS = [*MEASURES, *UNPAIRED]


def test_a_table_pools_the_seeds_and_shows_each(scored: Scored) -> None:
    table = _group_table(scored, measured_arms(scored, BUDGET), BUDGET, "one")
    column = COLUMNS.index("identity")
    assert _row(table, "masked")[column].startswith("0.70 ")
    assert _row(table, "&nbsp; seed 0")[column] == "0.80"
    assert _row(table, "tokenwise")[column].startswith("0.50 ")
    assert _row(table, "still canvas")[column].startswith("1.00 ")


def test_who_is_never_found_has_no_identity(scored: Scored) -> None:
    """Two of three are found: a mechanism must not look better for losing the third."""
    row = _row(_group_table(scored, measured_arms(scored, BUDGET), BUDGET, "one"), "vanilla")
    assert row[COLUMNS.index("seen")].startswith("0.67 ")
    assert row[COLUMNS.index("identity")].startswith("0.40 ")
    assert row[COLUMNS.index("identity where seen")].startswith("0.60 ")
    assert row[COLUMNS.index("motion right")].startswith("0.00 ")


def test_differences_are_of_pairs_and_shown_for_each_seed(scored: Scored) -> None:
    """All pairs differ by the same, so the interval has no width, though the seeds are far apart."""
    column = list(MEASURES).index("identity")
    table = _pairs(scored, measured_arms(scored, BUDGET), BUDGET, "one")
    assert _row(table, "tokenwise")[column] == "**-0.20 [-0.20, -0.20]**"
    assert _row(table, "&nbsp; seed 0")[column] == "-0.33"  # vanilla's, which comes first
    assert _row(table, "vanilla")[column].startswith("**-0.30 ")


def test_what_the_seeds_do_not_agree_on_is_not_bold(scored: Scored) -> None:
    for seed, level in ((0, 0.9), (1, 0.3)):  # 0.1 more than masked guidance, and 0.3 less
        _write_scores(scored.place(ARMS[2], seed, 10, "one"), [_video((level,) * 4)] * 3)
    cell = _row(_pairs(scored, measured_arms(scored, BUDGET), BUDGET, "one"), "tokenwise")[1]
    assert cell == "-0.10 [-0.10, -0.10]"


def test_a_seed_that_shows_no_difference_agrees_with_none(scored: Scored) -> None:
    for direction in (-1, 1):
        for seed, level in ((0, 0.8), (1, 0.6 + 0.2 * direction)):
            _write_scores(
                scored.place(ARMS[2], seed, 10, "one"), [_video((level + 0.05, level, level, level - 0.05))] * 3
            )
        column = list(MEASURES).index("identity")
        cell = _row(_pairs(scored, measured_arms(scored, BUDGET), BUDGET, "one"), "tokenwise")[column]
        assert cell == f"{0.1 * direction:+.2f} [{0.1 * direction:+.2f}, {0.1 * direction:+.2f}]"


def test_over_steps_differences_are_of_pairs(scored: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magref.evaluation.ablation.tables.training_flops", lambda arm, folder, budget, step: 2e13)
    table = _over_steps(scored, measured_arms(scored, BUDGET), scored.folder, BUDGET, "one")
    assert _row(table, "masked")[:3] == ["10", "2e+13", ""]
    assert _row(table, "tokenwise")[2] == "**-0.20 [-0.20, -0.20]**"


def test_what_is_not_measured_to_its_end_is_left_out(scored: Scored) -> None:
    scored.order(ARMS[3], 1).unlink()
    scored.order(ARMS[2], 0).unlink()
    scored.order(ARMS[2], 1).unlink()
    assert measured_arms(scored, BUDGET) == {ARMS[0]: [0, 1], ARMS[1]: [0, 1], ARMS[3]: [0]}


def test_drift_is_from_the_first_quarter_to_the_last(scored: Scored) -> None:
    assert quarters((1.0, 0.8, 0.0, 0.4, 0.0, 0.2, 0.1, 0.0)) == (0.9, 0.05)
    row = _row(_drift(scored, measured_arms(scored, BUDGET), BUDGET), "masked")
    assert row[0].startswith("0.75, 0.65: -0.10 ")


def test_the_order_table_has_each_arm_s_change_and_a_scale_for_it(scored: Scored) -> None:
    row = _row(_orders(scored, measured_arms(scored, BUDGET), BUDGET), "tokenwise")
    assert row[0].startswith("0.20 ")
    assert row[1].startswith("0.50 ")
    assert row[2].startswith("0.50, 0.30: -0.20 ")
    assert row[3] == "0.00, 0.00: +0.00 [+0.00, +0.00]"


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
    trained = {
        plan_scene(index, frames=5, height=64, width=96, seed=seed, split="train", config=config).caption.text
        for index in range(300)
        for seed, config in enumerate(STAGED.model_copy(update={"pictures": share}) for share in (0.5, 0.0))
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


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="choose another folder"):
        run(tmp_path, QUICK)
    run_budgets = tmp_path / "begun"
    claim(run_budgets, {"budget": str(QUICK)})
    with pytest.raises(OutputError, match="made with other budget"):
        run(run_budgets, Budget())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["begun", "made_with.json", "notes.txt"]


def test_a_mark_whose_checkpoint_is_gone_is_told(tmp_path: Path) -> None:
    recipe = read_recipe("nano-smoke", ["optim.steps=4"])
    with pytest.raises(InputError, match="no checkpoint of step 2 any more; remove it and train it again"):
        next(averaged_models(recipe, tmp_path, (2, 4, 8)))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_background_is_no_layout_that_is_left(mechanism: str) -> None:
    """Neither for the rivals, which are given it as a picture of its own; masked guidance is given the canvas."""
    size = GenerationDefaults(height=32, width=48, num_frames=9, num_inference_steps=1, drop_frames=0)
    system = generator(make_pipeline(generation_defaults=size.model_copy(update={"mechanism": mechanism}).model_dump()))
    (task,) = tasks(GROUPS["background"], 1)
    _, case = system(task, 0)
    assert len(task.references) == 2
    assert len(case.given) == 1
    assert (case.given == (case.canvas,)) == (mechanism == "masked")


@pytest.mark.slow
def test_all_of_it_runs_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "magref.evaluation.ablation", str(tmp_path / "out"), "--quick"]
    subprocess.run(command, check=True)
    report = tmp_path / "out" / "ablation.md"
    written = report.read_text()
    scores = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scores").rglob("*.json*")}
    of_arms = len(ARMS) * (len(EARLY) + len(GROUPS) + 2) * len(QUICK.seeds)
    assert len(scores) == of_arms + len(BASELINES) * len(GROUPS)
    report.unlink()
    subprocess.run(command, check=True)
    assert report.read_text() == written
    assert all(path.stat().st_mtime_ns == then for path, then in scores.items())
    for name in ("curves", "drift", "frames-order", *(f"frames-{group}" for group in GROUPS)):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 1000
