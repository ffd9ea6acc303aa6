"""What a curation would take, from stated rates or from those of an earlier run."""

from __future__ import annotations

import re

import numpy as np
import pytest

from magref.cli import main
from magref.curation.outcome import Kept, Rejected
from magref.curation.running.planning import STATED, plan
from magref.curation.running.rows import Row, Took
from magref.curation.running.sources import Source, find_sources
from magref.curation.running.work import open_work
from magref.curation.settings import CurationSettings, WindowSettings
from magref.curation.truth import TRUTH
from magref.errors import InputError
from magref.video import write_video

SETTINGS = CurationSettings(windows=WindowSettings(frames=8, fps=8.0))


@pytest.fixture
def videos(tmp_path):
    """Two videos of 4 and 8 seconds, 48 x 32 pixels."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, frames in (("a.mp4", 32), ("b.mp4", 64)):
        write_video(np.zeros((frames, 32, 48, 3), np.uint8), folder / name, fps=8)
    return folder


@pytest.fixture
def earlier(tmp_path):
    """A run over one video of 100 seconds, of which 50 clips were cut; half of these went on to the captioner."""
    source = Source("/videos/one.mp4")
    work = open_work(tmp_path / "pilot", SETTINGS, [source])
    scores = {"seconds": 100.0, "height": 100.0, "width": 100.0, "frames": 800.0}
    short = Rejected(stage="windows", reason="shot too short", value=0.1, limit=1.0)
    still = Rejected(stage="motion", reason="too little motion", value=0.0, limit=0.5)
    rows = [Row("source", source.id, Kept(), scores), Row("clip", "short", short)]
    rows += [Row("clip", f"clip-{n}", Kept() if n < 40 else still) for n in range(50)]
    work.write("scan", source.id, rows, Took(2.0))
    work.write("aesthetic", source.id, [Row("clip", f"clip-{n}", Kept()) for n in range(40)], Took(4.0, "cuda H100"))
    work.write("captions", source.id, [Row("clip", f"clip-{n}", Kept()) for n in range(25)], Took(50.0, "cuda H100"))
    work.write("boxes", source.id, [Row("clip", f"clip-{n}", Kept()) for n in range(25)], Took(1.0, TRUTH))
    work.write("samples", source.id, [Row("sample", f"clip-{n}", Kept()) for n in range(5)], Took(8.0))
    return work


def test_without_an_earlier_run_nothing_is_rejected_and_rates_are_stated(videos):
    planned = plan(find_sources([str(videos)]), SETTINGS)
    assert (planned.videos, planned.opened, planned.samples) == (2, 2, None)
    assert planned.seconds == pytest.approx(12)
    assert planned.clips == pytest.approx(12)  # of a second each
    lines = {line.stage: line for line in planned.lines}
    assert {stage: line.rate for stage, line in lines.items()} == STATED
    assert lines["scan"].amount == pytest.approx(96 * 32 * 48 / 1e6)
    assert lines["captions"].amount == pytest.approx(12)
    assert lines["faces"].amount == pytest.approx(12 * 8)
    models = [lines[stage].seconds for stage in ("aesthetic", "captions", "boxes", "faces")]
    assert planned.hours("cuda") == pytest.approx(sum(models) / 3600)
    assert planned.hours("") == pytest.approx(sum(line.seconds for line in planned.lines) / 3600 - sum(models) / 3600)


def test_rates_and_shares_are_those_of_an_earlier_run(videos, earlier):
    planned = plan(find_sources([str(videos)]), SETTINGS, earlier=earlier)
    lines = {line.stage: line for line in planned.lines}
    assert planned.clips == pytest.approx(6)  # clips were cut from half of the time
    assert planned.samples == pytest.approx(6 * 5 / 50)
    assert lines["scan"].rate.per_s == pytest.approx(8.0 / 2.0)  # 8 megapixels in all
    assert lines["scan"].rate.known == "measured in pilot"
    assert lines["captions"].amount == pytest.approx(6 * 25 / 50)
    assert (lines["captions"].rate.per_s, lines["captions"].rate.device) == (0.5, "cuda H100")
    assert lines["samples"].rate.per_s == pytest.approx(5 * 8 / 8.0)  # in frames
    assert planned.hours("cuda") >= lines["captions"].seconds / 3600


def test_what_the_earlier_run_did_not_measure_is_stated(videos, earlier):
    lines = {line.stage: line for line in plan(find_sources([str(videos)]), SETTINGS, earlier=earlier).lines}
    assert lines["faces"].rate == STATED["faces"]  # not done: taken for all clips
    assert lines["faces"].amount == pytest.approx(6 * 8)
    assert lines["boxes"].rate == STATED["boxes"]  # answers that were read, and no model


def test_captions_of_a_server_are_not_of_the_own_gpus(videos):
    sources = find_sources([str(videos)])
    own, served = plan(sources, SETTINGS), plan(sources, SETTINGS, server=True)
    assert served.hours("server") == pytest.approx(12 / STATED["captions"].per_s / 3600)
    assert served.hours("cuda") == pytest.approx(own.hours("cuda") - served.hours("server"))


def test_videos_that_cannot_be_opened_are_taken_to_be_like_the_others(videos):
    (videos / "empty.mp4").write_bytes(b"")
    planned = plan([*find_sources([str(videos)]), Source("https://example.org/a.mp4")], SETTINGS)
    assert (planned.videos, planned.opened) == (4, 2)
    assert planned.seconds == pytest.approx(24)
    with pytest.raises(InputError, match="none of the videos could be opened"):
        plan([Source("https://example.org/a.mp4")], SETTINGS)


def test_the_command_prints_a_plan_and_writes_nothing(videos, earlier, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    command = ["curate", str(videos), "--plan", "--set", "windows.frames=8", "--set", "windows.fps=8"]
    for more in ([], ["--work", str(earlier.folder)]):
        with pytest.raises(SystemExit) as ended:
            main([*command, *more])
        assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "at most 12 clips" in shown
    assert "6 clips, 1 of them samples" in shown
    assert re.search(r"Rates of captions: stated;", shown)
    assert re.search(r"Rates of .*captions.*: measured in pilot", shown)
    assert sorted(tmp_path.rglob("*")) == before


def test_clips_of_a_model_s_length_are_asked_for_by_its_name(videos, tmp_path, capsys):
    def shown(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["curate", str(videos), "--plan", *options])
        assert ended.value.code == 0
        return capsys.readouterr().out

    usual, named = shown(), shown("--for", "magref-nano")
    assert named == shown("--set", "windows.frames=17", "--set", "windows.fps=8")
    assert named != usual
    assert shown("--for", "magref-nano", "--set", "windows.frames=81", "--set", "windows.fps=16") == usual
