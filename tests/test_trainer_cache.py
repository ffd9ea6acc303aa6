"""Latents that are kept for training: what the cache holds, and when it is refused."""

from __future__ import annotations

import shutil

import pytest
import torch

from magref.errors import InputError
from magref.training.batches import Drawn
from magref.training.setup import make_cache, prepare
from magref.training.trainer import Run
from training_data import CPU, make_recipe, run


def test_the_cache_holds_what_encoding_gives(base, dataset, tmp_path):
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


def test_another_recipe_does_not_take_it(base, dataset, tmp_path):
    cache = f"data.cache={tmp_path / 'cache'}"
    make_cache(make_recipe(base, dataset, cache), on_sample=lambda name, problem: None)
    with pytest.raises(InputError, match="was made with another model or other data settings"):
        run(make_recipe(base, dataset, cache, "data.shuffle=false"), tmp_path / "run")


def test_other_encoders_do_not_take_it_and_a_model_that_was_moved_does(base, dataset, tmp_path):
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


def test_a_missing_cache_names_the_command(base, dataset, tmp_path):
    with pytest.raises(InputError, match="fill it with magref train cache RECIPE"):
        run(make_recipe(base, dataset, f"data.cache={tmp_path / 'cache'}"), tmp_path / "run")


def test_a_file_is_no_cache(base, dataset, tmp_path):
    (tmp_path / "file").write_text("keep")
    recipe = make_recipe(base, dataset, f"data.cache={tmp_path / 'file'}")
    with pytest.raises(InputError, match=r"is a file; name a folder as data\.cache"):
        make_cache(recipe, on_sample=lambda name, problem: None)
    with pytest.raises(InputError, match=r"is a file; name a folder as data\.cache"):
        run(recipe, tmp_path / "run")


def test_an_interrupted_filling_goes_on(base, dataset, tmp_path):
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
