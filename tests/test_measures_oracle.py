"""The measures measured: held-out clips of the synthetic world score high, and what was spoilt in them scores low."""

from __future__ import annotations

import numpy as np
import pytest

from magref.evaluation.measures.instruments import other_features, reference_feature, shipped_instruments
from magref.evaluation.measures.oracle import (
    SPOILT,
    WORLDS,
    Clip,
    backwards,
    canvas_kept,
    clips,
    flickers,
    frozen,
    one_too_few,
    other_background,
    run,
    turns_into_another,
    wrong_reference,
)
from magref.evaluation.measures.score import Case, Scores, score_video
from magref.evaluation.measures.validation import validate

FEW = 10


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def some() -> list[Clip]:
    """One subject that makes one of six motions; the seed is not that of the published figures."""
    return list(clips(WORLDS["simple"], FEW, seed=9))


@pytest.fixture(scope="module")
def whole(some: list[Clip]) -> Scores:
    return run(some, shipped_instruments())


def test_true_clips_score_high(whole: Scores):
    means = {name: mean.value for name, mean in whole.means.items()}
    assert means["seen"] >= 0.9
    assert means["motion_right"] >= 0.9
    assert means["nearest_distinct"] >= 0.8
    assert means["count_right"] >= 0.8
    assert means["background"] >= 0.8
    assert means["layout_left"] <= 0.15
    assert means["constancy"] >= 0.8
    assert means["colour_drift"] <= 0.08
    assert whole.means["motion_right"].n == FEW


def test_a_wrong_reference_is_neither_alike_nor_nearest(some: list[Clip], whole: Scores):
    wrong = run(some, shipped_instruments(), spoil=wrong_reference).means
    assert wrong["nearest"].value <= 0.15
    assert wrong["identity"].high < whole.means["identity"].low


def test_motions_turned_round_or_frozen_are_wrong(some: list[Clip]):
    moving = [clip for clip in some if clip.case.subjects[0].motion != "still"]
    for spoil in (backwards, frozen):
        assert run(moving, shipped_instruments(), spoil=spoil).means["motion_right"].value <= 0.1


def test_a_missing_and_a_surplus_subject_are_counted(some: list[Clip]):
    assert run(some, shipped_instruments(), spoil=one_too_few).means["count_right"].value <= 0.2
    tools = shipped_instruments()
    right = [score_video(clip.video, Case(()), instruments=tools).count_right for clip in some]
    assert np.mean(right) <= 0.1


def test_another_background_does_not_match(some: list[Clip], whole: Scores):
    other = run(some, shipped_instruments(), spoil=other_background).means["background"]
    assert other.high < whole.means["background"].low


def test_a_canvas_that_is_kept_shows(some: list[Clip], whole: Scores):
    kept = run(some, shipped_instruments(), spoil=canvas_kept).means["layout_left"]
    assert kept.value > 0.95
    shines = run(some, shipped_instruments(), spoil=SPOILT["canvas shines through"]).means["layout_left"]
    assert shines.low > 2 * whole.means["layout_left"].high


def test_a_subject_that_turns_into_another_and_a_flicker_are_noticed(some: list[Clip], whole: Scores):
    turned = run(some, shipped_instruments(), spoil=turns_into_another).means
    assert turned["constancy"].high < whole.means["constancy"].low
    assert turned["colour_drift"].low > whole.means["colour_drift"].high
    assert run(some, shipped_instruments(), spoil=flickers).means["flicker"].low > 3 * whole.means["flicker"].high


def test_nothing_seen_is_missing_and_not_zero(some: list[Clip]):
    blank = np.full_like(some[0].video, 128)
    score = score_video(blank, some[0].case, instruments=shipped_instruments())
    (subject,) = score.subjects
    assert (score.count, subject.seen) == (0, 0.0)
    assert subject.identity is subject.rank is subject.path is subject.motion_right is subject.constancy is None
    assert set(subject.by_frame) == {None}


def test_the_same_video_scores_the_same(some: list[Clip]):
    tools = shipped_instruments()
    first, second = (score_video(some[0].video, some[0].case, instruments=tools) for _ in range(2))
    assert first == second


def test_held_out_identities_are_told_apart():
    figures = validate(shipped_instruments().identity, identities=120)
    for change in ("pose and mirror", "light", "scale: 20 pixels high", "blur", "reference to all, in clutter"):
        assert figures[change].auc[0] >= 0.98, change


def test_the_hundred_others_are_not_the_reference(some: list[Clip]):
    net = shipped_instruments().identity
    own = reference_feature(net, some[0].case.subjects[0].reference)
    assert float(own.norm()) == pytest.approx(1, abs=1e-5)
    assert (other_features(net) @ own).max() < 0.98
