"""The published layout: its numbers against the published implementation, and everything that can be wrong with it."""

import html
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from magref.checkpoints import published
from magref.checkpoints.layout import IMAGE_ENCODER, TEXT_ENCODER, TRANSFORMER, VAE
from magref.checkpoints.published import Components, check_published, is_published, load_published
from magref.errors import CheckpointError
from magref.settings import NEGATIVE_PROMPT
from tiny import GOLDEN

CHECKPOINT = GOLDEN / "checkpoint"
WEIGHTS = f"{TRANSFORMER}.safetensors"
INDEX = f"{WEIGHTS}.index.json"
PROMPT = "A man in a blue jacket sits on the green grass while a dog walks around him."
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in np.load(GOLDEN / "two_refs_unipc.npz").items()}


@pytest.fixture(scope="module")
def components() -> Components:
    return load_published(CHECKPOINT, torch_dtype=torch.float32, clip_num_heads=4)


@pytest.fixture
def folder(tmp_path) -> Path:
    """The golden checkpoint, as links that a test may replace."""
    shutil.copytree(CHECKPOINT, tmp_path / "published", copy_function=os.symlink)
    return tmp_path / "published"


def replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    path.unlink(missing_ok=True)
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)


def relative(value: torch.Tensor, truth: torch.Tensor) -> float:
    assert value.shape == truth.shape
    return float((value - truth).norm() / truth.norm())


def assert_equal(a: torch.nn.Module, b: torch.nn.Module) -> None:
    left, right = a.state_dict(), b.state_dict()
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert torch.equal(tensor, right[name]), name


def pixels(golden: dict[str, torch.Tensor]) -> torch.Tensor:
    return golden["canvas"].permute(2, 0, 1)[None].float() / 127.5 - 1  # (1, 3, H, W) in [-1, 1]


class TestAgainstThePublishedImplementation:
    @pytest.mark.parametrize(("prompt", "name"), [(PROMPT, "context"), (NEGATIVE_PROMPT, "context_null")])
    @torch.no_grad()
    def test_text_features(self, components, golden, prompt, name):
        assert components.text_tokens == 64
        clean = re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()
        tokens = components.tokenizer(clean, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
        features = components.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        assert relative(features[0, : int(tokens.attention_mask.sum())], golden[name]) < 1e-5

    @torch.no_grad()
    def test_image_features(self, components, golden):
        stretched = F.interpolate(pixels(golden), size=(224, 224), mode="bicubic", align_corners=False, antialias=False)
        normal = (stretched * 0.5 + 0.5 - CLIP_MEAN) / CLIP_STD
        features = components.image_encoder(normal, output_hidden_states=True).hidden_states[-2]
        assert relative(features, golden["clip_fea"]) < 1e-5

    @torch.no_grad()
    def test_canvas_latents(self, components, golden):
        image, vae = pixels(golden), components.vae
        # The encoder is causal: 17 frames give the first 5 of the 21 latent frames.
        video = torch.cat([image[:, :, None], torch.zeros(1, 3, 16, *image.shape[-2:])], dim=2)
        mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
        latents = (vae.encode(video).latent_dist.mode()[0] - mean) / std
        assert relative(latents, golden["y"][4:, :5]) < 1e-5

    @pytest.mark.parametrize(("text", "name"), [("context", "pred_0"), ("context_null", "pred_1")])
    @torch.no_grad()
    def test_velocity(self, components, golden, text, name):
        padded = F.pad(golden[text], (0, 0, 0, components.text_tokens - len(golden[text])))
        velocity = components.transformer(
            hidden_states=torch.cat([golden["noise"], golden["y"]])[None],
            timestep=golden["timesteps"][:1],
            encoder_hidden_states=padded[None],
            encoder_hidden_states_image=golden["clip_fea"],
        ).sample[0]
        assert relative(velocity, golden[name]) < 1e-5


class TestLayouts:
    def test_the_models_are_whole_and_ready(self, components):
        for model in (components.transformer, components.vae, components.text_encoder, components.image_encoder):
            assert not model.training
            assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
        encoder = components.text_encoder
        assert encoder.encoder.embed_tokens.weight is encoder.shared.weight

    def test_shards(self, folder, components):
        tensors = load_file(folder / WEIGHTS)
        shards = {f"{TRANSFORMER}-{i + 1:05}-of-00003.safetensors": list(tensors)[i::3] for i in range(3)}
        for file_name, names in shards.items():
            save_file({name: tensors[name] for name in names}, folder / file_name)
        weight_map = {name: file_name for file_name, names in shards.items() for name in names}
        replace(folder / INDEX, json.dumps({"metadata": {}, "weight_map": weight_map}).encode())
        (folder / WEIGHTS).unlink()
        loaded = load_published(folder, torch_dtype=torch.float32, clip_num_heads=4)
        assert_equal(loaded.transformer, components.transformer)

        (folder / next(iter(shards))).unlink()
        with pytest.raises(CheckpointError, match=f"{next(iter(shards))} is missing; the download is incomplete"):
            check_published(folder)

    def test_bfloat16_keeps_what_must_stay_float32(self, folder, components, tmp_path):
        loaded = load_published(folder, torch_dtype=torch.bfloat16, clip_num_heads=4)
        dtypes = {name: p.dtype for name, p in loaded.transformer.named_parameters()}
        assert dtypes["blocks.0.attn1.to_q.weight"] == torch.bfloat16
        assert dtypes["blocks.0.scale_shift_table"] == dtypes["blocks.0.norm2.weight"] == torch.float32
        assert loaded.transformer.dtype == loaded.text_encoder.dtype == loaded.image_encoder.dtype == torch.bfloat16
        assert_equal(loaded.vae, components.vae)
        loaded.transformer.save_pretrained(tmp_path / "saved")
        again = type(loaded.transformer).from_pretrained(tmp_path / "saved", torch_dtype=torch.bfloat16)
        assert_equal(again, loaded.transformer)

    def test_without_an_image_encoder(self, folder):
        tensors = load_file(folder / WEIGHTS)
        save({k: v for k, v in tensors.items() if "img" not in k}, folder / WEIGHTS)
        (folder / IMAGE_ENCODER).unlink()
        loaded = load_published(folder, torch_dtype=torch.float32)
        assert loaded.image_encoder is None
        assert loaded.transformer.config.image_dim is None

    def test_the_tensors_of_old_torch_files(self, folder, components):
        tensors = torch.load(folder / TEXT_ENCODER, weights_only=True)
        (folder / TEXT_ENCODER).unlink()
        torch.save(tensors, folder / TEXT_ENCODER, _use_new_zipfile_serialization=False)
        loaded = load_published(folder, torch_dtype=torch.float32, clip_num_heads=4)
        assert_equal(loaded.text_encoder, components.text_encoder)

    def test_which_folders_are_published_checkpoints(self, folder, tmp_path):
        assert is_published(folder)
        assert not is_published(tmp_path / "nowhere")
        assert not is_published(tmp_path)
        (folder / "model_index.json").write_text("{}")
        assert not is_published(folder)
        with pytest.raises(CheckpointError, match="from_pretrained"):
            check_published(folder)


class TestWhatCanBeWrong:
    def fails(self, folder: Path, words: str) -> None:
        with pytest.raises(CheckpointError, match=words) as caught:
            load_published(folder, torch_dtype=torch.float32, clip_num_heads=4)
        assert "\n" not in str(caught.value)

    def test_no_model_folder(self, folder, tmp_path):
        self.fails(tmp_path / "nowhere", "nowhere does not exist")
        self.fails(folder / "config.json", "is a file, not a model folder")
        (tmp_path / "empty").mkdir()
        self.fails(tmp_path / "empty", "is not a model folder")

    @pytest.mark.parametrize(
        "name", ["config.json", WEIGHTS, VAE, TEXT_ENCODER, IMAGE_ENCODER, "google/umt5-xxl/tokenizer.json"]
    )
    def test_a_file_is_missing(self, folder, name):
        (folder / name).unlink()
        self.fails(folder, f"{name} is missing; the download is incomplete")

    @pytest.mark.parametrize("name", [WEIGHTS, VAE, TEXT_ENCODER, IMAGE_ENCODER])
    @pytest.mark.parametrize("share", [0, 0.0001, 0.6])
    def test_a_file_is_truncated(self, folder, name, share, monkeypatch):
        monkeypatch.setattr(published, "read_tensor", lambda entry: pytest.fail("weights were read"))
        content = (CHECKPOINT / name).read_bytes()
        replace(folder / name, content[: int(share * len(content))])
        with pytest.raises(CheckpointError, match=f"{name} is truncated.* again"):
            check_published(folder)
        self.fails(folder, "is truncated")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n", "git lfs pull"),
            (b"<!DOCTYPE html><html>an error page</html>", "is not a safetensors file"),
            (b"\x08" + bytes(7) + b"not JSON" + bytes(8), "is not a safetensors file"),
        ],
    )
    def test_a_file_is_something_else(self, folder, content, words):
        replace(folder / WEIGHTS, content)
        self.fails(folder, words)

    def test_a_torch_file_is_something_else(self, folder):
        replace(folder / VAE, b"<!DOCTYPE html><html>an error page</html>")
        self.fails(folder, f"{VAE} is not a file that torch wrote")
        save([torch.zeros(2)], folder / VAE)
        self.fails(folder, "not a dictionary of tensors")
        save({"a": torch.zeros(2)}, folder / VAE)
        self.fails(folder, f"{VAE} lacks encoder.conv_in.weight")

    def test_bytes_follow_the_last_tensor(self, folder):
        replace(folder / WEIGHTS, (CHECKPOINT / WEIGHTS).read_bytes() + b"more")
        self.fails(folder, "is damaged")

    def test_the_index_is_wrong(self, folder):
        replace(folder / INDEX, b"{}")
        self.fails(folder, "lists no tensors")
        replace(folder / INDEX, b'{"weight_map": {"a": "../a.safetensors"}}')
        self.fails(folder, "not a file beside it")
        replace(folder / INDEX, json.dumps({"weight_map": {"a": WEIGHTS}}).encode())
        self.fails(folder, "lists a, absent from its shards")
        replace(folder / INDEX, b"{")
        self.fails(folder, "is not JSON")

    def test_the_config_is_wrong(self, folder):
        config = json.loads((CHECKPOINT / "config.json").read_text())
        for key, value in (("num_heads", "four"), ("num_heads", 5), ("text_len", 0)):
            replace(folder / "config.json", json.dumps(config | {key: value}).encode())
            self.fails(folder, key if value != 5 else "5 heads")

    def test_tensors_are_missing_unknown_or_of_another_shape(self, folder):
        tensors = load_file(folder / WEIGHTS)
        first = "blocks.1.self_attn.q.bias"
        save({k: v for k, v in tensors.items() if k != first}, folder / WEIGHTS)
        self.fails(folder, "lacks blocks.1.attn1.to_q.bias")
        save(tensors | {"control.weight": torch.zeros(1)}, folder / WEIGHTS)
        self.fails(folder, "unknown tensors control.weight")
        save(tensors | {first: torch.zeros(65)}, folder / WEIGHTS)
        self.fails(folder, r"blocks.1.attn1.to_q.bias has shape \(65,\) where \(64,\)")

    @pytest.mark.parametrize("name", [VAE, TEXT_ENCODER, IMAGE_ENCODER])
    def test_torch_files_of_another_shape(self, folder, name):
        tensors = torch.load(folder / name, weights_only=True)
        last = [key for key, tensor in tensors.items() if tensor.ndim == 1 and "textual" not in key][-1]
        save(tensors | {last: torch.zeros(5)}, folder / name)
        self.fails(folder, r"has shape \(5,\)")

    def test_a_text_to_video_transformer(self, folder):
        tensors = load_file(folder / WEIGHTS)
        tensors["patch_embedding.weight"] = tensors["patch_embedding.weight"][:, :16].contiguous()
        save(tensors, folder / WEIGHTS)
        self.fails(folder, "takes 16 input channels where masked guidance needs 36: it is a text-to-video model")

    def test_a_wrong_number_of_clip_heads(self, folder):
        with pytest.raises(CheckpointError, match="clip_num_heads"):
            load_published(folder, clip_num_heads=7)

    def test_a_tokenizer_that_cannot_be_read(self, folder):
        replace(folder / "google/umt5-xxl/tokenizer.json", b"{}")
        self.fails(folder, "the tokenizer in .* cannot be loaded")

    @pytest.mark.parametrize("new_format", [True, False])
    def test_code_in_a_pickle_does_not_run(self, folder, tmp_path, new_format):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "trapped"),)

        (folder / TEXT_ENCODER).unlink()
        torch.save({"a": Trap()}, folder / TEXT_ENCODER, _use_new_zipfile_serialization=new_format)
        self.fails(folder, "could run code, so it is refused")
        assert not (tmp_path / "trapped").exists()
