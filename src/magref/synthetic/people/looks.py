"""Who a person is: the lasting features, from the number and the kind, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magref.synthetic import palette
from magref.synthetic.easel import Texture
from magref.synthetic.traits import Flags, Floats, Strings, Traits, Whole
from magref.synthetic.words import PATTERN_WORDS, Description, article

PEOPLE = ("woman", "man", "girl", "boy")

# What there is, and how often it occurs.
_FEMALE_HAIR = {
    "short": 0.7, "cropped": 0.3, "bob": 1.6, "long": 2, "ponytail": 1.6, "pigtails": 1.0, "bun": 1.2, "curly": 1.4,
    "spiky": 0.2, "mohawk": 0.1, "braids": 1.2,
}  # fmt: skip
_MALE_HAIR = {
    "bald": 0.9, "short": 2.4, "cropped": 1.4, "bob": 0.2, "long": 0.4, "ponytail": 0.3, "bun": 0.3, "curly": 1.2,
    "spiky": 1.6, "mohawk": 0.6, "braids": 0.1,
}  # fmt: skip
_HAIR_COLOURS = {
    "woman": {"black": 2, "brown": 2.2, "blond": 2, "red": 1.6, "grey": 0.3, "white": 0.2, "blue": 0.4, "pink": 0.5,
              "green": 0.3},
    "man": {"black": 2, "brown": 2.2, "blond": 1.6, "red": 1.4, "grey": 0.5, "white": 0.3, "blue": 0.2, "pink": 0.1,
            "green": 0.2},
    "girl": {"black": 2, "brown": 2.4, "blond": 2, "red": 1.6, "blue": 0.3, "pink": 0.5, "green": 0.2},
    "boy": {"black": 2, "brown": 2.4, "blond": 2, "red": 1.6, "blue": 0.3, "pink": 0.2, "green": 0.3},
}  # fmt: skip
_HATS = {
    "none": 5.2, "cap": 1.1, "beanie": 0.9, "top hat": 0.5, "sun hat": 0.8, "crown": 0.35, "party hat": 0.35,
    "headband": 0.5,
}  # fmt: skip
_GLASSES = {"none": 3.4, "round": 0.8, "square": 0.6, "sunglasses": 0.6}
_BEARDS = {"none": 2, "beard": 1, "moustache": 0.7, "goatee": 0.4}
_FEMALE_TOPS = {"T-shirt": 1.2, "sweater": 1.2, "jacket": 1, "dress": 2, "coat": 0.7, "shirt": 0.8}
_MALE_TOPS = {"T-shirt": 1.6, "sweater": 1.4, "jacket": 1.3, "coat": 0.8, "shirt": 1.4}
_PATTERNS = {
    "plain": 3.2, "striped": 1.6, "pinstriped": 0.6, "diagonal": 0.5, "checked": 0.8, "dotted": 1.2, "zigzag": 0.8,
    "plaid": 0.9,
}  # fmt: skip
_FEMALE_BOTTOMS = {"trousers": 1.4, "shorts": 0.6, "skirt": 1.4}
_MALE_BOTTOMS = {"trousers": 2.2, "shorts": 1}
_EXTRAS = {"none": 3.4, "scarf": 1, "shoulder bag": 0.9, "backpack": 0.6, "apron": 0.35}

_LONG_HAIR = ("bob", "long", "ponytail", "pigtails", "braids")
_TALL_HAIR = ("bun", "curly", "spiky", "mohawk")
_COVERING_HATS = ("cap", "beanie", "top hat", "sun hat")


@dataclass(frozen=True)
class Looks:
    """All lasting features of B people: words, flags and lengths (B,), colours (B, 3).

    `hair_style`, `hat`, `beard` and the like are words of the tables above, "none" where there is none. The names of
    clothes' colours are numbers into `palette.NAMES`, that of the hair is a word of `palette.HAIR`. Lengths are in
    units, the eyes' in half widths and radii of the head.
    """

    female: Flags
    child: Flags
    old: Flags
    skin: Floats
    hair_style: Strings
    hair_name: Strings
    hair: Floats
    hat: Strings
    hat_name: Whole
    hat_colour: Floats
    glasses: Strings
    beard: Strings
    top: Strings
    top_name: Whole
    top_colour: Floats
    top_other: Floats
    top_texture: Texture
    bottom: Strings
    bottom_name: Whole
    bottom_colour: Floats
    shoes: Floats
    extra: Strings
    extra_name: Whole
    extra_colour: Floats
    head_r: Floats
    head_rx: Floats
    eye_gap: Floats
    eye_height: Floats
    shoulders: Floats
    hips: Floats


def looks(traits: Traits, kinds: Strings) -> Looks:
    """The lasting features; `kinds` (B,) of `PEOPLE`."""
    t = traits
    female, child = np.isin(kinds, ("woman", "girl")), np.isin(kinds, ("girl", "boy"))
    old = ~child & t.chance("old", 0.18)
    hat = np.where(female & t.chance("bow", 0.1), "bow", t.choose("hat", _HATS))
    top = np.where(female, t.choose("top", _FEMALE_TOPS), t.choose("top", _MALE_TOPS))
    bottom = np.where(female, t.choose("bottom", _FEMALE_BOTTOMS), t.choose("bottom", _MALE_BOTTOMS))
    hair_name = _hair_name(t, kinds, old)
    top_name, hat_name, extra_name = (
        t.integer(n, len(palette.NAMES)) for n in ("top colour", "hat colour", "extra colour")
    )
    bottom_name = t.pick("bottom colour", (0.6, 0.4, 0.5, 0.8, 2.2, 0.6, 0.4, 1.4, 0.7, 1.2, 1.4, 0.5))
    bottom_name = np.where(bottom_name == top_name, (bottom_name + 3) % len(palette.NAMES), bottom_name)
    top_other = palette.shade(t, "top other", palette.TABLE[palette.other(t, "top other", top_name)])
    shoes = t.pick("shoes", (1, 0.3, 0.3, 0.3, 0.7, 0.3, 0.4, 2, 1.4, 1, 2.4, 0.3))
    head_r = np.where(child, t.uniform("head", 0.345, 0.385), t.uniform("head", 0.29, 0.33))
    adult = np.where(female, t.uniform("shoulders", 0.2, 0.28), t.uniform("shoulders", 0.235, 0.34))
    shoulders = np.where(child, t.uniform("shoulders", 0.18, 0.25), adult)
    return Looks(
        female=female, child=child, old=old,
        skin=palette.shade(t, "skin", palette.SKIN[t.pick("skin", (1, 1.4, 1.2, 1, 1, 0.9))], 0.012),
        hair_style=_hair_style(t, female, child, hat), hair_name=hair_name,
        hair=palette.shade(t, "hair", palette.of(palette.HAIR, hair_name), 0.03),
        hat=hat, hat_name=hat_name, hat_colour=palette.shade(t, "hat", palette.TABLE[hat_name]),
        glasses=t.choose("glasses", _GLASSES),
        beard=np.where(female | child, "none", t.choose("beard", _BEARDS)),
        top=top, top_name=top_name, top_colour=palette.shade(t, "top", palette.TABLE[top_name]), top_other=top_other,
        top_texture=Texture(t.choose("top pattern", _PATTERNS), top_other, t.uniform("top period", 0.13, 0.2), 0.6),
        bottom=bottom, bottom_name=bottom_name,
        bottom_colour=palette.shade(t, "bottom", palette.TABLE[bottom_name]),
        shoes=palette.shade(t, "shoes", palette.TABLE[shoes]),
        extra=_extra(t, female, child), extra_name=extra_name,
        extra_colour=palette.shade(t, "extra", palette.TABLE[extra_name]),
        head_r=head_r, head_rx=head_r * t.uniform("face width", 0.84, 1.02),
        eye_gap=t.uniform("eye gap", 0.36, 0.46), eye_height=t.uniform("eye height", -0.02, 0.12),
        shoulders=shoulders,
        hips=shoulders * np.where(female, t.uniform("hips", 0.82, 1.02), t.uniform("hips", 0.74, 0.95)),
    )  # fmt: skip


def _hair_style(t: Traits, female: Flags, child: Flags, hat: Strings) -> Strings:
    """(B,); hair that stands up does not fit under a `hat` (B,)."""
    style = np.where(female, t.choose("hair style", _FEMALE_HAIR), t.choose("hair style", _MALE_HAIR))
    style = np.where(child & (style == "bald"), "short", style)
    covered = np.isin(style, _TALL_HAIR) & np.isin(hat, _COVERING_HATS)
    return np.where(covered, np.where(female, "bob", "short"), style)


def _hair_name(t: Traits, kinds: Strings, old: Flags) -> Strings:
    """(B,) of `palette.HAIR`; the old are grey or white."""
    name = np.empty(len(t), dtype="<U8")
    for kind, colours in _HAIR_COLOURS.items():
        name = np.where(kinds == kind, t.choose("hair", colours), name)
    return np.where(old, np.where(t.chance("white hair", 0.5), "white", "grey"), name)


def _extra(t: Traits, female: Flags, child: Flags) -> Strings:
    """(B,) what is worn besides clothes; ties and necklaces are for those who have nothing else."""
    extra = t.choose("extra", _EXTRAS)
    extra = np.where((extra == "none") & ~female & ~child & t.chance("tie", 0.25), "tie", extra)
    return np.where((extra == "none") & female & t.chance("necklace", 0.25), "necklace", extra)


_NOUNS = {"woman": ("woman", "lady"), "man": ("man", "guy"), "girl": ("girl", "little girl"),
          "boy": ("boy", "little boy")}  # fmt: skip


def describe_person(traits: Traits, kind: str) -> Description:
    """The words for one person; `traits` of one number."""
    look = looks(traits, np.array([kind]))
    style, hat, top, bottom, extra = (
        str(words[0]) for words in (look.hair_style, look.hat, look.top, look.bottom, look.extra)
    )
    beard, glasses = str(look.beard[0]), str(look.glasses[0])
    hat_colour, top_colour, bottom_colour, extra_colour = (
        palette.NAMES[int(n[0])] for n in (look.hat_name, look.top_name, look.bottom_name, look.extra_name)
    )
    having, wearing = [], []
    if hat in ("none", "bow", "headband") or style in _LONG_HAIR:
        having.append(_hair_words(style, str(look.hair_name[0])))
    if beard != "none":
        having.append(article(beard))
    if glasses != "none":
        having.append({"round": "round glasses", "square": "glasses", "sunglasses": "sunglasses"}[glasses])
    if extra in ("scarf", "shoulder bag", "backpack"):
        having.append(article(f"{extra_colour} {extra.removeprefix('shoulder ')}"))
    pattern = PATTERN_WORDS[str(look.top_texture.pattern[0])]
    wearing.append(article(f"{pattern} {top}" if pattern else f"{top_colour} {top}"))
    if extra in ("tie", "apron"):
        wearing.append(article(f"{extra_colour} {extra}"))
    if hat != "none":
        wearing.append(article(f"{hat_colour} {hat}" if hat != "crown" else "golden crown"))
    if top != "dress":
        wearing.append(article(f"{bottom_colour} skirt") if bottom == "skirt" else f"{bottom_colour} {bottom}")
    adjectives = ("old", "elderly") if look.old[0] else ("young", "small") if look.child[0] else ()
    return Description(_NOUNS[kind], adjectives, tuple(having), tuple(wearing))


def _hair_words(style: str, colour: str) -> str:
    if style == "bald":
        return "a bald head"
    if style in ("pigtails", "braids"):
        return f"{colour} {style}"
    if style in ("bob", "ponytail", "bun", "mohawk"):
        return article(f"{colour} {style}")
    return f"{style} {colour} hair"
