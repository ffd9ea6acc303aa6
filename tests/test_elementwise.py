"""The arithmetic between a block's matrix products, plain against its definition and Triton's kernels against plain."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import torch.nn.functional as F

from magref import elementwise

HEADS, HEAD_DIM, EPS = 3, 16, 1e-6
DIM = HEADS * HEAD_DIM  # not a power of two, as 5,120 is not
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


@pytest.fixture
def kernels():
    """Triton's kernels: on a GPU, or on a CPU in Triton's interpreter (`conftest.py`)."""
    from magref import elementwise_triton

    return elementwise_triton


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def vectors() -> list[torch.Tensor]:
    """Gate, scale and shift."""
    return [random(DIM, seed=10 + index) for index in range(3)]


def turns(tokens: int) -> torch.Tensor:
    return torch.polar(torch.ones(tokens, HEAD_DIM // 2), random(tokens, HEAD_DIM // 2, seed=20).cpu()).to(DEVICE)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Float32 to 1e-5; bfloat16 to its last bits: the two round in different places, Triton's interpreter cuts off."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    tolerance = 1e-5 if found.dtype is torch.float32 else 2**-6
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


# --- plain -----------------------------------------------------------------------------------------------------------


@DTYPES
def test_the_norm_is_in_float32_and_scaled_before_it_is_rounded(dtype):
    x, (_, scale, shift) = random(2, 5, DIM, seed=1, dtype=dtype), vectors()
    expected = F.layer_norm(x.double(), (DIM,), None, None, EPS) * scale + shift
    assert_close(elementwise.normed(x, scale, shift, EPS), expected.to(dtype))


@DTYPES
def test_a_gated_update_is_added_before_the_norm(dtype):
    x, update, (gate, scale, shift) = random(1, 5, DIM, seed=1), random(1, 5, DIM, seed=2), vectors()
    total, out = elementwise.added_normed(x.to(dtype), update.to(dtype), gate, scale, shift, EPS)
    assert_close(total, (x.to(dtype).double() + update.to(dtype).double() * gate).to(dtype))
    assert_close(out, elementwise.normed(total, scale, shift, EPS))
    total, out = elementwise.added_normed(x.to(dtype), update.to(dtype), None, scale, shift, EPS)
    assert_close(total, x.to(dtype) + update.to(dtype))
    assert_close(out, elementwise.normed(total, scale, shift, EPS))


def test_one_stream_takes_the_updates_of_several_texts():
    x, updates, (gate, scale, shift) = random(1, 5, DIM, seed=1), random(3, 5, DIM, seed=2), vectors()
    total, out = elementwise.added_normed(x, updates, gate, scale, shift, EPS)
    for index in range(3):
        alone = elementwise.added_normed(x, updates[index : index + 1], gate, scale, shift, EPS)
        assert_close(total[index : index + 1], alone[0])
        assert_close(out[index : index + 1], alone[1])


def test_pairs_of_channels_are_rotated_head_by_head():
    x, rotary = random(1, 5, DIM, seed=1), turns(5)
    found = elementwise.rotate(x, rotary).unflatten(2, (HEADS, HEAD_DIM // 2, 2))
    pairs = x.unflatten(2, (HEADS, HEAD_DIM // 2, 2))
    for token in range(5):
        for pair in range(HEAD_DIM // 2):
            turn = rotary[token, pair]
            matrix = torch.tensor([[turn.real, -turn.imag], [turn.imag, turn.real]], device=DEVICE)
            assert_close(found[0, token, :, pair], pairs[0, token, :, pair] @ matrix.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_feed_forward_activation_is_gelu_in_its_tanh_form(dtype):
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-6e4, -300.0, 0.0, 300.0, 6e4])]).to(dtype)
    expected = F.gelu(x.double(), approximate="tanh")
    difference = (elementwise.gelu_(x.clone()).double() - expected).abs() / expected.abs().clamp(min=1)
    assert difference.max() < 3 * torch.finfo(dtype).eps


@DTYPES
def test_the_activation_within_the_product_is_the_activation_of_the_product(dtype):
    linear = torch.nn.Linear(DIM, 32, device=DEVICE, dtype=dtype)
    x = random(2, 5, DIM, seed=1, dtype=dtype)
    with torch.no_grad():
        expected = F.gelu(linear(x).float(), approximate="tanh").to(dtype)
        assert_close(elementwise.linear_gelu(linear, x), expected)


@DTYPES
def test_each_row_is_rounded_to_fp8_by_its_own_scale(dtype):
    x = random(2, 5, DIM, seed=1, dtype=dtype) * torch.logspace(-6, 6, 5, device=DEVICE)[:, None]
    x[0, 0] = 0
    rows, scales = elementwise.row_quantised(x)
    assert rows.dtype is elementwise.FP8
    assert rows.float().abs().amax(1)[1:].eq(elementwise.FP8_MAX).all()
    back = (rows.float() * scales).view_as(x)
    assert ((back - x.float()).abs() <= x.float().abs() / 16 + scales.view(2, 5, 1) * 2**-9).all()  # 3 bits of fraction


# --- Triton ----------------------------------------------------------------------------------------------------------


@TRITON
@DTYPES
@pytest.mark.parametrize("tokens", [1, 5, 8])
def test_the_norm_kernel_does_what_plain_torch_does(kernels, dtype, tokens):
    x, (_, scale, shift) = random(2, tokens, DIM, seed=1, dtype=dtype), vectors()
    assert_close(kernels.normed(x, scale, shift, EPS), elementwise.normed(x, scale, shift, EPS))


@TRITON
@DTYPES
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
def test_the_kernel_that_adds_and_norms_does_what_plain_torch_does(kernels, dtype, batch, gated):
    x, update = random(1, 5, DIM, seed=1, dtype=dtype), random(batch, 5, DIM, seed=2, dtype=dtype)
    gate, scale, shift = vectors()
    arguments = (x, update, gate if gated else None, scale, shift, EPS)
    for found, expected in zip(kernels.added_normed(*arguments), elementwise.added_normed(*arguments), strict=True):
        assert_close(found, expected)


@TRITON
@DTYPES
@pytest.mark.parametrize("batch", [1, 3])
def test_the_kernel_that_norms_and_rotates_does_what_plain_torch_does(kernels, dtype, batch):
    x, weight, rotary = random(batch, 5, DIM, seed=1, dtype=dtype), random(DIM, seed=2, dtype=dtype), turns(5)
    found = kernels.normed_rotated(x, weight, rotary, EPS)
    assert_close(found, elementwise.normed_rotated(x, weight, rotary, EPS))


@TRITON
@DTYPES
@pytest.mark.parametrize("channels", [6, 96])
def test_the_kernel_of_the_autoencoder_does_what_plain_torch_does(kernels, monkeypatch, dtype, channels):
    monkeypatch.setattr(kernels, "_TILE", 256)  # several programs, the last of them not full
    x, weight = random(1, 3, 5, 7, channels, seed=1, dtype=dtype), random(channels, seed=2, dtype=dtype)
    x[0, 0, 0] = 0
    assert_close(kernels.rms_silu(x, weight), elementwise.rms_silu(x, weight))


@TRITON
@DTYPES
def test_the_kernel_that_rounds_to_fp8_does_what_plain_torch_does(kernels, dtype):
    x = random(2, 5, DIM, seed=1, dtype=dtype)
    x[0, 0] = 0
    (found, found_scales), (expected, scales) = kernels.row_quantised(x), elementwise.row_quantised(x)
    torch.testing.assert_close(found_scales, scales)
    same = found.float() == expected.float()
    assert same.float().mean() > 0.95  # the interpreter loses a carry where rounding reaches a power of two


@TRITON
def test_kernels_leave_their_inputs_as_they_were(kernels):
    x, update, (gate, scale, shift) = random(1, 5, DIM, seed=1), random(1, 5, DIM, seed=2), vectors()
    before = [tensor.clone() for tensor in (x, update, gate, scale, shift)]
    kernels.added_normed(x, update, gate, scale, shift, EPS)
    kernels.normed_rotated(x, scale, turns(5), EPS)
    assert all(torch.equal(a, b) for a, b in zip((x, update, gate, scale, shift), before, strict=True))


def test_a_cpu_takes_plain_torch():
    assert elementwise.arithmetic_for(torch.device("cpu")) is elementwise


class Gpu(str):
    """A GPU by its name, the CPU by its memory."""

    type = "cuda"


@pytest.fixture
def said(monkeypatch):
    """What is warned of; `Gpu` takes the place of a device meanwhile."""
    words: list[tuple[object, ...]] = []
    monkeypatch.setattr(elementwise._LOG, "warning", lambda *each: words.append(each))
    monkeypatch.setattr(torch, "linspace", lambda *a, device, real=torch.linspace: real(*a))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    elementwise.arithmetic_for.cache_clear()
    yield words
    elementwise.arithmetic_for.cache_clear()


def not_built(*_):
    raise RuntimeError("Failed to find C compiler")


@TRITON
def test_where_a_kernel_cannot_be_built_plain_torch_takes_its_place(kernels, monkeypatch, said):
    assert elementwise.arithmetic_for(Gpu("first")) is kernels
    monkeypatch.setattr(kernels, "rms_silu", not_built)
    assert elementwise.arithmetic_for(Gpu("second")) is elementwise
    assert "Failed to find C compiler" in str(said)
    monkeypatch.setattr(kernels, "rms_silu", lambda x, weight: x)
    assert elementwise.arithmetic_for(Gpu("third")) is elementwise  # nor where it builds one that is wrong


@TRITON
def test_a_gpu_without_fp8_keeps_the_kernels_that_need_none(kernels, monkeypatch, said):
    monkeypatch.setattr(kernels, "row_quantised", not_built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    assert elementwise.arithmetic_for(Gpu("ampere")) is kernels
    assert not said


@TRITON
def test_a_kernel_that_writes_wrong_fp8_is_not_taken(kernels, monkeypatch, said):
    original = kernels.row_quantised
    monkeypatch.setattr(kernels, "row_quantised", lambda x: (original(-x)[0], original(x)[1]))
    assert elementwise.arithmetic_for(Gpu("wrong")) is elementwise
