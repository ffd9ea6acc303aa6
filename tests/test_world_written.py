"""The synthetic world on disk: datasets and films are whole, true, written once, and go on where they stopped."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from magref.cli import main
from magref.dataset.check import check_dataset
from magref.dataset.store import Dataset
from magref.errors import InputError, OutputError
from magref.synthetic.footage import FootageSettings, read_truth, render_film, write_footage
from magref.synthetic.plans import WorldConfig
from magref.synthetic.samples import SampleSettings, write_samples
from magref.synthetic.scenes import boxes_of
from magref.synthetic.world import render_scenes
from magref.video import read_video

pytestmark = pytest.mark.usefixtures("one_thread")


class TestSamples:
    SETTINGS = SampleSettings(frames=3, height=32, width=48, seed=4, world=WorldConfig(reference_px=32, references=2))

    def test_a_dataset_is_whole_and_true(self, tmp_path):
        assert all(sample.new for sample in write_samples(tmp_path / "set", self.SETTINGS, count=5, batch=2))
        assert list(check_dataset(tmp_path / "set", decode=True)) == []
        scenes = render_scenes(range(5), frames=3, height=32, width=48, seed=4, config=self.SETTINGS.world)
        people = 0
        for row, sample in enumerate(Dataset(tmp_path / "set")):
            truth = scenes.truths[row]
            assert sample.caption == truth.caption
            assert sample.provenance.license == "CC0-1.0"
            assert sample.provenance.made_by.startswith("magref ")
            assert [s.role == "background" for s in sample.subjects].count(True) == (truth.place is not None)
            for subject, known in zip(sample.subjects, truth.subjects, strict=False):
                assert (subject.label, subject.span, subject.role) == (known.label, known.span, known.role)
                assert subject.identity == f"{known.kind}-{known.identity}"
                assert len(subject.pictures) == 2
            clip, _ = read_video(tmp_path / "set" / sample.clip.path)
            assert np.abs(clip.astype(int) - scenes.frames[row].permute(0, 2, 3, 1).numpy()).mean() < 8
            for mask in sample.masks:
                people += 1
                slot = next(n for n, s in enumerate(sample.subjects) if s.key == mask.subject)
                with Image.open(tmp_path / "set" / mask.path) as image:
                    assert np.array_equal(np.asarray(image) > 0, scenes.masks[row, slot, mask.frame].numpy())
        assert people > 0

    def test_it_goes_on_where_it_stopped_and_refuses_other_settings(self, tmp_path):
        list(write_samples(tmp_path / "set", self.SETTINGS, count=2))
        again = list(write_samples(tmp_path / "set", self.SETTINGS, count=3))
        assert [sample.new for sample in again] == [False, False, True]
        assert len(Dataset(tmp_path / "set")) == 3
        differing = r"description '\.\.\..*\"seed\":4,.*, not '\.\.\..*\"seed\":5,.*; give the same, or choose another"
        with pytest.raises(OutputError, match=differing):
            list(write_samples(tmp_path / "set", self.SETTINGS.model_copy(update={"seed": 5}), count=1))

    def test_the_command(self, tmp_path, capsys):
        def run(*arguments: object) -> int:
            with pytest.raises(SystemExit) as end:
                main(["dataset", "synthesize", *map(str, arguments)])
            return end.value.code

        made = ("-o", tmp_path / "set", "--size", "48x32", "--frames", 2, "--split", "held-out", "--simple")
        assert run(*made, "--count", 1) == 0
        assert run(*made, "--count", 2) == 0
        assert "1 samples added" in capsys.readouterr().err
        assert len(Dataset(tmp_path / "set")) == 2
        (tmp_path / "other").mkdir()
        (tmp_path / "other/file").write_text("mine")
        assert run("-o", tmp_path / "other", "--count", 1) == 2
        assert run("-o", tmp_path / "x", "--count", 1, "--split", "test") == 2
        assert run("-o", tmp_path / "x", "--count", 1, "--size", "49x33") == 2
        assert run("-o", tmp_path / "x", "--count", 1, "--device", "none") == 2
        assert not (tmp_path / "x").exists()


class TestFootage:
    SETTINGS = FootageSettings(height=48, width=72, seed=1, shots=(3, 4), shot_frames=(20, 24), gradual=0.5)

    @pytest.fixture(scope="class")
    def films(self):
        return [render_film(n, self.SETTINGS) for n in range(4)]

    def test_cuts_are_in_the_pixels_where_the_truth_says(self, films):
        kinds = set()
        for frames, _, truth in films:
            change = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
            change = np.concatenate([[0], change])  # at i: from frame i - 1 to i
            gradual = np.zeros(len(frames), bool)
            for transition in truth.transitions:
                kinds.add(transition.kind)
                gradual[transition.start : transition.stop + 1] = True
            cuts = [t.start for t in truth.transitions if t.kind == "cut"]
            within = [i for i in range(len(frames)) if i not in cuts and not gradual[i]]
            for cut in cuts:
                assert change[cut] > 1.5 * change[within].max()
            for fade in (t for t in truth.transitions if t.kind == "fade"):
                brightness = frames[fade.start - 1 : fade.stop + 1].mean(axis=(1, 2, 3))
                assert brightness.min() < 0.35 * min(brightness[0], brightness[-1])
        assert kinds == {"cut", "fade", "dissolve"}

    def test_shots_follow_each_other_and_subjects_come_back(self, films):
        returning = 0
        for frames, _, truth in films:
            assert (truth.shots[0].start, truth.shots[-1].stop, truth.num_frames) == (0, len(frames), len(frames))
            for (one, other), transition in zip(pairwise(truth.shots), truth.transitions, strict=True):
                overlap = one.stop - other.start
                assert overlap == (transition.stop - transition.start if transition.kind == "dissolve" else 0)
            seen = [s.identity for shot in truth.shots for s in shot.subjects]
            assert set(seen) == set(truth.identities)
            returning += len(seen) - len(set(seen))
        assert returning > 0

    def test_masks_and_boxes_agree(self, films):
        for _, masks, truth in films:
            for shot in truth.shots:
                alone = range(shot.start + 9, shot.stop - 9)  # without those that a dissolve shares
                assert len(alone) >= 2
                for subject in shot.subjects:
                    assert shot.caption[slice(*subject.span)] == subject.label
                    for frame in alone:
                        inside = torch.from_numpy(masks[frame] == subject.number)
                        box = subject.boxes.get(str(frame))
                        assert boxes_of(inside).tolist() == (list(box) if box else [0, 0, 0, 0])

    def test_films_are_written_whole_and_only_once(self, tmp_path):
        settings = self.SETTINGS.model_copy(update={"shots": (2, 2)})
        assert list(write_footage(tmp_path / "f", settings, count=1)) == [("film-00000", True)]
        assert list(write_footage(tmp_path / "f", settings, count=1)) == [("film-00000", False)]
        truth = read_truth(tmp_path / "f/film-00000.json")
        frames, fps = read_video(tmp_path / "f" / truth.video)
        rendered, masks, _ = render_film(0, settings)
        assert (frames.shape, fps) == (rendered.shape, 16)
        assert np.abs(frames.astype(int) - rendered).mean() < 8
        pictures = sorted((tmp_path / "f/film-00000/masks").iterdir())
        assert len(pictures) == truth.num_frames
        with Image.open(pictures[3]) as image:
            assert np.array_equal(np.asarray(image), masks[3])
        with pytest.raises(OutputError, match="other settings"):
            list(write_footage(tmp_path / "f", settings.model_copy(update={"seed": 9}), count=1))
        (tmp_path / "f/film-00000.json").write_text(json.dumps({"video": 1}))
        with pytest.raises(InputError, match="no film's truth"):
            read_truth(tmp_path / "f/film-00000.json")
