"""Draw the README's picture: `python docs/make_readme.py [--model FOLDER]`.

The prompts and the seed were fixed before anyone saw what comes of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from magref import MagrefPipeline, Reference
from magref.sheets import contact_sheet

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
SEED = 1
ROWS: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("The robot moves to the left in the desert.", ("robot",), "desert"),
    ("The bear rises in the meadow.", ("bear",), "meadow"),
    ("The girl walks to the right in front of a blue wall.", ("girl",), None),
    ("The star sinks, and the rabbit stands still.", ("star", "rabbit"), None),
    ("The rabbit moves to the right.", ("rabbit",), None),
)
"""Prompt, subjects, place."""


def main() -> None:
    """Write images/readme.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a model folder; the embedded model by default")
    pipeline = MagrefPipeline.from_pretrained(parser.parse_args().model)
    made = []
    for prompt, subjects, place in ROWS:
        references = [Reference(EXAMPLES / f"{name}.png") for name in subjects]
        if place is not None:
            references.append(Reference(EXAMPLES / f"{place}.png", role="background"))
        made.append(pipeline(prompt, references, seed=SEED))
    sheet = contact_sheet(
        [out.frames for out in made],
        columns=9,
        labels=[prompt for prompt, _, _ in ROWS],
        canvas=[out.canvas.image for out in made],
    )
    sheet.save(HERE / "images" / "readme.png", optimize=True)


if __name__ == "__main__":
    main()
