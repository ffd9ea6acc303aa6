"""A person is taken out of a dataset with everything that shows them, and only if asked to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from magref.cli import main
from magref.dataset.check import check_dataset
from magref.dataset.format import DatasetInfo, Provenance
from magref.dataset.removal import plan_removal, remove
from magref.dataset.store import Dataset, DatasetWriter, NewPicture, NewSubject
from magref.errors import InputError

INFO = DatasetInfo(name="people")


def add(writer: DatasetWriter, name: str, who: str | None, source: str) -> None:
    frames = np.random.default_rng(len(name)).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    picture = NewPicture(Image.new("RGBA", (8, 8), (len(name), 9, sum(map(ord, name)) % 256, 255)))
    subject = NewSubject("one", "person" if who else "object", [picture], identity=who)
    masks = {("one", 0): np.ones((32, 48), np.bool_)} if who else None
    writer.add(name, "Somebody.", frames, [subject], fps=8, masks=masks, provenance=Provenance(source=source))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with DatasetWriter(tmp_path / "set", INFO, part_samples=2) as writer:
        add(writer, "a", "ann", "film-1")
        add(writer, "b", "ann", "film-1")
        add(writer, "c", "bob", "film-1")
        add(writer, "d", None, "film-2")
        add(writer, "e", "ann", "film-2")
    return tmp_path / "set"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_every_sample_of_the_person_goes_and_no_other(folder):
    before = files(folder)
    removal = plan_removal(folder, "ann")
    assert [sample.id for _, sample in removal.samples] == ["a", "b", "e"]
    remove(removal)
    assert Dataset(folder).ids() == ["c", "d"]
    gone = {f"{kind}/{n}" for n in "abe" for kind in ("clips", "pictures", "masks")}
    assert {path for path in before if path.rsplit(".", 1)[0].split("/one")[0] in gone} == before - files(folder)
    assert not (folder / "pictures" / "a").exists()
    assert list(check_dataset(folder, decode=True)) == []


def test_whole_sources_go_where_asked(folder):
    remove(plan_removal(folder, "bob", whole_sources=True))
    assert Dataset(folder).ids() == ["d", "e"]


def test_samples_can_be_added_afterwards(folder):
    remove(plan_removal(folder, "ann"))
    with DatasetWriter(folder, INFO, part_samples=2) as writer:
        add(writer, "a", "eve", "film-3")
    assert Dataset(folder).ids() == ["c", "d", "a"]


def test_an_interrupted_removal_is_found_again(folder, monkeypatch):
    def full(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("magref.dataset.removal._rewrite", full)
        with pytest.raises(KeyboardInterrupt):
            remove(plan_removal(folder, "ann"))
    again = plan_removal(folder, "ann")
    assert [sample.id for _, sample in again.samples] == ["a", "b", "e"]
    assert again.files() == []
    remove(again)
    assert list(check_dataset(folder)) == []


def rename_picture(folder: Path, sample: str, path: str) -> None:
    """Let a sample's row name another file for its subject's picture."""
    for part in Dataset(folder).parts():
        table = parquet.read_table(part)
        rows = table.to_pylist()
        for row in rows:
            if row["id"] == sample:
                row["subjects"][0]["pictures"][0]["path"] = path
        parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), part)


def test_a_file_that_another_sample_needs_is_never_deleted(folder):
    rename_picture(folder, "c", "pictures/./a/one-0.png")
    said = r"^pictures/a/one-0\.png of 'a' is also a file of 'c', which does not name ann; name the identity there too"
    with pytest.raises(InputError, match=f"{said}, or remove the whole source with --whole-sources$"):
        plan_removal(folder, "ann")
    rename_picture(folder, "d", "pictures/a/one-0.png")
    remove(plan_removal(folder, "ann", whole_sources=True))  # c and d go too
    assert Dataset(folder).ids() == []


def test_samples_that_go_may_share_a_file(folder):
    rename_picture(folder, "b", "pictures/a/one-0.png")
    remove(plan_removal(folder, "ann"))
    assert Dataset(folder).ids() == ["c", "d"]


def test_the_manifest_is_no_file_of_a_sample(folder):
    rename_picture(folder, "a", "manifest/part-00001.parquet")
    with pytest.raises(InputError, match="is the dataset's own"):
        plan_removal(folder, "ann")


def test_an_unknown_identity_and_a_folder_that_is_none_are_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"no sample of .* shows 'zoe'"):
        plan_removal(folder, "zoe")
    with pytest.raises(InputError, match="no dataset"):
        plan_removal(tmp_path, "ann")


def test_the_command_says_what_would_go_and_does_it_only_with_yes(folder, capsys):
    before = files(folder)
    assert run("dataset", "remove", str(folder), "--identity", "ann") == 0
    said = capsys.readouterr().err
    assert "a of film-1" in said
    assert "3 samples with 9 files would be removed" in said
    assert files(folder) == before
    assert run("dataset", "remove", str(folder), "--identity", "ann", "--yes") == 0
    assert "3 samples with 9 files removed" in capsys.readouterr().err
    assert Dataset(folder).ids() == ["c", "d"]


def test_the_command_fails_on_an_unknown_identity(folder, capsys):
    assert run("dataset", "remove", str(folder), "--identity", "zoe", "--yes") == 2
    assert "zoe" in capsys.readouterr().err
