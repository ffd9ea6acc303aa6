"""Sizes and work by arithmetic equal those of the true architectures, built without memory."""

import pytest
import torch
from diffusers import AutoencoderKLWan
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from magref.capacity import GPUS, Working, find_gpu, known_gpu, needed_memory, transformer_bytes
from magref.checkpoints.architecture import magref_14b_config
from magref.errors import CheckpointError, InputError
from magref.models import EMBEDDED_FOLDER, EMBEDDED_NAME
from magref.pipeline import MagrefPipeline
from magref.presets import CARDS, PRESETS
from magref.sizes import (
    WAN_ENCODERS,
    block_matrices,
    find_sizes,
    forward_flops,
    linear_flops,
    published_sizes,
    sizes_of,
    transformer_parameters,
)
from magref.training.loading import build_transformer
from tiny import GOLDEN, TRANSFORMER, tiny_components, tiny_transformer

NOTHING = Working(0, 0, 0)
UMT5_XXL = {"vocab_size": 256_384, "d_model": 4096, "d_kv": 64, "num_heads": 64, "d_ff": 10_240, "num_layers": 24}
VIT_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}


def counts(model) -> list[int]:
    return [parameter.numel() for parameter in model.parameters()]


def test_the_14b_transformer():
    config = magref_14b_config()
    built = build_transformer(config, torch.bfloat16)
    assert transformer_parameters(config) == sum(counts(built)) == 16_394_878_784
    linears = [m for m in built.blocks.modules() if isinstance(m, torch.nn.Linear)]
    assert block_matrices(config) == sum(linear.weight.numel() for linear in linears)
    in_16_bits = sum(parameter.numel() * 2 for parameter in built.parameters())
    assert transformer_bytes(published_sizes(), PRESETS["80gb"]) == in_16_bits
    in_8_bits = sum(p.numel() for p in (linear.weight for linear in linears))
    assert transformer_bytes(published_sizes(), PRESETS["24gb"]) == in_16_bits - in_8_bits


@pytest.mark.parametrize("image_encoder", [True, False])
@pytest.mark.parametrize("changes", [{}, {"cross_attn_norm": False}, {"num_layers": 5, "ffn_dim": 96}], ids=str)
def test_other_transformers(image_encoder, changes):
    built = tiny_transformer(image_encoder, **changes)
    assert transformer_parameters(built.config) == sum(counts(built))


def test_wans_encoders():
    with torch.device("meta"):
        built = {
            "vae": AutoencoderKLWan(),
            "text_encoder": UMT5EncoderModel(UMT5Config(**UMT5_XXL)),
            "image_encoder": CLIPVisionModel(CLIPVisionConfig(**VIT_H, image_size=224, patch_size=14)),
        }
    for name, model in built.items():
        assert (WAN_ENCODERS[name].parameters, WAN_ENCODERS[name].largest) == (sum(counts(model)), max(counts(model)))


def test_the_work_of_the_14b_is_that_which_is_published():
    config = magref_14b_config()
    assert forward_flops(config, 32_760, 512) == pytest.approx(1686.4e12, rel=1e-3)
    attention = forward_flops(config, 32_760, 512) - linear_flops(config, 32_760, 512)
    assert attention == pytest.approx((879.2 + 20.6) * 1e12, rel=1e-3)


@pytest.mark.parametrize("image_encoder", [True, False])
def test_models_in_a_folder_and_in_memory(tmp_path, image_encoder):
    pipeline = MagrefPipeline(**tiny_components(image_encoder))
    pipeline.save_pretrained(tmp_path / "model")
    for sizes in (find_sizes(str(tmp_path / "model")), sizes_of(pipeline)):
        assert sizes.parameters("transformer") == sum(counts(pipeline.transformer))
        for name in ("vae", "text_encoder", "image_encoder"):
            model = getattr(pipeline, name)
            assert sizes.parameters(name) == (0 if model is None else sum(counts(model)))
        assert sizes.defaults == pipeline.defaults
        assert sizes.strides == pipeline.strides


def test_the_published_layout_and_the_embedded_model():
    checkpoint = find_sizes(str(GOLDEN / "checkpoint"))
    assert checkpoint.parameters("text_encoder") > checkpoint.encoders["text_encoder"].largest > 0
    assert find_sizes(None).name == EMBEDDED_NAME
    assert find_sizes(str(EMBEDDED_FOLDER)).config == find_sizes(None).config


def test_a_14b_that_is_not_here_is_the_published_one():
    for name in ("models/magref-14B", "MAGREF-Video/MAGREF", "Wan2.1-I2V-14B-480P"):
        assert find_sizes(name) == published_sizes()
    with pytest.raises(CheckpointError, match="neither a folder here nor a hub id"):
        find_sizes("models/nowhere/at/all")


def test_another_name_or_a_broken_folder_is_not_taken_for_the_published_model(tmp_path):
    (tmp_path / "magref-14B").mkdir()
    with pytest.raises(CheckpointError, match="is not a model folder"):
        find_sizes(str(tmp_path / "magref-14B"))
    with pytest.raises(CheckpointError, match="neither a folder here nor a hub id"):
        find_sizes("models/here/mgref-14B")


# --- memory by preset ------------------------------------------------------------------------------------------------


def test_the_less_a_card_holds_the_less_is_needed():
    needs = [needed_memory(published_sizes(), preset, NOTHING) for preset in CARDS]
    assert [need.peak for need in needs] == sorted((need.peak for need in needs), reverse=True)
    whole = 2 * (16_394_878_784 + 5_680_910_336 + 630_766_080) + 4 * 126_892_531
    assert needs[0].peak == whole
    assert needs[0].host == 0
    assert needs[1].peak == 2 * 16_394_878_784 + 4 * 126_892_531 + 2 * 256_384 * 4096  # with umT5's embedding
    assert needs[1].host == 2 * (5_680_910_336 + 630_766_080)


def test_the_stage_that_takes_most_decides():
    sizes, preset = published_sizes(), PRESETS["24gb"]
    bare = needed_memory(sizes, preset, NOTHING)
    text = bare.networks["text_encoder"]
    for working in (Working(9 * text, 0, 0), Working(0, 9 * text, 0), Working(0, 0, 9 * text)):
        assert needed_memory(sizes, preset, working).peak == bare.peak + 8 * text
    assert needed_memory(sizes, preset, Working(text // 2, text // 2, text // 2)).peak == bare.peak


def test_a_streamed_transformer_has_two_blocks_on_the_card():
    config = TRANSFORMER | {"num_layers": 40}
    streamed = needed_memory(sizes_of(MagrefPipeline(**tiny_components())), PRESETS["16gb"], NOTHING)
    assert streamed.networks["transformer"] < streamed.host
    sizes = published_sizes()
    block = block_matrices(sizes.config) // config["num_layers"]
    rest = 2 * (transformer_parameters(sizes.config) - block_matrices(sizes.config))
    assert needed_memory(sizes, PRESETS["16gb"], NOTHING).networks["transformer"] == 2 * block + rest


# --- processors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA RTX A6000", "rtxa6000"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)
def test_cards_are_known_by_their_drivers_names(model, name):
    assert known_gpu(model) is GPUS[name]


def test_others_are_not():
    assert known_gpu("Abacus 3000") is None
    with pytest.raises(InputError, match="the processor 'abacus' is unknown; use one of h100, h200"):
        find_gpu("abacus")
