"""All frames of a video, one after the other, so that a long one is never whole in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from magref.errors import InputError
from magref.frames import FrameStream
from magref.video import Frames, UprightRgb, opened_video, probe_video


def count_frames(path: str | Path) -> int:
    """How many frames a video really has: each is decoded, none is kept.

    Raises:
        InputError: the file is missing or not a video, is damaged, or its frames change their size.
    """
    sizes = set()
    count = 0
    with opened_video(path) as (container, stream):
        for count, frame in enumerate(container.decode(stream), 1):
            sizes.add((frame.width, frame.height))
            if len(sizes) > 1:
                raise InputError(f"the video {path} changes its size at frame {count}; write it again in one size")
    return count


def stream_video(path: str | Path) -> tuple[FrameStream, float]:
    """A video's frames, upright, and its frames per second, as `video.read_video` gives them, but decoded while they
    are read; a first pass counts them.

    Raises:
        InputError: as for `count_frames`, or it has no frames or states no rate.
    """
    found = probe_video(path)

    def make() -> Iterator[Frames]:
        with opened_video(path) as (container, stream):
            upright = UprightRgb(stream)
            for frame in container.decode(stream):
                yield upright(frame)[None]

    return FrameStream((count_frames(path), found.height, found.width, 3), make), found.fps


def even_sides(frames: FrameStream) -> FrameStream:
    """The frames without the last row or column where their number is odd, as H.264 needs them."""
    count, height, width, channels = frames.shape
    height, width = height - height % 2, width - width % 2

    def make() -> Iterator[Frames]:
        for piece in frames.make():
            yield piece[:, :height, :width]

    return FrameStream((count, height, width, channels), make)
