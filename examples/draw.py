"""Draw the pictures of this folder: `python examples/draw.py`.

Subjects whose identities are held out from training, and two places, as `magref.synthetic` has them.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from magref.synthetic.identities import draw_subjects
from magref.synthetic.pixels import to_uint8
from magref.synthetic.places import draw_places
from magref.synthetic.views import plain_view

HERE = Path(__file__).parent
SUBJECTS = {"bear": 519, "girl": 319, "rabbit": 1367, "robot": 663, "star": 1687}
PLACES = {"desert": 26, "meadow": 17}
SIZE_PX = 512


def main() -> None:
    """Write every picture anew."""
    subjects = draw_subjects(list(SUBJECTS.values()), plain_view(len(SUBJECTS)), SIZE_PX)
    places = draw_places(list(PLACES.values()), plain_view(len(PLACES)), SIZE_PX * 2 // 3, SIZE_PX)
    pictures = [*to_uint8(subjects), *to_uint8(places)]
    for name, picture in zip([*SUBJECTS, *PLACES], pictures, strict=True):
        Image.fromarray(np.asarray(picture.permute(1, 2, 0))).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
