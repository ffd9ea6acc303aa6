"""All references on one blank canvas, and the mask that says where each lies (paper 3.2, figure 4).

The published checkpoint was trained with references in the cells of a grid, not at random positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from magref.errors import InputError
from magref.references import MAX_REFERENCES, ImageLike, OpenReference, Reference, open_references

Order = Literal["given", "shuffled"]
MaskKind = Literal["rectangle", "alpha"]
Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom exclusive, as Pillow has it."""

GRIDS = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 5: (2, 3), 6: (2, 3), 7: (2, 4), 8: (2, 4)}
"""(rows, columns) for each number of references."""


@dataclass(frozen=True)
class Canvas:
    """References placed on white.

    `image` is RGB; `mask` (H, W) is True inside the references; `rectangles[i]` is where reference `i` lies, in the
    order of `references` (backgrounds last).
    """

    image: Image.Image
    mask: npt.NDArray[np.bool_]
    rectangles: tuple[Box, ...]
    references: tuple[OpenReference, ...]

    def latent_mask(self, stride: int) -> npt.NDArray[np.bool_]:
        """The mask on the latent grid, (H / stride, W / stride): True where any pixel of the block is (max pooling)."""
        height, width = self.mask.shape
        if height % stride or width % stride:
            raise InputError(f"a {width}x{height} canvas does not divide by {stride}; use a multiple of it")
        rows = np.logical_or.reduce(self.mask.reshape(height // stride, stride, width), axis=1)
        return np.logical_or.reduce(rows.reshape(height // stride, width // stride, stride), axis=2)

    def by_cell(self) -> tuple[OpenReference, ...]:
        """The references in the order of their cells, row by row."""
        (height, width), (rows, columns) = self.mask.shape, GRIDS[len(self.references)]

        def cell(index: int) -> tuple[int, int]:  # a letterboxed reference has its centre in its cell
            left, top, right, bottom = self.rectangles[index]
            row, column = (top + bottom) // 2 // (height // rows), (left + right) // 2 // (width // columns)
            return min(row, rows - 1), min(column, columns - 1)

        return tuple(self.references[index] for index in sorted(range(len(self.references)), key=cell))


def compose_canvas(
    references: Sequence[Reference | ImageLike],
    *,
    height: int,
    width: int,
    order: Order = "given",
    seed: int | None = None,
    mask: MaskKind = "rectangle",
) -> Canvas:
    """Place one to eight references on a white canvas; a pure function of its arguments.

    Args:
        references: paths, PIL images or `Reference`s.
        height, width: of the canvas, in pixels.
        order: "given" puts reference i into cell i, row by row, backgrounds last; "shuffled" gives each reference a
            random cell of the grid, empty cells included, as in training.
        seed: fixes the shuffle; needed for "shuffled" alone.
        mask: "rectangle" marks each resized reference's rectangle, as in the checkpoint's training; "alpha" marks
            only what is visible of a transparent reference.

    Raises:
        InputError: a reference that cannot be used (see `open_references`), or of which "alpha" would mark nothing; or
            a seed missing.
    """
    if mask not in ("rectangle", "alpha"):
        raise InputError(f"mask {mask!r} is unknown; use rectangle or alpha")
    opened = open_references(references)
    cells = grid_cells(len(opened), height, width)
    image = Image.new("RGB", (width, height), "white")
    region = np.zeros((height, width), dtype=np.bool_)
    order_of_cells = cell_order(len(opened), order, seed)
    rectangles = [letterbox(r.rgb.size, cells[cell]) for r, cell in zip(opened, order_of_cells, strict=True)]
    with ThreadPoolExecutor() as threads:  # Pillow resizes outside the interpreter's lock
        pictures = list(threads.map(_resize, [r.rgb for r in opened], rectangles))
    for number, (reference, picture, box) in enumerate(zip(opened, pictures, rectangles, strict=True), 1):
        left, top, right, bottom = box
        image.paste(picture, (left, top))
        if mask == "alpha" and reference.alpha is not None:
            visible = np.asarray(_resize(reference.alpha, box)) >= 128
            if not visible.any():
                raise InputError(
                    f"the reference {reference.path or number} is more than half transparent everywhere, which leaves "
                    "--mask alpha nothing to mark; use --mask rectangle"
                )
            region[top:bottom, left:right] = visible
        else:
            region[top:bottom, left:right] = True
    region.flags.writeable = False
    return Canvas(image, region, tuple(rectangles), tuple(opened))


def _resize(picture: Image.Image, box: Box) -> Image.Image:
    left, top, right, bottom = box
    return picture.resize((right - left, bottom - top), Image.Resampling.LANCZOS)


def grid_cells(count: int, height: int, width: int) -> list[Box]:
    """The cells of the grid for `count` references, row by row.

    Edges are whole divisions; the last row and column run to the border. As in the published code, edges of 3, 5 and 6
    references need not be multiples of 8, and neighbouring masks may then share a latent column.
    """
    if count not in GRIDS:
        raise InputError(f"{count} references were given; give 1 to {MAX_REFERENCES}")
    rows, columns = GRIDS[count]
    if height < rows or width < columns:
        raise InputError(f"a {width}x{height} canvas has no room for {count} references; make it larger")
    ys = [row * (height // rows) for row in range(rows)] + [height]
    xs = [column * (width // columns) for column in range(columns)] + [width]
    return [(xs[c], ys[r], xs[c + 1], ys[r + 1]) for r in range(rows) for c in range(columns)]


def cell_order(count: int, order: Order, seed: int | None) -> list[int]:
    """Which cell each reference takes: 0, 1, ... for "given", a seeded choice among all cells for "shuffled"."""
    rows, columns = GRIDS[count]
    if order == "given":
        return list(range(count))
    if order != "shuffled":
        raise InputError(f"order {order!r} is unknown; use given or shuffled")
    if seed is None:
        raise InputError('order "shuffled" needs a seed, so that the canvas can be made again')
    if seed < 0:
        raise InputError(f"seed {seed} is out of range; use 0 or more")
    return [int(cell) for cell in np.random.default_rng(seed).permutation(rows * columns)[:count]]


def letterbox(size: tuple[int, int], cell: Box) -> Box:
    """Where a picture of this (width, height) lies in a cell: as large as fits, centred, the smaller half of the
    padding at the left and top, sizes truncated as in the published code.
    """
    (width, height), (left, top, right, bottom) = size, cell
    room_x, room_y = right - left, bottom - top
    aspect = width / height
    if aspect > room_x / room_y:
        new_width, new_height = room_x, max(1, int(room_x / aspect))
    else:
        new_width, new_height = max(1, int(room_y * aspect)), room_y
    x, y = left + (room_x - new_width) // 2, top + (room_y - new_height) // 2
    return (x, y, x + new_width, y + new_height)
