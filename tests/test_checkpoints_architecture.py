"""Names and sizes of the 14B, on the meta device: nothing is allocated."""

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

from magref.checkpoints.architecture import (
    check_masked_guidance,
    check_shapes,
    diffusers_key,
    magref_14b_config,
    transformer_config,
)
from magref.errors import CheckpointError
from tiny import published_names, tiny_transformer


@pytest.fixture(scope="module")
def shapes_14b():
    with init_empty_weights():
        model = WanTransformer3DModel(**magref_14b_config())
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_14b_has_the_published_size(shapes_14b):
    assert len(shapes_14b) == 1303
    assert sum(torch.Size(shape).numel() for shape in shapes_14b.values()) == 16_394_878_784


def test_conversion_names_every_tensor_of_the_14b(shapes_14b):
    original = published_names(num_layers=40)
    assert len(set(original)) == 1303
    assert {diffusers_key(name) for name in original} == shapes_14b.keys()


def test_names_agree_with_diffusers():
    original = published_names(num_layers=3)
    theirs = convert_wan_transformer_to_diffusers({name: index for index, name in enumerate(original)})
    assert {diffusers_key(name): index for index, name in enumerate(original)} == theirs


def test_the_14b_configuration_is_read_from_its_shapes(shapes_14b):
    assert transformer_config(shapes_14b) == magref_14b_config()


@pytest.mark.parametrize("image_encoder", [True, False])
def test_a_small_configuration_is_read_from_its_shapes(image_encoder):
    model = tiny_transformer(image_encoder, cross_attn_norm=False)
    config = transformer_config({k: tuple(v.shape) for k, v in model.state_dict().items()}, num_heads=2)
    assert config == {key: model.config[key] for key in config}


def test_heads_must_be_told_where_width_does_not_tell_them():
    shapes = {k: tuple(v.shape) for k, v in tiny_transformer().state_dict().items()}
    with pytest.raises(CheckpointError, match="heads must be given"):
        transformer_config(shapes)
    with pytest.raises(CheckpointError, match="5 heads"):
        transformer_config(shapes, num_heads=5)


@pytest.mark.parametrize("shapes", [{}, {"patch_embedding.weight": (4,)}])
def test_other_models_are_refused(shapes):
    with pytest.raises(CheckpointError, match="Wan transformer"):
        transformer_config(shapes)


def test_masked_guidance_needs_36_channels():
    check_masked_guidance(magref_14b_config(), "this")
    for channels, kind in ((16, "text-to-video"), (32, "another architecture")):
        with pytest.raises(CheckpointError, match=f"takes {channels} .* needs 36: it is .*{kind}"):
            check_masked_guidance(magref_14b_config() | {"in_channels": channels}, "this")


def test_differences_in_shapes_are_named():
    expected = dict.fromkeys("abcde", (2, 3))
    check_shapes(dict(expected), expected, "it")
    with pytest.raises(CheckpointError, match="it lacks b, c, d and 1 more"):
        check_shapes({"a": (2, 3)}, expected, "it")
    with pytest.raises(CheckpointError, match="unknown tensors f"):
        check_shapes(expected | {"f": (1,)}, expected, "it")
    with pytest.raises(CheckpointError, match=r"it: c has shape \(3, 2\) where \(2, 3\)"):
        check_shapes(expected | {"c": (3, 2)}, expected, "it")
