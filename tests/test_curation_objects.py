"""What becomes of a detector's boxes and masks: on rules one by one, and on another pipeline's real output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cv2", reason="needs the curate extra")

from magref.curation.boxes import box_iou, judge_boxes
from magref.curation.interfaces import Detection
from magref.curation.labels import find_labels, kept_labels, kind_of
from magref.curation.masks import bounds, count_parts, iou, refine, shape_of
from magref.curation.objects import Found, decide, human_masks, measure
from magref.curation.outcome import Kept, Rejected
from magref.curation.settings import BoxSettings, CurationSettings, LabelSettings, ObjectSettings, RefineSettings

FOLDER = Path(__file__).parents[2] / "shared" / "fixtures" / "curation"
needs_fixtures = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs ../shared/fixtures/curation")
SETTINGS = CurationSettings()

# Derived by hand from the rules in objects.py, from what each box shows, before the code was run:
EXPECTED = (
    ("white lace top", None),  # 1.9% of the frame, fill 0.73, half of its wearer's mask, nobody's face
    ("person", "human"),
    ("park", None),  # a place: kept as a background
    ("person", "human"),
    ("glasses", "on a face"),  # all of their mask lies in a face's box
    ("blue top", None),  # 5.3%, fill 0.38, 3.3 times as wide as high, 4 parts
    ("necklace", None),  # thin: 0.35% of the frame and fill 0.07 would be too little of anything else
    ("person", "human"),
    ("individual", "human"),
    ("woman", "human"),
    ("individual", "human"),
    ("woman", "human"),
    ("grassy area", "fragmented"),  # 319 parts, and 1.65 times its box
    ("woman", "human"),
)


def decoded(counts: str, height: int, width: int) -> np.ndarray:
    """COCO's compressed run lengths as a mask (H, W)."""
    runs: list[int] = []
    at = 0
    while at < len(counts):
        value, shift, more = 0, 0, True
        while more:
            code = ord(counts[at]) - 48
            value |= (code & 31) << shift
            more, shift, at = bool(code & 32), shift + 5, at + 1
            if not more and code & 16:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T


@pytest.fixture(scope="module")
def real() -> tuple[list[Found], list[tuple[float, ...]], str]:
    """The 14 boxes with masks, the two faces of their frame, and the caption that the labels come from."""
    stored = json.loads((FOLDER / "three_women.boxes_masks.json").read_text())
    boxes = stored["annotation"]["ann_frame_data"]["annotations"]
    masks = stored["annotation"]["mask_annotation"]["0"]
    found = []
    for n, box in enumerate(boxes, 1):
        mask = masks[str(n)]
        label = box["class_name"]
        detection = Detection(label, tuple(box["bbox"]), mask["score"][0])
        found.append(Found(detection, kind_of(label, SETTINGS.labels), decoded(mask["counts"], *mask["size"])))
    faces = json.loads((FOLDER / "three_women.faces.json").read_text())["bbox"]["0"]["face"]
    return found, [tuple(face["box"].values()) for face in faces], stored["metadata"]["face_cap_qwen"]


@needs_fixtures
def test_real_detections_meet_the_fate_that_the_rules_give_them(real):
    found, faces, _ = real
    outcomes = decide(measure(found, faces), SETTINGS.objects)
    reasons = [(f.detection.label, getattr(o, "reason", None)) for f, o in zip(found, outcomes, strict=True)]
    assert tuple(reasons) == EXPECTED


@needs_fixtures
def test_the_park_is_kept_as_a_background_and_the_grass_would_have_been_one(real):
    found, _, _ = real
    assert {f.detection.label for f in found if f.kind == "background"} == {"park", "grassy area"}


@needs_fixtures
def test_the_reasons_carry_what_was_measured(real):
    found, faces, _ = real
    measured = measure(found, faces)
    outcomes = decide(measured, SETTINGS.objects)
    labels = [f.detection.label for f in found]
    grass, glasses = labels.index("grassy area"), labels.index("glasses")
    assert (outcomes[grass].value, outcomes[grass].limit) == (319, 8)
    assert measured[grass].shape.fill == pytest.approx(1.65, abs=0.005)
    assert outcomes[glasses].value == pytest.approx(1.0, abs=0.005)
    # The definition decides: box IoU, the literal reading, and the part of the mask within a face.
    by_name = {name: measured[labels.index(name)] for name in ("glasses", "necklace", "park")}
    assert {n: round(m.face_box, 2) for n, m in by_name.items()} == {"glasses": 0.27, "necklace": 0.05, "park": 0.10}
    assert {n: round(m.face_mask, 2) for n, m in by_name.items()} == {"glasses": 1.0, "necklace": 0.0, "park": 0.04}


@needs_fixtures
def test_three_people_are_found_under_nine_labels(real):
    found, _, _ = real
    people = human_masks(found, SETTINGS.objects)
    assert sum(f.kind == "human" for f in found) == 9 - 1  # eight boxes: three, three and two of one person each
    assert len(people) == 3
    assert all(iou(a, b) < 0.05 for n, a in enumerate(people) for b in people[:n])


@needs_fixtures
def test_the_necklace_survives_refinement_in_at_most_four_parts(real):
    found, _, _ = real
    necklace = next(f for f in found if f.detection.label == "necklace")
    assert necklace.kind == "thin"
    refined = refine(necklace.mask, RefineSettings())
    assert count_parts(necklace.mask) == 4
    assert count_parts(refined) <= 4
    assert refined.sum() >= 0.95 * necklace.mask.sum()
    as_any_object = decide(measure([Found(necklace.detection, "object", necklace.mask)], []), SETTINGS.objects)
    assert as_any_object[0].reason == "sparse in its box"


@needs_fixtures
def test_refinement_keeps_real_masks_nearly_as_they_are(real):
    for item in real[0]:
        refined = refine(item.mask, RefineSettings())
        if item.detection.label != "grassy area":
            assert iou(item.mask, refined) > 0.98
            assert count_parts(refined) <= count_parts(item.mask)


@needs_fixtures
def test_every_real_label_stands_in_the_real_caption(real):
    found, _, caption = real
    names = [f.detection.label for f in found]
    labels = find_labels(caption, names, SETTINGS.labels)
    assert len(labels) == len(set(names))
    assert all(label.span and caption[slice(*label.span)] == label.text for label in kept_labels(labels))
    assert len(kept_labels(labels)) == len(labels)


def rectangle(left: int, top: int, right: int, bottom: int, size: tuple[int, int] = (100, 200)) -> np.ndarray:
    mask = np.zeros(size, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def found_at(label: str, *corners: int, score: float = 0.5, kind: str | None = None, mask=None) -> Found:
    inside = rectangle(*corners) if mask is None else mask
    return Found(Detection(label, corners, score), kind or kind_of(label, LabelSettings()), inside)


def reasons(items: list[Found], faces=(), **changes) -> list[str | None]:
    return [getattr(o, "reason", None) for o in decide(measure(items, faces), ObjectSettings(**changes))]


def test_sizes_and_shapes_have_limits_of_their_kind():
    assert reasons([found_at("ball", 0, 0, 10, 10)]) == ["small"]
    assert reasons([found_at("pen", 0, 0, 40, 2)]) == [None]  # 20 times as wide as high, 0.4% of the frame
    assert reasons([found_at("plank", 0, 0, 190, 20)]) == ["odd shape"]
    assert reasons([found_at("plank", 0, 0, 15, 100)]) == ["odd shape"]
    assert reasons([found_at("car", 0, 0, 180, 90)]) == ["large"]
    assert reasons([found_at("meadow", 0, 0, 200, 100)]) == [None]
    assert reasons([found_at("meadow", 0, 0, 40, 40)]) == ["small"]


def test_a_mask_that_is_a_persons_goes_whatever_it_is_called():
    person, statue = found_at("man", 10, 10, 60, 90), found_at("red figure", 10, 12, 60, 90)
    assert reasons([person, statue]) == ["human", "a person's mask"]
    shirt = found_at("shirt", 10, 30, 60, 60)
    assert reasons([person, shirt]) == ["human", None]


def test_of_two_labels_for_one_thing_the_surest_stays():
    a, b = found_at("toy", 10, 10, 60, 60, score=0.4), found_at("doll", 11, 10, 60, 60, score=0.6)
    assert reasons([a, b]) == ["duplicate", None]
    assert reasons([b, a]) == [None, "duplicate"]
    equal = found_at("puppet", 10, 10, 60, 60, score=0.6)
    assert reasons([b, equal]) == [None, "duplicate"]


def test_what_was_rejected_itself_rejects_nothing():
    spilling = Found(Detection("kite", (10, 10, 30, 30), 0.9), "object", rectangle(10, 10, 60, 60))
    assert reasons([spilling, found_at("sail", 10, 10, 60, 60)]) == ["spills out of its box", None]


@pytest.mark.parametrize(("measure_by", "expected"), [("mask", "on a face"), ("box", None)])
def test_what_overlaps_a_face_depends_on_the_measure(measure_by, expected):
    hat = found_at("hat", 20, 0, 60, 22)
    assert reasons([hat], [(20, 14, 60, 74)], face_measure=measure_by) == [expected]


def test_a_quarter_on_a_face_is_not_above_a_quarter():
    hat = found_at("hat", 20, 0, 60, 40)
    assert reasons([hat], [(20, 30, 60, 80)]) == [None]
    assert reasons([hat], [(20, 29, 60, 80)]) == ["on a face"]


def test_an_empty_mask_is_rejected_and_breaks_nothing():
    empty = found_at("ball", 10, 10, 40, 40, mask=np.zeros((100, 200), np.bool_))
    person = found_at("man", 10, 10, 60, 90, mask=np.zeros((100, 200), np.bool_))
    assert reasons([empty, person, found_at("car", 100, 10, 160, 60)]) == ["sparse in its box", "human", None]
    assert human_masks([person], ObjectSettings()) == []
    assert bounds(empty.mask) is None


def test_stored_numbers_decide_anew_without_masks():
    measured = measure([found_at("ball", 0, 0, 10, 10), found_at("toy", 50, 10, 90, 50)], [])
    stored = [type(item).model_validate_json(item.model_dump_json()) for item in measured]
    assert stored == measured
    usual = ObjectSettings().usual.model_copy(update={"area": (0.001, 0.6)})
    assert decide(stored, ObjectSettings(usual=usual)) == [Kept(), Kept()]


def test_boxes_found_twice_under_one_label_are_one():
    boxes = [Detection("cup", (0, 0, 10, 10), 0.5), Detection("cup", (0, 0, 10, 11), 0.7)]
    boxes += [Detection("mug", (0, 0, 10, 10), 0.4), Detection("cup", (50, 0, 60, 10), 0.2)]
    judged = judge_boxes(boxes, BoxSettings())
    assert [(b.score, getattr(o, "reason", None)) for b, o in judged] == [
        (0.7, None),
        (0.5, "found twice"),
        (0.4, None),
        (0.2, "unsure"),
    ]


def test_a_thin_line_is_not_opened_away_and_frayed_edges_are():
    line = np.zeros((400, 400), np.bool_)
    line[200:203, 20:380] = True
    line[100:103, 20:380] = True
    assert (refine(line, RefineSettings(kernel=0.3)) & line).sum() == line.sum()
    block = rectangle(100, 100, 300, 300, (400, 400))
    frayed = block.copy()
    frayed[150:152, 300:330] = True  # a hair
    frayed[200:203, 200:203] = False  # a hole
    frayed[5:7, 5:7] = True  # a speck
    # The kernel is round: it takes a few pixels off the corners.
    assert (refine(frayed, RefineSettings(kernel=0.04)) != block).sum() <= 40
    assert (frayed != block).sum() > 60


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 60), st.integers(1, 60), st.integers(1, 40)), max_size=6))
def test_refinement_never_reaches_far_beyond_the_mask(rectangles):
    mask = np.zeros((100, 150), np.bool_)
    for left, top, width, height in rectangles:
        mask[top : top + height, left : left + width] = True
    refined = refine(mask, RefineSettings())
    assert refined.shape == mask.shape
    if mask.any():
        outer, inner = bounds(mask), bounds(refined)
        assert inner is not None
        assert np.all(np.array(outer[:2]) <= inner[:2])
        assert np.all(np.array(outer[2:]) >= inner[2:])


corners = st.tuples(*[st.floats(0, 100)] * 2).flatmap(
    lambda at: st.tuples(st.just(at[0]), st.just(at[1]), st.floats(at[0] + 1, 200), st.floats(at[1] + 1, 200))
)


@given(corners, corners)
def test_iou_of_boxes_is_symmetric_and_a_share(a, b):
    value = box_iou(a, b)
    assert value == box_iou(b, a)
    assert 0 <= value <= 1
    assert box_iou(a, a) == pytest.approx(1)


def test_a_shape_is_measured_against_the_detectors_box():
    shape = shape_of(rectangle(10, 10, 50, 30), (10, 10, 50, 50))
    assert (shape.area, shape.fill, shape.aspect, shape.parts) == (800 / 20000, 0.5, 1.0, 1)


def test_a_rejection_reads_as_a_sentence():
    said = Rejected(stage="objects", reason="small", value=0.00412, limit=0.01)
    assert str(said) == "small: 0.00412, limit 0.01"
