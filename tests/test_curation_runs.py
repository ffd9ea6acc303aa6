"""Runs of a curation that are killed, and videos that are not as they should be."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from magref.curation.outcome import Failed, Rejected
from magref.curation.running.engines import LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.run import curate
from magref.curation.running.sources import Source, find_sources, local_file
from magref.curation.running.tuning import counts
from magref.curation.running.work import Work
from magref.curation.truth import TruthModels
from magref.dataset.check import check_dataset
from magref.dataset.format import DatasetInfo
from magref.dataset.store import Dataset
from magref.errors import InputError
from magref.synthetic.footage import FootageSettings, write_footage
from magref.video import write_video

CHANGES = [
    "source.min_short_side_px=64", "windows.frames=9", "aesthetic.least=4.0", "faces.least_side_px=8",
    "motion.least=0.0", "caption.least_words=4",
]  # fmt: skip
INFO = DatasetInfo(name="dataset")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    list(write_footage(folder, FootageSettings(height=96, width=144, shots=(2, 3), shot_frames=(20, 30)), count=2))
    return folder


def run(
    given: list[str], dataset: Path, films: Path, engine: LocalEngine | None = None, changes: Sequence[str] = ()
) -> Work:
    work = dataset.with_name(dataset.name + "-work")
    curate(
        find_sources(given), dataset, read_settings(None, [*CHANGES, *changes]), work=work,
        make=TruthModels(str(films)), engine=engine or LocalEngine(0), info=INFO,
    )  # fmt: skip
    return Work(work)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".parquet")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "dataset"
    run([str(films)], folder, films)
    assert len(Dataset(folder)) >= 1
    return folder


def killed_when(command: list[str], reached: Callable[[], bool]) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


def test_killed_runs_go_on_and_end_in_the_same_dataset(films, whole, tmp_path) -> None:
    dataset = tmp_path / "dataset"
    work = tmp_path / "dataset-work"
    options = [option for change in CHANGES for option in ("--set", change)]
    command = [sys.executable, "-m", "magref", "curate", str(films), "-o", str(dataset), "--truth", str(films),
               "--processes", "0", *options]  # fmt: skip
    moments = [
        lambda: len(list(work.glob("scan/*.parquet"))) == 1,
        lambda: len(list(work.glob("boxes/*.parquet"))) == 1,
        lambda: any(work.glob("drafts/*/clips/*")),
        lambda: any(dataset.glob("clips/*")),
    ]
    for reached in moments:
        killed_when(command, reached)
    subprocess.run(command, check=True, capture_output=True)
    assert Dataset(dataset).ids() == Dataset(whole).ids()
    assert list(Dataset(dataset)) == list(Dataset(whole))
    assert {k: v for k, v in hashes(dataset).items() if "part" not in k} == hashes(whole)
    assert list(check_dataset(dataset)) == []


@pytest.mark.slow
def test_runs_of_several_processes_may_be_killed_at_any_moment(films, whole, tmp_path) -> None:
    dataset, work = tmp_path / "dataset", tmp_path / "dataset-work"
    options = [option for change in CHANGES for option in ("--set", change)]
    command = [sys.executable, "-m", "magref", "curate", str(films), "-o", str(dataset), "--truth", str(films),
               "--processes", "2", *options]  # fmt: skip

    def files() -> int:
        return sum(1 for folder in (work, dataset) for path in folder.rglob("*") if path.is_file())

    total = sum(1 for folder in (whole, whole.with_name("dataset-work")) for _ in folder.rglob("*.*"))
    for number in sorted(random.Random(5).sample(range(2, total), 6)):
        killed_when(command, lambda number=number: files() >= number)
    subprocess.run(command, check=True, capture_output=True)
    assert list(Dataset(dataset)) == list(Dataset(whole))
    assert {k: v for k, v in hashes(dataset).items() if "part" not in k} == hashes(whole)


def test_processes_end_with_the_one_that_began_them(tmp_path) -> None:
    """A process that outlived a killed run would write into the next one."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from magref.curation.running.engines import LocalEngine\n"
        "from magref.curation.running.sources import Source\n"
        "from test_curation_runs import write_for_ever\n"
        "if __name__ == '__main__':\n"
        "    list(LocalEngine(1).each(write_for_ever, [Source(sys.argv[2])], print))\n"
    )
    (tmp_path / "program.py").write_text(program)
    beat = tmp_path / "beat"
    command = [sys.executable, str(tmp_path / "program.py"), str(Path(__file__).parent), str(beat)]
    killed_when(command, beat.exists)
    time.sleep(3)
    last = beat.read_text()
    time.sleep(1)
    assert beat.read_text() == last


def write_for_ever(source: Source) -> str:
    while True:
        with Path(source.address).open("a") as file:
            file.write("x")
        time.sleep(0.05)


GUARD = """
class Consent:
    def refuse(self, sample):
        return "no consent" if sample.name == {refused!r} else None

consent = Consent()
"""


def test_a_guard_that_is_named_is_asked_about_every_sample(films, whole, tmp_path, monkeypatch) -> None:
    refused, *others = Dataset(whole).ids()
    assert others
    (tmp_path / "own_rules.py").write_text(GUARD.format(refused=refused))
    monkeypatch.syspath_prepend(tmp_path)
    work = run([str(films)], tmp_path / "dataset", films, changes=["guard.name=own_rules:consent"])
    assert Dataset(tmp_path / "dataset").ids() == others
    outcomes = {row.item: row.outcome for s in work.sources() for row in work.read("samples", s.id, "sample")}
    assert outcomes[refused] == Rejected(stage="guard", reason="refused", value="no consent")
    assert counts(work, work.settings())["samples"].kept == len(others)


def test_a_guard_that_is_not_there_ends_the_run_before_it_begins(films, tmp_path) -> None:
    with pytest.raises(InputError, match="the guard no_such_module:consent cannot be found"):
        run([str(films)], tmp_path / "dataset", films, changes=["guard.name=no_such_module:consent"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_processes_give_the_same_dataset(films, whole, tmp_path) -> None:
    run([str(films)], tmp_path / "dataset", films, LocalEngine(2))
    assert list(Dataset(tmp_path / "dataset")) == list(Dataset(whole))
    assert hashes(tmp_path / "dataset") == hashes(whole)


def moving(frames: int, height: int = 96, width: int = 144) -> np.ndarray:
    rng = np.random.default_rng(0)
    wide = np.repeat(np.repeat(rng.integers(0, 255, (height // 8, 40, 3), np.uint8), 8, 0), 8, 1)
    return np.stack([wide[:, n : n + width] for n in range(frames)])


def write_variable(path: Path) -> None:
    """Frames at times that are not even, as phones and screen recorders have them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 144, 96, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        at = 0
        for n, image in enumerate(moving(40)):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            at += 40 if n % 3 else 60
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_bad_videos_are_noted_and_the_run_goes_on(films, whole, tmp_path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    good = write_video(moving(24), bad / "good.mp4", fps=16)
    (bad / "empty.mp4").write_bytes(b"")
    (bad / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (bad / "cut.mp4").write_bytes(good.read_bytes()[:1500])
    (bad / "text.mp4").write_text("this is no video")
    write_video(moving(4), bad / "slow.mp4", fps=1)
    write_video(moving(12, 32, 48), bad / "small.mp4", fps=16)
    write_variable(bad / "variable.mp4")
    sources = tmp_path / "sources.txt"
    lines = [str(bad / name) for name in sorted(os.listdir(bad))]
    sources.write_text("\n".join([*lines, str(bad / "gone.mp4"), "http://127.0.0.1:9/no.mp4"]))
    before = hashes(bad)

    work = run([str(sources), str(films)], tmp_path / "dataset", films)

    assert hashes(bad) == before
    assert list(Dataset(tmp_path / "dataset")) == list(Dataset(whole))
    outcome = {
        Path(source.address).name: work.read("scan", source.id, "source")[0].outcome for source in work.sources()
    }
    for name in ("empty.mp4", "noise.mp4", "cut.mp4", "text.mp4", "gone.mp4", "no.mp4"):
        assert isinstance(outcome[name], Failed), name
        assert outcome[name].error
    assert isinstance(outcome["small.mp4"], Rejected)
    assert outcome["small.mp4"].reason == "too small"
    clips = {Path(s.address).name: work.read("scan", s.id, "clip") for s in work.sources()}
    assert {row.outcome.reason for row in clips["slow.mp4"]} == {"too few frames a second"}
    assert any(row.is_kept for row in clips["variable.mp4"])
    assert any(row.is_kept for row in clips["good.mp4"])
    failed = [json.loads(line) for line in (work.folder / "log.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "failed" for line in failed) == 6


def die_over_one(source: Source) -> str:
    if source.address == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return source.id


def test_a_process_that_dies_costs_one_video() -> None:
    sources = [Source(name) for name in ("a", "b", "deadly", "c")]
    died: list[str] = []
    done = list(LocalEngine(2).each(die_over_one, sources, lambda source: died.append(source.address)))
    assert sorted(done) == sorted(source.id for source in sources)
    assert died == ["deadly"]


def test_addresses_are_copied_once(tmp_path) -> None:
    video = write_video(moving(12), tmp_path / "film.mp4", fps=16)
    (source,) = find_sources([f"file://{video}"])
    copy = local_file(source, tmp_path / "copies")
    assert copy.read_bytes() == video.read_bytes()
    assert copy.parent == tmp_path / "copies"
    video.unlink()
    assert local_file(source, tmp_path / "copies") == copy
