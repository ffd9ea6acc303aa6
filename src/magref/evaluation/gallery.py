"""Contact sheets of what a model makes of pictures: `python -m magref.evaluation.gallery FOLDER PICTURE...`.

Each picture makes the six basic motions, alone before a plain backdrop that the prompt names, and before each
background that is given. Seeds are fixed before anyone looks, and nothing is left out. A sheet that is there stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from magref.models import quiet_libraries
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.sheets import stacked_strips, video_strip

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

    picture: Path
    background: Path | None

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        return self.picture.stem + ("" if self.background is None else f"-{self.background.stem}")

    def prompts(self) -> list[str]:
        """One for each motion; a picture is called what its file is."""
        subject = self.picture.stem.replace("_", " ").replace("-", " ")
        behind = [f" on a {colour} background" if self.background is None else "" for colour in BACKDROPS]
        return [text.format(subject, where) for text, where in zip(PROMPTS.values(), behind, strict=True)]


def sheets(pictures: Sequence[Path], backgrounds: Sequence[Path]) -> Iterator[Sheet]:
    """Each picture alone, and before each background."""
    for picture in pictures:
        for background in (None, *backgrounds):
            yield Sheet(picture, background)


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
    parser.add_argument("pictures", type=Path, nargs="+", help="called in the prompt what their files are called")
    parser.add_argument("--background", type=Path, action="append", default=[], help="a place; may be given again")
    parser.add_argument("--model", default=None, help="a model folder; the embedded model by default")
    options = parser.parse_args()
    quiet_libraries()
    pipeline = MagrefPipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    for sheet in sheets(options.pictures, options.background):
        path = options.folder / f"{sheet.name}.png"
        if not path.exists():
            with writing(path) as temporary:
                draw(pipeline, sheet).save(temporary, format="PNG")
            print(path, flush=True)


if __name__ == "__main__":
    main()
