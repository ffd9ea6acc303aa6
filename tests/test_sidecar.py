"""The record beside a video: it comes back whole, and says clearly what is wrong with it."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from magref import sidecar as sidecars
from magref.errors import CheckpointError, InputError, OutputError
from magref.references import Reference, file_sha256, open_references
from magref.settings import GenerationSettings
from magref.sidecar import (
    LoraRecord,
    ModelRecord,
    ReferenceRecord,
    Sidecar,
    installed_versions,
    metadata_of,
    read_sidecar,
    reopen_references,
    sidecar_path,
    weights_sha256,
    write_sidecar,
)
from magref.video import read_metadata, write_video

NONE = "0" * 64


def make(references=(), prompt="a dog 狗 runs", **changes):
    return Sidecar(
        settings=GenerationSettings(prompt=prompt, seed=2**62 + 1, guidance_scale=0.1 + 0.2),
        references=tuple(references),
        model=ModelRecord(
            name="magref-nano",
            weights_sha256=NONE,
            dtype="float32",
            lora=(LoraRecord(path="a", sha256=NONE, scale=0.7),),
        ),
        device="cpu",
        versions=installed_versions(),
        frames=17,
        fps=16,
        **changes,
    )


@pytest.fixture
def dog(tmp_path):
    path = tmp_path / "dog.png"
    Image.new("RGB", (16, 16), "brown").save(path)
    return path


def test_a_record_comes_back_as_it_was(tmp_path):
    record = make([ReferenceRecord(path="dog.png", sha256=NONE, role="person", label="犬")], output_sha256="a" * 64)
    path = write_sidecar(record, tmp_path / "new" / "a.json")
    assert read_sidecar(path) == record
    assert "狗" in path.read_text(encoding="utf-8")  # a person can read it
    with pytest.raises(OutputError, match="--overwrite"):
        write_sidecar(record, path)
    write_sidecar(make(), path, overwrite=True)
    assert read_sidecar(path) == make()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=("Cs",))), st.floats(0, 1e6), st.integers(0, 2**63 - 1))
def test_any_settings_come_back(tmp_path, prompt, guidance, seed):
    record = make().model_copy(
        update={"settings": GenerationSettings(prompt=prompt, seed=seed, guidance_scale=guidance, solver="dpm++")}
    )
    assert read_sidecar(write_sidecar(record, tmp_path / "a.json", overwrite=True)) == record
    assert sidecars._parse(metadata_of(record)["description"], tmp_path) == record


def test_equal_work_gives_equal_bytes(tmp_path):
    first, second = (write_sidecar(make(), tmp_path / name).read_bytes() for name in ("a.json", "b.json"))
    assert first == second


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif"])
def test_the_video_carries_its_record(tmp_path, ending):
    record = make([ReferenceRecord(path=None, sha256=NONE, role="object")], output_sha256="a" * 64)
    path = tmp_path / f"a{ending}"
    write_video(np.zeros((2, 16, 16, 3), np.uint8), path, fps=16, metadata=metadata_of(record))
    assert read_sidecar(path) == record.model_copy(update={"output_sha256": None})
    assert read_metadata(path)["comment"].startswith("AI-generated video, made with magref")
    assert sidecar_path(path) == tmp_path / "a.json"


def test_a_prompt_that_is_no_unicode_does_not_lose_the_record(tmp_path):
    record = make([ReferenceRecord(path="\udcff.png", sha256=NONE, role="object")])
    path = write_sidecar(record, tmp_path / "a.json")
    assert json.loads(path.read_text())["references"][0]["path"] == "\udcff.png"
    assert metadata_of(record)["description"].isascii()


def without(name):
    data = make().model_dump(mode="json")
    del data[name]
    return json.dumps(data)


def with_(**changes):
    return json.dumps(make().model_dump(mode="json") | changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[1]", "is not a magref sidecar"),
        ('{"prompt": "a dog"}', "is not a magref sidecar"),
        (with_(version=2), "has version 2, not 1"),
        (with_(extra=1), "extra is unknown"),
        (without("model"), "model is missing"),
        (with_(frames="17"), "frames: input should be a valid integer"),
        (with_(ai_generated=False), "ai_generated"),
        (with_(output_sha256="beef"), "output_sha256: string should match"),
        (with_(settings={"prompt": "a"}), r"settings\.seed is missing"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, text, says):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_sidecar(tmp_path / "a.json")
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_sidecar_at_all(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    write_video(np.zeros((2, 16, 16, 3), np.uint8), tmp_path / "a.mp4", fps=16)
    for name, says in (
        ("a.json", "cannot be read"),
        ("b.json", "does not exist"),
        ("", "is a folder"),
        ("a.mp4", "carries no magref record"),
    ):
        with pytest.raises(InputError, match=says):
            read_sidecar(tmp_path / name)


# --- references ------------------------------------------------------------------------------------------------------


def test_references_are_found_from_both_folders(tmp_path, dog, monkeypatch):
    digest = file_sha256(dog)
    assert digest == hashlib.sha256(dog.read_bytes()).hexdigest()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for here, base, name in (
        (tmp_path, elsewhere, "dog.png"),
        (elsewhere, tmp_path, "dog.png"),
        (elsewhere, elsewhere, str(dog)),
    ):
        monkeypatch.chdir(here)
        record = make([ReferenceRecord(path=name, sha256=digest, role="person", label="the dog")])
        (reference,) = reopen_references(record, base)
        assert reference.image.samefile(dog)
        assert (reference.role, reference.label) == ("person", "the dog")
    (elsewhere / "dog.png").write_text("another one")  # the current folder has another picture of that name
    assert reopen_references(make([ReferenceRecord(path="dog.png", sha256=digest, role="object")]), tmp_path)


def test_a_cropped_reference_is_replayed_cropped(tmp_path, dog):
    opened = open_references([Reference(Image.new("RGB", (9, 9))), Reference(dog, label="dog", crop=(0, 4, 16, 12))])
    in_memory, from_file = map(ReferenceRecord.of, opened)
    assert in_memory.path is None
    assert from_file == ReferenceRecord(
        path=str(dog), sha256=file_sha256(dog), role="object", label="dog", crop=(0, 4, 16, 12)
    )
    record = read_sidecar(write_sidecar(make([from_file]), tmp_path / "a.json"))
    assert reopen_references(record, tmp_path) == [Reference(dog, label="dog", crop=(0, 4, 16, 12))]


def test_references_that_are_gone_or_other(tmp_path, dog):
    digest = file_sha256(dog)
    dog.write_bytes(dog.read_bytes() + b"\0")
    for path, says in (("dog.png", "has changed"), ("cat.png", "does not exist"), (None, "was no file")):
        with pytest.raises(InputError, match=says):
            reopen_references(make([ReferenceRecord(path=path, sha256=digest, role="object")]), tmp_path)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_weights_hash_sees_names_sizes_and_content(tmp_path):
    (tmp_path / "vae").mkdir()
    first, second = tmp_path / "vae" / "a.safetensors", tmp_path / "b.bin"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    (tmp_path / "config.json").write_text("{}")
    base = weights_sha256(tmp_path)
    assert base == weights_sha256(str(tmp_path))
    (tmp_path / "config.json").write_text("{ }")
    assert weights_sha256(tmp_path) == base  # no weights
    seen = {base}
    second.write_bytes(b"twO")
    seen.add(weights_sha256(tmp_path))
    second.write_bytes(b"twO!")
    seen.add(weights_sha256(tmp_path))
    second.rename(tmp_path / "c.bin")
    seen.add(weights_sha256(tmp_path))
    assert len(seen) == 4
    assert weights_sha256(first) == weights_sha256([first])


def test_large_weights_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(sidecars, "_WHOLE_UP_TO_BYTES", 1000)
    monkeypatch.setattr(sidecars, "_SAMPLE_BYTES", 10)
    header = b"{" + b" " * 298 + b"}"
    data = bytearray(len(header).to_bytes(8, "little") + header + bytes(4692))
    path = tmp_path / "a.safetensors"

    def changed(at):
        altered = data.copy()
        altered[at] ^= 1
        path.write_bytes(altered)
        return weights_sha256(path)

    path.write_bytes(data)
    base = weights_sha256(path)
    for at in (0, 8, 250, 307, 4999, 4990, 2 * 4990 // 15):
        assert changed(at) != base
    assert changed(4100) == base  # between two samples: the docstring says so


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="holds no weight files"):
        weights_sha256(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        weights_sha256([tmp_path / "a.gguf"])
    with pytest.raises(CheckpointError, match="same name"):
        weights_sha256([tmp_path / "a" / "x.bin", tmp_path / "b" / "x.bin"])


def test_versions_are_named():
    versions = installed_versions()
    assert versions.pillow[0].isdigit()
    assert versions.python.startswith("3.")
