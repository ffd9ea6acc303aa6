"""Captions in varied natural language: who does what, where, and where in the sentence each subject is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magref.synthetic.identities import Family, Kind, describe
from magref.synthetic.places import PLACES
from magref.synthetic.splits import HELD_OUT_WORDS
from magref.synthetic.traits import Choices
from magref.synthetic.words import article

_FORMS = {  # the third person and the participle of each verb
    "walk": ("walks", "walking"), "run": ("runs", "running"), "stroll": ("strolls", "strolling"), "go": ("goes",
    "going"),
    "wander": ("wanders", "wandering"), "move": ("moves", "moving"), "travel": ("travels", "travelling"),
    "march": ("marches", "marching"), "fly": ("flies", "flying"), "glide": ("glides", "gliding"),
    "swim": ("swims", "swimming"), "crawl": ("crawls", "crawling"), "slide": ("slides", "sliding"),
    "drive": ("drives", "driving"), "roll": ("rolls", "rolling"), "sail": ("sails", "sailing"), "drift": ("drifts",
    "drifting"),
    "float": ("floats", "floating"), "come": ("comes", "coming"), "get": ("gets", "getting"), "rise": ("rises",
    "rising"),
    "climb": ("climbs", "climbing"), "ascend": ("ascends", "ascending"), "fall": ("falls", "falling"),
    "sink": ("sinks", "sinking"), "drop": ("drops", "dropping"), "descend": ("descends", "descending"),
    "grow": ("grows", "growing"), "approach": ("approaches", "approaching"), "advance": ("advances", "advancing"),
    "shrink": ("shrinks", "shrinking"), "recede": ("recedes", "receding"), "stand": ("stands", "standing"),
    "stay": ("stays", "staying"), "rest": ("rests", "resting"), "wait": ("waits", "waiting"), "linger": ("lingers",
    "lingering"),
    "circle": ("circles", "circling"), "orbit": ("orbits", "orbiting"), "jump": ("jumps", "jumping"), "hop": ("hops",
    "hopping"),
    "bounce": ("bounces", "bouncing"), "leap": ("leaps", "leaping"), "turn": ("turns", "turning"), "spin": ("spins",
    "spinning"),
    "rotate": ("rotates", "rotating"), "look": ("looks", "looking"), "sway": ("sways", "swaying"), "rock": ("rocks",
    "rocking"),
    "wobble": ("wobbles", "wobbling"), "wave": ("waves", "waving"), "greet": ("greets", "greeting"), "keep": ("keeps",
    "keeping"),
    "hover": ("hovers", "hovering"), "head": ("heads", "heading"), "retreat": ("retreats", "retreating"),
}  # fmt: skip

_GOING = {  # the verbs of each gait, the commonest first
    "walks": ("walk", "run", "move", "go", "stroll", "wander", "head", "march"), "flies": ("fly", "move", "glide",
    "go"),
    "swims": ("swim", "move", "glide", "go"), "crawls": ("crawl", "move", "slide", "go"), "drives": ("drive", "roll",
    "move", "go", "travel"),
    "sails": ("sail", "drift", "move", "go"), "floats": ("float", "drift", "move", "glide"), "rolls": ("roll", "move",
    "go", "travel"),
    "stands": ("move", "slide", "drift", "go", "travel"),
}  # fmt: skip
_DIRECTIONS = {
    "left": ("to the left", "left", "towards the left", "from right to left", "to the left side"),
    "right": ("to the right", "right", "towards the right", "from left to right", "to the right side"),
    "up": ("up", "upwards", "to the top", "higher and higher"),
    "down": ("down", "downwards", "to the bottom", "lower and lower"),
}  # fmt: skip
_PHRASES = {
    "up": ("rise", "rise up", "climb up", "float up", "ascend"),
    "down": ("fall", "sink down", "drop down", "sink", "descend"),
    "grows": ("come closer", "approach", "come towards the camera", "get bigger", "grow larger", "get nearer",
    "advance",
              "{} towards us"),
    "shrinks": ("move away", "go into the distance", "get smaller", "shrink", "recede", "retreat",
    "{} away from the camera"),
    "still": ("stand still", "stay still", "stay in place", "rest", "wait", "keep still", "linger"),
    "circles": ("move in a circle", "circle around", "go round and round", "{} in a circle", "orbit the centre"),
    "jumps": ("jump", "jump up and down", "hop", "bounce up and down", "leap into the air"),
    "turns": ("turn around", "turn from side to side", "look around", "rotate slowly"),
    "spins": ("spin", "spin around", "turn over and over", "rotate"),
    "sways": ("sway", "sway from side to side", "rock from side to side", "wobble"),
    "waves": ("wave", "wave a hand", "wave at the camera", "wave hello", "greet us"),
}  # fmt: skip
_ANYTHING: dict[Family, tuple[str, ...]] = {
    "person": ("person", "figure", "character"), "animal": ("animal", "creature", "beast"),
    "creature": ("animal", "creature", "beast"), "thing": ("thing", "object"),
}  # fmt: skip
_SLOW, _FAST, _HASTE = ("slowly", "gently", "calmly"), ("quickly", "fast"), ("in a hurry", "hastily", "quickly")
_CAMERAS = {
    "pan left": ("The camera pans left.", "The camera moves to the left."),
    "pan right": ("The camera pans right.", "The camera moves to the right."),
    "zoom in": ("The camera zooms in.", "The view closes in."), "zoom out": ("The camera zooms out.",
    "The view widens."),
    "tilt up": ("The camera tilts up.",), "tilt down": ("The camera tilts down.",),
}  # fmt: skip
_BACKDROPS = ("on a {} background", "in front of a {} wall", "against a {} background", "before a plain {} backdrop")


@dataclass(frozen=True)
class Named:
    """What a caption is told of a subject; `barely` keeps it from saying what the subject looks like."""

    identity: int
    kind: Kind
    motion: str
    speed: float
    barely: bool = False


@dataclass(frozen=True)
class Caption:
    """The text, and where in it each subject and the place are named, as (start, end) in characters.

    `place` is None where the caption does not name it; `new_words` are those that training captions never have.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    place: tuple[int, int] | None
    new_words: tuple[str, ...]


def caption(
    choices: Choices, subjects: Sequence[Named], *, place: str | None, colour: str | None, camera: str, new: bool
) -> Caption:
    """One caption.

    Args:
        place: the sort of place, where a picture of it lies behind the subjects.
        colour: the plain backdrop's, where it is to be named.
        camera: "static", or what the camera does.
        new: prefer words that are held out from training; otherwise there is none of them.
    """
    labels = _labels(choices, subjects, new)
    clauses = [_verb_phrase(choices, subject, f"verb {n}", new) for n, subject in enumerate(subjects)]
    style = choices.of("style", ("plain", "progressive", "clip", "there is"), (4, 2.5, 1, 1.2))
    if style == "there is" and (len(subjects) > 1 or subjects[0].motion == "waves"):
        style = "plain"
    where, place_words = _where(choices, place, colour)
    first = bool(where) and choices.chance("place first", 0.28) and style not in ("clip", "there is")

    # Pieces of text, each with whom it names: a subject's number, -1 for the place, None for neither.
    pieces: list[tuple[str, int | None]] = []

    def put_place(before: str, after: str) -> None:
        head, _, tail = where.partition(place_words) if place_words else (where, "", "")
        pieces.extend([(before + head, None), (place_words, -1), (tail + after, None)])

    if first:
        put_place("", ", ")
    if style == "clip":
        pieces.append((choices.of("opening", ("A video of ", "A clip of ", "We see ", "This shows ")), None))
    if style == "there is":
        pieces.append((choices.of("opening", ("There is ", "Here is ", "We see ")), None))
        pieces.append((labels[0], 0))
        if where:
            put_place(" ", "")
        pronoun = _pronoun(subjects[0].kind)
        third, _ = clauses[0]
        pieces.append((f". {pronoun} {third}", None))
    else:
        joint = choices.of("joint", (" while ", " and ", ", and ", ". "))
        for n, (label, (third, participle)) in enumerate(zip(labels, clauses, strict=True)):
            if n:
                last = n == len(labels) - 1
                between = joint if last else ", "
                if style == "clip":
                    between = " and " if last else ", "
                pieces.append((between, None))
            pieces.append((label, n))
            said = {"progressive": f" is {participle}", "clip": f" {participle}"}.get(style, f" {third}")
            pieces.append((said, None))
        if where and not first:
            put_place(" ", "")
    pieces.append((".", None))
    if camera != "static" and choices.chance("camera said", 0.6):
        pieces.append((" " + choices.of("camera words", _CAMERAS[camera]), None))
    return _assemble(pieces, len(subjects))


def place_caption(choices: Choices, place: str) -> str:
    """A caption of a place alone."""
    words = choices.of("place", _allowed(PLACES[place].words, new=False))
    return choices.of("view", ("{}.", "A view of {}.", "An empty view of {}.", "{}, where nothing moves.")).format(
        words[0].upper() + words[1:] if choices.of("view", (1, 0, 0, 1)) else words
    )


def _assemble(pieces: Sequence[tuple[str, int | None]], count: int) -> Caption:
    text, spans, place = "", [(0, 0)] * count, None
    for words, who in pieces:
        start = len(text)
        begins = not text or text.endswith(". ")
        text += words[:1].upper() + words[1:] if begins else words
        if who is not None and words:
            if who < 0:
                place = (start, len(text))
            else:
                spans[who] = (start, len(text))
    tokens = {token.strip(".,").lower() for token in text.split()}
    return Caption(text, tuple(spans), place, tuple(sorted(tokens & _NEW_TOKENS)))


def _labels(choices: Choices, subjects: Sequence[Named], new: bool) -> list[str]:
    """Each subject's noun phrase; two of one noun are told apart."""
    labels: list[str] = []
    for n, subject in enumerate(subjects):
        label = ""
        for attempt in range(4):
            label = _label(choices, subject, f"label {n} {attempt}", new)
            if all(label not in other and other not in label for other in labels):
                break
        else:
            if label in labels:
                label = f"another {label.partition(' ')[2]}"
        labels.append(label)
    return labels


def _label(choices: Choices, subject: Named, name: str, new: bool) -> str:
    words = describe(subject.identity)
    noun = choices.of(f"{name} noun", _allowed(words.nouns, new))
    if subject.barely:
        if choices.chance(f"{name} anything", 0.5):
            noun = choices.of(f"{name} any", _ANYTHING[subject.kind.family])
        return f"the {noun}" if choices.chance(f"{name} the", 0.5) else article(noun)
    adjectives = words.adjectives if choices.chance(f"{name} adjective", 0.75) else ()
    adjective = choices.of(f"{name} which", adjectives) + " " if adjectives else ""
    if noun.split()[0] in ("little", "toy") and adjective.strip() in ("small", "young"):
        adjective = ""
    person = subject.kind.family == "person"
    having = [*_allowed(words.having, new)] if choices.chance(f"{name} having", 0.6 if person else 0.45) else []
    wearing = [*words.wearing] if choices.chance(f"{name} wearing", 0.6) else []
    tail = ""
    if having:
        first = choices.integer(f"{name} having first", len(having))
        tail = f" with {having[first]}"
        if wearing and choices.chance(f"{name} both", 0.7):
            tail += f" and {choices.of(f'{name} worn', wearing)}"
        elif len(having) > 1 and choices.chance(f"{name} two", 0.4):
            tail += f" and {having[(first + 1) % len(having)]}"
    elif wearing:
        first = choices.integer(f"{name} worn first", len(wearing))
        tail = f" {choices.of(f'{name} in', ('in', 'wearing', 'dressed in'), (3, 2, 1))} {wearing[first]}"
        if len(wearing) > 1 and choices.chance(f"{name} two worn", 0.4):
            tail += f" and {wearing[(first + 1) % len(wearing)]}"
    phrase = f"{adjective}{noun}"
    return (f"the {phrase}" if choices.chance(f"{name} the", 0.25) else article(phrase)) + tail


def _verb_phrase(choices: Choices, subject: Named, name: str, new: bool) -> tuple[str, str]:
    """Third person and participle: ("walks to the left", "walking to the left")."""
    going = _allowed(tuple(v for v in _GOING[subject.kind.gait] if v in _FORMS), new)
    verb = choices.of(f"{name} going", going)
    options = list(_PHRASES.get(subject.motion, ()))
    directions = _DIRECTIONS.get(subject.motion)
    if directions is not None:
        said = f"{verb} {choices.of(f'{name} direction', directions)}"
        options = [said] * max(len(options), 1) + options
    options = [option.format(verb) for option in options]
    if subject.kind.gait not in ("walks", "stands"):  # a balloon does not stand
        options = [o for o in options if not o.startswith("stand")] or options
    phrase = choices.of(f"{name} phrase", _allowed(tuple(options), new))
    if subject.motion not in ("still",) and choices.chance(f"{name} adverb", 0.6) and "slowly" not in phrase:
        if subject.speed < 0.85:
            phrase += f" {choices.of(f'{name} slow', _SLOW)}"
        elif subject.speed > 1.2:
            hastens = subject.kind.gait == "walks" and subject.motion in ("left", "right", "shrinks")
            phrase += f" {choices.of(f'{name} fast', _HASTE if hastens else _FAST)}"
    head, _, tail = phrase.partition(" ")
    third, participle = _FORMS[head]
    return f"{third} {tail}".strip(), f"{participle} {tail}".strip()


def _where(choices: Choices, place: str | None, colour: str | None) -> tuple[str, str]:
    """The words for where it happens, and the part of them that names the place."""
    if place is not None:
        if choices.chance("no place", 0.12):
            return "", ""
        words = choices.of("place", _allowed(PLACES[place].words, new=False))
        return f"{PLACES[place].preposition} {words}", words
    if colour is None:
        return "", ""
    words = choices.of("backdrop", _BACKDROPS).format(colour).replace("a orange", "an orange")
    return words, words.partition(" ")[2] if words.startswith(("on", "against", "before")) else words.removeprefix(
        "in front of "
    )


def _pronoun(kind: Kind) -> str:
    return {"woman": "She", "girl": "She", "man": "He", "boy": "He"}.get(kind.name, "It")


_NEW_TOKENS = frozenset(
    form
    for word in HELD_OUT_WORDS
    for form in (word, *_FORMS.get(word, ()), f"{word}s" if word not in _FORMS else word)
)


def _is_new(phrase: str) -> bool:
    return any(token in _NEW_TOKENS for token in phrase.split())


def _allowed(options: Sequence[str], new: bool) -> tuple[str, ...]:
    """The options for training; or, where `new`, those that training never has, if there are any."""
    held = tuple(option for option in options if _is_new(option))
    usual = tuple(option for option in options if not _is_new(option))
    return held if new and held else usual or tuple(options)
