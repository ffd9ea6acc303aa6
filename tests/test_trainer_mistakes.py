"""What can go wrong in a training run: one sentence, and nothing lost."""

from __future__ import annotations

import json

import pytest
import torch

from magref import MagrefPipeline
from magref.cli import main
from magref.errors import InputError, MagrefError, OutputError, ResourceError
from magref.training import checkpoints as checkpoints_module
from magref.training import trainer as trainer_module
from magref.training.checkpoints import checkpoints
from magref.training.parallel import Team
from magref.training.setup import make_cache, prepare
from training_data import HEIGHT, WIDTH, logged, make_recipe, run, save_dataset


def test_a_bad_sample_is_skipped_counted_and_named(base, tmp_path):
    dataset = save_dataset(tmp_path / "discs")
    (dataset / "clips" / "s2.mp4").write_bytes(b"no video")
    run(make_recipe(base, dataset, "optim.steps=6"), tmp_path / "run")
    assert skipped(tmp_path / "run") == {"s2"}
    assert logged(tmp_path / "run")[-1]["skipped"] == 1


def test_a_bad_sample_in_a_batch_of_one_is_replaced_from_its_bucket(base, tmp_path):
    dataset = save_dataset(tmp_path / "discs", 4)
    for name in ("s1", "s2"):
        (dataset / "clips" / f"{name}.mp4").write_bytes(b"no video")
    assert run(make_recipe(base, dataset, "optim.batch=1", "optim.steps=5"), tmp_path / "run").step == 5


def buckets_of_which_one_is_broken(folder):
    """Three buckets of a sample or two; of the first, which has a single one, nothing can be read."""
    save_dataset(folder, 1, prefix="a")
    save_dataset(folder, 2, prefix="b", width=HEIGHT, height=WIDTH)
    save_dataset(folder, 2, prefix="c", width=HEIGHT, height=HEIGHT)
    (folder / "clips" / "a0.mp4").write_bytes(b"no video")
    return folder, f"data.sizes=[[{WIDTH}, {HEIGHT}], [{HEIGHT}, {WIDTH}], [{HEIGHT}, {HEIGHT}]]"


def skipped(folder):
    return {entry["sample"] for entry in map(json.loads, (folder / "skipped.jsonl").read_text().splitlines())}


def test_a_bad_sample_alone_in_its_bucket_is_replaced_from_the_others(base, tmp_path):
    """Its batch then holds several shapes."""
    dataset, sizes = buckets_of_which_one_is_broken(tmp_path / "discs")
    assert run(make_recipe(base, dataset, sizes, "optim.batch=4"), tmp_path / "run").step == 4
    assert skipped(tmp_path / "run") == {"a0"}


def test_and_so_is_one_of_a_cache_whose_file_has_changed(base, tmp_path):
    dataset, sizes = buckets_of_which_one_is_broken(tmp_path / "discs")
    save_dataset(dataset, 1, prefix="a1")
    recipe = make_recipe(base, dataset, sizes, "optim.batch=4", f"data.cache={tmp_path / 'cache'}")
    make_cache(recipe, on_sample=lambda *_: None)
    (dataset / "clips" / "a10.mp4").write_bytes(b"another video")
    assert run(recipe, tmp_path / "run").step == 4
    assert skipped(tmp_path / "run") == {"a0", "a10"}


def test_a_dataset_without_one_usable_sample_ends_in_a_sentence_after_all_are_listed(base, tmp_path):
    dataset = save_dataset(tmp_path / "discs", 2)
    for clip in (dataset / "clips").iterdir():
        clip.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"none of the 2 training samples can be used \(s\d: .*\); mend those that"):
        run(make_recipe(base, dataset), tmp_path / "run")
    assert skipped(tmp_path / "run") == {"s0", "s1"}


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(base, dataset, tmp_path, monkeypatch):
    genuine = trainer_module.Objective.loss
    calls = []

    def broken(self, examples, sigma=None):
        calls.append(1)
        loss = genuine(self, examples, sigma)
        return loss * float("nan") if len(calls) == 3 else loss

    monkeypatch.setattr(trainer_module.Objective, "loss", broken)
    with pytest.raises(ResourceError, match=r"not a number at step 3; the .* 2 is kept: .*the samples s\d, s\d$"):
        run(make_recipe(base, dataset), tmp_path / "run")
    assert [step for step, _ in checkpoints(tmp_path / "run")] == [2]


def no_memory(*_, **__):
    raise torch.OutOfMemoryError("no memory left")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("make_transformer", "for the models; use optim.checkpointing full, a smaller optim.batch"),
        ("Objective.loss", "for training on 2 samples at a time; use optim.checkpointing full"),
    ],
)
def test_too_little_memory_is_told_with_the_remedy(base, dataset, tmp_path, monkeypatch, place, sentence):
    monkeypatch.setattr(f"magref.training.trainer.{place}", no_memory)
    with pytest.raises(ResourceError, match=f"memory does not suffice {sentence}"):
        run(make_recipe(base, dataset), tmp_path / "run")


def test_too_little_memory_for_the_cache_is_no_samples_fault(base, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("magref.training.encoding.Encoders.clip", no_memory)
    told = []
    with pytest.raises(ResourceError, match=r"for encoding a sample; use smaller data\.sizes or fewer"):
        make_cache(make_recipe(base, dataset, f"data.cache={tmp_path / 'cache'}"), on_sample=lambda *a: told.append(a))
    assert not told


@pytest.mark.parametrize("part", ["_conditioning", "_denoise", "_decoded"])
def test_a_video_that_memory_does_not_suffice_for_is_left_out(base, dataset, tmp_path, monkeypatch, caplog, part):
    monkeypatch.setattr(MagrefPipeline, part, no_memory)
    changes = ("validation.samples=1", "validation.every=2", "optim.steps=2")
    assert run(make_recipe(base, dataset, *changes), tmp_path / "run").output is not None
    assert "step 2 goes without its validation videos: memory does not suffice" in caplog.text
    assert "set validation.videos to 0" in caplog.text
    assert any("validation_loss" in entry for entry in logged(tmp_path / "run"))


def test_a_full_disk_keeps_the_last_checkpoint(base, dataset, tmp_path, monkeypatch):
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
def test_a_wrong_key_is_named(base, dataset, change, sentence):
    with pytest.raises(InputError, match=sentence):
        make_recipe(base, dataset, change)


def test_a_wrong_length_names_the_nearest(base, dataset):
    with pytest.raises(InputError, match="6 frames are not 4k\\+1; use 5 or 9"):
        prepare(make_recipe(base, dataset, "data.frames=[6]"))


def test_clips_that_are_too_short_are_named_and_passed_over(base, dataset, tmp_path):
    with pytest.raises(InputError, match="no samples to train on"):
        run(make_recipe(base, dataset, "data.frames=[81]"), tmp_path / "run")
    assert "6 frames; 81 are the fewest" in (tmp_path / "run" / "skipped.jsonl").read_text()


def test_more_processes_than_samples(base, dataset, tmp_path):
    team = Team(0, 8, torch.device("cpu"))
    from magref.training.batches import Order

    with pytest.raises(InputError, match="6 samples are too few for 8 processes; use 6 at most"):
        Order([(f"s{n}", 0) for n in range(6)], batch=1, passes=1, world=team.world, seed=0)


def test_a_folder_that_is_no_run_is_left_alone(base, dataset, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match="is not empty and no run; choose another with -o"):
        run(make_recipe(base, dataset), tmp_path / "mine")


def test_no_dataset(base, tmp_path):
    with pytest.raises(MagrefError, match="is no dataset"):
        prepare(make_recipe(base, tmp_path / "none"))


def test_compiling_without_a_compiler(base, dataset, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ResourceError, match="takes a C\\+\\+ compiler; install g\\+\\+"):
        prepare(make_recipe(base, dataset, "optim.compile=true"))


def test_an_unknown_recipe(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "nothing"])
    assert ended.value.code == 2
    recipes = "14b-32gpu, 14b-lora-1gpu, nano, nano-smoke, nano-start"
    assert f"give a .yaml file or one of {recipes}" in capsys.readouterr().err
