"""Near duplicates by what a network makes of them, where one looks at the clips anyhow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("scenedetect", reason="needs the curate extra")

from magref.curation.models.aesthetics import ClipAesthetics
from magref.curation.models.shelf import Shelf
from magref.curation.outcome import Kept
from magref.curation.running import asking, looking
from magref.curation.running.bundle import Models
from magref.curation.running.finishing import Candidate, judge
from magref.curation.running.options import read_settings
from magref.curation.running.rows import Row, pack, unpack
from magref.curation.running.sources import Source
from magref.curation.running.work import open_work
from magref.curation.settings import DuplicateSettings
from magref.video import write_video
from test_curation_models_aesthetics import EMBEDDING, head_tensors
from tiny_models import save_clip


def direction(seed: int, near: float = 0.0) -> np.ndarray:
    """One of many directions, or one a little beside it."""
    vector = np.random.default_rng(seed).standard_normal(64) + near * np.random.default_rng(99).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def candidate(number: int, looks: np.ndarray, embedding: np.ndarray | None, worth: float) -> Candidate:
    data = {"hash": str(number), "looks": pack(looks), "identities": []}
    if embedding is not None:
        data["embedding"] = pack(embedding)
    return Candidate("film", Row("sample", f"film-{number}", Kept(), {"worth": worth}, data))


def test_samples_that_a_network_sees_as_one_are_told_though_they_look_different():
    found = [
        candidate(0, direction(0), direction(10), worth=4.0),
        candidate(1, direction(1), direction(10, near=0.05), worth=5.0),
        candidate(2, direction(2), direction(11), worth=3.0),
        candidate(3, direction(3), None, worth=1.0),
    ]
    outcomes = judge(found, DuplicateSettings(), [False] * 4)
    assert outcomes[1:] == [Kept()] * 3
    assert outcomes[0].reason == "nearly the same"
    assert 0 < outcomes[0].value < outcomes[0].limit
    assert judge(found, DuplicateSettings(near=1e-6), [False] * 4) == [Kept()] * 4


def test_the_aesthetic_stage_notes_the_direction_that_clip_sees_a_clip_in(tmp_path):
    torch.save(head_tensors(), tmp_path / "head.pth")
    rater = ClipAesthetics(save_clip(tmp_path / "clip", embedding=EMBEDDING), tmp_path / "head.pth", shelf=Shelf("cpu"))
    rng = np.random.default_rng(0)
    frames = np.repeat(np.repeat(rng.integers(0, 256, (9, 12, 18, 3), dtype=np.uint8), 6, axis=1), 6, axis=2)
    settings = read_settings(
        None, ["source.min_short_side_px=32", "windows.frames=5", "windows.fps=null", "motion.most=1000"]
    )
    source = Source(str(write_video(frames, tmp_path / "a.mp4", fps=8)))
    work = open_work(tmp_path / "work", settings, [source])
    work.write("scan", source.id, looking.scan(source, work, settings))
    assert list(asking.aesthetic([source], work, settings, Models(None, None, None, None, rater))) == [source.id]
    (row,) = work.read("aesthetic", source.id, "clip")
    embedding = unpack(row.data["embedding"])
    assert embedding.shape == (EMBEDDING,)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    assert row.scores["mean"] == pytest.approx(np.mean(row.data["scores"]))
    assert work.took("aesthetic", source.id).device == "cpu"
