"""What happens in each sample of the world, decided from its index alone, before a pixel is painted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator

from magref.settings import Record
from magref.synthetic.identities import Kind, kind_of
from magref.synthetic.language import Caption, Named, caption
from magref.synthetic.motions import BASIC, MOTIONS, Track, possible, track
from magref.synthetic.palette import NAMES as COLOUR_NAMES
from magref.synthetic.places import PLACES, place_of
from magref.synthetic.splits import Split, combination_is_held_out, nth_identity
from magref.synthetic.traits import Choices

Share = Annotated[float, Field(ge=0, le=1)]

FOOT = 0.9
"""Where the feet of a subject are in its picture, in half sides below the middle."""
CAMERAS = ("static", "pan left", "pan right", "zoom in", "zoom out", "tilt up", "tilt down")


class WorldConfig(Record):
    """How rich the world is; everything by default."""

    max_subjects: Annotated[int, Field(ge=1, le=3)] = 3
    motions: tuple[str, ...] = MOTIONS
    camera: Share = 0.45
    """How often the camera moves."""
    pictures: Share = 0.6
    """How often a picture of a place lies behind the subjects, and not a plain colour."""
    occlusion: Share = 0.2
    """How often something in the foreground hides a part; subjects cross each other wherever there are several."""
    lighting: bool = True
    """Light of varying colour, strength and direction, in the clip and on the references."""
    shadows: bool = True
    references: Annotated[int, Field(ge=1, le=16)] = 3
    """Candidate pictures of each subject."""
    reference_px: Annotated[int, Field(ge=16, le=1024)] = 96
    identities: Annotated[int, Field(ge=1, le=2**40)] = 1_000_000
    """How many identities a split has."""
    staged: bool = False
    """Caption and references determine the clip: subjects stand in the caption's order, their number and motion say
    how large they are and where they go, and nothing differs in light from the references."""
    disguised: Share = 0.0
    """How often a subject has its colours exchanged and is called by its kind alone, or by less, so that only its
    reference says what it looks like."""

    @field_validator("motions")
    @classmethod
    def _known(cls, motions: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(motions) - set(MOTIONS))
        if unknown or not set(motions) & set(BASIC):
            raise ValueError(f"motions are of {', '.join(MOTIONS)}, with at least one of the first six; not {unknown}")
        return motions


SIMPLE = WorldConfig(max_subjects=1, motions=BASIC, camera=0.0, occlusion=0.0, shadows=False, references=3)
"""One subject that makes one of six motions before a static camera: what a small model learns first."""


STAGED = SIMPLE.model_copy(
    update={"max_subjects": 2, "lighting": False, "references": 1, "staged": True, "disguised": 0.6}
)
"""One or two subjects in clips that leave nothing to chance: meant for small models and little time."""

COLOURS = ((1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1))
"""Ways to exchange red, green and blue."""


@dataclass(frozen=True)
class SubjectPlan:
    """One subject of a sample; `depth` is greater the nearer it is; `stands` whether it has ground under it; `colours`
    where its red, green and blue come from, None for itself undisguised.
    """

    identity: int
    kind: Kind
    motion: str
    speed: float
    track: Track
    depth: float
    stands: bool
    colours: tuple[int, int, int] | None


@dataclass(frozen=True)
class Plan:
    """One sample. `place` is a place's number,
    None before the plain colour `colour`; `new` is what is held out in it.
    """

    index: int
    choices: Choices
    subjects: tuple[SubjectPlan, ...]
    place: int | None
    colour: str
    camera: str
    occluder: int | None
    caption: Caption
    new: tuple[str, ...]


_SALTS = {"train": 0, "held-out": 0x68656C64}


def plan_scene(
    index: int, *, frames: int, height: int, width: int, seed: int, split: Split, config: WorldConfig,
    cast: tuple[int, ...] | None = None,
) -> Plan:  # fmt: skip
    """Decide what sample `index` of (seed, split) shows; `cast` gives its identities instead of chance."""
    choices = Choices(index, (seed << 33) + _SALTS[split] + 1)
    aspect = width / height
    count = (
        len(cast) if cast else choices.of("count", (1, 2, 3)[: config.max_subjects], (5, 4, 2)[: config.max_subjects])
    )
    identities = cast or _identities(choices, count, split, config)
    kinds = [kind_of(identity) for identity in identities]
    wants_new = split == "held-out" and choices.chance("new combination", 0.5)
    motions = _motions(choices, kinds, split, config.motions, wants_new)
    camera = choices.of("camera", CAMERAS[1:]) if choices.chance("camera moves", config.camera) else "static"
    place = choices.integer("place", 2**31) if choices.chance("picture", config.pictures) else None
    sort = None if place is None else place_of(place)
    grounded = sort is not None and PLACES[sort].ground
    colour = choices.of("colour", COLOUR_NAMES)

    order = sorted(range(count), key=lambda n: choices.uniform(f"slot {n}"))
    subjects = []
    for n, (identity, kind, motion) in enumerate(zip(identities, kinds, motions, strict=True)):
        c = Choices(index * 4 + n, f"subject {seed} {split}")
        stands = kind.grounded and motion not in ("up", "down", "circles", "spins")
        low = stands and grounded
        if config.staged:
            way = _on_stage(n, count, motion, low=low)
        else:
            way = _anywhere(c, order[n], count, kind, motion, aspect, low=low)
        subjects.append(
            SubjectPlan(
                identity, kind, motion, way.speed,
                track(kind, motion, frames=frames, x=way.x, y=way.y, size=way.size, travel=way.travel, speed=way.speed,
                      mirror=way.mirror, phase=way.phase, growth=way.growth),
                depth=way.depth,
                stands=stands and (grounded or place is None) and not config.staged,
                colours=c.of("colours", COLOURS) if c.chance("disguised", config.disguised) else None,
            )
        )  # fmt: skip
    named = choices.chance("colour named", 0.75)
    wants_words = split == "held-out" and choices.chance("new words", 0.5)
    text = caption(
        choices, [Named(s.identity, s.kind, s.motion, s.speed, s.colours is not None) for s in subjects], place=sort,
        colour=colour if named else None, camera=camera, new=wants_words,
    )  # fmt: skip
    others = [tuple(motions[:n]) for n in range(count)]
    combined = any(combination_is_held_out(k.name, m, o) for k, m, o in zip(kinds, motions, others, strict=True))
    new = ("identity",) * (split == "held-out") + ("combination",) * combined + ("words",) * bool(text.new_words)
    return Plan(
        index=index, choices=choices, subjects=tuple(subjects), place=place, colour=colour if named else "grey",
        camera=camera,
        occluder=choices.integer("occluder sort", 4) if choices.chance("occluder", config.occlusion) else None,
        caption=text, new=new,
    )  # fmt: skip


@dataclass(frozen=True)
class _Way:
    """Where a subject is and how it goes, as `track` takes it; `depth` as in `SubjectPlan`."""

    x: float
    y: float
    size: float
    travel: tuple[float, float]
    growth: float
    speed: float
    mirror: int
    phase: float
    depth: float


def _anywhere(c: Choices, slot: int, count: int, kind: Kind, motion: str, aspect: float, *, low: bool) -> _Way:
    """By chance; `slot` is its place among `count` from left to right, `low` whether it stands on a ground."""
    speed = c.uniform("speed", 0.75, 1.35)
    size = (0.0, c.uniform("size", 0.64, 0.8), c.uniform("size", 0.54, 0.68), c.uniform("size", 0.46, 0.6))[count]
    if motion in ("grows", "shrinks"):
        size *= c.uniform("large", 1.2, 1.35)
    room = max(aspect - 0.6 * size, 0.1)
    travel_x = min(2 * aspect * c.uniform("travel", 0.40, 0.48) * (0.75 + 0.25 * speed), 2 * room)
    travel_y = c.uniform("travel", 0.8, 0.95)
    reach = travel_x / 2 if motion in ("left", "right") else 0.36 * travel_x if motion == "circles" else 0.0
    # Who crosses the frame starts from its slot as far as there is room.
    aside = (slot - (count - 1) / 2) * 2 * aspect * 0.82 / count + c.uniform("aside", -0.1, 0.1) * aspect
    ground = c.uniform("ground", 0.66, 0.9)
    y = ground - FOOT * size if low else c.uniform("middle", -0.1, 0.1)
    if kind.gait == "flies" and motion not in ("up", "down"):
        y = c.uniform("high", -0.4, 0.0)
    return _Way(
        x=max(-room + reach, min(room - reach, aside)), y=y, size=size, travel=(travel_x, travel_y),
        growth=c.uniform("growth", 1.9, 2.2), speed=speed, mirror=-1 if c.chance("mirror", 0.5) else 1,
        phase=c.uniform("phase"), depth=ground if low else c.uniform("depth"),
    )  # fmt: skip


def _on_stage(n: int, count: int, motion: str, *, low: bool) -> _Way:
    """The same for all n-th subjects of `count` with this motion.

    Sizes and ways are quarters and halves of the frame's height: at magref-nano's 17 frames of 96x64 pixels a subject
    moves by 16 or 8 pixels from one latent frame to the next, and is as large as it is on the canvas beside a place.
    Tokens are 16 pixels wide: so that what moves may be copied from token to token. Whether a small model learns
    sooner by that is not measured.
    """
    size, side, apart = ((0.75, 2.0, 0.0), (0.5, 1.0, 1.5), (0.5, 1.0, 1.0))[count - 1]
    if motion in ("grows", "shrinks"):
        size *= 4 / 3
    x, y = (n - (count - 1) / 2) * apart, 0.25 if low else 0.0
    return _Way(x, y, size, (side, 1.0), growth=2.0, speed=1.0, mirror=1, phase=0.0, depth=0.5)


def _identities(choices: Choices, count: int, split: Split, config: WorldConfig) -> tuple[int, ...]:
    """Identities of the split, none twice in a clip where there are several."""
    chosen: list[int] = []
    for n in range(count):
        number = choices.integer(f"identity {n}", config.identities)
        while nth_identity(split, number) in chosen and config.identities > len(chosen):
            number = (number + 1) % config.identities
        chosen.append(nth_identity(split, number))
    return tuple(chosen)


def _motions(
    choices: Choices, kinds: list[Kind], split: Split, allowed: tuple[str, ...], wants_new: bool
) -> tuple[str, ...]:
    chosen: list[str] = []
    for n, kind in enumerate(kinds):
        options = possible(kind, allowed)
        held = tuple(m for m in options if combination_is_held_out(kind.name, m, tuple(chosen)))
        usual = tuple(m for m in options if m not in held)
        options = (held or options) if split == "held-out" and wants_new else usual or options
        # The six of the simple world are as frequent as all the others together.
        chosen.append(choices.of(f"motion {n}", options, [1.0 if m in BASIC else 0.75 for m in options]))
    return tuple(chosen)
