"""Draw the pictures of this folder: subjects and places of the synthetic world that no training sample shows.

python examples/draw.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from magref.synthetic.identities import draw_subjects, kind_of
from magref.synthetic.pixels import to_uint8
from magref.synthetic.places import draw_places, place_of
from magref.synthetic.samples import cut_out
from magref.synthetic.splits import nth_identity
from magref.synthetic.views import plain_view

SUBJECTS = {
    "girl": 39, "man": 7, "dog": 433, "cat": 45, "bear": 64, "rabbit": 47, "parrot": 564, "robot": 105, "star": 148,
    "car": 647,
}  # fmt: skip
"""Which of the held-out identities each is; chosen by eye, before any video was made of them."""
PLACES = {"beach": 11, "desert": 42, "meadow": 59, "street": 16}
SUBJECT_PX = 384
PLACE_PX = (320, 480)


def main() -> None:
    """Write every picture beside this file."""
    folder = Path(__file__).parent
    identities = [nth_identity("held-out", number) for number in SUBJECTS.values()]
    pictures = to_uint8(draw_subjects(identities, plain_view(len(identities)), SUBJECT_PX))
    for name, identity, picture in zip(SUBJECTS, identities, pictures, strict=True):
        assert kind_of(identity).name == name
        cut_out(picture).save(folder / f"{name}.png", optimize=True)
    numbers = [nth_identity("held-out", number) for number in PLACES.values()]
    grounds = to_uint8(draw_places(numbers, plain_view(len(numbers)), *PLACE_PX))
    for name, place, ground in zip(PLACES, numbers, grounds, strict=True):
        assert place_of(place) == name
        Image.fromarray(ground.permute(1, 2, 0).numpy()).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
