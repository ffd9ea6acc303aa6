"""A curation through every adapter, with tiny random networks of the true architectures loaded from their folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="needs the curate extra")

from magref.cli import main
from magref.curation.models.catalogue import HEAD_FILE, MEAN_SHAPE_FILE
from magref.curation.running.bundle import PretrainedModels
from magref.curation.running.engines import LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.run import curate
from magref.curation.running.sources import Source
from magref.curation.running.work import Work
from magref.dataset.format import DatasetInfo
from magref.dataset.store import Dataset
from magref.video import write_video
from test_curation_models_aesthetics import EMBEDDING, head_tensors
from test_curation_models_server import completion, server  # noqa: F401 - a fixture
from tiny_faces import picture, save_mean_shape, save_pack
from tiny_models import save_clip, save_grounding_dino, save_sam

CAPTION = "A dog runs past a red ball in the park."
CHANGES = [
    "source.min_short_side_px=64", "windows.frames=5", "windows.fps=null", "motion.most=1000", "aesthetic.least=-1000",
    "caption.least_words=4", "boxes.least_score=0.0", "boxes.same_iou=0.01", "objects.usual.area=[0, 1]",
    "objects.usual.fill=[0, 100]", "objects.usual.aspect=[0.0001, 10000]", "objects.usual.parts=100000",
    "objects.human_iou=1.0", "objects.face_overlap=1.0", "objects.same_iou=1.0", "identities.cosine=-1.0",
    "identities.follow_cosine=-1.0", "identities.least_faces=1", "faces.least_score=0.99", "faces.least_side_px=1",
    "candidates.yaw=180", "candidates.pitch=180", "candidates.roll=180",
]  # fmt: skip
"""Random networks find whatever they find; all of it passes."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[tuple[str, str], ...]:
    """Weights by the catalogue's names."""
    place = tmp_path_factory.mktemp("weights")
    save_clip(place / "clip-vit-l14", embedding=EMBEDDING)
    save_grounding_dino(place / "grounding-dino-base")
    save_sam(place / "sam2.1-hiera-large")
    save_pack(place / "buffalo_l")
    for name in ("aesthetic-predictor", "meanshape_68"):
        (place / name).mkdir()
    torch.save(head_tensors(), place / "aesthetic-predictor" / HEAD_FILE)
    save_mean_shape(place / "meanshape_68" / MEAN_SHAPE_FILE)
    return tuple((path.name, str(path)) for path in sorted(place.iterdir()))


def test_videos_go_through_all_networks(folders, server, tmp_path) -> None:  # noqa: F811
    def answer(body, attempt):
        asked = json.dumps(body)
        named = {"subjects": ["dog"], "objects": ["red ball"], "background": ["park"]}
        return completion(json.dumps(named) if CAPTION in asked else CAPTION)

    server.behave = answer
    wide = picture(100, 300, seed=1)
    frames = np.stack([wide[:, 4 * n : 4 * n + 160] for n in range(12)])
    source = Source(str(write_video(frames, tmp_path / "a.mp4", fps=8)))
    make = PretrainedModels(device="cpu", folders=folders, server=server.url).ready()
    curate(
        [source], tmp_path / "dataset", read_settings(None, CHANGES), work=tmp_path / "work", make=make,
        engine=LocalEngine(0), info=DatasetInfo(name="networks"),
    )  # fmt: skip
    work = Work(tmp_path / "work")
    for stage in ("aesthetic", "captions", "boxes", "faces"):
        rows = work.read(stage, source.id, "clip")
        assert [row.outcome.state for row in rows] == ["kept", "kept"], stage
        device = "cpu" if stage != "captions" else f"server {server.url}"
        assert work.took(stage, source.id).device == device
    assert all("embedding" in row.data for row in work.read("aesthetic", source.id, "clip"))
    assert work.read("boxes", source.id, "box")
    assert work.read("objects", source.id, "object")
    faces = [face for row in work.read("faces", source.id, "clip") for at in row.data["faces"] for face in at]
    assert faces
    assert all(face["pose"] and face["embedding"] for face in faces)
    samples = list(Dataset(tmp_path / "dataset"))
    assert samples
    assert all(sample.caption == CAPTION for sample in samples)


def test_weights_are_asked_for_before_anything_is_done(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    wanted = []
    monkeypatch.setattr("magref.curation.models.fetching.fetch", lambda weights, folder, **_: wanted.append(weights))
    write_video(np.zeros((4, 64, 96, 3), np.uint8), tmp_path / "a.mp4", fps=8)
    with pytest.raises(SystemExit) as ended:
        main(["curate", "a.mp4", "-o", "dataset"])
    assert ended.value.code == 2
    assert [weights.name for weights in wanted] == ["clip-vit-l14"]
    assert "the weights clip-vit-l14 for aesthetics" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_weights_are_named_whole_so_that_other_machines_find_them(folders, monkeypatch) -> None:
    monkeypatch.chdir(folders[0][1] + "/..")
    given = tuple((name, name) for name, _ in folders)
    made = PretrainedModels(device="cpu", folders=given, server="http://127.0.0.1:9/v1").ready()
    assert dict(made.folders) == dict(folders)
    assert made.fetch is None
