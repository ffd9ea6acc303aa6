"""What each case of magref-bench-synthetic shows: `script.txt` with its parts given to identities.

The prompts are written by hand and are no training captions. The identities are held out from training, and are neither
in any clip of the world nor among the strangers that the identity measure compares with.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import cast

from magref.batch import Case, CaseReference, Category, Source
from magref.evaluation.cases import KINDS, keyed
from magref.synthetic.identities import describe, kind_of
from magref.synthetic.places import PLACES, place_of
from magref.synthetic.samples import LICENSE
from magref.synthetic.splits import nth_identity
from magref.synthetic.words import article

DATASET = "magref-bench-synthetic"

_FIRST_IDENTITY = 4_000_000
"""Held-out identities are counted from here: worlds have a million of a split, the measures' strangers start at two."""
_FIRST_PLACE = 2**33
"""Worlds take their places from below."""
_SENTENCE = re.compile(r'(^|[.!?]"?\s+|")([a-z])')


@dataclass(frozen=True)
class Part:
    """One subject of a case: who it is, how it moves (one of `synthetic.motions.MOTIONS`), and whether its reference is
    a portrait.
    """

    identity: int
    motion: str
    portrait: bool


@dataclass(frozen=True)
class Scripted:
    """One case and what is known of it.

    `place` is the number of the place whose picture is a reference; `colour` the plain backdrop that the prompt names.
    References come in the order of `parts`, the place's last.
    """

    case: Case
    parts: tuple[Part, ...]
    place: int | None
    colour: str | None


@lru_cache(maxsize=1)
def scripted() -> dict[str, Scripted]:
    """All 120 by their ids; references without hashes, since nothing is drawn here."""
    lines = (resources.files(__package__) / "script.txt").read_text(encoding="utf-8").splitlines()
    numbers: defaultdict[str, int] = defaultdict(int)
    cast_of = _Casting()
    found = {}
    for line in lines:
        if line.startswith("#"):
            continue
        category, who, behind, text = (field.strip() for field in line.split("|"))
        numbers[category] += 1
        one = _scripted(cast(Category, category), numbers[category], who, behind, text, cast_of)
        found[one.case.id] = one
    return found


def _scripted(category: Category, number: int, who: str, behind: str, text: str, casting: _Casting) -> Scripted:
    case_id = f"{category}_{number:02d}"
    parts = []
    for entry in who.split(","):
        kind, _, motion = entry.strip().partition(":")
        name = kind.removesuffix(".face")
        parts.append(Part(casting.identity(name), motion, portrait=name != kind))
    place = casting.place(behind[1:]) if behind.startswith("@") else None
    named: dict[str, str] = {}
    for letter, part in zip("abc", parts, strict=False):
        named |= {letter: label_of(part.identity), f"{letter}+": label_of(part.identity, whole=True)}
    refs = keyed(
        [
            *(CaseReference(uri="-", role=kind_of(p.identity).role, label=label_of(p.identity)) for p in parts),
            *([] if place is None else [CaseReference(uri="-", role="background", label=PLACES[behind[1:]].words[0])]),
        ]
    )
    return Scripted(
        Case(
            id=case_id,
            prompt=_SENTENCE.sub(lambda found: found[1] + found[2].upper(), text.format(**named)),
            refs=tuple(ref.model_copy(update={"uri": f"references/{case_id}-{ref.key}.png"}) for ref in refs),
            group=KINDS[category].group,
            category=category,
            source=Source(dataset=DATASET, case_id=case_id, license=LICENSE),
        ),
        tuple(parts),
        place,
        behind[1:] if behind.startswith("=") else None,
    )


def label_of(identity: int, *, whole: bool = False) -> str:
    """A noun phrase: with the most telling trait, or with up to three where it is `whole`."""
    words = describe(identity)
    adjective = f"{words.adjectives[0]} " if words.adjectives else ""
    tail = ""
    if words.having:
        tail = f" with {words.having[0]}" + (f" and {words.having[1]}" if whole and len(words.having) > 1 else "")
    if words.wearing and (whole or not words.having):
        tail += f" in {words.wearing[0]}"
    return article(f"{adjective}{words.nouns[0]}") + tail


class _Casting:
    """Gives out held-out identities by their kind and places by their sort, none twice."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[int]] = defaultdict(list)
        self._identities = self._all_identities()
        self._next_place = _FIRST_PLACE

    def identity(self, kind: str) -> int:
        while not self._waiting[kind]:
            identity = next(self._identities)
            self._waiting[kind_of(identity).name].append(identity)
        return self._waiting[kind].pop(0)

    def place(self, sort: str) -> int:
        number = next(n for n in range(self._next_place, self._next_place + 10_000) if place_of(n) == sort)
        self._next_place = number + 1
        return number

    @staticmethod
    def _all_identities() -> Iterator[int]:
        number = _FIRST_IDENTITY
        while True:
            yield nth_identity("held-out", number)
            number += 1
