"""What several test files share: a small random model and a small dataset on disk, and two processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before the imports below bring Triton: its kernels then run on the CPU

from command_line import save_model, save_pictures
from spread import Pair
from training_data import save_base, save_dataset

if "PYTEST_XDIST_WORKER" in os.environ:  # several of these share the cores, and so do the processes that they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dataset(tmp_path_factory.mktemp("dataset") / "discs")


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.end()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small pictures gain nothing from threads, and lose much where the cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with three pictures in it."""
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    return tmp_path
