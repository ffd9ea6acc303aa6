"""What ordinary material and ordinary changes of mind do to a run: sizes, few samples, moved folders, odd pairs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel

from magref.errors import InputError
from magref.geometry import VideoShape
from magref.training import trainer as trainer_module
from magref.training.examples import _cover
from magref.training.meter import Meter
from magref.training.parallel import Team
from magref.training.recipe import ValidationRecipe
from magref.training.setup import prepare
from magref.training.trainer import Run, train
from training_data import make_recipe, save_base

CPU = Team(0, 1, torch.device("cpu"))


def run(recipe, folder):
    return train(recipe, folder, team=CPU)


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class TestClips:
    @pytest.mark.parametrize("size", [(1440, 1080), (720, 480), (720, 576), (1920, 804), (720, 720), (720, 1280)])
    def test_sizes_that_do_not_divide_evenly(self, size):
        """Rounding put the box of the part that is kept a hair outside of the picture."""
        width, height = size
        frame = np.full((height, width, 3), 7, dtype=np.uint8)
        assert (_cover(frame, VideoShape(5, 480, 832)) == 7).all()

    def test_any_size(self):
        random = np.random.default_rng(0)
        for width, height, wide, high in random.integers(8, 200, (500, 4)):
            frame = np.zeros((height, width, 3), dtype=np.uint8)
            assert _cover(frame, VideoShape(5, int(high), int(wide))).shape == (high, wide, 3)


class TestHeldOut:
    @pytest.mark.parametrize(
        ("samples", "wanted", "held_out"),
        [
            (1, None, 0),
            (2, None, 1),
            (12, None, 1),
            (45, None, 4),
            (900, None, 8),
            (12, 8, 6),
            (12, 0, 0),
            (900, 64, 64),
        ],
    )
    def test_a_small_dataset_gives_away_little_unasked(self, samples, wanted, held_out):
        assert ValidationRecipe(samples=wanted).held_out(samples) == held_out

    def test_a_run_begins_by_saying_how_many(self, base, dataset, tmp_path):
        recipe, told = make_recipe(base, dataset, "validation.samples=2", "validation.videos=0"), []
        train(recipe, tmp_path / "run", report=lambda *what: told.append(what), team=CPU)
        assert told[0] == (0, {"samples": 4, "held_out": 2})

    def test_one_alone_has_no_other_caption_and_so_no_gain(self, base, dataset, tmp_path):
        changes = ("validation.samples=1", "validation.every=2", "validation.videos=0")
        run(make_recipe(base, dataset, *changes), tmp_path / "run")
        validated = [entry for entry in logged(tmp_path / "run") if "validation_loss" in entry]
        assert len(validated) == 2
        assert not any("caption_gain" in entry for entry in validated)


class TestGoingOn:
    def test_fewer_steps_than_are_done_would_name_the_result_wrongly(self, base, dataset, tmp_path):
        run(make_recipe(base, dataset), tmp_path / "run")
        with pytest.raises(InputError, match=r"has done 4 steps, more than optim\.steps, 2; set it to 4 or more"):
            run(make_recipe(base, dataset, "optim.steps=2"), tmp_path / "run")
        assert run(make_recipe(base, dataset), tmp_path / "run").output == tmp_path / "run" / "model"

    def test_a_dataset_may_move_and_memory_be_saved(self, base, dataset, tmp_path):
        run(make_recipe(base, dataset, "optim.steps=2"), tmp_path / "run")
        shutil.copytree(dataset, tmp_path / "moved")
        recipe = make_recipe(base, tmp_path / "moved", "optim.checkpointing=full")
        assert run(recipe, tmp_path / "run").step == 4

    def test_other_samples_are_refused_before_a_model_is_loaded(self, base, dataset, tmp_path, monkeypatch):
        run(make_recipe(base, dataset, "optim.steps=2"), tmp_path / "run")
        monkeypatch.setattr(trainer_module, "make_transformer", lambda *_, **__: pytest.fail("models were loaded"))
        with pytest.raises(InputError, match="takes 2 samples a step, and this would take 3"):
            run(make_recipe(base, dataset, "optim.batch=3"), tmp_path / "run")


class TestPairs:
    def test_muon_may_train_adapters_which_are_all_matrices(self, base, dataset, tmp_path):
        recipe = make_recipe(base, dataset, "optim.optimizer=muon", "model.lora.rank=2", "optim.steps=1")
        assert run(recipe, tmp_path / "run").output == tmp_path / "run" / "lora.safetensors"

    def test_a_lora_is_of_its_bases_mechanism(self, base, dataset):
        with pytest.raises(InputError, match=r"by its base's mechanism, masked; set model\.mechanism to it"):
            prepare(make_recipe(base, dataset, "model.lora.rank=2", "model.mechanism=vanilla"))

    def test_a_sample_with_more_references_than_a_rival_takes_is_a_bad_sample(self, base, dataset, tmp_path):
        """Five frames are two latent ones; with its background, each sample has three references."""
        changes = ("model.mechanism=vanilla", "data.backgrounds=true", "data.object_dropout=0")
        with pytest.raises(
            InputError, match=r"none of the 6 training samples can be used \(.*: 3 references do not fit into 5 frames"
        ):
            run(make_recipe(base, dataset, *changes), tmp_path / "run")


class TestWhatTheModelGeneratesWith:
    def test_the_rate_that_its_clips_were_brought_to(self, base, dataset):
        assert prepare(make_recipe(base, dataset, "data.fps=4")).defaults.fps == 4
        assert prepare(make_recipe(base, dataset)).defaults.fps == 8

    def test_a_size_and_length_that_were_trained(self, base, dataset):
        def shape(*changes):
            defaults = prepare(make_recipe(base, dataset, *changes)).defaults
            return defaults.num_frames, defaults.height, defaults.width

        own = shape()
        assert own == (5, 32, 48)
        assert shape("data.frames=[5, 9]", "data.sizes=[[64, 64], [48, 32]]") == own
        assert shape("data.frames=[9, 13, 1]", "data.sizes=[[64, 48], [48, 48]]") == (13, 48, 64)

    def test_a_clips_first_frame_is_no_canvas_to_be_dropped(self, dataset, tmp_path):
        base = save_base(tmp_path / "base")
        index = json.loads((base / "model_index.json").read_text())
        index["generation_defaults"]["drop_frames"] = 4
        (base / "model_index.json").write_text(json.dumps(index))
        assert prepare(make_recipe(base, dataset)).defaults.drop_frames == 4
        assert prepare(make_recipe(base, dataset, "data.condition=first-frame")).defaults.drop_frames == 0


def test_saving_and_looking_are_no_steps_time(monkeypatch):
    class Loader:
        waited_s = 0.0

    now = iter([0.0, 2.0, 62.0, 64.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    meter = Meter(Loader(), torch.device("cpu"))
    with meter.aside():
        pass
    meter.add(1.0, 1.0)
    assert meter.figures(1e-3, 2, 0)["step_s"] == 4


def test_training_attends_by_the_kernel_of_its_precision(base, dataset, tmp_path, monkeypatch):
    """The weights are float32, what they are computed in is bfloat16: that is what the kernel must be probed with."""
    asked = []
    genuine = trainer_module.diffusers_attention

    def attention(transformer, dtype):
        asked.append(dtype)
        return genuine(transformer, dtype)

    monkeypatch.setattr(trainer_module, "diffusers_attention", attention)
    begun = Run(prepare(make_recipe(base, dataset, "optim.precision=bf16", "optim.steps=1")), tmp_path / "run", CPU)
    assert isinstance(begun.transformer, WanTransformer3DModel)
    begun.go(lambda step, figures: None)
    assert asked == [torch.bfloat16]
