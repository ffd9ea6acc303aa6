"""One pass over a video for all that needs every frame but no model, and the windows' frames at full size afterwards.

Each frame is decoded once for cuts, contrast and motion, and comes out of the decoder small. Of a frame some forty
bytes stay, so that an hour takes hardly more memory than a minute. The windows that are still wanted after motion was
judged are decoded again, at full size, for the models.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from magref.curation.cuts import CutDetector, CutFinder, Shot, Transition, find_shots
from magref.curation.looks import Picture
from magref.curation.motion import MotionMeter
from magref.curation.outcome import Rejected, below
from magref.curation.settings import CurationSettings, SourceSettings
from magref.errors import InputError
from magref.seeking import read_frames
from magref.video import Frames, UprightRgb, opened_video

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream


@dataclass(frozen=True, eq=False)
class SmallFrame:
    """A frame of a video, upright and made small.

    Attributes:
        time_s: when it is shown, from 0 at the first frame; rising, whatever the file says.
        pts: the same in the stream's own unit; None where the file does not tell, or tells one that does not rise.
        full_size: height and width, upright, before it was made small.
    """

    time_s: float
    pts: int | None
    is_key: bool
    full_size: tuple[int, int]
    picture: Picture


@dataclass(frozen=True, eq=False)
class Scan:
    """What one pass over a video tells.

    Attributes:
        height, width: of its frames, upright.
        fps: the mean rate of the frames that are there, whatever the file says.
        times_s: (F,) when each frame is shown.
        pts: (F,) the same in the stream's unit, or () where the file does not tell all of them.
        keys: (F,) the frames that decoding can begin with.
        speeds: (F,) motion since the frame before in % of the diagonal a second, nan where not measured.
        contrasts: (F,) standard deviation of brightness, 0 to 0.5.
    """

    height: int
    width: int
    fps: float
    times_s: npt.NDArray[np.float64]
    pts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.bool_]
    speeds: npt.NDArray[np.float32]
    contrasts: npt.NDArray[np.float32]
    transitions: tuple[Transition, ...]
    shots: tuple[Shot, ...]


def scan_video(
    path: str | Path, settings: CurationSettings, *, cuts: CutDetector | None = None, threads: int = 0
) -> Scan | Rejected:
    """Look at every frame once.

    Args:
        cuts: finds the transitions, in place of `CutFinder`.
        threads: of the decoder; 0: its own choice.

    Raises:
        InputError: the file is missing, no video, empty or damaged.
        ResourceError: the packages for curation are not installed.
    """
    cuts = cuts or CutFinder(settings.cuts)
    motion = MotionMeter(settings.motion)
    times_s, pts, keys, speeds, contrasts = array("d"), array("q"), array("b"), array("f"), array("f")
    full_size = (0, 0)
    for number, frame in enumerate(small_frames(path, settings.source.scan_short_side_px, threads=threads)):
        if number == 0:
            full_size = frame.full_size
            too_small = judge_size(*full_size, settings.source)
            if too_small is not None:
                return too_small
        cuts.push(number, frame.time_s, frame.picture)
        speeds.append(motion.push(frame.time_s, frame.picture))
        contrasts.append(float(frame.picture[::4, ::4].mean(axis=2).std()) / 255)
        times_s.append(frame.time_s)
        keys.append(frame.is_key)
        if frame.pts is not None:
            pts.append(frame.pts)
    times = np.array(times_s)
    transitions = tuple(cuts.finish())
    measured = np.array(contrasts, np.float32)
    return Scan(
        height=full_size[0],
        width=full_size[1],
        fps=(len(times) - 1) / float(times[-1]) if len(times) > 1 else 1.0,
        times_s=times,
        pts=np.array(pts if len(pts) == len(times) else [], np.int64),
        keys=np.array(keys, np.bool_),
        speeds=np.array(speeds, np.float32),
        contrasts=measured,
        transitions=transitions,
        shots=tuple(find_shots(transitions, times, measured, settings.cuts)),
    )


def judge_size(height: int, width: int, settings: SourceSettings) -> Rejected | None:
    """Rejected where a video's pictures are too small."""
    return below("source", "too small", min(height, width), settings.min_short_side_px)


def small_frames(path: str | Path, short_side_px: int, *, threads: int = 0) -> Iterator[SmallFrame]:
    """All frames of a video in the order in which they are shown, none larger than `short_side_px` on its short side.

    Raises:
        InputError: the file is missing, no video, empty or damaged.
    """
    from av.video.reformatter import VideoReformatter

    with opened_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        reformatter = VideoReformatter()
        rate = stream.average_rate or stream.guessed_rate
        usual_s = float(1 / rate) if rate else 1.0
        size: tuple[int, int] | None = None
        origin_s = previous_s = 0.0
        number = 0
        for frame in _whole_frames(container, stream, path):
            scale = min(1.0, short_side_px / min(frame.width, frame.height))
            # Fixed by the first frame: a stream may change its size, and two pictures must compare.
            size = size or (max(2, round(frame.width * scale)), max(2, round(frame.height * scale)))
            pts, time_s = frame.pts, frame.time
            if number == 0:
                origin_s = time_s or 0.0
            time_s = time_s - origin_s if time_s is not None else None
            if number and (time_s is None or time_s <= previous_s):
                pts, time_s = None, previous_s + usual_s
            small: Any = reformatter.reformat(frame, size[0], size[1], "bgr24", interpolation="AREA")
            turns = getattr(frame, "rotation", 0) // 90  # counter-clockwise; phones film sideways and note it
            height, width = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
            picture = np.ascontiguousarray(np.rot90(small.to_ndarray(), turns))
            previous_s = time_s or 0.0
            yield SmallFrame(previous_s, pts, bool(frame.key_frame), (height, width), picture)
            number += 1
        if number == 0:
            raise InputError(f"the video {path} has no frames; give another file")


def _whole_frames(container: InputContainer, stream: VideoStream, path: str | Path) -> Iterator[av.VideoFrame]:
    """The stream's frames; decoding alone passes over what is damaged when it runs in several threads."""
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise InputError(f"the video {path} is damaged or breaks off; copy it anew")
        yield from packet.decode()


def read_window(path: str | Path, scan: Scan, frames: Sequence[int], *, short_side_px: int | None = None) -> Frames:
    """Frames of a scanned video, by numbers that rise: uint8 (N, H, W, 3) RGB, upright, with even sides.

    Decoding begins at the last keyframe before them; the scan knows where that is. Larger frames than `short_side_px`
    are made smaller.

    Raises:
        InputError: the file can no longer be read, or has other frames than it had.
    """
    found = _sought(path, scan, frames, short_side_px) if len(scan.pts) else None
    if found is None:
        found = [_fitted(image, short_side_px) for image in read_frames(path, frames)]
    return np.stack(found)


def _sought(path: str | Path, scan: Scan, frames: Sequence[int], short_side_px: int | None) -> list[Frames] | None:
    """By the frames' times; None where decoding does not begin where the scan says that it can."""
    keys = np.flatnonzero(scan.keys[: frames[0] + 1])
    if not len(keys):
        return None
    begin, wanted = int(scan.pts[keys[-1]]), [int(scan.pts[frame]) for frame in frames]
    images: list[Frames] = []
    with opened_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        container.seek(begin, stream=stream)
        upright, begun = UprightRgb(stream), False
        for frame in container.decode(stream):
            begun = begun or frame.pts == begin
            if begun and frame.pts == wanted[len(images)]:
                images.append(_fitted(upright(frame), short_side_px))
            if frame.pts is None or len(images) == len(wanted) or frame.pts > wanted[-1]:
                break
    return images if len(images) == len(wanted) else None


def _fitted(image: Frames, short_side_px: int | None) -> Frames:
    """An image no larger than asked for, and with even sides, as H.264 needs them."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, short_side_px / min(height, width)) if short_side_px else 1.0
    if scale < 1:
        size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image[: height - height % 2, : width - width % 2]
