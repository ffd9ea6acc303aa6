"""Videos on disk: colours, bytes, tags, and that no half file is ever left."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from magref import video
from magref.errors import InputError
from magref.frames import FrameStream
from magref.video import read_metadata, read_video, write_video

ENDINGS = (".mp4", ".webm", ".gif")


def patches(count=9, height=64, width=96, seed=0):
    """Flat 16 x 16 patches of random colours that stand still: what compression must keep."""
    colours = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    frame = colours.repeat(16, 0).repeat(16, 1)
    return np.repeat(frame[None], count, 0)


def moving(count=9, height=64, width=96):
    """A smooth picture that slides."""
    y, x = np.mgrid[:height, :width]
    frame = np.stack([x * 255 / width, y * 255 / height, 127 + 127 * np.sin(x / 9)], -1).astype(np.uint8)
    return np.stack([np.roll(frame, 2 * i, 1) for i in range(count)])


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b.astype(float)) ** 2), 1e-9))


@pytest.mark.parametrize("ending", ENDINGS)
def test_colours_and_rate_come_back(tmp_path, ending):
    frames = patches()
    back, fps = read_video(write_video(frames, tmp_path / f"a{ending}", fps=16))
    assert back.shape == frames.shape
    assert back.dtype == np.uint8
    assert fps == 16
    # yuv420p halves the resolution of colour, so that it blends where patches meet; within them it must be right.
    inside = np.ix_(range(len(frames)), *([i for i in range(n) if 4 <= i % 16 < 12] for n in frames.shape[1:3]))
    assert psnr(frames[inside], back[inside]) > 45
    assert np.abs((back.astype(float) - frames).mean((0, 1, 2))).max() < 0.3  # nothing gets darker or redder


@pytest.mark.parametrize(("ending", "least"), [(".mp4", 32), (".webm", 32), (".gif", 26)])
def test_motion_comes_back(tmp_path, ending, least):
    frames = moving()
    back, _ = read_video(write_video(frames, tmp_path / f"a{ending}", fps=16))
    assert min(map(psnr, frames, back)) > least
    assert psnr(frames[3], back[4]) < 25  # the frames are in their places


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_file_is_420_in_bt709_and_says_so(tmp_path, ending):
    import av

    colour = np.array([200, 40, 90])
    path = write_video(np.full((3, 32, 32, 3), colour, np.uint8), tmp_path / f"a{ending}", fps=16)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "yuv420p"
        assert (frame.colorspace, frame.color_range) == (1, 1)
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        assert container.streams.video[0].codec_context.name == {".mp4": "h264", ".webm": "vp9"}[ending]
        planes = frame.to_ndarray()  # (H * 3 / 2, W): Y, then U and V
    kr, kb = 0.2126, 0.0722  # BT.709
    y = colour @ [kr, 1 - kr - kb, kb]
    expected = (
        16 + 219 * y / 255,
        *(128 + 112 * (c - y) / (1 - k) / 255 for c, k in ((colour[2], kb), (colour[0], kr))),
    )
    found = (planes[:32].mean(), planes[32:40].mean(), planes[40:].mean())
    np.testing.assert_allclose(found, expected, atol=1.5)


def test_mp4_can_start_before_it_is_whole(tmp_path):
    data = write_video(moving(), tmp_path / "a.mp4", fps=16).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_gif_loops_for_ever_and_keeps_every_frame(tmp_path):
    path = write_video(patches(), tmp_path / "a.gif", fps=16, metadata={"comment": "x"})
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        assert image.n_frames == 9


@pytest.mark.parametrize("ending", ENDINGS)
def test_same_frames_same_bytes(tmp_path, ending):
    frames, tags = moving(17), {"comment": "AI-generated", "magref": "{}"}
    first = write_video(frames, tmp_path / f"a{ending}", fps=16, metadata=tags)
    second = write_video(list(map(Image.fromarray, frames)), tmp_path / f"b{ending}", fps=16, metadata=tags)
    assert first.read_bytes() == second.read_bytes()
    stream = FrameStream(frames.shape, lambda: iter(np.split(frames, [1, 5, 13])))
    assert write_video(stream, tmp_path / f"c{ending}", fps=16, metadata=tags).read_bytes() == first.read_bytes()


def test_bytes_do_not_depend_on_the_process_or_its_cores(tmp_path):
    code = """if True:
        import os, sys, test_video as t
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for ending in t.ENDINGS:
            t.write_video(t.moving(), f"{sys.argv[1]}/there{ending}", fps=16)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    for ending in ENDINGS:
        here = write_video(moving(), tmp_path / f"here{ending}", fps=16)
        assert here.read_bytes() == (tmp_path / f"there{ending}").read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("fps", [0.5, 8, 15, 23.976, 24, 29.97, 30000 / 1001, 50])
def test_rates(tmp_path, ending, fps):
    _, back = read_video(write_video(moving(9, 16, 16), tmp_path / f"a{ending}", fps=fps))
    assert back == pytest.approx(fps, rel=0.03 if ending == ".gif" else 1e-3)


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_frame_and_views_and_uppercase(tmp_path, ending):
    frames = moving()[::3, ::-1, ::2]  # not contiguous
    for clip in (frames, frames[:1]):
        path = write_video(clip, tmp_path / f"{len(clip)}{ending.upper()}", fps=16)
        back, fps = read_video(path)
        assert back.shape == clip.shape
        assert fps == pytest.approx(16, rel=0.05)


@pytest.mark.parametrize("ending", [".webm", ".gif"])
def test_odd_sizes_where_the_format_has_them(tmp_path, ending):
    frames = moving(5, 33, 47)
    assert read_video(write_video(frames, tmp_path / f"a{ending}", fps=16))[0].shape == frames.shape


def test_odd_sizes_are_refused_for_mp4(tmp_path):
    with pytest.raises(InputError, match=r"47x33 cannot be an \.mp4; crop"):
        write_video(moving(5, 33, 47), tmp_path / "a.mp4", fps=16)
    assert not list(tmp_path.iterdir())


def test_sideways_videos_are_read_upright(tmp_path):
    frames = moving()
    path = write_video(frames, tmp_path / "a.mp4", fps=16)
    identity, quarter = (b"".join(v.to_bytes(4, "big", signed=True) for v in m) for m in ONE_AND_QUARTER)
    data = path.read_bytes()
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + quarter + data[at + len(identity) :])
    # ISO 14496-12: this matrix turns the shown picture clockwise.
    assert psnr(np.rot90(frames, -1, (1, 2)), read_video(path)[0]) > 30


ONE = 1 << 16
ONE_AND_QUARTER = ((ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30))


# --- tags ------------------------------------------------------------------------------------------------------------

TAGS = {"comment": "AI-generated ☃ 镜头\nsecond line; a=b", "description": '{"prompt": "' + "狗 dog " * 3000 + '"}'}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("tags", [TAGS, {**TAGS, "magref": "any name"}, {"title": "t", "synopsis": "s"}, {}])
def test_tags_come_back(tmp_path, ending, tags):
    assert read_metadata(write_video(moving(3), tmp_path / f"a{ending}", fps=16, metadata=tags)) == tags


def test_mp4_carries_the_tags_that_players_show(tmp_path):
    data = write_video(moving(3), tmp_path / "a.mp4", fps=16, metadata=TAGS).read_bytes()
    assert b"\xa9cmt" in data
    assert b"mdta" not in data


text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(ENDINGS), st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), text, max_size=3)
)
def test_any_tags_come_back(tmp_path, ending, tags):
    tags = {f"x_{key}": value for key, value in tags.items()}
    path = write_video(moving(1, 16, 16), tmp_path / f"a{ending}", fps=16, metadata=tags, overwrite=True)
    assert read_metadata(path) == tags


@pytest.mark.parametrize(
    "tags", [{"Comment": "x"}, {"": "x"}, {"encoder": "x"}, {"a": ""}, {"a": "\0"}, {"a": "\udcff"}]
)
def test_tags_that_could_not_come_back_are_refused(tmp_path, tags):
    with pytest.raises(InputError, match="metadata"):
        write_video(moving(1), tmp_path / "a.mp4", fps=16, metadata=tags)


def test_comment_of_another_program(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.gif", comment=b"made elsewhere")
    assert read_metadata(tmp_path / "a.gif") == {"comment": "made elsewhere"}


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 16, 16, 3), np.uint8),
        np.zeros((2, 16, 16, 3), np.float32),
        np.zeros((2, 16, 16, 4), np.uint8),
        np.zeros((16, 16, 3), np.uint8),
        [],
        [Image.new("RGB", (16, 16)), Image.new("RGB", (32, 16))],
    ],
)
def test_frames_that_are_no_video(tmp_path, frames):
    with pytest.raises(InputError):
        write_video(frames, tmp_path / "a.mp4", fps=16)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 5000])
def test_impossible_rates(tmp_path, fps):
    with pytest.raises(InputError, match="frames per second"):
        write_video(moving(1), tmp_path / "a.mp4", fps=fps)
    with pytest.raises(InputError, match="at most 50"):
        write_video(moving(1), tmp_path / "a.gif", fps=60)


def test_reading_what_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    (tmp_path / "a.gif").write_text("no video")
    for read in (read_video, read_metadata):
        for name, says in (
            ("a.mp4", "cannot be read"),
            ("b.mp4", "does not exist"),
            ("", "folder"),
            ("a.gif", "cannot"),
        ):
            with pytest.raises(InputError, match=says):
                read(tmp_path / name)


def test_cut_off_video_is_an_input_error(tmp_path):
    path = write_video(moving(), tmp_path / "a.mp4", fps=16)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"a\.mp4"):
        read_video(path)


# --- whole or not at all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("existing", [True, False])
def test_an_interrupt_leaves_the_name_as_it_was(tmp_path, monkeypatch, ending, error, existing):
    path = tmp_path / f"a{ending}"
    if existing:
        path.write_text("mine")
    real = video._frame

    def interrupted(array, index, time_base):
        if index == 3:
            raise error
        return real(array, index, time_base)

    monkeypatch.setattr(video, "_frame", interrupted)
    with pytest.raises(error):
        write_video(moving(), path, fps=16, overwrite=True)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"] * existing


CODE_UNDER_LIMIT = """
    import resource, signal, sys
    import numpy as np
    from magref.errors import OutputError
    from magref.video import write_video
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit then fails with EFBIG, like a full disk
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 96, 3), dtype=np.uint8)
    for ending in ("mp4", "webm", "gif"):
        path = f"{sys.argv[1]}/a.{ending}"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        size = write_video(noise, path, fps=16, metadata={"comment": "x" * 3000}).stat().st_size
        whole = open(path, "rb").read()
        for limit in (0, 100, 5000, size // 2, size - 3000, size - 1, size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                write_video(noise, f"{sys.argv[1]}/b.{ending}", fps=16, metadata={"comment": "x" * 3000})
                assert limit == size and open(f"{sys.argv[1]}/b.{ending}", "rb").read() == whole, limit
            except OutputError as error:
                assert limit < size and "larger than files may be" in str(error), (limit, size, error)
"""


def test_a_write_that_fails_anywhere_leaves_nothing(tmp_path):
    """The limit stands for a full disk: at the first byte, in the middle, in the last byte of the second pass."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(CODE_UNDER_LIMIT), str(tmp_path)], check=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{n}.{e}" for n in "ab" for e in ("gif", "mp4", "webm")]


def test_killed_in_the_middle_there_is_no_final_file(tmp_path):
    code = """
        import sys, time
        import numpy as np
        from magref import video
        real = video._frame
        def slow(array, index, time_base):
            if index == 40: print("writing", flush=True); time.sleep(60)
            return real(array, index, time_base)
        video._frame = slow
        video.write_video(np.zeros((50, 64, 96, 3), np.uint8), sys.argv[1] + "/a.mp4", fps=16)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    assert not (tmp_path / "a.mp4").exists()
    # What nobody was left to remove is hidden and does not look like an output.
    assert all(p.name.startswith(".a.") and ".part" in p.name for p in tmp_path.iterdir())


def test_import_is_light():
    code = """if True:
        import sys, magref.sheets, magref.sidecar, magref.batch
        assert not {"av", "torch", "diffusers"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
