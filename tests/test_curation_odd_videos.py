"""Videos as they come: rotated, huge, silent or nothing but sound, badly tagged, cut off, from servers that fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

pytest.importorskip("scenedetect", reason="needs the curate extra")

from magref.curation.interfaces import Rated
from magref.curation.outcome import Failed
from magref.curation.running.bundle import Models
from magref.curation.running.engines import LocalEngine
from magref.curation.running.options import read_settings
from magref.curation.running.run import curate
from magref.curation.running.sources import find_sources, local_file
from magref.curation.running.work import Work
from magref.dataset.format import DatasetInfo
from magref.errors import InputError
from magref.video import write_video
from test_curation_scan import sliding, turned

CHANGES = ["source.min_short_side_px=32", "windows.frames=3", "windows.fps=null", "motion.most=1000"]


class Mute:
    """A rater that finds everything pleasing and remembers how large it was, and a captioner that says nothing."""

    def __init__(self) -> None:
        self.sizes: set[tuple[int, int]] = set()

    def rate(self, images):
        self.sizes |= {image.shape[:2] for image in images}
        return [Rated(5.0) for _ in images]

    def caption(self, clips):
        return [""] * len(clips)

    def name_objects(self, clips, captions):
        return [[]] * len(clips)


def run(given: list[str], folder: Path) -> tuple[dict[str, list], Mute]:
    """What the scan says of each video, by its file's name."""
    mute = Mute()
    curate(
        find_sources(given), folder / "dataset", read_settings(None, CHANGES), work=folder / "work",
        make=lambda settings: Models(mute, mute, mute, mute, mute), engine=LocalEngine(0),
        info=DatasetInfo(name="odd"),
    )  # fmt: skip
    work = Work(folder / "work")
    assert all(work.is_done("samples", source.id) for source in work.sources())
    return {Path(source.address).name: work.read("scan", source.id) for source in work.sources()}, mute


def write(path: Path, frames: np.ndarray | None, *, sound: bool = False, **options: str) -> Path:
    """A video at 8 frames a second, perhaps with a second of silence beside it or instead."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        picture = None
        if frames is not None:
            picture = container.add_stream("libx264", rate=8, options={"preset": "ultrafast", **options})
            picture.height, picture.width, picture.pix_fmt = *frames.shape[1:3], "yuv420p"
        track = container.add_stream("aac", rate=16000) if sound else None
        if picture is not None:
            for image in frames:
                container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(picture.encode())
        if track is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, 0
            container.mux(track.encode(silence))
            container.mux(track.encode())
    return path


def test_odd_videos_are_used_or_noted_with_the_reason(tmp_path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    frames = sliding(8, 2)
    turned(write_video(frames, odd / "rotated.mp4", fps=8))
    write(odd / "sound.mp4", frames, sound=True)
    write(odd / "silent.mp4", frames)
    write(odd / "sound-alone.mp4", None, sound=True)
    tagged = write_video(frames, odd / "tagged.mp4", fps=8, metadata={"comment": "A" * 8})
    tagged.write_bytes(tagged.read_bytes().replace(b"A" * 8, bytes(range(0xF8, 0x100))))
    whole = write(tmp_path / "whole.mp4", sliding(60, 3)).read_bytes()
    (odd / "cut-off.mp4").write_bytes(whole[: int(0.7 * len(whole))])
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in odd.iterdir()}

    rows, mute = run([str(odd)], tmp_path)

    assert {path.name: hashlib.sha256(path.read_bytes()).digest() for path in odd.iterdir()} == before
    for name in ("rotated.mp4", "sound.mp4", "silent.mp4", "tagged.mp4"):
        assert rows[name][0].is_kept, name
        assert any(row.level == "clip" and row.is_kept for row in rows[name]), name
    assert (rows["rotated.mp4"][0].scores["height"], rows["rotated.mp4"][0].scores["width"]) == (96, 64)
    assert mute.sizes == {(96, 64), (64, 96)}
    for name, words in (("sound-alone.mp4", "has no pictures"), ("cut-off.mp4", "damaged or breaks off")):
        assert isinstance(rows[name][0].outcome, Failed), name
        assert words in rows[name][0].outcome.error
        assert len(rows[name]) == 1


def test_a_video_of_8k_goes_through_and_its_clips_come_smaller(tmp_path) -> None:
    corner = sliding(4, 8, height=540, width=960)
    frames = np.repeat(np.repeat(corner, 8, axis=1), 8, axis=2)
    assert frames.shape[1:3] == (4320, 7680)
    path = write(tmp_path / "8k.mp4", frames, threads="1", x264opts="rc-lookahead=0:sync-lookahead=0")
    rows, mute = run([str(path)], tmp_path)
    assert (rows["8k.mp4"][0].scores["height"], rows["8k.mp4"][0].scores["width"]) == (4320, 7680)
    assert any(row.level == "clip" and row.is_kept for row in rows["8k.mp4"])
    assert mute.sizes == {(720, 1280)}


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """Serves one video whole, and the same one badly."""
    content = write_video(sliding(8, 2), tmp_path / "served.mp4", fps=8).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/error.mp4":
                self.send_error(500)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.path == "/whole.mp4" else content[:-100])

        def log_message(self, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def test_what_a_server_does_not_give_whole_has_failed_and_leaves_no_copy(server, tmp_path) -> None:
    rows, _ = run([f"{server}/{name}.mp4" for name in ("whole", "error", "short")], tmp_path)
    assert rows["whole.mp4"][0].is_kept
    assert "HTTP Error 500" in rows["error.mp4"][0].outcome.error
    assert "bytes came" in rows["short.mp4"][0].outcome.error
    assert len(list((tmp_path / "work" / "copies").iterdir())) == 1


def test_folders_of_object_stores_are_searched_and_their_videos_copied(tmp_path) -> None:
    store = fsspec.filesystem("memory")
    content = write_video(sliding(3, 2), tmp_path / "a.mp4", fps=8).read_bytes()
    for name in ("films/a.mp4", "films/deep/b.MKV", "films/notes.md", "other/c.mp4"):
        store.pipe(f"/curation-test/{name}", content)
    found = find_sources(["memory://curation-test/films"])
    assert sorted(source.address for source in found) == [
        "memory:///curation-test/films/a.mp4", "memory:///curation-test/films/deep/b.MKV",
    ]  # fmt: skip
    assert local_file(found[0], tmp_path / "copies").read_bytes() == content
    with pytest.raises(InputError, match="there are no videos in memory://curation-test/nothing"):
        find_sources(["memory://curation-test/nothing"])
