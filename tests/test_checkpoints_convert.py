"""From the published layout to diffusers' layout: equal to the bit, in one piece or not at all."""

import errno
import json
import os
import shutil
import weakref

import pytest
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from safetensors import safe_open
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, UMT5EncoderModel

from magref.checkpoints import convert, published
from magref.checkpoints.convert import convert_published
from magref.checkpoints.layout import check_diffusers, check_published, stored_dtypes
from magref.checkpoints.published import load_published
from magref.errors import CheckpointError, OutputError, ResourceError
from magref.settings import GenerationDefaults
from tiny import GOLDEN

CHECKPOINT = GOLDEN / "checkpoint"
MODELS = {
    "transformer": WanTransformer3DModel,
    "vae": AutoencoderKLWan,
    "text_encoder": UMT5EncoderModel,
    "image_encoder": CLIPVisionModel,
}


def assert_equal(a: torch.nn.Module, b: torch.nn.Module) -> None:
    left, right = a.state_dict(), b.state_dict()
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert torch.equal(tensor, right[name]), name


def reload(folder, component: str) -> torch.nn.Module:
    dtype = getattr(torch, stored_dtypes(folder)[component])
    model, info = MODELS[component].from_pretrained(
        folder / component, torch_dtype=dtype, output_loading_info=True, local_files_only=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model


def configuration(model: torch.nn.Module) -> dict:
    """Diffusers' or transformers' configuration, without what says where the model came from."""
    values = model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)
    beside = {"architectures", "dtype", "_name_or_path", "_use_default_values"}
    return {key: value for key, value in values.items() if key not in beside}


def assert_untouched(parent) -> None:
    assert not list(parent.glob(".*")), "something was left behind"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_converted_equals_what_is_loaded(tmp_path, dtype):
    seen = []
    result = convert_published(
        CHECKPOINT,
        tmp_path / "deep" / "out",
        dtype=dtype,
        clip_num_heads=4,
        progress=lambda *step: seen.append(step),
    )
    assert result == tmp_path / "deep" / "out"
    assert_untouched(result.parent)
    loaded = load_published(CHECKPOINT, torch_dtype=dtype, clip_num_heads=4)
    for component in MODELS:
        again = reload(result, component)
        assert_equal(again, getattr(loaded, component))
        for key, value in configuration(getattr(loaded, component)).items():
            assert json.dumps(value) == json.dumps(configuration(again)[key]), key
    assert stored_dtypes(result) == {
        "transformer": str(dtype)[6:],
        "vae": "float32",
        "text_encoder": str(dtype)[6:],
        "image_encoder": str(dtype)[6:],
    }
    assert [step[0] for step in seen] == sorted((step[0] for step in seen), key=list(MODELS).index)
    assert (
        seen[-1][1]
        == seen[-1][2]
        == sum(p.stat().st_size for p in result.glob("*/*.safetensors"))
        - sum(8 + int.from_bytes(p.read_bytes()[:8], "little") for p in result.glob("*/*.safetensors"))
    )


def test_the_folder_is_what_diffusers_expects(tmp_path):
    folder = convert_published(CHECKPOINT, tmp_path / "out", clip_num_heads=4)
    check_diffusers(folder)
    index = json.loads((folder / "model_index.json").read_text())
    assert index.pop("_diffusers_version")
    defaults = index.pop("generation_defaults")
    assert GenerationDefaults(**defaults) == GenerationDefaults(text_tokens=64)
    tokenizer = index.pop("tokenizer")
    assert index == {
        "_class_name": "MagrefPipeline",
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "image_encoder": ["transformers", "CLIPVisionModel"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    }
    scheduler = UniPCMultistepScheduler.from_pretrained(folder / "scheduler")
    assert (scheduler.config.prediction_type, scheduler.config.use_flow_sigmas, scheduler.config.flow_shift) == (
        "flow_prediction",
        True,
        1.0,
    )
    import transformers

    again = getattr(transformers, tokenizer[1]).from_pretrained(folder / "tokenizer")
    original = PreTrainedTokenizerFast.from_pretrained(CHECKPOINT / "google/umt5-xxl")
    assert again("A dog walks.", padding="max_length", max_length=20).input_ids == (
        original("A dog walks.", padding="max_length", max_length=20).input_ids
    )


def test_shards(tmp_path):
    folder = convert_published(CHECKPOINT, tmp_path / "out", clip_num_heads=4, max_shard_size=150_000)
    files = sorted((folder / "transformer").glob("*.safetensors"))
    assert len(files) > 2
    for file in files:
        with safe_open(file, "pt") as opened:  # safetensors' own reader accepts what our writer wrote
            names = list(opened.keys())
            size = sum(opened.get_tensor(name).nbytes for name in names)
        assert size <= 150_000
    loaded = load_published(CHECKPOINT, clip_num_heads=4)
    for component in MODELS:
        assert_equal(reload(folder, component), getattr(loaded, component))
    files[1].unlink()
    with pytest.raises(CheckpointError, match=f"{files[1].name} is missing"):
        check_diffusers(folder)


def test_two_tensors_at_most_are_in_memory(tmp_path, monkeypatch):
    alive, most, largest = 0, 0, 0
    read = published.read_tensor

    def release(nbytes):
        nonlocal alive
        alive -= nbytes

    def counted(entry):
        nonlocal alive, most, largest
        tensor = read(entry)
        alive += tensor.nbytes
        most, largest = max(most, alive), max(largest, tensor.nbytes)
        weakref.finalize(tensor, release, tensor.nbytes)
        return tensor

    monkeypatch.setattr(published, "read_tensor", counted)
    convert_published(CHECKPOINT, tmp_path / "out", dtype=torch.float32, clip_num_heads=4)
    assert 0 < most <= 2 * largest


def test_a_diffusers_folder_that_is_not_whole(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        check_diffusers(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no model_index\.json"):
        check_diffusers(tmp_path)
    folder = convert_published(CHECKPOINT, tmp_path / "out", clip_num_heads=4)
    weights = folder / "text_encoder" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        check_diffusers(folder)
    weights.write_bytes(whole)
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"vae.config\.json is missing"):
        check_diffusers(folder)
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(CheckpointError, match="scheduler is missing"):
        check_diffusers(folder)


def test_nothing_is_replaced_unasked(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="out exists"):
        convert_published(CHECKPOINT, out, clip_num_heads=4)
    with pytest.raises(OutputError, match="is not a model"):
        convert_published(CHECKPOINT, out, clip_num_heads=4, overwrite=True)
    assert (out / "precious.txt").read_text() == "mine"
    (out / "model_index.json").write_text("{}")
    convert_published(CHECKPOINT, out, clip_num_heads=4, overwrite=True)
    check_diffusers(out)
    assert not (out / "precious.txt").exists()
    assert_untouched(tmp_path)


@pytest.mark.parametrize("inside", [".", ".."])
def test_the_source_is_never_the_destination(tmp_path, inside):
    source = tmp_path / "models" / "published"
    shutil.copytree(CHECKPOINT, source, copy_function=os.symlink)
    (source / inside / "other").write_text("")
    with pytest.raises(OutputError, match="is to be converted"):
        convert_published(source, source / inside, clip_num_heads=4, overwrite=True)
    check_published(source)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interruption_leaves_everything_as_it_was(tmp_path, error, overwrite):
    out = tmp_path / "out"
    if overwrite:
        out.mkdir()
        (out / "model_index.json").write_text('{"old": 1}')

    def interrupt(component, done, total):
        if component == "text_encoder":
            raise error

    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError
    with pytest.raises(expected) as caught:
        convert_published(CHECKPOINT, out, clip_num_heads=4, overwrite=overwrite, progress=interrupt)
    if expected is OutputError:
        assert "No space left on device" in str(caught.value)
    assert_untouched(tmp_path)
    assert out.exists() == overwrite
    if overwrite:
        assert (out / "model_index.json").read_text() == '{"old": 1}'


def test_the_earlier_model_comes_back_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    out = convert_published(CHECKPOINT, tmp_path / "out", clip_num_heads=4)
    rename = convert.Path.rename

    def fail_for_the_new_one(path, target):
        if path.name.endswith(".partial"):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(convert.Path, "rename", fail_for_the_new_one)
    with pytest.raises(OutputError, match="Permission denied"):
        convert_published(CHECKPOINT, out, clip_num_heads=4, overwrite=True)
    check_diffusers(out)
    assert_untouched(tmp_path)


def test_room_on_the_disk_is_checked_first(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"has 0\.0 GB free and the model needs 0\.1 GB"):
        convert_published(CHECKPOINT, tmp_path / "out", clip_num_heads=4)
    assert not any(tmp_path.iterdir())


def test_a_broken_checkpoint_writes_nothing(tmp_path):
    with pytest.raises(CheckpointError):
        convert_published(tmp_path / "nowhere", tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_destination_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        convert_published(CHECKPOINT, tmp_path / "file" / "out", clip_num_heads=4)
