"""Attention to text and image: two softmaxes whose results are added, the same by kernel as in plain torch."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from magref import cross_attention as module
from magref.cross_attention import cross_attention, cross_attention_for

HEADS, HEAD_DIM = 3, 16
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HALF = torch.bfloat16 if DEVICE.type == "cuda" else torch.float16  # the interpreter's products know no bfloat16
TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture
def kernel(monkeypatch):
    """On a GPU, or on a CPU in Triton's interpreter, in small tiles so that there are several."""
    from magref import cross_attention_triton

    monkeypatch.setattr(cross_attention_triton, "QUERIES", 16)
    monkeypatch.setattr(cross_attention_triton, "KEYS", 16)
    return cross_attention_triton.cross_attention


def arguments(texts: int, queries: int, keys: int, image: int | None, dtype: torch.dtype = torch.float32):
    """Queries of `queries` passes, text and bias, image; the last text has two keys less, as padded ones have."""
    source = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source).to(DEVICE, dtype)

    bias = torch.zeros(texts, 1, 1, keys, dtype=dtype, device=DEVICE)
    bias[..., keys // 2] = math.log(300)
    bias[-1, ..., -2:] = -math.inf
    text = random(texts, HEADS, keys, HEAD_DIM), random(texts, HEADS, keys, HEAD_DIM)
    seen = None if image is None else (random(1, HEADS, image, HEAD_DIM), random(1, HEADS, image, HEAD_DIM))
    return random(queries, 21, HEADS * HEAD_DIM), text, bias, seen


def test_it_is_the_sum_of_two_softmaxes():
    query, (key, value), bias, (image_key, image_value) = arguments(2, 2, 7, 5)
    heads = query.unflatten(2, (HEADS, HEAD_DIM)).transpose(1, 2) / HEAD_DIM**0.5
    to_text = torch.softmax(heads @ key.mT + bias, -1) @ value
    to_image = torch.softmax(heads @ image_key.mT, -1) @ image_value
    found = cross_attention(query, (key, value), bias, (image_key, image_value))
    torch.testing.assert_close(found, (to_text + to_image).transpose(1, 2).flatten(2))


@TRITON
@pytest.mark.parametrize("dtype", [torch.float32, HALF], ids=str)
@pytest.mark.parametrize("image", [None, 5, 37], ids=["no image", "few keys", "several tiles"])
@pytest.mark.parametrize(("texts", "queries", "keys"), [(1, 1, 20), (2, 1, 9), (2, 2, 33)])
def test_the_kernel_does_what_plain_torch_does(kernel, texts, queries, keys, image, dtype):
    given = arguments(texts, queries, keys, image, dtype)
    found, expected = kernel(*given), cross_attention(*given)
    assert found.shape == (texts, 21, HEADS * HEAD_DIM)
    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_a_cpu_takes_plain_torch():
    assert cross_attention_for(torch.device("cpu"), torch.float32, 16) is cross_attention


@TRITON
def test_the_kernel_is_taken_where_it_is_right(kernel, monkeypatch):
    from magref import cross_attention_triton as kernels
    from magref import elementwise_triton

    said: list[object] = []
    monkeypatch.setattr(module, "arithmetic_for", lambda device: elementwise_triton)
    monkeypatch.setattr(module._LOG, "warning", lambda *words: said.append(words))
    chosen = cross_attention_for.__wrapped__
    assert chosen(DEVICE, torch.float32, 16) is kernel
    assert chosen(DEVICE, torch.float32, 24) is cross_attention  # no power of two
    monkeypatch.setattr(kernels, "cross_attention", lambda query, *rest: query)
    assert chosen(DEVICE, torch.float32, 16) is cross_attention
    monkeypatch.setattr(kernels, "cross_attention", lambda *_: 1 / 0)
    assert chosen(DEVICE, torch.float32, 16) is cross_attention
    assert len(said) == 1
