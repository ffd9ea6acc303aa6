"""What several test files share: a small random model and a small dataset on disk, and two processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spread import Pair
from training_data import save_base, save_dataset


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
