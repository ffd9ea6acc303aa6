"""Finding and loading models, and what is said about one that is unknown, incomplete or damaged."""

import json
import os
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

from magref import MagrefPipeline
from magref.errors import CheckpointError
from magref.geometry import Strides
from magref.models import find_model, load_model, stored_defaults, stored_strides
from magref.settings import GenerationDefaults
from tiny import GOLDEN, published_state, tiny_components, tiny_transformer

DEFAULTS = GenerationDefaults(height=64, width=96, num_frames=17, num_inference_steps=12, drop_frames=0, fps=8.0)
WEIGHTS = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A whole model, its transformer in several shards."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipe = MagrefPipeline(**tiny_components(), generation_defaults=DEFAULTS.model_dump())
    pipe.save_pretrained(folder)
    shutil.rmtree(folder / "transformer")
    pipe.transformer.save_pretrained(folder / "transformer", max_shard_size="100KB")
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "transformer").glob("*.safetensors"))


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- finding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder_in_diffusers_layout_is_found_with_its_defaults(saved, as_text):
    assert len(shards(saved)) > 1
    found = find_model(str(saved) if as_text else saved)
    assert (found.name, found.folder, found.layout) == (str(saved), saved, "diffusers")
    assert found.defaults == DEFAULTS
    assert found.strides == Strides()


def test_a_published_folder_is_found_with_the_published_defaults():
    found = find_model(GOLDEN / "checkpoint")
    defaults = GenerationDefaults(text_tokens=64)  # which its config.json states
    assert (found.layout, found.defaults, found.strides) == ("published", defaults, Strides())


def test_a_tilde_means_the_home_folder(saved, monkeypatch):
    monkeypatch.setenv("HOME", str(saved.parent))
    assert find_model("~/tiny").folder == saved


def test_a_model_that_says_nothing_makes_what_the_published_one_makes(folder):
    index = folder / "model_index.json"
    change_json(index, generation_defaults=None)
    assert find_model(folder).defaults == GenerationDefaults()
    stored = json.loads(index.read_text())
    del stored["generation_defaults"]
    index.write_text(json.dumps(stored))
    assert find_model(folder).defaults == GenerationDefaults()


def test_strides_come_from_the_components(folder):
    change_json(folder / "vae" / "config.json", scale_factor_temporal=8, scale_factor_spatial=16)
    change_json(folder / "transformer" / "config.json", patch_size=[1, 1, 1])
    assert stored_strides(folder) == Strides(temporal=8, spatial=16, patch=1)


# --- what is wrong with it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing-here", "/nowhere/model", "a/b/c", ""])
def test_an_unknown_model_is_told_with_the_remedy(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"neither a folder here nor a hub id|not a model folder"):
        find_model(name)


def test_a_hub_model_without_a_connection_is_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as caught:
        find_model("nobody/has-this-model")
    assert "the model nobody/has-this-model is not a folder here and cannot be fetched from the hub" in str(
        caught.value
    )
    assert str(caught.value).endswith("check the name and the connection, or give a folder")


def test_a_hub_model_whose_weights_are_not_here_is_not_fetched_unasked(saved, tmp_path, monkeypatch):
    folder = tmp_path / "snapshot"
    shutil.copytree(saved, folder)
    next(folder.rglob("*.safetensors")).unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    with pytest.raises(CheckpointError, match="the weights of a/b are not here; run magref download a/b and give"):
        load_model(find_model("a/b"), torch.float32)


def test_a_file_is_no_model(saved):
    with pytest.raises(CheckpointError, match="is a file, not a model folder; give the folder that holds the model"):
        find_model(shards(saved)[0])


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a model folder.* has no model_index\.json"):
        find_model(tmp_path)


def delete_shard(folder):
    shards(folder)[1].unlink()
    return shards(folder)[0].with_name(f"{WEIGHTS}-00002"), "is missing; the download is incomplete"


def truncate_shard(folder):
    os.truncate(shards(folder)[1], shards(folder)[1].stat().st_size - 100)
    return shards(folder)[1], "is truncated.*download this file again"


def empty_shard(folder):
    os.truncate(shards(folder)[0], 0)
    return shards(folder)[0], "is truncated.*download this file again"


def delete_part(folder):
    shutil.rmtree(folder / "vae")
    return folder / "vae", "is missing; the download is incomplete"


def delete_weights(folder):
    (folder / "vae" / f"{WEIGHTS}.safetensors").unlink()
    return folder / "vae" / f"{WEIGHTS}.safetensors", "is missing; the download is incomplete"


def delete_config(folder):
    (folder / "text_encoder" / "config.json").unlink()
    return folder / "text_encoder" / "config.json", "is missing; the download is incomplete"


def delete_tokenizer_settings(folder):
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    return folder / "tokenizer" / "tokenizer_config.json", "is missing; the download is incomplete"


def damage_index(folder):
    (folder / "model_index.json").write_text('{"_class_name": "Magref')
    return folder / "model_index.json", "is not JSON that can be read; download this file again"


def damage_config(folder):
    (folder / "vae" / "config.json").write_bytes(b"\xff\xfe\x00")
    return folder / "vae" / "config.json", "is not JSON that can be read; download this file again"


def list_for_index(folder):
    (folder / "model_index.json").write_text("[]")
    return folder / "model_index.json", "is not a JSON object; download this file again"


@pytest.mark.parametrize(
    "damage",
    [
        delete_shard,
        truncate_shard,
        empty_shard,
        delete_part,
        delete_weights,
        delete_config,
        delete_tokenizer_settings,
        damage_index,
        damage_config,
        list_for_index,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_half_downloaded_or_damaged_model_is_told_by_its_file(folder, damage):
    find_model(folder)
    path, sentence = damage(folder)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        find_model(folder)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ({"height": "480"}, "height"),
        ({"colour": "red", "fps": 0}, "colour, fps|fps, colour"),
        ({"solver": "euler"}, "solver"),
    ],
)
def test_defaults_that_cannot_be_used_are_named(folder, stored, named):
    change_json(folder / "model_index.json", generation_defaults=stored)
    with pytest.raises(
        CheckpointError, match=rf"generation_defaults that cannot be used \(({named})\); mend these keys"
    ):
        find_model(folder)


@pytest.mark.parametrize("stored", [[1, 2], "abc", 5])
def test_defaults_that_are_no_object_are_told(folder, stored):
    change_json(folder / "model_index.json", generation_defaults=stored)
    with pytest.raises(CheckpointError, match="generation_defaults that are no JSON object; download this file again"):
        find_model(folder)


def test_what_is_missing_or_no_json_is_told(folder):
    for damaged in (None, "{", "5"):
        (folder / "model_index.json").unlink(missing_ok=True)
        if damaged is not None:
            (folder / "model_index.json").write_text(damaged)
        with pytest.raises(CheckpointError, match=r"model_index\.json is"):
            stored_defaults(folder)


def test_half_a_published_download_is_told_by_its_file(tmp_path):
    folder = tmp_path / "published"
    shutil.copytree(GOLDEN / "checkpoint", folder, copy_function=os.symlink)
    (folder / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(CheckpointError, match=r"Wan2.1_VAE.pth is missing; the download is incomplete"):
        find_model(folder)


# --- loading ---------------------------------------------------------------------------------------------------------


def assert_same_weights(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_found_model_loads(saved):
    pipe = load_model(find_model(saved), torch.float32)
    for name, part in tiny_components().items():
        if isinstance(part, torch.nn.Module):
            assert_same_weights(getattr(pipe, name), part)
    assert pipe.defaults == DEFAULTS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_but_the_vae_load_in_the_precision_asked_for(saved, dtype):
    pipe = load_model(find_model(saved), dtype)
    assert {part.dtype for part in (pipe.transformer, pipe.text_encoder, pipe.image_encoder)} == {dtype}
    assert pipe.vae.dtype == torch.float32


def test_a_single_file_takes_the_transformers_place(saved, tmp_path):
    other = tiny_transformer(seed=9)
    save_file(published_state(other), tmp_path / "other.safetensors")
    pipe = load_model(find_model(saved), torch.float32, transformer_file=tmp_path / "other.safetensors")
    assert_same_weights(pipe.transformer, other)
    assert_same_weights(pipe.vae, tiny_components()["vae"])


def test_a_single_file_of_another_size_is_refused(saved, tmp_path):
    save_file(published_state(tiny_transformer(num_layers=3)), tmp_path / "deep.safetensors")
    with pytest.raises(CheckpointError, match="has num_layers 3 where the model it is to replace has 2"):
        load_model(find_model(saved), torch.float32, transformer_file=tmp_path / "deep.safetensors")


def test_a_single_file_that_is_not_there_is_told(saved, tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors does not exist; check its path"):
        load_model(find_model(saved), torch.float32, transformer_file=tmp_path / "nothing.safetensors")
