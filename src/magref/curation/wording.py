"""What the vision-language model is asked, and how its answers are read (paper 3.1: captions that dwell on motion).

The paper does not print its prompts; these are ours. The second one asks for what `labels.py` checks: words that the
caption itself has, so that each object's place in the caption is known.
"""

from __future__ import annotations

import json
import re
from typing import Final

from magref.errors import InputError

CAPTION_PROMPT: Final = (
    "Describe this video in one paragraph of 60 to 120 words. "
    "Say who or what is in it and how they look: people with clothes and what they wear or hold, animals, things. "
    "Dwell on motion: what each of them does, in which direction, how fast, and what changes from beginning to end. "
    "Name the place in a few words. "
    "End with the camera: whether it stands still, pans, tilts, zooms, follows or shakes. "
    "Write only what can be seen, in plain present tense, without guesses about mood, sound or purpose, "
    "and do not begin with words like 'The video shows'."
)

_OBJECTS_PROMPT: Final = (
    "Here is a description of this video:\n\n{caption}\n\n"
    "List what it names and the video shows, as JSON with three lists: "
    '{{"subjects": [...], "objects": [...], "background": [...]}}. '
    "subjects: people and animals. objects: things, clothes and accessories that could be cut out. "
    "background: places and what fills the picture behind the rest. "
    "Copy each entry from the description letter by letter, as a short noun phrase with its adjectives and without an "
    "article, for example 'red hat'. Name each thing once. "
    "Leave out parts of a body, actions, moods, light and the camera. Answer with the JSON alone."
)

_LISTS: Final = ("subjects", "objects", "background")


def objects_prompt(caption: str) -> str:
    """The question for what a caption names; `read_objects` reads its answer."""
    return _OBJECTS_PROMPT.format(caption=caption.strip())


def read_objects(answer: str) -> list[str]:
    """The words in a model's answer to `objects_prompt`, subjects first, each once.

    A fence around the JSON and words before or after it are passed over; a plain list is taken too.

    Raises:
        InputError: there is no such JSON in the answer.
    """
    found = re.search(r"\{.*\}|\[.*\]", answer, re.DOTALL)
    try:
        value = json.loads(found.group()) if found else None
    except json.JSONDecodeError:
        value = None
    if isinstance(value, dict):
        lists = [value.get(name, []) for name in _LISTS]
    elif isinstance(value, list):
        lists = [value]
    else:
        raise InputError(f"the model named no objects but answered {answer[:80]!r}; ask again or take a larger model")
    words = [word.strip() for words in lists if isinstance(words, list) for word in words if isinstance(word, str)]
    return list(dict.fromkeys(word for word in words if word))
