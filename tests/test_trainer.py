"""A training run: what it promises about its target, its order, going on and spreading."""

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
from magref.errors import InputError, ResourceError
from magref.flow import add_noise, training_sigmas
from magref.training import trainer as trainer_module
from magref.training.batches import Drawn
from magref.training.checkpoints import checkpoints
from magref.training.encoding import pad_texts
from magref.training.examples import clip_pixels, draw_canvas, read_clip
from magref.training.setup import make_cache, prepare
from magref.training.trainer import Run, train
from tiny import GOLDEN
from training_data import CPU, FRAMES, HEIGHT, WIDTH, logged, make_recipe, run, save_base, save_dataset


def weights(output):
    return load_file(output / "transformer" / "diffusion_pytorch_model.safetensors")


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
