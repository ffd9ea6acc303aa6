"""A video decoded once for all metrics; its frames become RGB when a metric asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from magref.errors import InputError
from magref.video import Frames, UprightRgb, opened_video

if TYPE_CHECKING:
    import av


class DecodedVideo:
    """All frames of a video as the decoder left them.

    Attributes:
        path: the file.
        fps: frames a second.
        size: width and height of the upright frames in pixels.
        cut: frames that the file holds and tells players not to show, as cutting without encoding anew leaves them.
    """

    def __init__(
        self, path: Path, frames: Sequence[av.VideoFrame], fps: float, upright: UprightRgb, cut: int = 0
    ) -> None:
        self.path = path
        self.fps = fps
        self.cut = cut
        turned = getattr(frames[0], "rotation", 0) % 180 != 0
        self.size = (frames[0].height, frames[0].width) if turned else (frames[0].width, frames[0].height)
        self._frames = frames
        self._upright = upright
        self._shown: dict[tuple[bool, int], Frames] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def rgb(self, numbers: Sequence[int] | npt.NDArray[np.int64] | None = None, *, published: bool = False) -> Frames:
        """Frames by their numbers, all of them by default: uint8 (N, H, W, 3).

        Args:
            published: as FFmpeg converts by default, which decord and OpenCV do and so do the published metrics: its
                quick path, with the colour of 2 x 2 pixels repeated. Otherwise exact, as `read_video` gives them.
        """
        wanted = range(len(self._frames)) if numbers is None else [int(number) for number in numbers]
        for number in wanted:
            if (published, number) not in self._shown:
                frame = self._frames[number]
                if published:
                    turns = getattr(frame, "rotation", 0) // 90
                    picture = np.rot90(frame.to_ndarray(format="rgb24"), turns).astype(np.uint8, copy=False)
                else:
                    picture = self._upright(frame)
                self._shown[published, number] = picture
        return np.stack([self._shown[published, number] for number in wanted])


def decode(path: str | Path) -> DecodedVideo:
    """Decode a whole video.

    Raises:
        InputError: the file is missing, is not a video, is damaged anywhere, or changes its size midway.
    """
    frames: list[av.VideoFrame] = []
    cut = 0
    with opened_video(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        upright = UprightRgb(stream)
        for packet in container.demux(stream):
            cut += packet.is_discard
            frames += packet.decode()
    if not frames:
        raise InputError(f"the video {path} has no frames; give another file")
    if not rate:
        raise InputError(f"the video {path} states no frame rate; write it again with one")
    sizes = list(dict.fromkeys(f"{frame.width}x{frame.height}" for frame in frames))
    if len(sizes) > 1:
        raise InputError(f"the frames of the video {path} change from {sizes[0]} to {sizes[1]}; make them all one size")
    return DecodedVideo(Path(path), frames, float(rate), upright, cut)


def evenly(count: int, frames: int) -> npt.NDArray[np.int64]:
    """Numbers of `count` frames spread over a video of `frames`, the first and the last among them.

    As the published metrics do: `linspace` cut to whole numbers. A shorter video gives some of its frames twice.
    """
    return np.linspace(0, frames - 1, count, dtype=np.int64)
