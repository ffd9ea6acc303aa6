"""`magref doctor`: says what is there, what is not whole and what would run, and never crashes itself."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from huggingface_hub import constants
from rich.console import Console

from magref import doctor
from magref.capacity import NEEDS, Device, ability
from magref.checkpoints import layout
from magref.doctor import examine, render
from magref.pipeline import MagrefPipeline
from tiny import GOLDEN, tiny_components

GB = 10**9
NANO, WHOLE = NEEDS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model in diffusers' layout, its transformer in several files."""
    folder = tmp_path_factory.mktemp("made") / "model"
    MagrefPipeline(**tiny_components()).save_pretrained(folder, max_shard_size="60KB")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    return folder


@pytest.fixture(autouse=True)
def quiet_place(tmp_path, monkeypatch):
    """No models but those of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "EMBEDDED_FOLDER", tmp_path / "embedded")


def text(report, width=300):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(report))
    return console.export_text()


def found(report, name):
    return next(entry for entry in report.models if entry.name == name)


def test_a_report(tmp_path):
    report = examine()
    assert {package.name: package.version for package in report.packages}["torch"] == torch.__version__
    assert all(package.version for package in report.packages)
    extras = {extra.name: extra for extra in report.extras}
    assert set(extras) == {"curate", "evaluate", "gguf", "int8", "ray", "train"}
    assert extras["gguf"].install == "pip install 'magref[gguf]'"
    assert extras["gguf"].installed
    cpu = next(device for device in report.devices if device.name == "cpu")
    assert cpu.memory_bytes > GB
    assert "cores" in cpu.detail
    assert report.default_dtype in ("float32", "bfloat16")
    assert report.free_bytes > 0
    assert report.folder == tmp_path
    assert report.problems == ()
    assert [entry.model for entry in report.abilities] == [need.name for need in NEEDS]
    shown = text(report)
    for part in ("Installed", "torch", "This machine", "Models", "estimates", "magref-14B"):
        assert part in shown
    assert "Problems" not in shown
    text(report, width=40)  # narrow terminals too


def test_it_is_fast_because_it_imports_little():
    code = """if True:
        import sys
        from magref.doctor import examine
        assert "torch" not in sys.modules
        examine()
        assert not {"diffusers", "transformers", "av"} & set(sys.modules)
        import magref.info, magref.hub
        assert not {"diffusers", "transformers"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_packages_and_extras(monkeypatch):
    def version(name):
        if name in ("gguf", "av"):
            raise doctor.metadata.PackageNotFoundError(name)
        if name == "peft":
            raise ValueError("damaged metadata")
        return "1.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    report = examine()
    assert {package.name for package in report.packages if package.version is None} == {"av", "peft"}
    shown = text(report)
    assert "missing; run pip install magref" in shown
    assert "not installed; run pip install 'magref[gguf]'" in shown


def test_an_extra_is_installed_where_all_its_packages_are(monkeypatch):
    here = {"tensorboard": None, "ray": "2.40"}
    monkeypatch.setattr(doctor, "_version", lambda name: here.get(name, "1.0"))
    states = {extra.name: extra.installed for extra in examine().extras}
    assert states == {"curate": True, "evaluate": True, "gguf": True, "int8": True, "ray": True, "train": False}


def test_a_broken_torch_is_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    report = examine()
    assert report.devices == ()
    assert report.abilities == ()
    assert any(line.startswith("the GPUs could not be found out (ModuleNotFoundError") for line in report.problems)
    assert "Problems" in text(report)


def test_any_probe_may_fail(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("[/bold] of a driver\nwith a long story")

    for name in ("_gpus", "_cpus", "_defaults", "_model_folders", "_cached"):
        monkeypatch.setattr(doctor, name, broken)
    monkeypatch.setattr(doctor.shutil, "disk_usage", broken)
    report = examine()
    assert len(report.problems) == 6
    assert all("(RuntimeError: [/bold] of a driver)" in line for line in report.problems)
    assert "[/bold] of a driver" in text(report)


# --- models ----------------------------------------------------------------------------------------------------------


def test_models_are_found_in_their_places(tmp_path, model):
    shutil.copytree(model, tmp_path / "models" / "mine")
    shutil.copytree(GOLDEN / "checkpoint", tmp_path / "ckpts")
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "models" / "file.txt").touch()
    report = examine([model, str(model.parent), tmp_path / "models"])
    names = [entry.name for entry in report.models]
    assert names == ["magref-nano", str(model), str(tmp_path / "models" / "mine"), "ckpts"]  # each once
    assert all(entry.problem is None for entry in report.models[1:])
    assert found(report, str(model)).disk_bytes == sum(p.stat().st_size for p in model.rglob("*") if p.is_file())
    assert f"whole, in {model}" in text(report)


def test_what_is_named_and_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    report = examine([tmp_path / "nowhere", tmp_path / "empty"])
    assert "does not exist; check its path" in found(report, str(tmp_path / "nowhere")).problem
    assert "is not a model folder" in found(report, str(tmp_path / "empty")).problem


def test_the_embedded_model(tmp_path, model, monkeypatch):
    (nano,) = examine().models
    assert "install the package anew" in nano.problem
    shutil.copytree(model, tmp_path / "embedded")
    (nano,) = examine().models
    assert nano.problem is None


@pytest.mark.parametrize("damage", ["shard missing", "shard cut off", "index without a tensor", "component missing"])
def test_what_is_not_whole_is_named(tmp_path, model, damage):
    folder = tmp_path / "models" / "mine"
    shutil.copytree(model, folder)
    shard = sorted((folder / "transformer").glob("*.safetensors"))[1]
    if damage == "shard missing":
        shard.unlink()
        says = f"{shard.name} is missing"
    elif damage == "shard cut off":
        shard.write_bytes(shard.read_bytes()[:-100])
        says = f"{shard.name} is truncated"
    elif damage == "index without a tensor":
        index = next((folder / "transformer").glob("*.index.json"))
        content = json.loads(index.read_text())
        content["weight_map"]["blocks.9.extra"] = shard.name
        index.write_text(json.dumps(content))
        says = "blocks.9.extra, absent from its shards"
    else:
        shutil.rmtree(folder / "vae")
        says = "vae is missing"
    problem = found(examine(), "models/mine").problem
    assert says in problem
    assert "again" in problem
    assert "not whole" in text(examine())


@pytest.mark.parametrize("name", [layout.VAE, layout.CONFIG, layout.IMAGE_ENCODER, "google"])
def test_half_a_published_checkpoint(tmp_path, name):
    folder = tmp_path / "ckpts" / "magref"
    shutil.copytree(GOLDEN / "checkpoint", folder)
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "is missing; the download is incomplete" in found(examine(), "ckpts/magref").problem


def test_a_download_that_has_begun(tmp_path):
    (tmp_path / "models" / "MAGREF").mkdir(parents=True)
    (tmp_path / "models" / "MAGREF" / "diffusion_pytorch_model-1.safetensors.0123abcd.part").write_bytes(b"x")
    assert found(examine(), "models/MAGREF").problem


def test_the_hubs_cache(tmp_path, model):
    for repo, source in (("someone--video", model), ("someone--text", None)):
        snapshot = tmp_path / "cache" / f"models--{repo}" / "snapshots" / ("a" * 40)
        if source:
            shutil.copytree(source, snapshot)
        else:
            snapshot.mkdir(parents=True)
            (snapshot / "config.json").write_text("{}")
        refs = snapshot.parents[1] / "refs"
        refs.mkdir()
        (refs / "main").write_text("a" * 40)
    report = examine()
    assert report.problems == ()
    assert [entry.name for entry in report.models] == ["magref-nano", "someone/video"]
    assert report.models[1].problem is None


# --- what would run --------------------------------------------------------------------------------------------------


def cpu(gb, bf16=True):
    return Device("cpu", "some CPU", gb * GB, bf16, "8 cores")


def gpu(gb):
    return Device("cuda:0", "some GPU", gb * GB, True, "compute capability 9.0")


@pytest.mark.parametrize(
    ("need", "devices", "verdict", "says"),
    [
        (NANO, [cpu(8)], "fits", "runs on this CPU in seconds"),
        (NANO, [gpu(8), cpu(8)], "fits", "fits on cuda:0 with 8.0 GB; it needs about"),
        (WHOLE, [gpu(80), cpu(64)], "fits", "fits on cuda:0 with 80.0 GB; it needs about 54.8 GB"),
        (WHOLE, [gpu(48), cpu(64)], "fits", "with --preset 48gb; it needs about 42."),
        (WHOLE, [gpu(26), cpu(64)], "fits", "with --preset 24gb; it needs about 23."),
        (WHOLE, [gpu(26), cpu(8)], "no", "of memory beside it; here are cuda:0 with 26.0 GB and 8.0 GB"),
        (WHOLE, [gpu(16), cpu(64)], "fits", "with --preset 16gb"),
        (WHOLE, [gpu(4), cpu(64)], "no", "even with --preset 16gb it needs about"),
        (WHOLE, [cpu(64)], "slow", "without a GPU one video takes a day"),
        (WHOLE, [cpu(64, bf16=False)], "no", "there is no GPU"),
        (WHOLE, [Device("mps", "M", 64 * GB, True), cpu(64)], "fits", "fits on mps"),
        (WHOLE, [Device("mps", "M", 24 * GB, True), cpu(24)], "no", "cannot run"),
        (WHOLE, [gpu(16), Device("cuda:1", "better", 80 * GB, True), cpu(64)], "fits", "cuda:1"),
    ],
)
def test_ability(need, devices, verdict, says):
    judged = ability(need, devices)
    assert judged.verdict == verdict
    assert says in judged.sentence


def test_gpus_are_described(monkeypatch):
    from types import SimpleNamespace

    properties = SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=16 * GB)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    described = examine().devices[0]
    assert described == Device("cuda:0", "Tesla T4", 16 * GB, False, "compute capability 7.5")
