"""Videos and pictures on disk: whole or not at all, the same bytes for the same frames; contact sheets and previews.

Encoding and decoding go through PyAV, imported only when a video is touched.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from magref.errors import InputError, OutputError

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer
    from av.filter import Graph

    from magref.canvas import Canvas

Frames = npt.NDArray[np.uint8]
"""(F, H, W, 3), RGB."""

VIDEO_ENDINGS = (".mp4", ".webm", ".gif")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
GIF_MAX_FPS = 50
"""A GIF counts in hundredths of a second, and viewers slow down anything under two of them."""
MIN_FPS, MAX_FPS = 0.1, 1000

# A fixed number of threads: with x264's own choice the bytes would depend on the machine's cores.
_ENCODER_THREADS = 4
_H264 = {"crf": "17", "preset": "medium"}
_VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"}
_BT709 = 1  # H.273: the primaries, the transfer and the matrix of BT.709 all have number 1
_LIMITED_RANGE = 1
_BITEXACT_MUXER, _BITEXACT_CODEC = 0x400, 1 << 23  # AVFMT_FLAG_BITEXACT, AV_CODEC_FLAG_BITEXACT: no dates, no versions
# swscale's quick paths darken by a level; these flags cost little beside the encoder.
_EXACT = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"

_METADATA_KEY = re.compile(r"[a-z][a-z0-9_]*")
_ITUNES_KEYS = {"title", "artist", "comment", "copyright", "description", "synopsis"}
_CONTAINER_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "creation_time"}


# ---------------------------------------------------------------------------------------------------------------------
# Outputs: whole or not at all


def check_output(path: str | Path, overwrite: bool = False, *, endings: Sequence[str] = VIDEO_ENDINGS) -> Path:
    """Whether `path` can be written, as far as it can be known before the work; nothing is made or changed.

    Returns:
        The path, with `~` expanded.

    Raises:
        OutputError: an unknown ending, an existing file without `overwrite`, a folder that cannot be made or written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in endings:
        known = " or ".join([", ".join(endings[:-1]), endings[-1]] if len(endings) > 1 else endings)
        raise OutputError(f"the output {path} ends in {path.suffix or 'nothing'}; use {known}")
    try:
        if path.is_dir():
            raise OutputError(f"the output {path} is a folder; name a file in it")
        if not overwrite and path.exists():
            raise _exists(path)
        folder = Path(os.path.realpath(path)).parent
        while not folder.exists():  # the nearest folder that is there already; the rest is made when writing
            folder = folder.parent
    except OSError as error:
        raise _not_written(path, error) from None
    if not folder.is_dir():
        raise OutputError(f"the output {path} cannot be made because {folder} is a file; choose another folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"the output {path} cannot be written because {folder} is not writable; choose another folder"
        )
    return path


@contextlib.contextmanager
def writing(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and is removed otherwise.

    Missing folders are made. A symbolic link is followed, not replaced. After an interrupt or any error the final name
    is as it was before.

    Raises:
        OutputError: the file exists and `overwrite` is off, or it could not be written (disk full, no permission).
    """
    path = Path(path).expanduser()
    final = Path(os.path.realpath(path))
    # The ending stays, for the writers that go by it; the stem is cut, since a name has at most 255 bytes.
    temporary = final.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        if not overwrite and final.exists():
            raise _exists(path)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # some file systems report a full disk only here
        if not overwrite and final.exists():  # made by someone else meanwhile
            raise _exists(path)
        os.replace(temporary, final)
    except OSError as error:  # PyAV's errors of the operating system are OSErrors too
        raise _not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _exists(path: Path) -> OutputError:
    return OutputError(f"the output {path} exists; choose another name, or use --overwrite to replace it")


def _not_written(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "the disk is full; free some space or choose another folder"
    elif error.errno == errno.EFBIG:
        why = "it is larger than files may be there; choose another folder"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = f"{path.parent} is not writable; choose another folder"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        why = f"{error.filename or path.parent} is not a folder; choose another folder"
    elif error.errno == errno.ENAMETOOLONG:
        why = "its name is too long; choose a shorter one"
    else:
        why = f"the system says: {error.strerror or error}; choose another folder"
    return OutputError(f"the output {path} could not be written: {why}")


def write_image(image: Image.Image, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a picture as PNG, JPEG or WebP by its ending; whole or not at all, errors as for `write_video`."""
    path = check_output(path, overwrite, endings=IMAGE_ENDINGS)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    with writing(path, overwrite=overwrite) as temporary:
        (image.convert("RGB") if jpeg else image).save(temporary, quality=95)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Videos


def write_video(
    frames: Frames | Sequence[Image.Image],
    path: str | Path,
    *,
    fps: float,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a video: H.264 for .mp4, VP9 for .webm (both yuv420p in BT.709), a looping .gif.

    The same frames, rate and metadata give the same bytes with the same PyAV. The file appears whole or not at all.

    Args:
        frames: uint8 (F, H, W, 3) RGB, or PIL images of one size.
        path: its ending decides the format; missing folders are made.
        fps: frames per second, fractions allowed.
        metadata: tags kept inside the file, see `read_metadata`: lower-case names, any text.
        overwrite: replace an existing file.

    Raises:
        InputError: frames, rate or metadata that the format cannot hold.
        OutputError: the file exists, or cannot be written.
    """
    path = check_output(path, overwrite)
    ending = path.suffix.lower()
    frames, rate, tags = _check_frames(frames), _check_rate(fps, ending), _check_metadata(metadata or {})
    _, height, width, _ = frames.shape
    if ending == ".mp4" and (height % 2 or width % 2):
        raise InputError(
            f"frames of {width}x{height} cannot be an .mp4; crop them to even sides, or write .webm or .gif"
        )
    with writing(path, overwrite=overwrite) as temporary, _av_errors(f"the output {path} could not be encoded"):
        if ending == ".gif":
            _encode_gif(temporary, frames, rate)
            _insert_gif_comment(temporary, tags)
        else:
            _encode(temporary, frames, rate, tags)
    return path


def _encode(path: Path, frames: Frames, rate: Fraction, tags: dict[str, str]) -> None:
    import av  # noqa: PLC0415

    _, height, width, _ = frames.shape
    mp4 = path.suffix.lower() == ".mp4"
    options = {}
    if mp4:
        # Players show the iTunes tags; names outside that set need the newer, less widely read kind of tag.
        options["movflags"] = "faststart" if tags.keys() <= _ITUNES_KEYS else "faststart+use_metadata_tags"
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate),
        graph.add("scale", f"out_color_matrix=bt709:out_range=tv:{_EXACT}"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ).configure()
    with av.open(str(path), "w", container_options=options) as container:
        container.metadata.update(tags)
        stream = _add_stream(container, "libx264" if mp4 else "libvpx-vp9", rate, _H264 if mp4 else _VP9)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        for index, array in enumerate(frames):
            graph.push(_frame(array, index, 1 / rate))
            frame = _pull(graph)
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _encode_gif(path: Path, frames: Frames, rate: Fraction) -> None:
    """One palette for the whole video, so that still parts do not flicker."""
    import av  # noqa: PLC0415

    _, height, width, _ = frames.shape
    tick = Fraction(1, 100)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=full")
    use = graph.add("paletteuse", "dither=bayer:bayer_scale=4:diff_mode=rectangle")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for index, array in enumerate(frames):
        graph.push(_frame(array, index, 1 / rate))
    graph.push(None)  # the palette is known, and frames come out, only after the last frame
    with av.open(str(path), "w", format="gif", container_options={"loop": "0"}) as container:  # 0: for ever
        stream = _add_stream(container, "gif", rate, {})
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        stream.codec_context.time_base = tick
        for index in range(len(frames)):
            frame = _pull(graph)
            frame.pts, frame.time_base = round(index / rate / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _add_stream(
    container: OutputContainer, codec: str, rate: Fraction, options: dict[str, str]
) -> av.video.stream.VideoStream:
    container.flags |= _BITEXACT_MUXER
    stream: Any = container.add_stream(codec, rate=rate, options=options)
    stream.codec_context.flags |= _BITEXACT_CODEC
    stream.codec_context.thread_count = _ENCODER_THREADS
    return stream


def _frame(array: npt.NDArray[np.uint8], index: int, time_base: Fraction) -> av.VideoFrame:
    import av  # noqa: PLC0415

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
    frame.pts, frame.time_base = index, time_base
    return frame


def _pull(graph: Graph) -> av.VideoFrame:
    frame: Any = graph.pull()  # video graphs alone are made here, and they give video frames
    return frame


def _insert_gif_comment(path: Path, tags: dict[str, str]) -> None:
    """Put the tags into a comment extension (GIF89a, section 24) as JSON: comments are one ASCII text without names."""
    if not tags:
        return
    data, text = path.read_bytes(), json.dumps(tags).encode("ascii")
    has_palette, palette_size = data[10] & 0x80, 3 << ((data[10] & 7) + 1)
    at = 13 + (palette_size if has_palette else 0)
    if data[at : at + 14] == b"\x21\xff\x0bNETSCAPE2.0":
        at += 19  # the loop extension stays first: some viewers look for it there alone
    blocks = b"".join(bytes([len(text[i : i + 255])]) + text[i : i + 255] for i in range(0, len(text), 255))
    path.write_bytes(data[:at] + b"\x21\xfe" + blocks + b"\0" + data[at:])


def read_video(path: str | Path) -> tuple[Frames, float]:
    """All frames of a video, uint8 (F, H, W, 3) RGB, upright, and its frames per second.

    Raises:
        InputError: the file is missing or not a video.
    """
    import av  # noqa: PLC0415

    path = _check_video(path)
    images, times = [], []
    with (
        _av_errors(f"the video {path} cannot be read", InputError),
        # Tags may be in any encoding; the pictures can be read all the same.
        av.open(str(path), metadata_errors="ignore") as container,
    ):
        if not container.streams.video:
            raise InputError(f"{path} has no pictures in it; give a video")
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        graph = None
        for frame in container.decode(stream):
            if graph is None:
                graph = av.filter.Graph()
                source = graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base
                )
                # "scale" takes the matrix and the range that the file names.
                scale = graph.add("scale", f"out_range=pc:{_EXACT}")
                graph.link_nodes(source, scale, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
            graph.push(frame)
            turns = getattr(frame, "rotation", 0) // 90  # counter-clockwise; phones film sideways and note it
            images.append(np.rot90(_pull(graph).to_ndarray().astype(np.uint8, copy=False), turns))
            times.append(frame.time)
    if not images:
        raise InputError(f"the video {path} has no frames; give another file")
    if path.suffix.lower() == ".gif" and len(times) > 1:  # a GIF states no rate, only times in hundredths of a second
        rate = Fraction(len(times) - 1) / Fraction(times[-1] - times[0]).limit_denominator(100)
    if not rate:
        raise InputError(f"the video {path} states no frame rate; write it again with one")
    return np.stack(images), float(rate)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The tags inside a video, names in lower case; what `write_video` was given comes back as it was.

    Raises:
        InputError: the file is missing or not a video.
    """
    import av  # noqa: PLC0415

    path = _check_video(path)
    if path.suffix.lower() == ".gif":
        return _read_gif_comment(path)
    with (
        _av_errors(f"the video {path} cannot be read", InputError),
        av.open(str(path), metadata_errors="ignore") as container,
    ):
        found = {key.lower(): value for key, value in container.metadata.items()}
    return {key: value for key, value in found.items() if key not in _CONTAINER_KEYS}


def _read_gif_comment(path: Path) -> dict[str, str]:
    try:
        with Image.open(path) as image:
            text = bytes(image.info.get("comment", b"")).decode("utf-8", "replace")
    except (OSError, SyntaxError, ValueError):
        raise InputError(f"the video {path} cannot be read; check or replace the file") from None
    try:
        tags = json.loads(text)
    except ValueError:
        tags = None
    if not isinstance(tags, dict):
        return {"comment": text} if text else {}  # written by another program
    return {str(key): str(value) for key, value in tags.items()}


@contextlib.contextmanager
def _av_errors(what: str, kind: type[InputError] | type[OutputError] = OutputError) -> Iterator[None]:
    """FFmpeg's own errors as one sentence; when writing, those of the operating system pass on to `writing`."""
    import av  # noqa: PLC0415

    try:
        yield
    except av.error.FFmpegError as error:
        if kind is OutputError and isinstance(error, OSError):
            raise
        raise kind(f"{what} ({error.strerror}); check or replace the file") from error


def _check_video(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"the video {path} does not exist; check its path")
    if path.is_dir():
        raise InputError(f"the video {path} is a folder; name a file in it")
    return path


def _check_frames(frames: Frames | Sequence[Image.Image]) -> Frames:
    if not isinstance(frames, np.ndarray):
        sizes = {image.size for image in frames}
        if len(sizes) > 1:
            raise InputError(f"frames have {len(sizes)} different sizes; resize them to one")
        if not sizes:
            raise InputError("a video of 0 frames was to be written; give at least one")
        frames = np.stack([np.asarray(image.convert("RGB")) for image in frames])
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InputError(f"frames are {frames.dtype} {frames.shape}; give uint8 (F, H, W, 3), all of them at least 1")
    return frames


def _check_rate(fps: float, ending: str) -> Fraction:
    if not MIN_FPS <= fps <= MAX_FPS:  # also false for nan
        raise InputError(f"{fps:g} frames per second are not possible; use {MIN_FPS} to {MAX_FPS}")
    if ending == ".gif" and fps > GIF_MAX_FPS:
        raise InputError(
            f"a GIF cannot show {fps:g} frames per second; use at most {GIF_MAX_FPS}, or write .mp4 or .webm"
        )
    return Fraction(fps).limit_denominator(1001)  # 29.97 and 30000/1001 both exactly


def _check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not _METADATA_KEY.fullmatch(key) or key in _CONTAINER_KEYS:
            raise InputError(f"metadata cannot be named {key!r}; use lower-case letters, digits and _")
        if not value or "\0" in value or not _is_unicode(value):
            raise InputError(f"the metadata {key!r} is empty or not plain text; leave it out or clean it")
    return dict(metadata)


def _is_unicode(text: str) -> bool:
    """Not so for file names and arguments in another encoding, which Python carries as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------------
# Pictures of videos and canvases

_PAGE, _INK, _FAINT, _LINE = "#ffffff", "#1f2328", "#7d8590", "#d0d7de"
_MASK_OFF, _MASK_ON, _OUTLINE = "#262c36", "#ffffff", "#e8590c"
_MARGIN_PX, _GAP_PX, _ROW_GAP_PX = 24, 6, 20
_CAPTION_PX, _NOTE_PX = 17, 12


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
    rows = [_check_frames(video) for video in videos]
    if not rows or columns < 1:
        raise InputError(f"a contact sheet of {len(rows)} videos and {columns} columns was asked for; use 1 or more")
    canvases = list(canvas) if isinstance(canvas, Sequence) else [canvas] * len(rows)
    for name, given in (("labels", labels), ("canvases", canvases)):
        if given is not None and len(given) != len(rows):
            raise InputError(f"{len(given)} {name} were given for {len(rows)} videos; give one for each")

    strips = []
    for frames, picture in zip(rows, canvases, strict=True):
        picks = sorted({round(i) for i in np.linspace(0, len(frames) - 1, columns)})
        cells = [(_comfortable(Image.fromarray(frames[pick])), str(pick + 1)) for pick in picks]
        if picture is not None:
            size = cells[0][0].size
            cells.insert(0, (_fit(picture, size[1] * picture.width // picture.height, size[1]), "canvas"))
        strips.append(_strip(cells, apart=picture is not None))
    width = max(strip.width for strip in strips)
    blocks = [_captioned(strip, label, width) for strip, label in zip(strips, labels or [""] * len(rows), strict=True)]
    return _page(blocks)


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


def _comfortable(image: Image.Image, side_px: int = 208) -> Image.Image:
    """Scaled for looking at: small pictures up by a whole factor, so that their pixels stay true; large ones down."""
    factor = side_px // max(image.size)
    if factor >= 1:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    scale = side_px / max(image.size)
    return _fit(image, round(image.width * scale), round(image.height * scale))


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


def _wrap(text: str, width: int, most: int = 2) -> list[str]:
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
