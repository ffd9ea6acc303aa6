"""Canvas and latent mask of three references at 480x832, against the same work with a plain loop over 8x8 patches.

Both sides start from the same PIL pictures and end with the same canvas, mask and latent mask: letterbox, resize,
paste, mark, pool. The plain side works as the published code does: a picture of the cell's size for each reference,
whole arrays, and one look at each patch from Python. Ours also does what the plain side leaves out: it checks the
pictures, turns them upright, composites transparency and takes their hashes for the sidecar.

Pillow's resizing is the same call on both sides and no part of either's skill, and for large pictures it is most of the
time. So there are three lines: everything; everything, with pictures that have their final size already; pooling alone.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
from PIL import Image

from magref import compose_canvas
from magref.canvas import grid_cells
from pairs import describe_machine, measure, print_table

HEIGHT, WIDTH, STRIDE = 480, 832, 8
Mask = npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="longer side of the reference pictures, in pixels")
    parser.add_argument("--pairs", type=int, default=25)
    arguments = parser.parse_args()
    pictures = reference_pictures(arguments.side)

    image, mask = plain_canvas(pictures)
    canvas = compose_canvas(pictures, height=HEIGHT, width=WIDTH)
    print(describe_machine())
    print(f"three references of {', '.join(f'{p.width}x{p.height}' for p in pictures)} on {WIDTH}x{HEIGHT}")
    pixels = np.abs(np.asarray(canvas.image, dtype=int) - np.asarray(image, dtype=int)).max()
    print(f"largest difference of a canvas pixel: {pixels}")
    print(f"differing mask pixels: {(canvas.mask != mask).sum()}")
    print(f"differing latent mask cells: {(canvas.latent_mask(STRIDE) != plain_pool(mask)).sum()}")

    fitting = [
        picture.resize((right - left, bottom - top))
        for picture, (left, top, right, bottom) in zip(pictures, canvas.rectangles, strict=True)
    ]
    count = arguments.pairs
    print_table(
        "canvas and mask",
        [
            ("all of it", "plain loop", *measure(lambda: ours(pictures), lambda: plain(pictures), count), 0.3),
            ("without resizing", "plain loop", *measure(lambda: ours(fitting), lambda: plain(fitting), count), None),
            (
                "pooling alone",
                "plain loop",
                *measure(lambda: canvas.latent_mask(STRIDE), lambda: plain_pool(mask), count),
                None,
            ),
        ],
    )


def ours(pictures: list[Image.Image]) -> Mask:
    return compose_canvas(pictures, height=HEIGHT, width=WIDTH).latent_mask(STRIDE)


def plain(pictures: list[Image.Image]) -> Mask:
    return plain_pool(plain_canvas(pictures)[1])


def reference_pictures(side: int) -> list[Image.Image]:
    """A portrait, a landscape and a square picture of smooth noise."""
    source = np.random.default_rng(0)
    sizes = ((side * 3 // 4, side), (side, side * 3 // 4), (side, side))
    coarse = [Image.fromarray(source.integers(0, 256, (12, 12, 3), dtype=np.uint8)) for _ in sizes]
    return [picture.resize(size, Image.Resampling.BICUBIC) for picture, size in zip(coarse, sizes, strict=True)]


def plain_canvas(pictures: list[Image.Image]) -> tuple[Image.Image, Mask]:
    """Each picture letterboxed into an image of its cell's size, pasted; its rectangle marked in a mask like it."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    for picture, (left, top, right, bottom) in zip(pictures, grid_cells(len(pictures), HEIGHT, WIDTH), strict=True):
        room_x, room_y = right - left, bottom - top
        aspect = picture.width / picture.height
        if aspect > room_x / room_y:
            width, height = room_x, int(room_x / aspect)
        else:
            width, height = int(room_y * aspect), room_y
        x, y = (room_x - width) // 2, (room_y - height) // 2
        cell = Image.new("RGB", (room_x, room_y), (255, 255, 255))
        cell.paste(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), (x, y))
        image.paste(cell, (left, top))
        inside = np.zeros((room_y, room_x), dtype=np.float32)
        inside[y : y + height, x : x + width] = 1
        mask[top:bottom, left:right] = inside
    return image, mask > 0


def plain_pool(mask: Mask) -> Mask:
    """Max pooling by looking at each patch."""
    rows, columns = HEIGHT // STRIDE, WIDTH // STRIDE
    pooled = np.zeros((rows, columns), dtype=np.bool_)
    for row in range(rows):
        for column in range(columns):
            patch = mask[row * STRIDE : (row + 1) * STRIDE, column * STRIDE : (column + 1) * STRIDE]
            pooled[row, column] = patch.max()
    return pooled


if __name__ == "__main__":
    main()
