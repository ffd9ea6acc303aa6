"""References: what is read as what, and that every mistake is one sentence that names the picture and the remedy."""

import hashlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from magref import references
from magref.errors import InputError
from magref.references import MAX_REFERENCES, Reference, open_reference, open_references

RED, WHITE = (255, 0, 0), (255, 255, 255)


def opened(image, **reference):
    return open_reference(Reference(image, **reference))


def saved(image, path, **options):
    image.save(path, **options)
    return path


def quarters(size=(40, 20)):
    """Four colours, so that every turn and mirroring can be told."""
    image = Image.new("RGB", size, "red")
    width, height = size[0] // 2, size[1] // 2
    for colour, corner in (("lime", (width, 0)), ("blue", (0, height)), ("yellow", (width, height))):
        image.paste(colour, (*corner, corner[0] + width, corner[1] + height))
    return image


# --- what is read as what --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_pictures_stand_upright(tmp_path, orientation, ending):
    # EXIF 2.3, 4.6.4: how the stored picture has to be turned to be looked at.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = quarters()
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(stored, tmp_path / f"a.{ending}", exif=exif, quality=95)
    found = np.asarray(opened(path).rgb).astype(int)
    assert found.shape == (20, 40, 3)
    for y, x in ((5, 10), (5, 30), (15, 10), (15, 30)):
        assert np.abs(found[y, x] - np.asarray(upright)[y, x]).max() < 16


def half_transparent(mode):
    """Left: red that is transparent; right: red that is not."""
    rgba = Image.new("RGBA", (40, 20), (*RED, 0))
    rgba.paste((*RED, 255), (20, 0, 40, 20))
    if mode == "P":
        return rgba.quantize(4)
    return rgba.convert(mode)


@pytest.mark.parametrize(("mode", "ink"), [("RGBA", RED), ("P", RED), ("LA", (76, 76, 76))])
@pytest.mark.parametrize("from_file", [True, False])
def test_transparency_shows_white_and_not_what_it_hides(tmp_path, mode, ink, from_file):
    image = half_transparent(mode)
    reference = opened(saved(image, tmp_path / "a.png") if from_file else image)
    assert reference.rgb.mode == "RGB"
    assert reference.rgb.getpixel((5, 5)) == WHITE
    assert np.abs(np.subtract(reference.rgb.getpixel((35, 5)), ink)).max() <= 1
    assert reference.alpha.mode == "L"
    assert (reference.alpha.getpixel((5, 5)), reference.alpha.getpixel((35, 5))) == (0, 255)


def test_one_transparent_colour_of_an_opaque_mode(tmp_path):
    path = saved(quarters(), tmp_path / "a.png", transparency=RED)
    assert opened(path).rgb.getpixel((5, 5)) == WHITE
    assert opened(path).rgb.getpixel((35, 5)) == (0, 255, 0)


def test_half_seen_colours_mix_with_white():
    assert opened(Image.new("RGBA", (10, 10), (0, 0, 0, 127))).rgb.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "YCbCr"])
def test_opaque_pictures_have_no_alpha(mode):
    assert opened(quarters().convert(mode)).alpha is None


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path, ending):
    ramp = np.linspace(0, 65535, 40, dtype=np.uint16)[None].repeat(20, 0)
    path = saved(Image.fromarray(ramp), tmp_path / f"a.{ending}")
    rgb = np.asarray(opened(path).rgb)
    np.testing.assert_array_equal(rgb[..., 0], ramp >> 8)
    assert (rgb == rgb[..., :1]).all()


def test_cmyk(tmp_path):
    path = saved(quarters((64, 32)).convert("CMYK"), tmp_path / "a.jpg", quality=95)
    red, yellow = (np.array(opened(path).rgb.getpixel(at), int) for at in ((8, 8), (56, 24)))
    assert np.abs(red - RED).max() < 16
    assert np.abs(yellow - (255, 255, 0)).max() < 16


def test_animations_give_their_first_frame(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert opened(path).rgb.getpixel((5, 5)) == RED


def test_a_given_image_is_left_as_it_was():
    image = half_transparent("RGBA")
    before = image.tobytes()
    open_references([image, image])
    assert image.tobytes() == before


# --- crop ------------------------------------------------------------------------------------------------------------


def test_a_crop_counts_in_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(quarters().transpose(Image.Transpose.ROTATE_90), tmp_path / "a.png", exif=exif)
    reference = opened(path, crop=(20, 10, 40, 20))
    assert reference.rgb.getcolors() == [(200, (255, 255, 0))]
    assert reference.crop == (20, 10, 40, 20)
    assert reference.sha256 == opened(path).sha256  # of the whole file
    assert opened(quarters(), crop=(20, 10, 40, 20)).sha256 == opened(quarters()).sha256


def test_a_crop_cuts_the_transparency_too():
    reference = opened(half_transparent("RGBA"), crop=(10, 0, 30, 20))
    assert reference.alpha.size == reference.rgb.size == (20, 20)
    assert reference.rgb.getpixel((2, 2)) == WHITE
    assert reference.rgb.getpixel((18, 2)) == RED


def test_a_crop_makes_a_long_picture_usable():
    panorama = Image.new("RGB", (800, 20))
    with pytest.raises(InputError, match="crop it"):
        opened(panorama)
    assert opened(panorama, crop=(100, 0, 200, 20)).rgb.size == (100, 20)


@pytest.mark.parametrize("crop", [[0, 0, 20, 10], np.array([0, 0, 20, 10])])
def test_any_four_whole_numbers_are_a_crop(crop):
    assert Reference("a.png", crop=crop).crop == (0, 0, 20, 10)
    assert isinstance(hash(Reference("a.png", crop=crop)), int)


@pytest.mark.parametrize(
    "crop",
    [(0, 0, 10), (0, 0, 10, 10, 10), (10, 0, 5, 10), (0, 10, 10, 10), (-1, 0, 9, 9), (0, 0, 0.5, 1.0), 3, "abcd"],
)
def test_what_is_no_crop(crop):
    with pytest.raises(InputError, match=r"the crop .* is not left, top, right, bottom; give four whole numbers"):
        Reference("a.png", crop=crop)


@pytest.mark.parametrize(
    ("crop", "says"),
    [
        (
            (0, 0, 41, 20),
            r"the crop \[0, 0, 41, 20\] does not lie in the reference .*a\.png, which is 40x20.*; make it fit",
        ),
        ((0, 15, 40, 25), r"a\.png, which is 40x20"),
        ((0, 0, 7, 20), r"the crop \[0, 0, 7, 20\] of the reference .*a\.png is 7x20; use one with at least 8 pixels"),
    ],
)
def test_crops_that_do_not_fit(tmp_path, crop, says):
    path = saved(quarters(), tmp_path / "a.png")
    with pytest.raises(InputError, match=says):
        opened(path, crop=crop)


# --- one to eight of them --------------------------------------------------------------------------------------------


def test_backgrounds_come_last_and_the_rest_stays_in_order():
    names = "abcdef"
    roles = ["background", "object", "background", "person", "object", "background"]
    given = [Reference(quarters(), role=role, label=name) for name, role in zip(names, roles, strict=True)]
    assert "".join(reference.label for reference in open_references(given)) == "bdeacf"


def test_one_picture_needs_no_list(tmp_path):
    path = saved(quarters(), tmp_path / "a.png")
    for one in (path, str(path), Reference(path), quarters()):
        assert len(open_references(one)) == 1
    (reference,) = open_references([path])
    assert (reference.path, reference.role, reference.label) == (path, "object", None)
    assert open_references([quarters()] * MAX_REFERENCES)[0].path is None


@pytest.mark.parametrize("count", [0, 9])
def test_too_few_and_too_many(count):
    with pytest.raises(InputError, match=f"^{count} references were given; give 1 to 8$"):
        open_references([quarters()] * count)


def test_equal_files_have_equal_hashes(tmp_path):
    first, second = saved(quarters(), tmp_path / "a.png"), saved(quarters(), tmp_path / "b.png")
    assert opened(first).sha256 == opened(second).sha256 == hashlib.sha256(first.read_bytes()).hexdigest()
    assert opened(first).sha256 != opened(saved(quarters(), tmp_path / "a.webp", lossless=True)).sha256
    assert opened(quarters()).sha256 == opened(quarters()).sha256
    assert len({opened(i).sha256 for i in (quarters(), quarters((20, 40)), quarters().convert("L"))}) == 3


def test_home_folder_is_found_and_names_may_start_with_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    saved(quarters(), tmp_path / "~dog.png")
    assert opened("~/~dog.png").path == tmp_path / "~dog.png"
    assert opened("~dog.png").rgb.size == (40, 20)


# --- mistakes --------------------------------------------------------------------------------------------------------


def png(width, height, *chunks):
    """A PNG that promises a size and has no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in (*chunks, (b"IEND", b"")))


def jpeg(size=(200, 100)):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def picture(size):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


FILES = {
    name: (content, says)
    for name, content, says in [
        ("text.png", b"no picture", "is not a picture that can be read; use PNG, JPEG or WebP"),
        ("empty.jpg", b"", "is not a picture that can be read; use PNG, JPEG or WebP"),
        ("half.jpg", jpeg()[:8000], r"cannot be read \(.*truncated.*\); check or replace the file"),
        ("half.png", picture((300, 300))[:60], r"cannot be read \(.*\); check or replace the file"),
        ("dot.png", picture((1, 1)), "is 1x1; use one with at least 8 pixels on both sides"),
        ("thread.png", picture((10000, 3)), "is 10000x3; use one with at least 8 pixels on both sides"),
        ("strip.png", picture((3000, 20)), "is 3000x20; crop it so that no side exceeds 32 times the other"),
        ("bomb.png", png(50_000, 50_000), "has more than 150,000,000 pixels; make it smaller"),
        ("large.png", png(13_000, 12_000), "is 13000x12000, more than 150,000,000 pixels; make it smaller"),
    ]
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("error")
def test_files_that_cannot_be_used(tmp_path, name):
    path = tmp_path / name
    content, says = FILES[name]
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        opened(path)
    assert str(caught.value).startswith(f"the reference {path} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(50_000, 50_000), (13_000, 12_000), (1, 1), (10_000, 3)])
def test_wrong_sizes_are_known_before_anything_is_decoded(tmp_path, monkeypatch, size):
    def decoded(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(Image.Image, "load", decoded)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    (tmp_path / "a.png").write_bytes(png(*size))
    with pytest.raises(InputError, match=r"a\.png"):
        opened(tmp_path / "a.png")


def test_a_bomb_is_refused_whatever_its_crop(tmp_path):
    (tmp_path / "a.png").write_bytes(png(13_000, 12_000))
    with pytest.raises(InputError, match="make it smaller"):
        opened(tmp_path / "a.png", crop=(0, 0, 100, 100))


def test_text_that_unpacks_to_gigabytes(tmp_path):
    text = b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    (tmp_path / "a.png").write_bytes(png(40, 40, (b"zTXt", text)))
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        opened(tmp_path / "a.png")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    saved(quarters(), tmp_path / "a.png")
    for name, says in (
        ("cat.png", "does not exist; check its path"),
        ("a.png/b.png", "does not exist; check its path"),
        ("n" * 300, r"cannot be read \(File name too long\); check its path"),
        ("a\0b", "does not exist; check its path"),
        (".", "is a folder; name a picture in it"),
        ("pipe.png", "is not a regular file; save the picture in one"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            opened(tmp_path / name)
        assert str(caught.value).startswith(f"the reference {tmp_path / name} ")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = saved(quarters(), tmp_path / "a.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(references.Image, "open", refuse)  # root may read anything
    with pytest.raises(InputError, match=r"a\.png cannot be read \(.*Permission denied.*\); check or replace"):
        opened(path)


@pytest.mark.parametrize("wrong", [3, None, b"a.png", np.zeros((8, 8, 3))])
def test_wrong_types(wrong):
    with pytest.raises(InputError, match=r"^reference 2 is of type \w+; give a path or a PIL image$"):
        open_references([quarters(), wrong])


def test_no_list():
    for wrong in (None, 3, {"a.png"}):
        with pytest.raises(InputError, match=r"^the references are a \w+; give a list of paths or PIL images$"):
            open_references(wrong)


def test_an_image_in_memory_is_named_by_its_place():
    with pytest.raises(InputError, match=r"^reference 2 is 1x1; use one"):
        open_references([Reference(quarters(), role="background"), Image.new("RGB", (1, 1))])


def test_unknown_role():
    with pytest.raises(InputError, match="role 'animal' is unknown; use person, object or background"):
        Reference("a.png", role="animal")


def seeds():
    image = quarters((24, 16))
    ImageDraw.Draw(image).ellipse((2, 2, 20, 12), fill="white")
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        file = io.BytesIO()
        image.save(file, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}))
        yield file.getvalue()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(list(seeds())),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    st.floats(0, 1),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path, content, changes, length, cut):
    damaged = bytearray(content)
    for where, byte in changes:
        damaged[int(where * (len(damaged) - 1))] = byte
    path = tmp_path / "a.img"
    path.write_bytes(damaged[: int(length * len(damaged))] if cut else damaged)
    try:
        reference = opened(path)
    except InputError as error:
        sentence = str(error)
        assert str(path) in sentence
    else:
        assert reference.rgb.mode == "RGB"


def test_the_hash_is_of_the_pixels_when_the_picture_was_opened():
    image = quarters()
    expected = opened(image.copy()).sha256
    reference = opened(image)
    image.putpixel((0, 0), (1, 2, 3))
    assert reference.sha256 == expected


def test_a_picture_without_a_visible_pixel_is_refused():
    with pytest.raises(InputError, match="wholly transparent; give a picture that shows something"):
        opened(Image.new("RGBA", (20, 20), (255, 0, 0, 0)))


@pytest.mark.parametrize("bits", [8, 16, 31])
def test_whole_numbers_of_any_depth_keep_their_greys(tmp_path, bits):
    ramp = np.linspace(0, 2**bits - 1, 256, dtype=np.int64).astype(np.int32).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "grey.tif")
    assert Image.open(tmp_path / "grey.tif").mode == "I"
    grey = np.asarray(opened(tmp_path / "grey.tif").rgb)[..., 0]
    assert np.abs(grey.astype(int) - np.arange(256).reshape(16, 16)).max() <= 1


def test_fractions_are_refused(tmp_path):
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(InputError, match=r"f\.tif has fractions for pixels.*save it as 8-bit PNG"):
        opened(tmp_path / "f.tif")
