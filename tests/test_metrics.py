"""The metrics: published values to the digit where there are any, and what each profile promises."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from magref.batch import Case, CaseReference, Source
from magref.curation.interfaces import Face
from magref.errors import InputError
from magref.evaluation.decoding import decode, evenly
from magref.evaluation.metrics.aesthetic import Aesthetic
from magref.evaluation.metrics.face_similarity import FaceSimilarity
from magref.evaluation.metrics.interface import FRAMES
from magref.evaluation.metrics.matching import match
from magref.evaluation.metrics.motion import Motion, flows, mean_flow, published_motion
from magref.evaluation.metrics.totals import AGGREGATE, HUMAN_DOMAIN, OPEN_DOMAIN, total
from magref.evaluation.metrics.world import World
from magref.evaluation.synthetic_bench.pictures import pictures_of
from magref.evaluation.synthetic_bench.script import scripted
from magref.synthetic.world import render_scenes
from magref.video import read_video, write_video

FIXTURES = Path(__file__).parent.parent.parent / "shared" / "fixtures" / "evaluation"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the evaluation fixtures are not here")


pytestmark = pytest.mark.usefixtures("one_thread")


def case(*refs: CaseReference, prompt: str = "She walks.", **changes) -> Case:
    return Case(id="a", prompt=prompt, refs=refs or (CaseReference(uri="x.png", role="object"),), **changes)


def video(tmp_path: Path, frames: np.ndarray, fps: float = 10.0):
    path = tmp_path / "video.mp4"
    write_video(frames, path, fps=fps, overwrite=True)
    return decode(path)


def noise(count: int, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """A picture with something to hold on to everywhere, smooth enough for a flow."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (height // 4 + 8, width // 4 + 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(rough, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)] * count)


def moving(count: int, right: int, down: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Everything moves by so many pixels a frame; the same picture seen through a window that goes the other way."""
    big = noise(1, height + 200, width + 200)[0]
    return np.stack([
        big[100 - n * down : 100 - n * down + height, 100 - n * right : 100 - n * right + width] for n in range(count)
    ])  # fmt: skip


# Decoding


def test_a_video_is_decoded_once_and_converted_exactly_or_as_published(tmp_path):
    made = video(tmp_path, noise(5)[:, :64, :96])
    assert len(made) == 5
    assert (made.size, made.fps) == ((96, 64), 10.0)
    exact, _ = read_video(made.path)
    assert np.array_equal(made.rgb(), exact)
    capture = cv2.VideoCapture(str(made.path))
    theirs = np.stack([capture.read()[1][..., ::-1] for _ in range(5)])
    assert np.array_equal(made.rgb(published=True), theirs)
    assert np.array_equal(made.rgb([3, 1]), exact[[3, 1]])


def test_frames_are_spread_as_the_published_metrics_spread_them():
    assert evenly(32, 81).tolist() == np.linspace(0, 80, 32, dtype=int).tolist()
    assert evenly(32, 5)[[0, -1]].tolist() == [0, 4]


# Motion


@needs_fixtures
def test_motion_of_the_published_sample_is_the_published_value():
    made = decode(FIXTURES / "faceobj_14.mp4")
    scores = Motion("opens2v").measure(made, case())
    assert scores["motion"].value == pytest.approx(0.35025984, abs=1e-6)


def test_published_motion_is_what_its_parts_say(tmp_path):
    made = video(tmp_path, moving(6, right=2, down=0))
    maps = [
        cv2.resize(flow, (16, int(64 * (16 / 96))), interpolation=cv2.INTER_AREA)
        for flow in flows(made.rgb(published=True), swapped=True)
    ]
    scores = Motion("opens2v").measure(made, case())
    assert scores["motion"].parts["raw"] == pytest.approx(abs(np.mean(np.stack(maps), dtype=np.float64)), abs=1e-6)
    assert scores["motion"].value == pytest.approx(1.0, abs=0.15)  # the mean of 2 and 0


def test_published_motion_knows_no_diagonal_pan_and_the_strict_one_does(tmp_path):
    made = video(tmp_path, moving(6, right=3, down=-3), fps=8.0)
    assert Motion("opens2v").measure(made, case())["motion"].value < 0.05
    strict = Motion("strict").measure(made, case())["motion"]
    assert strict.parts["pixels"] == pytest.approx(np.hypot(3, 3), rel=0.1)
    assert strict.value == pytest.approx(100 * strict.parts["pixels"] * 8 / np.hypot(96, 64))


def test_published_motion_is_cut_at_one_and_keeps_what_it_was(tmp_path):
    score = Motion("opens2v").measure(video(tmp_path, moving(6, right=5, down=0)), case())["motion"]
    assert score.value == 1.0
    assert score.parts["raw"] > 1.5


def test_the_published_grey_takes_red_for_blue():
    red = moving(4, 2, 0).copy()
    red[..., 1:] = 90
    blue = np.ascontiguousarray(red[..., ::-1])
    (right, *_), (swapped, *_) = flows(blue), flows(red, swapped=True)
    assert np.array_equal(right, swapped)
    assert published_motion(red) != published_motion(blue)


def test_what_stands_still_has_no_flow():
    assert mean_flow(noise(3)) < 0.01


def test_one_frame_has_no_motion(tmp_path):
    for profile in ("opens2v", "strict"):
        score = Motion(profile).measure(video(tmp_path, noise(1)), case())["motion"]
        assert (score.reason, score.why) == ("too_short", "the video has 1 frame, and motion needs 2")


# Aesthetic


class Redness:
    """A scorer: how red a picture is, in points."""

    def __init__(self):
        self.asked = 0

    def score(self, images):
        self.asked += len(images)
        return [float(image[..., 0].mean()) / 25.5 for image in images]


@pytest.mark.parametrize(("red", "points", "scaled"), [(153, 6.0, 2 / 3), (30, 30 / 25.5, 0.0), (230, 230 / 25.5, 1.0)])
def test_aesthetic_is_cut_and_scaled_as_published_and_in_points_otherwise(tmp_path, red, points, scaled):
    frames = np.zeros((40, 32, 32, 3), np.uint8)
    frames[..., 0] = red
    made = video(tmp_path, frames)
    published = Aesthetic(Redness(), "opens2v").measure(made, case())["aesthetic"]
    assert published.value == pytest.approx(scaled, abs=0.04)
    assert published.parts["points"] == pytest.approx(points, abs=0.15)
    assert Aesthetic(Redness(), "strict").measure(made, case())["aesthetic"].value == pytest.approx(points, abs=0.15)


def test_a_short_video_is_not_looked_at_twice_and_its_frames_weigh_as_published(tmp_path):
    frames = np.zeros((5, 32, 32, 3), np.uint8)
    frames[..., 0] = np.array([0, 60, 120, 180, 240])[:, None, None]
    made, scorer = video(tmp_path, frames), Redness()
    score = Aesthetic(scorer, "strict").measure(made, case())["aesthetic"]
    assert scorer.asked == 5
    plain = [float(made.rgb([n])[0, ..., 0].mean()) / 25.5 for n in evenly(FRAMES, 5)]
    assert score.value == pytest.approx(np.mean(plain))


# FaceSim


class Patches:
    """A finder of faces that are plain bright rectangles: the colour says whose it is."""

    def __init__(self, margin: int = 0):
        self.margin = margin
        self.asked: list[tuple[int, int]] = []

    def find(self, images):
        self.asked += [image.shape[:2] for image in images]
        return [self._one(image) for image in images]

    def _one(self, image):
        faces = []
        count, labels, stats, _ = cv2.connectedComponentsWithStats((image.max(axis=2) > 170).astype(np.uint8))
        for n in range(1, count):
            left, top, width, height, area = stats[n]
            at_edge = min(left, top, image.shape[1] - left - width, image.shape[0] - top - height) < self.margin
            if area < 20 or at_edge:
                continue
            colour = image[labels == n].mean(axis=0).astype(np.float32) - 128
            box = tuple(float(v) for v in (left, top, left + width, top + height))
            faces.append(Face(box, 1.0, embedding=colour / np.linalg.norm(colour)))
        return faces


RED, GREEN, BLUE, CYAN = (230, 30, 30), (30, 230, 30), (30, 30, 230), (30, 230, 230)


def scene(*frames) -> np.ndarray:
    """Frames with rectangles (colour, left, width) on grey."""
    result = np.full((len(frames), 64, 96, 3), 100, np.uint8)
    for frame, rectangles in zip(result, frames, strict=True):
        for colour, left, width in rectangles:
            frame[20:44, left : left + width] = colour
    return result


def person(folder: Path, colour, key: str = "person-1", size=(40, 40), box=(10, 10, 30, 30)) -> CaseReference:
    path = folder / f"{key}.png"
    picture = Image.new("RGB", size, (100, 100, 100))
    picture.paste(colour, box)
    picture.save(path)
    return CaseReference(uri=str(path), role="person", key=key)


def test_published_face_similarity_takes_the_largest_face_and_leaves_empty_frames_out(tmp_path):
    ref = person(tmp_path, RED)
    made = video(tmp_path, scene([(RED, 10, 20), (CYAN, 50, 8)], [], [(RED, 10, 8), (CYAN, 50, 20)], []))
    scores = FaceSimilarity(Patches(), "opens2v").measure(made, case(ref))
    times = np.bincount(evenly(FRAMES, 4))
    # In the third frame the largest face is another's: below zero, counted as zero.
    assert scores["face_similarity"].value == pytest.approx(times[0] / (times[0] + times[2]), abs=0.02)
    assert scores["face_coverage"].value == pytest.approx((times[0] + times[2]) / FRAMES)


def test_strict_face_similarity_finds_the_person_among_others_and_counts_empty_frames(tmp_path):
    ref = person(tmp_path, RED)
    made = video(tmp_path, scene([(RED, 10, 8), (CYAN, 50, 20)], []))
    scores = FaceSimilarity(Patches(), "strict").measure(made, case(ref))
    share = np.bincount(evenly(FRAMES, 2))[0] / FRAMES
    assert scores["face_similarity"].value == pytest.approx(share, abs=0.02)
    assert scores["face_coverage"].value == pytest.approx(share)


def test_a_video_without_a_face_has_zero_similarity_and_zero_coverage(tmp_path):
    ref = person(tmp_path, RED)
    made = video(tmp_path, scene([], []))
    for profile in ("opens2v", "strict"):
        scores = FaceSimilarity(Patches(), profile).measure(made, case(ref))
        assert (scores["face_similarity"].value, scores["face_coverage"].value) == (0, 0)


def test_two_persons_are_told_apart_and_an_absent_one_counts_as_zero(tmp_path):
    refs = person(tmp_path, RED), person(tmp_path, BLUE, "person-2")
    both = video(tmp_path, scene(*[[(BLUE, 10, 20), (RED, 60, 20)]] * 3))
    scores = FaceSimilarity(Patches(), "strict").measure(both, case(*refs))
    assert scores["face_similarity"].parts == pytest.approx({"person-1": 1, "person-2": 1}, abs=0.02)
    one = video(tmp_path, scene(*[[(BLUE, 10, 20)]] * 3))
    scores = FaceSimilarity(Patches(), "strict").measure(one, case(*refs))
    assert scores["face_similarity"].parts == pytest.approx({"person-1": 0, "person-2": 1}, abs=0.02)
    assert scores["face_similarity"].value == pytest.approx(0.5, abs=0.02)
    assert scores["face_coverage"].value == pytest.approx(0.5)
    missing = FaceSimilarity(Patches(), "opens2v").measure(one, case(*refs))
    assert {score.reason for score in missing.values()} == {"no_rule"}


def test_a_face_that_fills_the_picture_is_found_with_a_margin(tmp_path):
    ref = person(tmp_path, RED, size=(40, 40), box=(0, 0, 40, 40))
    finder = Patches(margin=1)
    made = video(tmp_path, scene([(RED, 30, 20)]))
    assert FaceSimilarity(finder, "opens2v").measure(made, case(ref))["face_similarity"].value > 0.97
    assert finder.asked[:2] == [(40, 40), (60, 60)]


def test_cases_without_persons_and_references_without_faces_are_missing(tmp_path):
    made = video(tmp_path, scene([(RED, 30, 20)]))
    for profile in ("opens2v", "strict"):
        metric = FaceSimilarity(Patches(), profile)
        assert metric.measure(made, case())["face_similarity"].reason == "no_person_reference"
        blank = person(tmp_path, (100, 100, 100), "person-9")
        scores = metric.measure(made, case(blank))
        assert {score.reason for score in scores.values()} == {"no_face_in_reference"}
        assert "person-9" in scores["face_similarity"].why


def test_hidden_pixels_of_a_cut_out_show_in_the_published_profile_alone(tmp_path):
    path = tmp_path / "cut.png"
    picture = Image.new("RGBA", (40, 40), (230, 30, 30, 0))  # red, but nowhere to be seen
    picture.paste((30, 30, 230, 255), (15, 15, 25, 25))
    picture.save(path)
    ref = CaseReference(uri=str(path), role="person", key="p")
    made = video(tmp_path, scene([(RED, 30, 20)]))
    assert FaceSimilarity(Patches(), "opens2v").measure(made, case(ref))["face_similarity"].value > 0.5
    strict = FaceSimilarity(Patches(), "strict").measure(made, case(ref))
    assert strict["face_similarity"].value < 0.1


@pytest.mark.parametrize("profile", ["opens2v", "strict"])
def test_a_crop_counts_in_the_upright_picture(tmp_path, profile):
    upright = Image.new("RGB", (40, 60), (100, 100, 100))
    upright.paste(RED, (5, 40, 25, 55))
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    stored.save(tmp_path / "turned.png", exif=exif)
    ref = CaseReference(uri=str(tmp_path / "turned.png"), role="person", key="p", crop=(0, 35, 30, 60))
    made = video(tmp_path, scene([(RED, 30, 20)]))
    assert FaceSimilarity(Patches(), profile).measure(made, case(ref))["face_similarity"].value > 0.9


def test_each_reference_is_looked_at_once(tmp_path):
    ref, finder = person(tmp_path, RED), Patches()
    metric, made = FaceSimilarity(finder, "strict"), video(tmp_path, scene([(RED, 30, 20)]))
    metric.measure(made, case(ref))
    before = len(finder.asked)
    metric.measure(made, case(ref))
    assert len(finder.asked) == before + 1


@pytest.mark.parametrize("shape", [(1, 4), (3, 3), (3, 2), (2, 5)])
def test_matching_is_the_best_of_all_assignments(shape):
    from itertools import permutations

    rng = np.random.default_rng(sum(shape))
    for _ in range(20):
        values = np.round(rng.random(shape), 2) * (rng.random(shape) < 0.8)
        rows, columns = shape
        small, large = sorted(shape)
        best = max(
            sum(values[(n, m) if rows <= columns else (m, n)] for n, m in enumerate(chosen))
            for chosen in permutations(range(large), small)
        )
        pairs = match(values)
        assert len(pairs) == small == len({row for row, _ in pairs}) == len({column for _, column in pairs})
        assert sum(values[pair] for pair in pairs) == pytest.approx(best)


# Totals


def rows(name: str) -> list[dict[str, float]]:
    with (FIXTURES / name).open(encoding="utf-8") as file:
        names = {
            "Aesthetics": "aesthetic", "MotionSmoothness": "smoothness", "MotionAmplitude": "motion",
            "FaceSim": "face_similarity", "GmeScore": "gme", "NexusScore": "nexus", "NaturalScore": "natural",
            "TotalScore": "total",
        }  # fmt: skip
        return [
            {names[key[:-1]]: float(value.rstrip("%")) / 100 for key, value in row.items() if key[:-1] in names}
            for row in csv.DictReader(file)
        ]


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "weights", "count"),
    [("results_Open-Domain.csv", OPEN_DOMAIN, 11), ("results_Human-Domain.csv", HUMAN_DOMAIN, 20)],
)
def test_the_leaderboards_totals_follow_from_their_parts(name, weights, count):
    table = rows(name)
    assert len(table) == count
    for row in table:
        assert total(row, weights) == pytest.approx(row["total"], abs=1.0e-4)  # parts are printed to 1e-4


@needs_fixtures
def test_the_aggregated_total_follows_from_its_parts_to_the_last_digit():
    found = json.loads((FIXTURES / "aggregate_open_domain_v1.1.json").read_text())
    parts = {
        "aesthetic": found["aes_score"], "smoothness": found["motion_smoothness"], "gme": found["gme_score"],
        "face_similarity": found["facesim_cur"], "nexus": found["nexus_score"], "natural": found["natural_score"],
    }  # fmt: skip
    assert total(parts, AGGREGATE) == pytest.approx(found["total_score"], abs=1e-15)
    del parts["nexus"]
    with pytest.raises(InputError, match="the total needs nexus too"):
        total(parts, AGGREGATE)


@pytest.mark.parametrize("weights", [AGGREGATE, OPEN_DOMAIN, HUMAN_DOMAIN])
def test_weights_sum_to_one(weights):
    assert sum(weights.values()) == pytest.approx(1)


# The synthetic world's own


def with_pictures(case_id: str, folder: Path) -> Case:
    """A case of magref-bench-synthetic with its references drawn."""
    known = scripted()[case_id]
    paths = [folder / f"{ref.key}.png" for ref in known.case.refs]
    for path, image in zip(paths, pictures_of(known), strict=True):
        image.save(path)
    refs = [ref.model_copy(update={"uri": str(path)}) for ref, path in zip(known.case.refs, paths, strict=True)]
    return known.case.model_copy(update={"refs": tuple(refs)})


def test_the_worlds_measures_give_every_name_a_value_or_a_reason(tmp_path):
    scenes = render_scenes(range(1), frames=9, height=64, width=96, split="held-out")
    made = video(tmp_path, scenes.frames[0].permute(0, 2, 3, 1).numpy())
    scores = World().measure(made, with_pictures("human_object_background_01", tmp_path))
    assert scores.keys() == {measure.name for measure in World().measures}
    assert scores["world_seen"].parts.keys() == {"person-1", "object-1"}
    assert 0 <= scores["world_seen"].value <= 1
    assert -1 <= scores["world_background"].value <= 1
    alone = World().measure(made, with_pictures("face_01", tmp_path))
    assert alone["world_background"].reason == "not_seen"  # the prompt leaves it open


def test_the_worlds_measures_know_no_other_cases(tmp_path):
    made = video(tmp_path, noise(3))
    other = case(source=Source(dataset="OpenS2V-Eval", case_id=next(iter(scripted()))))
    assert {score.reason for score in World().measure(made, other).values()} == {"not_synthetic"}


def test_a_synthetic_case_with_other_subjects_than_were_drawn_has_no_value(tmp_path):
    made = video(tmp_path, noise(3))
    drawn = with_pictures("two_person_01", tmp_path)
    edited = drawn.model_copy(update={"refs": drawn.refs[:1]})
    assert {score.reason for score in World().measure(made, edited).values()} == {"not_synthetic"}
