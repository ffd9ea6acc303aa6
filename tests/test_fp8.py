"""Linear layers in fp8: as near as fp8 can be, in half the memory, wherever linear layers are."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig

from magref.denoiser import Denoiser
from magref.fp8 import Fp8Linear, to_fp8
from test_denoiser import LATENTS, TIMESTEPS, inputs, random, relative
from tiny import tiny_transformer


def linear(out: int = 48, bias: bool = True) -> torch.nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(32, out, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_it_is_the_layer_within_fp8s_rounding(bias):
    layer, x = linear(bias=bias), random(2, 5, 32)
    found = Fp8Linear(layer)(x)
    assert found.shape == (2, 5, 48)
    assert 1e-3 < relative(found, layer(x)) < 0.05


def test_it_takes_a_quarter_of_float32s_memory():
    layer, small = linear(), Fp8Linear(linear())
    sizes = [sum(t.nbytes for t in one.state_dict().values()) for one in (layer, small)]
    assert sizes[1] == 48 * 32 + 2 * 4 * 48 < 0.32 * sizes[0]
    assert not list(small.parameters())


def test_only_wanted_layers_that_gpus_can_multiply_are_replaced():
    model = torch.nn.ModuleDict({"a": linear(), "b": linear(), "odd": linear(40), "norm": torch.nn.LayerNorm(4)})
    to_fp8(model, lambda layer, name: name != "b")
    kinds = {name: type(layer).__name__ for name, layer in model.items()}
    assert kinds == {"a": "Fp8Linear", "b": "Linear", "odd": "Linear", "norm": "LayerNorm"}


def blocks_in_fp8(transformer):
    for block in transformer.blocks:
        to_fp8(block, lambda layer, name: "lora_" not in name)
    return transformer


@pytest.mark.parametrize("adapted", [False, True], ids=["bare", "lora"])
def test_a_transformer_with_such_blocks_gives_nearly_the_same(adapted):
    def made():
        transformer = tiny_transformer()
        if adapted:
            with torch.random.fork_rng():
                torch.manual_seed(5)
                names = ["to_q", "ffn.net.2"]
                transformer.add_adapter(LoraConfig(r=4, target_modules=names, init_lora_weights=False))
        return transformer

    texts, conditioning = inputs([7, 12], True)
    exact, rounded = (
        Denoiser(transformer, texts, conditioning, TIMESTEPS, text_tokens=512)(random(*LATENTS, seed=3), 1)
        for transformer in (made(), blocks_in_fp8(made()))
    )
    for found, expected in zip(rounded, exact, strict=True):
        assert 1e-4 < relative(found, expected) < 0.05
