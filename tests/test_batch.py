"""Case files: what they may say, and that every mistake is named with its line before any video is made."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from magref.batch import read_cases
from magref.canvas import compose_canvas
from magref.errors import InputError
from magref.references import open_reference


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("dog.png", "brown"), ("park.jpg", "green")):
        Image.new("RGB", (40, 20), colour).save(folder / name)
    return folder


DOG = {"uri": "pictures/dog.png"}


def case(**changes):
    return {"id": "one", "prompt": "a dog runs", "refs": [DOG]} | changes


def write(tmp_path, *cases, name="cases.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(c if isinstance(c, str) else json.dumps(c) for c in cases), encoding="utf-8")
    return path


def test_a_full_case(tmp_path, pictures):
    digest = hashlib.sha256((pictures / "dog.png").read_bytes()).hexdigest()
    refs = [
        {**DOG, "key": "r1", "role": "person", "label": "the dog", "sha256": digest, "crop": [10, 0, 30, 20]},
        {"uri": (pictures / "park.jpg").as_uri(), "role": "background"},
    ]
    source = {"dataset": "opens2v", "case_id": "x", "license": "CC-BY-4.0"}
    path = write(
        tmp_path, case(refs=refs, group="multi_subject", category="human_object_background", source=source), ""
    )
    (found,) = read_cases(path)
    assert found.id == "one"
    assert found.source.license == "CC-BY-4.0"
    dog, park = found.references()
    assert (dog.image, dog.crop) == (pictures / "dog.png", (10, 0, 30, 20))
    assert (dog.role, dog.label) == ("person", "the dog")
    assert park.image == pictures / "park.jpg"
    assert park.role == "background"
    compose_canvas(found.references(), height=64, width=96)


def test_authors_text_file(tmp_path, pictures):
    path = write(
        tmp_path,
        "a@@a dog runs@@pictures/dog.png",
        "\r",
        "b@@ both @@ pictures/dog.png@@pictures/park.jpg\r",
        name="t.txt",
    )
    first, second = read_cases(str(path))
    assert (first.id, first.prompt) == ("a", "a dog runs")
    assert second.prompt == "both"
    assert [r.image for r in second.references()] == [pictures / "dog.png", pictures / "park.jpg"]
    assert all(r.role == "object" for r in second.references())


def test_images_are_also_looked_for_in_the_current_folder(tmp_path, pictures, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", case())
    with pytest.raises(InputError, match="does not exist"):
        read_cases(path)
    monkeypatch.chdir(tmp_path)
    assert read_cases(path)[0].references()[0].image == Path("pictures/dog.png")


def test_a_crop_counts_in_the_upright_picture(tmp_path, pictures):
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying; upright it is 20 wide and 40 high, blue above red
    image.save(pictures / "turned.png", exif=exif)
    path = write(tmp_path, case(refs=[{"uri": "pictures/turned.png", "crop": [0, 20, 20, 40]}]))
    (reference,) = read_cases(path)[0].references()
    assert open_reference(reference).rgb.getcolors() == [(400, (255, 0, 0))]
    with pytest.raises(InputError, match="20x40"):
        read_cases(write(tmp_path, case(refs=[{"uri": "pictures/turned.png", "crop": [20, 0, 40, 20]}])))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", "not JSON"),
        ("[]", "should be an object"),
        (case(extra=1), "extra is unknown"),
        ({"id": "a", "prompt": "b"}, "refs is missing"),
        (case(refs=[]), "refs"),
        (case(refs=[DOG] * 9), "refs"),
        (case(refs=[{**DOG, "role": "animal"}]), r"refs\.0\.role"),
        (case(refs=[{**DOG, "weight": 1}]), r"refs\.0\.weight is unknown"),
        (case(refs=[{"uri": "pictures/cat.png"}]), r"cat\.png does not exist"),
        (case(refs=[{"uri": "pictures"}]), "does not exist"),
        (case(refs=[{"uri": ""}]), r"refs\.0\.uri"),
        (case(refs=[{"uri": "https://example.org/dog.png"}]), "not a local file; fetch it yourself"),
        (case(refs=[{"uri": "s3://bucket/dog.png"}]), "not a local file"),
        (case(refs=[{"uri": f"data:image/png;base64,{'A' * 5000}"}]), "data:image/png;base6... is not a file"),
        ("[" * 100_000, "not JSON"),
        (case(refs=[{**DOG, "sha256": "0" * 64}]), "sha256"),
        (case(refs=[{**DOG, "sha256": "beef"}]), r"refs\.0\.sha256"),
        (case(refs=[{**DOG, "crop": [0, 0, 50, 20]}]), "crop .* does not lie in .* 40x20"),
        (case(refs=[{**DOG, "crop": [30, 0, 10, 20]}]), "crop"),
        (case(refs=[{**DOG, "crop": [-1, 0, 10, 20]}]), "crop"),
        (case(refs=[{**DOG, "crop": [0, 0, 4]}]), r"refs\.0\.crop"),
        (case(refs=[{**DOG, "crop": [0, 0, 4, 4]}]), r"the crop \[0, 0, 4, 4\] of .*dog\.png is 4x4; use one with"),
        (case(refs=[{"uri": "first.jsonl"}]), "not a picture"),
        (case(group="single"), "group"),
        (case(category="dog"), "category"),
        (case(source={"url": "x"}), "source.url is unknown"),
        (case(prompt="  "), "the prompt is empty"),
        (case(id=3), "id"),
        (case(id="first"), "already on line 1"),
        (case(id="FIRST"), "already on line 1"),
        *(
            (case(id=name), "cannot name a file")
            for name in ("", ".hidden", "..", "a/b", "a\\b", "/a", "a\nb", "a\0b", " a", "c:a")
        ),
        (case(id="狗" * 70), "longer than 200 bytes"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, pictures, bad, says):
    write(tmp_path, "no picture", name="first.jsonl")
    with pytest.raises(InputError, match=says) as caught:
        read_cases(write(tmp_path, case(id="first"), "", bad))
    assert "cases.jsonl, line 3: " in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("just words", "key@@prompt@@image"),
        ("a@@prompt", "key@@prompt@@image"),
        ("a@@@@pictures/dog.png", "key@@prompt@@image"),
        ("a@@prompt@@pictures/dog.png@@", "key@@prompt@@image"),
        ("a@@prompt" + "@@pictures/dog.png" * 9, "9 references"),
        ("a/b@@prompt@@pictures/dog.png", "cannot name a file"),
        ("a@@prompt@@pictures/cat.png", "does not exist"),
    ],
)
def test_mistakes_in_text_files(tmp_path, pictures, line, says):
    with pytest.raises(InputError, match=says) as caught:
        read_cases(write(tmp_path, "ok@@prompt@@pictures/dog.png", line, name="t.txt"))
    assert "t.txt, line 2: " in str(caught.value)


def test_files_that_are_no_case_files(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "folder.txt").mkdir()
    for name, says in (
        ("a.csv", "must end in"),
        ("a.txt", "does not exist"),
        ("latin.txt", "cannot be read"),
        ("folder.txt", "cannot be read"),
    ):
        with pytest.raises(InputError, match=says):
            read_cases(tmp_path / name)
    with pytest.raises(InputError, match="no cases"):
        read_cases(write(tmp_path, "", " "))


def test_a_byte_order_mark_and_rare_line_breaks_are_fine(tmp_path, pictures):
    path = write(tmp_path, "\ufeff" + json.dumps(case(prompt="a\u2028b\x85c"), ensure_ascii=False))
    assert read_cases(path)[0].prompt == "a\u2028b\x85c"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=30))
def test_every_accepted_id_is_one_file_name(tmp_path, pictures, name):
    try:
        (found,) = read_cases(write(tmp_path, case(id=name)))
    except InputError:
        return
    (tmp_path / "out").mkdir(exist_ok=True)
    path = tmp_path / "out" / f"{found.id}.mp4"
    path.touch()
    assert [p.name for p in (tmp_path / "out").iterdir()] == [path.name]
    path.unlink()
