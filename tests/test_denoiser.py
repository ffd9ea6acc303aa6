"""The fast way through the transformer gives the velocities of the transformer's own forward."""

import math

import accelerate.hooks
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig

from magref import denoiser
from magref.conditioning import Conditioning
from magref.denoiser import Denoiser, PlainDenoiser, fold_padding, has_hooks, image_row_count
from magref.flow import make_scheduler
from tiny import IMAGE_DIM, TEXT_DIM, tiny_transformer

LATENTS = (1, 16, 2, 4, 6)
IMAGE_ROWS = 50
TIMESTEPS = make_scheduler("unipc", steps=3, shift=3.0).timesteps


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(lengths: list[int], image_encoder: bool, seed: int = 0):
    """Texts of these lengths, and the conditioning of one canvas."""
    texts = [random(n, TEXT_DIM, seed=seed + 10 + i) for i, n in enumerate(lengths)]
    embeds = random(1, IMAGE_ROWS, IMAGE_DIM, seed=seed + 1) if image_encoder else None
    return texts, Conditioning(random(1, 20, *LATENTS[2:], seed=seed + 2), embeds)


@torch.no_grad()
def velocities(kind, transformer, lengths, *, text_tokens=512, step=1, seed=0):
    texts, conditioning = inputs(lengths, transformer.config.image_dim is not None, seed)
    texts, conditioning = [text.to(transformer.dtype) for text in texts], conditioning.to("cpu", transformer.dtype)
    made = kind(transformer, texts, conditioning, TIMESTEPS, text_tokens=text_tokens)
    return made(random(*LATENTS, seed=seed + 3), step)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())


def assert_equal_velocities(transformer, lengths, **how):
    found = velocities(Denoiser, transformer, lengths, **how)
    expected = velocities(PlainDenoiser, transformer, lengths, **how)
    assert len(found) == len(expected) == len(lengths)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == LATENTS
        assert relative(ours, theirs) < 1e-5


# --- equal to the transformer's own forward --------------------------------------------------------------------------

TEXTS = pytest.mark.parametrize(
    "lengths", [[7], [7, 12], [12, 7], [1, 30], [5, 5]], ids=lambda lengths: "+".join(map(str, lengths))
)


@TEXTS
@pytest.mark.parametrize("image_encoder", [True, False], ids=["clip", "no clip"])
def test_equal_with_512_text_tokens(lengths, image_encoder):
    assert_equal_velocities(tiny_transformer(image_encoder), lengths)


@TEXTS
def test_equal_with_64_text_tokens(lengths):
    assert_equal_velocities(tiny_transformer(image_encoder=False), lengths, text_tokens=64)


@pytest.mark.parametrize("text_tokens", [64, 470, 500])
def test_equal_where_image_rows_spill_over_to_the_text(text_tokens):
    assert_equal_velocities(tiny_transformer(), [7, 12], text_tokens=text_tokens)


@pytest.mark.parametrize("image_encoder", [True, False], ids=["clip", "no clip"])
@pytest.mark.parametrize("lengths", [[512], [512, 3], [3, 512], [511, 512]])
def test_equal_when_a_text_fills_all_of_its_tokens(lengths, image_encoder):
    assert_equal_velocities(tiny_transformer(image_encoder), lengths)


@pytest.mark.parametrize("image_encoder", [True, False], ids=["clip", "no clip"])
def test_in_bfloat16_no_further_from_float32_than_the_transformers_own_forward(image_encoder):
    exact = velocities(PlainDenoiser, tiny_transformer(image_encoder), [7, 12])
    transformer = tiny_transformer(image_encoder).bfloat16()
    ours, theirs = (velocities(kind, transformer, [7, 12]) for kind in (Denoiser, PlainDenoiser))
    for found, peer, expected in zip(ours, theirs, exact, strict=True):
        assert found.dtype is torch.bfloat16
        assert relative(found.float(), expected) <= 1.2 * relative(peer.float(), expected) < 0.05


@pytest.mark.parametrize("step", [0, 2])
def test_equal_at_the_first_and_last_step(step):
    assert_equal_velocities(tiny_transformer(), [7, 12], step=step)


@pytest.mark.parametrize("image_encoder", [True, False], ids=["clip", "no clip"])
def test_equal_one_pass_after_the_other(monkeypatch, image_encoder):
    transformer = tiny_transformer(image_encoder)
    batched = velocities(Denoiser, transformer, [7, 12])
    batches = []
    last = transformer.blocks[1].ffn.net[2]
    last.register_forward_hook(lambda module, args, output: batches.append(args[0].shape[0]))
    monkeypatch.setattr(denoiser, "BATCHED_TOKENS", 11)  # 2 x 2 x 3 are 12
    assert_equal_velocities(transformer, [7, 12])
    assert batches == [1, 1, 1, 1]  # two passes of each denoiser
    for together, alone in zip(batched, velocities(Denoiser, transformer, [7, 12]), strict=True):
        assert relative(alone, together) < 1e-5


def test_up_to_the_limit_the_passes_are_one_batch(monkeypatch):
    transformer = tiny_transformer()
    batches = []
    last = transformer.blocks[1].ffn.net[2]
    last.register_forward_hook(lambda module, args, output: batches.append(args[0].shape[0]))
    monkeypatch.setattr(denoiser, "BATCHED_TOKENS", 12)
    velocities(Denoiser, transformer, [7, 12])
    assert batches == [2]


def with_lora(transformer, **changes):
    names = ["to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj", "ffn.net.0.proj", "ffn.net.2"]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        config = {"r": 4, "target_modules": names, "init_lora_weights": False} | changes
        transformer.add_adapter(LoraConfig(**config))
    return transformer


def test_equal_with_a_lora():
    bare = velocities(Denoiser, tiny_transformer(), [7, 12])
    transformer = with_lora(tiny_transformer())
    assert relative(velocities(Denoiser, transformer, [7, 12])[0], bare[0]) > 1e-2
    assert not has_hooks(transformer)
    assert_equal_velocities(transformer, [7, 12])


def test_equal_with_a_lora_on_the_layers_around_the_blocks():
    names = ["text_embedder.linear_1", "time_embedder.linear_1", "time_proj", "proj_out", "image_embedder.ff.net.2"]
    bare = velocities(Denoiser, tiny_transformer(), [7, 12])
    transformer = with_lora(tiny_transformer(), target_modules=names)
    assert relative(velocities(Denoiser, transformer, [7, 12])[0], bare[0]) > 1e-2
    assert_equal_velocities(transformer, [7, 12])


@pytest.mark.parametrize("kind", [Denoiser, PlainDenoiser])
def test_every_input_changes_the_velocity(kind):
    """The comparisons above would mean nothing for a transformer that ignores what it is given."""
    transformer = tiny_transformer()
    texts, conditioning = inputs([7], True)
    latents = random(*LATENTS, seed=3)

    def velocity(texts=texts, conditioning=conditioning, latents=latents, step=1):
        with torch.no_grad():
            return kind(transformer, texts, conditioning, TIMESTEPS, text_tokens=512)(latents, step)[0]

    base = velocity()
    other, changed = inputs([7], True, seed=50)
    for found in (
        velocity(texts=[20 * other[0]]),
        velocity(conditioning=Conditioning(changed.guidance, conditioning.image_embeds)),
        velocity(conditioning=Conditioning(conditioning.guidance, changed.image_embeds)),
        velocity(latents=random(*LATENTS, seed=9)),
        velocity(step=2),
    ):
        assert relative(found, base) > 1e-4


def test_one_denoiser_serves_all_steps():
    transformer = tiny_transformer()
    texts, conditioning = inputs([7, 12], True)
    made = Denoiser(transformer, texts, conditioning, TIMESTEPS, text_tokens=512)
    plain = PlainDenoiser(transformer, texts, conditioning, TIMESTEPS, text_tokens=512)
    for step in (0, 1, 2, 0):
        latents = random(*LATENTS, seed=20 + step)
        with torch.no_grad():
            for ours, theirs in zip(made(latents, step), plain(latents, step), strict=True):
                assert relative(ours, theirs) < 1e-5


def test_nothing_is_recorded_for_gradients():
    velocity = velocities(Denoiser, tiny_transformer(), [7])[0]
    assert not velocity.requires_grad
    assert not velocity.is_inference()


# --- folding the padding ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=3), st.integers(0, 20), st.integers(0, 1000))
def test_attention_to_folded_padding_equals_attention_to_all_of_it(lengths, more, seed):
    text_tokens = max(1, max(lengths) + more)
    texts = [random(n, 6, seed=seed + i).double() for i, n in enumerate(lengths)]
    weight, bias_row = random(6, 8, seed=seed + 7).double(), random(8, seed=seed + 8).double()
    query = random(1, 5, 8, seed=seed + 9).double()
    rows, bias = fold_padding(texts, text_tokens)
    assert rows.shape == (len(texts), max(lengths) + 1, 6)
    assert bias.shape == (len(texts), 1, 1, max(lengths) + 1)
    keys = rows @ weight + bias_row  # zero rows have keys too
    found = F.scaled_dot_product_attention(query.expand(len(texts), -1, -1), keys, keys, bias[:, 0].double())
    for i, text in enumerate(texts):
        padded = F.pad(text, (0, 0, 0, text_tokens - len(text)))[None] @ weight + bias_row
        expected = F.scaled_dot_product_attention(query, padded, padded)[0]
        assert torch.allclose(found[i], expected, rtol=1e-6, atol=1e-7)  # the bias is held in float32


def test_folded_rows_weigh_as_many_as_they_stand_for():
    rows, bias = fold_padding([torch.ones(3, 2), torch.ones(5, 2)], 5)
    assert bias[0].flatten().tolist() == pytest.approx([0, 0, 0, math.log(2), -math.inf, -math.inf])
    assert bias[1].flatten().tolist() == [0, 0, 0, 0, 0, -math.inf]
    assert rows[0].sum(1).tolist() == [2, 2, 2, 0, 0, 0]


@given(st.integers(1, 300), st.integers(1, 600))
def test_image_rows_are_cut_as_the_published_code_cuts_them(image_rows, text_tokens):
    together = list(range(image_rows + text_tokens))
    as_image = together[: len(together) - 512]
    assert image_row_count(image_rows, text_tokens) == len([row for row in as_image if row < image_rows])


# --- hooks -----------------------------------------------------------------------------------------------------------


def test_a_bare_transformer_has_no_hooks():
    assert not has_hooks(tiny_transformer())


@pytest.mark.parametrize(
    "how", [{"offload_type": "leaf_level"}, {"offload_type": "block_level", "num_blocks_per_group": 1}]
)
def test_group_offloading_is_noticed(how):
    transformer = tiny_transformer()
    cpu = torch.device("cpu")
    transformer.enable_group_offload(onload_device=cpu, offload_device=cpu, **how)
    assert has_hooks(transformer)


@pytest.mark.parametrize("where", ["whole", "block"])
def test_accelerate_hooks_are_noticed_and_gone_when_removed(where):
    transformer = tiny_transformer()
    module = transformer if where == "whole" else transformer.blocks[1]
    accelerate.hooks.add_hook_to_module(module, accelerate.hooks.AlignDevicesHook(execution_device="cpu"))
    assert has_hooks(transformer)
    accelerate.hooks.remove_hook_from_module(module)
    assert not has_hooks(transformer)


def test_forward_hooks_and_compiled_blocks_need_the_plain_way():
    transformer = tiny_transformer(image_encoder=False)
    assert not has_hooks(transformer)
    handle = transformer.blocks[1].register_forward_hook(lambda *_: None)
    assert has_hooks(transformer)
    handle.remove()
    assert not has_hooks(transformer)
    transformer.blocks[0].compile(backend="eager")
    assert has_hooks(transformer)
