"""The whole road: films, curated by models that know the truth, a dataset that is checked, two steps of training."""

from __future__ import annotations

import json

import pytest

from magref.cli import main
from magref.curation.running.report import write_report
from magref.curation.running.rows import read_rows
from magref.curation.running.sources import Source
from magref.curation.running.tuning import counts
from magref.curation.running.work import find_work
from magref.dataset.check import check_dataset
from magref.dataset.store import Dataset
from magref.synthetic.footage import FootageSettings, read_truth, write_footage
from magref.training.trainer import train
from training_data import make_recipe, save_base

CHANGES = [
    "source.min_short_side_px=64", "windows.frames=9", "aesthetic.least=4.0", "faces.least_side_px=8",
    "motion.least=0.0", "caption.least_words=4",
]  # fmt: skip
OPTIONS = [option for change in CHANGES for option in ("--set", change)]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    settings = FootageSettings(height=96, width=144, shots=(2, 3), shot_frames=(20, 30))
    list(write_footage(folder, settings, count=3))
    return folder


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def curated(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("curated") / "dataset"
    run("curate", films, "-o", folder, "--truth", films, "--processes", 0, *OPTIONS)
    return folder


def test_films_become_samples_as_equation_1_has_them(films, curated) -> None:
    samples = list(Dataset(curated))
    assert samples
    assert list(check_dataset(curated, decode=True)) == []
    captions = {shot.caption for path in films.glob("film-*.json") for shot in read_truth(path).shots}
    for sample in samples:
        roles = [subject.role for subject in sample.subjects]
        assert roles.count("person") == 1
        assert 1 <= roles.count("object") <= 6
        assert sample.clip.num_frames == 9
        assert sample.caption in captions
        assert sample.masks
        person = next(subject for subject in sample.subjects if subject.role == "person")
        assert person.identity is not None
        assert 1 <= len(person.pictures) <= 10
        for subject in sample.subjects:
            if subject.span is not None:
                assert sample.caption[slice(*subject.span)] == subject.label
        assert sample.provenance.source is not None
        assert sample.provenance.source.endswith(".mp4")


def test_the_report_shows_what_was_cut_out_and_why_the_rest_was_not(curated, tmp_path) -> None:
    work = find_work(curated)
    page = write_report(work, tmp_path / "report.html").read_text(encoding="utf-8")
    for heading in ("scan: kept", "aesthetic: kept", "objects: kept", "objects: human", "faces: kept", "samples: kept"):
        (_, sheet) = page.split(f"<h3>{heading}")
        assert sheet.partition("</div>")[0].count("src='data:image/") >= 1, heading
    assert "no picture" not in page
    for sample in Dataset(curated):
        assert all(subject.label in page for subject in sample.subjects if subject.label)


def test_two_steps_of_training_on_what_was_curated(curated, tmp_path) -> None:
    recipe = make_recipe(save_base(tmp_path / "base"), curated, "optim.steps=2", "optim.batch=1", "save_every=2")
    assert train(recipe, tmp_path / "run").step == 2


def test_a_second_run_finds_everything_done(films, curated) -> None:
    work = curated.with_name("dataset-work")
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.parquet") if path.parent.name != "duplicates"}
    names = Dataset(curated).ids()
    run("curate", films, "-o", curated, "--truth", films, "--processes", 0, *OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert Dataset(curated).ids() == names
    events = [json.loads(line)["event"] for line in (work / "log.jsonl").read_text().splitlines()]
    assert events.count("begin") == events.count("end") == 2


def test_other_settings_ask_for_another_work_folder(films, curated, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["curate", str(films), "-o", str(curated), "--truth", str(films), *OPTIONS, "--set", "motion.least=2.0"])
    assert "was done with another motion.least" in capsys.readouterr().err


def test_rejected_clips_keep_what_was_measured(films, curated) -> None:
    work = curated.with_name("dataset-work")
    for film in films.glob("film-*.mp4"):
        rows = read_rows(work / "scan" / f"{Source(str(film)).id}.parquet", "clip")
        assert rows
        assert all(row.scores for row in rows)


def test_tuning_counts_what_the_run_counted(curated) -> None:
    work = find_work(curated)
    stages = [("scan", "clip"), ("aesthetic", "clip"), ("captions", "clip"), ("boxes", "clip"), ("samples", "sample")]
    now = counts(work, work.settings())
    for stage, level in stages:
        rows = [row for source in work.sources() for row in work.read(stage, source.id, level)]
        assert now[stage].kept == sum(row.is_kept for row in rows), stage
        assert now[stage].unmeasured == 0
