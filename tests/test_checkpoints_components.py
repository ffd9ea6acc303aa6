"""The models of a diffusers folder against their configurations and each other; nothing of them is read."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from magref import MagrefPipeline
from magref.checkpoints.components import check_components
from magref.checkpoints.layout import check_diffusers
from magref.errors import CheckpointError
from magref.models import EMBEDDED_FOLDER
from tiny import (
    IMAGE_DIM,
    LATENT_CHANNELS,
    TEXT_DIM,
    tiny_components,
    tiny_image_encoder,
    tiny_text_encoder,
    tiny_transformer,
    tiny_vae,
)

WEIGHTS = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "image_encoder": "model.safetensors",
}
A_TENSOR = {
    "transformer": "blocks.1.attn2.to_q.weight",
    "vae": "encoder.conv_in.weight",
    "text_encoder": "encoder.block.1.layer.0.SelfAttention.q.weight",
    "image_encoder": "encoder.layers.1.mlp.fc1.weight",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("components") / "tiny"
    MagrefPipeline(**tiny_components()).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_config(folder: Path, component: str, **changes) -> None:
    change_json(folder / component / "config.json", **changes)


def tensors(folder: Path, component: str) -> dict[str, torch.Tensor]:
    """Copies: the file is about to be written over."""
    return {k: v.clone() for k, v in load_file(folder / component / WEIGHTS[component]).items()}


def store(folder: Path, component: str, state: dict[str, torch.Tensor]) -> None:
    save_file(state, folder / component / WEIGHTS[component], metadata={"format": "pt"})


def stored_name(state: dict[str, torch.Tensor], component: str) -> str:
    """`A_TENSOR` under the name that the installed transformers writes."""
    return next(name for name in state if name.removeprefix("vision_model.") == A_TENSOR[component])


def replace(folder: Path, component: str, model) -> None:
    shutil.rmtree(folder / component)
    model.save_pretrained(folder / component)


# --- what fits -------------------------------------------------------------------------------------------------------


def test_the_embedded_model_fits():
    check_components(EMBEDDED_FOLDER)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_model_with_an_image_encoder_fits_and_no_random_number_is_drawn(saved, as_text):
    state = torch.get_rng_state()
    check_components(str(saved) if as_text else saved)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_in_shards_fits(folder):
    shutil.rmtree(folder / "transformer")
    tiny_transformer().save_pretrained(folder / "transformer", max_shard_size="100KB")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    check_components(folder)


def test_what_config_json_leaves_out_has_the_librarys_value(folder):
    path = folder / "transformer" / "config.json"
    config = json.loads(path.read_text())
    for key in ("out_channels", "patch_size", "cross_attn_norm", "eps"):
        del config[key]
    path.write_text(json.dumps(config))
    check_components(folder)


def test_a_tensor_that_diffusers_ignores_is_no_surplus(folder):
    state = tensors(folder, "transformer")
    store(folder, "transformer", state | {"blocks.0.attn2.norm_added_q.weight": torch.zeros(32)})
    check_components(folder)


@pytest.mark.parametrize("component", ["text_encoder", "image_encoder"])
def test_encoders_may_have_more_than_is_used(folder, component):
    store(folder, component, tensors(folder, component) | {"decoder.final_layer_norm.weight": torch.zeros(3)})
    check_components(folder)


@pytest.mark.parametrize("names", [["shared"], ["encoder.embed_tokens"], ["shared", "encoder.embed_tokens"]])
def test_the_embedding_may_have_either_name_or_both(folder, names):
    state = tensors(folder, "text_encoder")
    embedding = [state.pop(f"{name}.weight", None) for name in ("shared", "encoder.embed_tokens")]
    table = next(tensor for tensor in embedding if tensor is not None)
    store(folder, "text_encoder", state | {f"{name}.weight": table.clone() for name in names})
    check_components(folder)


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_files_of_transformers_4_and_5_fit(folder, prefix):
    state = tensors(folder, "image_encoder")
    store(folder, "image_encoder", {prefix + name.removeprefix("vision_model."): t for name, t in state.items()})
    check_components(folder)


def test_an_image_encoder_with_its_projection_fits(folder):
    config = CLIPVisionConfig(**tiny_image_encoder().config.to_dict())
    replace(folder, "image_encoder", CLIPVisionModelWithProjection(config))
    check_components(folder)  # model_index.json names CLIPVisionModel: the projection is surplus
    change_json(folder / "model_index.json", image_encoder=["transformers", "CLIPVisionModelWithProjection"])
    check_components(folder)


def test_packed_weights_are_left_to_their_library(folder):
    state = tensors(folder, "transformer")
    name = A_TENSOR["transformer"]
    store(folder, "transformer", state | {name: state[name].flatten(), f"{name}.absmax": torch.zeros(1)})
    change_config(folder, "transformer", quantization_config={"quant_method": "bitsandbytes"})
    check_components(folder)


# --- what does not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", WEIGHTS)
def test_a_missing_tensor_is_named(folder, component):
    state = tensors(folder, component)
    del state[stored_name(state, component)]
    store(folder, component, state)
    with pytest.raises(CheckpointError, match=rf"/{component} lacks {A_TENSOR[component]}; download it again"):
        check_components(folder)


@pytest.mark.parametrize("component", WEIGHTS)
def test_a_wrong_shape_is_named(folder, component):
    state = tensors(folder, component)
    name = stored_name(state, component)
    store(folder, component, state | {name: state[name][1:].clone()})
    with pytest.raises(CheckpointError, match=rf"/{component}: {A_TENSOR[component]} has shape .* is needed"):
        check_components(folder)


@pytest.mark.parametrize("component", ["transformer", "vae"])
def test_a_surplus_tensor_is_named(folder, component):
    store(folder, component, tensors(folder, component) | {"more.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=rf"/{component} has unknown tensors more.weight; give weights of"):
        check_components(folder)


def test_an_embedding_under_neither_name_is_missed(folder):
    state = tensors(folder, "text_encoder")
    store(folder, "text_encoder", {k: v for k, v in state.items() if "shared" not in k and "embed_tokens" not in k})
    with pytest.raises(CheckpointError, match=r"/text_encoder lacks encoder.embed_tokens.weight, shared.weight;"):
        check_components(folder)


@pytest.mark.parametrize(
    ("channels", "kind"), [(LATENT_CHANNELS, "a text-to-video model"), (20, "another architecture")]
)
def test_a_transformer_without_masked_guidance_is_told(folder, channels, kind):
    replace(folder, "transformer", tiny_transformer(in_channels=channels))
    with pytest.raises(CheckpointError, match=rf"/transformer takes {channels} input channels .* 36: it is {kind}"):
        check_components(folder)


@pytest.mark.parametrize(
    ("component", "changes", "reason"),
    [
        ("transformer", {"patch_size": None}, ".*NoneType.*"),
        ("transformer", {"in_channels": "36"}, ".+"),
        ("vae", {"temperal_downsample": 5}, ".+"),
        ("vae", {"dim_mult": []}, ".+"),
        ("text_encoder", {"d_model": "wide"}, ".*d_model.*"),
        ("text_encoder", {"feed_forward_proj": "gated-none-such"}, ".+"),
        ("image_encoder", {"patch_size": 0}, ".+"),
        ("image_encoder", {"num_attention_heads": 5}, ".+"),
    ],
)
def test_a_broken_value_is_told_by_its_file(folder, component, changes, reason):
    change_config(folder, component, **changes)
    with pytest.raises(CheckpointError) as caught:
        check_components(folder)
    path = folder / component / "config.json"
    assert str(caught.value).startswith(f"{path} does not describe a model that can be built (")
    assert str(caught.value).endswith("); download this file again")
    assert "\n" not in str(caught.value)
    caught.match(rf"can be built \({reason}\)")


def test_a_reason_without_words_is_told_by_its_kind(folder, monkeypatch):
    def fail(config):
        raise ZeroDivisionError

    monkeypatch.setattr("diffusers.AutoencoderKLWan.from_config", fail)
    with pytest.raises(CheckpointError, match=r"can be built \(ZeroDivisionError\); download this file again"):
        check_components(folder)


def test_output_channels_that_are_null_are_as_many_as_go_in(folder):
    change_config(folder, "transformer", out_channels=None)
    with pytest.raises(CheckpointError, match=r"takes 36 input channels .* needs 76: it is a text-to-video model"):
        check_components(folder)


def test_a_configuration_of_another_size_is_told(folder):
    change_config(folder, "transformer", num_layers=3)
    with pytest.raises(CheckpointError, match=r"/transformer lacks blocks\.2\..* more; download it again"):
        check_components(folder)


def test_a_vae_of_other_latents_is_told(folder):
    replace(folder, "vae", tiny_vae(z_dim=8, latents_mean=[0.0] * 8, latents_std=[1.0] * 8))
    with pytest.raises(
        CheckpointError, match="/vae has 8 latent channels where the transformer makes 16; give the VAE"
    ):
        check_components(folder)


@pytest.mark.parametrize(
    ("component", "model", "needed"),
    [
        ("text_encoder", lambda: tiny_text_encoder(d_model=32), TEXT_DIM),
        ("image_encoder", lambda: tiny_image_encoder(hidden_size=32), IMAGE_DIM),
    ],
)
def test_an_encoder_of_another_width_is_told(folder, component, model, needed):
    replace(folder, component, model())
    sentence = f"/{component} makes features 32 wide where the transformer takes {needed}; give the {component}"
    with pytest.raises(CheckpointError, match=sentence):
        check_components(folder)


def test_a_transformer_that_takes_image_features_needs_an_image_encoder(folder):
    change_json(folder / "model_index.json", image_encoder=[None, None])
    with pytest.raises(CheckpointError, match="has no image_encoder, whose features the transformer needs; fetch"):
        check_components(folder)


def test_an_image_encoder_that_is_not_used_may_have_any_width(folder):
    replace(folder, "transformer", tiny_transformer(image_encoder=False))
    replace(folder, "image_encoder", tiny_image_encoder(hidden_size=32))
    check_components(folder)


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder"])
def test_a_component_that_is_switched_off_is_told(folder, component):
    change_json(folder / "model_index.json", **{component: [None, None]})
    with pytest.raises(CheckpointError, match=rf"model_index\.json names no {component} that has weights; fetch"):
        check_components(folder)


@pytest.mark.parametrize(
    "named", [["transformers", "NoSuchModel"], ["transformers", "PreTrainedModel"], ["elsewhere", "T5EncoderModel"]]
)
def test_an_encoder_that_transformers_lacks_is_told(folder, named):
    change_json(folder / "model_index.json", text_encoder=named)
    with pytest.raises(CheckpointError, match=rf"names {named[1]} of {named[0]} for text_encoder, which is no model"):
        check_components(folder)


def test_a_tokenizer_without_a_vocabulary_is_told(folder):
    (folder / "tokenizer" / "tokenizer.json").unlink()
    check_diffusers(folder)
    with pytest.raises(CheckpointError, match=r"/tokenizer has no tokenizer\.json; the download is incomplete, fetch"):
        check_components(folder)
    (folder / "tokenizer" / "spiece.model").touch()
    check_components(folder)


def test_an_incomplete_folder_is_told_as_before(folder):
    (folder / "vae" / WEIGHTS["vae"]).unlink()
    with pytest.raises(CheckpointError, match="is missing; the download is incomplete"):
        check_components(folder)
