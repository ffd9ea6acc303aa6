"""Which attention kernel is taken, and that it gives attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import _AttentionBackendRegistry, attention_backend

from magref import attention
from magref.attention import asked_backend, attend, attention_kernel, diffusers_attention, probed_kernel, works
from magref.errors import InputError, ResourceError
from tiny import tiny_transformer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(attention.VARIABLE, raising=False)
    active = _AttentionBackendRegistry.get_active_backend()[0]
    probed_kernel.cache_clear()
    yield
    probed_kernel.cache_clear()
    _AttentionBackendRegistry.set_active_backend(active)  # which `set_attention_backend` changes for all models


@pytest.fixture
def gpu(monkeypatch):
    """Says which generation a GPU is of and which kernels work on it."""

    def has(capability, *kernels):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(attention, "works", lambda kernel, *_: kernel in (*kernels, "native"))

    return has


def qkv(tokens: int = 9) -> list[torch.Tensor]:
    return list(torch.randn(3, 2, tokens, 3, 16, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kernel", ["native", "flash"])
def test_it_is_softmax_attention_within_each_head(kernel):
    query, key, value = qkv()
    found = attend(query, key, value, kernel)
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(4).softmax(-1)
    torch.testing.assert_close(found, torch.einsum("bhqk,bkhd->bqhd", weights, value))


@pytest.mark.parametrize(
    ("capability", "working", "taken"),
    [
        ((9, 0), ("cudnn", "flash"), "cudnn"),
        ((10, 0), ("cudnn", "flash"), "cudnn"),
        ((9, 0), ("flash",), "flash"),
        ((9, 0), (), "native"),
        ((8, 0), ("cudnn", "flash"), "flash"),
        ((7, 5), (), "native"),
    ],
)
def test_the_best_kernel_that_works_is_taken(gpu, capability, working, taken):
    gpu(capability, *working)
    assert attention_kernel(CUDA, torch.bfloat16, 128) == taken


def test_it_is_tried_once_for_each_precision_and_head(gpu, monkeypatch):
    gpu((9, 0))
    tried = []
    monkeypatch.setattr(attention, "works", lambda *how: tried.append(how) or True)
    for dtype, head_dim in ((torch.bfloat16, 128), (torch.bfloat16, 128), (torch.float16, 128), (torch.bfloat16, 64)):
        attention_kernel(CUDA, dtype, head_dim)
    assert len(tried) == 3


def test_elsewhere_pytorch_chooses():
    assert attention_kernel(CPU, torch.float32, 16) == "native"


def test_a_kernel_works_that_runs_and_is_right(monkeypatch):
    assert works("flash", CPU, torch.float32, 16)
    assert works("flash", CPU, torch.bfloat16, 16)
    assert not works("cudnn", CPU, torch.float32, 16)  # which does not run here
    wrong = attend
    monkeypatch.setattr(attention, "attend", lambda q, k, v, kernel: wrong(q, k, v, kernel) * (1 + (kernel == "flash")))
    assert not works("flash", CPU, torch.float32, 16)


def test_a_named_kernel_is_taken(gpu, monkeypatch):
    gpu((9, 0), "cudnn", "flash")
    for kernel in ("flash", "native"):
        monkeypatch.setenv(attention.VARIABLE, kernel)
        assert attention_kernel(CUDA, torch.bfloat16, 128) == kernel


def test_a_named_kernel_that_is_none_or_does_not_work_is_refused(monkeypatch):
    monkeypatch.setenv(attention.VARIABLE, "sage")
    with pytest.raises(InputError, match="MAGREF_ATTENTION is 'sage'; use cudnn, flash, native, or unset it"):
        attention_kernel(CPU, torch.float32, 16)
    monkeypatch.setenv(attention.VARIABLE, "cudnn")
    with pytest.raises(ResourceError, match="MAGREF_ATTENTION names cudnn, which does not work on cpu"):
        attention_kernel(CPU, torch.float32, 16)


def test_a_named_kernel_is_not_tried_where_nothing_is_computed(monkeypatch):
    monkeypatch.setenv(attention.VARIABLE, "flash")
    assert attention_kernel(torch.device("meta"), torch.bfloat16, 128) == "native"


def test_what_was_asked_of_diffusers_goes_before():
    transformer = tiny_transformer()
    assert asked_backend(transformer) is None
    with attention_backend("_native_math"):
        assert asked_backend(transformer) == "_native_math"
    transformer.set_attention_backend("_native_flash")
    assert asked_backend(transformer) == "_native_flash"


def test_the_transformers_own_forward_takes_the_best_kernel_too(gpu, monkeypatch):
    def active():
        return _AttentionBackendRegistry.get_active_backend()[0].value

    transformer = tiny_transformer()
    monkeypatch.setenv(attention.VARIABLE, "flash")
    with diffusers_attention(transformer):
        assert active() == "_native_flash"
    assert active() == "native"
    with attention_backend("_native_math"), diffusers_attention(transformer):
        assert active() == "_native_math"


def test_the_probe_takes_lengths_that_no_tile_divides():
    query, key, value = qkv(attention._TOKENS)
    expected = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (query, key, value))).transpose(1, 2)
    torch.testing.assert_close(attend(query, key, value, "flash"), expected)
    assert attention._TOKENS % 8
