"""A training run: what it promises about its target, its order, going on, spreading, and what can go wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from magref import MagrefPipeline
from magref.checkpoints.published import load_published
from magref.cli import main
from magref.conditioning import build_conditioning, encode_video
from magref.errors import InputError, MagrefError, OutputError, ResourceError
from magref.flow import add_noise, training_sigmas
from magref.training import checkpoints as checkpoints_module
from magref.training import trainer as trainer_module
from magref.training.batches import Drawn
from magref.training.checkpoints import checkpoints
from magref.training.encoding import pad_texts
from magref.training.examples import clip_pixels, draw_canvas, read_clip
from magref.training.parallel import Team
from magref.training.setup import make_cache, prepare
from magref.training.trainer import Run, train
from tiny import GOLDEN
from training_data import FRAMES, HEIGHT, WIDTH, make_recipe, save_base, save_dataset

CPU = Team(0, 1, torch.device("cpu"))


def run(recipe, folder):
    return train(recipe, folder, team=CPU)


def weights(output):
    return load_file(output / "transformer" / "diffusion_pytorch_model.safetensors")


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class TestObjective:
    """The target is the clean clip, the condition is what generation builds (paper 3.2, 4.1)."""

    @pytest.fixture
    def begun(self, base, dataset, tmp_path):
        recipe = make_recipe(base, dataset, "objective.text_dropout=0", "data.object_dropout=0")
        return Run(prepare(recipe), tmp_path / "run", CPU)

    def test_the_target_is_the_clips_own_latents_over_all_frames(self, begun):
        sample = next(iter(begun.setting.dataset))
        example = begun.source.example(begun.source.read(Drawn(sample.id, 7, ())))
        folder = Path(begun.recipe.data.dataset)
        shape = begun.setting.buckets.choose(sample.clip)
        pixels = clip_pixels(read_clip(folder, sample.clip, shape, None))[None]
        expected = encode_video(begun.encoders.vae, pixels)
        assert expected.shape == (1, 16, (FRAMES - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8)
        assert torch.equal(example.clean, expected)

    def test_the_condition_is_what_generation_builds_of_the_same_canvas(self, begun):
        sample = next(iter(begun.setting.dataset))
        example = begun.source.example(begun.source.read(Drawn(sample.id, 7, ())))
        shape = begun.setting.buckets.choose(sample.clip)
        canvas = draw_canvas(Path(begun.recipe.data.dataset), sample, shape, begun.recipe.data, (0, 7))
        pipe = MagrefPipeline.from_pretrained(begun.recipe.model.base)
        wanted = build_conditioning(
            [canvas], FRAMES, vae=pipe.vae, strides=pipe.strides, image_encoder=pipe.image_encoder
        )
        assert torch.allclose(example.conditioning.guidance, wanted.guidance, atol=1e-5)
        assert torch.allclose(example.conditioning.image_embeds, wanted.image_embeds, atol=1e-5)
        assert example.conditioning.guidance[:, :4, 0].amax() == 1
        assert not example.conditioning.guidance[:, :4, 1:].any()

    @pytest.mark.parametrize("spread", [1.0, 2.0])
    def test_the_loss_is_the_velocitys_squared_error_against_noise_minus_clip(self, base, dataset, tmp_path, spread):
        recipe = make_recipe(base, dataset, f"objective.level_spread={spread}")
        begun = Run(prepare(recipe), tmp_path / "run", CPU)
        example = begun.source.example(begun.source.read(Drawn("s1", 7, ())))
        generator = torch.Generator().manual_seed(example.seed)
        sigma = training_sigmas(1, begun.setting.defaults.flow_shift, generator, spread=spread)
        noise = torch.randn(example.clean.shape, generator=generator)
        noisy = add_noise(example.clean, noise, sigma)
        with torch.no_grad():
            velocity = begun.objective.velocity(noisy, sigma, example.conditioning, [example.text])
            expected = (velocity - (noise - example.clean)).square().mean()
            assert torch.allclose(begun.objective.loss([example]), expected, rtol=1e-5)

    def test_plain_image_to_video_shows_the_clips_first_frame_and_marks_all_of_it(self, base, dataset, tmp_path):
        changes = ["data.condition=first-frame", "validation.samples=1", "validation.every=4", "validation.videos=1"]
        begun = Run(prepare(make_recipe(base, dataset, *changes)), tmp_path / "run", CPU)
        example = begun.source.example(begun.source.read(Drawn("s1", 7, ())), dropout=False)
        guidance = example.conditioning.guidance
        assert (guidance[:, :4, 0] == 1).all()
        assert not guidance[:, :4, 1:].any()
        assert torch.allclose(guidance[:, 4:, 0], example.clean[:, :, 0], atol=1e-5)  # a causal VAE: frame 0 alone
        begun.go(lambda step, figures: None)
        assert (tmp_path / "run" / "samples" / "step-00000004" / "0.mp4").is_file()

    def test_each_step_draws_references_and_layout_anew(self, begun):
        guidance = [
            begun.source.example(begun.source.read(Drawn("s0", seed, ()))).conditioning.guidance for seed in range(6)
        ]
        assert len({tensor.numpy().tobytes() for tensor in guidance}) == 6

    def test_dropout_leaves_out_text_and_references(self, base, dataset, tmp_path):
        recipe = make_recipe(base, dataset, "objective.text_dropout=1", "objective.reference_dropout=1")
        begun = Run(prepare(recipe), tmp_path / "run", CPU)
        read = begun.source.read(Drawn("s0", 7, ()))
        dropped, kept = begun.source.example(read), begun.source.example(read, dropout=False)
        assert not dropped.conditioning.guidance[:, :4].any()
        assert kept.conditioning.guidance[:, :4].any()
        assert torch.equal(dropped.text, begun.encoders.text(""))
        assert not torch.equal(kept.text, dropped.text)


class TestResume:
    """A run that was stopped anywhere ends like one that was not."""

    @pytest.fixture(scope="class")
    def uninterrupted(self, base, dataset, tmp_path_factory):
        return run(make_recipe(base, dataset), tmp_path_factory.mktemp("whole") / "run").output

    @pytest.mark.parametrize("optimizer", ["adamw", "muon"])
    def test_the_resumed_run_equals_the_uninterrupted_one_to_the_bit(self, base, dataset, tmp_path, optimizer):
        change = f"optim.optimizer={optimizer}"
        whole = run(make_recipe(base, dataset, change), tmp_path / "whole").output
        recipe = make_recipe(base, dataset, change)
        shorter = recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"steps": 2})})
        run(shorter, tmp_path / "parts")
        shutil.move(tmp_path / "parts" / "model", tmp_path / "half")
        resumed = run(recipe, tmp_path / "parts").output
        assert not torch.equal(*(weights(f)["proj_out.weight"] for f in (tmp_path / "half", resumed)))
        for name, tensor in weights(whole).items():
            assert torch.equal(tensor, weights(resumed)[name]), name

    def test_a_stop_is_obeyed_after_the_step_and_saved(self, base, dataset, tmp_path, uninterrupted):
        def report(step, figures):
            del figures
            if step == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        trainer_module.LOG_EVERY, before = 1, trainer_module.LOG_EVERY
        try:
            finished = train(make_recipe(base, dataset), tmp_path / "run", report=report, team=CPU)
        finally:
            trainer_module.LOG_EVERY = before
        assert finished.output is None
        assert 0 < finished.step < 4
        resumed = run(make_recipe(base, dataset), tmp_path / "run").output
        assert torch.equal(weights(resumed)["proj_out.weight"], weights(uninterrupted)["proj_out.weight"])

    def test_a_killed_run_resumes(self, base, dataset, tmp_path, uninterrupted):
        recipe, folder = tmp_path / "recipe.yaml", tmp_path / "run"
        recipe.write_text(json.dumps(make_recipe(base, dataset).model_dump(mode="json")))
        command = [sys.executable, "-m", "magref", "train", str(recipe), "-o", str(folder)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not checkpoints(folder) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert checkpoints(folder)
        assert subprocess.run(command, check=True, stderr=subprocess.DEVNULL).returncode == 0
        assert torch.equal(weights(folder / "model")["proj_out.weight"], weights(uninterrupted)["proj_out.weight"])

    def test_a_run_of_another_recipe_is_not_gone_on_with(self, base, dataset, tmp_path):
        run(make_recipe(base, dataset), tmp_path / "run")
        with pytest.raises(InputError, match=r"begun with another optim\.betas; choose another folder with -o"):
            run(make_recipe(base, dataset, "optim.betas=[0.5, 0.9]"), tmp_path / "run")

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ("optim.batch=1", "takes 2 samples a step, and this would take 1; change optim.batch or optim.accumulate"),
            ("validation.samples=2", "was begun with 0 samples held out, and this would hold out 2"),
            (None, r"was begun with other samples \(4 then, 3 now\)"),
        ],
    )
    def test_a_run_sees_the_same_samples_to_its_end(self, base, tmp_path, change, sentence):
        dataset = save_dataset(tmp_path / "discs", 4)
        run(make_recipe(base, dataset, "optim.steps=1"), tmp_path / "run")
        saved = (tmp_path / "run" / "recipe.yaml").read_text()
        if change is None:
            shutil.rmtree(dataset)
            save_dataset(dataset, 3)
        with pytest.raises(InputError, match=sentence):
            run(make_recipe(base, dataset, *filter(None, [change])), tmp_path / "run")
        assert (tmp_path / "run" / "recipe.yaml").read_text() == saved

    def test_a_step_may_be_cut_in_another_way(self, base, dataset, tmp_path, uninterrupted):
        run(make_recipe(base, dataset, "optim.steps=2"), tmp_path / "run")
        cut = make_recipe(base, dataset, "optim.batch=1", "optim.accumulate=2")
        resumed = run(cut, tmp_path / "run").output
        for name, tensor in weights(uninterrupted).items():
            assert torch.allclose(tensor.float(), weights(resumed)[name].float(), atol=2e-3), name

    def test_only_the_newest_checkpoints_stay(self, base, dataset, tmp_path):
        run(make_recipe(base, dataset, "save_every=1", "keep=2"), tmp_path / "run")
        assert [step for step, _ in checkpoints(tmp_path / "run")] == [3, 4]


class TestLearning:
    def test_a_tiny_set_is_overfitted(self, tmp_path):
        base = save_base(tmp_path / "base", num_attention_heads=6, ffn_dim=192, added_kv_proj_dim=96)
        dataset = save_dataset(tmp_path / "two", 2)
        quiet = [f"data.augment.{name}=0" for name in ("mirror", "rotate_degrees", "shrink", "crop", "light")]
        recipe = make_recipe(
            base,
            dataset,
            "optim.steps=150",
            "optim.learning_rate=5e-3",
            "optim.schedule=constant",
            "save_every=150",
            "data.cache=" + str(tmp_path / "cache"),
            *quiet,
        )
        make_cache(recipe, on_sample=lambda name, problem: None)
        run(recipe, tmp_path / "run")
        losses = [entry["loss"] for entry in logged(tmp_path / "run")]
        assert losses[-1] < 0.1 * losses[0]

    def test_accumulated_passes_are_one_larger_batch(self, base, dataset, tmp_path):
        one = run(make_recipe(base, dataset, "optim.batch=4"), tmp_path / "one").output
        two = run(make_recipe(base, dataset, "optim.batch=2", "optim.accumulate=2"), tmp_path / "two").output
        for name, tensor in weights(one).items():
            assert torch.allclose(tensor.float(), weights(two)[name].float(), atol=2e-3), name

    @pytest.mark.parametrize("checkpointing", ["selective", "full"])
    def test_activation_checkpointing_changes_no_gradient(self, base, dataset, tmp_path, checkpointing):
        plain = Run(prepare(make_recipe(base, dataset)), tmp_path / "a", CPU)
        other = Run(prepare(make_recipe(base, dataset, f"optim.checkpointing={checkpointing}")), tmp_path / "b", CPU)
        example = plain.source.example(plain.source.read(Drawn("s0", 3, ())))
        for each in (plain, other):
            each.objective.loss([example]).backward()
        for (name, a), b in zip(plain.transformer.named_parameters(), other.transformer.parameters(), strict=True):
            assert a.grad is None or torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-7), name

    def test_the_averages_are_exported_not_the_weights(self, base, dataset, tmp_path):
        with_ema = run(make_recipe(base, dataset), tmp_path / "a").output
        without = run(make_recipe(base, dataset, "optim.ema=0"), tmp_path / "b").output
        assert not torch.equal(weights(with_ema)["proj_out.weight"], weights(without)["proj_out.weight"])

    def test_the_text_encoder_can_be_trained_too(self, base, dataset, tmp_path):
        output = run(make_recipe(base, dataset, "model.text_encoder=true", "model.fresh=true"), tmp_path / "run").output
        trained = load_file(output / "text_encoder" / "model.safetensors")
        before = load_file(base / "text_encoder" / "model.safetensors")
        assert trained.keys() == before.keys()
        assert not torch.equal(trained["shared.weight"].float(), before["shared.weight"].float())


class TestOutput:
    def test_what_was_trained_generates(self, base, dataset, tmp_path):
        output = run(make_recipe(base, dataset), tmp_path / "run").output
        pipe = MagrefPipeline.from_pretrained(output)
        picture = dataset / "pictures" / "s0" / "disc-0.png"
        frames = pipe("a disc", [picture], seed=1, output_type="np").frames
        assert frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
        before = MagrefPipeline.from_pretrained(base)("a disc", [picture], seed=1, output_type="np").frames
        assert not np.array_equal(frames, before)

    def test_a_lora_file_does_what_the_adapters_did(self, base, dataset, tmp_path):
        recipe = make_recipe(base, dataset, "model.lora.rank=4", "model.lora.alpha=8", "optim.ema=0")
        begun = Run(prepare(recipe), tmp_path / "run", CPU)
        begun.go(lambda step, figures: None)
        example = begun.source.example(begun.source.read(Drawn("s0", 3, ())))
        inputs = {
            "hidden_states": example.conditioning.join(example.clean),
            "timestep": torch.tensor([500.0]),
            "encoder_hidden_states": pad_texts([example.text], 512),
            "encoder_hidden_states_image": example.conditioning.image_embeds,
            "return_dict": False,
        }
        pipe = MagrefPipeline.from_pretrained(base, torch_dtype=torch.float32)
        with torch.no_grad():
            trained, without = begun.transformer.eval()(**inputs)[0], pipe.transformer(**inputs)[0]
            pipe.load_lora_weights(str(tmp_path / "run"), weight_name="lora.safetensors")
            loaded = pipe.transformer(**inputs)[0]
            pipe.fuse_lora()
            pipe.unload_lora_weights()
            merged = pipe.transformer(**inputs)[0]
        assert torch.allclose(loaded, trained, atol=2e-4)
        assert torch.allclose(merged, trained, atol=2e-4)
        assert (without - trained).abs().max() > 20 * (loaded - trained).abs().max()

    def test_generate_takes_the_lora(self, base, dataset, tmp_path):
        run(make_recipe(base, dataset, "model.lora.rank=4"), tmp_path / "run")
        picture = str(dataset / "pictures" / "s0" / "disc-0.png")
        lora = str(tmp_path / "run" / "lora.safetensors")
        with pytest.raises(SystemExit) as ended:
            main(["generate", "a disc", picture, "--model", str(base), "--lora", lora, "-o", str(tmp_path / "out.mp4")])
        assert ended.value.code == 0

    def test_frozen_weights_in_8_bits_change_the_loss_little(self, base, dataset, tmp_path):
        pytest.importorskip("torchao", reason="the extra magref[int8] is not installed")
        losses = []
        for name, kind in (("plain", "none"), ("int8", "int8")):
            recipe = make_recipe(base, dataset, "model.lora.rank=4", f"model.lora.quantize={kind}")
            run(recipe, tmp_path / name)
            losses.append(logged(tmp_path / name)[-1]["loss"])
        assert losses[1] == pytest.approx(losses[0], rel=1e-2)
        assert losses[1] != losses[0]

    def test_8_bits_without_the_package(self, base, dataset, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchao.quantization", None)
        recipe = make_recipe(base, dataset, "model.lora.rank=4", "model.lora.quantize=int8")
        with pytest.raises(ResourceError, match=r"run pip install 'magref\[int8\]'"):
            run(recipe, tmp_path / "run")

    def test_only_the_adapters_are_trained_and_saved(self, base, dataset, tmp_path):
        recipe = make_recipe(base, dataset, "model.lora.rank=4")
        begun = Run(prepare(recipe), tmp_path / "run", CPU)
        trained = [name for name, p in begun.transformer.named_parameters() if p.requires_grad]
        assert trained
        assert all(".lora_" in name for name in trained)

    def test_validation_leaves_a_loss_and_videos(self, base, dataset, tmp_path):
        recipe = make_recipe(base, dataset, "validation.samples=2", "validation.every=2", "validation.videos=1")
        run(recipe, tmp_path / "run")
        assert [entry["step"] for entry in logged(tmp_path / "run") if "validation_loss" in entry] == [2, 4]
        assert (tmp_path / "run" / "samples" / "step-00000004" / "0.mp4").is_file()
        assert (tmp_path / "run" / "samples" / "step-00000004" / "sheet.png").is_file()

    def test_tensorboard_gets_the_figures(self, base, dataset, tmp_path):
        run(make_recipe(base, dataset, "loggers=[tensorboard]"), tmp_path / "run")
        events = list((tmp_path / "run" / "tensorboard").iterdir())
        assert any(b"gradient_norm" in path.read_bytes() for path in events)

    def test_wan21s_own_layout_is_a_base_too(self, dataset, tmp_path):
        published = GOLDEN / "checkpoint"
        recipe = make_recipe(published, dataset, f"data.sizes=[[{WIDTH}, {HEIGHT}]]", f"data.frames=[{FRAMES}]")
        trained = MagrefPipeline.from_pretrained(run(recipe, tmp_path / "run").output).transformer.state_dict()
        before = load_published(published, torch_dtype=torch.float32, clip_num_heads=4).transformer.state_dict()
        assert trained.keys() == before.keys()
        moved = {name: float((trained[name].float() - before[name]).norm() / before[name].norm()) for name in trained}
        assert max(moved.values()) > 0
        assert max(moved.values()) < 0.5  # a few small steps away from the checkpoint's own weights


class TestMechanisms:
    @pytest.mark.parametrize("mechanism", ["vanilla", "tokenwise"])
    def test_a_rival_is_trained_by_the_same_code_and_stored_with_the_model(self, base, dataset, tmp_path, mechanism):
        recipe = make_recipe(base, dataset, f"model.mechanism={mechanism}")
        output = run(recipe, tmp_path / "run").output
        assert MagrefPipeline.from_pretrained(output).defaults.mechanism == mechanism

    def test_examples_of_different_lengths_are_weighted_alike(self, base, dataset, tmp_path):
        begun = Run(prepare(make_recipe(base, dataset, "model.mechanism=tokenwise")), tmp_path / "run", CPU)
        drawn = [begun.source.example(begun.source.read(Drawn("s0", seed, ()))) for seed in range(40)]
        tails = {example.conditioning.tail.shape[2]: example for example in drawn}
        assert set(tails) == {1, 2}  # the object is left out now and then
        one, two = tails[1], tails[2]
        with torch.no_grad():
            apart = (begun.objective.loss([one]) + begun.objective.loss([two]) * 2) / 3
            assert torch.allclose(begun.objective.loss([one, two, two]), apart, rtol=1e-4)


class TestMistakes:
    def test_a_bad_sample_is_skipped_counted_and_named(self, base, tmp_path):
        dataset = save_dataset(tmp_path / "discs")
        (dataset / "clips" / "s2.mp4").write_bytes(b"no video")
        run(make_recipe(base, dataset, "optim.steps=6"), tmp_path / "run")
        skipped = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
        assert {entry["sample"] for entry in skipped} == {"s2"}
        assert logged(tmp_path / "run")[-1]["skipped"] == 1

    def test_a_bad_sample_in_a_batch_of_one_is_replaced_from_its_bucket(self, base, tmp_path):
        dataset = save_dataset(tmp_path / "discs", 4)
        for name in ("s1", "s2"):
            (dataset / "clips" / f"{name}.mp4").write_bytes(b"no video")
        assert run(make_recipe(base, dataset, "optim.batch=1", "optim.steps=5"), tmp_path / "run").step == 5

    def test_a_dataset_without_one_usable_sample_ends_in_a_sentence(self, base, tmp_path):
        dataset = save_dataset(tmp_path / "discs", 2)
        for clip in (dataset / "clips").iterdir():
            clip.write_bytes(b"no video")
        with pytest.raises(InputError, match=r"no sample like s\d can be used"):
            run(make_recipe(base, dataset), tmp_path / "run")

    def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
        self, base, dataset, tmp_path, monkeypatch
    ):
        genuine = trainer_module.Objective.loss
        calls = []

        def broken(self, examples, sigma=None):
            calls.append(1)
            loss = genuine(self, examples, sigma)
            return loss * float("nan") if len(calls) == 3 else loss

        monkeypatch.setattr(trainer_module.Objective, "loss", broken)
        with pytest.raises(ResourceError, match="not a number at step 3; the checkpoint of step 2 is kept"):
            run(make_recipe(base, dataset), tmp_path / "run")
        assert [step for step, _ in checkpoints(tmp_path / "run")] == [2]

    def test_a_full_disk_keeps_the_last_checkpoint(self, base, dataset, tmp_path, monkeypatch):
        genuine = checkpoints_module.save

        def full(state, **arguments):
            if int(state["step"]) == 4:
                raise OSError(28, "No space left on device")
            return genuine(state, **arguments)

        monkeypatch.setattr(checkpoints_module, "save", full)
        with pytest.raises(OutputError, match=r"the disk is full; free some space \(.*step 2 is kept\)"):
            run(make_recipe(base, dataset), tmp_path / "run")
        monkeypatch.undo()
        assert run(make_recipe(base, dataset), tmp_path / "run").step == 4

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ("optim.learning_rat=1", "optim.learning_rat is unknown"),
            ("optim.steps=0", "optim.steps: input should be greater than 0"),
            ("model.mechanism=magic", "model.mechanism: input should be 'masked', 'vanilla' or 'tokenwise'"),
            ("steps", "is not KEY=VALUE"),
        ],
    )
    def test_a_wrong_key_is_named(self, base, dataset, change, sentence):
        with pytest.raises(InputError, match=sentence):
            make_recipe(base, dataset, change)

    def test_a_wrong_length_names_the_nearest(self, base, dataset):
        with pytest.raises(InputError, match="6 frames are not 4k\\+1; use 5 or 9"):
            prepare(make_recipe(base, dataset, "data.frames=[6]"))

    def test_clips_that_are_too_short_are_named_and_passed_over(self, base, dataset, tmp_path):
        with pytest.raises(InputError, match="no samples to train on"):
            run(make_recipe(base, dataset, "data.frames=[81]"), tmp_path / "run")
        assert "6 frames; 81 are the fewest" in (tmp_path / "run" / "skipped.jsonl").read_text()

    def test_more_processes_than_samples(self, base, dataset, tmp_path):
        team = Team(0, 8, torch.device("cpu"))
        from magref.training.batches import Order

        with pytest.raises(InputError, match="6 samples are too few for 8 processes; use 6 at most"):
            Order([(f"s{n}", 0) for n in range(6)], batch=1, passes=1, world=team.world, seed=0)

    def test_a_folder_that_is_no_run_is_left_alone(self, base, dataset, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes.txt").write_text("keep")
        with pytest.raises(OutputError, match="is not empty and no run; choose another with -o"):
            run(make_recipe(base, dataset), tmp_path / "mine")

    def test_no_dataset(self, base, tmp_path):
        with pytest.raises(MagrefError, match="is no dataset"):
            prepare(make_recipe(base, tmp_path / "none"))

    def test_compiling_without_a_compiler(self, base, dataset, monkeypatch):
        monkeypatch.setattr("shutil.which", lambda name: None)
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(ResourceError, match="takes a C\\+\\+ compiler; install g\\+\\+"):
            prepare(make_recipe(base, dataset, "optim.compile=true"))

    def test_an_unknown_recipe(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["train", "nothing"])
        assert ended.value.code == 2
        recipes = "14b-32gpu, 14b-lora-1gpu, nano, nano-smoke, nano-start"
        assert f"give a .yaml file or one of {recipes}" in capsys.readouterr().err


class TestCache:
    def test_the_cache_holds_what_encoding_gives(self, base, dataset, tmp_path):
        changes = ["objective.text_dropout=0", "data.canvases=1"]
        cached = make_recipe(base, dataset, *changes, f"data.cache={tmp_path / 'cache'}")
        make_cache(cached, on_sample=lambda name, problem: None)
        with_cache = Run(prepare(cached), tmp_path / "a", CPU)
        without = Run(prepare(make_recipe(base, dataset, *changes)), tmp_path / "b", CPU)
        from_cache = with_cache.source.example(with_cache.source.read(Drawn("s0", 0, ())))
        fresh = without.source.example(without.source.read(Drawn("s0", 0, ())))  # seed 0 is the cache's draw 0
        assert torch.allclose(from_cache.clean, fresh.clean, atol=5e-3)
        assert torch.allclose(from_cache.conditioning.guidance, fresh.conditioning.guidance, atol=5e-3)
        assert torch.allclose(from_cache.text, fresh.text, atol=5e-3)

    def test_another_recipe_does_not_take_it(self, base, dataset, tmp_path):
        cache = f"data.cache={tmp_path / 'cache'}"
        make_cache(make_recipe(base, dataset, cache), on_sample=lambda name, problem: None)
        with pytest.raises(InputError, match="was made with another model or other data settings"):
            run(make_recipe(base, dataset, cache, "data.shuffle=false"), tmp_path / "run")

    def test_other_encoders_do_not_take_it_and_a_model_that_was_moved_does(self, base, dataset, tmp_path):
        cache = f"data.cache={tmp_path / 'cache'}"
        make_cache(make_recipe(base, dataset, cache), on_sample=lambda name, problem: None)
        shutil.copytree(base, tmp_path / "moved")
        run(make_recipe(tmp_path / "moved", dataset, cache), tmp_path / "run")
        weights_file = tmp_path / "moved" / "vae" / "diffusion_pytorch_model.safetensors"
        content = bytearray(weights_file.read_bytes())
        content[-1] ^= 1
        weights_file.write_bytes(content)
        with pytest.raises(InputError, match="was made with another model"):
            run(make_recipe(tmp_path / "moved", dataset, cache), tmp_path / "other")

    def test_a_missing_cache_names_the_command(self, base, dataset, tmp_path):
        with pytest.raises(InputError, match="fill it with magref train cache RECIPE"):
            run(make_recipe(base, dataset, f"data.cache={tmp_path / 'cache'}"), tmp_path / "run")

    def test_a_file_is_no_cache(self, base, dataset, tmp_path):
        (tmp_path / "file").write_text("keep")
        recipe = make_recipe(base, dataset, f"data.cache={tmp_path / 'file'}")
        with pytest.raises(InputError, match=r"is a file; name a folder as data\.cache"):
            make_cache(recipe, on_sample=lambda name, problem: None)
        with pytest.raises(InputError, match=r"is a file; name a folder as data\.cache"):
            run(recipe, tmp_path / "run")

    def test_an_interrupted_filling_goes_on(self, base, dataset, tmp_path):
        recipe = make_recipe(base, dataset, f"data.cache={tmp_path / 'cache'}")
        seen: list[str] = []

        def interrupt(name, problem):
            del problem
            seen.append(name)
            if len(seen) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make_cache(recipe, on_sample=interrupt)
        make_cache(recipe, on_sample=lambda name, problem: seen.append(name))
        assert sorted(seen) == [f"s{n}" for n in range(6)]
