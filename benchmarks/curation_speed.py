"""Decoding, cuts, motion and faces: video seconds a second, each against the plain loop over the libraries.

Ours come out of the decoder small and are looked at once for everything. The plain loops are those that one would
write: OpenCV's frames for decoding, PySceneDetect's own function for cuts, OpenCV's frames and flow between all of them
for motion, onnxruntime face by face. The video is made: reels of the synthetic world, enlarged, with grain.

    python benchmarks/curation_speed.py
    python benchmarks/curation_speed.py --memory

`--memory` scans a video of an hour and prints what the process holds on the way.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]
from rich import box
from rich.console import Console
from rich.table import Table

from face_pack import save_pack
from magref.curation.cuts import CutFinder, Transition
from magref.curation.looks import Picture
from magref.curation.models.face_geometry import suppress
from magref.curation.models.faces import FacePack, crop_face, decode, embed, fit_into, load_pack
from magref.curation.models.shelf import Shelf
from magref.curation.motion import MotionMeter
from magref.curation.scan import Scan, scan_video, small_frames
from magref.curation.settings import CurationSettings
from magref.seeking import read_frames
from magref.synthetic.reels import ReelSettings, render_reel
from magref.video import Frames
from pairs import Pairs, describe_machine, measure

SETTINGS = CurationSettings()
SIDE_PX = SETTINGS.source.scan_short_side_px
FACE_BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the video that is made")
    parser.add_argument("--video", type=Path, help="an own one")
    parser.add_argument("--faces", type=Path, help="a face pack; none: random networks of about its arithmetic")
    parser.add_argument("--face-frames", type=int, default=16)
    parser.add_argument("--memory", action="store_true", help="scan an hour in place of timing")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            memory(hour_of(make_video(Path(folder) / "a.mp4", 20.0, (108, 192)), Path(folder) / "hour.mp4"))
            return
        path = options.video or make_video(Path(folder) / "a.mp4", options.seconds, (720, 1280))
        compare(path, options.pairs)
        compare_faces(path, options.faces or save_pack(Path(folder) / "pack"), options.pairs, options.face_frames)


def compare(path: Path, pairs: int) -> None:
    """All that needs no model."""
    scan = scan_video(path, SETTINGS)
    assert isinstance(scan, Scan)
    length_s = float(scan.times_s[-1])
    speeds = scan.speeds[np.isfinite(scan.speeds)]
    print(f"{path.name}: {length_s:.1f} s of {scan.width}x{scan.height} at {scan.fps:.3g} frames a second")
    print(f"mean motion {speeds.mean():.2f} of {len(speeds)} pairs, plain {plain_motion(path):.2f} of all")
    rows: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("small frames; OpenCV's", lambda: count(small_frames(path, SIDE_PX)), lambda: count(opencv(path))),
        ("cuts, also gradual; PySceneDetect's", lambda: our_cuts(path), lambda: plain_cuts(path)),
        ("motion, 8 pairs a second; all pairs", lambda: our_motion(path), lambda: plain_motion(path)),
        ("all, decoded once; the last two", lambda: scan_video(path, SETTINGS), lambda: both_plain(path)),
    ]  # fmt: skip
    show("Without models", length_s, [(name, *measure(ours, plain, pairs)) for name, ours, plain in rows])


def compare_faces(path: Path, pack: Path, pairs: int, number: int) -> None:
    """Faces in whole frames; `number` of them, evenly from the video."""
    scan = scan_video(path, SETTINGS)
    assert isinstance(scan, Scan)
    chosen = np.linspace(0, len(scan.times_s) - 1, number).round().astype(int)
    images = list(read_frames(path, [int(n) for n in chosen]))
    finder = FacePack(pack, shelf=Shelf("cpu"), mean_shape=pack / "meanshape_68.pkl")
    plain = plain_faces(pack)
    found, size = (our_faces(finder, images), plain(images)), f"{images[0].shape[1]}x{images[0].shape[0]}"
    print(f"{found[0]} faces in {len(images)} frames of {size}, by the plain loop {found[1]}")
    timed = measure(lambda: our_faces(finder, images), lambda: plain(images), pairs)
    show("Faces, every frame", len(images) / scan.fps, [("by onnxruntime; face by face", *timed)])


def show(title: str, length_s: float, rows: list[tuple[str, Pairs, Pairs]]) -> None:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("ours; against")
    for name in ("video s/s", "plain", "RATIO of time", "pairs' ratios", "of processor time", "pairs"):
        table.add_column(name, justify="right")
    for name, wall, processor in rows:
        rates = (f"{length_s / median(side):.2f}" for side in (wall.a, wall.b))
        table.add_row(name, *rates, f"{wall.ratio:.2f}", wall.spread, f"{processor.ratio:.2f}", str(len(wall.a)))
    Console(width=130, highlight=False).print(table)


def count(items: Iterator[object]) -> int:
    return sum(1 for _ in items)


def opencv(path: Path) -> Iterator[Picture]:
    capture = cv2.VideoCapture(str(path))
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield np.asarray(frame, np.uint8)


def our_cuts(path: Path) -> list[Transition]:
    finder = CutFinder(SETTINGS.cuts)
    for number, frame in enumerate(small_frames(path, SIDE_PX)):
        finder.push(number, frame.time_s, frame.picture)
    return finder.finish()


def plain_cuts(path: Path) -> object:
    from scenedetect import AdaptiveDetector, detect

    return detect(str(path), AdaptiveDetector())


def our_motion(path: Path) -> float:
    meter = MotionMeter(SETTINGS.motion)
    speeds = [meter.push(frame.time_s, frame.picture) for frame in small_frames(path, SIDE_PX)]
    return float(np.nanmean(speeds))


def plain_motion(path: Path) -> float:
    """The same flow in the same unit, between all frames."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    fps = cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS)
    before: npt.NDArray[np.uint8] | None = None
    speeds = []
    for frame in opencv(path):
        scale = min(1.0, SIDE_PX / min(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        if before is not None:
            moved = flow.calc(before, grey, None)
            length = float(cv2.magnitude(moved[..., 0], moved[..., 1]).mean())
            speeds.append(100 * length / float(np.hypot(*grey.shape)) * fps)
        before = grey
    return float(np.mean(speeds))


def both_plain(path: Path) -> None:
    plain_cuts(path)
    plain_motion(path)


def our_faces(finder: FacePack, images: list[Frames]) -> int:
    groups = [images[n : n + FACE_BATCH] for n in range(0, len(images), FACE_BATCH)]
    return sum(len(faces) for group in groups for faces in finder.find(group))


def plain_faces(folder: Path) -> Callable[[list[Frames]], int]:
    """The same networks image by image and face by face, as InsightFace's own package calls them; without poses."""
    pack = load_pack(folder, folder / "meanshape_68.pkl")

    def find(images: list[Frames]) -> int:
        total = 0
        for image in images:
            picture, scale = fit_into(image, 640, 640)
            scores, boxes, points = decode(pack.detector.run(picture[None]), (640, 640))
            likely = np.flatnonzero(scores >= 0.5)
            for n in suppress(boxes[likely], scores[likely], 0.4):
                embed(pack.recogniser, [crop_face(image, points[likely][n] / scale)])
                total += 1
        return total

    return find


def make_video(path: Path, seconds: float, size: tuple[int, int]) -> Path:
    """Reels, enlarged, with grain that moves: a video of the usual number of bits."""
    height, width = size
    settings = ReelSettings(seed=5)
    frames = render_reel(0, settings).frames
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 4, (2 * height, 2 * width, 1)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(settings.fps), options={"crf": "23", "preset": "veryfast"}
        )
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for n in range(round(seconds * settings.fps)):
            large = cv2.resize(frames[n % len(frames)], (width, height), interpolation=cv2.INTER_CUBIC)
            top, left = rng.integers(0, height), rng.integers(0, width)
            noisy = np.clip(large + grain[top : top + height, left : left + width], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(stream.encode())
    return path


def hour_of(clip: Path, path: Path) -> Path:
    """An hour of a clip over and over, without encoding it again."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        (stream,) = source.streams.video
        copy = target.add_stream_from_template(stream)
        assert stream.time_base is not None
        assert stream.duration is not None
        packets = [(packet, packet.pts, packet.dts) for packet in source.demux(stream)]
        for turn in range(int(3600 / float(stream.duration * stream.time_base))):
            for packet, pts, dts in packets:
                if pts is None or dts is None:  # the last one, which is empty
                    continue
                again = av.Packet(bytes(packet))
                again.pts, again.dts = pts + turn * stream.duration, dts + turn * stream.duration
                again.time_base, again.is_keyframe, again.stream = stream.time_base, packet.is_keyframe, copy
                target.mux(again)
    return path


def memory(path: Path) -> None:
    """What the process holds while it scans."""

    class Watched(CutFinder):
        held: list[tuple[float, float]] = []  # noqa: RUF012 - one scan, one list

        def push(self, number: int, time_s: float, picture: Picture) -> None:
            if number % 500 == 0:
                self.held.append((time_s, psutil.Process().memory_info().rss / 1e6))
            super().push(number, time_s, picture)

    finder = Watched(SETTINGS.cuts)
    small = SETTINGS.model_copy(update={"source": SETTINGS.source.model_copy(update={"min_short_side_px": 64})})
    scan = scan_video(path, small, cuts=finder)
    assert isinstance(scan, Scan)
    table = Table(title=f"Memory over {scan.times_s[-1] / 60:.0f} minutes", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("minute", "resident MB"):
        table.add_column(name, justify="right")
    for minute in (1, 5, 10, 20, 30, 40, 50, 59):
        table.add_row(str(minute), f"{next(mb for time_s, mb in finder.held if time_s >= 60 * minute):.0f}")
    Console(highlight=False).print(table)
    print(f"{len(scan.times_s)} frames, {len(scan.transitions)} transitions")


if __name__ == "__main__":
    main()
