"""The report's pages and its folder: hostile words, videos side by side, and nothing overwritten but its own."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from magref.cli import main
from magref.errors import InputError, OutputError
from magref.evaluation.evaluate import Request, evaluate
from magref.evaluation.report import side_by_side as side_by_side_module
from magref.evaluation.report import writing as writing_module
from magref.evaluation.report.plots import Point, Series, against, scatter, ticks
from magref.evaluation.report.systems import read_bench
from magref.evaluation.report.tables import Cell
from magref.evaluation.report.writing import NAMES, write_report
from magref.evaluation.scores import Summary
from magref.evaluation.statistics import Mean
from magref.video import write_video
from stored_scores import GONE, store

HOSTILE = """</p><script>alert('x')</script>" onload='x' & <!-- %s {0}"""


class Page(HTMLParser):
    """What a page has: its elements with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Two systems' videos of three cases, really measured; the second system lacks one. The third prompt is hostile."""
    here = tmp_path_factory.mktemp("bench") / "a b#c"
    (here / "pictures").mkdir(parents=True)
    Image.new("RGBA", (40, 60), (200, 80, 80, 128)).save(here / "pictures" / "ann.png")
    ref = {"key": "person-1", "role": "person", "uri": "pictures/ann.png", "label": "Ann <i>"}
    cases = [
        {"id": name, "group": "single_id", "category": "face", "prompt": prompt, "refs": [ref]}
        for name, prompt in (("still", "She waits."), ("fast #100%", "She runs."), ("odd", HOSTILE))
    ]
    (here / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    rough = np.random.default_rng(0).integers(0, 256, (6, 32, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(rough).resize((256, 48), Image.Resampling.BICUBIC))
    for system, speeds in (("ours", (0, 4, 2)), ("theirs", (0, 2))):
        for case, speed in zip(cases, speeds, strict=False):
            frames = np.stack([wide[:, n * speed : n * speed + 64] for n in range(6)])
            write_video(frames, here / system / f"{case['id']}.mp4", fps=8)
        evaluate(Request(here / system, here / "cases.jsonl", here / "scores" / system, ("motion",)))
    return here


def folders(here: Path) -> list[str]:
    return [str(here / "scores" / name) for name in ("ours", "theirs")]


def written(here: Path, folder: Path, **options) -> dict[str, str]:
    write_report(read_bench(folders(here)), folder, **options)
    return {name: (folder / name).read_text(encoding="utf-8") for name in NAMES}


def test_every_case_stands_with_its_prompt_references_videos_and_scores(scored, tmp_path):
    page = Page(written(scored, tmp_path / "out")["cases.html"])
    assert len(page.all("article")) == 3
    assert HOSTILE in page.words
    assert "person: Ann <i>" in page.words
    assert "There is no video" in page.words
    assert len(page.all("video")) == 5
    assert all(video["src"].startswith("data:video/mp4;base64,") for video in page.all("video"))
    first = base64.b64decode(page.all("video")[0]["src"].partition(",")[2])
    assert first == (scored / "ours" / "still.mp4").read_bytes()
    assert all(image["src"].startswith("data:image/png") and image["loading"] == "lazy" for image in page.all("img"))
    scores = [json.loads(card["data-scores"]) for card in page.all("article")]
    assert [[len(row) for row in card] for card in scores] == [[1, 1]] * 3
    assert scores[0][0][0] < 0.05 < scores[1][1][0] < scores[1][0][0]
    assert scores[2][1] == [None]


def test_nothing_of_a_prompt_becomes_markup(scored, tmp_path):
    texts = written(scored, tmp_path / "out")
    pages = [Page(texts[name]) for name in ("report.html", "cases.html")]
    assert [len(page.all("script")) for page in pages] == [0, 1]
    for page in pages:
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert not page.all("i")
        assert page.all("link") == page.all("iframe") == []
        addresses = [a.get("src") or a.get("href") for _, a in page.elements if a.get("src") or a.get("href")]
        assert all(urlsplit(address).scheme in ("", "data") for address in addresses)
    card = pages[1].all("article")[2]
    assert HOSTILE.lower() in card["data-words"]


def test_large_videos_are_linked_where_they_lie(scored, tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side_module, "EMBEDDED_BYTES", 0)
    folder = tmp_path / "far" / "away"
    page = Page(written(scored, folder)["cases.html"])
    assert "keep them where they are" in page.words
    sources = [video["src"] for video in page.all("video")]
    assert len(sources) == 5
    for source in sources:
        assert urlsplit(source).scheme == urlsplit(source).fragment == urlsplit(source).query == ""
        assert (folder / unquote(source)).is_file()
    assert all(video["preload"] == "none" for video in page.all("video"))


def test_a_video_that_changed_since_says_so(scored, tmp_path, monkeypatch):
    bench = read_bench(folders(scored))
    text = (scored / "ours" / "still.mp4").read_bytes()
    (scored / "ours" / "still.mp4").write_bytes(text + b"\0")
    try:
        write_report(bench, tmp_path / "out")
    finally:
        (scored / "ours" / "still.mp4").write_bytes(text)
    assert (tmp_path / "out" / "cases.html").read_text().count("changed since it was scored") == 1


def test_without_the_case_file_the_page_says_what_is_not_shown(scored, tmp_path):
    (scored / "cases.jsonl").rename(scored / "moved.jsonl")
    try:
        page = Page(written(scored, tmp_path / "out")["cases.html"])
        assert "is not here, so that prompts" in " ".join(page.words.split())
        assert len(page.all("article")) == 3
        assert not page.all("img")
        page = Page(written(scored, tmp_path / "out", cases=scored / "moved.jsonl")["cases.html"])
        assert len(page.all("img")) == 3
    finally:
        (scored / "moved.jsonl").rename(scored / "cases.jsonl")


def test_another_case_file_is_refused(scored, tmp_path):
    text = (scored / "cases.jsonl").read_text()
    changed = scored / "changed.jsonl"
    changed.write_text(text.replace("She runs.", "She walks."))
    with pytest.raises(InputError, match=r"the case fast #100% in .*changed.jsonl is not as it was scored"):
        write_report(read_bench(folders(scored)), tmp_path / "out", cases=changed)
    with pytest.raises(InputError, match="does not exist"):
        write_report(read_bench(folders(scored)), tmp_path / "out", cases=scored / "none.jsonl")
    assert not (tmp_path / "out").exists()


# The folder


def test_a_report_replaces_itself_and_nothing_else(scored, tmp_path):
    folder = tmp_path / "out"
    first = written(scored, folder)
    (folder / "mine.txt").write_text("mine")
    assert written(scored, folder) == first
    assert (folder / "mine.txt").read_text() == "mine"
    (folder / "table1.tex").write_text("edited by hand")
    with pytest.raises(OutputError, match=r"table1.tex is no report's file, or was changed since; move it away"):
        write_report(read_bench(folders(scored)), folder)
    assert (folder / "table1.tex").read_text() == "edited by hand"
    (folder / "table1.tex").unlink()
    assert written(scored, folder) == first


def test_files_of_others_are_in_the_way(scored, tmp_path):
    bench = read_bench(folders(scored))
    (tmp_path / "report.md").write_text("a diary")
    with pytest.raises(OutputError, match=r"report.md is no report's file"):
        write_report(bench, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    with pytest.raises(OutputError, match=r"report.md is a file; choose a folder"):
        write_report(bench, tmp_path / "report.md")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").write_text("{}")
    with pytest.raises(OutputError, match=r"report.json is no report's list of files"):
        write_report(bench, tmp_path / "other")


def test_a_rewriting_that_was_cut_short_can_be_done_again(scored, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    written(scored, folder)
    real = writing_module.writing

    def broken(path, **options):
        if Path(path).name == "table1.tex":
            raise KeyboardInterrupt
        return real(path, **options)

    monkeypatch.setattr(writing_module, "writing", broken)
    bench = read_bench([f"Renamed={folders(scored)[0]}"])
    with pytest.raises(KeyboardInterrupt):
        write_report(bench, folder)
    monkeypatch.setattr(writing_module, "writing", real)
    assert "Renamed" in (folder / "report.md").read_text()
    assert "Renamed" not in (folder / "table1.tex").read_text()
    write_report(bench, folder)
    assert "Renamed" in (folder / "table1.tex").read_text()


# Plots


def cell(value: float | None, spread: float = 0.0) -> Cell:
    mean = Mean(value=value, n=3, low=None if value is None else value - spread, high=value and value + spread)
    return Cell(value, Summary(mean=mean, missing={}))


def test_ticks_are_round_and_within():
    assert ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(0.113, 0.621) == pytest.approx([0.2, 0.4, 0.6])
    assert ticks(-3.0, 12.0) == pytest.approx([0, 5, 10])


def test_a_scatter_names_each_system_once_and_leaves_out_what_has_no_place():
    points = [
        Point("<a>", cell(0.1, 0.05), cell(0.5, 0.1), 0),
        Point("b", Cell(0.1), Cell(0.5), None),
        Point("absent", cell(None), cell(0.5), 1),
    ]
    page = Page(scatter(points, "x & y", "z"))
    assert len(page.all("title")) == 2
    assert len([a for a in page.all("line") if a["class"] == "whisker"]) == 2
    assert "absent" not in page.words
    assert "<a>" in page.words
    assert not page.all("a")


def test_a_plot_of_one_point_or_none_stands():
    assert "0.5" in scatter([Point("a", Cell(0.5), Cell(0.5), 0)], "x", "y")
    assert "<svg" in scatter([], "x", "y")
    page = Page(against(["1", "2"], [Series("a", (cell(0.5), cell(None)), 0)], "FaceSim"))
    assert len(page.all("title")) == 1


# The command


def test_the_command_writes_everything_and_shows_table_1(scored, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "report", *folders(scored), "-o", str(tmp_path / "out")])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Single-ID, 3 cases" in shown
    assert "MAGREF" in shown
    assert all((tmp_path / "out" / name).exists() for name in NAMES)


def test_the_command_says_each_mistake_in_one_sentence(scored, tmp_path, capsys):
    strict = store(tmp_path / "strict", {"still": {"motion": GONE}}, profile="strict", videos="strict")
    for arguments, sentence in (
        ([folders(scored)[0], strict], "must not be mixed; make a report for each profile"),
        ([str(tmp_path / "none")], "there are no scores in"),
        ([folders(scored)[0]] * 2, "two systems are called ours"),
        ([folders(scored)[0], "--cases", "none.jsonl"], "does not exist"),
        ([folders(scored)[0], "-o", str(scored / "cases.jsonl")], "is a file; choose a folder"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["bench", "report", "-o", str(tmp_path / "out"), *arguments])
        assert ended.value.code == 2
        said = capsys.readouterr().err.strip()
        assert sentence in said
        assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()
