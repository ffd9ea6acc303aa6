"""Contact sheets and previews: the right frames in the right places, nothing over the margins."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from magref.canvas import compose_canvas
from magref.errors import InputError
from magref.sheets import canvas_preview, check_sheet, contact_sheet, stacked_strips, video_strip

FRAMES = np.zeros((9, 64, 96, 3), np.uint8)
CANVAS = compose_canvas([Image.new("RGB", (30, 20), "red"), Image.new("RGB", (20, 20), "blue")], height=64, width=96)


def test_sheet_shows_first_and_last_frame():
    frames = FRAMES.copy()
    frames[0], frames[-1] = (255, 0, 0), (0, 0, 255)
    sheet = np.asarray(contact_sheet([frames], columns=3))
    reds = (sheet == (255, 0, 0)).all(-1)
    blues = (sheet == (0, 0, 255)).all(-1)
    assert reds.sum() == blues.sum() > 128 * 192 * 0.95  # enlarged by a whole factor, two
    assert reds.any(0).argmax() < blues.any(0).argmax()


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(8, 70), st.integers(8, 70)), min_size=1, max_size=3),
    st.integers(1, 9),
    st.text(max_size=200),
    st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_any_sheet_can_be_drawn(shapes, columns, label, with_canvas):
    videos = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    sheet = contact_sheet(
        videos, columns=columns, labels=[label] * len(videos), canvas=CANVAS.image if with_canvas else None
    )
    edge = np.asarray(sheet)
    for border in (edge[:20], edge[-20:], edge[:, :20], edge[:, -20:]):
        assert (border == 255).all()  # nothing runs over the margins


def test_sheet_needs_as_many_labels_as_videos():
    for wrong in ({"labels": ["a"]}, {"canvas": [None]}, {"columns": 0}):
        with pytest.raises(InputError):
            contact_sheet([FRAMES, FRAMES], **wrong)
    with pytest.raises(InputError):
        contact_sheet([])
    contact_sheet([FRAMES, list(map(Image.fromarray, FRAMES[:3]))], labels=["a", "b"], canvas=[None, CANVAS.image])


@pytest.mark.parametrize(("width", "height"), [(96, 64), (832, 480), (30, 700)])
def test_a_sheet_that_its_format_cannot_hold_is_refused_and_a_lower_one_can_be_saved(tmp_path, width, height):
    path = tmp_path / "s.webp"
    with pytest.raises(InputError, match=r"a .webp sheet holds (\d+) videos of this size, and these are 999; use .png"):
        check_sheet(path, 999, (width, height))
    check_sheet(path.with_suffix(".png"), 999, (width, height))
    most = max(rows for rows in range(1, 200) if _fits(path, rows, (width, height)))
    strip = video_strip(np.zeros((1, height, width, 3), np.uint8))
    stacked_strips([strip] * most, ["many words " * 50] * most).save(path)


def _fits(path: Path, rows: int, size: tuple[int, int]) -> bool:
    try:
        check_sheet(path, rows, size)
    except InputError:
        return False
    return True


def test_preview_shows_canvas_and_mask():
    preview = np.asarray(canvas_preview(CANVAS))
    assert (preview == (255, 0, 0)).all(-1).any()
    assert (preview == (0x26, 0x2C, 0x36)).all(-1).any()
    assert (preview == (0xE8, 0x59, 0x0C)).all(-1).any()
