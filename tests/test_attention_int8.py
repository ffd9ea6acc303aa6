"""Attention in 8 bits: near to exact attention, on request only, refused where it cannot be had."""

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from magref import MagrefPipeline, generation
from magref.attention import attend
from magref.attention_int8 import KEY_ROWS, attend_int8, check_int8, is_right, rounded
from magref.errors import InputError, ResourceError
from magref.generation import Request, load_pipeline
from magref.models import find_model
from magref.presets import PRESETS
from magref.savings import chosen_savings
from magref.settings import Savings, resolve_settings
from tiny import GOLDEN, tiny_components

SAVINGS = Savings(attention="int8")


def inputs(tokens: int, head_dim: int = 16, seed: int = 0) -> torch.Tensor:
    """Queries, keys and values."""
    return torch.randn(3, 2, tokens, 3, head_dim, generator=torch.Generator().manual_seed(seed))


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@given(st.integers(1, 300), st.integers(0, 99))
def test_near_to_exact_attention_at_any_length(tokens, seed):
    query, key, value = inputs(tokens, seed=seed)
    found = attend_int8(query, key, value)
    assert found.shape == value.shape
    assert difference(found, attend(query, key, value, "native")) < 0.02


def test_it_rounds():
    query, key, value = inputs(200)
    assert difference(attend_int8(query, key, value), attend(query, key, value, "native")) > 1e-4


def test_what_all_keys_have_in_common_costs_no_precision():
    """Softmax does not see it, and a scale that had to cover it would leave few of the 127 steps for the rest."""
    query, key, value = inputs(200)
    shift = torch.zeros(16)
    shift[3] = 200.0
    assert difference(attend_int8(query, key + shift, value), attend_int8(query, key, value)) < 1e-3


@given(st.integers(1, 300), st.sampled_from([64, 128]))
def test_rounding_is_to_a_127th_of_the_largest_of_its_rows(tokens, rows):
    x = inputs(tokens)[0]
    x[:, ::rows] *= 50
    found = rounded(x, rows)
    for start in range(0, tokens, rows):
        part = slice(start, start + rows)
        largest = x[:, part].abs().amax((1, 3), keepdim=True)
        assert ((found - x)[:, part].abs() <= largest / 127 / 2 * (1 + 1e-5)).all()
    assert torch.equal(rounded(torch.zeros_like(x), rows), torch.zeros_like(x))


# --- whether another is right ----------------------------------------------------------------------------------------


def counting_keys_that_are_not_there(query, key, value):
    """As sageattention 1.0.6: the last block of keys is full, whatever the length."""
    more = (0, 0, 0, 0, 0, -key.shape[1] % KEY_ROWS)
    return attend(query, F.pad(key, more), F.pad(value, more), "native")


def failing(query, key, value):
    raise RuntimeError("no kernel for this card")


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_what_counts_other_keys_or_fails_is_not_right(dtype, head_dim):
    where = torch.device("cpu"), dtype, head_dim
    assert is_right(attend_int8, *where)
    assert not is_right(counting_keys_that_are_not_there, *where)
    assert not is_right(failing, *where)


# --- in the pipeline -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipe() -> MagrefPipeline:
    made = MagrefPipeline(**tiny_components(image_encoder=False))
    made.set_progress_bar_config(disable=True)
    return made


def run(pipe: MagrefPipeline, savings: Savings | None = None) -> torch.Tensor:
    small = {"height": 32, "width": 48, "num_frames": 5, "num_inference_steps": 4, "seed": 7}
    return pipe("a dog runs", [GOLDEN / "refs" / "0.png"], output_type="latent", savings=savings, **small).frames


def test_a_video_changes_a_little_and_only_when_asked(pipe):
    exact = run(pipe)
    assert torch.equal(run(pipe, Savings()), exact)
    assert 1e-6 < difference(run(pipe, SAVINGS), exact) < 0.05


def test_a_transformer_with_hooks_refuses(pipe):
    handle = pipe.transformer.blocks[0].register_forward_hook(lambda *_: None)
    try:
        with pytest.raises(InputError, match=r"offloaded or compiled .* leave out --attention int8"):
            run(pipe, SAVINGS)
    finally:
        handle.remove()


def test_refused_before_loading(monkeypatch):
    check_int8(torch.device("cpu"), PRESETS["cpu"])
    with pytest.raises(InputError, match=r"the preset 16gb .* use a larger preset"):
        check_int8(torch.device("cuda"), PRESETS["16gb"])
    monkeypatch.setitem(sys.modules, "sageattention", None)
    with pytest.raises(ResourceError, match="sageattention on a GPU, release 2"):
        check_int8(torch.device("cuda"))


def test_a_preset_that_is_chosen_for_the_card_is_looked_at_too(monkeypatch):
    """In `load_pipeline`, which the workers of a cluster call as well."""
    model = find_model()
    settings = resolve_settings(model.defaults, model.strides, prompt="x", seed=1, savings=SAVINGS)
    monkeypatch.setattr(generation, "choose_preset", lambda *_, **__: PRESETS["16gb"])
    monkeypatch.setattr(generation, "load_model", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(InputError, match="with the preset 16gb the transformer computes its own attention"):
        load_pipeline(model, Request(device="cpu", preset="auto"), settings)


def test_asked_for_by_name():
    assert chosen_savings(attention="int8") == SAVINGS
    assert chosen_savings(fast=True, attention="int8").step_cache > 0
    with pytest.raises(InputError, match="no attention '4bit'; use exact or int8"):
        chosen_savings(attention="4bit")
