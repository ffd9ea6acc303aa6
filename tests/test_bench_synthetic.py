"""magref-bench-synthetic: whole, in the paper's composition, from held-out identities, the same each time."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from magref.errors import OutputError
from magref.evaluation.cases import PAPER, case_problems, read_benchmark, wrong_counts
from magref.evaluation.synthetic_bench import pictures
from magref.evaluation.synthetic_bench.pictures import look_of, shipped_cases, write_synthetic
from magref.evaluation.synthetic_bench.script import DATASET, scripted
from magref.synthetic.identities import KINDS, kind_of
from magref.synthetic.motions import MOTIONS, possible
from magref.synthetic.places import place_of
from magref.synthetic.splits import split_of

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_shipped_file_is_the_script_and_keeps_the_benchmarks_rules():
    cases = shipped_cases()
    assert wrong_counts(cases) == []
    assert Counter(case.category for case in cases) == Counter(PAPER)
    assert [sentence for case in cases for sentence in case_problems(case)] == []
    for case, known in zip(cases, scripted().values(), strict=True):
        without = [ref.model_copy(update={"sha256": None}) for ref in case.refs]
        assert case.model_copy(update={"refs": tuple(without)}) == known.case
    assert {case.source.dataset for case in cases} == {DATASET}


def test_every_subject_is_another_held_out_identity_that_can_move_as_the_script_says():
    parts = [part for known in scripted().values() for part in known.parts]
    assert len({part.identity for part in parts}) == len(parts)
    assert {split_of(part.identity) for part in parts} == {"held-out"}
    assert all(part.motion in possible(kind_of(part.identity)) for part in parts)
    assert {part.motion for part in parts} == set(MOTIONS)
    assert all((kind_of(part.identity).family == "person") or not part.portrait for part in parts)
    people = Counter(kind_of(part.identity).name for part in parts)
    assert min(people[name] for name in ("woman", "man", "girl", "boy")) >= 30
    assert len(people) >= len(KINDS) / 2


def test_prompts_are_all_different_of_varied_length_and_name_each_subject_as_its_reference_does():
    cases = [known.case for known in scripted().values()]
    assert len({case.prompt for case in cases}) == 120
    words = sorted(len(case.prompt.split()) for case in cases)
    assert words[0] <= 8
    assert words[-1] >= 40
    for case in cases:
        said = case.prompt.lower()
        for ref in case.refs:
            if ref.role != "background":
                assert ref.label.split(" with ")[0].split(" in ")[0].lower() in said, (case.id, ref.label)
        assert "{" not in case.prompt
        assert case.prompt[0].isupper() or case.prompt.startswith('"')


def test_backgrounds_are_pictures_in_the_categories_that_have_them():
    for known in scripted().values():
        roles = [ref.role for ref in known.case.refs]
        assert ("background" in roles) == (known.place is not None)
        assert len(roles) == len(known.parts) + (known.place is not None)
    sorts = {place_of(known.place) for known in scripted().values() if known.place is not None}
    assert len(sorts) >= 15


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, write_synthetic(folder)


def test_it_is_drawn_whole_and_passes_the_check(drawn):
    folder, count = drawn
    assert count.pictures == sum(len(case.refs) for case in shipped_cases()) == len(list(folder.rglob("*.png")))
    cases = read_benchmark(folder / "cases.jsonl")  # opens every picture and compares its hash
    assert [case.prompt for case in cases] == [case.prompt for case in shipped_cases()]
    face = Image.open(cases[0].refs[0].uri)
    assert face.mode == "RGBA"
    assert min(face.size) > 100


def test_what_is_there_stays_and_what_is_lost_is_drawn_again_to_the_bit(drawn):
    folder, _ = drawn
    path = folder / shipped_cases()[40].refs[0].uri
    before, stamp = path.read_bytes(), (folder / shipped_cases()[41].refs[0].uri).stat().st_mtime_ns
    path.unlink()
    write_synthetic(folder)
    assert path.read_bytes() == before
    assert (folder / shipped_cases()[41].refs[0].uri).stat().st_mtime_ns == stamp


def test_a_picture_that_looks_different_is_not_taken(drawn):
    folder, _ = drawn
    path = folder / shipped_cases()[3].refs[0].uri
    before = path.read_bytes()
    image = Image.open(path)
    try:
        path.unlink()
        Image.fromarray(np.asarray(image)[:, ::-1].copy()).save(path)  # the same colours, mirrored
        with pytest.raises(OutputError, match="is not the benchmark's picture"):
            write_synthetic(folder)
    finally:
        path.write_bytes(before)


def test_rounding_on_another_machine_is_counted_and_gets_its_own_hash(drawn, tmp_path, monkeypatch):
    folder, _ = drawn
    one = next(iter(scripted().values()))
    monkeypatch.setattr(pictures, "scripted", lambda: {one.case.id: one})
    monkeypatch.setattr(pictures, "shipped_cases", lambda: shipped_cases()[:1])
    path = tmp_path / one.case.refs[0].uri
    path.parent.mkdir()
    pixels = np.asarray(Image.open(folder / one.case.refs[0].uri)).copy()
    pixels[60, 60, 0] ^= 1
    Image.fromarray(pixels).save(path)
    found = write_synthetic(tmp_path)
    assert (found.pictures, found.rounded) == (1, 1)
    (line,) = (tmp_path / "cases.jsonl").read_text().splitlines()
    assert json.loads(line)["refs"][0]["sha256"] != shipped_cases()[0].refs[0].sha256


def test_looks_are_mean_colours_on_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 2, 2))
    assert look_of(image) == [255.0, 191.2, 191.2, 255.0, 0.0, 0.0, *[255.0] * 9]
    shipped = json.loads((resources.files(pictures.__package__) / "looks.json").read_text())
    assert len(shipped) == sum(len(case.refs) for case in shipped_cases())
