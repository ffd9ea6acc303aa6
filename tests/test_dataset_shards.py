"""A dataset as tar files: a sample's files lie together, and what is there already is what it should be."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from dataset_toys import INFO, add, run, save_toys
from magref.dataset.format import Sample
from magref.dataset.schema import manifest_schema
from magref.dataset.shards import Shard, export_shards
from magref.dataset.store import Dataset, DatasetWriter
from magref.errors import InputError, OutputError


@pytest.fixture
def folder(tmp_path):
    return save_toys(tmp_path / "set")


class TestShards:
    def test_a_samples_files_lie_together(self, folder, tmp_path):
        made = list(export_shards(folder, tmp_path / "shards", shard_samples=1))
        assert [shard.path.name for shard in made] == ["shard-00000.tar", "shard-00001.tar"]
        sample = next(iter(Dataset(folder)))
        with tarfile.open(made[0].path) as tar:
            names = tar.getnames()
            assert names == [
                "one.json", "one.mp4", "one.man-0.png", "one.man-1.png", "one.man-2.png", "one.ball-0.png",
                "one.park-0.png", "one.mask.man-2.png",
            ]  # fmt: skip
            assert Sample.model_validate_json(tar.extractfile("one.json").read()) == sample
            assert tar.extractfile("one.mp4").read() == (folder / "clips/one.mp4").read_bytes()
        with tarfile.open(made[1].path) as tar:
            assert {name.partition(".")[0] for name in tar.getnames()} == {"two_b"}

    def test_equal_datasets_give_equal_bytes_and_finished_shards_stay(self, folder, tmp_path):
        one, other = (next(export_shards(folder, tmp_path / name)).path for name in ("a", "b"))
        assert one.read_bytes() == other.read_bytes()
        before = one.stat().st_mtime_ns
        assert list(export_shards(folder, tmp_path / "a")) == [Shard(one, new=False)]
        assert one.stat().st_mtime_ns == before

    def test_an_export_goes_on_where_it_stopped_and_says_what_is_new(self, folder, tmp_path, capsys):
        next(export_shards(folder, tmp_path / "shards", shard_samples=1))
        assert run("dataset", "export", folder, tmp_path / "shards", "--samples", "1") == 0
        said = capsys.readouterr().err.replace("\n", "")
        assert f"kept {tmp_path}/shards/shard-00000.tar" in said
        assert f"wrote {tmp_path}/shards/shard-00001.tar" in said

    @pytest.mark.parametrize("change", ["sizes", "added", "removed", "no tar", "cut off"])
    def test_shards_of_other_samples_are_never_mixed_with_these(self, folder, tmp_path, change):
        shards = tmp_path / "shards"
        list(export_shards(folder, shards, shard_samples=1 if change == "removed" else 500))
        size, holds = 500, "shard-00000"
        if change == "sizes":
            size = 1
        elif change == "added":
            with DatasetWriter(folder, INFO) as writer:
                add(writer, "three")
        elif change == "removed":
            size, holds = 1, "shard-00001"
            part = folder / "manifest/part-00000.parquet"
            parquet.write_table(parquet.read_table(part).slice(0, 1), part)
        elif change == "no tar":
            (shards / "shard-00000.tar").write_bytes(b"no tar" * 200)
        else:
            whole = (shards / "shard-00000.tar").read_bytes()
            (shards / "shard-00000.tar").write_bytes(whole[: len(whole) // 2])
        said = rf"{holds}\.tar holds other samples; choose another folder, or delete the shards there"
        with pytest.raises(OutputError, match=said):
            list(export_shards(folder, shards, shard_samples=size))

    def test_a_missing_file_is_named_before_anything_is_written(self, folder, tmp_path):
        (folder / "clips/two.b.mp4").unlink()
        said = r"the sample 'two\.b' lacks clips/two\.b\.mp4; run magref dataset check"
        with pytest.raises(InputError, match=said):
            list(export_shards(folder, tmp_path / "shards"))
        assert not (tmp_path / "shards").exists()

    def test_files_are_named_by_what_they_are_wherever_they_lie(self, folder, tmp_path):
        shutil.move(folder / "pictures/one", folder / "faces")
        shutil.move(folder / "masks/one", folder / "people")
        rename(folder, {"pictures/one/": "faces/", "masks/one/": "people/"})
        (shard,) = export_shards(folder, tmp_path / "shards")
        with tarfile.open(shard.path) as tar:
            assert {"one.man-0.png", "one.mask.man-2.png"} < set(tar.getnames())

    def test_what_would_have_one_name_in_a_shard_is_refused(self, folder, tmp_path):
        with DatasetWriter(folder, INFO) as writer:
            add(writer, "two_b")
        with pytest.raises(InputError, match=r"the samples 'two\.b' and 'two_b' would both be 'two_b' in a shard"):
            list(export_shards(folder, tmp_path / "shards"))

    def test_two_files_of_one_name_are_refused(self, folder, tmp_path):
        (folder / "faces").mkdir()
        shutil.move(folder / "pictures/one/man-1.png", folder / "faces/man-0.png")
        rename(folder, {"pictures/one/man-1.png": "faces/man-0.png"})
        with pytest.raises(InputError, match=r"two files of the sample 'one' would be one\.man-0\.png in a shard"):
            list(export_shards(folder, tmp_path / "shards"))


def rename(folder: Path, changes: dict[str, str]) -> None:
    """Let the rows of a dataset name their files otherwise."""
    (part,) = Dataset(folder).parts()
    text = json.dumps(parquet.read_table(part).to_pylist())
    for before, after in changes.items():
        text = text.replace(before, after)
    parquet.write_table(pa.Table.from_pylist(json.loads(text), schema=manifest_schema()), part)
