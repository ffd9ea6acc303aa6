"""Sizes: 4k+1 frames and multiples of 16 pixels, and what the errors propose instead."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magref.errors import InputError
from magref.geometry import LatentShape, Strides, VideoShape
from tiny import tiny_transformer, tiny_vae

WAN = Strides()
STRIDES = st.builds(
    Strides, temporal=st.integers(1, 8), spatial=st.sampled_from([4, 8, 16]), patch=st.sampled_from([1, 2])
)


def proposed(shape: VideoShape, strides: Strides) -> list[int]:
    """The numbers that the error names after "use"."""
    with pytest.raises(InputError) as caught:
        shape.check(strides)
    return [int(number) for number in re.findall(r"-?\d+", str(caught.value).rpartition("use ")[2])]


def nearest(value: int, valid: range) -> set[int]:
    """All of the valid numbers that are closest to `value`, by looking at each of them."""
    least = min(abs(value - one) for one in valid)
    return {one for one in valid if abs(value - one) == least}


def test_the_published_size_makes_32760_tokens():
    shape = VideoShape(81, 480, 832)
    shape.check(WAN)
    assert shape.latent(WAN) == LatentShape(21, 60, 104)
    assert shape.latent(WAN).tokens(WAN) == 32_760


def test_wan_compresses_by_four_frames_and_sixteen_pixels_to_a_token():
    assert (WAN.temporal, WAN.spatial, WAN.pixel_multiple) == (4, 8, 16)


@given(STRIDES, st.integers(0, 30), st.integers(2, 20), st.integers(2, 20))
def test_every_kth_frame_and_multiple_is_valid_and_has_its_latents(strides, k, rows, columns):
    multiple = strides.pixel_multiple
    shape = VideoShape(strides.temporal * k + 1, multiple * rows, multiple * columns)
    shape.check(strides)
    latent = shape.latent(strides)
    assert latent.frames == k + 1
    assert (latent.height * strides.spatial, latent.width * strides.spatial) == (shape.height, shape.width)
    assert latent.tokens(strides) == (k + 1) * rows * columns


@given(STRIDES, st.integers(-20, 300))
def test_a_wrong_frame_count_is_answered_with_the_nearest_right_ones(strides, frames):
    valid = range(1, 400, strides.temporal)
    size = 2 * strides.pixel_multiple
    if frames in valid:
        return VideoShape(frames, size, size).check(strides)
    named = proposed(VideoShape(frames, size, size), strides)
    assert set(named) <= set(valid)
    assert nearest(frames, valid) <= set(named)


@given(STRIDES, st.integers(-50, 2000), st.booleans())
def test_a_wrong_size_is_answered_with_the_nearest_right_ones(strides, value, is_height):
    multiple = strides.pixel_multiple
    valid = range(multiple, 2200, multiple)
    other = multiple
    shape = VideoShape(1, value, other) if is_height else VideoShape(1, other, value)
    if value in valid:
        return shape.check(strides)
    named = proposed(shape, strides)
    assert set(named) <= set(valid)
    assert nearest(value, valid) <= set(named)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (VideoShape(81, 481, 832), "height 481 .* multiple of 16; use 480 or 496$"),
        (VideoShape(81, 480, 0), "width 0 .* multiple of 16; use 16$"),
        (VideoShape(81, 480, 16400), "width 16400 is too large for this model; use 16384 at most$"),
        (VideoShape(4097, 480, 832), "4097 frames are too many for this model; use 4093 at most$"),
        (VideoShape(80, 480, 832), "80 frames .* 4k[+]1; use 77 or 81$"),
        (VideoShape(0, 480, 832), "0 frames .* 4k[+]1; use 1$"),
    ],
)
def test_the_sentence_names_what_is_wrong_and_what_to_use(shape, sentence):
    with pytest.raises(InputError, match=sentence):
        shape.check(WAN)


def test_strides_are_read_from_the_models():
    assert Strides.of(tiny_vae(), tiny_transformer()) == WAN


@pytest.mark.parametrize("patch", [(2, 2, 2), (1, 2, 1)])
def test_a_transformer_with_another_kind_of_patch_is_refused(patch):
    with pytest.raises(InputError, match=r"use a Wan2\.1 transformer"):
        Strides.of(tiny_vae(), tiny_transformer(patch_size=patch))


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (5, 32, 64), (9, 64, 32)])
def test_the_models_themselves_make_these_shapes(frames, height, width):
    vae, transformer = tiny_vae(), tiny_transformer(image_encoder=False)
    expected = VideoShape(frames, height, width).latent(WAN)
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, frames, height, width)).latent_dist.mode()
        tokens = transformer.patch_embedding(torch.zeros(1, 36, *latents.shape[2:])).flatten(2)
        assert vae.decode(latents).sample.shape[2:] == (frames, height, width)
    assert latents.shape[2:] == (expected.frames, expected.height, expected.width)
    assert tokens.shape[2] == expected.tokens(WAN)
