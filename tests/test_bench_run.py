"""Videos of a benchmark's cases: none twice, none lost, none half, whatever ends the run or goes wrong in it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from magref.cli import main
from magref.errors import CheckpointError, OutputError
from magref.evaluation.making import Request, make_videos
from magref.evaluation.scores import read_run, read_scores
from magref.evaluation.systems.registry import read_settings
from magref.evaluation.videos import VideoRecord, read_failures, read_made_by, seed_of
from magref.evaluation.workers import LocalEngine
from magref.references import file_sha256
from magref.video import read_video
from tiny import GOLDEN

IDS = tuple("abcdef")
STILL = ("width=32", "height=32", "num_frames=3")


def row(name: str, colour: str = "pink", **changes) -> str:
    refs = [{"key": "person-1", "role": "person", "uri": f"{colour}.png"}]
    return json.dumps(
        {"id": name, "group": "single_id", "category": "face", "prompt": f"{name} walks.", "refs": refs} | changes
    )


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder with six cases."""
    monkeypatch.chdir(tmp_path)
    for colour in ("pink", "navy"):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{colour}.png")
    write([row(name, "pink" if name < "d" else "navy") for name in IDS])
    return tmp_path


def write(rows: list[str]) -> None:
    Path("cases.jsonl").write_text("\n".join(rows) + "\n")


def still(videos: str = "videos", *changes: str, **more) -> Request:
    return Request(Path("cases.jsonl"), Path(videos), "still", read_settings("still", [*STILL, *changes]), **more)


def by_command(script: str, videos: str = "videos") -> Request:
    """Cases made by a shell script: $1 is the case's id, $2 the output."""
    line = f"sh -c {shlex.quote(script)} sh {{id}} {{out}}"
    return Request(Path("cases.jsonl"), Path(videos), "command", read_settings("command", command=line))


def stamps(folder: str = "videos") -> dict[str, tuple[int, int]]:
    """By name, what changes where a video is made again; temporary ones are hidden."""
    found = (path.stat() for path in sorted(Path(folder).glob("[!.]*.mp4")))
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in zip(made(folder), found, strict=True)}


def made(folder: str = "videos") -> list[str]:
    return sorted(path.stem for path in Path(folder).glob("[!.]*.mp4"))


def test_every_case_has_its_video_and_its_record(here):
    seen = []
    finished = make_videos(still(), LocalEngine(), progress=lambda *what: seen.append(what))
    assert (finished.cases, finished.there, finished.new, finished.failures) == (6, 6, 6, ())
    assert seen == [(done, 6, None) for done in range(7)]
    assert sorted(path.name for path in Path("videos").iterdir()) == sorted(
        [f"{name}{ending}" for name in IDS for ending in (".mp4", ".json")] + ["run"]
    )
    record = VideoRecord.model_validate_json(Path("videos/b.json").read_bytes())
    assert (record.case, record.made_by.system, record.made_by.seed) == ("b", "still", 0)
    assert (record.seed, record.frames, record.width, record.height, record.fps) == (seed_of("b", 0), 3, 32, 32, 8.0)
    assert record.output_sha256 == file_sha256(Path("videos/b.mp4"))
    assert record.references[0].path == str(here / "pink.png")
    assert record.references[0].sha256 == file_sha256(here / "pink.png")
    assert read_made_by(Path("videos")) == record.made_by


def test_a_second_call_makes_what_is_missing_and_nothing_else(here):
    make_videos(still(), LocalEngine())
    before = stamps()
    assert make_videos(still(), LocalEngine()).new == 0
    Path("videos/c.mp4").unlink()  # as a kill between the record and the video leaves it
    finished = make_videos(still(), LocalEngine())
    assert (finished.new, finished.there) == (1, 6)
    after = stamps()
    assert {name for name in before if before[name] != after[name]} == {"c"}


def test_a_case_has_one_seed_whatever_makes_it():
    seeds = {seed_of(name, base) for name in IDS for base in range(3)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of("face_01", 0) == 1422615495  # it never changes: published videos name it


def test_failures_are_noted_and_the_run_goes_on(here):
    write([row(name) for name in "abc"] + ["no json", row("lost", "grey"), row("A")])
    make_videos(still("source"), LocalEngine())
    script = 'case $1 in b) echo broken; exit 4;; c) echo nothing;; *) cp source/a.mp4 "$2";; esac'
    finished = make_videos(by_command(script), LocalEngine())
    assert (finished.cases, finished.there, finished.new) == (6, 1, 1)
    assert {(one.case, one.line): one.reason for one in finished.failures} == {
        (None, 4): "bad_case", ("lost", 5): "bad_case", ("A", 6): "bad_case", ("b", None): "exit_code",
        ("c", None): "no_video",
    }  # fmt: skip
    noted = read_failures(Path("videos"))
    assert sorted(noted, key=str) == sorted(finished.failures, key=str)
    assert next(one.evidence for one in noted if one.case == "b") == "broken\n"
    assert made() == ["a"]
    again = make_videos(by_command(script), LocalEngine())
    assert (again.there, again.new) == (1, 0)
    assert [one.reason for one in read_failures(Path("videos"))].count("bad_case") == 3  # noted once
    assert [one.reason for one in read_failures(Path("videos"))].count("exit_code") == 2  # tried again


def test_videos_of_different_making_are_not_mixed(here):
    make_videos(still(), LocalEngine())
    for request, says in (
        (still("videos", "fps=4"), "holds videos of still made otherwise \\(settings,"),
        (still(seed=1), "made otherwise \\(seed,"),
        (by_command("true"), "made otherwise \\(system, settings,"),
    ):
        with pytest.raises(OutputError, match=says):
            make_videos(request, LocalEngine())
    write([row(name, prompt="Another prompt.") for name in IDS])
    with pytest.raises(OutputError, match=r"a\.mp4 was made of another prompt or other references"):
        make_videos(still(), LocalEngine())
    Path("elsewhere").mkdir()
    Path("elsewhere/a.mp4").write_bytes(Path("videos/a.mp4").read_bytes())
    with pytest.raises(OutputError, match="elsewhere holds videos from elsewhere"):
        make_videos(still("elsewhere"), LocalEngine())
    Path("videos/a.json").unlink()
    with pytest.raises(OutputError, match=r"a\.mp4 is not of this run"):
        make_videos(still(), LocalEngine())


def test_a_full_disk_ends_the_run(here, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("magref.evaluation.making.file_sha256", full)
    with pytest.raises(OutputError, match="the disk is full"):
        make_videos(still(), LocalEngine())
    assert made() == []
    assert [path.name for path in Path("videos").iterdir()] == ["run"]


def test_two_processes_make_what_one_makes(here):
    make_videos(still("one"), LocalEngine())
    seen = []
    finished = make_videos(still("two"), LocalEngine(("cpu", "cpu")), progress=lambda *what: seen.append(what))
    assert (finished.there, finished.new) == (6, 6)
    assert seen == [(done, 6, None) for done in range(7)]
    for path in Path("one").glob("*.*"):
        assert path.read_bytes() == (Path("two") / path.name).read_bytes()


def test_a_process_that_dies_costs_its_case_alone(here):
    make_videos(still("source"), LocalEngine())
    script = 'if [ $1 = c ]; then kill -9 $PPID; sleep 9; else cp source/a.mp4 "$2"; fi'
    finished = make_videos(by_command(script), LocalEngine(("cpu", "cpu")))
    assert made() == [name for name in IDS if name != "c"]
    (failure,) = finished.failures
    assert (failure.case, failure.reason) == ("c", "died")
    assert "ended with code -9" in failure.why


def test_what_concerns_all_cases_ends_the_run_in_processes_too(here):
    make_videos(still("source"), LocalEngine())
    with pytest.raises(OutputError, match=r"\.json could not be written"):
        make_videos(by_command('cp source/a.mp4 "$2"; mkdir videos/$1.json'), LocalEngine(("cpu", "cpu")))
    assert made() == []


def command_line(*options: str) -> list[str]:
    """A run whose videos are copies of a still, made half a second after the last."""
    script = 'sleep 0.5; cp source/a.mp4 "$2"'
    line = f"sh -c {shlex.quote(script)} sh {{id}} {{out}}"
    return [
        sys.executable, "-m", "magref", "bench", "run", "videos", "--cases", "cases.jsonl", "--command", line, *options
    ]  # fmt: skip


def started(arguments: list[str], reached: Callable[[], bool]) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A run that has come to a certain point, and all processes below it."""
    run = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 200
    while not reached() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run.poll() is None, run.communicate()[0]
    return run, psutil.Process(run.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them have ended, or do so within the time that they are given."""
    return not psutil.wait_procs(processes, timeout=60)[1]


@pytest.mark.parametrize("devices", ["cpu", pytest.param("cpu,cpu", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_where_it_was(here, devices):
    make_videos(still("source"), LocalEngine())
    arguments = command_line("--device", devices)
    seen: dict[str, tuple[int, int]] = {}
    for count in (1, 3):
        run, below = started(arguments, lambda count=count: len(made()) >= count)
        run.kill()
        run.wait()
        assert gone([one for one in below if "spawn_main" in " ".join(cmdline(one))])
        assert seen.items() <= stamps().items()  # none was made twice
        seen = stamps()
        for name in seen:
            assert Path(f"videos/{name}.json").exists()
            assert read_video(f"videos/{name}.mp4")[0].shape == (3, 32, 32, 3)  # none is half
    assert len(seen) < len(IDS), "the run ended before it could be killed"
    subprocess.run(arguments, check=True, capture_output=True)
    assert seen.items() <= stamps().items()
    assert made() == list(IDS)  # none is lost


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_an_interrupt_leaves_nothing_half_and_nobody_behind(here, devices):
    make_videos(still("source"), LocalEngine())
    run, below = started(command_line("--device", devices), lambda: len(made()) >= 2)
    os.killpg(run.pid, signal.SIGINT)  # as the terminal does
    said, _ = run.communicate(timeout=100)
    assert run.returncode == 130
    assert "magref: interrupted; what was finished is kept" in said
    assert "Traceback" not in said
    assert gone(below)
    there = made()
    assert 2 <= len(there) < len(IDS)
    assert sorted(path.name for path in Path("videos").iterdir()) == sorted(
        [f"{name}{ending}" for name in there for ending in (".mp4", ".json")] + ["run"]
    )


def test_two_runs_in_one_folder_are_refused(here, capsys):
    make_videos(still("source"), LocalEngine())
    run, _ = started(command_line(), lambda: len(made()) >= 1)
    try:
        with pytest.raises(OutputError, match="another run makes videos in"):
            make_videos(by_command('sleep 0.5; cp source/a.mp4 "$2"'), LocalEngine())
    finally:
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=100)


def magref(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(one) for one in arguments])
    return int(stop.value.code or 0)


STILL_OPTIONS = [part for change in STILL for part in ("--set", change)]


def test_the_command_makes_videos_and_says_what_failed(here, capsys):
    assert magref("bench", "run", "videos", "--cases", "cases.jsonl", "--system", "still", *STILL_OPTIONS) == 0
    assert "6 of 6 videos in videos, 6 of them new" in capsys.readouterr().err
    write([*(row(name, "pink" if name < "d" else "navy") for name in IDS), row("g", "grey")])
    assert magref("bench", "run", "videos", "--cases", "cases.jsonl", "--system", "still", *STILL_OPTIONS) == 1
    said = capsys.readouterr().err
    assert "6 of 7 videos in videos, 0 of them new; 1 failed, see videos/run/failures.jsonl" in said
    for options, says in (
        (["--system", "sora"], "there is no system 'sora'"),
        (["--system", "still", "--command", "x {out}"], "--command is a system of its own; leave out --system still"),
        (["--engine", "slurm"], "the engine 'slurm' is unknown; use local or ray"),
        (["--workers", "8", "--gpus", "1"], "--workers, --gpus are for a Ray cluster; add --engine ray, or leave"),
        (["--engine", "ray", "--device", "cpu"], "--device is for this machine alone"),
        (["--system", "vace"], "model is missing"),
    ):
        assert magref("bench", "run", "other", "--cases", "cases.jsonl", *options) == 2
        assert says in capsys.readouterr().err
    assert not Path("other").exists()


def test_evaluate_takes_a_system_and_says_why_videos_are_missing(here, capsys):
    make_videos(still("source"), LocalEngine())
    line = "sh -c 'if [ $1 = b ]; then exit 4; fi; cp source/a.mp4 \"$2\"' sh {id} {out}"
    arguments = ["evaluate", "videos", "--cases", "cases.jsonl", "--metrics", "motion", "--device", "cpu"]
    assert magref(*arguments, "--command", line, "--metrics", "speed") == 2
    assert not Path("videos").exists()  # said before the work
    capsys.readouterr()
    assert magref(*arguments, "--command", line) == 1  # a case failed, as with bench run; it scores all the same
    out = capsys.readouterr()
    assert "5 of 6 videos in videos, 5 of them new; 1 failed" in out.err
    assert "1: no_video 1" in out.out
    scores = {one.case: one.scores["motion"] for one in read_scores(Path("scores/videos-opens2v"))}
    why = "there is no b.mp4 among the videos; exit_code: the command ended with exit code 4"
    assert scores["b"].why == why
    assert scores["a"].value == 0
    made_by = read_run(Path("scores/videos-opens2v")).made_by
    assert (made_by.system, made_by.settings) == ("command", {"command": line})
    assert magref(*arguments, "--model", "x") == 2
    assert "--model and --set are a system's; name it with --system" in capsys.readouterr().err


def test_the_cases_source_is_said_on_the_screen_and_in_each_record(here, capsys):
    source = {"dataset": "reconstruction of something", "case_id": "a"}
    write([row("a", source=source), row("b", source=source)])
    assert magref("bench", "run", "videos", "--cases", "cases.jsonl", "--system", "still") == 0
    assert "2 of 2 videos on reconstruction of something in videos, 2 of them new" in capsys.readouterr().err
    record = json.loads(Path("videos/a.json").read_text())
    assert record["source"]["dataset"] == "reconstruction of something"
    del record["source"]  # as earlier versions left it
    Path("videos/a.json").write_text(json.dumps(record))
    assert (
        make_videos(Request(Path("cases.jsonl"), Path("videos"), "still", read_settings("still")), LocalEngine()).new
        == 0
    )


def test_a_note_of_failures_that_cannot_be_read_is_named(here):
    make_videos(still(), LocalEngine())
    Path("videos/run/failures.jsonl").write_text('{"other": 1}\n')
    with pytest.raises(OutputError, match=r"failures.jsonl, line 1 is not of this version of magref; move the file"):
        read_failures(Path("videos"))


@pytest.mark.slow
def test_a_ray_cluster_makes_what_one_process_makes(here):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from magref.ray_pool import RayPool

    make_videos(still("one"), LocalEngine(("cpu",)))
    script = f'if [ $1 = c ]; then kill -9 $PPID; sleep 9; else cp "{here}/one/a.mp4" "$2"; fi'
    try:
        assert make_videos(still("two"), RayPool(workers=2)).new == 6
        finished = make_videos(by_command(script), RayPool(workers=2))
        Path("junk.pth").write_bytes(b"junk")  # whose hash can be taken, and which cannot be loaded
        settings = read_settings("phantom", ["weights=junk.pth"], model=str(GOLDEN / "checkpoint"))
        with pytest.raises(CheckpointError, match=r"junk\.pth"):
            make_videos(Request(Path("cases.jsonl"), Path("three"), "phantom", settings), RayPool(workers=2))
    finally:
        ray.shutdown()
    for path in Path("one").glob("*.mp4"):
        assert path.read_bytes() == (Path("two") / path.name).read_bytes()
    assert made() == [name for name in IDS if name != "c"]
    assert [(one.case, one.reason) for one in finished.failures] == [("c", "died")]
