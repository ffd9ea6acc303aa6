"""A run over two processes, on gloo: it ends as one process alone would, and nobody waits for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from magref.errors import InputError, MagrefError, OutputError, SaidError
from magref.training import checkpoints as checkpoints_module
from magref.training import loading
from magref.training import trainer as trainer_module
from magref.training.checkpoints import checkpoints
from magref.training.export import whole
from magref.training.loading import build_transformer
from magref.training.parallel import Team
from magref.training.setup import make_transformer, prepare
from magref.training.trainer import Run, train
from training_data import make_recipe, save_dataset

CPU = Team(0, 1, torch.device("cpu"))
VALIDATED = ("validation.samples=3", "validation.every=2", "validation.videos=2")


def weights(output: Path) -> dict[str, torch.Tensor]:
    path = output / "transformer" / "diffusion_pytorch_model.safetensors" if output.is_dir() else output
    return load_file(path)


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
        ],
        ids=["full", "accumulated", "bf16", "lora", "unequal lengths"],
    )
    def test_loss_and_weights(self, base, dataset, tmp_path, pair, together, alone, loss, weight):
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
