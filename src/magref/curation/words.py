"""English words that say what sort of thing a label means; `LabelSettings` adds more."""

from __future__ import annotations

import re
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HUMAN: Final = _words(
    """
    person people human man woman boy girl child kid baby toddler infant teenager teen adult elder lady gentleman guy
    individual couple crowd family friend mother father mom dad parent sister brother son daughter grandmother
    grandfather husband wife bride groom player athlete runner dancer singer musician guitarist drummer pianist
    violinist actor actress chef cook waiter waitress bartender barista doctor nurse surgeon patient teacher student
    pupil policeman policewoman officer soldier firefighter farmer worker engineer scientist driver rider cyclist
    motorcyclist swimmer surfer skater skateboarder skier snowboarder climber hiker fisherman pedestrian passenger
    tourist customer shopper audience spectator performer presenter host reporter speaker monk nun priest king queen
    prince princess clown magician colleague participant subject someone somebody everyone anyone team gymnast boxer
    wrestler golfer jogger artist painter photographer cameraman barber hairdresser mechanic carpenter gardener
    businessman businesswoman he she him her they them
    """
)
"""People. A label of one of these is never an object, and asks for a person's mask."""

BODY: Final = _words(
    """
    hand finger thumb fingertip fingernail nail arm forearm elbow shoulder leg knee foot toe ankle heel head face eye
    eyebrow eyelash eyelid ear earlobe nose nostril mouth lip tooth tongue cheek chin jaw forehead neck throat hair
    hairline hairstyle fringe ponytail braid bun beard moustache mustache stubble skin chest breast torso belly
    stomach waist hip thigh calf wrist palm fist body complexion freckle wrinkle tattoo makeup lipstick expression
    smile gaze gesture posture pose silhouette paw tail fur wing beak mane snout muzzle whisker hoof horn antler fin
    """
)
"""Parts of people and animals, and what cannot be taken off them."""

PLACE: Final = _words(
    """
    background backdrop foreground area setting scene scenery landscape environment surroundings surrounding interior
    exterior outdoors indoors outside inside space place location terrain countryside ground floor wall ceiling sky
    cloud horizon sunset sunrise grass lawn field meadow forest woods woodland jungle park garden yard backyard beach
    shore shoreline coast sea ocean lake river pond stream waterfall water wave desert dune mountain mountainside hill
    hillside valley canyon cliff snow sand street road roadside sidewalk pavement path pathway trail track highway
    alley city cityscape town village skyline building skyscraper room kitchen bedroom bathroom office studio stage
    hall hallway corridor lobby restaurant cafe shop store supermarket market mall gym stadium court pitch arena
    classroom library church temple station airport harbor harbour dock pier lot plaza square farm farmland orchard
    greenery foliage vegetation bush shrub treeline night day daylight darkness
    """
)
"""What fills a picture behind the rest: a candidate for a background, never an object."""

THIN: Final = _words(
    """
    necklace chain pendant glasses eyeglasses sunglasses spectacles goggles earring bracelet anklet ring belt strap
    suspender string rope cord cable wire thread leash rein whip stick cane pole rod staff wand spear arrow bow sword
    pen pencil brush paintbrush chopstick needle straw fork spoon tie ribbon shoelace headband tiara earphone earbud
    headphone headset antenna fence railing ladder tripod hose net flute baton drumstick broom rake mop branch twig
    """
)
"""Things of which a mask is thin, or small beside who wears it; area and fill say little of them."""

_IRREGULAR: Final = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "leaves": "leaf", "knives": "knife", "wives": "wife", "calves": "calf", "scarves": "scarf", "ladies": "lady",
    "policemen": "policeman", "firemen": "fireman", "fishermen": "fisherman", "businessmen": "businessman",
}  # fmt: skip
_STOPS: Final = _words(
    """
    in on at of with without by from to for near behind under below over above beside between against around along
    across into onto inside outside through wearing holding carrying riding sitting standing walking running lying
    that who which made covered filled full
    """
)
_COLLECTIVES: Final = _words(
    "group pair couple crowd bunch piece set row line stack pile team variety number lot part section"
)


def head_of(label: str) -> str:
    """The noun that a label is about, in the singular: "two men in red hats" is about "man"."""
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", label.lower())
    stop = next((n for n, word in enumerate(words) if n and word in _STOPS), len(words))
    if 0 < stop < len(words) - 1 and words[stop] == "of" and words[stop - 1] in _COLLECTIVES:
        return head_of(" ".join(words[stop + 1 :]))
    return singular(words[stop - 1]) if words else ""


def singular(noun: str) -> str:
    """The noun without its plural's ending; some plurals stay, as those in `THIN` that have no singular."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if any(noun in words for words in (HUMAN, BODY, PLACE, THIN)):
        return noun
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("sses", "ches", "shes", "xes")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) else noun
