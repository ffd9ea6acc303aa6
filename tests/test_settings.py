"""Settings: strict, frozen, and every mistake is one sentence that names the remedy."""

import hashlib
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from magref.errors import InputError
from magref.geometry import Strides, VideoShape
from magref.settings import NEGATIVE_PROMPT, GenerationDefaults, GenerationSettings, resolve_settings

DEFAULTS = GenerationDefaults()
STRIDES = Strides()


def resolve(prompt="a dog", seed=1, defaults=DEFAULTS, **given):
    return resolve_settings(defaults, STRIDES, prompt=prompt, seed=seed, **given)


def test_the_defaults_are_those_of_the_published_checkpoint():
    assert DEFAULTS.model_dump(exclude={"negative_prompt"}) == {
        "height": 480,
        "width": 832,
        "num_frames": 81,
        "num_inference_steps": 40,
        "guidance_scale": 5.0,
        "flow_shift": 3.0,
        "solver": "unipc",
        "drop_frames": 4,
        "fps": 16.0,
        "text_tokens": 512,
        "mechanism": "masked",
    }


def test_the_negative_prompt_is_the_published_one_character_for_character():
    digest = hashlib.sha256(NEGATIVE_PROMPT.encode()).hexdigest()
    assert digest == "412753d092bcf3708424769cd0f54e27973d53a12e229e5492b718457213fc2f"
    assert DEFAULTS.negative_prompt == NEGATIVE_PROMPT


# --- the record ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GenerationDefaults, GenerationSettings])
def test_settings_cannot_be_changed(kind):
    made = DEFAULTS if kind is GenerationDefaults else resolve()
    with pytest.raises(ValidationError, match="frozen"):
        made.height = 96


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        GenerationDefaults(heigth=480)


@pytest.mark.parametrize(
    "wrong", [{"height": "480"}, {"num_frames": 81.0}, {"height": True}, {"solver": "euler"}, {"fps": "16"}, {"fps": 0}]
)
def test_values_are_not_converted(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GenerationDefaults(**wrong)


def test_settings_survive_json():
    made = resolve(seed=2**62, order="shuffled", guidance_scale=3)
    assert GenerationSettings.model_validate_json(made.model_dump_json()) == made


# --- resolving -------------------------------------------------------------------------------------------------------


def test_none_means_the_models_default():
    nothing = dict.fromkeys(DEFAULTS.model_dump())
    other = GenerationDefaults(height=64, width=96, num_frames=17, num_inference_steps=12, drop_frames=0, fps=8.0)
    for defaults in (DEFAULTS, other):
        made = resolve(defaults=defaults, order=None, mask=None, **nothing)
        assert made == GenerationSettings(prompt="a dog", seed=1, **defaults.model_dump())
        assert (made.order, made.mask) == ("given", "rectangle")


def test_what_is_given_wins():
    given = {
        "height": 832,
        "width": 480,
        "num_frames": 5,
        "num_inference_steps": 2,
        "guidance_scale": 1.0,
        "flow_shift": 5.0,
        "solver": "dpm++",
        "drop_frames": 0,
        "fps": 15.0,
        "negative_prompt": "",
        "order": "shuffled",
        "mask": "alpha",
    }
    made = resolve(**given)
    assert {name: getattr(made, name) for name in given} == given
    assert (made.prompt, made.seed) == ("a dog", 1)


@pytest.mark.parametrize("scale", [0, 0.0, 1, 7])
def test_zero_and_whole_numbers_are_given_values_too(scale):
    assert resolve(guidance_scale=scale).guidance_scale == scale


def test_without_a_seed_one_is_drawn():
    seeds = {resolve(seed=None).seed for _ in range(8)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"height": 100}, r"height 100 .*; use 96 or 112$"),
        ({"width": 8}, r"width 8 .*; use 16$"),
        ({"num_frames": 80}, r"80 frames .*; use 77 or 81$"),
        ({"num_frames": 0}, r"0 frames .*; use 1$"),
        ({"num_inference_steps": 0}, r"0 steps .*; use 1 or more$"),
        ({"drop_frames": 81}, r"81 of 81 frames .*; use 0 to 80$"),
        ({"drop_frames": -1}, r"-1 of 81 frames .*; use 0 to 80$"),
        ({"guidance_scale": -0.1}, r"guidance scale -0.1 is negative; use 0 or more"),
        ({"guidance_scale": math.nan}, r"guidance scale nan is not a finite number; give a float$"),
        ({"guidance_scale": math.inf}, r"guidance scale inf is not a finite number; give a float$"),
        ({"guidance_scale": "5"}, r"guidance scale '5' is not a finite number; give a float$"),
        ({"flow_shift": 0.0}, r"flow shift 0.0 is not positive; use 1 to 10$"),
        ({"flow_shift": -3}, r"flow shift -3 is not positive; use 1 to 10$"),
        ({"fps": 0}, r"0 frames a second .*; use more than 0$"),
        ({"solver": "euler"}, r"solver 'euler' is unknown; use unipc or dpm\+\+$"),
        ({"order": "random"}, r"order 'random' is unknown; use given or shuffled$"),
        ({"mask": "oval"}, r"mask 'oval' is unknown; use rectangle or alpha$"),
        ({"seed": -1}, r"seed -1 is out of range; use 0 to 2\*\*63 - 1$"),
        ({"seed": 2**63}, r"seed 9223372036854775808 is out of range; use 0 to 2\*\*63 - 1$"),
        ({"seed": 1.0}, r"seed 1.0 is not a whole number; give an int$"),
        ({"seed": "1"}, r"seed '1' is not a whole number; give an int$"),
        ({"height": 480.0}, r"height 480.0 is not a whole number; give an int$"),
        ({"height": "480"}, r"height '480' is not a whole number; give an int$"),
        ({"num_inference_steps": True}, r"num inference steps True is not a whole number; give an int$"),
        ({"prompt": 5}, r"the prompt is a int; give one string$"),
        ({"negative_prompt": ["blurry"]}, r"the negative prompt is a list; give one string$"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence_with_its_remedy(given, sentence):
    with pytest.raises(InputError, match=sentence):
        resolve(**given)


@given(st.integers(-10, 1500), st.integers(-10, 1500), st.integers(-10, 200))
def test_any_size_either_resolves_or_names_sizes_that_do(height, width, frames):
    try:
        made = resolve(height=height, width=width, num_frames=frames, drop_frames=0)
    except InputError as error:
        wrong, _, remedy = str(error).partition("; use ")
        name = next((n for n in ("height", "width") if wrong.startswith(n)), "num_frames")
        for number in map(int, re.findall(r"\d+", remedy)):
            resolve(**{name: number}, drop_frames=0)
    else:
        VideoShape(frames, height, width).check(STRIDES)
        assert (made.height, made.width, made.num_frames) == (height, width, frames)


@pytest.mark.parametrize(("frames", "dropped"), [(1, 0), (5, 4), (81, 4)])
def test_a_default_never_drops_all_frames(frames, dropped):
    assert resolve(num_frames=frames).drop_frames == dropped
