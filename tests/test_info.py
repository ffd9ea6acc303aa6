"""`magref info`: every kind of model is recognised and counted, from headers alone."""

import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from magref import info, models
from magref.checkpoints import layout
from magref.errors import CheckpointError, ResourceError
from magref.geometry import Strides
from magref.info import describe, render
from magref.pipeline import MagrefPipeline
from magref.settings import GenerationDefaults
from tiny import GOLDEN, published_state, tiny_components, tiny_transformer

DEFAULTS = GenerationDefaults(height=64, width=96, num_frames=17, num_inference_steps=7, solver="dpm++")


def save(folder, *, image_encoder=True, **options):
    components = tiny_components(image_encoder)
    components["transformer"].to(torch.bfloat16)
    MagrefPipeline(**components, generation_defaults=DEFAULTS.model_dump()).save_pretrained(folder, **options)
    return folder, components


def text(renderable):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "40KB"}])
def test_diffusers_layout(tmp_path, options):
    folder, components = save(tmp_path / "model", **options)
    (folder / "README.md").write_text(
        "---\ntags: [video]\nlicense: apache-2.0\n---\n# A model\nlicense: none of this\n"
    )
    found = describe(folder)
    assert (found.layout, found.path, found.defaults) == ("diffusers", folder, DEFAULTS)
    networks = ("transformer", "vae", "text_encoder", "image_encoder")
    counted = {part.name: part.parameters for part in found.components}
    # umT5's embedding has two names and is stored once.
    assert counted == {name: sum(p.numel() for p in components[name].parameters()) for name in networks}
    assert found.parameters == sum(counted.values())
    precisions = {part.name: part.dtypes for part in found.components}
    assert precisions["transformer"][0] == "bfloat16"
    assert precisions["vae"] == ("float32",)
    assert found.disk_bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert found.strides == Strides(4, 8, 2)
    assert found.image_encoder
    assert (found.licence, found.model_card) == ("apache-2.0", folder / "README.md")
    shown = text(render(found))
    for part in (f"{found.parameters:,}", "bfloat16", "apache-2.0", "dpm++", "patch 2", "README.md", "64"):
        assert part in shown


def test_without_an_image_encoder_and_a_card(tmp_path):
    folder, _ = save(tmp_path / "model", image_encoder=False)
    found = describe(str(folder))
    assert not found.image_encoder
    assert (found.licence, found.model_card) == (None, None)
    assert "image_encoder" not in {part.name for part in found.components}


def test_no_weight_is_read(tmp_path, monkeypatch):
    folder, _ = save(tmp_path / "model")

    def loaded(*_, **__):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("safetensors.safe_open", loaded)
    monkeypatch.setattr("torch.load", loaded)
    monkeypatch.setattr(MagrefPipeline, "from_pretrained", loaded)
    describe(folder)


def test_no_name_is_the_embedded_model(tmp_path, monkeypatch):
    folder, _ = save(tmp_path / "model", image_encoder=False)
    monkeypatch.setattr(models, "EMBEDDED_FOLDER", folder)
    monkeypatch.setattr(info, "EMBEDDED_FOLDER", folder)
    for name in (None, "magref-nano"):
        found = describe(name)
        assert (found.name, found.layout, found.path) == ("magref-nano", "embedded", folder)


def test_published_layout():
    found = describe(GOLDEN / "checkpoint")
    defaults = GenerationDefaults(text_tokens=64)  # which its config.json states
    assert (found.layout, found.strides, found.defaults) == ("published", Strides(), defaults)
    assert found.image_encoder
    parts = {part.name: part for part in found.components}
    pipe = MagrefPipeline.from_published(GOLDEN / "checkpoint", torch_dtype=torch.float32, clip_num_heads=4)
    for name in ("transformer", "vae", "text_encoder"):
        assert parts[name].parameters == sum(p.numel() for p in getattr(pipe, name).parameters()), name
    stored = torch.load(GOLDEN / "checkpoint" / layout.IMAGE_ENCODER, weights_only=True)
    assert parts["image_encoder"].parameters == sum(t.numel() for n, t in stored.items() if n.startswith("visual."))
    assert parts["text_encoder"].dtypes == ("float32",)


@pytest.mark.parametrize(
    ("dtype", "prefix"), [(torch.bfloat16, ""), (torch.float8_e4m3fn, "model.diffusion_model."), (torch.float32, "")]
)
def test_single_file(tmp_path, dtype, prefix):
    transformer = tiny_transformer()
    state = {f"{prefix}{name}": tensor.to(dtype) for name, tensor in published_state(transformer).items()}
    beside = {f"{prefix}blocks.0.ffn.0.scale_weight": torch.ones(64), "scaled_fp8": torch.zeros(2)}
    path = tmp_path / "a.safetensors"
    save_file(state | beside, path)
    found = describe(path)
    assert (found.layout, found.name, found.strides, found.defaults) == ("single file", "a.safetensors", None, None)
    assert found.parameters == sum(p.numel() for p in transformer.parameters())
    assert found.components[0].dtypes == (str(dtype).removeprefix("torch."),)
    assert found.image_encoder
    assert "single file" in text(render(found))
    assert not describe(_saved(tmp_path / "b.safetensors", tiny_transformer(False).state_dict())).image_encoder


def _saved(path, state):
    save_file(state, path)
    return path


def test_lora_file(tmp_path):
    path = _saved(tmp_path / "a.safetensors", {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 32)})
    assert (describe(path).layout, describe(path).parameters) == ("LoRA", 128)


def test_gguf_file(tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf")
    import numpy as np

    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "wan")
    writer.add_tensor("patch_embedding.weight", np.zeros((32, 36, 1, 2), np.float16))
    writer.add_tensor("img_emb.proj.0.weight", np.zeros(24, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = describe(path)
    assert (found.layout, found.parameters, found.image_encoder) == ("GGUF", 32 * 36 * 2 + 24, True)
    assert found.components[0].dtypes == ("F16", "F32")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=r"a\.gguf is a damaged or truncated GGUF file; download this file again"):
        describe(path)
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(ResourceError, match=r"needs an extra package; run pip install 'magref\[gguf\]'"):
        describe(path)


def test_a_model_on_the_hub_that_is_not_here(tmp_path, monkeypatch):
    folder, _ = save(tmp_path / "model")
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    found = describe("someone/model")
    assert (found.layout, found.components, found.defaults) == ("hub", (), DEFAULTS)
    assert "magref download someone/model fetches them" in text(render(found))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none at all", None, "neither a folder here nor a hub id .*; check its path"),
        (
            "a.safetensors",
            b"no weights in this file",
            r"a\.safetensors is not a safetensors file; give one, or a folder",
        ),
        ("a.txt", b"x", r"a\.txt is truncated after 1 bytes; download this file again"),
    ],
)
def test_what_is_no_model(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
        name = tmp_path / name
    with pytest.raises(CheckpointError, match=says) as caught:
        describe(name)
    assert "\n" not in str(caught.value)


def test_other_weights_and_broken_folders(tmp_path):
    path = _saved(tmp_path / "a.safetensors", {"wte.weight": torch.zeros(4)})
    with pytest.raises(CheckpointError, match=r"a\.safetensors holds no Wan transformer and no LoRA; give another"):
        describe(path)
    with pytest.raises(CheckpointError, match=layout.MODEL_INDEX):
        describe(tmp_path)
    folder, _ = save(tmp_path / "model")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"vae/diffusion_pytorch_model\.safetensors is truncated.*download"):
        describe(folder)
    index = folder / layout.MODEL_INDEX
    index.write_text(json.dumps({**json.loads(index.read_text()), "vae": [None, None]}))
    assert {part.name for part in describe(folder).components} == {"transformer", "text_encoder", "image_encoder"}
