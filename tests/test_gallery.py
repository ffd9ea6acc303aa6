"""The gallery leaves nothing out: each picture, each background, each motion, and the same again for the same seed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from magref.errors import InputError, OutputError
from magref.evaluation import gallery
from magref.evaluation.gallery import PROMPTS, main, sheets
from magref.evaluation.stages import claim
from magref.sidecar import weights_sha256


@pytest.fixture
def pictures(tmp_path):
    for name, colour in (("red_bird", "red"), ("dog", "brown"), ("park", "green")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in ("red_bird", "dog", "park")]


def test_each_picture_comes_alone_and_before_each_background(pictures):
    bird, dog, park = pictures
    given = [str(bird), f"small dog={dog}"]
    names = [sheet.name for sheet in sheets(given, [park])]
    assert names == ["red_bird", "red_bird-park", "small_dog", "small_dog-park"]
    with pytest.raises(InputError, match="two sheets would be called red_bird; call one"):
        sheets([str(bird), f"red bird={dog}"], [])


def test_prompts_name_the_subject_the_motion_and_a_backdrop_where_no_picture_shows_one(pictures):
    alone, before = sheets([str(pictures[0])], pictures[2:])
    assert alone.prompts()[0] == "The red bird moves to the left on a blue background."
    assert before.prompts()[0] == "The red bird moves to the left."
    assert len(set(alone.prompts())) == len(set(before.prompts())) == len(PROMPTS)


def test_the_command_draws_what_is_missing(base, pictures, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(
        gallery, "draw", lambda pipeline, sheet: drawn.append(sheet.name) or gallery_draw(pipeline, sheet)
    )
    folder = tmp_path / "sheets"
    claim(folder, {"weights": weights_sha256(base)})
    Image.new("RGB", (9, 9)).save(folder / "dog.png")
    bird, dog, park = pictures
    command = ["gallery", str(folder), str(bird), str(dog), "--background", str(park), "--model", str(base)]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert drawn == ["red_bird", "red_bird-park", "dog-park"]
    assert Image.open(folder / "dog.png").size == (9, 9)
    sheet = np.asarray(Image.open(folder / "red_bird-park.png"))
    assert sheet.shape[0] > 100 * len(PROMPTS)


def test_sheets_of_one_folder_are_of_one_model(base, pictures, tmp_path, monkeypatch):
    folder = tmp_path / "sheets"
    claim(folder, {"weights": "of another model"})
    monkeypatch.setattr(sys, "argv", ["gallery", str(folder), str(pictures[0]), "--model", str(base)])
    with pytest.raises(OutputError, match="made with other weights; choose another folder"):
        main()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        claim(tmp_path / "full", {"weights": "any"})


gallery_draw = gallery.draw
