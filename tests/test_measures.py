"""The measures of the synthetic world: each says what it claims of clips made for it, and says None where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from magref.errors import CheckpointError, InputError
from magref.evaluation.measures.background import background_similarity, colour_share, outside_boxes, similarity_map
from magref.evaluation.measures.camera import camera_of
from magref.evaluation.measures.degrade import degraded, quantised_blocks
from magref.evaluation.measures.finder import FinderNet, find_subjects, overlap
from magref.evaluation.measures.instruments import load_instruments
from magref.evaluation.measures.layout import layout_by_frame, layout_left
from magref.evaluation.measures.motion import PATH_OF, motion_right, read_motion
from magref.evaluation.measures.score import Case, CaseSubject, count_subjects, score_video
from magref.evaluation.measures.steadiness import colour_drift, constancy, flicker
from magref.evaluation.measures.tracking import Track, follow
from magref.evaluation.measures.train_finder import targets
from magref.evaluation.measures.train_identity import arcface
from magref.evaluation.statistics import area_under_curve, mean_of
from magref.synthetic.identities import KINDS
from magref.synthetic.motions import MOTIONS, track
from magref.synthetic.places import draw_places
from magref.synthetic.views import plain_view

HEIGHT, WIDTH = 64, 96
FRAMES = 17


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def park() -> torch.Tensor:
    """(3, 96, 144): a place with trees and clouds."""
    return draw_places([11], plain_view(1), 96, 144)[0].clamp(0, 1)


def boxes_along(x: np.ndarray, y: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(F, 4) from middles and heights in heights of the frame; half as wide as high."""
    return np.stack([x - high / 4, y - high / 2, x + high / 4, y + high / 2], axis=1) * HEIGHT


def track_of(boxes: np.ndarray) -> Track:
    return Track(boxes, np.ones(len(boxes)), np.zeros(len(boxes), dtype=np.int64))


# Statistics


def test_missing_values_count_for_nothing_and_an_empty_mean_is_missing():
    mean = mean_of([1.0, None, 0.0, [None, None], [1.0, 1.0]])
    assert (mean.value, mean.n) == (0.75, 3)
    assert mean.low <= 0.75 <= mean.high
    assert mean_of([None, []]).model_dump() == {"value": None, "n": 0, "low": None, "high": None}
    assert str(mean_of([])) == "not measured"


def test_where_all_say_yes_the_interval_is_clopper_and_pearsons():
    """Drawn again, 57 of 57 stay 57 of 57; that does not make them certain."""
    assert mean_of([True] * 57).low == pytest.approx(0.9373, abs=1e-4)
    assert mean_of([False] * 43).high == pytest.approx(0.0822, abs=1e-4)
    assert mean_of([[True, False]] * 57).low == 0.5
    assert mean_of([1.0] * 57, yes_no=True) == mean_of([True] * 57)
    assert mean_of([1.0] * 57).low == 1.0  # of shares that anything may be
    assert mean_of([0.5] * 57, yes_no=True).low == 0.5
    assert mean_of([[True, True]] * 57).low == mean_of([True] * 57).low  # two subjects of a video are one draw


def test_one_video_alone_has_no_interval_unless_it_answers_a_question():
    assert mean_of([0.4]).model_dump() == {"value": 0.4, "n": 1, "low": None, "high": None}
    assert str(mean_of([[0.3, 0.5]])) == "0.400 n=1"
    assert mean_of([0.4]).short() == "0.40"
    assert mean_of([True]).low == pytest.approx(0.025)
    assert mean_of([1.0] * 57).low == 1.0  # a share, not an answer


def test_the_interval_is_that_of_videos_and_narrows_with_them():
    rng = np.random.default_rng(0)
    few, many = (mean_of((rng.random(n) < 0.8).tolist()) for n in (20, 500))
    assert few.high - few.low > 3 * (many.high - many.low)
    # Ten equal subjects in each video say no more than one.
    one, ten = mean_of([0.0, 1.0] * 10), mean_of([[0.0] * 10, [1.0] * 10] * 10)
    assert ten.high - ten.low == pytest.approx(one.high - one.low)


def test_the_area_under_the_curve_counts_ties_half():
    assert area_under_curve([3, 4], [1, 2]) == 1.0
    assert area_under_curve([1, 2], [3, 4]) == 0.0
    assert area_under_curve([1, 1], [1, 1]) == 0.5


# Motion


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("dropped", [0, 4])
def test_every_motion_is_read_from_its_path_also_without_the_first_frames(motion: str, dropped: int):
    kind = KINDS["robot"]
    for phase in (0.0, 0.3, 0.7):
        path = track(kind, motion, frames=FRAMES, x=0.1, y=0.0, size=0.6, travel=(1.3, 0.85), speed=1.0, mirror=1,
                     phase=phase)  # fmt: skip
        boxes = boxes_along(path.x / 2 + 0.75, path.y / 2 + 0.5, path.size)[dropped:]
        reading = read_motion(track_of(boxes), size=(WIDTH, HEIGHT))
        assert motion_right(reading, motion), (motion, reading)
        backwards = read_motion(track_of(boxes[::-1]), size=(WIDTH, HEIGHT))
        opposite = {"left": "right", "right": "left", "up": "down", "down": "up", "grows": "shrinks",
                    "shrinks": "grows"}  # fmt: skip
        assert backwards.path == opposite.get(motion, PATH_OF[motion])


def test_a_subject_that_is_seldom_seen_has_no_motion():
    boxes = boxes_along(np.linspace(0.2, 1.2, FRAMES), np.full(FRAMES, 0.5), np.full(FRAMES, 0.4))
    unseen = Track(boxes, np.ones(FRAMES), np.where(np.arange(FRAMES) < 6, 0, -1))
    assert read_motion(unseen, size=(WIDTH, HEIGHT)) is None
    assert motion_right(None, "left") is None


def test_a_moving_camera_is_taken_off_a_path(park: torch.Tensor):
    steps = np.arange(FRAMES)
    frames = torch.stack([park[:, 16 : 16 + HEIGHT, s : s + WIDTH] for s in steps.tolist()])
    camera = camera_of(frames, torch.ones(FRAMES, HEIGHT, WIDTH, dtype=torch.bool))
    assert camera.shift[-1] == pytest.approx([-16, 0], abs=0.5)
    assert camera.scale[-1] == pytest.approx(1, abs=0.02)
    boxes = boxes_along(0.9 - steps / HEIGHT, np.full(FRAMES, 0.5), np.full(FRAMES, 0.4))
    assert read_motion(track_of(boxes), size=(WIDTH, HEIGHT)).path == "left"
    assert read_motion(track_of(boxes), size=(WIDTH, HEIGHT), camera=camera).path == "still"
    plain = torch.full((3, 3, HEIGHT, WIDTH), 0.5)
    assert camera_of(plain, torch.ones(3, HEIGHT, WIDTH, dtype=torch.bool)) is None


# Tracks


def test_subjects_that_cross_keep_their_names_and_no_box_is_taken_twice():
    time = np.linspace(0, 1, FRAMES)
    left = boxes_along(0.3 + 0.9 * time, np.full(FRAMES, 0.5), np.full(FRAMES, 0.4))
    right = boxes_along(1.2 - 0.9 * time, np.full(FRAMES, 0.5), np.full(FRAMES, 0.4))
    boxes, cosines = [], []
    for frame in range(FRAMES):
        swap = frame % 2  # the finder's order says nothing
        pair = np.stack([left[frame], right[frame]])
        likeness = np.array([[0.7, 0.1], [0.1, 0.7]])
        boxes.append(pair[::-1] if swap else pair)
        cosines.append(likeness[::-1] if swap else likeness)
    boxes[8], cosines[8] = boxes[8][:1], cosines[8][:1]  # one hides the other
    tracks = follow(boxes, [np.full(len(b), 0.9) for b in boxes], cosines, height=HEIGHT)
    assert np.allclose(tracks[0].boxes[-1], left[-1])
    assert np.allclose(tracks[1].boxes[-1], right[-1])
    assert tracks[0].seen[8] != tracks[1].seen[8]
    assert all(a != b for a, b in zip(tracks[0].chosen, tracks[1].chosen, strict=True))


def test_nothing_found_is_a_track_that_is_never_seen():
    empty = [np.zeros((0, 4))] * 3
    (found,) = follow(empty, [np.zeros(0)] * 3, [np.zeros((0, 1))] * 3, height=HEIGHT)
    assert not found.seen.any()


@pytest.mark.parametrize(
    ("motions", "sentence"),
    [
        ([None, "flies"], r"the motion 'flies' is unknown; use None or one of left, right, .*waves"),
        ([None] * 6, "more than 5 subjects cannot be followed; give at most 5 of the case's 6"),
    ],
    ids=["motion", "many"],
)
def test_a_case_that_cannot_be_measured_is_refused_before_anything_is_computed(motions, sentence, monkeypatch):
    monkeypatch.setattr("magref.evaluation.measures.score.shipped_instruments", lambda: pytest.fail("it was begun"))
    case = Case(tuple(CaseSubject(Image.new("RGB", (64, 64), "red"), motion) for motion in motions))
    with pytest.raises(InputError, match=sentence):
        score_video(np.zeros((5, HEIGHT, WIDTH, 3), np.uint8), case)


def test_subjects_are_counted_over_frames():
    assert count_subjects([[0.9, 0.8]] * 9 + [[0.9]] * 8) == 2  # they cross
    assert count_subjects([[0.9]] * 13 + [[0.9, 0.8]] * 4) == 1
    assert count_subjects([[0.9, 0.4]] * 17) == 1
    assert count_subjects([[]] * 17) == count_subjects([]) == 0


# Background, layout, steadiness


def test_a_background_is_known_again_in_another_framing_and_light_and_told_from_others(park: torch.Tensor):
    picture = Image.fromarray((park.permute(1, 2, 0) * 255).byte().numpy())
    seen = park[None, :, 8:88, 12:132] * torch.tensor([0.9, 0.85, 0.8]).view(1, 3, 1, 1)
    frames = torch.nn.functional.interpolate(seen, size=(HEIGHT, WIDTH), mode="bilinear", antialias=True)
    frames[:, :, 20:50, 30:50] = 0.3  # a subject
    outside = outside_boxes([torch.tensor([[30.0, 20.0, 50.0, 50.0]])], HEIGHT, WIDTH)
    others = draw_places([5, 8], plain_view(2), HEIGHT, WIDTH).clamp(0, 1)
    assert background_similarity(frames, outside, picture) > 0.85
    for other in others:
        assert background_similarity(other[None], outside, picture) < 0.6
    assert background_similarity(torch.full_like(frames, 0.5), outside, picture) < 0.5
    assert background_similarity(frames, torch.zeros_like(outside), picture) is None


def test_a_plain_backdrop_is_known_by_its_name():
    frames = torch.tensor([0.8, 0.17, 0.15]).view(1, 3, 1, 1).expand(2, 3, HEIGHT, WIDTH)
    outside = torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    assert colour_share(frames, outside, "red") == 1.0
    assert colour_share(frames, outside, "blue") == 0.0
    assert colour_share(frames, ~outside, "red") is None
    with pytest.raises(InputError, match="mauve"):
        colour_share(frames, outside, "mauve")


def test_the_canvas_is_seen_where_it_is_left_and_not_where_it_is_gone(park: torch.Tensor):
    canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
    canvas.paste(Image.new("RGB", (20, 50), (160, 40, 30)), (14, 7))
    canvas.paste(Image.new("RGB", (36, 24), (30, 70, 160)), (54, 20))
    kept = torch.from_numpy(np.asarray(canvas).copy()).permute(2, 0, 1).float()[None] / 255
    gone = park[None, :, :HEIGHT, :WIDTH]
    white = torch.ones(1, 3, HEIGHT, WIDTH)
    assert layout_left(kept, canvas) > 0.99
    assert layout_left(gone, canvas) < 0.15
    assert layout_left(white, canvas) < 0.25
    first, second = layout_by_frame(torch.cat([kept, gone]), canvas)
    assert first > 0.99
    assert second < 0.15
    assert layout_left(0.6 * gone + 0.4 * kept, canvas) > 2 * layout_left(gone, canvas)
    assert layout_left(kept, Image.new("RGB", (WIDTH, HEIGHT), "white")) is None


def test_structural_similarity_is_one_of_a_picture_with_itself(park: torch.Tensor):
    grey = park.mean(dim=0)[None, None]
    assert torch.allclose(similarity_map(grey, grey), torch.ones_like(grey), atol=1e-4)
    assert similarity_map(grey, 1 - grey).mean() < 0


def test_flicker_counts_what_comes_and_goes_but_no_steady_change():
    outside = torch.ones(9, 8, 8, dtype=torch.bool)
    fade = torch.linspace(0.2, 0.8, 9).view(9, 1, 1, 1).expand(9, 3, 8, 8)
    blink = 0.5 + 0.1 * (torch.arange(9) % 2).view(9, 1, 1, 1).expand(9, 3, 8, 8)
    assert flicker(fade, outside) == pytest.approx(0, abs=1e-3)
    assert flicker(blink, outside) == pytest.approx(51, abs=0.1)
    assert flicker(blink[:2], outside[:2]) is None
    assert flicker(blink, ~outside) is None


def test_looks_that_change_are_told_from_looks_that_stay():
    steady = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1]] * 8), dim=1)
    turned = torch.cat([steady[:4], steady[:4].flip(1)])
    assert constancy(steady) == pytest.approx(1)
    assert constancy(turned) < 0.3
    assert constancy(steady[:1]) is None
    boxes = np.tile([2.0, 2.0, 7.0, 7.0], (8, 1))
    frames = torch.linspace(0, 1, 8).view(8, 1, 1, 1).expand(8, 3, 9, 9)
    assert colour_drift(frames, track_of(boxes)) == pytest.approx(6 / 7, abs=1e-4)
    assert colour_drift(frames, Track(boxes, np.ones(8), np.full(8, -1))) is None


# Networks


def test_arcface_is_the_softmax_over_cosines_with_a_wider_own_angle():
    features = torch.nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    directions = torch.randn(7, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 3, 6, 1, 2])
    cosine = features @ torch.nn.functional.normalize(directions, dim=1).T
    plain = torch.nn.functional.cross_entropy(10 * cosine, labels)
    assert arcface(features, directions, labels, scale=10, margin=0) == pytest.approx(float(plain), rel=1e-5)
    own = cosine[0, 0]
    logits = 10 * cosine[:1].clone()
    logits[0, 0] = 10 * math.cos(math.acos(float(own)) + 0.3)
    expected = torch.nn.functional.cross_entropy(logits, labels[:1])
    assert arcface(features[:1], directions, labels[:1], scale=10, margin=0.3) == pytest.approx(
        float(expected), rel=1e-4
    )


def test_degrading_repeats_with_its_seed_and_keeps_what_is_coarse(park: torch.Tensor):
    pictures = park[None, :, :40, :40].expand(20, -1, -1, -1)
    first, again, other = (degraded(pictures, torch.Generator().manual_seed(s), smallest=0.4) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first - pictures).abs().mean() < 0.15
    assert torch.allclose(quantised_blocks(pictures[:1, :, :20, :28], 1e-6), pictures[:1, :, :20, :28], atol=1e-4)


def test_the_finder_learns_from_the_middle_of_each_box_and_reads_it_back():
    boxes, seen = torch.tensor([[[20.0, 10, 40, 50], [60, 30, 90, 60], [0, 0, 0, 0]]]), torch.tensor([[1.0, 0.1, 0]])
    heat, values, spoken, counted = targets(boxes, seen)
    assert (heat == 1).sum() == 1  # the second is hardly visible, and counts neither way
    assert not counted[0, 11, 18]
    row, column = torch.nonzero(heat[0] == 1)[0].tolist()
    assert spoken[0, row, column]
    assert values[0, :2, row, column].exp() * 64 == pytest.approx([20, 40])
    net = FinderNet().eval()
    with torch.no_grad():
        maps = torch.cat([torch.where(heat == 1, 5.0, -5.0)[:, None], values], dim=1)
    net.forward = lambda frames: maps  # type: ignore[method-assign]
    (found,) = find_subjects(net, torch.zeros(1, 3, 64, 96))
    assert torch.allclose(found.boxes, boxes[0, :1], atol=1e-3)
    assert float(overlap(found.boxes[0], boxes[0, 0])) > 0.99


def test_weights_that_are_missing_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="make_instruments"):
        load_instruments(tmp_path / "none.safetensors")
