"""Numbers of a sample depend on its index alone; boxes hold what is visible; scenes have a photograph's statistics."""

from __future__ import annotations

import pytest
import torch

from magref.synthetic.draw import Draw
from magref.synthetic.pixels import to_uint8, visible_boxes
from magref.synthetic.textures import scene


def test_numbers_of_a_draw_depend_on_the_index_alone():
    together, alone = Draw([3, 8, 5], 1), Draw([8], 1)
    assert torch.equal(together.uniform()[1:2], alone.uniform())
    assert torch.equal(together.normal_field(2, 2)[1:2], alone.normal_field(2, 2))
    assert torch.equal(together.uniform(2, 3, n=4)[1:2], alone.uniform(2, 3, n=4))
    whole = Draw(list(range(500)), 0).integer(6)
    assert whole.bincount().tolist() == pytest.approx([500 / 6] * 6, abs=35)


def test_a_draw_that_runs_dry_says_so():
    with pytest.raises(RuntimeError, match="random numbers"):
        Draw([0], 0).uniform(n=2000)


def test_the_box_of_one_pixel():
    alpha = torch.zeros(1, 8, 8)
    alpha[0, 2, 5] = 1
    assert visible_boxes(alpha).tolist() == [[5, 2, 6, 3]]


def test_boxes_hold_all_that_is_visible_and_no_more():
    alpha = torch.zeros(20, 16, 16)
    for index, (left, top, width, height) in enumerate(torch.randint(1, 8, (20, 4)).tolist()):
        alpha[index, top : top + height, left : left + width] = 1
        assert visible_boxes(alpha)[index].tolist() == [left, top, left + width, top + height]


def test_bytes_are_rounded_and_never_wrap():
    assert to_uint8(torch.tensor([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.7])).tolist() == [0, 0, 0, 1, 255, 255]


def test_a_scene_is_the_same_in_any_batch():
    together, alone = scene(Draw([3, 8, 5], 1), 32), scene(Draw([8], 1), 32)
    assert together.shape == (3, 3, 32, 32)
    assert torch.allclose(together[1:2], alone, rtol=0, atol=1e-5)
    assert 0 <= together.min() < together.max() <= 1
    assert not torch.allclose(together[0], together[1], atol=0.1)


def test_scenes_have_more_of_what_is_coarse_as_photographs_have():
    """The power of a photograph falls with frequency, about as 1/f^2."""
    power = torch.fft.rfft2(scene(Draw(list(range(16)), 2), 64)).abs().square().mean(dim=(0, 1))
    coarse, fine = power[2:4, 2:4].mean(), power[16:24, 16:24].mean()
    assert 10 < coarse / fine < 10_000
