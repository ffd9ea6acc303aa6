"""The report's numbers: what is marked, what is tested, and how the tables say it."""

from __future__ import annotations

import csv
import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magref.errors import InputError, OutputError
from magref.evaluation.metrics.interface import Measure
from magref.evaluation.reconstruction import DATASET as RECONSTRUCTION
from magref.evaluation.report import latex as latex_module
from magref.evaluation.report import markdown as markdown_module
from magref.evaluation.report.contents import contents_of, made_by, sentences
from magref.evaluation.report.latex import latex
from magref.evaluation.report.markdown import markdown
from magref.evaluation.report.pairs import compare, holm, permutation_p
from magref.evaluation.report.published import COLUMNS, TABLE_1
from magref.evaluation.report.ranking import marks, printed
from magref.evaluation.report.screen import placed
from magref.evaluation.report.systems import read_bench
from magref.evaluation.report.tables import halves, numbers, table_of
from magref.evaluation.report.values import pairs_csv, values_csv
from magref.evaluation.statistics import mean_of
from magref.evaluation.videos import MadeBy
from stored_scores import GONE, store

HIGH = Measure(name="face_similarity", meaning="")


# What is marked

values = st.lists(st.none() | st.floats(-2, 2) | st.sampled_from([0.5, 0.5001, 0.4999, 0.5004, 0.5006]), max_size=12)


@given(values, st.sampled_from(["high", "low"]))
def test_what_is_printed_alike_shares_its_mark_and_better_is_never_marked_lower(column, best):
    found = marks(column, best)
    assert len(found) == len(column)
    by_print: dict[str, set] = {}
    for value, mark in zip(column, found, strict=True):
        if value is None:
            assert mark is None
        else:
            by_print.setdefault(printed(value), set()).add(mark)
    assert all(len(of_one) == 1 for of_one in by_print.values())
    if sum(value is not None for value in column) < 2:
        assert set(found) <= {None}
        return
    order = sorted(by_print, key=float, reverse=best == "high")
    expected = [{"best"}, {"second"}, *[{None}] * len(order)]
    assert [by_print[text] for text in order] == expected[: len(order)]


@given(values, st.randoms())
def test_marks_go_with_their_values_into_any_order(column, random):
    places = list(range(len(column)))
    random.shuffle(places)
    assert marks([column[n] for n in places], "high") == [marks(column, "high")[n] for n in places]


@given(values)
def test_lower_is_better_is_higher_is_better_of_the_negative(column):
    assert marks(column, "low") == marks([None if value is None else -value for value in column], "high")


@given(values)
def test_a_measure_without_a_best_has_no_marks(column):
    assert set(marks(column, None)) <= {None}


def test_ties_are_of_three_digits():
    assert marks([0.5284, 0.5276, 0.5274, 0.52749, 0.1], "high") == ["best", "best", "second", "second", None]
    assert printed(-0.0004) == "0.000"
    assert printed(-0.0006) == "-0.001"


def test_the_papers_own_marks_follow_from_its_numbers(tmp_path):
    """Table 1 as we know it: VACE and Hailuo share the best aesthetics, Pika has the second (v1)."""
    systems = list(TABLE_1["single_id"])
    best = {
        column.name: [
            (systems[n], mark)
            for n, mark in enumerate(marks([row[at] for row in TABLE_1["single_id"].values()], column.best))
            if mark
        ]
        for at, column in enumerate(COLUMNS)
    }
    assert best["face_similarity"] == [("VACE", "best"), ("MAGREF", "second")]
    assert best["aesthetic"] == [("VACE", "best"), ("Hailuo", "best"), ("Pika 2.1", "second")]
    assert best["gme"] == [("Concat-ID", "second"), ("Pika 2.1", "best")]
    assert best["motion"] == []
    assert [len(rows) for rows in TABLE_1.values()] == [13, 7]


# What is tested


def test_the_permutation_test_by_hand():
    assert permutation_p([1, 1, 1]) == 2 / 8  # all up, all down
    assert permutation_p([3, 1, -1]) == 6 / 8  # of 5 3 3 1 and their negatives, 1 alone is nearer to zero than 3
    assert permutation_p([1, 2, -3]) == 1.0
    assert permutation_p([0.0, 0.0]) == 1.0
    assert permutation_p([0.1, 0.2, 0.3]) == permutation_p([0.3, 0.1, 0.2]) == 2 / 8  # whatever the order of summing
    assert permutation_p([0.2]) == 1.0


def test_drawn_signs_agree_with_all_of_them():
    differences = np.random.default_rng(1).normal(0.25, 1, 14)
    signs = np.array(list(itertools.product((-1, 1), repeat=14)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    assert 0.02 < exact < 0.98
    assert permutation_p(list(differences)) == pytest.approx(exact, abs=0.006)
    assert permutation_p([1.0] * 60) == pytest.approx(1 / 20_001)  # the observed signs count among the drawn


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.6]) == [1.0, None, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_makes_smaller_and_keeps_the_order(p_values):
    found = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, found, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert all(found[a] <= found[b] for a, b in itertools.pairwise(order))


def test_the_interval_of_a_difference_by_hand():
    same = mean_of([0.25, 0.25, 0.25])
    assert (same.value, same.low, same.high) == (0.25, 0.25, 0.25)
    two = mean_of([0.0, 1.0])  # means of two draws: 0, 1/2 twice, 1; each end has a quarter
    assert (two.value, two.low, two.high) == (0.5, 0.0, 1.0)


def test_pairs_are_cases_that_both_have_a_value_for(tmp_path):
    ours = {"face-1": 0.9, "face-2": 0.8, "face-3": GONE, "face-4": 0.3, "two_person-1": 0.1}
    theirs = {"face-1": 0.5, "face-2": 0.6, "face-3": 0.1, "face-4": GONE, "two_person-1": 0.7}
    bench = bench_of(tmp_path, ours=ours, theirs=theirs)
    single, multi = halves(bench)
    (one,) = compare(bench, single, HIGH)
    assert (one.first, one.second) == ("ours", "theirs")
    assert one.difference.value == pytest.approx(0.3)
    assert one.difference.n == 2
    assert one.p == one.corrected == 0.5
    assert not one.differs
    (other,) = compare(bench, multi, HIGH)
    assert other.difference.value == pytest.approx(-0.6)


def test_without_pairs_nothing_is_tested(tmp_path):
    bench = bench_of(tmp_path, ours={"face-1": 0.5, "face-2": GONE}, theirs={"face-1": GONE, "face-2": 0.5})
    (one,) = compare(bench, halves(bench)[0], HIGH)
    assert one.difference.value is None
    assert one.p is None
    assert not one.differs
    assert "| ours − theirs | – |" in markdown(contents_of(bench))


def test_several_systems_are_corrected_together(tmp_path):
    cases = [f"face-{n}" for n in range(12)]
    bench = bench_of(
        tmp_path,
        low=dict.fromkeys(cases, 0.1),
        high=dict.fromkeys(cases, 0.9),
        between={name: 0.1 if n % 2 else 0.11 for n, name in enumerate(cases)},
    )
    found = compare(bench, halves(bench)[0], HIGH)
    assert [(one.first, one.second) for one in found] == [("low", "high"), ("low", "between"), ("high", "between")]
    assert [one.p for one in found] == pytest.approx([2 / 4096, 2 / 64, 2 / 4096])
    assert [one.corrected for one in found] == pytest.approx([6 / 4096, 2 / 64, 6 / 4096])
    assert all(one.differs for one in found)


# Tables


def bench_of(tmp_path, measure="face_similarity", **systems):
    """Systems with one measure each, or with several where a case's value is a dictionary."""
    folders = [
        f"{name}="
        + store(tmp_path / name, {case: v if isinstance(v, dict) else {measure: v} for case, v in values.items()})
        for name, values in systems.items()
    ]
    return read_bench(folders)


def small(tmp_path, **options):
    """Two systems on three single-ID cases and one with two persons."""
    ours = {"face-1": 0.5, "face-2": 0.75, "face-3": 0.25, "two_person-1": 0.4}
    theirs = {"face-1": 0.5, "face-2": 0.5004, "face-3": GONE, "two_person-1": GONE}
    folders = [
        f"{name}=" + store(tmp_path / name, {case: {"face_similarity": v} for case, v in values.items()}, **options)
        for name, values in (("ours", ours), ("theirs", theirs))
    ]
    return read_bench(folders)


def test_a_small_table_in_markdown(tmp_path):
    """Means 0.5 and 0.5002 are printed alike and share the best; each interval is over the cases with a value."""
    text = markdown(contents_of(small(tmp_path), published=False))
    assert (
        "## Single-ID, 3 cases\n\n"
        "| System |  | FaceSim ↑ |\n"
        "| --- | --- | --- |\n"
        "| ours | measured | **0.500** [0.250, 0.750] 3/3 |\n"
        "| theirs | measured | **0.500** [0.500, 0.500] 2/3 |\n"
    ) in text
    assert (
        "## Multi-subject, 1 case\n\n"
        "| System |  | FaceSim ↑ |\n"
        "| --- | --- | --- |\n"
        "| ours | measured | 0.400 1/1 |\n"
        "| theirs | measured | – 0/1 |\n"
    ) in text
    assert (
        "| System | Measures | Reason | Cases | The first of them |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| ours | face coverage | unavailable | 4 | this metric was not run on this video; name it in --metrics |\n"
        "| theirs | FaceSim | no video | 2 | there is no a.mp4 among the videos |\n"
    ) in text


def test_a_small_table_in_latex(tmp_path):
    lines = latex(contents_of(small(tmp_path), published=False)).splitlines()
    start = lines.index(r"\toprule")
    assert lines[start:] == [
        r"\toprule",
        r" & \multicolumn{1}{c}{Single-ID, 3 cases} & \multicolumn{1}{c}{Multi-subject, 1 case} \\",
        r"\cmidrule(lr){2-2}\cmidrule(lr){3-3}",
        r"System & FaceSim $\uparrow$ & FaceSim $\uparrow$ \\",
        r"\midrule",
        r"\multicolumn{3}{l}{\emph{measured}} \\",
        r"ours & \textbf{0.500} & 0.400 \\",
        r" & {\scriptsize [0.250, 0.750]} &  \\",
        r" & {\scriptsize 3/3} & {\scriptsize 1/1} \\",
        r"theirs & \textbf{0.500} & -- \\",
        r" & {\scriptsize [0.500, 0.500]} &  \\",
        r" & {\scriptsize 2/3} & {\scriptsize 0/1} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]


def test_csv_has_what_was_measured_unrounded(tmp_path):
    contents = contents_of(small(tmp_path))
    rows = list(csv.DictReader(io.StringIO(values_csv(contents, contents.main))))
    published = [row for row in rows if row["origin"] == "published"]
    assert len(published) == 4 * (13 + 7)
    assert published[0]["value"] == "0.455"
    assert not published[0]["profile"]
    assert not published[0]["n"]
    theirs = [row for row in rows if row["system"] == "theirs"]
    assert [row["value"] for row in theirs] == ["0.5002", "", "", "", "", "", "", ""]
    assert [(row["n"], row["missing"], row["reasons"]) for row in theirs[:2]] == [
        ("2", "1", "no_video 1"), ("0", "3", "unavailable 3"),
    ]  # fmt: skip
    assert {row["profile"] for row in theirs} == {"opens2v"}
    assert next(row["mark"] for row in theirs if row["part"] == "single_id") == "best"
    (first, second) = csv.DictReader(io.StringIO(pairs_csv(contents)))
    assert (first["part"], first["n"], first["p"]) == ("single_id", "2", "1.0")
    assert (second["part"], second["n"], second["p"]) == ("multi_subject", "0", "")


def test_published_rows_are_ranked_with_measured_ones_on_the_reconstruction_alone(tmp_path):
    elsewhere = contents_of(small(tmp_path / "elsewhere"))
    marked = {(row.origin, row.system): row.cells[0].mark for row in elsewhere.main[0].rows}
    assert marked["published", "VACE"] == "best"
    assert marked["measured", "ours"] == "best"
    assert any("must not be compared" in sentence for sentence in sentences(elsewhere))
    assert not any("reconstruction" in sentence for sentence in sentences(elsewhere))
    there = contents_of(small(tmp_path / "there", dataset=RECONSTRUCTION))
    marked = {(row.origin, row.system): row.cells[0].mark for row in there.main[0].rows}
    assert marked["published", "VACE"] == "best"
    assert marked["measured", "ours"] is None
    for text in (markdown(there), latex(there), values_csv(there, there.main)):
        assert "reconstruction" in text
    assert any(sentence.startswith("These cases are a reconstruction") for sentence in sentences(there))


def test_cases_of_which_some_are_a_reconstruction_are_named_so_and_not_ranked_with_published_rows(tmp_path):
    bench = small(tmp_path, dataset=RECONSTRUCTION)
    name, one = next(iter(bench.cases.items()))
    mixed = replace(bench, cases=bench.cases | {name: one.model_copy(update={"dataset": None})})
    assert (bench.is_reconstruction, mixed.is_reconstruction, mixed.has_reconstruction) == (True, False, True)
    assert any(sentence.startswith("These cases are a reconstruction") for sentence in sentences(contents_of(mixed)))


def test_profile_strict_stands_without_the_published_rows_and_says_so(tmp_path):
    contents = contents_of(small(tmp_path, profile="strict"))
    assert {row.origin for table in contents.main for row in table.rows} == {"measured"}
    assert any("profile strict" in sentence for sentence in sentences(contents))
    assert any("left out" in sentence for sentence in sentences(contents))


def test_evaluate_shows_table_1_where_its_rows_may_stand_beside(tmp_path):
    on = {
        (profile, dataset): small(tmp_path / profile / dataset[:3], profile=profile, dataset=dataset).systems[0]
        for profile in ("opens2v", "strict")
        for dataset in ("own cases", RECONSTRUCTION)
    }
    tables = {known: placed(system.run, system.scores) for known, system in on.items()}
    assert [known for known, found in tables.items() if found] == [("opens2v", RECONSTRUCTION)]
    single, multi = tables["opens2v", RECONSTRUCTION]
    assert (single.row_count, multi.row_count) == (13 + 1 + 2, 7 + 1 + 2)  # with a line above each sort


def test_what_made_the_videos_is_said_where_it_is_known(tmp_path):
    bench = small(tmp_path)
    assert made_by(bench.systems[0]) == "videos from elsewhere"
    made = MadeBy(system="vace", settings={"num_frames": 81, "model": None}, weights={}, seed=3)
    system = replace(bench.systems[0], run=bench.systems[0].run.model_copy(update={"made_by": made}))
    assert made_by(system) == "vace, seed 3, num_frames 81"
    text = markdown(contents_of(replace(bench, systems=(system, bench.systems[1]))))
    assert "- ours: vace, seed 3, num\\_frames 81\n- theirs: videos from elsewhere\n" in text


def test_breakdowns_are_by_category_and_by_number_of_references(tmp_path):
    bench = bench_of(tmp_path, one={"face-1": 0.2, "human-1": 0.4, "two_person-1": 0.6, "three_person-1": 0.9})
    contents = contents_of(bench)
    assert [(table.part.key, table.rows[0].cells[0].value) for table in contents.by_category] == [
        ("face", 0.2), ("human", 0.4), ("two_person", 0.6), ("three_person", 0.9),
    ]  # fmt: skip
    assert [(part.title, table_of(bench, part, [HIGH]).cases) for part in numbers(bench)] == [
        ("1 reference", 2), ("2 references", 1), ("3 references", 1),
    ]  # fmt: skip
    assert contents.by_number[0].rows[0].cells[0].value == pytest.approx(0.3)


def test_cases_of_no_category_have_a_table_of_their_own(tmp_path):
    contents = contents_of(bench_of(tmp_path, one={"face-1": 0.2, "dog": 0.4}))
    assert [(table.part.title, table.cases) for table in contents.main] == [
        ("Single-ID", 1), ("Cases without a group", 1),
    ]  # fmt: skip


def test_a_report_needs_none_of_the_papers_measures(tmp_path):
    contents = contents_of(bench_of(tmp_path, measure="world_identity", one={"face-1": 0.2}), published=False)
    assert contents.main == ()
    assert [table.rows[0].cells[0].value for table in contents.others] == [0.2]
    assert "world identity" in latex(contents)


def test_a_metric_that_one_system_lacks_is_missing_there(tmp_path):
    bench = bench_of(tmp_path, one={"face-1": {"gme": 0.5, "motion": 0.1}}, two={"face-1": {"motion": 0.2}})
    contents = contents_of(bench)
    assert [measure.name for measure in contents.by_category[0].measures] == ["gme", "motion"]
    assert ("two", ("gme",), "unavailable", 1) in [(g.system, g.measures, g.reason, g.count) for g in contents.gaps]


# What does not go together


def test_profiles_are_never_mixed(tmp_path):
    folders = [store(tmp_path / p, {"face-1": {"motion": 0.5}}, profile=p, videos=p) for p in ("opens2v", "strict")]
    with pytest.raises(InputError, match=r"scored by profile opens2v and strict by strict, .* report for each"):
        read_bench(folders)


def test_other_cases_are_refused_and_fewer_are_said(tmp_path):
    one = store(tmp_path / "one", {"face-1": {"motion": 0.5}, "face-2": {"motion": 0.4}}, videos="one")
    other = store(tmp_path / "other", {"face-9": {"motion": 0.5}}, videos="other")
    fewer = store(tmp_path / "fewer", {"face-2": {"motion": 0.5}}, videos="fewer")
    with pytest.raises(InputError, match="scored on other cases"):
        read_bench([one, other])
    bench = read_bench([one, fewer])
    assert "fewer was scored on 1 of the 2 cases." in bench.notes
    lines = (tmp_path / "fewer" / "scores.jsonl").read_text()
    digest = re.search(r'case_sha256": "(\w+)"', lines)[1]
    (tmp_path / "fewer" / "scores.jsonl").write_text(lines.replace(digest, "0" * 64))
    with pytest.raises(InputError, match="the case face-2 has another prompt or other references in fewer"):
        read_bench([one, fewer])


def test_other_weights_are_said(tmp_path):
    folders = [
        store(tmp_path / name, {"face-1": {"gme": 0.5}}, videos=name, weights=weights)
        for name, weights in (("a", "a server"), ("b", "a folder"))
    ]
    (note,) = read_bench(folders).notes
    assert "gme ran with weights from different places: a with a server, b with a folder" in note


def test_measures_that_mean_something_else_are_refused(tmp_path):
    one = read_bench([store(tmp_path / "one", {"face-1": {"gme": 0.5}}, videos="one")]).systems[0]
    metric = one.run.metrics["gme"]
    changed = metric.model_copy(update={"measures": (Measure(name="gme", meaning="another"),)})
    other = replace(one, name="other", run=one.run.model_copy(update={"metrics": {"gme": changed}}))
    from magref.evaluation.report.systems import compared

    with pytest.raises(InputError, match="gme of other is measured otherwise"):
        compared([one, other])


def test_each_mistake_with_the_folders_is_one_sentence(tmp_path):
    one = store(tmp_path / "one", {"face-1": {"motion": 0.5}})
    with pytest.raises(InputError, match="there are no scores in nowhere; give a folder that magref evaluate wrote"):
        read_bench(["nowhere"])
    with pytest.raises(InputError, match=r"two systems are called videos; give each .* NAME=FOLDER"):
        read_bench([one, one])
    with pytest.raises(InputError, match="has no name before the ="):
        read_bench([f"={one}"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else than scores"):
        read_bench([str(tmp_path / "other")])


def test_a_system_is_called_by_its_videos_or_as_one_says(tmp_path):
    one = store(tmp_path / "one", {"face-1": {"motion": 0.5}}, videos="runs/nano")
    odd = store(tmp_path / "a=b", {"face-1": {"motion": 0.5}}, videos="runs/odd")
    names = [system.name for system in read_bench([one, odd, f"New  name={one}"]).systems]
    assert names == ["nano", "odd", "New name"]


# Escapes

texts = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("\\{}$&#%_^~<>|\"'`*[]()!+-. \n", max_size=40)


@given(texts)
def test_latex_has_no_command_comment_or_column_of_a_names_making(text):
    escaped = latex_module.escaped(text)
    known = r"\\text[a-z]+\{\}|\\[{}$&#%_]|\$-\$|\{\[\}|\{\*\}"
    assert not re.search(r"[\\{}$&#%_^~<>|\"\n\[*]", re.sub(known, "", escaped))


@given(texts)
def test_markdown_has_no_markup_of_a_names_making(text):
    escaped = markdown_module.escaped(text)
    assert "\n" not in escaped
    assert re.sub(r"\\(.)", r"\1", escaped) == " ".join(text.split())
    assert not re.search(r"[`*_\[\]<>#|~&]", re.sub(r"\\.", "", escaped))


def test_markdown_marks_best_and_second(tmp_path):
    text = markdown(contents_of(bench_of(tmp_path, one={"face-1": 0.2}, two={"face-1": 0.4}), published=False))
    assert "| one | measured | <ins>0.200</ins> 1/1 |\n| two | measured | **0.400**" in text


def test_a_hostile_name_stays_in_its_cell(tmp_path):
    hostile = r"\input{x} & 50% | <b>_$"
    folder = store(tmp_path / "one", {"face-1": {"motion": 0.5}})
    contents = contents_of(read_bench([f"{hostile}={folder}"]), published=False)
    (row,) = [line for line in latex(contents).splitlines() if "input" in line]
    assert row == (r"\textbackslash{}input\{x\} \& 50\% \textbar{} \textless{}b\textgreater{}\_\$ & 0.500 \\")
    (line,) = [line for line in markdown(contents).splitlines() if "input" in line and "measured" in line]
    assert len(re.findall(r"(?<!\\)\|", line)) == 4


def test_latex_is_balanced_and_every_row_has_every_column(tmp_path):
    text = latex(contents_of(small(tmp_path, dataset="50% of {everything} & more")))
    unescaped = re.sub(r"\\[{}]", "", text)
    depth = 0
    for letter in unescaped:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 13 + 2 * 3
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {8}
