"""What is asked of the vision-language model, and which of its words become labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magref.curation.labels import find_labels, judge_caption, kept_labels, kind_of, to_ask
from magref.curation.outcome import Kept, Rejected
from magref.curation.settings import CaptionSettings, LabelSettings
from magref.curation.wording import CAPTION_PROMPT, objects_prompt, read_objects
from magref.curation.words import head_of
from magref.errors import InputError

CAPTION = (
    "A woman in a red hat throws a ball to two men on the beach. Her dog runs after the red ball and her hair blows "
    "in the wind, while a Necklace shines."
)
SETTINGS = LabelSettings()


def outcomes(*named: str, **changes) -> list[str | None]:
    return [getattr(label.outcome, "reason", None) for label in find_labels(CAPTION, named, LabelSettings(**changes))]


def test_labels_keep_the_captions_own_words_and_their_place():
    (label,) = find_labels(CAPTION, ["necklace"], SETTINGS)
    assert (label.text, label.kind) == ("Necklace", "thin")
    assert CAPTION[slice(*label.span)] == "Necklace"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("red hat", None),
        ("a red hat", None),
        ("the beach", None),
        ("woman", None),
        ("blue hat", "not in the caption"),
        ("hats", "not in the caption"),
        ("eac", "not in the caption"),
        ("hair", "part of a body"),
        ("A woman in a red hat throws a ball", "a clause"),
    ],
)
def test_a_word_is_a_label_or_is_rejected_with_its_reason(word, reason):
    assert outcomes(word) == [reason]


def test_what_a_label_means_follows_its_noun():
    kinds = {label.text: label.kind for label in find_labels(CAPTION, ["woman", "two men", "dog", "beach"], SETTINGS)}
    assert kinds == {"woman": "human", "two men": "human", "dog": "object", "beach": "background"}


@pytest.mark.parametrize(
    ("label", "head"),
    [
        ("two men in red hats", "man"),
        ("woman's hat", "hat"),
        ("a group of dancers", "dancer"),
        ("pair of glasses", "glasses"),
        ("glass of water", "glass"),
        ("black and white dog", "dog"),
        ("park or garden setting", "setting"),
        ("man wearing a coat", "man"),
        ("white T-shirts", "t-shirt"),
        ("boxes", "box"),
        ("puppies", "puppy"),
        ("bus", "bus"),
        ("dress", "dress"),
        ("dresses", "dress"),
        ("children", "child"),
        ("in", "in"),
        ("", ""),
        ("2", ""),
    ],
)
def test_the_noun_of_a_label(label, head):
    assert head_of(label) == head


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("grassy area", "background"),
        ("city street", "background"),
        ("football player", "human"),
        ("crowd of people", "human"),
        ("left hand", None),
        ("long dark hair", None),
        ("hair clip", "object"),
        ("beach ball", "object"),
        ("pearl earrings", "thin"),
        ("sunglasses", "thin"),
        ("blue top", "object"),
    ],
)
def test_the_kind_of_a_label(label, kind):
    assert kind_of(label, SETTINGS) == kind


def test_own_words_add_to_the_lists():
    own = LabelSettings(
        human_words=("robots",), body_words=("Shell",), thin_words=("skewers",), background_words=("tent",)
    )
    words = ("robot", "shells", "skewer", "tents", "dog")
    assert [kind_of(word, own) for word in words] == ["human", None, "thin", "background", "object"]


def test_a_label_within_a_longer_one_of_the_same_noun_goes():
    assert outcomes("hat", "red hat") == ["within another label", None]
    assert outcomes("ball", "red ball") == [None, None]  # the caption's first ball is another one
    assert outcomes("woman in a red hat", "red hat") == [None, None]


def test_repetitions_and_too_many_are_left_out():
    assert outcomes("dog", "dog", "a dog", "the dog.") == [None]
    assert outcomes("Dog", "dog") == [None, "named twice"]
    assert outcomes("dog", "beach", "ball", most=2) == [None, None, "too many labels"]


def test_the_detector_is_always_asked_for_people():
    labels = find_labels(CAPTION, ["dog", "hair", "woman"], SETTINGS)
    assert to_ask(labels) == ["dog", "woman", "person"]
    assert to_ask([]) == ["person"]


@given(st.text(max_size=80), st.lists(st.text(max_size=20), max_size=6))
def test_every_kept_label_is_a_substring_of_its_caption(caption, named):
    for label in kept_labels(find_labels(caption, named, SETTINGS)):
        assert caption[slice(*label.span)] == label.text


def test_a_caption_of_a_few_words_is_none():
    assert judge_caption(CAPTION, CaptionSettings()) is None
    found = judge_caption("I cannot help.", CaptionSettings())
    assert found == Rejected(stage="caption", reason="too few words", value=3.0, limit=8)


def test_the_prompts_ask_for_what_the_rules_check():
    assert "motion" in CAPTION_PROMPT
    assert "camera" in CAPTION_PROMPT
    prompt = objects_prompt(" A {dog} runs.\n")
    assert "A {dog} runs." in prompt
    assert '{"subjects": [...], "objects": [...], "background": [...]}' in prompt


@pytest.mark.parametrize(
    "answer",
    [
        '{"subjects": ["dog"], "objects": ["red ball", "dog"], "background": ["beach"]}',
        '```json\n{"background": ["beach"], "objects": [" red ball ", ""], "subjects": ["dog", 3]}\n```',
        'Here it is: ["dog", "red ball", "beach"]. Anything else?',
    ],
)
def test_answers_are_read_whatever_is_around_the_json(answer):
    assert read_objects(answer) == ["dog", "red ball", "beach"]


@pytest.mark.parametrize("answer", ["", "I see a dog.", '{"subjects": ["dog"', "3"])
def test_an_answer_without_json_is_an_error(answer):
    with pytest.raises(InputError, match="named no objects"):
        read_objects(answer)


def test_outcomes_are_records_that_can_be_stored():
    label = find_labels(CAPTION, ["cat"], SETTINGS)[0]
    stored = label.outcome.model_dump_json()
    assert Rejected.model_validate_json(stored) == label.outcome
    assert Kept().model_dump() == {"state": "kept"}
