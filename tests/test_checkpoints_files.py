"""Transformers in one file, of every kind in which they are shared, and LoRA files."""

import importlib.util

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from magref.checkpoints.files import load_transformer_file
from magref.errors import CheckpointError, ResourceError
from tiny import TEXT_DIM, published_state, tiny_transformer

FP8 = torch.float8_e4m3fn


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


@pytest.fixture(scope="module")
def published(model):
    return published_state(model)


def load(path, model, dtype=torch.float32):
    return load_transformer_file(path, like=model.config, torch_dtype=dtype)


def velocity(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    config = model.config
    with torch.no_grad():
        return model(
            hidden_states=torch.randn(1, config.in_channels, 2, 4, 4, generator=generator),
            timestep=torch.tensor([500]),
            encoder_hidden_states=torch.randn(1, 7, config.text_dim, generator=generator),
            encoder_hidden_states_image=torch.randn(1, 50, config.image_dim, generator=generator),
        ).sample


def assert_equal(model, state: dict[str, torch.Tensor]) -> None:
    loaded = model.state_dict()
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor), name


def is_fp8_weight(name: str, tensor: torch.Tensor) -> bool:
    return tensor.ndim == 2 and name.endswith(".weight")


class TestSafetensors:
    @pytest.mark.parametrize("prefix", ["", "model.", "diffusion_model.", "model.diffusion_model."])
    @pytest.mark.parametrize("names", ["original", "diffusers"])
    def test_every_prefix_and_both_kinds_of_names(self, tmp_path, model, published, prefix, names):
        state = published if names == "original" else model.state_dict()
        save_file({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "a.safetensors")
        loaded = load(tmp_path / "a.safetensors", model)
        assert_equal(loaded, model.state_dict())
        assert torch.equal(velocity(loaded), velocity(model))
        assert not loaded.training

    def test_other_models_in_the_same_file_are_left_out(self, tmp_path, model, published):
        tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in published.items()}
        tensors |= {"first_stage_model.conv1.weight": torch.zeros(3), "text_encoders.umt5.shared": torch.zeros(2)}
        save_file(tensors, tmp_path / "all.safetensors")
        assert_equal(load(tmp_path / "all.safetensors", model), model.state_dict())

    def test_sizes_are_read_from_the_tensors(self, tmp_path):
        wide = tiny_transformer(attention_head_dim=128, added_kv_proj_dim=256, num_layers=1)
        save_file(published_state(wide), tmp_path / "a.safetensors")
        loaded = load_transformer_file(tmp_path / "a.safetensors", torch_dtype=torch.float32)
        assert_equal(loaded, wide.state_dict())
        assert loaded.config.num_attention_heads == 2

    def test_plain_fp8(self, tmp_path, model, published):
        stored = {k: v.to(FP8) if is_fp8_weight(k, v) else v for k, v in published.items()}
        save_file(stored, tmp_path / "fp8.safetensors")
        rounded = {k: v.to(FP8).float() if is_fp8_weight(k, v) else v for k, v in model.state_dict().items()}
        loaded = load(tmp_path / "fp8.safetensors", model)
        assert_equal(loaded, rounded)
        assert 0 < (velocity(loaded) - velocity(model)).norm() / velocity(model).norm() < 0.2
        halved = load(tmp_path / "fp8.safetensors", model, torch.bfloat16)
        assert halved.dtype == torch.bfloat16
        assert halved.scale_shift_table.dtype == torch.float32

    @pytest.mark.parametrize("per_row", [False, True])
    @pytest.mark.parametrize("suffix", ["scale_weight", "weight_scale"])
    def test_scaled_fp8(self, tmp_path, model, published, per_row, suffix):
        stored = {"scaled_fp8": torch.empty(0, dtype=FP8)}
        for name, tensor in published.items():
            stored[name] = tensor
            if is_fp8_weight(name, tensor):
                scale = (tensor.abs().amax(dim=1, keepdim=True) if per_row else tensor.abs().max()) / 448
                stored[name] = (tensor / scale).to(FP8)
                layer = name.removesuffix(".weight")
                stored |= {f"{layer}.{suffix}": scale, f"{layer}.scale_input": torch.ones(())}
        save_file(stored, tmp_path / "scaled.safetensors")
        loaded = load(tmp_path / "scaled.safetensors", model)
        for name, tensor in model.state_dict().items():
            # e4m3 has 3 bits after the leading one: half a step is 1/16 of a number, or 2^-10 of the scale.
            torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=1 / 16, atol=1e-4)
        assert (velocity(loaded) - velocity(model)).norm() / velocity(model).norm() < 0.1

    def test_scales_that_do_not_fit(self, tmp_path, model, published):
        name = "blocks.0.ffn.0"
        eight = {f"{name}.weight": published[f"{name}.weight"].to(FP8), "scaled_fp8": torch.empty(0, dtype=FP8)}
        for extra, words in (
            ({}, "blocks.0.ffn.net.0.proj.weight has no scale"),
            ({f"{name}.scale_weight": torch.ones(3)}, r"scale of shape \(3,\)"),
            ({f"{name}.scale_weight": torch.ones(()), "x.scale_weight": torch.ones(())}, "no weight for x.weight"),
        ):
            save_file(published | eight | extra, tmp_path / "bad.safetensors")
            with pytest.raises(CheckpointError, match=words):
                load(tmp_path / "bad.safetensors", model)

    def test_another_quantisation(self, tmp_path, model, published):
        save_file(published | {"blocks.0.ffn.0.weight": torch.zeros(64, 32, dtype=torch.int8)}, tmp_path / "a")
        with pytest.raises(CheckpointError, match="as int8, a quantisation that is not known"):
            load(tmp_path / "a", model)


class TestWhatCanBeWrong:
    def fails(self, path, words, **settings):
        with pytest.raises(CheckpointError, match=words) as caught:
            load_transformer_file(path, **settings)
        assert "\n" not in str(caught.value)

    def test_no_such_file(self, tmp_path):
        self.fails(tmp_path / "a.safetensors", "does not exist")
        self.fails(tmp_path, "is a folder")

    def test_not_weights(self, tmp_path):
        (tmp_path / "a.safetensors").write_text("certainly not a safetensors file")
        self.fails(tmp_path / "a.safetensors", "is not a safetensors file")

    def test_truncated(self, tmp_path, model, published):
        path = tmp_path / "a.safetensors"
        save_file(published, path)
        path.write_bytes(path.read_bytes()[:-1])
        self.fails(path, "is truncated", like=model.config)

    def test_no_transformer(self, tmp_path):
        save_file({"model.conv.weight": torch.zeros(2)}, tmp_path / "a.safetensors")
        self.fails(tmp_path / "a.safetensors", "holds no Wan transformer")

    def test_a_text_to_video_transformer(self, tmp_path):
        small = tiny_transformer(image_encoder=False, in_channels=16)
        save_file(published_state(small), tmp_path / "t2v.safetensors")
        self.fails(tmp_path / "t2v.safetensors", "t2v.safetensors takes 16 .* needs 36", like=small.config)

    def test_a_transformer_of_another_size(self, tmp_path, model):
        save_file(published_state(tiny_transformer(ffn_dim=32)), tmp_path / "a.safetensors")
        self.fails(tmp_path / "a.safetensors", "has ffn_dim 32 .* has 64", like=model.config)
        self.fails(tmp_path / "a.safetensors", "heads must be given")

    def test_one_tensor_of_another_shape(self, tmp_path, model, published):
        save_file(published | {"blocks.1.modulation": torch.zeros(1, 5, 32)}, tmp_path / "a.safetensors")
        self.fails(tmp_path / "a.safetensors", "blocks.1.scale_shift_table has shape", like=model.config)

    def test_tensors_missing(self, tmp_path, model, published):
        kept = {name: tensor for name, tensor in published.items() if "blocks.1.cross_attn.k_img" not in name}
        save_file(kept, tmp_path / "a.safetensors")
        self.fails(tmp_path / "a.safetensors", "lacks blocks.1.attn2.add_k_proj.bias", like=model.config)


class TestGguf:
    @pytest.fixture
    def path(self, tmp_path, published):
        gguf = pytest.importorskip("gguf")
        writer = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "wan")
        quantised = gguf.GGMLQuantizationType.Q8_0
        for name, tensor in published.items():
            values = np.ascontiguousarray(tensor.numpy())
            if is_fp8_weight(name, tensor) and values.shape[1] % 32 == 0 and name.startswith("blocks."):
                writer.add_tensor(name, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
            else:
                writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / "a.gguf"

    def test_it_loads_and_runs(self, path, model):
        loaded = load(path, model)
        weight = loaded.blocks[0].attn1.to_q.weight
        assert weight.dtype == torch.uint8  # still in blocks: 32 numbers in 34 bytes
        assert weight.nbytes == 32 * 34
        assert loaded.config.text_dim == TEXT_DIM
        assert 0 < (velocity(loaded) - velocity(model)).norm() / velocity(model).norm() < 0.05

    def test_truncated(self, path, model):
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(CheckpointError, match="damaged or truncated GGUF"):
            load(path, model)

    def test_of_another_size(self, path):
        with pytest.raises(CheckpointError, match="has ffn_dim 64"):
            load(path, tiny_transformer(ffn_dim=32))

    def test_without_the_package(self, path, model, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ResourceError, match=r"pip install 'magref\[gguf\]'"):
            load(path, model)
