"""The canvas: equal to the published one pixel for pixel, and what holds for every canvas."""

import hashlib
import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from magref.canvas import GRIDS, cell_order, compose_canvas, grid_cells, letterbox
from magref.errors import InputError
from magref.references import Reference
from tiny import GOLDEN

REFS = [GOLDEN / "refs" / f"{i}.png" for i in range(5)]
COLOURS = [(255, 0, 0), (0, 128, 0), (0, 0, 255), (200, 200, 0), (200, 0, 200), (0, 200, 200), (90, 40, 10), (9, 9, 9)]
WHITE = (255, 255, 255)
STRIDE = 8


def plain(index: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, COLOURS[index])


def plain_pictures(count: int) -> list[Image.Image]:
    return [plain(i) for i in range(count)]


@st.composite
def layouts(draw):
    """Pictures of any allowed shape, each of one colour, and a canvas for them."""
    count = draw(st.integers(1, 8))
    sides = st.integers(8, 200)
    sizes = draw(st.lists(st.tuples(sides, sides), min_size=count, max_size=count))
    height, width = (16 * draw(st.integers(2, 12)) for _ in range(2))
    order = draw(st.sampled_from(["given", "shuffled"]))
    pictures = [plain(i, size) for i, size in enumerate(sizes)]
    return pictures, {"height": height, "width": width, "order": order, "seed": draw(st.integers(0, 2**32))}


def cell_of(box, cells):
    """The one cell in which a rectangle lies."""
    left, top, right, bottom = box
    inside = [
        i for i, (x0, y0, x1, y1) in enumerate(cells) if x0 <= left and y0 <= top and right <= x1 and bottom <= y1
    ]
    assert len(inside) == 1
    return inside[0]


# --- the published canvas --------------------------------------------------------------------------------------------


def golden_cases():
    keys = [key for key in np.load(GOLDEN / "canvas.npz") if key.startswith("latent_mask_")]
    return sorted(key.removeprefix("latent_mask_") for key in keys)


def test_the_golden_file_holds_small_and_full_sizes():
    assert {"1_96x160", "2_96x160", "3_96x160", "5_96x160", "2_480x832", "3_480x832"} <= set(golden_cases())


@pytest.mark.parametrize("case", golden_cases())
def test_equal_to_the_published_canvas_pixel_for_pixel(case):
    golden = np.load(GOLDEN / "canvas.npz")
    count, _, size = case.partition("_")
    height, width = map(int, size.split("x"))
    canvas = compose_canvas(REFS[: int(count)], height=height, width=width)
    pixels = np.asarray(canvas.image)
    if f"canvas_{case}" in golden:
        assert np.array_equal(pixels, golden[f"canvas_{case}"])
    else:
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == str(golden[f"canvas_{case}_sha256"])
    assert np.array_equal(canvas.latent_mask(STRIDE), golden[f"latent_mask_{case}"].astype(bool))


@pytest.mark.parametrize(
    ("count", "grid"),
    [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (6, (2, 3)), (7, (2, 4)), (8, (2, 4))],
)
@pytest.mark.parametrize(("height", "width"), [(480, 832), (832, 480)])
def test_one_to_eight_references_fill_the_grid_row_by_row(count, grid, height, width):
    canvas = compose_canvas(plain_pictures(count), height=height, width=width)
    cells = grid_cells(count, height, width)
    assert len(cells) == grid[0] * grid[1]
    assert canvas.image.size == (width, height)
    assert canvas.image.mode == "RGB"
    assert canvas.mask.shape == (height, width)
    for i, (left, top, right, bottom) in enumerate(canvas.rectangles):
        assert cell_of((left, top, right, bottom), cells) == i
        assert canvas.image.getpixel(((left + right) // 2, (top + bottom) // 2)) == COLOURS[i]


@given(st.integers(1, 8), st.integers(2, 300), st.integers(4, 300))
def test_the_cells_cover_the_canvas_once(count, height, width):
    times = np.zeros((height, width), dtype=int)
    for left, top, right, bottom in grid_cells(count, height, width):
        times[top:bottom, left:right] += 1
    assert (times == 1).all()


# --- what holds for every canvas -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(layouts())
def test_every_reference_is_letterboxed_into_a_cell_of_its_own(layout):
    pictures, how = layout
    canvas = compose_canvas(pictures, **how)
    cells = grid_cells(len(pictures), how["height"], how["width"])
    taken = [cell_of(box, cells) for box in canvas.rectangles]
    assert len(set(taken)) == len(pictures)
    for picture, (left, top, right, bottom), index in zip(pictures, canvas.rectangles, taken, strict=True):
        x0, y0, x1, y1 = cells[index]
        room, size = (x1 - x0, y1 - y0), (right - left, bottom - top)
        padding = ((left - x0, x1 - right), (top - y0, y1 - bottom))
        assert room[0] == size[0] or room[1] == size[1]
        for before, after in padding:
            assert 0 <= before <= after <= before + 1
        # As large as fits: one side fills the cell, the other is off its true length by less than a pixel.
        scale = min(room[0] / picture.width, room[1] / picture.height)
        assert abs(size[0] - picture.width * scale) <= 1
        assert abs(size[1] - picture.height * scale) <= 1


@settings(deadline=None, max_examples=60)
@given(layouts())
def test_the_mask_is_the_union_of_the_rectangles_and_all_else_is_white(layout):
    pictures, how = layout
    canvas = compose_canvas(pictures, **how)
    expected = np.zeros((how["height"], how["width"]), dtype=bool)
    image = np.full((how["height"], how["width"], 3), 255)
    for i, (left, top, right, bottom) in enumerate(canvas.rectangles):
        assert not expected[top:bottom, left:right].any()  # no two overlap
        expected[top:bottom, left:right] = True
        image[top:bottom, left:right] = COLOURS[i]
    assert np.array_equal(canvas.mask, expected)
    assert np.array_equal(np.asarray(canvas.image), image)


@settings(deadline=None, max_examples=25)
@given(layouts(), st.sampled_from([2, 8, 16]))
def test_the_latent_mask_is_max_pooled(layout, stride):
    pictures, how = layout
    canvas = compose_canvas(pictures, **how)
    pooled = canvas.latent_mask(stride)
    assert pooled.shape == (how["height"] // stride, how["width"] // stride)
    for row, column in itertools.product(*map(range, pooled.shape)):
        block = canvas.mask[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
        assert pooled[row, column] == (max(block.flatten().tolist()) == 1)


def test_one_marked_pixel_marks_its_latent_pixel():
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.putpixel((63, 0), (255, 0, 0, 255))
    canvas = compose_canvas([picture], height=64, width=64, mask="alpha")
    assert canvas.mask.sum() == 1
    assert np.argwhere(canvas.latent_mask(8)).tolist() == [[0, 7]]


def test_a_stride_that_does_not_divide_the_canvas_is_refused():
    with pytest.raises(InputError, match="a 36x32 canvas does not divide by 8; use a multiple of it"):
        compose_canvas([plain(0)], height=32, width=36).latent_mask(8)


# --- a pure function -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["given", "shuffled"])
def test_the_same_arguments_give_the_same_canvas_and_change_nothing(order):
    pictures = [Image.open(path).copy() for path in REFS]
    before = [picture.tobytes() for picture in pictures]
    random_states = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    first, second = (compose_canvas(pictures, height=96, width=160, order=order, seed=3) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()
    assert first.rectangles == second.rectangles
    assert [picture.tobytes() for picture in pictures] == before
    assert random_states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


def test_the_global_random_state_decides_nothing():
    found = set()
    for state in range(10):
        random.seed(state)
        np.random.seed(state)  # noqa: NPY002
        torch.manual_seed(state)
        found.add(tuple(cell_order(5, "shuffled", 7)))
    assert len(found) == 1


def test_the_mask_cannot_be_changed():
    canvas = compose_canvas([plain(0)], height=32, width=32)
    with pytest.raises(ValueError, match="read-only"):
        canvas.mask[0, 0] = False


# --- order -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(0, 2**63 - 1))
def test_shuffling_gives_each_reference_a_cell_of_its_own(count, seed):
    rows, columns = GRIDS[count]
    cells = cell_order(count, "shuffled", seed)
    assert len(cells) == len(set(cells)) == count
    assert set(cells) <= set(range(rows * columns))
    assert cells == cell_order(count, "shuffled", seed)


def test_five_references_in_six_cells_leave_each_cell_empty_sometimes():
    layouts = [cell_order(5, "shuffled", seed) for seed in range(200)]
    empty = [(set(range(6)) - set(cells)).pop() for cells in layouts]
    assert all(empty.count(cell) > 10 for cell in range(6))
    for reference in range(5):
        assert {cells[reference] for cells in layouts} == set(range(6))


def test_a_shuffled_canvas_shows_each_reference_where_its_rectangle_says():
    layouts = set()
    for seed in range(12):
        canvas = compose_canvas(plain_pictures(5), height=96, width=96, order="shuffled", seed=seed)
        for i, (left, top, right, bottom) in enumerate(canvas.rectangles):
            assert (np.asarray(canvas.image)[top:bottom, left:right] == COLOURS[i]).all()
        layouts.add(canvas.rectangles)
    assert len(layouts) > 6


def test_a_given_order_needs_no_seed_and_takes_no_notice_of_it():
    boxes = {compose_canvas(plain_pictures(5), height=96, width=96, seed=s).rectangles for s in (None, 1, 2)}
    assert len(boxes) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"order": "shuffled"}, 'order "shuffled" needs a seed'),
        ({"order": "shuffled", "seed": -1}, "seed -1 is out of range; use 0 or more"),
        ({"order": "random"}, "order 'random' is unknown; use given or shuffled"),
        ({"mask": "oval"}, "mask 'oval' is unknown; use rectangle or alpha"),
        ({"height": 1}, "a 96x1 canvas has no room for 5 references; make it larger"),
        ({"width": -16}, "a -16x96 canvas has no room for 5 references; make it larger"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        compose_canvas(plain_pictures(5), **{"height": 96, "width": 96} | arguments)


@pytest.mark.parametrize("count", [0, 9])
def test_none_or_nine_references_are_refused(count):
    with pytest.raises(InputError, match=f"{count} references were given; give 1 to 8"):
        compose_canvas([plain(0)] * count, height=96, width=96)
    with pytest.raises(InputError, match=f"{count} references were given; give 1 to 8"):
        grid_cells(count, 96, 96)


def test_backgrounds_come_last():
    given_first = [Reference(plain(0), role="background"), plain(1), Reference(plain(2), role="person")]
    canvas = compose_canvas(given_first, height=32, width=96)
    centres = [canvas.image.getpixel((x, 16)) for x in (16, 48, 80)]
    assert centres == [COLOURS[1], COLOURS[2], COLOURS[0]]
    assert [reference.role for reference in canvas.references] == ["object", "person", "background"]
    assert [box[0] // 32 for box in canvas.rectangles] == [0, 1, 2]


def test_a_background_alone_is_valid():
    canvas = compose_canvas([Reference(plain(0, (96, 64)), role="background")], height=64, width=96)
    assert canvas.rectangles == ((0, 0, 96, 64),)
    assert canvas.mask.all()


# --- transparency ----------------------------------------------------------------------------------------------------


def ring(size: int = 64) -> Image.Image:
    """Red with a transparent centre that hides green, so that what is hidden can be told."""
    picture = Image.new("RGBA", (size, size), (255, 0, 0, 255))
    picture.paste((0, 255, 0, 0), (size // 4, size // 4, size - size // 4, size - size // 4))
    return picture


def test_transparency_becomes_the_white_of_the_canvas():
    canvas = compose_canvas([ring()], height=64, width=64)
    assert canvas.image.getpixel((32, 32)) == WHITE
    assert canvas.image.getpixel((4, 4)) == (255, 0, 0)
    green_shows = np.asarray(canvas.image).astype(int) @ [-1, 2, -1] > 12
    assert not green_shows.any()


def test_the_rectangle_is_marked_unless_the_alpha_shape_is_asked_for():
    expected = np.asarray(ring().getchannel("A")) == 255
    assert compose_canvas([ring()], height=64, width=64).mask.all()
    assert np.array_equal(compose_canvas([ring()], height=64, width=64, mask="alpha").mask, expected)


def test_a_faint_picture_leaves_the_alpha_shape_nothing_to_mark():
    faint = plain(1, (64, 64)).convert("RGBA")
    faint.putalpha(100)
    with pytest.raises(InputError, match=r"the reference 2 is more than half transparent.*use --mask rectangle"):
        compose_canvas([ring(), faint], height=64, width=128, mask="alpha")
    assert compose_canvas([ring(), faint], height=64, width=128).mask.any()


def test_alpha_shape_and_rectangle_lie_side_by_side():
    canvas = compose_canvas([ring(), plain(1, (64, 64))], height=64, width=128, mask="alpha")
    assert np.array_equal(canvas.mask[:, :64], np.asarray(ring().getchannel("A")) == 255)
    assert canvas.mask[:, 64:].all()
    assert canvas.rectangles == ((0, 0, 64, 64), (64, 0, 128, 64))


def test_the_alpha_shape_scales_with_the_picture():
    canvas = compose_canvas([ring(32)], height=64, width=128, mask="alpha")
    expected = np.zeros((64, 128), dtype=bool)
    expected[:, 32:96] = np.asarray(ring(64).getchannel("A")) == 255
    assert (canvas.mask != expected).mean() < 0.02
    assert not canvas.mask[32, 64]


# --- letterboxing, by hand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "cell", "box"),
    [
        ((40, 40), (0, 0, 100, 50), (25, 0, 75, 50)),
        ((100, 30), (10, 20, 61, 120), (10, 62, 61, 77)),  # 51 / 3.33 = 15.3 truncated; 85 left over, 42 of it on top
        ((30, 100), (0, 0, 100, 51), (42, 0, 57, 51)),
        ((3200, 100), (0, 0, 16, 16), (0, 7, 16, 8)),  # never less than a pixel
    ],
)
def test_letterboxing_truncates_and_centres(size, cell, box):
    assert letterbox(size, cell) == box
