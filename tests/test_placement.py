"""Where and in what precision a model runs."""

import pytest
import torch

from magref.errors import InputError, ResourceError
from magref.placement import DTYPES, choose_device, choose_dtype, loading_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def machine(monkeypatch):
    """Says what the machine has, so that every machine gives the same answers."""

    def has(*, gpus=0, mps=False, capabilities=()):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(capabilities, True))

    return has


@pytest.mark.parametrize(
    ("has", "best"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"gpus": 1}, "cuda"), ({"gpus": 1, "mps": True}, "cuda")],
)
def test_the_best_device_present_is_chosen(machine, has, best):
    machine(**has)
    assert choose_device().type == best


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps"])
def test_the_named_device_is_taken_where_it_is_present(machine, name):
    machine(gpus=2, mps=True)
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("has", "name", "sentence"),
    [
        ({}, "cuda", "this PyTorch sees 0 GPUs; use --device cpu"),
        ({"gpus": 1}, "cuda:1", "this PyTorch sees 1 GPUs; use --device cpu"),
        ({}, "mps", "there is none here; use --device cpu"),
    ],
)
def test_a_device_that_is_not_there_is_named_with_the_remedy(machine, has, name, sentence):
    machine(**has)
    with pytest.raises(ResourceError, match=f"device {name} was asked for.*{sentence}"):
        choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "xpu"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(InputError, match="is unknown here; use cpu, cuda, cuda:0 or mps"):
        choose_device(name)


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ((), torch.float32),
        (("avx2",), torch.float32),
        (("avx512_bf16",), torch.bfloat16),
        (("amx_bf16",), torch.bfloat16),
    ],
)
def test_a_cpu_takes_bfloat16_only_where_it_multiplies_it_in_hardware(machine, capabilities, dtype):
    machine(capabilities=capabilities)
    assert choose_dtype(CPU) == dtype
    assert loading_dtype("bfloat16") == dtype


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_a_gpu_takes_bfloat16_where_it_has_it_in_hardware(machine, monkeypatch, capability, dtype):
    machine(gpus=1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_dtype(CUDA) == dtype
    assert loading_dtype("bfloat16") == dtype


@pytest.mark.parametrize("name", list(DTYPES))
def test_the_named_precision_is_taken(name):
    assert choose_dtype(CPU, name) == getattr(torch, name)


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="dtype 'int8' is unknown; use float32, bfloat16, float16"):
        choose_dtype(CPU, "int8")


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_other_precisions_load_as_they_were_stored(stored):
    assert loading_dtype(stored) == getattr(torch, stored)
