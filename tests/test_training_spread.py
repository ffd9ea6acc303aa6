"""A run over two processes, on gloo: it ends as one process alone would, and nobody waits for ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from magref import MagrefPipeline
from magref.checkpoints.headers import read_json
from magref.errors import InputError, ResourceError, SaidError
from magref.training.checkpoints import checkpoints, open_run
from magref.training.export import whole
from magref.training.parallel import Team
from magref.training.setup import make_transformer, prepare
from magref.training.skipped import Skipped
from magref.training.trainer import Run, train
from training_data import HEIGHT, WIDTH, make_recipe, save_dataset

CPU = Team(0, 1, torch.device("cpu"))
BROKEN = "it is broken"


def weights(output: Path) -> dict[str, torch.Tensor]:
    if not output.is_dir():
        return load_file(output)
    transformer = load_file(output / "transformer" / "diffusion_pytorch_model.safetensors")
    return transformer | load_file(output / "text_encoder" / "model.safetensors")


def without_dropout(base: Path, folder: Path) -> Path:
    """The same model; each process drops others of its text encoder's features."""
    shutil.copytree(base, folder)
    path = folder / "text_encoder" / "config.json"
    path.write_text(json.dumps(read_json(path) | {"dropout_rate": 0.0}))
    return folder


def logged(folder: Path, key: str = "loss") -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [entry[key] for entry in map(json.loads, lines) if key in entry]


def run(team, recipe, folder):
    return train(recipe, folder, team=team)


class TestEqualToOneProcess:
    @pytest.mark.parametrize(
        ("together", "alone", "loss", "weight"),
        [
            ("optim.batch=1", "optim.batch=2", 1e-4, 2e-3),
            ("optim.batch=1 optim.accumulate=2", "optim.batch=4", 1e-4, 2e-3),
            ("optim.batch=1 optim.precision=bf16", "optim.batch=2 optim.precision=bf16", 5e-3, 2e-2),
            ("optim.batch=1 model.lora.rank=4", "optim.batch=2 model.lora.rank=4", 1e-4, 2e-3),
            ("optim.batch=2 model.mechanism=tokenwise", "optim.batch=4 model.mechanism=tokenwise", 1e-4, 2e-3),
            ("optim.batch=1 model.text_encoder=true", "optim.batch=2 model.text_encoder=true", 1e-4, 2e-3),
        ],
        ids=["full", "accumulated", "bf16", "lora", "unequal lengths", "text encoder"],
    )
    def test_loss_and_weights(self, base, dataset, tmp_path, pair, together, alone, loss, weight):
        base = without_dropout(base, tmp_path / "base")
        one = run(CPU, make_recipe(base, dataset, *alone.split()), tmp_path / "one").output
        recipe = make_recipe(base, dataset, *together.split())
        two, same = (each.output for each in pair.run(run, recipe, tmp_path / "two"))
        assert two == same
        for figure in ("loss", "gradient_norm"):
            assert logged(tmp_path / "two", figure) == pytest.approx(logged(tmp_path / "one", figure), rel=loss)
        ours, theirs = weights(one), weights(two)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert torch.allclose(tensor.float(), theirs[name].float(), atol=weight), name
        if two.is_dir():
            assert read_json(two / "transformer" / "config.json")["_class_name"] == "WanTransformer3DModel"
            MagrefPipeline.from_pretrained(two)

    @pytest.mark.slow
    @pytest.mark.parametrize(("precision", "loss", "weight"), [("fp32", 1e-4, 2e-3), ("bf16", 5e-3, 2e-2)])
    def test_compiled_with_self_attention_kept_as_in_the_papers_recipe(
        self, base, dataset, tmp_path, pair, precision, loss, weight
    ):
        plain = make_recipe(base, dataset, "optim.batch=2", "optim.steps=2", f"optim.precision={precision}")
        saving = ("optim.checkpointing=selective", "optim.compile=true")
        spread = make_recipe(base, dataset, "optim.batch=1", "optim.steps=2", f"optim.precision={precision}", *saving)
        one, (two, _) = run(CPU, plain, tmp_path / "one").output, pair.run(run, spread, tmp_path / "two")
        for figure in ("loss", "gradient_norm"):
            assert logged(tmp_path / "two", figure) == pytest.approx(logged(tmp_path / "one", figure), rel=loss)
        for name, tensor in weights(one).items():
            assert torch.allclose(tensor.float(), weights(two.output)[name].float(), atol=weight), name

    def test_validation_is_dealt_out_and_gives_what_one_process_gives(self, base, dataset, tmp_path, pair):
        changes = ["validation.samples=3", "validation.every=2", "validation.videos=2", "optim.steps=2"]
        run(CPU, make_recipe(base, dataset, *changes, "optim.batch=2"), tmp_path / "one")
        passes = pair.run(counted, make_recipe(base, dataset, *changes, "optim.batch=1"), tmp_path / "two")
        assert passes == [14, 14]  # two rounds of seven passes each, the last of one process over again
        for figure, within in (("validation_loss", {"rel": 1e-4}), ("caption_gain", {"abs": 1e-5})):
            ours, theirs = (logged(tmp_path / side, figure) for side in ("one", "two"))
            assert theirs == [pytest.approx(ours[0], **within)]
        written = {path.name for path in (tmp_path / "two" / "samples" / "step-00000002").iterdir()}
        assert written == {"0.mp4", "1.mp4", "sheet.png"}

    def test_validation_videos_are_made_in_bfloat16_too(self, base, dataset, tmp_path, pair):
        """Spread weights are float32 by name and bfloat16 when they come together."""
        changes = ("validation.samples=2", "validation.every=2", "validation.videos=1", "optim.steps=2")
        pair.run(run, make_recipe(base, dataset, *changes, "optim.batch=1", "optim.precision=bf16"), tmp_path / "run")
        assert (tmp_path / "run" / "samples" / "step-00000002" / "0.mp4").stat().st_size > 0

    def test_spread_blocks_are_compiled_though_they_have_another_name(self, base, dataset, tmp_path, pair):
        recipe = make_recipe(base, dataset, "optim.batch=1", "optim.steps=1", "optim.compile=true")
        assert pair.run(compiled, recipe, tmp_path / "run") == [True, True]

    def test_random_weights_are_drawn_in_shards_and_are_those_of_one_process(self, base, dataset, pair):
        recipe = make_recipe(base, dataset, "model.fresh=true")
        alone = {name: p.detach() for name, p in make_transformer(prepare(recipe), CPU).named_parameters()}
        drawn, largest = pair.run(fresh_weights, recipe)[0]
        assert drawn.keys() == alone.keys()
        assert all(torch.equal(alone[name], tensor) for name, tensor in drawn.items())
        assert largest < sum(tensor.numel() for tensor in alone.values()) / 4  # no process drew much at a time

    def test_a_checkpoint_of_two_goes_on_alone_where_a_step_has_as_many_samples(self, base, dataset, tmp_path, pair):
        pair.run(run, make_recipe(base, dataset, "optim.batch=1", "optim.steps=2"), tmp_path / "run")
        shutil.rmtree(tmp_path / "run" / "model")
        with pytest.raises(InputError, match="takes 2 samples a step, and this would take 1"):
            run(CPU, make_recipe(base, dataset, "optim.batch=1"), tmp_path / "run")
        resumed = run(CPU, make_recipe(base, dataset, "optim.batch=2"), tmp_path / "run").output
        whole_run = run(CPU, make_recipe(base, dataset, "optim.batch=2"), tmp_path / "one").output
        for name, tensor in weights(whole_run).items():
            assert torch.allclose(tensor.float(), weights(resumed)[name].float(), atol=2e-3), name


def compiled(team, recipe, folder):
    """Trains without a compiler; returns whether every block would have been compiled."""
    begun = Run(prepare(recipe), folder, team)
    with torch.compiler.set_stance("force_eager"):
        begun.go(lambda step, figures: None)
    return all(block._compiled_call_impl is not None for block in begun.transformer.blocks)


def counted(team, recipe, folder):
    """Trains; returns how many passes without gradients went through the transformer but for videos."""
    passes = []
    genuine = Run._show
    begun = Run(prepare(recipe), folder, team)
    begun.transformer.register_forward_pre_hook(lambda *_: passes.append(torch.is_grad_enabled()))

    def show(*arguments):
        hidden = list(passes)
        genuine(begun, *arguments)
        passes[:] = hidden

    begun._show = show
    begun.go(lambda step, figures: None)
    return passes.count(False)


def fresh_weights(team, recipe):
    """The whole weights, and the most random numbers that this process drew for one tensor."""
    drawn = [0]
    genuine = torch.Tensor.uniform_

    def uniform(tensor, *arguments, **named):
        drawn.append(tensor.numel())
        return genuine(tensor, *arguments, **named)

    torch.Tensor.uniform_ = uniform
    try:
        transformer = make_transformer(prepare(recipe), team)
    finally:
        torch.Tensor.uniform_ = genuine
    return {name: whole(p.detach()) for name, p in transformer.named_parameters()}, max(drawn)


class TestStops:
    def test_what_one_process_hears_in_a_validation_stops_both_and_the_step_is_saved(
        self, base, dataset, tmp_path, pair
    ):
        changes = ["validation.samples=4", "validation.every=1", "validation.videos=0", "save_every=100"]
        recipe = make_recipe(base, dataset, "optim.batch=1", *changes)
        assert pair.run(stopped_in_validation, recipe, tmp_path / "run") == [(1, None, 7), (1, None, 7)]
        assert [step for step, _ in checkpoints(tmp_path / "run")] == [1]
        assert all(each.step == 4 for each in pair.run(run, recipe, tmp_path / "run"))


def stopped_in_validation(team, recipe, folder):
    """Trains; the second process gets a SIGTERM in the first validation. Returns the end, and the losses until then."""
    team.first(lambda: open_run(folder, recipe))
    begun = Run(prepare(recipe), folder, team)
    passes = []

    def look(*_):
        passes.append(torch.is_grad_enabled())
        if team.rank == 1 and not passes[-1]:
            os.kill(os.getpid(), signal.SIGTERM)

    begun.transformer.register_forward_pre_hook(look)
    finished = begun.go(lambda step, figures: None)
    return finished.step, finished.output, passes.count(False)


class TestBadSamples:
    def test_one_alone_in_its_bucket_is_replaced_from_the_others_in_both(self, base, tmp_path, pair):
        dataset = save_dataset(tmp_path / "discs", 1, prefix="a")
        save_dataset(dataset, 3, prefix="b", width=HEIGHT, height=WIDTH)
        save_dataset(dataset, 2, prefix="c", width=HEIGHT, height=HEIGHT)
        (dataset / "clips" / "a0.mp4").write_bytes(b"no video")
        sizes = f"data.sizes=[[{WIDTH}, {HEIGHT}], [{HEIGHT}, {WIDTH}], [{HEIGHT}, {HEIGHT}]]"
        recipe = make_recipe(base, dataset, sizes, "optim.batch=3")
        assert [each.step for each in pair.run(run, recipe, tmp_path / "run")] == [4, 4]
        assert json.loads((tmp_path / "run" / "skipped.jsonl").read_text())["sample"] == "a0"


class TestTooLittleMemory:
    def test_for_a_video_of_one_process_both_go_on_without(self, base, dataset, tmp_path, pair):
        changes = ["validation.samples=2", "validation.every=2", "validation.videos=2", "optim.steps=2"]
        recipe = make_recipe(base, dataset, *changes, "optim.batch=1")
        assert all(pair.run(small_second, recipe, tmp_path / "run", "_decoded"))
        assert not list((tmp_path / "run" / "samples").glob("*/*.mp4"))

    def test_in_the_midst_of_a_pass_that_both_share_ends_the_run_with_a_remedy(self, base, dataset, tmp_path, pair):
        """The others wait in that pass; torchrun ends them. Here nobody waits, since it fails in both."""
        changes = ["validation.samples=2", "validation.every=2", "validation.videos=2", "optim.steps=2"]
        recipe = make_recipe(base, dataset, *changes, "optim.batch=1")
        said = pair.run(small_both, recipe, tmp_path / "run")
        assert (
            said
            == [
                "memory does not suffice for validation videos; set validation.videos to 0, or use smaller "
                "data.sizes or fewer data.frames"
            ]
            * 2
        )


def no_memory(*_, **__):
    raise torch.OutOfMemoryError("no memory left")


def small_second(team, recipe, folder, part):
    """Trains; in the second process memory does not suffice for this part of a video."""
    with pytest.MonkeyPatch.context() as patch:
        if team.rank == 1:
            patch.setattr(MagrefPipeline, part, no_memory)
        return train(recipe, folder, team=team).output is not None


def small_both(team, recipe, folder):
    """What a run says that has too little memory for sampling."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MagrefPipeline, "_denoise", no_memory)
        try:
            train(recipe, folder, team=team)
        except ResourceError as error:
            return str(error)


class TestAccumulation:
    def test_gradients_lie_in_shards_between_the_passes(self, base, dataset, tmp_path, pair):
        recipe = make_recipe(base, dataset, "optim.batch=1", "optim.accumulate=2", "optim.steps=1")
        assert pair.run(kinds_of_gradients, recipe, tmp_path / "run") == [{"DTensor"}, {"DTensor"}]


def kinds_of_gradients(team, recipe, folder):
    """What the parameters have as gradients when the second pass begins."""
    begun = Run(prepare(recipe), folder, team)
    seen = []

    def look(*_):
        seen.append({type(p.grad).__name__ for p in begun.transformer.parameters() if p.grad is not None})

    begun.transformer.register_forward_pre_hook(look)
    begun.go(lambda step, figures: None)
    return seen[1]


class TestTeam:
    def test_what_the_first_decides_all_know_and_one_says_what_went_wrong(self, pair):
        ours, theirs = f"InputError: {BROKEN}", f"SaidError: {BROKEN}"
        assert pair.run(agreeing) == [
            {"first": "of 0", "gather": [0, 1], "most": 5, "first fails": ours, "second fails": theirs},
            {"first": "of 0", "gather": [0, 1], "most": 5, "first fails": theirs, "second fails": ours},
        ]

    def test_waiting_does_not_end_with_the_patience_of_the_cards(self, pair):
        assert pair.run(patience) == [86400, 86400]

    def test_the_skipped_of_all_are_one_list(self, tmp_path, pair):
        assert pair.run(skipping, tmp_path / "skipped.jsonl") == [3, 3]
        lines = (tmp_path / "skipped.jsonl").read_text().splitlines()
        assert sorted(json.loads(line)["sample"] for line in lines) == ["both", "of 0", "of 1"]


def agreeing(team):
    def fail():
        raise InputError(BROKEN)

    def outcome(work):
        try:
            work()
        except (InputError, SaidError) as error:
            return f"{type(error).__name__}: {error}"

    return {
        "first": team.first(lambda: f"of {team.rank}"),
        "gather": team.gather(team.rank),
        "most": team.most(3 + 2 * team.rank),
        "first fails": outcome(lambda: team.first(fail)),
        "second fails": outcome(lambda: team.each(fail if team.rank == 1 else lambda: None)),
    }


def patience(team):
    return team.desk._get_backend(torch.device("cpu")).options._timeout.total_seconds()


def skipping(team, path):
    skipped = Skipped(path, team)
    for name in (f"of {team.rank}", "both"):
        skipped.note(name, BROKEN)
    return skipped.share()


class TestTorchrun:
    def test_sigterms_from_everywhere_are_one_request(self, base, dataset, tmp_path):
        """As a cluster sends them: to torchrun, which passes them on, and to each process."""
        path, folder = tmp_path / "recipe.yaml", tmp_path / "run"
        recipe = make_recipe(base, dataset, "optim.batch=1", "optim.steps=100000", "save_every=100000")
        path.write_text(json.dumps(recipe.model_dump(mode="json")))
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
        command += ["-m", "magref", "train", str(path), "-o", str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "600"  # for slow machines; see examples/train.slurm
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            begun = time.monotonic()
            while not (folder / "log.jsonl").exists() and time.monotonic() - begun < 600:
                time.sleep(0.05)
            for each in (agent := psutil.Process(process.pid), *agent.children()):
                each.send_signal(signal.SIGTERM)
            said = " ".join(process.communicate(timeout=600)[1].split())
        finally:
            process.kill()
        assert [step for step, _ in checkpoints(folder)] == [int(said.split("stopped after step ")[1].split(",")[0])]
        assert said.count("which is saved; the same command goes on from there") == 1
        assert said.count("for 100000 steps in") == 1
        assert not (folder / "model").exists()
