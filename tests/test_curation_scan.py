"""One pass over a video: times, shots, motion and windows, whatever the file is like."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scenedetect", reason="needs the curate extra")

from magref.curation.cuts import Shot
from magref.curation.motion import MotionMeter, judge_motion, motion_of
from magref.curation.outcome import Kept, Rejected
from magref.curation.scan import read_window, scan_video, small_frames
from magref.curation.settings import CurationSettings, MotionSettings, SourceSettings, WindowSettings
from magref.curation.windows import Window, cut_windows
from magref.errors import InputError
from magref.video import read_video, write_video

SETTINGS = CurationSettings(source=SourceSettings(min_short_side_px=32))
_UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
_ON_ITS_SIDE = (0, 65536, 0, -65536, 0, 0, 0, 0, 2**30)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    return np.kron(small, np.ones((8, 8, 1), np.uint8))[:height, :width]


def sliding(frames: int, pixels: int, *, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """A texture that moves `pixels` to the left from each frame to the next."""
    wide = texture(height, width + frames * pixels + 8, seed)
    return np.stack([wide[:, n * pixels : n * pixels + width] for n in range(frames)])


def uneven(path: Path, frames: np.ndarray, times_ms: list[int]) -> Path:
    """A video whose frames are shown at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time_ms in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(path: Path) -> Path:
    """Note in the file that it was filmed sideways, as phones do."""

    def matrix(numbers: tuple[int, ...]) -> bytes:
        return b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)

    content = path.read_bytes()
    at = content.index(matrix(_UPRIGHT), content.index(b"tkhd"))
    path.write_bytes(content[:at] + matrix(_ON_ITS_SIDE) + content[at + 36 :])
    return path


def test_a_video_is_told_by_one_pass(tmp_path):
    frames = np.concatenate([sliding(40, 1, seed=1), sliding(40, 1, seed=2)])
    scan = scan_video(write_video(frames, tmp_path / "a.mp4", fps=20), SETTINGS)
    assert (scan.height, scan.width) == (64, 96)
    assert scan.fps == pytest.approx(20)
    assert scan.times_s == pytest.approx(np.arange(80) / 20)
    assert [(t.kind, t.start) for t in scan.transitions] == [("hard", 40)]
    assert [(shot.start, shot.stop) for shot in scan.shots] == [(0, 38), (42, 80)]
    assert len(scan.pts) == len(scan.keys) == len(scan.speeds) == 80
    assert scan.keys[0]


def test_motion_is_in_percent_of_the_diagonal_a_second(tmp_path):
    """3 pixels of a diagonal of 115, 20 times a second."""
    scan = scan_video(write_video(sliding(40, 3), tmp_path / "a.mp4", fps=20), SETTINGS)
    expected = 100 * 3 / np.hypot(64, 96) * 20
    assert motion_of(range(5, 35), scan.speeds) == pytest.approx(expected, rel=0.15)


def test_the_same_motion_at_another_rate_and_size_has_the_same_number():
    meter = MotionMeter(MotionSettings(pairs_hz=1000))
    slow = [meter.push(n / 10, frame) for n, frame in enumerate(sliding(12, 4, height=128, width=192))]
    meter = MotionMeter(MotionSettings(pairs_hz=1000))
    fast = [meter.push(n / 20, frame) for n, frame in enumerate(sliding(12, 2, height=128, width=192))]
    assert np.nanmean(slow) == pytest.approx(np.nanmean(fast), rel=0.1)


def test_only_so_many_pairs_a_second_are_measured():
    meter = MotionMeter(MotionSettings(pairs_hz=5))
    speeds = np.array([meter.push(n / 30, frame) for n, frame in enumerate(sliding(61, 1))])
    assert np.isnan(speeds[0])
    assert 10 <= np.isfinite(speeds).sum() <= 13


def test_little_much_and_unmeasured_motion_are_rejected():
    limits = MotionSettings(least=1, most=10)
    assert judge_motion(5.0, limits) is None
    assert judge_motion(0.5, limits) == Rejected(stage="motion", reason="too little motion", value=0.5, limit=1.0)
    assert judge_motion(11.0, limits).reason == "too much motion"
    unmeasured = motion_of([4], np.zeros(8, np.float32))
    assert judge_motion(unmeasured, limits).reason == "too little motion"


def test_frames_come_small_and_upright(tmp_path):
    frames = np.zeros((5, 64, 96, 3), np.uint8)
    frames[:, :16, :16] = (250, 20, 20)  # red, at the top left
    path = turned(write_video(frames, tmp_path / "a.mp4", fps=10))
    upright = read_video(path)[0]
    small = list(small_frames(path, 32))
    assert upright.shape[1:3] == (96, 64)
    assert small[0].full_size == (96, 64)
    assert small[0].picture.shape == (48, 32, 3)
    assert np.abs(small[0].picture[..., ::-1].astype(int) - upright[0, ::2, ::2]).mean() < 6
    scan = scan_video(path, SETTINGS)
    assert (scan.height, scan.width) == (96, 64)
    assert np.array_equal(read_window(path, scan, [1, 3]), upright[[1, 3]])


def test_uneven_times_are_kept(tmp_path):
    times = [0, 40, 80, 200, 210, 260, 700]
    scan = scan_video(uneven(tmp_path / "a.mp4", sliding(7, 1), times), SETTINGS)
    assert scan.times_s == pytest.approx(np.array(times) / 1000, abs=1e-3)
    assert scan.fps == pytest.approx(6 / 0.7, rel=0.01)


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif"])
def test_a_window_is_what_reading_the_whole_video_gives(tmp_path, ending):
    path = write_video(sliding(40, 2), tmp_path / f"a{ending}", fps=20)
    whole = read_video(path)[0]
    scan = scan_video(path, SETTINGS)
    for wanted in ([0], [3, 4, 9], [25, 39], list(range(40))):
        assert np.array_equal(read_window(path, scan, wanted), whole[wanted])


def test_windows_far_into_a_video_with_many_keyframes_are_right(tmp_path):
    frames = sliding(120, 2)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "12", "bf": "3", "flags": "-cgop"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    scan, whole = scan_video(path, SETTINGS), read_video(path)[0]
    assert scan.keys.sum() >= 10
    for start in (1, 11, 12, 13, 50, 119):
        wanted = list(range(start, min(start + 5, 120)))
        assert np.array_equal(read_window(path, scan, wanted), whole[wanted])


def test_large_windows_are_made_smaller_with_even_sides(tmp_path):
    path = write_video(np.zeros((4, 101, 151, 3), np.uint8), tmp_path / "a.webm", fps=10)
    scan = scan_video(path, SETTINGS)
    assert read_window(path, scan, [0, 2]).shape == (2, 100, 150, 3)
    assert read_window(path, scan, [0, 2], short_side_px=50).shape == (2, 50, 74, 3)
    assert read_window(path, scan, [0, 2], short_side_px=400).shape == (2, 100, 150, 3)


def test_one_frame_makes_no_window_and_breaks_nothing(tmp_path):
    scan = scan_video(write_video(sliding(1, 0), tmp_path / "a.mp4", fps=20), SETTINGS)
    assert len(scan.times_s) == 1
    assert [shot.outcome.reason for shot in scan.shots] == ["nothing left after trimming"]


def test_small_videos_are_rejected_before_they_are_decoded(tmp_path):
    path = write_video(sliding(3, 1), tmp_path / "a.mp4", fps=20)
    found = scan_video(path, CurationSettings())
    assert found == Rejected(stage="source", reason="too small", value=64.0, limit=256)


def test_broken_videos_are_errors_that_name_the_file(tmp_path):
    whole = write_video(sliding(60, 3), tmp_path / "a.mp4", fps=20).read_bytes()
    for name, content in {"empty": b"", "noise": bytes(range(256)) * 40, "cut-off": whole[: len(whole) // 2]}.items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            scan_video(path, SETTINGS)
    with pytest.raises(InputError, match="does not exist"):
        scan_video(tmp_path / "none.mp4", SETTINGS)


SHOT = Shot(10, 110)


def windows(times: np.ndarray, source_fps: float = 20.0, shot: Shot = SHOT, **changes) -> list[Window | Rejected]:
    return cut_windows(0, shot, times, source_fps, WindowSettings(**{"frames": 9, "fps": 8.0} | changes))


def test_windows_follow_each_other_without_overlap_at_their_own_rate():
    found = windows(np.arange(120) / 24)
    assert all(isinstance(window, Window) for window in found)
    assert found[0].frames == tuple(range(10, 35, 3))
    assert len(found) == 3
    for a, b in pairwise(found):
        assert a.frames[-1] < b.frames[0]
    assert found[-1].frames[-1] < 110
    assert found[0].fps == 8


def test_a_stride_leaves_frames_out_and_the_sources_own_rate_takes_all():
    (first, *_) = windows(np.arange(120) / 24, 24.0, fps=None, frames=5)
    assert first.frames == (10, 11, 12, 13, 14)
    (first, *_) = windows(np.arange(120) / 24, 24.0, fps=None, frames=5, stride=3)
    assert (first.frames, first.fps) == ((10, 13, 16, 19, 22), 8)
    assert len(windows(np.arange(120) / 24, per_shot=2)) == 2


def test_a_short_shot_and_a_slow_source_are_rejected_with_numbers():
    (short,) = windows(np.arange(120) / 24, shot=Shot(10, 30))
    assert (short.reason, short.limit) == ("shot too short", 1.0)
    assert short.value == pytest.approx(19 / 24)
    for slow in windows(np.arange(120) / 6, 6.0):
        assert (slow.reason, slow.limit) == ("too few frames a second", 8.0)
        assert slow.value == pytest.approx(6, abs=0.7)


def test_only_the_windows_without_enough_frames_are_rejected():
    times = np.concatenate([np.arange(60) / 24, 2.5 + np.arange(60) / 4])
    outcomes = [isinstance(window, Window) for window in windows(times, 10.0)]
    assert outcomes[0]
    assert not outcomes[-1]


@given(st.floats(8.0, 60.0), st.integers(20, 200), st.integers(2, 30))
def test_any_source_that_is_fast_enough_gives_even_windows(rate, count, frames):
    times = np.arange(count) / rate
    for window in cut_windows(0, Shot(0, count), times, rate, WindowSettings(frames=frames, fps=8.0)):
        if isinstance(window, Rejected):
            assert window.reason == "shot too short"
            continue
        assert len(window.frames) == frames
        assert np.all(np.diff(window.frames) >= 1)
        wanted = times[window.frames[0]] + np.arange(frames) / 8
        assert np.abs(times[list(window.frames)] - wanted).max() <= 1 / 8


def test_kept_shots_say_so():
    assert SHOT.outcome == Kept()
