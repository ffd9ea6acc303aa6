"""A folder of clips as a person has it becomes a dataset; what cannot be used is named, nothing goes in silence."""

from __future__ import annotations

import json
import shutil
import unicodedata
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset_toys import cut_out, problems, run, video
from magref.dataset.importing import import_folder
from magref.dataset.store import Dataset, DatasetWriter
from magref.errors import InputError, OutputError
from magref.video import UprightRgb, read_video, write_video


@pytest.fixture
def material(tmp_path):
    """Clips, captions and pictures as a person might have them."""
    folder = tmp_path / "mine"
    (folder / "day 1").mkdir(parents=True)
    write_video(video(), folder / "walk.mp4", fps=16)
    (folder / "walk.txt").write_text("A man throws\n a ball. ", encoding="utf-8")
    (folder / "walk").mkdir()
    cut_out((9, 9, 9)).save(folder / "walk/person a man.png")
    cut_out((0, 0, 99)).save(folder / "walk/object_ball.png")
    cut_out((0, 0, 88)).save(folder / "walk/object ball 2.png")
    Image.new("RGB", (40, 30), "green").save(folder / "walk/background.jpg")
    write_video(video(5), folder / "day 1/run.webm", fps=10)
    (folder / "day 1/run.txt").write_text("A dog runs.")
    (folder / "day 1/run").mkdir()
    cut_out((50, 9, 9)).save(folder / "day 1/run/object-dog.png")
    return folder


def copy_walk(material: Path, name: str, ending: str = ".mp4", frames: np.ndarray | None = None) -> None:
    """The clip "walk" under another name, with other frames if given."""
    clip = (material / name).with_name(Path(name).name + ending)
    clip.parent.mkdir(exist_ok=True)
    if frames is None:
        shutil.copy(material / "walk.mp4", clip)
    else:
        written = clip.with_suffix(".mp4" if ending == ".mov" else ending)
        write_video(frames, written, fps=16).rename(clip)
    if not clip.with_suffix("").exists():
        shutil.copytree(material / "walk", clip.with_suffix(""))
        shutil.copy(material / "walk.txt", clip.with_suffix(".txt"))


def watch_frames(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tells how many decoded frames were in memory at once at most."""
    genuine = UprightRgb.__call__
    alive: set[int] = set()
    counts = [0]

    def watched(self: UprightRgb, frame: Any) -> np.ndarray:
        image = genuine(self, frame).copy()  # which owns its memory, so that it lives as long as any part of it
        alive.add(id(image))
        weakref.finalize(image, alive.discard, id(image))
        counts.append(len(alive))
        return image

    monkeypatch.setattr(UprightRgb, "__call__", watched)
    return lambda: max(counts)


class TestImport:
    def test_a_plain_folder_becomes_a_dataset(self, material, tmp_path):
        made = list(import_folder(material, tmp_path / "set", name="mine", license="all mine"))
        assert [(m.name, m.problem) for m in made] == [("day-1-run", None), ("walk", None)]
        run, walk = Dataset(tmp_path / "set")
        assert (run.clip.num_frames, run.clip.fps) == (5, 10)
        assert walk.caption == "A man throws a ball."
        assert [(s.role, s.label, s.span, len(s.pictures)) for s in walk.subjects] == [
            ("background", None, None, 1),
            ("object", "ball", (15, 19), 2),
            ("person", "A man", (0, 5), 1),
        ]
        assert walk.provenance.license == "all mine"
        assert problems(tmp_path / "set", decode=True) == []

    def test_what_cannot_be_used_is_named_and_passed_over(self, material, tmp_path):
        for name in ("no caption", "empty", "no pictures", "odd name", "broken"):
            shutil.copy(material / "walk.mp4", material / f"{name}.mp4")
            shutil.copytree(material / "walk", material / name)
            (material / f"{name}.txt").write_text("A ball.")
        (material / "no caption.txt").unlink()
        (material / "empty.txt").write_text(" \n")
        shutil.rmtree(material / "no pictures")
        (material / "odd name/background.jpg").rename(material / "odd name/place.jpg")
        (material / "broken.mp4").write_bytes(b"no video")
        found = {m.name: m.problem for m in import_folder(material, tmp_path / "set", name="mine")}
        assert "write what the clip shows" in found["no-caption"]
        assert "is empty" in found["empty"]
        assert "no reference pictures" in found["no-pictures"]
        assert "rename it" in found["odd-name"]
        assert "cannot be read" in found["broken"]
        assert Dataset(tmp_path / "set").ids() == ["day-1-run", "walk"]

    def test_a_number_alone_is_no_label(self, material, tmp_path):
        for name in ("person 1.png", "person 2.png", "person_3.png", "object ball 3.png", "object 7 dwarfs.png"):
            cut_out((len(name), 60, 5)).save(material / "walk" / name)
        Image.new("RGB", (40, 30), "blue").save(material / "walk/background 2.jpg")
        list(import_folder(material, tmp_path / "set", name="mine"))
        walk = list(Dataset(tmp_path / "set"))[1]
        assert {(s.role, s.label): len(s.pictures) for s in walk.subjects} == {
            ("background", None): 2,
            ("object", "ball"): 3,
            ("object", "7 dwarfs"): 1,
            ("person", "A man"): 1,
            ("person", None): 3,
        }

    def test_names_that_are_not_ascii_or_too_long_stay_apart(self, material, tmp_path):
        names = ["走路", "跑步", "Ärger", "Arger", "x" * 149 + "y", "x" * 149 + "y z", "x" * 149 + "y-q"]
        for name in names:
            copy_walk(material, name)
        made = {m.name: m.problem for m in import_folder(material, tmp_path / "set", name="mine")}
        assert made.keys() >= {"unnamed-6c7403e9", "Arger", "x" * 149 + "y"}
        assert len(made) == 2 + len(names)
        assert set(made.values()) == {None}
        # The same name as another system spells it.
        (material / "Ärger.mp4").rename(material / unicodedata.normalize("NFD", "Ärger.mp4"))
        assert list(import_folder(material, tmp_path / "set", name="mine")) == []

    def test_clips_that_would_have_one_id_are_named_on_every_import(self, material, tmp_path):
        copy_walk(material, "a/walk")
        copy_walk(material, "a-Walk")
        copy_walk(material, "walk", ".mov")
        said = {
            ("a-Walk", "it would have the id of a/walk.mp4; rename it"),
            ("walk", "it would have the id of walk.mov; rename it"),
        }
        for added in ({"a-walk", "day-1-run", "walk"}, set()):
            found = list(import_folder(material, tmp_path / "set", name="mine"))
            assert {(m.name, m.problem) for m in found if m.problem} == said
            assert {m.name for m in found if not m.problem} == added

    def test_a_long_video_is_never_whole_in_memory(self, material, tmp_path, monkeypatch):
        copy_walk(material, "long", ".mov", video(60))
        most = watch_frames(monkeypatch)
        list(import_folder(material, tmp_path / "set", name="mine"))
        assert 1 <= most() <= 3
        assert problems(tmp_path / "set", decode=True) == []
        assert most() <= 3
        long = Dataset(tmp_path / "set").folder / "clips/long.mp4"
        frames, fps = read_video(material / "long.mov")
        assert len(frames) == 60
        assert long.read_bytes() == write_video(frames, tmp_path / "whole.mp4", fps=fps).read_bytes()

    def test_an_odd_row_or_column_is_cut_off(self, material, tmp_path):
        copy_walk(material, "odd", ".webm", video()[:, :31, :47])
        assert all(m.problem is None for m in import_folder(material, tmp_path / "set", name="mine"))
        odd = list(Dataset(tmp_path / "set"))[1]
        assert (odd.id, odd.clip.width, odd.clip.height) == ("odd", 46, 30)
        frames, fps = read_video(material / "odd.webm")
        even = write_video(frames[:, :30, :46], tmp_path / "even.mp4", fps=fps)
        assert (tmp_path / "set/clips/odd.mp4").read_bytes() == even.read_bytes()

    def test_a_full_disk_ends_the_import(self, material, tmp_path, monkeypatch):
        def full(*_args, **_options):
            raise OutputError("the disk is full; free some space")

        monkeypatch.setattr(DatasetWriter, "add", full)
        with pytest.raises(OutputError, match="the disk is full"):
            list(import_folder(material, tmp_path / "set", name="mine"))

    def test_an_import_goes_on_where_it_stopped(self, material, tmp_path):
        first = import_folder(material, tmp_path / "set", name="mine")
        next(first)
        first.close()
        again = [m.name for m in import_folder(material, tmp_path / "set", name="mine")]
        assert again == ["walk"]
        assert len(Dataset(tmp_path / "set")) == 2

    def test_a_source_without_clips_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="no folder"):
            list(import_folder(tmp_path / "absent", tmp_path / "set", name="x"))
        (tmp_path / "bare").mkdir()
        with pytest.raises(InputError, match="no clips"):
            list(import_folder(tmp_path / "bare", tmp_path / "set", name="x"))
        assert not (tmp_path / "set").exists()


def test_import_check_and_export(material, tmp_path, capsys):
    made = tmp_path / "set"
    assert run("dataset", "import", material, made, "--license", "CC0") == 0
    assert json.loads((made / "dataset.json").read_text())["name"] == "set"
    assert run("dataset", "check", made, "--decode") == 0
    assert "2 samples, 0 problems" in capsys.readouterr().err
    assert run("dataset", "export", made, tmp_path / "shards") == 0
    assert (tmp_path / "shards/shard-00000.tar").is_file()
