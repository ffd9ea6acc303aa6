"""Render the pictures in this folder from the synthetic world: `python examples/make_references.py`."""

from pathlib import Path

from PIL import Image

from magref.synthetic.clips import to_uint8
from magref.synthetic.draw import Draw
from magref.synthetic.subjects import subjects
from magref.synthetic.textures import scene

SIZE_PX = 512
HERE = Path(__file__).parent
SUBJECTS = {"bear.png": 5, "rabbit.png": 7, "star.png": 26, "monster.png": 36}
SCENES = {"meadow.png": 6, "desert.png": 5}


def main() -> None:
    """Write every picture."""
    for tiles, names in (
        (subjects(Draw(list(SUBJECTS.values()), seed=77), SIZE_PX), SUBJECTS),
        (scene(Draw(list(SCENES.values()), seed=78), SIZE_PX)[..., : SIZE_PX * 2 // 3, :], SCENES),
    ):
        for name, picture in zip(names, to_uint8(tiles).permute(0, 2, 3, 1).contiguous().numpy(), strict=True):
            Image.fromarray(picture).save(HERE / name, optimize=True)


if __name__ == "__main__":
    main()
