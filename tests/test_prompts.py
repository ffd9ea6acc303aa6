"""Prompts as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magref.errors import InputError
from magref.prompts import check_prompt, clean_prompt


@pytest.mark.parametrize(
    ("typed", "clean"),
    [
        ("  The dog\n\truns.  ", "The dog runs."),
        ("cats &amp;amp; dogs", "cats & dogs"),
        ("cafÃ©", "café"),
        ("“quoted”", '"quoted"'),
        ("一只狗　在跑", "一只狗 在跑"),
        ("🐶 runs", "🐶 runs"),
    ],
)
def test_broken_text_is_mended_and_space_collapsed(typed, clean):
    assert clean_prompt(typed) == clean


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_plain_words_stay_as_they_are(word):
    assert clean_prompt(word) == word
    check_prompt(word)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "&nbsp;", "\u3000"])
def test_an_empty_prompt_is_refused(prompt):
    with pytest.raises(InputError, match="the prompt is empty; say in a sentence what happens"):
        check_prompt(prompt)


@pytest.mark.parametrize(("prompt", "kind"), [(None, "NoneType"), (["a dog"], "list"), (5, "int"), (b"a", "bytes")])
def test_a_prompt_that_is_no_text_is_refused(prompt, kind):
    with pytest.raises(InputError, match=f"the prompt is a {kind}; give one string"):
        check_prompt(prompt)


def test_bytes_that_are_no_utf8_are_refused():
    with pytest.raises(InputError, match="not UTF-8 text; type it again"):
        check_prompt(b"the d\xf6g".decode("utf-8", "surrogateescape"))
