"""What a run keeps: when it is stopped, when the disk is full, when a step is saved again; and what it exports."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from magref.checkpoints.convert import convert_published
from magref.errors import OutputError
from magref.quantization import quantize_layers
from magref.sidecar import weights_sha256
from magref.training import trainer as trainer_module
from magref.training.checkpoints import Seen, checkpoints, load_checkpoint, save_checkpoint
from magref.training.export import export_model
from magref.training.loading import find_transformer
from magref.training.lora import quantize
from magref.training.meter import Meter, stop_requests
from magref.training.parallel import Team
from magref.training.recipe import LoraRecipe
from magref.training.setup import make_cache, make_encoders, make_transformer, prepare
from magref.training.skipped import Skipped
from magref.training.trainer import Run, train
from magref.training.validation import Stopped, cases_of, validation_videos
from tiny import GOLDEN
from training_data import DEFAULTS, make_recipe, save_dataset

CPU = Team(0, 1, torch.device("cpu"))
VALIDATED = ("validation.samples=3", "validation.every=1", "validation.videos=1")
TARGETS = LoraRecipe().targets
NOBODY = Seen.of([], [], 1)


def run(recipe, folder):
    return train(recipe, folder, team=CPU)


def steps(folder):
    return [step for step, _ in checkpoints(folder)]


class TestStops:
    def test_sigterm_may_be_repeated(self):
        with stop_requests() as stop:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            assert stop == [True]

    def test_a_second_interrupt_ends_at_once(self):
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop == [True]
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

    def test_a_stop_is_obeyed_in_the_midst_of_a_validation_and_the_step_is_saved(
        self, base, dataset, tmp_path, monkeypatch
    ):
        genuine = trainer_module.Objective.loss
        levels = []

        def loss(self, examples, sigma=None):
            if sigma is not None:
                levels.append(sigma)
                os.kill(os.getpid(), signal.SIGTERM)
            return genuine(self, examples, sigma)

        monkeypatch.setattr(trainer_module.Objective, "loss", loss)
        finished = run(make_recipe(base, dataset, *VALIDATED, "save_every=100"), tmp_path / "run")
        assert (finished.step, finished.output) == (1, None)
        assert len(levels) == 7  # of one sample of three
        assert steps(tmp_path / "run") == [1]
        monkeypatch.undo()
        assert run(make_recipe(base, dataset, *VALIDATED), tmp_path / "run").step == 4

    def test_and_in_the_midst_of_a_video(self, base, dataset, tmp_path):
        begun = Run(prepare(make_recipe(base, dataset, *VALIDATED)), tmp_path / "run", CPU)
        cases = cases_of(begun.setting, begun.held_out[:1], begun.skipped.note)
        with begun.pipeline() as pipeline, pytest.raises(Stopped):
            validation_videos(pipeline, cases, tmp_path / "videos", CPU, [True])
        assert not (tmp_path / "videos").exists()


class TestCheckpoints:
    @pytest.fixture
    def small(self):
        model = torch.nn.Linear(2, 2)
        return model, [torch.optim.AdamW(model.parameters())], None

    @staticmethod
    def fill(model, value):
        with torch.no_grad():
            model.weight.fill_(value)

    def restored(self, folder, small):
        self.fill(small[0], -1)
        step = load_checkpoint(folder, *small, CPU)
        return step, float(small[0].weight[0, 0].detach())

    @pytest.mark.parametrize("broken", ["save", "rename"])
    def test_a_step_that_is_saved_again_is_there_at_every_moment(self, tmp_path, small, monkeypatch, broken):
        self.fill(small[0], 1)
        save_checkpoint(tmp_path, 4, *small, NOBODY, CPU, keep=2)

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        def rename(path, target):  # of the whole checkpoint; torch renames files in it
            return interrupted() if path.is_dir() else os.rename(path, target)

        self.fill(small[0], 2)
        with monkeypatch.context() as patch:
            if broken == "save":
                patch.setattr("magref.training.checkpoints.save", interrupted)
            else:
                patch.setattr(Path, "rename", rename)
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path, 4, *small, NOBODY, CPU, keep=2)
        assert self.restored(tmp_path, small) == (4, 1)
        self.fill(small[0], 2)
        save_checkpoint(tmp_path, 4, *small, NOBODY, CPU, keep=2)
        assert self.restored(tmp_path, small) == (4, 2)
        assert len(list((tmp_path / "checkpoints").iterdir())) == 1

    def test_an_interrupt_while_it_is_written_is_an_interrupt(self, tmp_path, small, monkeypatch):
        monkeypatch.setattr(torch, "save", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, 4, *small, NOBODY, CPU, keep=2)
        assert steps(tmp_path) == []

    def test_one_whose_removal_was_interrupted_is_none(self, tmp_path, small, monkeypatch):
        save_checkpoint(tmp_path, 1, *small, NOBODY, CPU, keep=1)

        def interrupted(path, **_):
            next(path.glob("*.distcp")).unlink()
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", interrupted)
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path, 2, *small, NOBODY, CPU, keep=1)
        assert steps(tmp_path) == [2]
        save_checkpoint(tmp_path, 3, *small, NOBODY, CPU, keep=1)
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


@pytest.fixture
def small_files():
    """No file may grow beyond so many bytes: what a full disk looks like to a library, without one."""
    resource = pytest.importorskip("resource", reason="this system has no limits of processes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestFullDisk:
    def test_while_exporting_ends_in_a_sentence_and_the_run_goes_on_from_its_last_step(
        self, base, dataset, tmp_path, small_files
    ):
        folder = tmp_path / "run"
        recipe = make_recipe(base, dataset, "optim.steps=1")
        shutil.rmtree(run(recipe, folder).output)
        for limit in (20_000, 100_000):  # while the base is copied, and while the weights are written
            small_files(limit)
            with pytest.raises(OutputError, match=r"model could not be written: it is larger .*step 1 is kept"):
                run(recipe, folder)
            small_files(-1)
            assert not [path for path in folder.iterdir() if "model" in path.name]
        assert (run(recipe, folder).output / "model_index.json").is_file()

    def test_while_a_checkpoint_is_written(self, base, dataset, tmp_path, small_files):
        small_files(100_000)
        with pytest.raises(OutputError, match=r"step 2 could not be written: .*File too large; .*\(no checkpoint"):
            run(make_recipe(base, dataset), tmp_path / "run")
        assert not list((tmp_path / "run" / "checkpoints").iterdir())

    def test_while_the_log_is_written(self, base, dataset, tmp_path, small_files):
        folder = tmp_path / "run"
        run(make_recipe(base, dataset, "optim.steps=1"), folder)
        long = "{}\n" * 10_000
        (folder / "log.jsonl").write_text(long)
        small_files(len(long) + 10)
        with pytest.raises(OutputError, match=r"log.jsonl could not be written: .*step 1 is kept, and the same"):
            run(make_recipe(base, dataset, "save_every=100"), folder)
        small_files(-1)
        assert (folder / "log.jsonl").read_text() == long
        assert run(make_recipe(base, dataset), folder).step == 4


class TestExport:
    def test_a_model_has_its_components_and_nothing_else_of_the_bases_folder(self, base, dataset, tmp_path):
        mine, out = tmp_path / "mine", tmp_path / "out"
        shutil.copytree(base, mine)
        (mine / ".git").mkdir()
        (mine / "notes").mkdir()
        (mine / "text_encoder" / "model.safetensors.index.json").write_text("{}")
        begun = Run(prepare(make_recipe(base, dataset, "model.text_encoder=true")), tmp_path / "run", CPU)
        text_encoder = begun.objective.text_encoder
        export_model(out, replace(begun.setting.base, folder=mine), begun.transformer, text_encoder, DEFAULTS, CPU)
        components = {"image_encoder", "scheduler", "text_encoder", "tokenizer", "transformer", "vae"}
        assert {path.name for path in out.iterdir()} == {*components, "model_index.json"}
        assert {path.name for path in (out / "text_encoder").iterdir()} == {"config.json", "model.safetensors"}

    def test_without_its_checkpoints_a_run_is_another_and_leaves_the_first_result_alone(self, base, dataset, tmp_path):
        folder, digests = tmp_path / "run", []
        for rate in ("1e-3", "1e-2", "1e-1"):
            output = run(make_recipe(base, dataset, "optim.steps=1", f"optim.learning_rate={rate}"), folder).output
            digests.append(weights_sha256(output / "transformer"))
            shutil.rmtree(folder / "checkpoints")
        names = ["model", "model-1", "model-1.2"]
        assert output == folder / names[-1]
        assert digests == [weights_sha256(folder / name / "transformer") for name in names]
        assert len(set(digests)) == 3

    def test_a_published_base_is_converted_without_what_was_trained(self, tmp_path):
        convert_published(GOLDEN / "checkpoint", tmp_path / "out", clip_num_heads=4, without=("transformer",))
        assert not (tmp_path / "out" / "transformer").exists()
        assert "transformer" in json.loads((tmp_path / "out" / "model_index.json").read_text())
        assert (tmp_path / "out" / "text_encoder" / "model.safetensors").is_file()


class TestWeights:
    def test_what_diffusers_keeps_in_float32_stays_so_under_a_lora_in_bf16(self, base, dataset):
        recipe = make_recipe(base, dataset, "model.lora.rank=4", "optim.precision=bf16")
        transformer = make_transformer(prepare(recipe), CPU)
        stored = find_transformer(prepare(recipe).base)
        plain = make_transformer(prepare(make_recipe(base, dataset)), CPU).state_dict()
        assert stored.tensors.keys() == plain.keys()
        for name, parameter in transformer.named_parameters():
            kept = ".lora_" in name or any(part in transformer._keep_in_fp32_modules for part in name.split("."))
            assert parameter.dtype == (torch.float32 if kept else torch.bfloat16), name
            if kept and ".lora_" not in name:
                assert torch.equal(parameter, plain[name]), name

    def test_8_bits_come_to_the_device_block_by_block_and_are_those_of_the_whole(self, base, dataset, monkeypatch):
        pytest.importorskip("torchao", reason="weights in 8 bits need it")
        recipe = make_recipe(base, dataset, "model.lora.rank=4")
        plain = make_transformer(prepare(make_recipe(base, dataset)), CPU)
        whole, blockwise, events = copy.deepcopy(plain), copy.deepcopy(plain), []
        quantize_layers(whole, "int8", lambda layer, name: name.startswith("blocks.") and name.endswith(TARGETS))
        for block in blockwise.blocks:
            monkeypatch.setattr(block, "to", lambda device: events.append("moved"))
        monkeypatch.setattr(
            "magref.training.lora.quantize_layers", lambda *a: events.append("quantised") or quantize_layers(*a)
        )
        quantize(blockwise, recipe.model.lora, torch.device("cpu"))
        assert events == ["moved", "quantised"] * len(plain.blocks)
        for name, layer in plain.named_modules():
            if isinstance(layer, torch.nn.Linear):
                x = torch.linspace(-1, 1, layer.in_features)[None]
                ours, same = (model.get_submodule(name)(x) for model in (blockwise, whole))
                assert torch.equal(ours, same), name
                assert torch.equal(ours, layer(x)) != name.startswith("blocks."), name

    def test_random_weights_are_spread_as_the_layers_themselves_draw_them(self, base, dataset):
        recipe = make_recipe(base, dataset, "model.fresh=true")
        drawn = make_transformer(prepare(recipe), CPU).state_dict()
        torch.manual_seed(0)
        usual = type(make_transformer(prepare(recipe), CPU)).from_config(find_transformer(prepare(recipe).base).config)
        for name, tensor in usual.state_dict().items():
            few = tensor.numel() < 256
            assert drawn[name].std() == pytest.approx(float(tensor.std()), rel=0.6 if few else 0.1, abs=1e-6), name
            assert drawn[name].mean() == pytest.approx(float(tensor.mean()), abs=0.1), name
        other = make_transformer(prepare(make_recipe(base, dataset, "model.fresh=true", "seed=1")), CPU).state_dict()
        assert not torch.equal(other["proj_out.weight"], drawn["proj_out.weight"])
        assert not torch.equal(drawn["blocks.0.ffn.net.2.weight"], drawn["blocks.1.ffn.net.2.weight"])


class TestRun:
    def test_encoders_that_idle_come_for_a_pipeline_and_go_back_whatever_happens(
        self, base, dataset, tmp_path, monkeypatch
    ):
        begun = Run(prepare(make_recipe(base, dataset)), tmp_path / "run", CPU)
        begun.team = replace(CPU, device=torch.device("cpu", 0))  # another place than "cpu", as a GPU is
        moves = []
        for model in (begun.encoders.vae, begun.encoders.text_encoder, begun.encoders.image_encoder):
            monkeypatch.setattr(model, "to", lambda place: moves.append(str(place)))

        def interrupted():
            with begun.pipeline():
                assert moves == ["cpu:0"] * 3
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert moves == ["cpu:0"] * 3 + ["cpu"] * 3

    def test_a_run_from_a_cache_loads_encoders_for_videos_alone(self, base, dataset, tmp_path, monkeypatch):
        changes = (f"data.cache={tmp_path / 'cache'}", "validation.every=2", "validation.samples=1")
        silent, shown = (make_recipe(base, dataset, *changes, f"validation.videos={count}") for count in (0, 1))
        make_cache(silent, on_sample=lambda *_: None)
        loads = []
        monkeypatch.setattr(trainer_module, "make_encoders", lambda *a, **k: loads.append(1) or make_encoders(*a, **k))
        run(silent, tmp_path / "silent")
        assert not loads
        run(shown, tmp_path / "shown")
        assert len(loads) == 1
        logs = [(tmp_path / name / "model" / "transformer").glob("*.safetensors") for name in ("silent", "shown")]
        assert [path.read_bytes() for path in logs[0]] == [path.read_bytes() for path in logs[1]]

    def test_the_list_of_skipped_samples_grows_over_the_parts_of_a_run(self, base, tmp_path):
        dataset = save_dataset(tmp_path / "discs")
        (dataset / "clips" / "s2.mp4").write_bytes(b"no video")
        folder = tmp_path / "run"
        run(make_recipe(base, dataset, "optim.steps=3"), folder)
        (dataset / "clips" / "s3.mp4").write_bytes(b"no video")
        run(make_recipe(base, dataset, "optim.steps=6"), folder)
        rows = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
        assert [row["sample"] for row in rows] == ["s2", "s3"]
        last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
        assert last["skipped"] == 2

    def test_a_sample_is_listed_once(self, tmp_path):
        for reason in ("it is broken", "it is broken still"):
            skipped = Skipped(tmp_path / "skipped.jsonl", CPU)
            skipped.note("s1", reason)
            assert skipped.share() == 1
        assert json.loads((tmp_path / "skipped.jsonl").read_text())["reason"] == "it is broken"

    def test_the_clock_is_read_when_the_gpu_is_done(self, monkeypatch):
        class Loader:
            waited_s = 0.0

        events = []
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append(str(device)))
        monkeypatch.setattr("time.perf_counter", lambda: events.append("clock") or float(len(events)))
        meter = Meter(Loader(), torch.device("cuda", 0))
        with meter.preparing():
            pass
        meter.add(1.0, 1.0)
        meter.figures(1e-3, 2, 0)
        assert events == ["cuda:0", "clock"] * 4
