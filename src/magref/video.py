"""Videos on disk: written whole or not at all, the same bytes for the same frames; read back upright.

Encoding and decoding go through PyAV, imported only when a video is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from magref.errors import InputError, OutputError
from magref.frames import FrameStream
from magref.outputs import check_output, writing

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer
    from av.filter import Graph
    from av.video.stream import VideoStream

Frames = npt.NDArray[np.uint8]
"""(F, H, W, 3), RGB."""

GIF_MAX_FPS = 50
"""A GIF counts in hundredths of a second, and viewers slow down anything under two of them."""
MIN_FPS, MAX_FPS = 0.1, 1000

# A fixed number of threads: with x264's own choice the bytes would depend on the machine's cores.
_ENCODER_THREADS = 4
# With the macroblock tree, x264 on a CPU with AVX-512 gave other bytes each time; held to AVX2, it gave the same.
_H264 = {"crf": "17", "preset": "medium", "mbtree": "0"}
_VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"}
_BT709 = 1  # H.273: the primaries, the transfer and the matrix of BT.709 all have number 1
_LIMITED_RANGE = 1
_BITEXACT_MUXER, _BITEXACT_CODEC = 0x400, 1 << 23  # AVFMT_FLAG_BITEXACT, AV_CODEC_FLAG_BITEXACT: no dates, no versions
# swscale's quick paths darken by a level; these flags cost little beside the encoder.
_EXACT = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"

_METADATA_KEY = re.compile(r"[a-z][a-z0-9_]*")
_ITUNES_KEYS = {"title", "artist", "comment", "copyright", "description", "synopsis"}
_CONTAINER_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "creation_time"}


def write_video(
    frames: Frames | FrameStream | Sequence[Image.Image],
    path: str | Path,
    *,
    fps: float,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a video: H.264 for .mp4, VP9 for .webm (both yuv420p in BT.709), a looping .gif.

    The same frames, rate and metadata give the same bytes with the same PyAV. The file appears whole or not at all.

    Args:
        frames: uint8 (F, H, W, 3) RGB, a stream of such, or PIL images of one size.
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
    frames = frames if isinstance(frames, FrameStream) else check_frames(frames)
    rate, tags = check_rate(fps, ending), _check_metadata(metadata or {})
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


def _encode(path: Path, frames: Frames | FrameStream, rate: Fraction, tags: dict[str, str]) -> None:
    import av

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


def _encode_gif(path: Path, frames: Frames | FrameStream, rate: Fraction) -> None:
    """One palette for the whole video, so that still parts do not flicker."""
    import av

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


def _add_stream(container: OutputContainer, codec: str, rate: Fraction, options: dict[str, str]) -> VideoStream:
    container.flags |= _BITEXACT_MUXER
    stream: Any = container.add_stream(codec, rate=rate, options=options)
    stream.codec_context.flags |= _BITEXACT_CODEC
    stream.codec_context.thread_count = _ENCODER_THREADS
    return stream


def _frame(array: npt.NDArray[np.uint8], index: int, time_base: Fraction) -> av.VideoFrame:
    import av

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
    """All frames of a video, uint8 (F, H, W, 3) RGB, upright, and its frames per second; some of them: `seeking.py`.

    Raises:
        InputError: the file is missing or not a video.
    """
    images, times = [], []
    with opened_video(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        upright = UprightRgb(stream)
        for frame in container.decode(stream):
            images.append(upright(frame))
            times.append(frame.time)
    if not images:
        raise InputError(f"the video {path} has no frames; give another file")
    if Path(path).suffix.lower() == ".gif" and len(times) > 1:  # which states no rate, only times in hundredths
        rate = Fraction(len(times) - 1) / Fraction(times[-1] - times[0]).limit_denominator(100)
    if not rate:
        raise InputError(f"the video {path} states no frame rate; write it again with one")
    return np.stack(images), float(rate)


@contextlib.contextmanager
def opened_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video's file and the stream of its pictures.

    Raises:
        InputError: the file is missing or not a video, or what is read inside turns out to be damaged.
    """
    import av

    path = _check_video(path)
    with (
        _av_errors(f"the video {path} cannot be read", InputError),
        # Tags may be in any encoding; the pictures can be read all the same.
        av.open(str(path), metadata_errors="ignore") as container,
    ):
        if not container.streams.video:
            raise InputError(f"{path} has no pictures in it; give a video")
        yield container, container.streams.video[0]


class UprightRgb:
    """Turns one stream's decoded frames into uint8 (H, W, 3) RGB, upright; also after its file was closed."""

    def __init__(self, stream: VideoStream) -> None:
        self._time_base = stream.time_base
        self._graph: Graph | None = None

    def __call__(self, frame: av.VideoFrame) -> Frames:
        """One frame."""
        if self._graph is None:
            self._graph = self._converter(frame)
        self._graph.push(frame)
        turns = getattr(frame, "rotation", 0) // 90  # counter-clockwise; phones film sideways and note it
        return np.rot90(_pull(self._graph).to_ndarray().astype(np.uint8, copy=False), turns)

    def _converter(self, first: av.VideoFrame) -> Graph:
        import av

        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=self._time_base
        )
        # "scale" takes the matrix and the range that the file names.
        scale = graph.add("scale", f"out_range=pc:{_EXACT}")
        graph.link_nodes(source, scale, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
        return graph


@dataclass(frozen=True)
class VideoInfo:
    """What a video's file says of it, its pictures upright."""

    num_frames: int
    height: int
    width: int
    fps: float


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and number of frames of a video; only its first frame is decoded.

    Raises:
        InputError: the file is missing or not a video.
    """
    with opened_video(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        first = next(container.decode(stream), None)
        if first is None:
            raise InputError(f"the video {path} has no frames; give another file")
        if not rate:
            raise InputError(f"the video {path} states no frame rate; write it again with one")
        height, width = first.height, first.width
        if getattr(first, "rotation", 0) % 180:
            height, width = width, height
        frames = stream.frames
        if not frames:  # not every format states it
            container.seek(0)
            frames = sum(packet.size > 0 for packet in container.demux(stream))
    return VideoInfo(frames, height, width, float(rate))


def read_metadata(path: str | Path) -> dict[str, str]:
    """The tags inside a video, names in lower case; what `write_video` was given comes back as it was.

    Raises:
        InputError: the file is missing or not a video.
    """
    import av

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
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        if kind is OutputError and isinstance(error, OSError):
            raise
        raise kind(f"{what} ({error.strerror}); check or replace the file") from error


def _check_video(path: str | Path) -> Path:
    path = Path(os.path.expanduser(path))
    if not path.exists():
        raise InputError(f"the video {path} does not exist; check its path")
    if path.is_dir():
        raise InputError(f"the video {path} is a folder; name a file in it")
    return Path(os.path.abspath(path))  # FFmpeg takes what stands before a colon for a protocol


def check_frames(frames: Frames | Sequence[Image.Image]) -> Frames:
    """The frames as one array; InputError where they are not a video of one size."""
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


def check_rate(fps: float, ending: str) -> Fraction:
    """The rate as a fraction; InputError where a video of this ending cannot have it."""
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
