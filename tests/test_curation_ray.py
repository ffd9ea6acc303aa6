"""A Ray cluster gives the dataset that one machine gives."""

from __future__ import annotations

import hashlib

import pytest

from magref.curation.running.engines import LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.run import curate
from magref.curation.running.sources import find_sources
from magref.curation.truth import TruthModels
from magref.dataset.format import DatasetInfo
from magref.dataset.store import Dataset
from magref.synthetic.footage import FootageSettings, write_footage

ray = pytest.importorskip("ray", reason="Ray is not installed")

CHANGES = [
    "source.min_short_side_px=64", "windows.frames=9", "aesthetic.least=4.0", "faces.least_side_px=8",
    "motion.least=0.0", "caption.least_words=4",
]  # fmt: skip


@pytest.mark.slow
def test_ray_gives_the_same_dataset(tmp_path) -> None:
    from magref.curation.running.cluster import RayEngine

    films = tmp_path / "films"
    list(write_footage(films, FootageSettings(height=96, width=144, shots=(2, 3), shot_frames=(20, 30)), count=2))
    (films / "broken.mp4").write_bytes(b"no video")
    engines = {"local": LocalEngine(0), "ray": RayEngine(processes=2)}
    try:
        for name, engine in engines.items():
            curate(
                find_sources([str(films)]), tmp_path / name / "dataset", read_settings(None, CHANGES),
                work=tmp_path / name / "work", make=TruthModels(str(films)), engine=engine,
                info=DatasetInfo(name="dataset"),
            )  # fmt: skip
    finally:
        ray.shutdown()
    one, other = (Dataset(tmp_path / name / "dataset") for name in engines)
    assert len(one) >= 1
    assert list(one) == list(other)
    for sample in one:
        for file in sample.files():
            digests = {hashlib.sha256((dataset.folder / file).read_bytes()).digest() for dataset in (one, other)}
            assert len(digests) == 1, file
