"""Pictures of what was made: contact sheets of videos, previews of a canvas and its mask."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from magref.errors import InputError
from magref.video import Frames, check_frames

if TYPE_CHECKING:
    from magref.canvas import Canvas

_PAGE, _INK, _FAINT, _LINE = "#ffffff", "#1f2328", "#7d8590", "#d0d7de"
_MASK_OFF, _MASK_ON, _OUTLINE = "#262c36", "#ffffff", "#e8590c"
_MARGIN_PX, _GAP_PX, _ROW_GAP_PX = 24, 6, 20
_CAPTION_PX, _NOTE_PX = 17, 12
_CAPTION_LINES = 2
_SIDE_PX = 208
"""The longer side of a frame on a sheet, about."""
_HIGHEST_PX = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}
"""What the format or its encoder takes; PNG takes more than any memory."""


def contact_sheet(
    videos: Sequence[Frames | Sequence[Image.Image]],
    *,
    columns: int = 8,
    labels: Sequence[str] | None = None,
    canvas: Image.Image | Sequence[Image.Image | None] | None = None,
) -> Image.Image:
    """One row per video: evenly spaced frames, the first and the last among them, each with its number.

    Args:
        videos: uint8 (F, H, W, 3) or PIL images each; sizes and lengths may differ.
        columns: frames per row, fewer where a video is shorter.
        labels: a caption above each row, at most two lines of it.
        canvas: a picture at the left of every row, or one for each row.

    Raises:
        InputError: nothing to show, or not as many labels or canvases as videos.
    """
    rows = [check_frames(video) for video in videos]
    if not rows or columns < 1:
        raise InputError(f"a contact sheet of {len(rows)} videos and {columns} columns was asked for; use 1 or more")
    canvases = list(canvas) if isinstance(canvas, Sequence) else [canvas] * len(rows)
    for name, given in (("labels", labels), ("canvases", canvases)):
        if given is not None and len(given) != len(rows):
            raise InputError(f"{len(given)} {name} were given for {len(rows)} videos; give one for each")

    strips = [video_strip(video, picture, columns=columns) for video, picture in zip(rows, canvases, strict=True)]
    return stacked_strips(strips, labels or [""] * len(rows))


def video_strip(
    video: Frames | Sequence[Image.Image], canvas: Image.Image | None = None, *, columns: int = 8
) -> Image.Image:
    """One row of a contact sheet: evenly spaced frames with their numbers, after the canvas where one is given."""
    frames = check_frames(video)
    picks = sorted({round(i) for i in np.linspace(0, len(frames) - 1, columns)})
    cells = [(_comfortable(Image.fromarray(frames[pick])), str(pick + 1)) for pick in picks]
    if canvas is not None:
        size = cells[0][0].size
        cells.insert(0, (_fit(canvas, size[1] * canvas.width // canvas.height, size[1]), "canvas"))
    return _strip(cells, apart=canvas is not None)


def stacked_strips(strips: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """A contact sheet of finished rows, each under its label; for many videos, whose frames need not be kept."""
    width = max(strip.width for strip in strips)
    return _page([_captioned(strip, label, width) for strip, label in zip(strips, labels, strict=True)])


def check_sheet(path: Path, rows: int, frame_size: tuple[int, int]) -> None:
    """Raise InputError unless a sheet of so many videos with frames of this (width, height) can be saved as `path`."""
    highest = _HIGHEST_PX.get(path.suffix.lower())
    if highest is None:
        return
    row = _comfortable_size(*frame_size)[1] + _NOTE_PX + 6 + _CAPTION_LINES * (_CAPTION_PX + 6) + _ROW_GAP_PX
    most = (highest - 2 * _MARGIN_PX + _ROW_GAP_PX) // row
    if rows > most:
        raise InputError(f"a {path.suffix} sheet holds {most} videos of this size, and these are {rows}; use .png")


def canvas_preview(canvas: Canvas) -> Image.Image:
    """The canvas beside its mask, white inside; each reference's rectangle outlined, with its number and label."""
    picture = _comfortable(canvas.image, side_px=640)
    inside = Image.fromarray(canvas.mask).resize(picture.size, Image.Resampling.NEAREST)
    mask = Image.new("RGB", picture.size, _MASK_OFF)
    mask.paste(_MASK_ON, mask=inside)
    draw = ImageDraw.Draw(mask)
    scale = picture.width / canvas.image.width
    for number, (box, reference) in enumerate(zip(canvas.rectangles, canvas.references, strict=True), 1):
        left, top = (math.floor(edge * scale) for edge in box[:2])
        right, bottom = (math.ceil(edge * scale) for edge in box[2:])
        draw.rectangle((left, top, right - 1, bottom - 1), outline=_OUTLINE, width=2)
        text = "\n".join([str(number), *textwrap.wrap(reference.label or reference.role, 16)[:2]])
        centre = ((left + right) / 2, (top + bottom) / 2)
        draw.multiline_text(centre, text, _OUTLINE, _font(_CAPTION_PX), anchor="mm", align="center")
    share = f"mask: {canvas.mask.mean():.0%} of the canvas"
    size = f"canvas: {canvas.image.width}x{canvas.image.height}"
    return _page([_strip([(picture, size), (mask, share)], apart=True)])


def _comfortable(image: Image.Image, side_px: int = _SIDE_PX) -> Image.Image:
    """Scaled for looking at: small pictures up by a whole factor, so that their pixels stay true; large ones down."""
    size = _comfortable_size(*image.size, side_px)
    return image.resize(size, Image.Resampling.NEAREST) if max(size) >= max(image.size) else _fit(image, *size)


def _comfortable_size(width: int, height: int, side_px: int = _SIDE_PX) -> tuple[int, int]:
    factor = side_px // max(width, height)
    if factor >= 1:
        return width * factor, height * factor
    scale = side_px / max(width, height)
    return round(width * scale), round(height * scale)


def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.convert("RGB").resize((max(1, width), max(1, height)), Image.Resampling.LANCZOS)


def _strip(cells: Sequence[tuple[Image.Image, str]], *, apart: bool) -> Image.Image:
    """Pictures in a row, a note under each; with `apart` the first stands at a distance."""
    gaps = [0] + [_GAP_PX] * (len(cells) - 1)
    if apart and len(cells) > 1:
        gaps[1] = _ROW_GAP_PX
    height = max(image.height for image, _ in cells)
    strip = Image.new("RGB", (sum(gaps) + sum(image.width for image, _ in cells), height + _NOTE_PX + 6), _PAGE)
    draw = ImageDraw.Draw(strip)
    left = 0
    for (image, note), gap in zip(cells, gaps, strict=True):
        left += gap
        strip.paste(image, (left, 0))
        # White pictures need an edge on a white page.
        draw.rectangle((left, 0, left + image.width - 1, image.height - 1), outline=_LINE)
        draw.text((left + image.width / 2, image.height + 4), note, _FAINT, _font(_NOTE_PX), anchor="ma")
        left += image.width
    return strip


def _captioned(strip: Image.Image, label: str, width: int) -> Image.Image:
    lines = _wrap(label, width)
    line_px = _CAPTION_PX + 6
    block = Image.new("RGB", (width, strip.height + line_px * len(lines)), _PAGE)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((0, number * line_px), line, _INK, _font(_CAPTION_PX))
    block.paste(strip, (0, line_px * len(lines)))
    return block


def _wrap(text: str, width: int, most: int = _CAPTION_LINES) -> list[str]:
    """Lines of a text that fit the width, the last cut with dots where there is more."""
    font, words, lines = _font(_CAPTION_PX), text.split(), [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    kept = [line for line in lines if line][:most]
    if kept and (len(lines) > most or font.getlength(kept[-1]) > width):
        while kept[-1] and font.getlength(kept[-1] + "…") > width:
            kept[-1] = kept[-1][:-1]
        kept[-1] = kept[-1].rstrip() + "…"
    return kept


def _page(blocks: Sequence[Image.Image]) -> Image.Image:
    """Blocks under each other, with margins."""
    width = max(block.width for block in blocks) + 2 * _MARGIN_PX
    height = sum(block.height for block in blocks) + _ROW_GAP_PX * (len(blocks) - 1) + 2 * _MARGIN_PX
    page = Image.new("RGB", (width, height), _PAGE)
    top = _MARGIN_PX
    for block in blocks:
        page.paste(block, (_MARGIN_PX, top))
        top += block.height + _ROW_GAP_PX
    return page


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)
