"""Contact sheets of what a model makes of pictures: `python -m magref.evaluation.gallery FOLDER PICTURE...`.

Each picture makes the six basic motions, alone before a plain backdrop that the prompt names, and before each
background that is given. A motion has one backdrop for all pictures, so that what fails may be the fault of the colour
as well as of the motion. Seeds are fixed before anyone looks, and nothing is left out. A sheet that is there stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from magref.errors import InputError
from magref.evaluation.stages import claim
from magref.models import find_model, quiet_libraries
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.sheets import stacked_strips, video_strip
from magref.sidecar import weights_sha256

PROMPTS = {
    "left": "The {} moves to the left{}.",
    "right": "The {} moves to the right{}.",
    "up": "The {} rises{}.",
    "down": "The {} sinks{}.",
    "grows": "The {} comes closer{}.",
    "still": "The {} stands still{}.",
}
BACKDROPS = ("blue", "green", "red", "grey", "yellow", "pink")
"""One for each motion where no background is given."""
SEED = 1


@dataclass(frozen=True)
class Sheet:
    """One picture before one background."""

    subject: str
    """As prompts and the sheet's file call it."""
    picture: Path
    background: Path | None

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        return self.subject.replace(" ", "_") + ("" if self.background is None else f"-{self.background.stem}")

    def prompts(self) -> list[str]:
        """One for each motion."""
        behind = [f" on a {colour} background" if self.background is None else "" for colour in BACKDROPS]
        return [text.format(self.subject, where) for text, where in zip(PROMPTS.values(), behind, strict=True)]


def sheets(pictures: Sequence[str], backgrounds: Sequence[Path]) -> list[Sheet]:
    """Each picture alone, and before each background; a picture is PATH or SUBJECT=PATH.

    Raises:
        InputError: two sheets have one name.
    """
    found = []
    for given in pictures:
        subject, mark, place = given.rpartition("=")
        path = Path(place)
        subject = subject if mark else path.stem.replace("_", " ").replace("-", " ")
        found += [Sheet(subject, path, background) for background in (None, *backgrounds)]
    names = [sheet.name for sheet in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two sheets would be called {twice[0]}; call one of the pictures SUBJECT=PATH")
    return found


def draw(pipeline: MagrefPipeline, sheet: Sheet) -> Image.Image:
    """A row for each motion: the canvas, and frames from the first to the last."""
    references = [Reference(sheet.picture, role="object")]
    if sheet.background is not None:
        references.append(Reference(sheet.background, role="background"))
    prompts = sheet.prompts()
    strips = []
    for prompt in prompts:
        made = pipeline(prompt, references, seed=SEED)
        strips.append(video_strip(made.frames, made.canvas.image, columns=6))
    return stacked_strips(strips, prompts)


def main() -> None:
    """Draw the sheets that are missing."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.gallery", description=__doc__)
    parser.add_argument("folder", type=Path, help="for the sheets")
    parser.add_argument("pictures", nargs="+", help="PATH, called in prompts what its file is, or SUBJECT=PATH")
    parser.add_argument("--background", type=Path, action="append", default=[], help="a place; may be given again")
    parser.add_argument("--model", default=None, help="a model folder; the embedded model by default")
    options = parser.parse_args()
    quiet_libraries()
    wanted = sheets(options.pictures, options.background)
    claim(options.folder, {"weights": weights_sha256(find_model(options.model).folder)})
    pipeline = MagrefPipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    for sheet in wanted:
        path = options.folder / f"{sheet.name}.png"
        if not path.exists():
            with writing(path) as temporary:
                draw(pipeline, sheet).save(temporary, format="PNG")
            print(path, flush=True)


if __name__ == "__main__":
    main()
