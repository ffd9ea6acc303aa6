"""The gallery leaves nothing out: each picture, each background, each motion, and the same again for the same seed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from magref.evaluation import gallery
from magref.evaluation.gallery import PROMPTS, main, sheets


@pytest.fixture
def pictures(tmp_path):
    for name, colour in (("red_bird", "red"), ("dog", "brown"), ("park", "green")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in ("red_bird", "dog", "park")]


def test_each_picture_comes_alone_and_before_each_background(pictures):
    bird, dog, park = pictures
    assert [sheet.name for sheet in sheets([bird, dog], [park])] == ["red_bird", "red_bird-park", "dog", "dog-park"]


def test_prompts_name_the_subject_the_motion_and_a_backdrop_where_no_picture_shows_one(pictures):
    alone, before = sheets(pictures[:1], pictures[2:])
    assert alone.prompts()[0] == "The red bird moves to the left on a blue background."
    assert before.prompts()[0] == "The red bird moves to the left."
    assert len(set(alone.prompts())) == len(set(before.prompts())) == len(PROMPTS)


def test_the_command_draws_what_is_missing(base, pictures, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(
        gallery, "draw", lambda pipeline, sheet: drawn.append(sheet.name) or gallery_draw(pipeline, sheet)
    )
    folder = tmp_path / "sheets"
    folder.mkdir()
    Image.new("RGB", (9, 9)).save(folder / "dog.png")
    bird, dog, park = pictures
    command = ["gallery", str(folder), str(bird), str(dog), "--background", str(park), "--model", str(base)]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert drawn == ["red_bird", "red_bird-park", "dog-park"]
    assert Image.open(folder / "dog.png").size == (9, 9)
    sheet = np.asarray(Image.open(folder / "red_bird-park.png"))
    assert sheet.shape[0] > 100 * len(PROMPTS)


gallery_draw = gallery.draw
