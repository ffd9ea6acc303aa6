"""The page about a curation, and other limits on what it measured."""

from __future__ import annotations

import re

import numpy as np
import pytest

from magref.cli import main
from magref.curation.outcome import Failed, Kept, Rejected
from magref.curation.running.charts import histogram
from magref.curation.running.report import write_report
from magref.curation.running.rows import Row, pack, read_rows, write_rows
from magref.curation.running.sources import Source
from magref.curation.running.tuning import tune
from magref.curation.running.work import open_work
from magref.curation.settings import CurationSettings
from magref.errors import InputError

SOURCE = Source("/videos/of <b>bold</b>.mp4")
MOTIONS = [0.2, 0.6, 0.9, 2.0, 70.0]


@pytest.fixture
def work(tmp_path):
    """Five clips, of which motion keeps three; aesthetics keep two of these."""
    place = open_work(tmp_path / "work", CurationSettings(), [SOURCE])
    scores = {"seconds": 30.0, "height": 720.0, "width": 1280.0, "fps": 8.0, "frames": 240.0}
    arrays = {"times_s": pack(np.arange(240) / 8), "pts": pack(np.arange(240)), "keys": pack(np.ones(240, np.bool_))}
    rows = [Row("source", SOURCE.id, Kept(), scores, {"address": SOURCE.address, **arrays})]
    for n, motion in enumerate(MOTIONS):
        kept = 0.5 <= motion <= 60
        outcome = Kept() if kept else Rejected(stage="motion", reason="too <little>", value=motion, limit=0.5)
        data = {"number": n, "shot": 0, "frames": [n, n + 1], "fps": 8.0, "start_s": 0.0, "end_s": 1.0}
        rows.append(Row("clip", f"{SOURCE.id}-{n}", outcome, {"motion": motion}, data))
    place.write("scan", SOURCE.id, rows)
    pleasing = {1: 5.0, 2: 4.0, 3: 6.0}
    place.write(
        "aesthetic",
        SOURCE.id,
        [
            Row(
                "clip",
                f"{SOURCE.id}-{n}",
                Kept() if score >= 4.5 else Rejected(stage="aesthetic", reason="not pleasing", value=score, limit=4.5),
                {"mean": score, "least": score},
                {"scores": [score] * 3},
            )
            for n, score in pleasing.items()
        ],
    )
    return place


def test_rows_come_back_as_they_were(tmp_path) -> None:
    rows = [
        Row("clip", "a", Kept(), {"motion": 1.5}, {"frames": [1, 2]}),
        Row("clip", "b", Rejected(stage="labels", reason="not in the caption", value="hat", limit=None)),
        Row("clip", "c", Rejected(stage="samples", reason="too few objects", value=0, limit=1)),
        Row("source", "d", Failed(stage="source", error="it broke")),
    ]
    write_rows(tmp_path / "rows.parquet", rows)
    back = read_rows(tmp_path / "rows.parquet")
    assert [(r.level, r.item, r.outcome, dict(r.scores), dict(r.data)) for r in back] == [
        (r.level, r.item, r.outcome, dict(r.scores), dict(r.data)) for r in rows
    ]
    assert [row.item for row in read_rows(tmp_path / "rows.parquet", "source")] == ["d"]


def test_other_limits_are_held_against_what_was_measured(work) -> None:
    before, after = tune(work, ["motion.least=0.8", "aesthetic.least=3.0"])
    assert (before["scan"].kept, before["aesthetic"].kept) == (3, 2)
    assert (after["scan"].kept, after["aesthetic"].kept, after["aesthetic"].unmeasured) == (2, 2, 0)
    _, eased = tune(work, ["motion.least=0.0"])
    assert (eased["scan"].kept, eased["aesthetic"].kept, eased["aesthetic"].unmeasured) == (4, 2, 1)


def test_what_was_not_measured_cannot_be_tried(work) -> None:
    with pytest.raises(InputError, match=r"windows\.frames cannot be tried"):
        tune(work, ["windows.frames=9"])


def test_the_page_stands_alone_and_escapes_what_it_shows(work, tmp_path) -> None:
    text = write_report(work, tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|<link", text)
    assert "too &lt;little&gt;" in text
    assert "<b>bold</b>" not in text
    assert "2 too &lt;little&gt;" in text  # the funnel counts the reason
    assert text.count("<svg") == 2  # motion and aesthetics were measured, nothing else
    assert "passes from 0.5 to 60" in text


def test_a_histogram_has_its_limit_where_its_scale_says_and_shade_beyond_it() -> None:
    svg = histogram([0.0, 1.0, 2.0, 4.0], most=1.0)
    assert ">4 values, the tallest bar 1<" in svg
    assert re.search(r"<line class='limit' x1='80\.0' x2='80\.0'", svg)
    assert re.search(r"<rect class='out' x='80\.0' y='16' width='240\.0'", svg)
    assert "limit" not in histogram([0.0, 1.0], least=50.0)  # out of reach of the values


def test_counts_have_a_bar_for_each_number_and_equal_values_one_bar() -> None:
    counts = histogram([1, 1, 2, 3], counts=True)
    assert [float(x) for x in re.findall(r"class='value' x='([0-9.]+)'", counts)] == [0, 32, 64]
    assert ">1<" in counts
    assert ">10<" in counts
    assert histogram([0.0, 0.0]).count("class='value'") == 1
    assert histogram([float("nan")]).count("class='value'") == 0


def test_the_commands(work, tmp_path, capsys) -> None:
    for arguments in (
        ["curate", "report", str(work.folder), "-o", str(tmp_path / "page.html")],
        ["curate", "tune", str(work.folder), "--set", "motion.least=0.8"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert (tmp_path / "page.html").exists()
    assert re.search(r"scan\W+3\W+2\W+0", capsys.readouterr().out)
