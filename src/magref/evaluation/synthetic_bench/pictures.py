"""The reference pictures of magref-bench-synthetic, drawn when they are needed.

`python -m magref.evaluation.synthetic_bench.pictures FOLDER` writes the package's own case file anew, into a folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magref.batch import Case
from magref.errors import OutputError
from magref.evaluation.cases import case_line, write_cases
from magref.evaluation.collecting import CASES_FILE
from magref.evaluation.synthetic_bench.script import Scripted, scripted
from magref.outputs import writing
from magref.references import file_sha256
from magref.synthetic.identities import draw_subjects
from magref.synthetic.pixels import to_uint8
from magref.synthetic.places import draw_places
from magref.synthetic.samples import cut_out
from magref.synthetic.traits import Traits
from magref.synthetic.views import any_view, lit, plain_view

SUBJECT_PX = 192
PLACE_PX = 192, 288
"""Height and width."""
CASES, LOOKS = "cases.jsonl", "looks.json"

_PORTRAIT_ZOOM, _PORTRAIT_MIDDLE = 1.75, -0.42
"""As the world's own portraits are framed."""
_SAME_LOOK = 0.3
"""In levels of 255: mean colours of a picture drawn on two machines differ by less."""


@dataclass(frozen=True)
class Drawn:
    """How many pictures there are, and how many of them differ in single bits from those that the package names."""

    pictures: int
    rounded: int


def shipped_cases() -> list[Case]:
    """The cases as they come with the package, hashes included; the pictures are not there yet."""
    text = (resources.files(__package__) / CASES).read_text(encoding="utf-8")
    return [Case.model_validate_json(line) for line in text.splitlines()]


def write_synthetic(folder: Path) -> Drawn:
    """Draw the pictures into `folder/references` and write `folder/cases.jsonl`; pictures that are there stay.

    Hashes are those of the package where the drawn file is the same to the bit. Another processor or another version of
    torch or Pillow may round otherwise; then the file gets its own hash, and its mean colours must agree.

    Raises:
        OutputError: the folder holds other cases or other pictures, or what is drawn looks different from what it
            should.
    """
    looks = json.loads((resources.files(__package__) / LOOKS).read_text(encoding="utf-8"))
    cases: list[Case] = []
    rounded = pictures = 0
    for shipped, known in zip(shipped_cases(), scripted().values(), strict=True):
        refs = []
        missing = any(not (folder / ref.uri).exists() for ref in shipped.refs)
        for ref, image in zip(shipped.refs, pictures_of(known) if missing else [None] * len(shipped.refs), strict=True):
            path = folder / ref.uri
            if image is not None and not path.exists():
                _save(image, path)
            with Image.open(path) as there:
                difference = np.abs(np.array(look_of(there.copy())) - looks[ref.uri]).max()
            if not difference <= _SAME_LOOK:
                raise OutputError(f"{path} is not the benchmark's picture; move it away and run the same command again")
            digest = file_sha256(path)
            pictures += 1
            rounded += digest != ref.sha256
            refs.append(ref.model_copy(update={"sha256": digest}))
        cases.append(shipped.model_copy(update={"refs": tuple(refs)}))
    path = folder / CASES_FILE
    if not path.exists():
        write_cases(cases, path)
    elif path.read_text(encoding="utf-8") != "".join(case_line(case) + "\n" for case in cases):
        raise OutputError(f"{path} holds other cases; choose another folder")
    return Drawn(pictures, rounded)


def look_of(image: Image.Image) -> list[float]:
    """Mean colours in levels: of the whole picture, what is transparent counted as white, and of its four quarters."""
    ground = Image.new("RGBA", image.size, "white")
    pixels = np.asarray(Image.alpha_composite(ground, image.convert("RGBA")), dtype=np.float64)[..., :3]
    height, width = pixels.shape[:2]
    halves = (slice(height // 2), slice(height // 2, None)), (slice(width // 2), slice(width // 2, None))
    parts = [pixels, *(pixels[rows, columns] for rows in halves[0] for columns in halves[1])]
    return [round(float(value), 1) for part in parts for value in part.mean(axis=(0, 1))]


def pictures_of(known: Scripted) -> Iterator[Image.Image]:
    """Each subject cut out, in a view that only its reference has; then the place, in a light of its own."""
    names = Traits([part.identity for part in known.parts], "synthetic bench")
    view = any_view(names)
    portrait = np.array([part.portrait for part in known.parts])
    view = replace(
        view,
        zoom=np.where(portrait, view.zoom * _PORTRAIT_ZOOM, view.zoom).astype(np.float32),
        focus_y=np.where(portrait, _PORTRAIT_MIDDLE, 0.0).astype(np.float32),
    )
    for picture in to_uint8(draw_subjects([part.identity for part in known.parts], view, SUBJECT_PX)):
        yield cut_out(picture)
    if known.place is not None:
        place = Traits([known.place], "synthetic bench")
        light = replace(lit(plain_view(1), place, "light", 0.6), zoom=place.uniform("zoom", 1.0, 1.2))
        (picture,) = to_uint8(draw_places([known.place], light, *PLACE_PX))
        yield Image.fromarray(picture.permute(1, 2, 0).numpy())


def _save(image: Image.Image, path: Path) -> None:
    with writing(path) as temporary:
        image.save(temporary, format="PNG")


def main() -> None:
    """Draw everything and write the case file and the looks that the package ships."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.synthetic_bench.pictures", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    cases, looks = [], {}
    for known in scripted().values():
        refs = []
        for ref, image in zip(known.case.refs, pictures_of(known), strict=True):
            _save(image, folder / ref.uri)
            looks[ref.uri] = look_of(image)
            refs.append(ref.model_copy(update={"sha256": file_sha256(folder / ref.uri)}))
        cases.append(known.case.model_copy(update={"refs": tuple(refs)}))
    write_cases(cases, folder / CASES)
    with writing(folder / LOOKS) as temporary:
        lines = ",\n".join(f"{json.dumps(uri)}: {json.dumps(look)}" for uri, look in looks.items())
        temporary.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
