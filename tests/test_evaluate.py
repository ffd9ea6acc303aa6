"""Scoring a folder of videos: every case has its scores or its reasons, the run goes on, and a second one resumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magref.batch import read_cases
from magref.cli import main
from magref.errors import InputError, OutputError
from magref.evaluation import evaluate as module
from magref.evaluation.evaluate import Request, case_sha256, evaluate
from magref.evaluation.metrics.interface import Missing, Value
from magref.evaluation.metrics.registry import NAMES, PAPER, Weights, make_metrics
from magref.evaluation.report.screen import placed
from magref.evaluation.report.side_by_side import case_lines
from magref.evaluation.report.systems import read_bench
from magref.evaluation.report.tables import categories, table_1
from magref.evaluation.scores import read_run, read_scores, summarise
from magref.video import write_video
from tiny_faces import picture, save_pack
from tiny_gme import save_gme, save_head
from tiny_models import save_clip


def frames(count: int = 6, height: int = 48, width: int = 64, speed: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (height // 8 + 1, width // 4, 3), dtype=np.uint8)
    big = np.asarray(Image.fromarray(rough).resize((width * 2, height), Image.Resampling.BICUBIC))
    return np.stack([big[:, n * speed : n * speed + width] for n in range(count)])


@pytest.fixture
def here(tmp_path):
    """Four cases with a person each, and their videos."""
    Image.new("RGB", (40, 40), "pink").save(tmp_path / "ann.png")
    write(tmp_path, [row(name) for name in "abcd"])
    (tmp_path / "videos").mkdir()
    for speed, name in enumerate("abcd"):
        write_video(frames(speed=speed), tmp_path / "videos" / f"{name}.mp4", fps=8)
    return tmp_path


def row(name: str, **changes) -> dict:
    refs = [{"key": "person-1", "role": "person", "uri": "ann.png"}]
    return {"id": name, "group": "single_id", "category": "face", "prompt": "She walks.", "refs": refs} | changes


def write(folder: Path, rows: list) -> None:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in rows]
    (folder / "cases.jsonl").write_text("\n".join(lines) + "\n")


def request(here: Path, **changes) -> Request:
    values = {"videos": here / "videos", "cases": here / "cases.jsonl", "output": here / "out", "metrics": ("motion",)}
    return Request(**values | changes)


def test_every_case_has_its_score_and_what_it_was_measured_on(here):
    run, scores = evaluate(request(here))
    assert [one.case for one in scores] == ["a", "b", "c", "d"]
    values = [one.scores["motion"].value for one in scores]
    assert values == sorted(values)
    assert values[0] < 0.1 < values[1]
    first = scores[0]
    assert (first.video.frames, first.video.width, first.video.height, first.video.fps) == (6, 64, 48, 8.0)
    assert (first.group, first.category, first.references, first.line) == ("single_id", "face", 1, 1)
    assert read_scores(here / "out") == scores
    assert read_run(here / "out") == run
    assert run.metrics["motion"].measures[0].unit == "pixels a frame"


def test_bad_input_is_recorded_with_its_reason_and_the_run_goes_on(here):
    videos = here / "videos"
    (videos / "b.mp4").unlink()
    (videos / "c.mp4").write_bytes((videos / "c.mp4").read_bytes()[:300])
    write_video(frames(count=4), videos / "long.mp4", fps=8)
    write_video(frames(height=32), videos / "small.mp4", fps=8)
    write_video(frames(), videos / "e.mp4", fps=8)
    thing = [{"key": "object-1", "role": "object", "uri": "ann.png"}]
    lost = [{"role": "person", "uri": "nobody.png"}]
    write(
        here,
        [
            row("a"), row("b"), row("c"), row("d"), row("long"), row("small"), row("a"), row("lost", refs=lost),
            "no json", row("e", refs=thing, group=None, category=None),
        ],
    )  # fmt: skip
    _, scores = evaluate(request(here, metrics=("motion", "face")))
    reasons = [one.scores["motion"].reason if isinstance(one.scores["motion"], Missing) else None for one in scores]
    assert reasons == [
        None, "no_video", "corrupt_video", None, "other_length", "other_size", "duplicate_id", "bad_case", "bad_case",
        None,
    ]  # fmt: skip
    assert scores[9].scores["face_similarity"].reason == "no_person_reference"
    assert scores[0].scores["face_similarity"].reason == "unavailable"  # there is no face pack here
    assert "buffalo_l" in scores[0].scores["face_similarity"].why
    why = {one.line: one.scores["motion"].why for one in scores if isinstance(one.scores["motion"], Missing)}
    assert why[2] == "there is no b.mp4 among the videos"
    assert "c.mp4" in why[3]
    assert why[5].startswith("the video has 4 frames, and most of the others have 6")
    assert why[6].startswith("the video is 64x32, and most of the others are 64x48")
    assert "already on line 1" in why[7]
    assert "nobody.png does not exist" in why[8]
    assert scores[8].case is None
    found = summarise(scores, ["motion", "face_similarity"])
    assert found["motion"].mean.n == 3
    assert sum(found["motion"].missing.values()) == 7
    assert found["motion"].missing["bad_case"] == 2
    assert (found["face_similarity"].mean.value, found["face_similarity"].mean.n) == (None, 0)


def test_odd_videos_are_scored_where_that_is_asked(here):
    write_video(frames(count=4), here / "videos" / "a.mp4", fps=8, overwrite=True)
    assert isinstance(evaluate(request(here))[1][0].scores["motion"], Missing)
    assert isinstance(evaluate(request(here, mixed=True))[1][0].scores["motion"], Value)


def test_not_a_number_is_missing_and_not_zero(here, monkeypatch):
    monkeypatch.setattr("magref.evaluation.metrics.motion.published_motion", lambda frames: float("nan"))
    _, scores = evaluate(request(here))
    assert {one.scores["motion"].reason for one in scores} == {"not_a_number"}
    assert summarise(scores, ["motion"])["motion"].mean.value is None
    assert "NaN" not in (here / "out" / "scores.jsonl").read_text()


def test_an_error_in_a_metric_is_of_its_video_alone(here, monkeypatch):
    def failing(frames):
        raise ValueError("sizes do not match\nin line 7")

    monkeypatch.setattr("magref.evaluation.metrics.motion.published_motion", failing)
    scores = evaluate(request(here))[1]
    assert [one.scores["motion"] for one in scores] == [
        Missing(reason="failed", why="ValueError: sizes do not match")
    ] * 4
    monkeypatch.undo()
    assert isinstance(evaluate(request(here))[1][0].scores["motion"], Value)


class Counting:
    """Counts the videos that are decoded."""

    def __init__(self, monkeypatch):
        self.paths: list[str] = []
        decode = module.decode

        def counted(path):
            self.paths.append(path.stem)
            return decode(path)

        monkeypatch.setattr(module, "decode", counted)


def test_a_second_run_measures_only_what_is_new(here, monkeypatch):
    counting = Counting(monkeypatch)
    _, first = evaluate(request(here))
    assert counting.paths == ["a", "b", "c", "d"]
    _, again = evaluate(request(here))
    assert counting.paths == ["a", "b", "c", "d"]
    assert again == first
    write_video(frames(speed=4), here / "videos" / "b.mp4", fps=8, overwrite=True)
    write(here, [row("a"), row("b"), row("c", prompt="He runs."), row("d")])
    _, changed = evaluate(request(here))
    assert counting.paths[4:] == ["b", "c"]
    assert changed[1].scores["motion"] != first[1].scores["motion"]


def test_what_was_missing_is_tried_again(here):
    (here / "videos" / "b.mp4").rename(here / "b.mp4")
    assert isinstance(evaluate(request(here))[1][1].scores["motion"], Missing)
    (here / "b.mp4").rename(here / "videos" / "b.mp4")
    assert isinstance(evaluate(request(here))[1][1].scores["motion"], Value)


def test_metrics_can_be_added_and_the_earlier_ones_stay(here, monkeypatch):
    _, first = evaluate(request(here))
    counting = Counting(monkeypatch)
    run, both = evaluate(request(here, metrics=("world",)))
    assert list(run.metrics) == ["motion", "world"]
    assert both[0].scores["motion"] == first[0].scores["motion"]
    assert both[0].scores["world_seen"].reason == "not_synthetic"
    _, again = evaluate(request(here, metrics=("motion",)))
    assert again[0].scores["world_seen"].reason == "not_synthetic"  # not asked for, and kept as it was
    assert counting.paths == ["a", "b", "c", "d"]


def test_a_case_that_cannot_be_used_counts_as_missing_in_its_part_and_a_repeated_id_does_not(here):
    lost = [{"role": "person", "uri": "nobody.png"}]
    write(here, [row("a"), row("b", refs=lost), row("a")])
    evaluate(request(here))
    bench = read_bench([str(here / "out")])
    (table,) = table_1(bench, published=False)
    assert (table.part.key, table.cases, table.rows[0].cells[0].counts) == ("single_id", 2, "1/2")
    assert [part.key for part in categories(bench)] == ["face"]
    assert "2 lines of videos's case file could not be used; 1 of them stand in no part." in bench.notes


def test_an_id_that_occurs_twice_costs_the_first_one_nothing(here, monkeypatch):
    write(here, [row("a"), row("b"), row("a", prompt="He runs.")])
    _, first = evaluate(request(here))
    counting = Counting(monkeypatch)
    assert evaluate(request(here))[1] == first
    assert counting.paths == []
    _, both = evaluate(request(here, metrics=("world",)))
    assert [one.scores["motion"] for one in both] == [one.scores["motion"] for one in first]
    bench = read_bench([str(here / "out")])
    assert case_lines(bench, None)["a"].case.prompt == "She walks."


def test_a_case_that_moved_in_its_file_keeps_its_scores_through_an_interrupted_run(here, monkeypatch):
    _, first = evaluate(request(here))
    write_video(frames(), here / "videos" / "new.mp4", fps=8)
    write(here, [row("new"), *(row(name) for name in "abcd")])
    monkeypatch.setattr(module, "_kept", stop_at("a", module._kept))
    with pytest.raises(KeyboardInterrupt):
        evaluate(request(here))
    monkeypatch.undo()
    kept = {one.case: one.scores for one in read_scores(here / "out")}
    assert [kept.get(one.case) for one in first] == [one.scores for one in first]
    counting = Counting(monkeypatch)
    evaluate(request(here))
    assert counting.paths == []


def stop_at(name, kept):
    def stopping(known, before, wanted):
        if known.case == name:
            raise KeyboardInterrupt
        return kept(known, before, wanted)

    return stopping


def test_an_interrupted_run_keeps_what_it_has_even_where_a_line_was_cut_short(here, monkeypatch):
    append = module.append_scores

    def stopping(scores, folder):
        append(scores, folder)
        if scores.case == "b":
            with (folder / "scores.jsonl").open("a") as file:
                file.write('{"line": 3, "ca')
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "append_scores", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate(request(here))
    monkeypatch.setattr(module, "append_scores", append)
    assert [one.case for one in read_scores(here / "out")] == ["a", "b"]
    counting = Counting(monkeypatch)
    _, scores = evaluate(request(here))
    assert counting.paths == ["c", "d"]
    assert [one.case for one in read_scores(here / "out")] == ["a", "b", "c", "d"]
    assert len((here / "out" / "scores.jsonl").read_text().splitlines()) == len(scores)


def test_scores_of_another_profile_or_other_weights_are_not_mixed(here, tmp_path):
    evaluate(request(here))
    with pytest.raises(OutputError, match="holds scores of profile opens2v; choose another folder"):
        evaluate(request(here, profile="strict"))
    (tmp_path / "pack").mkdir()
    evaluate(request(here, metrics=("face",)))  # without a pack: nothing was measured yet
    evaluate(request(here, metrics=("face",), weights=Weights(faces=tmp_path / "pack")))
    (tmp_path / "other").mkdir()
    with pytest.raises(OutputError, match=r"holds face scores made with .*pack"):
        evaluate(request(here, metrics=("face",), weights=Weights(faces=tmp_path / "other")))
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "letter.txt").touch()
    with pytest.raises(OutputError, match="holds something else than scores"):
        evaluate(request(here, output=tmp_path / "things"))


def test_mistakes_that_concern_all_cases_are_said_before_any_work(here):
    with pytest.raises(InputError, match="there is no metric 'speed'; use face, aesthetic"):
        evaluate(request(here, metrics=("speed",)))
    with pytest.raises(InputError, match="no metric is named; use face, aesthetic"):
        evaluate(request(here, metrics=()))
    with pytest.raises(InputError, match="does not exist; give the folder of the videos"):
        evaluate(request(here, videos=here / "nowhere"))
    assert not (here / "out").exists()


def test_a_case_is_known_by_its_prompt_and_references_wherever_they_lie(here):
    first, second, *_ = read_cases(here / "cases.jsonl")
    assert case_sha256(first) == case_sha256(second)  # the id plays no part
    digest = "0" * 64
    moved = [case.model_copy(update={"refs": (case.refs[0].model_copy(update={"uri": u, "sha256": digest}),)})
             for case, u in ((first, "x"), (first, "y"))]  # fmt: skip
    assert case_sha256(moved[0]) == case_sha256(moved[1]) != case_sha256(first)
    before = case_sha256(first)
    (here / "ann.png").rename(here / "bea.png")
    elsewhere = first.model_copy(update={"refs": (first.refs[0].model_copy(update={"uri": str(here / "bea.png")}),)})
    assert case_sha256(elsewhere) == before
    Image.new("RGB", (40, 40), "blue").save(here / "bea.png")
    assert case_sha256(elsewhere) != before


@pytest.mark.parametrize("profile", ["opens2v", "strict"])
def test_every_metric_says_what_it_is(profile):
    made = make_metrics(NAMES, profile, Weights(device="cpu"))
    assert tuple(made) == (*PAPER, "world")
    names = [measure.name for one in made.values() for measure in one.metric.measures]
    assert len(set(names)) == len(names)
    for one in made.values():
        assert all((one.metric.about.source, one.metric.about.licence, one.metric.about.ran))
        assert all(measure.meaning for measure in one.metric.measures)


def test_the_command_prints_means_and_how_many_are_missing(here, capsys, monkeypatch):
    monkeypatch.chdir(here)
    (here / "videos" / "d.mp4").unlink()
    source = {"dataset": "reconstruction of something"}
    write(here, [row(name, source=source) for name in "abcd"])
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "videos", "--cases", "cases.jsonl", "--metrics", "motion", "--device", "cpu"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "videos on reconstruction of something, profile opens2v (as published)" in out
    assert "all 4 cases" in out
    assert "single_id, 4 cases" in out
    assert "1: no_video 1" in out
    assert (here / "scores" / "videos-opens2v" / "scores.jsonl").exists()
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "videos", "--cases", "cases.jsonl", "--profile", "loose"])
    assert ended.value.code == 2
    assert "--profile 'loose' is unknown; use opens2v or strict" in capsys.readouterr().err


def test_bench_import_and_check_from_the_command_line(here, capsys, monkeypatch):
    monkeypatch.chdir(here)
    (here / "table.csv").write_text("text,who\nShe walks.,ann.png\n")
    with pytest.raises(SystemExit) as ended:
        main(["bench", "import", "table.csv", "own", "--prompt", "text", "--reference", "person=who"])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["bench", "check", "own/cases.jsonl"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "single_id has 1 cases; give 60" in said
    assert "1 cases, 8 problems; table" in said
    with pytest.raises(SystemExit) as ended:
        main(["bench", "check", "own/cases.jsonl", "--any-number"])
    assert ended.value.code == 0
    for arguments, says in (
        (["table.csv", "x"], "name a table's columns"),
        (["table.csv", "x", "--prompt", "text"], "name the pictures' columns"),
        (["table.csv", "x", "--prompt", "text", "--reference", "dog=who"], "the role 'dog' is unknown"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["bench", "import", *arguments])
        assert ended.value.code == 2
        assert says in capsys.readouterr().err


def test_scores_know_their_videos_and_cases_from_any_folder(here, monkeypatch):
    monkeypatch.chdir(here / "videos")
    run, scores = evaluate(request(here, videos=Path("."), cases=Path("../cases.jsonl")))
    assert (run.videos, run.cases) == (str(here / "videos"), str(here / "cases.jsonl"))
    monkeypatch.chdir("/")
    bench = read_bench([str(here / "out")])
    assert bench.systems[0].name == "videos"
    assert case_lines(bench, None).keys() == {"a", "b", "c", "d"}
    monkeypatch.chdir(here / "videos")
    assert placed(run.model_copy(update={"videos": "."}), scores) == []
    write(here, [row("a", refs=[{"uri": "nobody.png"}])])
    with pytest.raises(InputError, match="no case of videos could be used; mend the case file"):
        placed(*evaluate(request(here)))


@pytest.mark.parametrize("content", ['{"name": "another program"}\n', "[1]\n", "no json, \u00e9\n"])
def test_what_another_program_notes_beside_its_videos_is_passed_over(here, content):
    (here / "videos" / "run").mkdir()
    for name in ("system.json", "failures.jsonl"):
        (here / "videos" / "run" / name).write_text(content, encoding="latin-1")
    (here / "videos" / "a.mp4").unlink()
    run, scores = evaluate(request(here))
    assert run.made_by is None
    assert scores[0].scores["motion"].why == "there is no a.mp4 among the videos"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    folder = tmp_path_factory.mktemp("weights")
    return Weights(
        faces=save_pack(folder / "faces"),
        clip=save_clip(folder / "clip"),
        aesthetic_head=save_head(folder / "head.pth"),
        gme=save_gme(folder / "gme"),
        device="cpu",
    )


@pytest.mark.parametrize("profile", ["opens2v", "strict"])
def test_the_papers_four_metrics_run_through_models_on_disk(here, weights, profile):
    for name in "abcd":
        write_video(
            np.stack([picture(120, 160, seed=n) for n in range(3)]),
            here / "videos" / f"{name}.mp4",
            fps=8,
            overwrite=True,
        )
    Image.fromarray(picture(160, 160, seed=9)).save(here / "ann.png")
    run, scores = evaluate(request(here, metrics=PAPER, weights=weights, profile=profile))
    assert {name: type(score) for name, score in scores[0].scores.items()} == dict.fromkeys(run.measures, Value)
    assert [one.scores for one in scores] == [scores[0].scores] * 4  # equal videos of equal cases
    assert 0 <= scores[0].scores["face_similarity"].value <= 1
    assert all(metric.weights for metric in run.metrics.values())


def test_face_similarity_needs_no_file_for_poses(here, tmp_path):
    Image.fromarray(picture(160, 160, seed=9)).save(here / "ann.png")
    write(here, [row("a")])
    write_video(np.stack([picture(120, 160, seed=0)]), here / "videos" / "a.mp4", fps=8, overwrite=True)
    pack = save_pack(tmp_path / "faces")
    (pack / "meanshape_68.pkl").unlink()
    _, (scores,) = evaluate(request(here, metrics=("face",), weights=Weights(faces=pack, device="cpu")))
    assert isinstance(scores.scores["face_similarity"], Value)
