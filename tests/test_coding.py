"""The autoencoder's figures: of a known difference, and of a picture through a small one."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from magref import MagrefPipeline
from magref.evaluation.coding import Coded, code, table
from magref.training.autoencoder import psnr


def test_a_tenth_of_the_range_everywhere_is_20_db():
    picture = torch.linspace(-0.8, 0.8, 48).reshape(1, 3, 1, 4, 4)
    assert psnr(picture + 0.2, picture) == pytest.approx(20)


def test_the_last_line_is_the_mean():
    lines = table([Coded("a", 20, 10, 1), Coded("b", 30, 20, 3)]).splitlines()
    assert lines[-1] == "| mean | 25.0 | 15.0 | 2.0 |"


def test_a_picture_is_coded_alone_and_standing_still(base, tmp_path):
    Image.effect_noise((90, 70), 60).convert("RGB").save(tmp_path / "noise.png")
    found = code(MagrefPipeline.from_pretrained(base), tmp_path / "noise.png")
    assert found.name == "noise.png"
    assert 0 < found.alone < 40
    assert 0 < found.still < 40
    assert found.flicker > 0
