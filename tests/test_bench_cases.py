"""The benchmark's case files: their rules, how other benchmarks become cases, how references are brought together."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from magref.batch import read_cases
from magref.errors import InputError, OutputError, ResourceError
from magref.evaluation import collecting
from magref.evaluation.cases import KINDS, PAPER, check_benchmark, read_benchmark, write_cases
from magref.evaluation.collecting import Origin, checked_name, collect
from magref.evaluation.importers.authors import authors_cases
from magref.evaluation.importers.columns import Columns, table_cases
from magref.evaluation.importers.opens2v import is_opens2v, opens2v_cases
from magref.evaluation.reconstruction import DATASET, HUMAN_FILE, OPEN_FILE, build_reconstruction, reconstruct

FIXTURES = Path(__file__).parent.parent.parent / "shared" / "fixtures" / "evaluation"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the evaluation fixtures are not here")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, colour in (("ann", "pink"), ("ben", "brown"), ("cat", "grey"), ("park", "green")):
        Image.new("RGB", (40, 20), colour).save(tmp_path / f"{name}.png")
    return tmp_path


def ref(folder: Path, name: str, role: str = "person", **changes: object) -> dict[str, object]:
    digest = hashlib.sha256((folder / f"{name}.png").read_bytes()).hexdigest()
    return {"key": name, "role": role, "uri": f"{name}.png", "sha256": digest} | changes


def benchmark(folder: Path) -> list[dict[str, object]]:
    """The paper's composition, every case with the same few pictures."""
    rows = {
        "face": ["ann"], "human": ["ben"], "two_person": ["ann", "ben"], "two_person_bg": ["ann", "ben", "park"],
        "three_person": ["ann", "ben", "cat"], "human_object_background": ["ann", "cat", "park"],
    }  # fmt: skip
    made: list[dict[str, object]] = []
    for category, names in rows.items():
        for number in range(PAPER[category]):
            roles = dict.fromkeys(names, "person") | {"park": "background"}
            roles |= {"cat": "object"} if "park" in names else {}
            made.append(
                {
                    "id": f"{category}-{number}", "group": KINDS[category].group, "category": category,
                    "prompt": "They meet.", "refs": [ref(folder, name, roles[name]) for name in names],
                }
            )  # fmt: skip
    return made


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# The rules


def test_the_papers_composition_is_sixty_and_sixty_with_at_most_three_references(pictures):
    path = write(pictures, benchmark(pictures))
    cases = read_benchmark(path)
    assert Counter(case.group for case in cases) == {"single_id": 60, "multi_subject": 60}
    assert Counter(case.category for case in cases) == Counter(PAPER)
    assert {len(case.refs) for case in cases} == {1, 2, 3}
    assert cases == read_cases(path)  # what generation reads


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"category": None}, "line 1: the category is missing"),
        ({"group": "multi_subject"}, "line 1: the group is multi_subject, and face belongs to single_id"),
        ({"id": "human-0"}, "already on line 1"),
        ({"prompt": " "}, "line 1: the prompt is empty"),
        ({"mood": "good"}, "line 1: mood is unknown"),
        ({"key": None}, "line 1: reference 1 has no key"),
        ({"sha256": None}, "line 1: reference 1 has no sha256"),
        ({"sha256": "0" * 64}, "line 1: the reference .*ann.png is not the file that its sha256 names"),
        ({"uri": "nobody.png"}, "line 1: the reference nobody.png does not exist"),
        ({"role": "object"}, "line 1: face takes 1 person, and the references are 1 object"),
    ],
)
def test_each_mistake_is_named_with_its_line(pictures, change, says):
    rows = benchmark(pictures)
    target = rows[0]["refs"][0] if change.keys() & rows[0]["refs"][0].keys() else rows[0]
    target |= change
    target = {key: value for key, value in target.items() if value is not None}
    if "uri" in target:
        rows[0]["refs"] = [target]
    else:
        rows[0] = target
    _, problems = check_benchmark(write(pictures, rows))
    assert any(re.search(says, str(problem)) for problem in problems), list(map(str, problems))


def test_two_references_of_one_key_and_too_many_references(pictures):
    rows = benchmark(pictures)
    two = next(row for row in rows if row["category"] == "two_person")
    two["refs"][1]["key"] = "ann"
    rows[0]["refs"] = [ref(pictures, "ann", key=str(n)) for n in range(4)]
    _, problems = check_benchmark(write(pictures, rows))
    said = [problem.sentence for problem in problems]
    assert said[0] == "face takes 1 person, and the references are 4 person; give each its role"
    assert said[1:] == [f"reference {n} has the key 'ann' of another; give each its own" for n in (1, 2)]


def test_wrong_counts_concern_the_whole_file_and_any_number_can_be_allowed(pictures):
    path = write(pictures, benchmark(pictures)[1:])
    cases, problems = check_benchmark(path)
    assert len(cases) == 119
    assert [str(problem) for problem in problems] == ["single_id has 59 cases; give 60", "face has 29 cases; give 30"]
    assert check_benchmark(path, None)[1] == []
    with pytest.raises(InputError, match=r"single_id has 59 cases; give 60; 1 more problems"):
        read_benchmark(path)


def test_equal_cases_give_equal_files(pictures, tmp_path):
    cases = read_benchmark(write(pictures, benchmark(pictures)))
    write_cases(cases, tmp_path / "again.jsonl")
    again = tmp_path / "again.jsonl"
    assert read_benchmark(again) == cases
    with pytest.raises(OutputError, match="exists"):
        write_cases(cases, again)
    assert "null" not in again.read_text()


# Importers


@needs_fixtures
def test_opens2v_gives_the_120_in_the_papers_composition():
    human = opens2v_cases((FIXTURES / "human_domain.json").read_text(), "human")
    everything = opens2v_cases((FIXTURES / "open_domain.json").read_text(), "open")
    assert (len(human), len(everything)) == (60, 180)
    cases = reconstruct(human, everything)
    assert Counter(case.category for case in cases) == Counter(PAPER)
    assert len({case.id for case in cases}) == 120
    assert {case.source.dataset for case in cases} == {DATASET}
    assert "reconstruction" in DATASET
    first = cases[0]
    assert (first.id, first.category, first.refs[0].uri) == ("singleface_1", "face", "Images/singleface/crop_man/2.png")
    park = next(case for case in cases if case.id == "humanobj_1")
    assert [(r.key, r.role, r.label) for r in park.refs] == [
        ("person-1", "person", "Man"), ("object-1", "object", "Bird"), ("background-1", "background", "Park"),
    ]  # fmt: skip


@needs_fixtures
def test_persons_are_those_that_the_published_face_metric_takes_for_persons():
    text = (FIXTURES / "human_domain.json").read_text(), (FIXTURES / "open_domain.json").read_text()
    for case in reconstruct(*(opens2v_cases(t, "x") for t in text)):
        for reference in case.refs:
            published = any(f"/{word}/" in reference.uri for word in ("man", "woman", "crop_man", "crop_woman"))
            assert published == (reference.role == "person"), reference


@needs_fixtures
def test_another_version_of_opens2v_is_refused_with_what_is_missing():
    human = json.loads((FIXTURES / "human_domain.json").read_text())
    everything = opens2v_cases((FIXTURES / "open_domain.json").read_text(), "open")
    del human["singleface_7"]
    with pytest.raises(InputError, match="single_id has 59 cases; give 60: this is another version"):
        reconstruct(opens2v_cases(json.dumps(human), "human"), everything)


def test_opens2v_files_of_another_form_are_refused():
    entry = {"img_paths": ["a.png"], "prompt": "x", "synthesis_flag": "True", "class_label": ["Man"]}
    assert is_opens2v(json.dumps({"a": entry}))
    assert not is_opens2v(json.dumps([entry]))
    with pytest.raises(InputError, match=r"human is not OpenS2V-Eval's JSON \(a\.prompt is missing\)"):
        opens2v_cases(json.dumps({"a": {k: v for k, v in entry.items() if k != "prompt"}}), "human")
    with pytest.raises(InputError, match="human, a: 1 pictures have 2 labels"):
        opens2v_cases(json.dumps({"a": entry | {"class_label": ["Man", "Park"]}}), "human")


COLUMNS = Columns(
    prompt="caption",
    references=(("person", "who"), ("object", "what"), ("background", "where")),
    id="name",
    dataset="own",
)


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "object"])
def test_tables_of_every_form_give_the_same_cases(ending):
    rows = [
        {"name": "a", "caption": "She waits, still.", "who": "ann.png", "what": "", "where": ""},
        {"name": "b", "caption": "He pets it.", "who": "ben.png", "what": "cat.png", "where": "park.png"},
    ]
    if ending in ("csv", "tsv"):
        mark = "," if ending == "csv" else "\t"
        text = mark.join(rows[0]) + "\n" + "".join(mark.join(f'"{v}"' for v in row.values()) + "\n" for row in rows)
    elif ending == "jsonl":
        text = "\n".join(json.dumps(row) for row in rows)
    elif ending == "json":
        text = json.dumps(rows)
    else:
        text, ending = json.dumps({row.pop("name"): row for row in rows}), "json"
    columns = COLUMNS if ending != "json" or text.startswith("[") else COLUMNS.model_copy(update={"id": "id"})
    alone, three = table_cases(text, f"table.{ending}", columns)
    assert (alone.id, alone.prompt, alone.category, len(alone.refs)) == ("a", "She waits, still.", "face", 1)
    assert three.category == "human_object_background"
    assert [(r.key, r.role, r.uri) for r in three.refs] == [
        ("person-1", "person", "ben.png"),
        ("object-1", "object", "cat.png"),
        ("background-1", "background", "park.png"),
    ]


def test_a_cell_may_list_several_pictures_and_ids_may_be_counted():
    columns = Columns(prompt="p", references=(("person", "who"),), single="human", dataset="own")
    (case,) = table_cases(json.dumps([{"p": "x", "who": ["a.png", "b.png"]}]), "t.json", columns)
    assert (case.id, case.category, case.group) == ("0001", "two_person", "multi_subject")
    (same,) = table_cases('p,who\nx,"[""a.png"", ""b.png""]"\n', "t.csv", columns)
    assert same == case
    (alone,) = table_cases("p,who\nx,a.png\n", "t.csv", columns)
    assert alone.category == "human"


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("caption,who\nx,a.png\n", "t.csv", "row 1: there is no column 'what'; it has caption, who"),
        ("caption,who,what,where,name\nx,,,,a\n", "t.csv", "row 1: there is no reference"),
        ('[{"caption": "x", "who": 3, "what": "", "where": "", "name": "a"}]', "t.json", "'who' is no path"),
        ("caption\n", "t.csv", "no rows"),
        ("{", "t.json", "no JSON"),
        ("[1]", "t.json", "not a table"),
        ("x", "t.parquet", "must end in"),
        ("who,what,where,name,caption\na.png,,,a\n", "t.csv", "row 1: the cell of 'caption' is empty; fill it in"),
        ('[{"caption": "x", "who": "a", "what": "", "where": "", "name": null}]', "t.json", "'name' is empty"),
        ("who,what,where,name,caption\na.png,,,a,She waits, still\n", "t.csv", "more cells than there are columns"),
        (
            json.dumps([{"caption": "x", "who": ["a.png"] * 9, "what": "", "where": "", "name": "a"}]),
            "t.json",
            "row 1: refs: tuple should have at most 8 items.*; mend the row",
        ),
    ],
)
def test_tables_that_lack_something_are_refused(text, name, says):
    with pytest.raises(InputError, match=says):
        table_cases(text, name, COLUMNS)


def test_an_empty_object_is_no_opens2v_and_nine_pictures_are_too_many():
    assert not is_opens2v("{}")
    entry = {"img_paths": ["a.png"] * 9, "prompt": "x", "synthesis_flag": "", "class_label": ["man"] * 9}
    with pytest.raises(InputError, match="own, a: refs: tuple should have at most 8"):
        opens2v_cases(json.dumps({"a": entry}), "own")


def test_the_authors_text_files_get_roles_by_place(tmp_path):
    path = tmp_path / "multi.txt"
    path.write_text("demo_1@@They talk.@@a/1.png@@a/2.png\ndemo_2@@She waits.@@a/3.png\n")
    two, one = authors_cases(path, ["person", "person"])
    assert (two.category, [r.uri for r in two.refs]) == ("two_person", ["a/1.png", "a/2.png"])
    assert (one.category, one.refs[0].role) == ("face", "person")
    with pytest.raises(InputError, match="line 1: 2 pictures and 1 roles"):
        authors_cases(path, ["person"])


# Bringing references together


def two_cases(folder: Path) -> list:
    text = json.dumps({
        name: {"img_paths": [f"Images/man/{name}.png"], "prompt": "x", "synthesis_flag": "", "class_label": ["Man"]}
        for name in ("ann", "ben")
    })  # fmt: skip
    (folder / "Images" / "man").mkdir(parents=True)
    for name in ("ann", "ben"):
        Image.new("RGB", (30, 30), "red" if name == "ann" else "blue").save(folder / "Images" / "man" / f"{name}.png")
    return opens2v_cases(text, "x")


def test_references_come_with_their_hashes_and_the_case_file_is_one_that_generation_reads(tmp_path):
    cases = two_cases(tmp_path / "copy")
    shown = []
    collect(cases, Origin(str(tmp_path / "copy")), tmp_path / "out", progress=lambda *done: shown.append(done))
    read = read_cases(tmp_path / "out" / "cases.jsonl")  # compares the hashes
    assert [case.id for case in read] == ["ann", "ben"]
    assert all(case.refs[0].sha256 for case in read)
    assert shown[-1] == (2, 2)
    again = (tmp_path / "out" / "cases.jsonl").read_bytes()
    collect(cases, Origin(str(tmp_path / "copy")), tmp_path / "out")
    assert (tmp_path / "out" / "cases.jsonl").read_bytes() == again


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "a/b"}, "case 2: the id 'a/b' cannot name a file"),
        ({"id": "Ann"}, "case 2: the id 'Ann' occurs twice; give each case its own"),
        ({"prompt": " "}, "case 2: the prompt is empty"),
    ],
)
def test_cases_that_no_reader_could_use_are_refused_before_anything_is_written(tmp_path, changes, says):
    first, second = two_cases(tmp_path / "copy")
    with pytest.raises(InputError, match=says):
        collect([first, second.model_copy(update=changes)], Origin(str(tmp_path / "copy")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_collection_goes_on_where_it_stopped(tmp_path):
    cases = two_cases(tmp_path / "copy")
    lost = tmp_path / "copy" / "Images" / "man" / "ben.png"
    kept = lost.read_bytes()
    lost.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"Images/man/ben.png is not a picture .* 1 of 2 pictures are here"):
        collect(cases, Origin(str(tmp_path / "copy")), tmp_path / "out")
    assert not (tmp_path / "out" / "cases.jsonl").exists()
    assert [p.name for p in (tmp_path / "out").rglob("*.png")] == ["ann.png"]
    lost.write_bytes(kept)
    (tmp_path / "copy" / "Images" / "man" / "ann.png").unlink()  # it is not needed any more
    assert len(collect(cases, Origin(str(tmp_path / "copy")), tmp_path / "out")) == 2


def test_other_cases_in_the_folder_are_not_overwritten(tmp_path):
    cases = two_cases(tmp_path / "copy")
    collect(cases[:1], Origin(str(tmp_path / "copy")), tmp_path / "out")
    with pytest.raises(OutputError, match="holds other cases"):
        collect(cases, Origin(str(tmp_path / "copy")), tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "a/../../b.png", "", "c:\\a.png", "http://x/a.png", "a\n.png"]
)
def test_paths_that_lead_elsewhere_are_refused(name):
    with pytest.raises(InputError, match="not a plain relative one"):
        checked_name(name)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("http://example.org/data", "the address of example.org is http; give a folder, or an https address"),
        ("ftp://example.org/data", "is ftp"),
        ("https://me:secret@example.org/data", "holds a password"),
        ("https://example.org/data?token=1", "a query"),
        ("/no/such/folder", "does not exist"),
    ],
)
def test_places_that_are_not_safe_to_fetch_from_are_refused(place, says):
    with pytest.raises(InputError, match=says) as caught:
        Origin(place)
    assert "secret" not in str(caught.value)


class _Server(http.server.SimpleHTTPRequestHandler):
    broken: dict[str, int] = {}  # noqa: RUF012
    moved: dict[str, str] = {}  # noqa: RUF012

    def do_GET(self):
        if self.path in self.moved:
            self.send_response(302)
            self.send_header("Location", self.moved[self.path])
            self.end_headers()
        elif self.broken.get(self.path, 0) > 0:
            self.broken[self.path] -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "PAUSE_S", 0.0)
    cases = two_cases(tmp_path / "copy")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: _Server(*args, directory=str(tmp_path / "copy"))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield cases, Origin(f"http://127.0.0.1:{server.server_port}/")
    server.shutdown()
    server.server_close()


def test_references_are_fetched_over_http_with_patience(tmp_path, served):
    cases, origin = served
    _Server.broken = {"/Images/man/ann.png": 2}
    collected = collect(cases, origin, tmp_path / "out")
    for case in collected:
        there = (tmp_path / "copy" / case.refs[0].uri.removeprefix("references/")).read_bytes()
        assert hashlib.sha256(there).hexdigest() == case.refs[0].sha256


def test_a_redirect_stays_at_https_or_on_this_machine(tmp_path, served, monkeypatch):
    cases, origin = served
    monkeypatch.setattr(_Server, "moved", {"/Images/man/ann.png": f"{origin.place}Images/man/ben.png"})
    collect(cases[:1], origin, tmp_path / "out")
    for place in ("ftp://example.org/a.png", "http://example.org/a.png"):
        monkeypatch.setattr(_Server, "moved", {"/Images/man/ben.png": place})
        with pytest.raises(InputError, match=r"leads on to (ftp|http)://example.org; give an address that stays at"):
            collect(cases[1:], origin, tmp_path / "other")
    request = urllib.request.Request("https://example.org/a.png")
    with pytest.raises(InputError, match="leads on to http://localhost"):
        collecting._Redirects().redirect_request(request, None, 302, "", None, "http://localhost/a.png")


def test_what_the_server_lacks_is_named_and_a_dead_server_too(tmp_path, served):
    cases, origin = served
    (tmp_path / "copy" / "Images" / "man" / "ann.png").unlink()
    with pytest.raises(InputError, match=r"Images/man/ann.png cannot be fetched \(it answers 404\)"):
        collect(cases, origin, tmp_path / "out")
    _Server.broken = {"/Images/man/ben.png": 99}
    with pytest.raises(ResourceError, match=r"127.0.0.1:\d+ cannot be reached \(it answers 503\)"):
        collect(cases[1:], origin, tmp_path / "other")


@needs_fixtures
def test_the_reconstruction_is_built_from_a_copy_and_says_what_it_is(tmp_path):
    copy = tmp_path / "OpenS2V-Eval"
    copy.mkdir()
    picture = tmp_path / "any.png"
    Image.new("RGB", (32, 32), "tan").save(picture)
    for own, name in (("human_domain.json", HUMAN_FILE), ("open_domain.json", OPEN_FILE)):
        text = (FIXTURES / own).read_text()
        (copy / name).write_text(text)
        for entry in json.loads(text).values():
            for path in entry["img_paths"]:
                (copy / path).parent.mkdir(parents=True, exist_ok=True)
                (copy / path).write_bytes(picture.read_bytes())
    cases = build_reconstruction(Origin(str(copy)), tmp_path / "out")
    assert read_benchmark(tmp_path / "out" / "cases.jsonl") == read_cases(tmp_path / "out" / "cases.jsonl")
    assert len(cases) == 120
    assert "not the authors' list" in (tmp_path / "out" / "README.md").read_text()
    assert all("reconstruction" in line for line in (tmp_path / "out" / "cases.jsonl").read_text().splitlines())
