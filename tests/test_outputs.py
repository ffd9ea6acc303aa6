"""Outputs: whole or not at all, nothing overwritten unasked, and one sentence for what the system refuses."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

from magref.errors import OutputError
from magref.outputs import check_output, write_image, writing
from magref.video import read_video, write_video

PICTURE = Image.new("RGB", (30, 20), "red")
FRAMES = np.zeros((2, 16, 16, 3), np.uint8)


def test_check_output_makes_nothing(tmp_path):
    assert check_output(tmp_path / "new" / "folder" / "a.mp4") == tmp_path / "new" / "folder" / "a.mp4"
    assert not list(tmp_path.iterdir())


def test_check_output_refuses(tmp_path):
    (tmp_path / "a.mp4").write_text("mine")
    (tmp_path / "b.mp4").mkdir()
    for name, says in (
        ("a.avi", r"ends in \.avi; use \.mp4, \.webm or \.gif"),
        ("a", "ends in nothing"),
        ("a.mp4", "exists; choose another name, or use --overwrite"),
        ("b.mp4", "is a folder"),
        ("a.mp4/x/c.mp4", r"a\.mp4 is a file"),
        ("n" * 300 + ".mp4", "too long"),
    ):
        with pytest.raises(OutputError, match=says):
            check_output(tmp_path / name)
        with pytest.raises(OutputError, match=says):
            write_video(FRAMES[:1], tmp_path / name, fps=16)
    check_output(tmp_path / "a.mp4", overwrite=True)
    assert (tmp_path / "a.mp4").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_folder_that_is_not_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match="is not writable; choose another folder"):
        check_output(tmp_path / "x" / "a.mp4")


def test_folders_are_made_links_followed_and_only_asked_overwritten(tmp_path):
    path = tmp_path / "new" / "folder" / "a.gif"
    write_video(FRAMES[:1], path, fps=16)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        write_video(FRAMES, path, fps=16)
    assert path.read_bytes() == before
    link = tmp_path / "link.gif"
    link.symlink_to(path)
    write_video(FRAMES, link, fps=16, overwrite=True)
    assert link.is_symlink()
    assert path.read_bytes() != before
    assert [p.name for p in path.parent.iterdir()] == ["a.gif"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def test_names_as_long_as_may_be_and_links_of_another_ending(tmp_path):
    write_video(FRAMES[:1], tmp_path / ("狗" * 82 + ".mp4"), fps=16)
    (tmp_path / "a.mp4").symlink_to(tmp_path / "data.bin")
    write_video(FRAMES[:1], tmp_path / "a.mp4", fps=16)
    assert read_video(tmp_path / "data.bin")[0].shape == FRAMES[:1].shape


def umask():
    os.umask(mask := os.umask(0))
    return mask


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "disk is full; free some space"),
        (errno.EDQUOT, "disk is full"),
        (errno.EACCES, "is not writable"),
        (errno.EROFS, "is not writable"),
        (errno.EIO, "the system says"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(tmp_path, monkeypatch, number, says):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    for write in (
        lambda p: write_video(FRAMES[:1], p / "a.mp4", fps=16),
        lambda p: write_image(PICTURE, p / "a.png"),
    ):
        with pytest.raises(OutputError, match=says) as caught:
            write(tmp_path)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())


def test_two_writers_of_one_name_do_not_overwrite(tmp_path):
    path = tmp_path / "a.txt"

    def write_late():
        with writing(path) as temporary:
            temporary.write_text("late")
            path.write_text("first")

    with pytest.raises(OutputError, match="exists"):
        write_late()
    assert path.read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", [".png", ".jpg", ".jpeg", ".webp"])
def test_images(tmp_path, ending):
    image = Image.new("RGBA", (20, 10), "red")
    path = write_image(image, tmp_path / "new" / f"a{ending}")
    with Image.open(path) as back:
        assert back.size == image.size
    with pytest.raises(OutputError, match="--overwrite"):
        write_image(image, path)
    write_image(image, path, overwrite=True)
    with pytest.raises(OutputError, match="ends in"):
        write_image(image, tmp_path / "a.bmp")
