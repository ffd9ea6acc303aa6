"""Captions that name a subject, its motion and its backdrop in varied words."""

from __future__ import annotations

from magref.synthetic.draw import Draw

MOTIONS = ("left", "right", "up", "down", "grows", "still")

_PHRASES: dict[str, tuple[str, ...]] = {
    "left": ("moves left", "moves to the left", "goes left", "walks to the left", "drifts left", "slides to the left",
             "runs from right to left", "travels left"),
    "right": ("moves right", "moves to the right", "goes right", "walks to the right", "drifts right",
              "slides to the right", "runs from left to right", "travels right"),
    "up": ("moves up", "goes up", "rises", "floats up", "flies upward", "climbs up", "moves upwards", "lifts up"),
    "down": ("moves down", "goes down", "falls", "sinks down", "drops downward", "climbs down", "moves downwards",
             "descends"),
    "grows": ("grows", "gets bigger", "grows larger", "comes closer", "swells up", "becomes bigger",
              "comes nearer", "expands"),
    "still": ("stands still", "stays still", "does not move", "waits", "rests in place", "keeps still",
              "stays where it is", "is at rest"),
}  # fmt: skip

# The noun says nothing about the picture: the subject is to be taken from its reference.
_NOUNS = (
    "dog", "cat", "bird", "man", "woman", "person", "snake", "horse", "fish", "toy", "ball", "figure", "shape",
    "animal", "creature", "object", "thing", "face", "boy", "girl", "robot", "bear", "rabbit", "car", "flower", "star",
    "picture", "character", "subject", "one", "cow", "fox", "mouse", "lion", "child", "doll", "monster", "box", "leaf",
    "portrait",
)  # fmt: skip
_ADJECTIVES = ("", "", "", "", "little ", "big ", "pretty ", "strange ", "young ", "old ", "happy ", "small ")
_ADVERBS = ("", "", "", "", " slowly", " smoothly", " quietly", " steadily", " gently")

BACKDROPS = {
    "white": (0.95, 0.95, 0.95), "grey": (0.5, 0.5, 0.5), "black": (0.06, 0.06, 0.06), "red": (0.8, 0.15, 0.15),
    "green": (0.2, 0.6, 0.25), "blue": (0.2, 0.35, 0.8), "yellow": (0.9, 0.8, 0.25), "orange": (0.9, 0.5, 0.15),
    "purple": (0.5, 0.25, 0.65), "pink": (0.95, 0.65, 0.75), "brown": (0.45, 0.3, 0.2), "sky blue": (0.55, 0.75, 0.92),
}  # fmt: skip
PLAIN = (0.82, 0.82, 0.82)
"""The backdrop of a clip whose caption names none and that has no background reference."""

_ON_COLOUR = (" on a {} background", " in front of a {} wall", " against a {} background", " on a plain {} backdrop")
_IN_SCENE = ("", " in the scene", " in the park", " in the room", " outdoors", " there", " in front of the background",
             " in the garden", " in the street", " in front of a building")  # fmt: skip


def _pick(options: tuple[str, ...], number: float) -> str:
    return options[int(number * len(options))]


def captions(draw: Draw, motions: list[str], backdrops: list[str | None], has_background: list[bool]) -> list[str]:
    """One caption for each sample; `backdrops` holds a colour's name, or None where the caption is to name none."""
    numbers = draw.uniform(n=8).tolist()
    result = []
    for n, motion, backdrop, scene in zip(numbers, motions, backdrops, has_background, strict=True):
        subject = f"{_pick(_ADJECTIVES, n[0])}{_pick(_NOUNS, n[1])}"
        article = _pick(("the", "a", "this"), n[2])
        if article == "a" and subject[0] in "aeiou" and not subject.startswith("one"):
            article = "an"
        if scene:
            place = _pick(_IN_SCENE, n[3])
        else:
            place = (
                "" if backdrop is None else _pick(_ON_COLOUR, n[3]).format(backdrop).replace(" a orange", " an orange")
            )
        action = _pick(_PHRASES[motion], n[4]) + _pick(_ADVERBS, n[5])
        text = f"{article} {subject} {action}{place}"
        if place and n[6] < 0.25:
            text = f"{place.strip()}, {article} {subject} {action}"
        result.append(text[0].upper() + text[1:] + _pick((".", ".", ""), n[7]))
    return result


_PLACES = ("the park", "the room", "the garden", "the street", "a building", "the scene", "a landscape", "the meadow")
_VIEWS = ("{}", "a view of {}", "{}, where nothing moves", "{} stays still", "only {}", "an empty view of {}")


def place_captions(draw: Draw) -> list[str]:
    """One caption for each sample that shows a place alone."""
    texts = [_pick(_VIEWS, n[0]).format(_pick(_PLACES, n[1])) for n in draw.uniform(n=2).tolist()]
    return [text[0].upper() + text[1:] + "." for text in texts]
