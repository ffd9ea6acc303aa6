"""Videos as other programs leave them: joined from two of other sizes, or cut without being encoded anew."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from magref.errors import InputError
from magref.evaluation.decoding import decode
from magref.evaluation.evaluate import Request, evaluate
from magref.evaluation.metrics.interface import Value
from magref.video import write_video
from test_evaluate import here, row, write

__all__ = ["here"]


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def raw(path: Path, frames: np.ndarray) -> bytes:
    """A bare H.264 stream, which can be joined to another as it is."""
    with av.open(str(path), "w", format="h264") as file:
        stream = file.add_stream("libx264", rate=8, options={"bf": "0", "x264-params": "annexb=1:repeat-headers=1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for n, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = n
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path.read_bytes()


def joined(path: Path) -> Path:
    """Four frames of one size and four of another."""
    bare = path.with_suffix(".h264")
    bare.write_bytes(raw(bare, noise(4, 48, 64)) + raw(bare, noise(4, 32, 48)))
    with av.open(str(bare)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        for n, packet in enumerate(packets):
            moved = av.Packet(bytes(packet))
            moved.is_keyframe, moved.stream, moved.time_base = packet.is_keyframe, stream, Fraction(1, 8)
            moved.pts = moved.dts = n
            moved.duration = 1
            target.mux(moved)
    return path


def cut(path: Path, off: int) -> Path:
    """The video with its first frames hidden by an edit list, as cutting without encoding anew leaves it."""
    whole = path.rename(path.with_suffix(".whole.mp4"))
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                shift = round(Fraction(off, 8) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                target.mux(packet)
    whole.unlink()
    return path


def test_a_video_that_changes_its_size_midway_is_refused(tmp_path):
    with pytest.raises(InputError, match="change from 64x48 to 48x32; make them all one size"):
        decode(joined(tmp_path / "joined.mp4"))


def test_a_joined_video_is_corrupt_and_a_cut_one_is_scored(here):
    (here / "videos" / "a.mp4").unlink()
    joined(here / "videos" / "a.mp4")
    cut(here / "videos" / "b.mp4", 2)
    write(here, [row("a"), row("b"), row("c")])
    request = Request(here / "videos", here / "cases.jsonl", here / "out", ("motion",), mixed=True)
    first, second, third = [one.scores["motion"] for one in evaluate(request)[1]]
    assert first.reason == "corrupt_video"
    assert isinstance(second, Value)
    assert isinstance(third, Value)


def test_frames_that_a_cut_left_in_the_file_are_not_shown(tmp_path):
    write_video(noise(12, 48, 64), tmp_path / "video.mp4", fps=8)
    video = decode(cut(tmp_path / "video.mp4", 3))
    assert (len(video), video.cut) == (9, 3)
