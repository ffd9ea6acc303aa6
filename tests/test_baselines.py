"""The systems without a model: what they show, and what the measures say of it; and the prompts in free wording."""

from __future__ import annotations

import numpy as np
import pytest

from magref.evaluation.baselines import pasted, still_canvas
from magref.evaluation.card import _by_words, all_motions
from magref.evaluation.measures.score import score_video
from magref.evaluation.tasks import Group, paraphrases, tasks
from magref.geometry import VideoShape
from magref.synthetic.motions import BASIC

SHAPE = VideoShape(17, 64, 96)


def test_the_still_shows_its_canvas_and_nothing_else() -> None:
    (task,) = tasks(Group(2), 1)
    video, case = still_canvas(SHAPE)(task, 0)
    assert video.shape == (17, 64, 96, 3)
    assert case.canvas is not None
    assert all(np.array_equal(frame, np.asarray(case.canvas)) for frame in video)
    score = score_video(video, case)
    assert score.layout_left is not None
    assert score.layout_left > 0.95


@pytest.mark.parametrize(("subjects", "share"), [(1, 0.9), (2, 0.8)])
def test_what_is_pasted_moves_as_told_and_is_who_it_is(subjects: int, share: float) -> None:
    wanted = tasks(Group(subjects), 10)
    scores = [score_video(*pasted(SHAPE)(task, 0)) for task in wanted]
    found = [subject for score in scores for subject in score.subjects]
    assert np.mean([subject.nearest is True for subject in found]) >= share
    assert np.mean([subject.motion_right is True for subject in found]) >= share
    assert all_motions(scores).value == np.mean([all(s.motion_right is True for s in v.subjects) for v in scores])


def test_what_is_pasted_lies_before_the_background_that_was_asked_for() -> None:
    picture, plain = tasks(Group(1, background=True), 4), tasks(Group(1), 4)
    for task in (*picture, *plain):
        background = score_video(*pasted(SHAPE)(task, 0)).background
        assert background is not None
        assert background > 0.8


def test_paraphrases_name_their_subject_once_and_cover_the_motions() -> None:
    asked = paraphrases(100)
    motions = [task.case.subjects[0].motion for task in asked]
    assert set(motions) == set(BASIC)
    assert min(motions.count(motion) for motion in BASIC) >= 13
    assert len({task.caption for task in asked}) == 100
    for task in asked:
        assert task.caption.lower().count(str(task.references[0].label).lower()) == 1
    assert {task.case.subjects[0].motion for task in paraphrases(12)} == set(BASIC)


def test_tasks_are_of_identities_that_training_never_has_and_say_what_else_is_new() -> None:
    asked = tasks(Group(1), 24)
    assert all("identity" in task.new for task in asked)
    assert 4 <= sum("words" in task.new for task in asked) <= 20
    assert all("words" in task.new for task in paraphrases(6))


def test_the_card_has_captions_with_new_words_apart() -> None:
    asked = tasks(Group(1), 6)
    scores = [score_video(*still_canvas(SHAPE)(task, 0)) for task in asked]
    known, new = _by_words(scores, asked)
    count = sum("words" in task.new for task in asked)
    assert known[0] == f"&nbsp; known words ({6 - count})"
    assert new[0] == f"&nbsp; new words ({count})"
    one_kind = [n for n, task in enumerate(asked) if "words" not in task.new]
    assert _by_words([scores[n] for n in one_kind], [asked[n] for n in one_kind]) == []
