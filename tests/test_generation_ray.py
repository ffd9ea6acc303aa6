"""Batches on a Ray cluster of this machine give what one process gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from magref.cli import main
from magref.errors import ResourceError
from magref.generation import Plan, Request
from magref.generation_ray import Outcome, Videos, run_on_ray
from magref.models import find_model
from magref.ray_pool import RayPool, connect
from magref.settings import resolve_settings

SMALL = ["--frames", "5", "--steps", "2", "--seed", "3", "--dtype", "float32", "--device", "cpu"]


@pytest.fixture
def cases(tmp_path, monkeypatch, picture):
    monkeypatch.chdir(tmp_path)
    picture.save("a.png")
    lines = [{"id": name, "prompt": f"{name} moves.", "refs": [{"uri": "a.png"}]} for name in ("one", "two", "three")]
    Path("cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Path("cases.jsonl")


@pytest.fixture
def picture():
    from PIL import Image

    return Image.linear_gradient("L").convert("RGB")


def generate(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["generate", *(str(argument) for argument in arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_cluster_makes_what_one_process_makes_and_only_what_is_missing(cases, capsys):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    assert generate("--batch", cases, "-o", "here", *SMALL) == 0
    try:
        on_ray = ["--batch", cases, "-o", "there", *SMALL, "--engine", "ray", "--workers", 2]
        assert generate(*on_ray) == 0
        Path("there/two.mp4").unlink()
        Path("there/two.json").unlink()
        first = Path("there/one.mp4").stat().st_mtime_ns
        assert generate(*on_ray) == 0
    finally:
        ray.shutdown()
    assert Path("there/one.mp4").stat().st_mtime_ns == first
    assert sorted(path.name for path in Path("there").iterdir()) == sorted(p.name for p in Path("here").iterdir())
    for path in Path("here").glob("*.mp4"):
        assert path.read_bytes() == (Path("there") / path.name).read_bytes()


class Pool(RayPool):
    """Of whose workers every second one dies."""

    def each(self, work, items):
        for number, item in enumerate(items):
            yield work.died(item, "it died") if number % 2 else Outcome(item, 5)


def test_a_video_that_fails_is_named_and_the_others_are_made(capsys, tmp_path):
    model = find_model()
    settings = resolve_settings(model.defaults, model.strides, prompt="x", seed=1)
    plans = [Plan(tmp_path / f"{number}.mp4", settings, []) for number in range(3)]
    with pytest.raises(ResourceError, match="1 of 3 videos failed, see above; the same command makes these alone"):
        run_on_ray(model, plans, Request(), Pool())
    said = capsys.readouterr().err
    assert "1.mp4 failed: it died" in said
    assert all(f"{number}.mp4 (5 frames, seed 1)" in said for number in (0, 2))


def test_what_only_the_workers_can_do_is_not_asked_of_this_machine(capsys, tmp_path):
    """The machine that starts a run on a cluster of GPUs may have none."""
    model = find_model()
    settings = resolve_settings(model.defaults, model.strides, prompt="x", seed=1)
    run_on_ray(model, [Plan(tmp_path / "0.mp4", settings, [])], Request(quantize="fp8"), Pool())
    assert "0.mp4 (5 frames, seed 1)" in capsys.readouterr().err


def test_a_machine_without_the_folder_says_so():
    model = find_model()
    settings = resolve_settings(model.defaults, model.strides, prompt="x", seed=1)
    with pytest.raises(ResourceError, match="nowhere is not on every machine; start in a folder that all share"):
        Videos(model, Request(), settings, Path("/nowhere")).open(None)


@pytest.mark.parametrize("error", [ConnectionError, ValueError, RuntimeError])
def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch, error):
    ray = pytest.importorskip("ray", reason="Ray is not installed")

    def init(**_):
        raise error("no route\nmore")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ResourceError, match=r"no Ray cluster answers at here:1 \(no route\); check the address"):
        connect("here:1")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["a dog", "a.png", "--engine", "ray"], "--engine ray is for many videos; give their prompts and pictures"),
        (["--batch", "cases.jsonl", "--engine", "spark"], "the engine 'spark' is unknown; use local or ray"),
        (
            ["--batch", "cases.jsonl", "--engine", "ray", "--sheet", "s.png"],
            "makes videos on other machines; leave out --sheet",
        ),
    ],
)
def test_what_does_not_go_with_a_cluster_is_refused(cases, given, sentence, capsys):
    assert generate(*given) == 2
    assert sentence in capsys.readouterr().err
