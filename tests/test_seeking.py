"""Some frames of a video are the very frames that reading all of it gives, and the rest is not decoded."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from magref.errors import InputError
from magref.seeking import read_frames
from magref.video import opened_video, read_video, write_video

COUNT, KEYS = 40, 10
CLOCK = Fraction(1, 24000)
WINDOWS = ([0], [0, 1, 2], [0, 39], [9, 10, 11], [10], [13, 15, 18], list(range(21, 33)), [39])

STEADY = [1000 * n for n in range(COUNT)]
UNEVEN = [int(t) for t in np.cumsum(np.random.default_rng(1).integers(300, 2500, COUNT))]
B_FRAMES = {"g": str(KEYS), "bf": "3", "sc_threshold": "0"}
OPEN = B_FRAMES | {"x264-params": f"open-gop=1:keyint={KEYS}:min-keyint={KEYS}"}
REFRESHED = {"g": str(KEYS), "bf": "0", "x264-params": f"intra-refresh=1:keyint={KEYS}"}


def pictures(count=COUNT, height=48, width=64):
    """A picture that slides, so that every frame needs the ones before it."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4 + count, 3), dtype=np.uint8)
    ground = noise.repeat(4, 0).repeat(4, 1)
    return np.stack([ground[:, n : n + width] for n in range(count)])


def encode(path, options, times=STEADY):
    """A video with the given encoder's options and a time in ticks of CLOCK for each frame."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = CLOCK
        for picture, time in zip(pictures(), times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "options", "times"),
    [
        ("b-frames.mp4", B_FRAMES, STEADY),
        ("uneven.mp4", B_FRAMES, UNEVEN),
        ("late.mp4", B_FRAMES, [time + 90_000 for time in UNEVEN]),
        ("open-groups.mp4", OPEN, STEADY),
        ("one-keyframe.mp4", {"g": "1000", "sc_threshold": "0"}, STEADY),
        ("no-true-keyframes.mp4", REFRESHED, STEADY),
        ("b-frames.mkv", B_FRAMES, STEADY),
        ("no-times.h264", B_FRAMES, STEADY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_are_those_of_the_whole_video(tmp_path, name, options, times):
    path = encode(tmp_path / name, options, times)
    whole, _ = read_video(path)
    assert len(whole) == COUNT
    for numbers in WINDOWS:
        assert np.array_equal(read_frames(path, numbers), whole[numbers]), numbers


@pytest.mark.parametrize("ending", [".webm", ".gif"])
def test_other_formats(tmp_path, ending):
    path = write_video(pictures(), tmp_path / f"a{ending}", fps=16)
    whole, _ = read_video(path)
    assert np.array_equal(read_frames(path, [17, 30]), whole[[17, 30]])


@pytest.mark.parametrize("numbers", [[0, 4], [14, 17], [35]])
def test_what_lies_outside_of_the_window_is_not_decoded(tmp_path, numbers):
    path = encode(tmp_path / "a.mp4", B_FRAMES)
    expected = read_video(path)[0][numbers]
    with opened_video(path) as (container, stream):
        places = [(packet.pts // 1000, packet.pos, packet.size) for packet in container.demux(stream) if packet.size]
    content = bytearray(path.read_bytes())
    first = numbers[0] // KEYS * KEYS
    end = (numbers[-1] // KEYS + 2) * KEYS  # the decoder looks ahead for the order in which frames are shown
    for number, position, size in places:
        if not first <= number < end:
            content[position : position + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_video(path)
    assert np.array_equal(read_frames(path, numbers), expected)


def test_sideways_videos_are_upright(tmp_path):
    path = encode(tmp_path / "a.mp4", B_FRAMES)
    one = 1 << 16
    upright, turned = (
        b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
        for matrix in ((one, 0, 0, 0, one), (0, one, 0, -one, 0))
    )
    data = path.read_bytes()
    at = data.index(upright, data.index(b"tkhd"))
    path.write_bytes(data[:at] + turned + data[at + len(turned) :])
    assert np.array_equal(read_frames(path, [25, 26]), read_video(path)[0][[25, 26]])
    assert read_frames(path, [25]).shape == (1, 64, 48, 3)


def test_a_video_that_is_too_short_is_named(tmp_path):
    path = encode(tmp_path / "a.mp4", B_FRAMES)
    for numbers in ([0, 40], [38, 40]):
        with pytest.raises(InputError, match=r"a\.mp4 has 40 frames, and frame 41 is needed"):
            read_frames(path, numbers)
    with pytest.raises(InputError, match="does not exist"):
        read_frames(tmp_path / "b.mp4", [3])
