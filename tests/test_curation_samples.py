"""Samples of equation 1, and the filters around them: aesthetics, overlays, duplicates, a guard of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

pytest.importorskip("cv2", reason="needs the curate extra")

from magref.curation.aesthetic import chosen_frames, judge_aesthetic
from magref.curation.candidates import JudgedFace
from magref.curation.duplicates import frames_hash, judge_copies, judge_near, judge_quota
from magref.curation.faces import SeenFace
from magref.curation.guard import ask_guard, find_guard
from magref.curation.interfaces import Detection, Face
from magref.curation.labels import find_labels
from magref.curation.objects import Found
from magref.curation.outcome import STAGES, Failed, Kept, Rejected, failure
from magref.curation.overlay import judge_overlay, overlay_share
from magref.curation.samples import Draft, FrameObjects, Person, assemble, face_picture
from magref.curation.settings import (
    AestheticSettings,
    CandidateSettings,
    CurationSettings,
    DuplicateSettings,
    GuardSettings,
    LabelSettings,
    OverlaySettings,
    SampleSettings,
)
from magref.dataset.check import check_dataset
from magref.dataset.format import DatasetInfo, Provenance
from magref.dataset.store import Dataset, DatasetWriter
from magref.errors import InputError

CAPTION = "A woman in a red hat kicks a ball past a dog and another dog in the park, with a rope in her hand."
LABELS = find_labels(CAPTION, ["woman", "red hat", "ball", "dog", "park", "rope"], LabelSettings())
HEIGHT, WIDTH, FRAMES = 64, 96, 9
FACE = (40.0, 4.0, 56.0, 20.0)
OTHER_FACE = (4.0, 4.0, 14.0, 16.0)


def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


def found(label: str, kind: str, left: int, top: int, right: int, bottom: int, score: float = 0.6) -> Found:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top:bottom, left:right] = True
    return Found(Detection(label, (left, top, right, bottom), score), kind, mask)


def frame_objects(frame: int, *items: Found, rejected: tuple[str, ...] = ()) -> FrameObjects:
    no = Rejected(stage="objects", reason="small")
    human = Rejected(stage="objects", reason="human")
    outcomes = [human if i.kind == "human" else no if i.detection.label in rejected else Kept() for i in items]
    return FrameObjects(frame, clip()[frame], items, tuple(outcomes))


WOMAN = found("woman", "human", 36, 2, 60, 62)
PERSON = found("person", "human", 36, 2, 60, 62, score=0.8)
BALL, PARK = found("ball", "object", 70, 40, 80, 50), found("park", "background", 0, 10, 96, 64, score=0.4)


def person(name: str, corners=FACE, frames=(0, 4, 8), pictures: int = 10) -> Person:
    seen = [SeenFace(0, 0, n % FRAMES, n / 16, Face(corners, 0.9)) for n in range(pictures)]
    faces = [face_picture(clip()[s.frame], JudgedFace(s, 0.9, Kept()), 0, CandidateSettings()) for s in seen]
    return Person(name, tuple(faces), dict.fromkeys(frames, corners))


def sample(people=None, objects=None, **changes) -> Draft | Rejected:
    return assemble(
        "film-0-0",
        CAPTION,
        clip(),
        16.0,
        people=[person("film-ann")] if people is None else people,
        objects=[frame_objects(0, WOMAN, BALL, PARK), frame_objects(4, PERSON, BALL)] if objects is None else objects,
        labels=LABELS,
        settings=SampleSettings(**changes),
        provenance=Provenance(source="film.mp4", start_s=1.0, end_s=1.5),
    )


def test_a_default_sample_follows_equation_1(tmp_path):
    """One identity with its candidate faces, objects 1 to k, human masks, the caption and the clip."""
    draft = sample()
    with DatasetWriter(tmp_path / "set", DatasetInfo(name="curated")) as writer:
        draft.write(writer)
    (stored,) = Dataset(tmp_path / "set")
    assert list(check_dataset(tmp_path / "set", decode=True)) == []
    assert stored.caption == CAPTION
    assert (stored.clip.num_frames, stored.clip.start, stored.clip.stop, stored.clip.fps) == (FRAMES, 0, FRAMES, 16)

    people = [subject for subject in stored.subjects if subject.role == "person"]
    assert [subject.identity for subject in people] == ["film-ann"]
    assert len(people[0].pictures) == 10
    assert people[0].label == "woman"
    objects = [subject for subject in stored.subjects if subject.role == "object"]
    assert [subject.label for subject in objects] == ["ball"]
    assert all(stored.caption[slice(*subject.span)] == subject.label for subject in stored.subjects)
    assert [(mask.subject, mask.frame) for mask in stored.masks] == [("person-1", 0), ("person-1", 4)]
    assert stored.provenance.source == "film.mp4"


def test_the_most_seen_person_is_the_samples_own():
    extra = person("film-bob", OTHER_FACE, frames=(0,))
    draft = sample([extra, person("film-ann")])
    assert [s.identity for s in draft.subjects if s.role == "person"] == ["film-ann"]
    both = sample([extra, person("film-ann")], identities=2)
    assert [s.identity for s in both.subjects if s.role == "person"] == ["film-ann", "film-bob"]
    assert [s.label for s in both.subjects if s.role == "person"] == ["woman", None]  # nobody's mask is at bob's face


def test_who_is_not_in_this_clip_or_has_no_candidate_makes_no_sample():
    absent = Person("film-ann", person("film-ann").pictures, {})
    faceless = Person("film-ann", (), {0: FACE})
    for people in ([], [absent], [faceless]):
        assert sample(people) == Rejected(stage="samples", reason="nobody with a usable face", value=0, limit=1)
    draft = sample([], without_faces=True)
    assert {s.role for s in draft.subjects} == {"object", "background"}
    assert not draft.masks


def test_objects_are_those_kept_in_the_captions_order_with_pictures_of_all_frames():
    hat, rope = found("red hat", "object", 40, 0, 56, 8, score=0.5), found("rope", "thin", 10, 50, 30, 52, score=0.3)
    draft = sample(
        objects=[frame_objects(0, WOMAN, rope, BALL, hat), frame_objects(4, BALL, hat, rejected=("red hat",))]
    )
    things = [s for s in draft.subjects if s.role == "object"]
    assert [(s.key, len(s.pictures)) for s in things] == [("red-hat", 1), ("ball", 2), ("rope", 1)]
    few = sample(objects=[frame_objects(0, WOMAN, rope, BALL, hat)], most_objects=2)
    assert [s.key for s in few.subjects if s.role == "object"] == ["red-hat", "ball"]  # the two surest


def test_without_an_object_there_is_no_sample_unless_asked():
    alone = [frame_objects(0, WOMAN, BALL, rejected=("ball",))]
    assert sample(objects=alone) == Rejected(stage="samples", reason="too few objects", value=0.0, limit=1)
    assert isinstance(sample(objects=alone, least_objects=0), Draft)


def test_of_two_dogs_only_the_surest_picture_stands():
    dogs = [found("dog", "object", 0, 40, 12, 60, score=0.5), found("dog", "object", 70, 30, 90, 60, score=0.7)]
    draft = sample(objects=[frame_objects(0, WOMAN, *dogs), frame_objects(4, WOMAN, dogs[0])])
    (dog,) = [s for s in draft.subjects if s.role == "object"]
    assert [(p.frame, p.box) for p in dog.pictures] == [(0, (70, 30, 90, 60))]


def test_references_are_transparent_around_what_they_show():
    draft = sample()
    ball = next(s for s in draft.subjects if s.key == "ball").pictures[0]
    assert (ball.image.mode, ball.image.size, ball.frame, ball.box) == ("RGBA", (10, 10), 0, (70, 40, 80, 50))
    assert np.array_equal(np.asarray(ball.image)[..., :3], clip()[0, 40:50, 70:80])
    background = next(s for s in draft.subjects if s.role == "background").pictures[0]
    alpha = np.asarray(background.image)[..., 3]
    assert alpha[:52, 36:60].max() == 0  # where the woman stands
    assert alpha[:, :36].min() == 255
    assert not any(s.role == "background" for s in sample(backgrounds=False).subjects)


def test_a_face_of_a_neighbouring_clip_names_no_frame_of_this_one():
    seen = SeenFace(0, 3, 5, 9.0, Face(FACE, 0.9))
    judged = JudgedFace(seen, 0.7, Kept())
    own = face_picture(clip()[5], judged, 3, CandidateSettings())
    other = face_picture(clip()[5], judged, 2, CandidateSettings())
    assert (own.frame, own.box, own.score) == (5, (36, 0, 60, 24), 0.7)
    assert (other.frame, other.box, other.image.size) == (None, None, own.image.size)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[8:16, 44:52] = True
    assert np.asarray(face_picture(clip()[5], judged, 3, CandidateSettings(), mask).image)[..., 3].sum() == 64 * 255


def test_labels_of_one_file_name_stay_apart(tmp_path):
    caption = "A ball-1 and a ball 1 are here, and a woman."
    labels = find_labels(caption, ["ball-1", "ball 1"], LabelSettings())
    items = [found("ball-1", "object", 0, 0, 10, 10), found("ball 1", "object", 30, 0, 40, 10)]
    draft = assemble(
        "x", caption, clip(), 8.0, people=[person("ann")], objects=[frame_objects(0, *items)], labels=labels,
        settings=SampleSettings(), provenance=Provenance(),
    )  # fmt: skip
    assert [s.key for s in draft.subjects] == ["person-1", "ball-1", "ball-1-2"]
    with DatasetWriter(tmp_path / "set", DatasetInfo(name="x")) as writer:
        draft.write(writer)


class NoHats:
    def refuse(self, sample: Draft) -> str | None:
        return "a hat" if "hat" in sample.caption else None


NO_HATS = NoHats()


def test_a_guard_may_refuse_with_its_reason():
    refused = ask_guard(sample(), NO_HATS)
    assert refused == Rejected(stage="guard", reason="refused", value="a hat")


class Broken:
    def refuse(self, sample: Draft) -> str | None:
        raise KeyError(sample.name)


def test_a_sample_over_which_a_guard_breaks_has_failed_and_does_not_pass():
    assert ask_guard(sample(), Broken()) == Failed(stage="guard", error="KeyError: 'film-0-0'")


def test_a_guard_is_found_by_its_name_or_named_in_an_error():
    assert find_guard(GuardSettings()) is None
    assert find_guard(GuardSettings(name=f"{__name__}:NO_HATS")) is NO_HATS
    for name in ("no_such_module:guard", f"{__name__}:nothing", f"{__name__}:NoHats", "json:dumps", "json"):
        with pytest.raises(InputError, match=f"the guard {name}"):
            find_guard(GuardSettings(name=name))


def test_three_frames_are_scored_and_their_mean_or_least_counts():
    assert chosen_frames(81) == (0, 40, 80)
    assert chosen_frames(2) == (0, 1)
    assert chosen_frames(1) == (0,)
    assert judge_aesthetic([5.0, 4.0, 4.6], AestheticSettings()) is None
    assert judge_aesthetic([5.0, 4.0, 4.0], AestheticSettings()).value == pytest.approx(13 / 3)
    assert judge_aesthetic([5.0, 4.0, 4.6], AestheticSettings(over="least")).value == 4.0


def moving(frames: int = 24) -> np.ndarray:
    rng = np.random.default_rng(1)
    wide = np.kron(rng.integers(0, 256, (20, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return np.stack([wide[: 20 * 8, 4 * n : 4 * n + 240] for n in range(frames)])


def test_a_logo_over_a_moving_picture_is_seen_and_its_absence_too():
    on = OverlaySettings(enabled=True)
    plain = moving()
    marked = plain.copy()
    marked[:, 8:28, 180:230] = 255
    marked[:, 12:28:8, 180:230] = 0
    marked[:, 13:28:8, 180:230] = 0
    assert overlay_share(plain, on) <= on.most
    assert judge_overlay(overlay_share(plain, on), on) is None
    found = judge_overlay(overlay_share(marked, on), on)
    assert found is not None
    assert (found.reason, found.limit) == ("logo or text", on.most)
    assert found.value == pytest.approx(20 * 50 / (160 * 240), rel=0.5)
    assert judge_overlay(found.value, OverlaySettings()) is None  # off by default


def test_nothing_is_said_of_overlays_before_a_still_picture():
    still = np.repeat(moving(1), 10, axis=0)
    assert overlay_share(still, OverlaySettings(enabled=True)) is None
    assert judge_overlay(None, OverlaySettings(enabled=True)) is None
    half = moving(10)
    half[:, :, 120:] = half[:1, :, 120:]
    assert overlay_share(half, OverlaySettings(enabled=True)) is None


def test_equal_clips_are_copies_of_the_first():
    a, b = clip(), clip()
    b[-1, -1, -1, -1] ^= 1
    hashes = [frames_hash(x) for x in (a, b, a.copy(), a[:, ::-1][:, ::-1], a.reshape(FRAMES, WIDTH, HEIGHT, 3))]
    assert [getattr(o, "value", None) for o in judge_copies(hashes)] == [None, None, 0, 0, None]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_of_near_duplicates_the_worthiest_is_kept():
    base = unit(np.random.default_rng(0).normal(size=(3, 64)))
    near = unit(base[:1] + 0.005 * base[1:2])
    outcomes = judge_near(np.concatenate([base, near]), [0.1, 0.5, 0.5, 0.9], DuplicateSettings())
    assert [getattr(o, "reason", None) for o in outcomes] == ["nearly the same", None, None, None]
    assert 0 <= outcomes[0].value < 0.01
    assert judge_near(np.zeros((0, 4)), [], DuplicateSettings()) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6), st.integers(2, 8))
def test_kept_neighbours_are_never_near_and_every_other_has_one(count, seed, groups):
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(groups, 8))[rng.integers(groups, size=count)] + 0.02 * rng.normal(size=(count, 8)))
    limits = DuplicateSettings(near=0.01)
    kept = np.array([o == Kept() for o in judge_near(vectors, rng.uniform(size=count), limits)])
    distance = 1 - vectors @ vectors.T
    apart = distance[np.ix_(kept, kept)] + 2 * np.eye(kept.sum())
    assert apart.min() >= 0.01 - 1e-5
    if (~kept).any():
        assert distance[np.ix_(~kept, kept)].min(axis=1).max() < 0.01 + 1e-5


def test_clusters_find_what_one_comparison_of_all_finds_when_groups_are_apart():
    rng = np.random.default_rng(3)
    vectors = unit(np.eye(6)[rng.integers(6, size=300)] + 0.001 * rng.normal(size=(300, 6)))
    worth = rng.uniform(size=300)
    kept = [sum(o == Kept() for o in judge_near(vectors, worth, DuplicateSettings(cluster=c))) for c in (50, 1000)]
    assert kept[1] == 6
    assert kept[0] >= 6  # a group may be split over clusters, never lost


def test_a_quota_keeps_the_worthiest_of_each_owner():
    outcomes = judge_quota(["a", "a", "b", None, "a"], [0.1, 0.9, 0.2, 0.3, 0.5], 2, "source")
    assert [getattr(o, "reason", None) for o in outcomes] == ["enough of this source", None, None, None, None]
    assert judge_quota(["a", "a"], [1, 2], None, "person") == [Kept(), Kept()]


def test_failures_keep_our_sentences_and_name_other_errors():
    assert (
        failure("source", InputError("the video x is broken; replace it")).error == "the video x is broken; replace it"
    )
    assert failure("masks", ValueError("no")) == Failed(stage="masks", error="ValueError: no")


def test_settings_are_strict_and_every_stage_has_its_own():
    assert set(CurationSettings.model_fields) <= {*STAGES, "refine"}
    stored = CurationSettings.model_validate_json(CurationSettings().model_dump_json())
    assert stored == CurationSettings()
    for wrong in ('{"motions": {}}', '{"motion": {"least": 9, "most": 3}}', '{"cuts": {"change": "0.5"}}'):
        with pytest.raises(ValidationError):
            CurationSettings.model_validate_json(wrong)
    with pytest.raises(ValidationError):
        CurationSettings(candidates=CandidateSettings(pool=5))
