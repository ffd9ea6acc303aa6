"""The procedural world: the same for the same index, and its subjects move as their captions say."""

from itertools import pairwise

import pytest
import torch

from magref.synthetic.captions import _PHRASES, BACKDROPS, MOTIONS, PLAIN, captions
from magref.synthetic.clips import Clips, caption_sample, render, still_captions, to_uint8, visible_boxes
from magref.synthetic.draw import Draw

SIZE = {"frames": 5, "height": 32, "width": 48}
COUNT = 48
COLOURS_BY_LENGTH = sorted(BACKDROPS, key=len, reverse=True)  # "sky blue" before "blue"


@pytest.fixture(scope="module")
def clips() -> Clips:
    return render(list(range(COUNT)), **SIZE, seed=11)


def backdrop(clips: Clips, i: int) -> torch.Tensor:
    """(3, H, W) uint8: what lies behind the subject, as background picture and caption tell it."""
    if clips.has_background[i]:
        return clips.background[i]
    text = clips.captions[i].lower()
    named = [c for c in COLOURS_BY_LENGTH if any(f" {c} {what}" in text for what in ("background", "wall", "backdrop"))]
    colour = BACKDROPS[named[0]] if named else PLAIN
    return to_uint8(torch.tensor(colour))[:, None, None].expand_as(clips.background[i])


def visible(clips: Clips, i: int) -> torch.Tensor:
    """(F, H, W) bool: where a frame differs from its backdrop."""
    return (clips.frames[i].int() - backdrop(clips, i).int()).abs().amax(dim=1) > 2


def centroids(shown: torch.Tensor) -> torch.Tensor:
    """(F, 2: x, y) in fractions of width and height."""
    _, height, width = shown.shape
    weight = shown.float() / shown.float().sum(dim=(1, 2), keepdim=True)
    x = (weight.sum(1) * (torch.arange(width) + 0.5)).sum(1) / width
    y = (weight.sum(2) * (torch.arange(height) + 0.5)).sum(1) / height
    return torch.stack([x, y], dim=1)


def of_motion(clips: Clips, motion: str) -> list[int]:
    found = [i for i, m in enumerate(clips.motions) if m == motion]
    assert len(found) >= 4
    return found


# --- the same for the same index -------------------------------------------------------------------------------------


def test_clips_have_the_documented_shapes(clips):
    assert (clips.frames.shape, clips.frames.dtype) == ((COUNT, 5, 3, 32, 48), torch.uint8)
    assert (clips.background.shape, clips.background.dtype) == ((COUNT, 3, 32, 48), torch.uint8)
    batch, channels, height, width = clips.subject.shape
    assert (batch, channels, clips.subject.dtype) == (COUNT, 4, torch.float32)
    assert height == width
    assert 0 <= clips.subject.min() < clips.subject.max() <= 1
    assert len(clips.motions) == len(clips.captions) == len(clips.has_background) == COUNT


def equal_clip(one: Clips, i: int, other: Clips, j: int) -> bool:
    """Equal in all but rounding, which depends on the size of the batch."""
    exact = ("motions", "captions", "has_background")
    return (
        all(getattr(one, name)[i] == getattr(other, name)[j] for name in exact)
        and torch.equal(one.boxes[i], other.boxes[j])
        and torch.allclose(one.subject[i], other.subject[j], rtol=0, atol=1e-5)
        and all(
            (getattr(one, name)[i].int() - getattr(other, name)[j].int()).abs().max() <= 1
            for name in ("frames", "background")
        )
    )


@pytest.mark.parametrize("indices", [[0], [17, 3], [41, 41, 5, 0], list(range(9, 0, -1))], ids=str)
def test_a_clip_is_the_same_in_any_batch(clips, indices):
    again = render(indices, **SIZE, seed=11)
    assert all(equal_clip(again, position, clips, index) for position, index in enumerate(indices))


def test_the_same_batch_is_the_same_to_the_bit():
    one, other = (render([5, 2], **SIZE, seed=11) for _ in range(2))
    for name in ("frames", "subject", "boxes", "reference_boxes", "background"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_neighbouring_indices_and_seeds_give_other_clips(clips):
    other = render(list(range(8)), **SIZE, seed=12)
    for i in range(8):
        assert not torch.equal(clips.frames[i], clips.frames[i + 1])
        assert not torch.equal(clips.frames[i], other.frames[i])


def test_the_global_random_state_is_neither_read_nor_changed(clips):
    with torch.random.fork_rng():
        torch.manual_seed(99)
        state = torch.get_rng_state()
        assert equal_clip(render([4], **SIZE, seed=11), 0, clips, 4)
        assert torch.equal(torch.get_rng_state(), state)


def test_numbers_of_a_draw_depend_on_the_index_alone():
    together, alone = Draw([3, 8, 5], 1), Draw([8], 1)
    assert torch.equal(together.uniform()[1:2], alone.uniform())
    assert torch.equal(together.normal_field(2, 2)[1:2], alone.normal_field(2, 2))
    assert torch.equal(together.uniform(2, 3, n=4)[1:2], alone.uniform(2, 3, n=4))
    whole = Draw(list(range(500)), 0).integer(6)
    assert whole.bincount().tolist() == pytest.approx([500 / 6] * 6, abs=35)


def test_a_draw_that_runs_dry_says_so():
    with pytest.raises(RuntimeError, match="random numbers"):
        Draw([0], 0).uniform(n=2000)


# --- motion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)])
def test_the_subject_moves_as_its_motion_says(clips, motion, axis, sign):
    for i in of_motion(clips, motion):
        path = centroids(visible(clips, i))
        travelled = path[-1] - path[0]
        assert sign * travelled[axis] > 0.2
        assert abs(travelled[1 - axis]) < 0.1
        assert (sign * path[:, axis].diff() > 0).all()  # all the way


def test_what_grows_gets_bigger_and_stays_in_place(clips):
    for i in of_motion(clips, "grows"):
        shown = visible(clips, i)
        areas = shown.float().sum(dim=(1, 2))
        assert (areas.diff() > 0).all()
        assert areas[-1] > 1.4 * areas[0]
        path = centroids(shown)
        assert (path[-1] - path[0]).abs().max() < 0.12


def test_what_stands_still_does_not_change(clips):
    for i in of_motion(clips, "still"):
        assert torch.equal(clips.frames[i], clips.frames[i][:1].expand_as(clips.frames[i]))


def test_a_subject_is_always_to_be_seen_and_never_all_there_is(clips):
    for i in range(COUNT):
        shares = visible(clips, i).float().mean(dim=(1, 2))
        assert shares.min() > 0.02
        assert shares.max() < 0.85


def test_all_motions_and_both_kinds_of_backdrop_occur(clips):
    assert set(clips.motions) == set(MOTIONS)
    assert 0.3 * COUNT < sum(clips.has_background) < 0.7 * COUNT


# --- subjects --------------------------------------------------------------------------------------------------------


def test_boxes_hold_all_that_is_visible_and_no_more(clips):
    for alpha, (left, top, right, bottom) in zip(clips.subject[:, 3], clips.boxes.tolist(), strict=True):
        shown = alpha > 0.1
        assert shown.sum() == shown[top:bottom, left:right].sum() > 0
        inside = shown[top:bottom, left:right]
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()


def test_reference_boxes_hold_the_subject_and_lie_in_the_tile(clips):
    inner, outer = clips.boxes, clips.reference_boxes
    assert (outer[:, :2] >= 0).all()
    assert (outer[:, :2] <= inner[:, :2]).all()
    assert (outer[:, 2:] >= inner[:, 2:]).all()
    assert (outer[:, 2:] <= clips.subject.shape[-1]).all()
    assert not torch.equal(inner, outer)


def test_the_box_of_one_pixel():
    alpha = torch.zeros(1, 8, 8)
    alpha[0, 2, 5] = 1
    assert visible_boxes(alpha).tolist() == [[5, 2, 6, 3]]


def test_subjects_vary_in_shape_and_colour(clips):
    shapes = clips.subject[:, 3].flatten(1)
    distances = torch.cdist(shapes, shapes, p=1) / shapes.shape[1] + torch.eye(COUNT)
    assert distances.min(dim=1).values.median() > 0.02
    weight = clips.subject[:, 3:]
    colours = (clips.subject[:, :3] * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))
    assert (colours.std(dim=0) > 0.1).all()


def test_the_video_shows_the_reference_subject():
    """Where it stands still, the colours in the frame are those of the subject's picture."""
    clips = render(list(range(COUNT)), frames=1, height=96, width=144, seed=11)  # large: edges mix with the backdrop
    for i in of_motion(clips, "still"):
        alpha = clips.subject[i, 3:]
        expected = (clips.subject[i, :3] * alpha).sum(dim=(1, 2)) / alpha.sum()
        shown = visible(clips, i)[0]
        found = clips.frames[i, 0].float()[:, shown].mean(dim=1) / 255
        assert (found - expected).abs().max() < 0.15


# --- takes -----------------------------------------------------------------------------------------------------------


def test_takes_share_subject_and_background_and_differ_in_motion():
    indices = [0, 1, 2, 3]
    takes = [render(indices, **SIZE, seed=11, take=take) for take in range(6)]
    for i in indices:
        for take in takes[1:]:
            assert torch.equal(take.subject[i], takes[0].subject[i])
            assert torch.equal(take.background[i], takes[0].background[i])
            assert torch.equal(backdrop(take, i), backdrop(takes[0], i))
            assert take.has_background[i] == takes[0].has_background[i]
            assert not torch.equal(take.frames[i], takes[0].frames[i])
        assert sorted(take.motions[i] for take in takes) == sorted(MOTIONS)


# --- captions --------------------------------------------------------------------------------------------------------


def test_captions_name_their_motion_and_no_other(clips):
    for motion, text in zip(clips.motions, clips.captions, strict=True):
        named = {m for m, phrases in _PHRASES.items() if any(phrase in text.lower() for phrase in phrases)}
        assert named == {motion}


def test_captions_are_sentences(clips):
    for text in clips.captions:
        assert text[0].isupper()
        assert "  " not in text
        assert not text.startswith(" ")
        assert "{" not in text


def articles(texts: list[str]) -> list[tuple[str, str]]:
    """Every "a" and "an", with the word after it."""
    words = [text.lower().replace(",", "").rstrip(".").split() for text in texts]
    return [(one, after) for sentence in words for one, after in pairwise(sentence) if one in ("a", "an")]


def test_an_stands_before_vowels_and_a_before_the_rest():
    found = articles(caption_sample(3000))
    assert ("an", "orange") in found
    assert ("an", "old") in found
    assert ("a", "one") in found
    for article, word in found:
        assert article == ("an" if word[0] in "aeiou" and word != "one" else "a")


def test_every_phrase_and_every_backdrop_is_used():
    texts = [text.lower() for text in caption_sample(4000, seed=1)]
    for phrase in (phrase for phrases in _PHRASES.values() for phrase in phrases):
        assert any(phrase in text for text in texts)
    for colour in BACKDROPS:
        assert any(f"{colour} background" in text for text in texts)


def test_a_caption_names_a_backdrop_only_where_one_is_given():
    draw = Draw(list(range(200)), 0)
    texts = captions(draw, ["left"] * 200, [None] * 200, [False] * 200)
    assert not any(colour in text for text in texts for colour in ("background", "wall", "backdrop", "orange"))


def test_captions_of_stills_name_a_subject_on_white_or_a_place_alone():
    indices = list(range(100))
    scenic = [i % 2 == 0 for i in indices]
    texts = still_captions(indices, scenic, seed=3)
    assert still_captions([9, 4], [False, True], seed=3) == [texts[9], texts[4]]
    assert texts != still_captions(indices, scenic, seed=3, take=1)
    for text, scene in zip(texts, scenic, strict=True):
        assert any(phrase in text.lower() for phrase in _PHRASES["still"]) or scene
        assert ("white" in text.lower()) != scene
        assert all((article == "an") == (word[0] in "aeiou" and word != "one") for article, word in articles([text]))
