"""Training samples on disk: what is written comes back, what is wrong is named, nothing is lost."""

from __future__ import annotations

import shutil
import zlib

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from dataset_toys import CAPTION, INFO, add, cut_out, problems, run, save_toys, subjects, video
from magref.dataset import rows as rows_module
from magref.dataset.format import Clip, DatasetInfo, Picture, Sample, Subject, file_name, find_span
from magref.dataset.rows import Rows
from magref.dataset.schema import manifest_schema
from magref.dataset.store import Dataset, DatasetWriter, read_picture
from magref.errors import InputError, OutputError, ResourceError
from magref.video import read_video, write_video


@pytest.fixture
def folder(tmp_path):
    return save_toys(tmp_path / "set")


class TestRoundTrip:
    def test_what_is_written_comes_back(self, tmp_path):
        with DatasetWriter(tmp_path / "set", INFO) as writer:
            written = add(writer)
        dataset = Dataset(tmp_path / "set")
        assert dataset.info == INFO
        assert list(dataset) == [written]
        assert len(dataset) == 1
        assert written.clip == Clip(path="clips/one.mp4", fps=16.0, num_frames=6, height=32, width=48, start=1, stop=6)
        man, ball, park = written.subjects
        assert [p.score for p in man.pictures] == [0.9, 0.8, 0.7]
        assert man.identity == "man-1"
        assert CAPTION[slice(*man.span)] == man.label == "A man in a red hat"  # as the caption has it
        assert CAPTION[slice(*ball.span)] == "ball"
        assert (park.label, park.span) == ("the lake", None)

    def test_pictures_masks_and_clips_lie_where_the_row_says(self, folder):
        sample = next(iter(Dataset(folder)))
        for path in sample.files():
            assert (folder / path).is_file()
        with Image.open(folder / sample.subjects[1].pictures[0].path) as image:
            assert np.array_equal(np.asarray(image), np.asarray(cut_out((0, 0, 250))))
        with Image.open(folder / sample.masks[0].path) as image:
            assert np.asarray(image)[8:20, 10:30].min() == 255
            assert (np.asarray(image) > 0).sum() == 12 * 20
        frames, fps = read_video(folder / sample.clip.path)
        assert fps == 16
        assert np.abs(frames.astype(int) - video()).mean() < 3

    def test_a_whole_dataset_has_no_problems(self, folder):
        assert problems(folder, decode=True) == []

    def test_an_mp4_is_copied_as_it_is(self, tmp_path):
        write_video(video(), tmp_path / "source.mp4", fps=12.5)
        with DatasetWriter(tmp_path / "set", INFO) as writer:
            sample = writer.add("one", CAPTION, tmp_path / "source.mp4", subjects())
        assert (sample.clip.fps, sample.clip.num_frames) == (12.5, 6)
        assert (tmp_path / "set/clips/one.mp4").read_bytes() == (tmp_path / "source.mp4").read_bytes()


class TestWriter:
    def test_parts_are_written_as_they_fill(self, tmp_path):
        with DatasetWriter(tmp_path / "set", INFO, part_samples=2) as writer:
            for n in range(5):
                add(writer, f"s{n}", masks=None)
                assert len(Dataset(tmp_path / "set")) == (n + 1) // 2 * 2
        dataset = Dataset(tmp_path / "set")
        assert [path.name for path in dataset.parts()] == [f"part-{n:05d}.parquet" for n in range(3)]
        assert dataset.ids() == ["s0", "s1", "s2", "s3", "s4"]

    def test_a_writer_goes_on_where_another_stopped(self, folder):
        with DatasetWriter(folder, INFO) as writer:
            assert "one" in writer
            assert "three" not in writer
            add(writer, "three")
            with pytest.raises(InputError, match="'one' already"):
                add(writer, "one")
        assert Dataset(folder).ids() == ["one", "two.b", "three"]

    def test_a_new_part_takes_no_number_of_another_where_one_was_taken_out(self, tmp_path):
        with DatasetWriter(tmp_path / "set", INFO, part_samples=1) as writer:
            for n in range(3):
                add(writer, f"s{n}", masks=None)
        (tmp_path / "set/manifest/part-00001.parquet").unlink()
        with DatasetWriter(tmp_path / "set", INFO) as writer:
            add(writer, "s1", masks=None)
        dataset = Dataset(tmp_path / "set")
        assert dataset.ids() == ["s0", "s2", "s1"]
        assert [path.name for path in dataset.parts()] == [f"part-0000{n}.parquet" for n in (0, 2, 3)]

    def test_rows_noted_before_an_error_are_kept(self, tmp_path):
        with pytest.raises(InputError), DatasetWriter(tmp_path / "set", INFO) as writer:  # noqa: PT012
            add(writer)
            add(writer)  # the same id
        assert Dataset(tmp_path / "set").ids() == ["one"]

    def test_a_sample_lost_with_its_part_can_be_added_again(self, tmp_path):
        killed = DatasetWriter(tmp_path / "set", INFO)
        add(killed)  # and never flushed
        with DatasetWriter(tmp_path / "set", INFO) as writer:
            add(writer)
        assert Dataset(tmp_path / "set").ids() == ["one"]
        assert problems(tmp_path / "set") == []

    def test_another_dataset_or_folder_is_left_alone(self, folder, tmp_path):
        said = "with the name 'toys', not 'other' and the license 'CC0-1.0', not none; give the same, or choose another"
        with pytest.raises(OutputError, match=said):
            DatasetWriter(folder, DatasetInfo(name="other"))
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes/mine.txt").write_text("mine")
        with pytest.raises(OutputError, match="not empty"):
            DatasetWriter(tmp_path / "notes", INFO)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"fps": None}, "give fps"),
            ({"window": (2, 9)}, "window 2 to 9"),
            ({"masks": {("dog", 0): np.ones((32, 48), bool)}}, "'dog', which is no subject"),
            ({"masks": {("man", 6): np.ones((32, 48), bool)}}, "frame 6 of 6"),
        ],
        ids=str,
    )
    def test_what_contradicts_itself_is_refused_before_any_file(self, tmp_path, changes, sentence):
        with DatasetWriter(tmp_path / "set", INFO) as writer, pytest.raises(InputError, match=sentence):
            add(writer, **changes)
        assert [path.name for path in (tmp_path / "set").iterdir()] == ["dataset.json"]

    def test_without_pyarrow_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(ResourceError, match=r"magref\[train\]"):
            DatasetWriter(tmp_path / "set", INFO)


class TestFormat:
    @pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "a/../../x.png", "C:/x.png", "a\\x.png"])
    def test_no_path_leaves_the_folder(self, path):
        with pytest.raises(ValidationError, match="stay in the dataset"):
            Picture(path=path)

    @pytest.mark.parametrize("path", ["dataset.json", "./Dataset.json", "manifest/part-00000.parquet", "."])
    def test_no_path_is_the_datasets_own(self, path):
        with pytest.raises(ValidationError, match="is the dataset's own"):
            Picture(path=path)

    @pytest.mark.parametrize("span", [(0, 3), (-1, 4), (40, 80), (5, 5)])
    def test_a_span_that_is_not_the_label_is_refused(self, span):
        ball = Subject(key="b", role="object", pictures=(Picture(path="x.png"),), label="ball", span=span)
        clip = Clip(path="c.mp4", fps=8.0, num_frames=4, height=8, width=8, stop=4)
        with pytest.raises(ValidationError, match=r"span|should be"):
            Sample(id="a", caption=CAPTION, clip=clip, subjects=(ball,))

    def test_labels_are_found_as_whole_words(self):
        assert find_span("A hatter wears a hat", "hat") == (17, 20)
        assert find_span("A Hat", "hat") == (2, 5)
        assert find_span("A hatter", "hat") is None

    def test_any_text_gives_a_name_for_a_file(self):
        for text in ("holiday/day 1/walk", "Ärger & Söhne", "...", "", "x" * 500):
            Subject(key=file_name(text), role="object", pictures=(Picture(path="x.png"),))


class TestCheck:
    def break_row(self, folder, **changes):
        import pyarrow as pa
        import pyarrow.parquet as pq

        part = Dataset(folder).parts()[0]
        rows = pq.read_table(part).to_pylist()
        rows[0] |= changes
        pq.write_table(pa.Table.from_pylist(rows, schema=manifest_schema()), part)

    def test_missing_and_damaged_files_are_named(self, folder):
        (folder / "clips/one.mp4").write_bytes(b"no video")
        (folder / "pictures/one/man-1.png").unlink()
        (folder / "pictures/one/ball-0.png").write_bytes(b"no picture")
        Image.new("L", (48, 32)).save(folder / "pictures/two.b/ball-0.png")
        Image.new("RGBA", (48, 32)).save(folder / "pictures/two.b/park-0.png")
        Image.new("L", (9, 9)).save(folder / "masks/one/man-2.png")
        found = problems(folder)
        for sentence in (
            "one: pictures/one/man-1.png is missing",
            "one: pictures/one/ball-0.png cannot be read",
            "one: masks/one/man-2.png is 9x9, not as large as the clip",
            "two.b: pictures/two.b/ball-0.png is L, not RGBA",
            "two.b: pictures/two.b/park-0.png is wholly transparent",
        ):
            assert sentence in found
        assert any("one.mp4 cannot be read" in sentence for sentence in found)
        assert len(found) == 6

    def test_a_clip_that_is_not_the_manifests_is_named(self, folder):
        write_video(video(frames=4), folder / "clips/one.mp4", fps=10, overwrite=True)
        assert problems(folder) == [
            "one: clips/one.mp4 has 4 frames, the manifest says 6",
            "one: clips/one.mp4 runs at 10 frames per second, the manifest says 16",
        ]

    def test_one_picture_for_two_subjects_is_named(self, folder):
        shutil.copy(folder / "pictures/one/ball-0.png", folder / "pictures/one/man-0.png")
        assert problems(folder) == ["one: pictures/one/ball-0.png is the same picture for ball as for man"]

    def test_a_bad_row_is_named_and_the_rest_still_checked(self, folder):
        (folder / "clips/two.b.mp4").unlink()
        self.break_row(folder, caption="Something else.")
        found = problems(folder)
        assert found[0].startswith("one: the row does not fit the format: ")
        assert found[1] == "two.b: clips/two.b.mp4 is missing"
        with pytest.raises(InputError, match="'one' is not valid"):
            list(Dataset(folder))

    def test_an_id_that_occurs_twice_is_named(self, folder):
        self.break_row(folder, id="TWO.B")
        assert "two.b: the id occurs twice" in problems(folder)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (None, "no dataset.json"),
            ('{"format": "magref-dataset", "version": 2, "name": "x"}', "another version"),
            ('{"format": "other", "version": 1, "name": "x"}', "does not describe"),
            ("{", "does not describe"),
        ],
        ids=["absent", "version", "format", "json"],
    )
    def test_a_folder_that_is_no_dataset_is_refused(self, folder, content, sentence):
        (folder / "dataset.json").unlink()
        if content is not None:
            (folder / "dataset.json").write_text(content)
        with pytest.raises(InputError, match=sentence):
            problems(folder)

    @pytest.mark.parametrize("damage", ["no parquet", "cut off", "no text"])
    def test_a_damaged_manifest_is_named(self, folder, damage):
        part = folder / "manifest/part-00000.parquet"
        whole = part.read_bytes()
        content = {
            "no parquet": b"PAR1 not really",
            "cut off": whole[: len(whole) // 2],
            "no text": whole.replace(b"two.b", b"two\xff\xfe"),
        }
        part.write_bytes(content[damage])
        dataset = Dataset(folder)
        for read in (lambda: problems(folder), dataset.ids, lambda: list(dataset), lambda: Rows(dataset)):
            with pytest.raises(InputError, match=r"part-00000\.parquet cannot be read .*; copy it anew"):
                read()
        if damage != "no text":
            with pytest.raises(InputError, match=r"part-00000\.parquet cannot be read"):
                len(dataset)

    def test_a_manifest_without_ids_is_named(self, folder):
        import pyarrow.parquet as pq

        part = folder / "manifest/part-00000.parquet"
        pq.write_table(pq.read_table(part).drop_columns("id"), part)
        for read in (Dataset(folder).ids, lambda: problems(folder)):
            with pytest.raises(InputError, match=r"part-00000\.parquet has no column id"):
                read()

    @pytest.mark.parametrize("damage", ["cut off", "short header", "no picture"])
    def test_a_damaged_picture_is_named(self, folder, damage):
        path = folder / "pictures/one/ball-0.png"
        whole = path.read_bytes()
        header = b"IHDR" + bytes(5)
        content = {
            "cut off": whole[:-40],
            "short header": whole[:8] + (5).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big"),
            "no picture": b"no picture",
        }
        path.write_bytes(content[damage])
        with pytest.raises(InputError, match=r"ball-0\.png cannot be read .*; replace it"):
            read_picture(path)
        assert problems(folder) == ["one: pictures/one/ball-0.png cannot be read"]


class TestRows:
    """Samples by their ids, from any row group of any part."""

    @pytest.fixture
    def large(self, folder):
        """A hundred rows in parts of forty, their row groups of seven."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        part = folder / "manifest/part-00000.parquet"
        row = pq.read_table(part).to_pylist()[0]
        for number in range(3):
            rows = [row | {"id": f"s{n}"} for n in range(40 * number, min(100, 40 * (number + 1)))]
            table = pa.Table.from_pylist(rows, schema=manifest_schema())
            pq.write_table(table, part.with_name(f"part-{number:05d}.parquet"), row_group_size=7)
        return folder

    def test_every_sample_is_the_one_of_the_manifest(self, large):
        dataset = Dataset(large)
        rows = Rows(dataset)
        samples = list(dataset)
        assert len(samples) == 100
        for sample in [*samples[::-7], samples[0]]:
            assert rows[sample.id] == sample

    def test_only_ids_and_places_stay_in_memory(self, large, monkeypatch):
        read = []
        genuine = rows_module._read_group
        monkeypatch.setattr(rows_module, "_read_group", lambda *place: read.append(place) or genuine(*place))
        rows = Rows(Dataset(large))
        assert not read
        for n in range(100):
            assert rows[f"s{n}"].id == f"s{n}"
        assert len(read) == 6 + 6 + 3  # each row group once, since neighbours come together
        assert rows["s0"].id == "s0"
        assert len(read) == 16  # it had made room for later ones

    def test_a_bad_row_is_named_when_it_is_asked_for(self, folder):
        TestCheck().break_row(folder, caption="Something else.")
        rows = Rows(Dataset(folder))
        assert rows["two.b"].id == "two.b"
        with pytest.raises(InputError, match=r"^the span \(0, 18\) of man does not lie in the caption"):
            rows["one"]


class TestCommands:
    def test_problems_give_exit_code_1_and_mistakes_2(self, folder, tmp_path, capsys):
        (folder / "clips/one.mp4").unlink()
        assert run("dataset", "check", folder) == 1
        assert "one: clips/one.mp4 is missing" in capsys.readouterr().err
        assert run("dataset", "check", tmp_path / "absent") == 2
        assert "no dataset.json" in capsys.readouterr().err
