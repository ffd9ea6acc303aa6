"""The rich synthetic world: the same in any batch, true to what it says, held-out things held out."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from magref.errors import InputError
from magref.synthetic.easel import Easel
from magref.synthetic.identities import KINDS, describe, draw_subjects, kind_of
from magref.synthetic.motions import BASIC, MOTIONS, possible
from magref.synthetic.places import NAMES, PLACES, draw_places, place_of
from magref.synthetic.plans import COLOURS, SIMPLE, STAGED, WorldConfig, plan_scene
from magref.synthetic.scenes import boxes_of
from magref.synthetic.shapes import ellipse
from magref.synthetic.splits import (
    HELD_OUT_MOTIONS,
    HELD_OUT_PAIRS,
    HELD_OUT_WORDS,
    combination_is_held_out,
    nth_identity,
    split_of,
)
from magref.synthetic.traits import Choices, Traits
from magref.synthetic.views import any_view, plain_view
from magref.synthetic.world import Scenes, render_scenes

SIZE = {"frames": 5, "height": 32, "width": 48}
COUNT = 24
FRAMES = 7


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return render_scenes(range(COUNT), **SIZE, seed=3)


@pytest.fixture(scope="module")
def simple() -> Scenes:
    return render_scenes(range(64), frames=FRAMES, height=48, width=72, seed=3, config=SIMPLE)


def plans(split: str, count: int = 600, config: WorldConfig | None = None):
    config = config or WorldConfig()
    return [plan_scene(i, **SIZE, seed=1, split=split, config=config) for i in range(count)]


@pytest.fixture(scope="module")
def training_plans():
    return plans("train")


@pytest.fixture(scope="module")
def held_out_plans():
    return plans("held-out")


def subjects_of(scenes: Scenes):
    """(row, slot, truth) of every subject."""
    return [(b, n, s) for b, truth in enumerate(scenes.truths) for n, s in enumerate(truth.subjects)]


class TestDeterminism:
    @pytest.mark.parametrize("indices", [[0], [17, 3], [21, 21, 5]], ids=str)
    def test_a_scene_is_the_same_in_any_batch(self, scenes, indices):
        again = render_scenes(indices, **SIZE, seed=3)
        for row, index in enumerate(indices):
            assert again.truths[row] == scenes.truths[index]
            for name in ("frames", "references", "backgrounds"):
                difference = (getattr(again, name)[row].int() - getattr(scenes, name)[index].int()).abs()
                assert difference.max() <= 1, name  # rounding depends on the size of the batch
            assert (again.masks[row] != scenes.masks[index]).sum() <= 2

    def test_other_indices_seeds_and_splits_show_something_else(self, scenes):
        assert len({truth.caption for truth in scenes.truths}) == COUNT
        for other in (render_scenes([0], **SIZE, seed=4), render_scenes([0], **SIZE, seed=3, split="held-out")):
            assert not torch.equal(other.frames[0], scenes.frames[0])
            assert other.truths[0].caption != scenes.truths[0].caption

    def test_the_global_random_state_is_neither_read_nor_changed(self, scenes):
        with torch.random.fork_rng():
            torch.manual_seed(99)
            state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
            render_scenes([1], **SIZE, seed=3)
            assert torch.equal(torch.get_rng_state(), state)
            assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002

    def test_traits_go_by_number_and_name_alone(self):
        together, alone = Traits([3, 8, 5], "x"), Traits([8], "x")
        alone.uniform("something else")
        assert together.uniform("a")[1] == alone.uniform("a")[0]
        assert together.uniform("a")[0] != together.uniform("b")[0]
        assert Traits([8], "y").uniform("a")[0] != alone.uniform("a")[0]
        spread = Traits(range(4000), 0).integer("n", 5)
        assert np.bincount(spread) == pytest.approx([800] * 5, abs=110)
        options = [Choices(i, 0).of("o", "abc", (1, 2, 1)) for i in range(2000)]
        assert options.count("b") == pytest.approx(1000, abs=110)

    def test_the_number_of_threads_is_left_as_it_was(self):
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            render_scenes([0], **SIZE)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_an_unknown_split_is_refused(self):
        with pytest.raises(InputError, match="train or held-out"):
            render_scenes([0], **SIZE, split="test")


class TestSplits:
    def test_identities_are_disjoint_and_all_numbers_used(self):
        train, held = ({nth_identity(split, n) for n in range(700)} for split in ("train", "held-out"))
        assert not train & held
        assert {split_of(i) for i in train} == {"train"}
        assert {split_of(i) for i in held} == {"held-out"}
        assert set(range(800)) <= train | held

    def test_training_has_nothing_that_is_held_out(self, training_plans):
        for plan in training_plans:
            assert plan.new == ()
            motions: list[str] = []
            for subject in plan.subjects:
                assert split_of(subject.identity) == "train"
                assert not combination_is_held_out(subject.kind.name, subject.motion, tuple(motions))
                motions.append(subject.motion)
            assert not HELD_OUT_WORDS & set(re.findall(r"[a-z]+", plan.caption.text.lower()))

    def test_the_held_out_split_has_all_of_it(self, held_out_plans):
        assert all(split_of(s.identity) == "held-out" for plan in held_out_plans for s in plan.subjects)
        shares = {
            new: np.mean([new in plan.new for plan in held_out_plans]) for new in ("identity", "combination", "words")
        }
        assert shares["identity"] == 1
        assert 0.15 < shares["combination"] < 0.6
        assert 0.2 < shares["words"] < 0.6

    def test_what_is_held_out_exists(self):
        for kind, motion in HELD_OUT_MOTIONS:
            assert motion in possible(KINDS[kind])
        assert all(pair <= set(MOTIONS) for pair in HELD_OUT_PAIRS)

    def test_every_kind_and_motion_is_seen_in_training(self, training_plans):
        seen = {s.kind.name for p in training_plans for s in p.subjects}
        assert len(seen) > 0.9 * len(KINDS)
        assert {s.motion for p in training_plans for s in p.subjects} == set(MOTIONS)
        assert {place_of(p.place) for p in training_plans if p.place is not None} == set(NAMES)


class TestTruth:
    def test_shapes(self, scenes):
        config = WorldConfig()
        subjects, references, px = config.max_subjects, config.references, config.reference_px
        assert (scenes.frames.shape, scenes.frames.dtype) == ((COUNT, 5, 3, 32, 48), torch.uint8)
        assert (scenes.masks.shape, scenes.masks.dtype) == ((COUNT, subjects, 5, 32, 48), torch.bool)
        assert scenes.boxes.shape == (COUNT, subjects, 5, 4)
        assert scenes.visible.shape == (COUNT, subjects, 5)
        assert scenes.references.shape == (COUNT, subjects, references, 4, px, px)
        assert scenes.backgrounds.shape == (COUNT, 3, 32, 48)
        assert {len(truth.subjects) for truth in scenes.truths} == {1, 2, 3}

    def test_rows_of_absent_subjects_are_empty(self, scenes):
        for b, truth in enumerate(scenes.truths):
            for n in range(len(truth.subjects), 3):
                assert not scenes.masks[b, n].any()
                assert not scenes.boxes[b, n].any()
                assert not scenes.references[b, n].any()

    def test_boxes_lie_tightly_around_masks(self, scenes):
        for b, n, _ in subjects_of(scenes):
            for mask, (left, top, right, bottom) in zip(scenes.masks[b, n], scenes.boxes[b, n].tolist(), strict=True):
                inside = mask[top:bottom, left:right]
                assert inside.sum() == mask.sum()
                if mask.any():
                    assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))

    def test_the_box_of_one_pixel_and_of_none(self):
        mask = torch.zeros(2, 6, 9, dtype=torch.bool)
        mask[0, 2, 7] = True
        assert boxes_of(mask).tolist() == [[7, 2, 8, 3], [0, 0, 0, 0]]

    def test_no_pixel_belongs_to_two_subjects_and_hidden_ones_say_so(self, scenes):
        assert scenes.masks.sum(dim=1).max() == 1
        assert scenes.visible.min() >= 0
        assert scenes.visible.max() <= 1
        seen = torch.stack([scenes.visible[b, n] for b, n, _ in subjects_of(scenes)])
        assert (seen > 0.97).float().mean() > 0.3
        assert (seen < 0.9).any()

    def test_masks_are_where_the_picture_differs_from_the_empty_place(self):
        """Each subject's pixels, and hardly any other, change when it is taken away."""
        config = SIMPLE.model_copy(update={"shadows": False})
        shown = render_scenes(range(6), **SIZE, seed=9, config=config)
        for b, truth in enumerate(shown.truths):
            if truth.place is None:
                corner = shown.frames[b, :, :, :1, :1].int()
                differs = (shown.frames[b].int() - corner).abs().amax(dim=1) > 14
                agree = (differs == shown.masks[b, 0]).float().mean()
                assert agree > 0.95

    @pytest.mark.parametrize(
        ("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
    )
    def test_subjects_move_as_their_motion_says(self, simple, motion, axis, sign):
        found = [(b, n) for b, n, s in subjects_of(simple) if s.motion == motion]
        assert len(found) >= 3
        for b, n in found:
            left, top, right, bottom = simple.boxes[b, n].float().unbind(-1)
            middle = torch.stack([(left + right) / 2 / 72, (top + bottom) / 2 / 48], dim=1)
            travelled = middle[-1] - middle[0]
            assert sign * travelled[axis] > 0.15
            assert abs(travelled[1 - axis]) < 0.12
            assert (middle[0] - simple.centres[b, n, 0]).abs().max() < 0.2

    def test_what_grows_grows(self, simple):
        found = [(b, n) for b, n, s in subjects_of(simple) if s.motion == "grows"]
        assert len(found) >= 3
        for b, n in found:
            areas = simple.masks[b, n].float().sum(dim=(1, 2))
            assert areas[-1] > 2 * areas[0]

    def test_limbs_move(self, simple):
        """A clip of someone who walks is no rigid picture pushed along: the legs come together and apart."""
        walkers = [b for b, _, s in subjects_of(simple) if s.role == "person" and s.motion in ("left", "right")]
        assert walkers
        for b in walkers:
            top, bottom = simple.boxes[b, 0, 0, 1], simple.boxes[b, 0, 0, 3]
            legs = boxes_of(simple.masks[b, 0, :, bottom - (bottom - top) // 5 :])
            widths = legs[:, 2] - legs[:, 0]
            assert widths.max() - widths.min() >= 3

    def test_the_camera_moves_the_place_and_a_static_one_does_not(self):
        config = WorldConfig(max_subjects=1, pictures=1.0, camera=0.5, occlusion=0.0)
        shown = render_scenes(range(14), **SIZE, seed=2, config=config)
        changes = {True: [], False: []}
        for b, truth in enumerate(shown.truths):
            free = ~shown.masks[b, 0].any(dim=0)
            difference = (shown.frames[b, 0].int() - shown.frames[b, -1].int()).abs().amax(dim=0)
            changes[truth.camera == "static"].append((difference[free] > 10).float().mean().item())
        assert min(changes[False]) > 2 * np.median(changes[True])

    def test_the_simple_world_is_simple(self, simple):
        assert all(len(t.subjects) == 1 and t.camera == "static" and not t.occluded for t in simple.truths)
        assert {s.motion for _, _, s in subjects_of(simple)} == set(BASIC)

    def test_in_the_staged_world_number_kind_and_motion_say_where_a_subject_is(self):
        paths: dict[tuple, list[np.ndarray]] = {}
        for plan in plans("train", 400, STAGED):
            ground = plan.place is not None and PLACES[place_of(plan.place)].ground
            for n, subject in enumerate(plan.subjects):
                key = (len(plan.subjects), n, subject.motion, subject.kind.name, ground)
                paths.setdefault(key, []).append(np.stack([subject.track.x, subject.track.y, subject.track.size]))
        several = [found for found in paths.values() if len(found) > 1]
        assert len(several) > 20
        for found in several:
            assert all(np.array_equal(found[0], other) for other in found[1:])
        for plan in plans("train", 200, STAGED):
            assert len(plan.subjects) < 2 or plan.subjects[0].track.x.mean() < plan.subjects[1].track.x.mean()

    def test_in_the_staged_world_references_show_what_the_clip_shows(self):
        config = STAGED.model_copy(update={"motions": ("still",)})
        shown = render_scenes(range(24), **SIZE, seed=2, config=config)
        near = []
        for b, truth in enumerate(shown.truths):
            if truth.place is not None:
                free = ~shown.masks[b].any(dim=(0, 1))
                difference = shown.frames[b, 0].int() - shown.backgrounds[b].int()
                near.append((difference.abs().amax(dim=0)[free] <= 2).float().mean().item())
        assert len(near) > 5
        assert min(near) > 0.95

    def test_a_disguised_subject_has_exchanged_colours_in_clip_and_reference(self):
        plain, changed = (
            render_scenes(range(8), **SIZE, seed=2, config=STAGED.model_copy(update={"disguised": share}))
            for share in (0.0, 1.0)
        )
        torch.testing.assert_close(changed.masks, plain.masks)
        for b, _, _ in subjects_of(plain):
            one, other = plain.references[b, 0, 0].int(), changed.references[b, 0, 0].int()
            (colours,) = [c for c in COLOURS if (one[list(c)] - other[:3]).abs().max() <= 1]
            mask = plain.masks[b, 0, 0]
            seen, before = changed.frames[b, 0][:, mask].float(), plain.frames[b, 0][:, mask].float()
            assert (before[list(colours)] - seen).abs().median() <= 2
            assert (changed.frames[b, 0] == plain.frames[b, 0])[:, ~plain.masks[b].any(dim=0)[0]].float().mean() > 0.8

    def test_the_caption_of_a_disguised_subject_does_not_say_what_it_looks_like(self):
        for plan in plans("train", 300, STAGED.model_copy(update={"disguised": 1.0})):
            for subject, span in zip(plan.subjects, plan.caption.spans, strict=True):
                words = describe(subject.identity)
                telling = (*words.adjectives, *words.having, *words.wearing)
                label = f" {plan.caption.text[slice(*span)].lower()} "
                assert not any(f" {said} " in label for said in telling)

    def test_settings_are_strict(self):
        for bad in ({"motions": ("hops",)}, {"max_subjects": 4}, {"colour": 1}, {"motions": ("waves",)}):
            with pytest.raises(ValidationError):
                WorldConfig(**bad)


class TestReferences:
    def test_each_shows_its_subject_and_no_two_are_alike(self, scenes):
        for b, n, _ in subjects_of(scenes):
            pictures = scenes.references[b, n].float() / 255
            assert (pictures[:, 3].mean(dim=(1, 2)) > 0.03).all()
            for one, other in pairwise(pictures):
                assert (one - other).abs().mean() > 0.005

    def test_a_reference_is_not_the_clips_picture_but_the_same_identity(self):
        """Another pose, scale, light or mirror: never the same pixels, yet nearest to itself in its colours."""
        config = SIMPLE.model_copy(update={"pictures": 0.0, "references": 2})
        shown = render_scenes(range(24), frames=1, height=96, width=96, seed=5, config=config)
        looks, refs = [], []
        for b in range(24):
            left, top, right, bottom = shown.boxes[b, 0, 0].tolist()
            mask = shown.masks[b, 0, 0]
            looks.append(shown.frames[b, 0][:, mask].float().T)
            picture = shown.references[b, 0, 0]
            refs.append(picture[:3][:, picture[3] > 127].float().T)
            clip = torch.nn.functional.interpolate(
                shown.frames[b, 0][None, :, top:bottom, left:right].float(), (96, 96), mode="area"
            )[0]
            assert (clip - picture[:3].float()).abs().mean() > 8

        def colours(pixels: torch.Tensor) -> torch.Tensor:
            cells = (pixels / pixels.mean().clamp(min=1) * 2).long().clamp(max=4)
            counts = torch.bincount(cells @ torch.tensor([25, 5, 1]), minlength=125).float()
            return counts / counts.sum()

        one, other = (torch.stack([colours(p) for p in side]) for side in (looks, refs))
        nearest = torch.cdist(one, other, p=1).argmin(dim=1)
        assert (nearest == torch.arange(24)).float().mean() > 0.5  # by chance: 0.04

    def test_an_identity_looks_the_same_in_the_same_view_and_others_differ(self):
        view = plain_view(6)
        one = draw_subjects([5, 5, 6, 13, 5, 6], view, 48)
        assert torch.allclose(one[0], one[1], atol=1e-5)
        assert torch.allclose(one[2], one[5], atol=1e-5)
        assert (one[0] - one[2]).abs().mean() > 0.02
        assert (one[0] - one[3]).abs().mean() > 0.02

    def test_a_mirrored_view_is_the_mirrored_picture(self):
        view = replace(plain_view(8), light_x=np.zeros(8, np.float32))
        turned = replace(view, mirror=np.full(8, -1, np.float32))
        one, other = draw_subjects(range(8), view, 40), draw_subjects(range(8), turned, 40)
        assert (one.flip(-1) - other).abs().max() < 0.02

    def test_every_kind_can_be_drawn_in_any_view_within_its_picture(self):
        numbers = {}
        for identity in range(40000):
            numbers.setdefault(kind_of(identity).name, identity)
            if len(numbers) == len(KINDS):
                break
        assert set(numbers) == set(KINDS)
        pictures = draw_subjects(list(numbers.values()), any_view(Traits(range(len(KINDS)), 0)), 48)
        for name, picture in zip(numbers, pictures, strict=True):
            assert 0 <= picture.min() <= picture.max() <= 1
            assert picture[3].mean() > 0.03, name
            border = torch.cat([picture[3, 0], picture[3, -1], picture[3, :, 0], picture[3, :, -1]])
            assert (border > 0.5).float().mean() < 0.12, name

    def test_an_ellipse_has_its_area(self):
        easel = Easel(plain_view(2), 64)
        easel.paint(ellipse(np.array([0.0, 0.3], np.float32), 0.1, 0.5, 0.25, 0.4), (1, 0, 0), rim=0, depth=0)
        area = easel.finish()[:, 3].sum(dim=(1, 2)) / 32**2
        assert area.tolist() == pytest.approx([np.pi * 0.5 * 0.25] * 2, rel=0.03)

    def test_a_narrowed_easel_paints_its_rows_alone(self):
        easel = Easel(plain_view(4), 16)
        narrowed = easel.only(np.array([True, True, False, False])).only(np.array([False, True, True, False]))
        narrowed.paint(ellipse(0, 0, 0.5, 0.5), (1, 0, 0))
        narrowed.paint(ellipse(0, 0, 0.5, 0.5), (1, 0, 0), where=np.array([True, False, True, True]))
        assert easel.finish()[:, 3].amax(dim=(1, 2)).tolist() == [0, 1, 0, 0]


class TestWords:
    def test_labels_stand_where_their_spans_say(self, training_plans, held_out_plans):
        for plan in (*training_plans, *held_out_plans):
            text, spans = plan.caption.text, sorted(plan.caption.spans)
            assert len(spans) == len(plan.subjects)
            for (_, end), (start, _) in pairwise(spans):
                assert end <= start
            for subject, (start, end) in zip(plan.subjects, plan.caption.spans, strict=True):
                label = text[start:end].lower()
                nouns = describe(subject.identity).nouns
                assert any(noun in label for noun in nouns), (label, nouns)
            if plan.caption.place:
                assert text[slice(*plan.caption.place)].strip()

    def test_captions_are_sentences(self, training_plans, held_out_plans):
        for plan in (*training_plans, *held_out_plans):
            text = plan.caption.text
            assert text[0].isupper()
            assert text.endswith(".")
            assert not re.search(r"  |\{|\}| \.| ,|\ba [aeio]|\ban [^aeiou]", text), text

    def test_captions_vary(self, training_plans):
        texts = [plan.caption.text for plan in training_plans]
        assert len(set(texts)) > 0.97 * len(texts)
        assert len({text.split()[0] for text in texts}) > 8
        assert len({word for text in texts for word in text.lower().split()}) > 250

    def test_a_plain_backdrop_has_the_colour_that_is_said(self):
        config = SIMPLE.model_copy(update={"pictures": 0.0})
        shown = render_scenes(range(40), frames=1, height=32, width=48, config=config)
        for name, channel in (("red", 0), ("green", 1), ("blue", 2)):
            rows = [b for b, t in enumerate(shown.truths) if t.colour == name and t.place_label]
            for b in rows:
                assert name in shown.truths[b].caption
                assert shown.frames[b, 0, :, 0, 0].argmax() == channel


class TestPlaces:
    def test_each_place_looks_its_own(self):
        numbers = {}
        for number in range(1000):
            numbers.setdefault(place_of(number), number)
        assert set(numbers) == set(PLACES)
        pictures = draw_places(list(numbers.values()), plain_view(len(numbers)), 24, 36).flatten(1)
        distances = torch.cdist(pictures, pictures, p=1) / pictures.shape[1] + torch.eye(len(numbers))
        assert distances.min() > 0.02
        assert 0 <= pictures.min() <= pictures.max() <= 1
