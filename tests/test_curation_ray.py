"""A Ray cluster gives the dataset that one machine gives."""

from __future__ import annotations

import hashlib
import os
import signal

import pytest

from magref.curation.running.cluster import RayEngine
from magref.curation.running.engines import LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.run import curate
from magref.curation.running.sources import Source, find_sources
from magref.curation.settings import CurationSettings
from magref.curation.truth import TruthModels
from magref.dataset.format import DatasetInfo
from magref.dataset.store import Dataset
from magref.synthetic.footage import FootageSettings, write_footage

ray = pytest.importorskip("ray", reason="Ray is not installed")

CHANGES = [
    "source.min_short_side_px=64", "windows.frames=9", "aesthetic.least=4.0", "faces.least_side_px=8",
    "motion.least=0.0", "caption.least_words=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine."""
    yield RayEngine(processes=2)
    ray.shutdown()


def test_a_video_that_kills_its_worker_costs_itself_alone(cluster) -> None:
    sources = [Source(name) for name in ("a", "b", "deadly", "c")]
    died: list[str] = []

    def die_over_one(source: Source) -> str:
        if source.address == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return source.id

    done = list(cluster.each(die_over_one, sources, lambda source: died.append(source.address)))
    assert sorted(done) == sorted(source.id for source in sources)
    assert died == ["deadly"]


def test_workers_hold_models_and_get_groups_of_videos(cluster, tmp_path) -> None:
    sources = [Source(str(number)) for number in range(20)]

    def look(group, models):
        for source in group:
            (tmp_path / source.id).write_text(f"{models} {len(group)}")
            yield source.id

    done = list(cluster.together(look, sources, lambda settings: "models", CurationSettings()))
    assert sorted(done) == sorted(source.id for source in sources)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"models 16", "models 4"}


@pytest.mark.slow
def test_ray_gives_the_same_dataset(cluster, tmp_path) -> None:
    films = tmp_path / "films"
    list(write_footage(films, FootageSettings(height=96, width=144, shots=(2, 3), shot_frames=(20, 30)), count=2))
    (films / "broken.mp4").write_bytes(b"no video")
    engines = {"local": LocalEngine(0), "ray": cluster}
    for name, engine in engines.items():
        curate(
            find_sources([str(films)]), tmp_path / name / "dataset", read_settings(None, CHANGES),
            work=tmp_path / name / "work", make=TruthModels(str(films)), engine=engine,
            info=DatasetInfo(name="dataset"),
        )  # fmt: skip
    one, other = (Dataset(tmp_path / name / "dataset") for name in engines)
    assert len(one) >= 1
    assert list(one) == list(other)
    for sample in one:
        for file in sample.files():
            digests = {hashlib.sha256((dataset.folder / file).read_bytes()).digest() for dataset in (one, other)}
            assert len(digests) == 1, file
