"""Boxes from GroundingDINO and masks from SAM 2.1: before and after the model as their own processors have it."""

import re

import numpy as np
import pytest
import torch
from transformers import GroundingDinoProcessor, Sam2Model

from magref.curation.models.grounding import GroundingDetector, corners, make_prompts, named
from magref.curation.models.sam import SamSegmenter, mask_of, prepare, scale_boxes
from magref.curation.models.shelf import Shelf
from magref.errors import CheckpointError, InputError
from tiny import GOLDEN
from tiny_models import save_grounding_dino, save_sam, without_tensor


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    return save_grounding_dino(tmp_path_factory.mktemp("dino") / "model")


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    return save_sam(tmp_path_factory.mktemp("sam") / "model")


@pytest.fixture(scope="module")
def shelf():
    return Shelf("cpu", keep=2)


@pytest.fixture(scope="module")
def detector(dino, shelf):
    return GroundingDetector(dino, shelf=shelf, batch=3)


@pytest.fixture(scope="module")
def parts(detector, shelf):
    """The model, its image processor and its tokenizer."""
    return shelf.take(detector, detector._load)


def images(count, *, height=60, width=100, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


# --- GroundingDINO ---------------------------------------------------------------------------------------------------


def test_the_prompt_is_the_librarys(parts):
    _, _, tokenizer = parts
    (prompt,) = make_prompts(tokenizer, ["Red hat", "necklace", "dog"], longest=16)
    assert prompt.tokens == tokenizer("red hat. necklace. dog.")["input_ids"]
    words = {label: tokenizer.convert_ids_to_tokens(prompt.tokens[a:b]) for label, (a, b) in prompt.spans.items()}
    assert words == {"Red hat": ["red", "hat"], "necklace": ["neck", "##lace"], "dog": ["dog"]}


def test_labels_with_full_stops_and_labels_twice(parts):
    _, _, tokenizer = parts
    (prompt,) = make_prompts(tokenizer, ["old St. Bernard?", "dog", "dog"], longest=16)
    assert tokenizer.convert_ids_to_tokens(prompt.tokens) == ["[CLS]", "old", "st", "bernard", ".", "dog", ".", "[SEP]"]
    assert prompt.spans == {"old St. Bernard?": (1, 4), "dog": (5, 6)}


def test_labels_that_do_not_fit_into_one_text(parts):
    _, _, tokenizer = parts
    labels = ["red hat", "blue hat", "red dog", "blue dog", "old man", "tree"]
    prompts = make_prompts(tokenizer, labels, longest=12)
    assert [len(prompt.tokens) for prompt in prompts] == [11, 10]  # three labels of two words, then the rest
    assert [label for prompt in prompts for label in prompt.spans] == labels
    assert make_prompts(tokenizer, [], longest=12) == []


def test_labels_that_cannot_be_asked(detector):
    with pytest.raises(InputError, match=r"the label '\. \?' has no words to look for; leave it out"):
        detector.detect(images(1), [[". ?"]])
    with pytest.raises(InputError, match="longer than the detector can read; shorten it"):
        detector.detect(images(1), [["red " * 14]])


@pytest.mark.parametrize(
    ("fitting", "label"),
    [
        ({1: 0.9, 2: 0.9}, "red hat"),  # a whole label
        ({2: 0.9}, "red hat"),  # a fragment
        ({1: 0.5, 4: 0.3, 5: 0.3}, "blue hat"),  # parts of two: the one with the larger share
        ({2: 0.5, 5: 0.7}, "blue hat"),  # the word they have in common, at the place of one
        ({1: 0.9, 7: 0.3}, "dog"),  # a half of one, the whole of another
        ({3: 0.9}, None),  # a full stop alone
        ({}, None),
    ],
)
def test_phrases_find_their_labels(fitting, label):
    spans = {"red hat": (1, 3), "blue hat": (4, 6), "dog": (7, 8)}
    scores = np.zeros(16)
    for place, score in fitting.items():
        scores[place] = score
    assert named(scores, spans, 0.25) == label


def test_corners_stay_inside_the_image():
    assert corners(np.array([0.5, 0.5, 0.4, 0.2]), (50, 100)) == pytest.approx((30, 20, 70, 30))
    assert corners(np.array([0.1, 0.9, 0.4, 0.4]), (50, 100)) == pytest.approx((0, 35, 30, 50))


def test_boxes_are_those_of_the_librarys_processor(detector, parts):
    model, processor, tokenizer = parts
    (image,) = images(1)
    library = GroundingDinoProcessor(processor, tokenizer)
    inputs = library(images=image, text=[["red hat", "dog"]], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    (expected,) = library.post_process_grounded_object_detection(outputs, target_sizes=[(60, 100)])
    phrases = [set(re.findall(r"\w+", phrase)) for phrase in expected["text_labels"]]
    order = torch.argsort(expected["scores"], descending=True, stable=True)
    order = order[[bool(phrases[n] & {"red", "hat", "dog"}) for n in order]]  # the others are full stops alone
    assert 5 < len(order) < len(phrases)
    (found,) = detector.detect([image], [["red hat", "dog"]])
    np.testing.assert_allclose([d.score for d in found], expected["scores"][order], rtol=1e-5)
    inside = torch.minimum(expected["boxes"][order].clamp(min=0), torch.tensor([100.0, 60.0, 100.0, 60.0]))
    np.testing.assert_allclose([d.corners for d in found], inside, atol=1e-3)
    for detection, n in zip(found, order.tolist(), strict=True):
        assert set(detection.label.split()) & phrases[n]


def test_a_batch_finds_what_single_images_show(detector, shelf, dino):
    pictures = [*images(3), *images(1, height=90, width=70, seed=1)]
    labels = [["red hat", "dog"], ["old man"], ["tree", "necklace", "blue hat", "red dog", "man", "hat"], ["dog"]]
    together = detector.detect(pictures, labels)  # the third needs two texts; the fourth is of another size
    for image, names, found in zip(pictures, labels, together, strict=True):
        (alone,) = detector.detect([image], [names])
        assert [d.label for d in found] == [d.label for d in alone]
        np.testing.assert_allclose([d.score for d in found], [d.score for d in alone], rtol=1e-4)
        np.testing.assert_allclose([d.corners for d in found], [d.corners for d in alone], atol=1e-2)
        assert {d.label for d in found} <= set(names)
        assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)


def test_thresholds_and_nothing(detector, dino, shelf):
    assert detector.detect(images(2), [[], []]) == [[], []]
    assert detector.detect([], []) == []
    strict = GroundingDetector(dino, shelf=shelf, box_threshold=1.0)
    assert strict.detect(images(1), [["dog"]]) == [[]]
    wordless = GroundingDetector(dino, shelf=shelf, text_threshold=1.0)
    assert wordless.detect(images(1), [["dog"]]) == [[]]


def test_a_detector_that_is_not_whole(tmp_path):
    folder = save_grounding_dino(tmp_path / "model")
    without_tensor(folder, "model.query_position_embeddings.weight")
    with pytest.raises(CheckpointError, match=r"lacks .*query_position_embeddings.*GroundingDinoForObjectDetection"):
        GroundingDetector(folder, shelf=Shelf("cpu")).detect(images(1), [["dog"]])
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be opened"):
        GroundingDetector(folder, shelf=Shelf("cpu")).detect(images(1), [["dog"]])


# --- SAM -------------------------------------------------------------------------------------------------------------


def test_what_goes_in_and_out_is_the_librarys():
    """Stored numbers of transformers' `Sam2Processor`; see golden/README.md."""
    golden = np.load(GOLDEN / "curation_processors.npz")
    rng = np.random.default_rng(5)
    rng.integers(0, 256, (21, 60, 100, 3), dtype=np.uint8)  # drawn before it when the numbers were made
    image = rng.integers(0, 256, (60, 100, 3), dtype=np.uint8)
    np.testing.assert_allclose(prepare(image, 64)[:, :, ::5, ::5], golden["sam_pixels"], atol=1e-5)
    boxes = scale_boxes([(3.0, 4.0, 50.0, 55.0), (10.0, 0.0, 99.5, 30.0)], (60, 100), 64)
    np.testing.assert_allclose(boxes, golden["sam_boxes"], atol=1e-5)
    masks = np.stack([mask_of(torch.from_numpy(logits), (60, 100)) for logits in golden["sam_logits"][0]])
    assert tuple(golden["sam_masks_shape"]) == (2, 1, 60, 100)
    np.testing.assert_array_equal(np.packbits(masks), golden["sam_masks"])


def test_an_image_is_squeezed_and_not_cropped():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 60:] = 255
    red = prepare(image, 64)[0, 0] * 0.229 + 0.485
    assert red.shape == (64, 64)
    assert red[:, :46].max() == pytest.approx(0, abs=1e-5)
    assert red[:, 50:].min() == pytest.approx(1, abs=1e-5)


def test_masks_are_those_of_the_model(sam, shelf):
    pictures = [*images(2), *images(1, height=90, width=70, seed=1), *images(1)]
    boxes = [[(3, 4, 50, 55), (60.5, 5, 99, 59)], [], [(1, 2, 69, 88)], [(0, 0, 100, 60)]]
    found = SamSegmenter(sam, shelf=shelf, batch=2).segment(pictures, boxes)
    assert [len(masks) for masks in found] == [2, 0, 1, 1]
    model = Sam2Model.from_pretrained(sam).eval()
    for image, prompts, masks in zip(pictures, boxes, found, strict=True):
        for box, mask in zip(prompts, masks, strict=True):  # one image and one box at a time, from pixels
            with torch.inference_mode():
                outputs = model(
                    pixel_values=prepare(image, 64),
                    input_boxes=scale_boxes([box], image.shape[:2], 64),
                    multimask_output=False,
                )
            assert outputs.pred_masks.shape[:3] == (1, 1, 1)  # one mask for a box
            expected = mask_of(outputs.pred_masks[0, 0], image.shape[:2])
            assert mask.dtype == bool
            assert mask.shape == image.shape[:2]
            assert 0.02 < mask.mean() < 0.98
            assert (mask != expected).mean() < 0.001


def test_each_box_is_asked_in_its_place(sam, shelf, monkeypatch):
    segmenter = SamSegmenter(sam, shelf=shelf)
    asked = []
    real = Sam2Model.forward

    def forward(self, *args, **kwargs):
        asked.append(kwargs["input_boxes"])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Sam2Model, "forward", forward)
    boxes = [[(3, 4, 50, 55), (60.5, 5, 99, 59)], [], [(1, 2, 69, 58)]]
    segmenter.segment(images(3), boxes)
    scale = np.array([64 / 100, 64 / 60, 64 / 100, 64 / 60])
    np.testing.assert_allclose(asked[0][0], np.array(boxes[0]) * scale, rtol=1e-6)
    np.testing.assert_allclose(asked[1][0], np.array(boxes[2]) * scale, rtol=1e-6)


def test_nothing_to_cut_out_loads_nothing():
    nowhere = SamSegmenter("nowhere", shelf=Shelf("cpu"))
    assert nowhere.segment(images(2), [[], []]) == [[], []]


def test_a_segmenter_that_is_not_whole(tmp_path):
    folder = save_sam(tmp_path / "model")
    without_tensor(folder, "no_memory_embedding")
    with pytest.raises(CheckpointError, match="lacks no_memory_embedding of a Sam2Model"):
        SamSegmenter(folder, shelf=Shelf("cpu")).segment(images(1), [[(0, 0, 9, 9)]])
