"""Some frames of a video, without decoding the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from magref.errors import InputError
from magref.video import Frames, UprightRgb, opened_video


def read_frames(path: str | Path, numbers: Sequence[int]) -> Frames:
    """The frames of these numbers, which rise: uint8 (N, H, W, 3), equal to `read_video(path)[0][numbers]`.

    Decoding begins at the last keyframe before the first of them and ends with the last.

    Raises:
        InputError: the file is missing or not a video, or has fewer frames.
    """
    frames = _sought(path, numbers) if numbers[0] > 0 else None
    return _counted(path, numbers) if frames is None else frames


def _sought(path: str | Path, numbers: Sequence[int]) -> Frames | None:
    """By the frames' times; None where the file does not tell them well enough, or a frame does not come up."""
    with opened_video(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        times = sorted(packet.pts for packet in packets if packet.pts is not None)
        if len(set(times)) < len(packets) or numbers[-1] >= len(times):
            return None
        wanted = [times[number] for number in numbers]
        # By the time at which it is shown: what is shown before a keyframe may need others, though it follows in the
        # file.
        key = max((p.pts for p in packets if p.is_keyframe and p.pts is not None and p.pts <= wanted[0]), default=None)
        if key is None:
            return None
        container.seek(key, stream=stream)
        upright, begun, found = UprightRgb(stream), False, {}
        for frame in container.decode(stream):
            begun = begun or frame.pts == key  # a keyframe that is not shown was none: x264's intra refresh
            if frame.pts in wanted:
                found[frame.pts] = upright(frame)
            if frame.pts is None or frame.pts >= wanted[-1]:
                break
    return np.stack(list(found.values())) if begun and list(found) == wanted else None


def _counted(path: str | Path, numbers: Sequence[int]) -> Frames:
    """By counting from the video's beginning."""
    images: list[Frames] = []
    with opened_video(path) as (container, stream):
        upright, count = UprightRgb(stream), 0
        for count, frame in enumerate(container.decode(stream), 1):
            if count - 1 == numbers[len(images)]:
                images.append(upright(frame))
            if len(images) == len(numbers):
                return np.stack(images)
    raise InputError(f"{path} has {count} frames, and frame {numbers[-1] + 1} is needed; give a longer video")
