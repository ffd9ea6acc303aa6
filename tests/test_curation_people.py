"""Faces and identities: on constructed embeddings, and on another pipeline's real detections, which have none."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magref.curation.candidates import JudgedFace, draw_candidates, judge_candidates
from magref.curation.faces import SeenFace, find_faces, judge_reference, pose_of, quality
from magref.curation.identities import Identity, find_identities, follow
from magref.curation.interfaces import Corners, Face, Image
from magref.curation.outcome import Kept, Rejected
from magref.curation.settings import CandidateSettings, FaceSettings, IdentitySettings

FACES = Path(__file__).parents[2] / "shared" / "fixtures" / "curation" / "three_women.faces.json"
needs_fixtures = pytest.mark.skipif(not FACES.is_file(), reason="needs ../shared/fixtures/curation")

SETTINGS = IdentitySettings()
LEFT, RIGHT = (10.0, 10.0, 110.0, 110.0), (200.0, 10.0, 300.0, 110.0)
FPS = 16


def embedding(*parts: float, size: int = 16) -> np.ndarray:
    vector = np.zeros(size, np.float32)
    vector[: len(parts)] = parts
    return vector / np.linalg.norm(vector)


def at_cosine(cosine: float, axis: int = 1) -> np.ndarray:
    """A vector with this cosine to (1, 0, 0, ...)."""
    vector = np.zeros(16, np.float32)
    vector[0], vector[axis] = cosine, math.sqrt(1 - cosine**2)
    return vector


def face(
    frame: int, corners: Corners = LEFT, vector=None, *, shot: int = 0, clip: int | None = None, **known
) -> SeenFace:
    clip = shot if clip is None else clip
    return SeenFace(shot, clip, frame, frame / FPS, Face(corners, known.pop("score", 0.8), embedding=vector, **known))


def people(faces: Sequence[SeenFace], **changes) -> list[Identity]:
    return find_identities(faces, IdentitySettings(**{"least_faces": 1} | changes))


def real(least_score: float) -> list[SeenFace]:
    frames = json.loads(FACES.read_text())["bbox"]
    seen = []
    for number, content in frames.items():
        for known in content["face"]:
            if known["confidence"] >= least_score:
                points = np.array([known["keypoints"]["x"], known["keypoints"]["y"]], np.float32).T
                found = Face(tuple(known["box"].values()), known["confidence"], points)
                seen.append(SeenFace(0, 0, int(number), int(number) / 29.97, found))
    return seen


@needs_fixtures
def test_two_real_faces_are_two_tracks_through_all_frames_by_position_alone():
    found = find_identities(real(0.5), SETTINGS)
    assert [len(identity.faces) for identity in found] == [95, 95]
    for identity in found:
        assert len({seen.frame for seen in identity.faces}) == 95
    lefts = [identity.faces[0].face.corners[0] for identity in found]
    assert sorted(lefts) == [405, 989]


@needs_fixtures
def test_a_threshold_of_0_65_costs_the_second_person_79_of_95_faces():
    assert len(real(0.5)) - len(real(0.65)) == 79
    assert sorted(len(identity.faces) for identity in find_identities(real(0.65), SETTINGS)) == [16, 95]


@needs_fixtures
def test_the_real_face_in_profile_gives_no_reference_and_the_other_gives_ten():
    for identity in find_identities(real(0.5), SETTINGS):
        judged = judge_candidates(identity, 0, FaceSettings(), CandidateSettings())
        drawn = draw_candidates(judged, CandidateSettings())
        if identity.faces[0].face.corners[0] < 640:
            assert len(drawn) == 10
        else:
            assert drawn == []
            assert {j.outcome.reason for j in judged} == {"turned aside"}


def test_two_in_one_frame_are_two_however_alike():
    same = embedding(1)
    faces = [face(n, where, same) for n in range(10) for where in (LEFT, RIGHT)]
    assert [len(identity.faces) for identity in people(faces)] == [10, 10]


def test_a_person_who_comes_back_is_one():
    faces = [face(n, LEFT, at_cosine(0.99)) for n in range(10)]
    faces += [face(100 + n, RIGHT, embedding(1), shot=1) for n in range(10)]
    (identity,) = people(faces)
    assert len(identity.faces) == 20


def test_two_strangers_in_two_shots_are_two():
    faces = [face(n, LEFT, embedding(1)) for n in range(10)]
    faces += [face(100 + n, LEFT, at_cosine(0.3), shot=1) for n in range(10)]
    assert len(people(faces)) == 2


def test_look_alikes_who_meet_once_are_two_in_every_shot():
    """Their cosine of 0.7 would make them one person; a single frame shows that they are two."""
    one, other = embedding(1), at_cosine(0.7)
    faces = [face(n, LEFT, one) for n in range(10)] + [face(100 + n, LEFT, other, shot=1) for n in range(10)]
    assert len(people(faces)) == 1
    meeting = [face(200, LEFT, one, shot=2), face(200, RIGHT, other, shot=2)]
    found = people(faces + meeting)
    assert sorted(len(identity.faces) for identity in found) == [11, 11]


def test_a_turned_head_stays_the_same_person_while_it_can_be_followed():
    """In profile the embedding is nearly a stranger's; position carries the identity through."""
    faces = []
    for n in range(20):
        turned = 80.0 * math.sin(math.pi * n / 19)
        vector = at_cosine(1 - 0.8 * (turned / 80))
        faces.append(face(n, (10.0 + n, 10.0, 110.0 + n, 110.0), vector, pose=(0.0, turned, 0.0)))
    (identity,) = people(faces)
    assert len(identity.faces) == 20


def test_profiles_count_little_for_whom_a_track_is_joined_with():
    profile = {"pose": (0.0, 85.0, 0.0)}
    faces = [face(n, LEFT, embedding(1), pose=(0.0, 0.0, 0.0)) for n in range(4)]
    faces += [face(4 + n, LEFT, at_cosine(0.2), **profile) for n in range(8)]
    faces += [face(100 + n, LEFT, embedding(1), shot=1) for n in range(4)]
    (identity,) = people(faces)
    assert len(identity.faces) == 16


def test_drift_that_is_followed_is_one_and_drift_that_is_not_is_cut():
    turns = [embedding(math.cos(a), math.sin(a)) for a in np.linspace(0, math.pi / 2, 40)]
    assert len(people([face(n, LEFT, vector) for n, vector in enumerate(turns)])) == 1
    apart = [face(100 * n, LEFT, vector, shot=n) for n, vector in enumerate(turns[::13])]
    assert [len(identity.faces) for identity in people(apart, cosine=0.7)] == [2, 2]


def test_somebody_who_steps_before_somebody_is_another():
    faces = [face(n, LEFT, embedding(1)) for n in range(10)]
    faces += [face(10 + n, LEFT, embedding(0, 1)) for n in range(10)]
    assert [len(identity.faces) for identity in people(faces)] == [10, 10]


def test_without_embeddings_a_cut_ends_an_identity_and_a_short_absence_does_not():
    assert len(people([face(n) for n in (0, 1, 2, 7, 8)])) == 1
    assert len(people([face(n) for n in (0, 1, 2, 40, 41)])) == 2
    assert len(people([face(n, shot=n // 5) for n in range(10)])) == 2


def test_faces_are_followed_from_one_clip_of_a_shot_to_the_next():
    faces = [face(n, clip=n // 5) for n in range(10)]
    assert [len(track) for track in follow(faces, SETTINGS)] == [10]


def test_who_is_seldom_seen_is_rejected_with_the_count():
    (identity,) = find_identities([face(n) for n in range(7)], SETTINGS)
    assert identity.outcome == Rejected(stage="identities", reason="seldom seen", value=7.0, limit=8)


def test_no_faces_are_no_identities():
    assert find_identities([], SETTINGS) == []


vectors = st.integers(0, 3).map(lambda axis: at_cosine(0.5, 1 + axis) if axis else embedding(1))
seen_faces = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.sampled_from([LEFT, RIGHT]), st.none() | vectors), max_size=25
)


@settings(max_examples=60, deadline=None)
@given(seen_faces)
def test_identities_are_a_partition_that_never_has_two_of_a_frame(spots):
    faces = [face(10 * shot + frame, where, vector, shot=shot) for shot, frame, where, vector in spots]
    found = people(faces)
    members = [seen for identity in found for seen in identity.faces]
    assert len(members) == len(faces)
    assert {id(seen) for seen in members} == {id(seen) for seen in faces}
    for identity in found:
        assert len({(seen.clip, seen.frame) for seen in identity.faces}) == len(identity.faces)


@settings(max_examples=30, deadline=None)
@given(seen_faces, st.randoms())
def test_identities_do_not_depend_on_the_order_of_the_faces(spots, random):
    distinct = list({(shot, frame, where): (shot, frame, where, v) for shot, frame, where, v in spots}.values())
    faces = [face(10 * shot + frame, where, vector, shot=shot) for shot, frame, where, vector in distinct]
    shuffled = list(faces)
    random.shuffle(shuffled)
    as_sets = [{frozenset(id(s) for s in i.faces) for i in people(order)} for order in (faces, shuffled)]
    assert as_sets[0] == as_sets[1]


class Bordered:
    """A finder that sees a face only if there is a border around it, as real ones with close faces."""

    def find(self, images: Sequence[Image]) -> list[list[Face]]:
        return [[self.look(image)] if image.shape[0] > 100 else [] for image in images]

    def look(self, image: Image) -> Face:
        rows, columns = np.nonzero(image[..., 0] == 255)
        corners = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        return Face(corners, 0.9, points=np.array([corners[:2]] * 5, np.float32))


def test_a_close_face_is_found_at_the_second_look_in_the_places_of_the_image():
    image = np.zeros((80, 60, 3), np.uint8)
    image[10:70, 5:55] = 255
    ((found,),) = find_faces(Bordered(), [image], FaceSettings())
    assert found.corners == (5, 10, 55, 70)
    assert found.points is not None
    assert found.points[0].tolist() == [5, 10]
    assert find_faces(Bordered(), [image], FaceSettings(padding=0.0)) == [[]]
    assert find_faces(Bordered(), [image], FaceSettings(least_score=0.95)) == [[]]


@pytest.mark.parametrize(
    ("corners", "pose", "reason"),
    [
        ((0, 0, 64, 64), (0, 0, 0), None),
        ((0, 0, 63.9, 200), (0, 0, 0), "small"),
        (LEFT, (0, -46, 0), "turned aside"),
        (LEFT, (31, 0, 0), "looks up or down"),
        (LEFT, (0, 0, -31), "tilted"),
        (LEFT, (-30, 45, 30), None),
        (LEFT, None, None),
    ],
)
def test_small_and_turned_faces_are_no_references(corners, pose, reason):
    found = judge_reference(Face(corners, 0.9, pose=pose), FaceSettings(), CandidateSettings())
    assert getattr(found, "reason", None) == reason


def test_quality_is_detection_times_how_far_the_face_looks_here():
    assert quality(Face(LEFT, 0.8, pose=(60.0, 60.0, 90.0))) == pytest.approx(0.8 * 0.25)
    assert quality(Face(LEFT, 0.8)) == 0.8
    assert quality(Face(LEFT, 0.8, pose=(0.0, 120.0, 0.0))) == 0


@pytest.mark.parametrize(("nose", "yaw"), [((50, 60), 0), ((65, 60), 45), ((35, 60), -45), ((110, 60), 76)])
def test_five_points_tell_a_turned_head(nose, yaw):
    points = np.array([(35, 40), (65, 40), nose, (40, 80), (60, 80)], np.float32)
    pitch, found, roll = pose_of(Face(LEFT, 0.9, points))
    assert (pitch, roll) == (0, 0)
    assert found == pytest.approx(yaw, abs=1)
    turned = points @ np.array([[math.cos(0.3), math.sin(0.3)], [-math.sin(0.3), math.cos(0.3)]], np.float32)
    assert pose_of(Face(LEFT, 0.9, turned)) == pytest.approx((0, found, math.degrees(0.3)), abs=0.1)


def judged(frame: int, worth: float, outcome=None) -> JudgedFace:
    return JudgedFace(face(frame), worth, outcome or Kept())


def test_the_sample_is_spread_over_time_and_drawn_from_the_best():
    good = [judged(n, 0.9 - n / 1000) for n in range(0, 60, 2)]
    poor = [judged(n, 0.1) for n in range(1, 60, 2)]
    rejected = [judged(70, 0.99, Rejected(stage="candidates", reason="small"))]
    drawn = draw_candidates([*rejected, *poor, *good], CandidateSettings())
    frames = sorted(j.seen.frame for j in drawn)
    assert len(drawn) == 10
    assert all(j.quality > 0.5 for j in drawn)
    assert frames[0] == 0
    assert frames[-1] == 58
    assert max(np.diff(frames)) <= 8
    assert [j.quality for j in drawn] == sorted((j.quality for j in drawn), reverse=True)


def test_fewer_candidates_than_asked_for_are_all_drawn():
    assert [j.seen.frame for j in draw_candidates([judged(3, 0.2), judged(5, 0.4)], CandidateSettings())] == [5, 3]
    assert draw_candidates([], CandidateSettings()) == []


def test_candidates_come_from_the_clip_and_its_neighbours():
    identity = Identity(tuple(face(n, clip=n // 10, pose=(0.0, 0.0, 0.0)) for n in range(50)), Kept())
    near = judge_candidates(identity, 2, FaceSettings(), CandidateSettings())
    assert {j.seen.clip for j in near} == {1, 2, 3}
    alone = judge_candidates(identity, 2, FaceSettings(neighbours=0), CandidateSettings())
    assert {j.seen.clip for j in alone} == {2}
