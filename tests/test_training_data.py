"""What training reads: captions as generation reads them, rows when they are needed, a cache of these very samples."""

from __future__ import annotations

import json
import resource
import shutil
import signal

import pytest
import torch

from magref.dataset import rows as rows_module
from magref.dataset.schema import manifest_schema
from magref.dataset.store import Dataset
from magref.errors import InputError, OutputError
from magref.text import encode_text
from magref.training.encoding import caption_features, pad_texts
from magref.training.parallel import Team
from magref.training.setup import make_cache, prepare
from magref.training.trainer import train
from magref.video import read_video
from tiny import tiny_text_encoder, tiny_tokenizer
from training_data import HEIGHT, WIDTH, make_recipe, save_dataset

TEXT_TOKENS = 64
CPU = Team(0, 1, torch.device("cpu"))


class TestCaptions:
    @pytest.mark.parametrize("caption", ["A  man\n&amp; his dog ", "cafÃ© &lt;3", "plain words"])
    def test_a_text_encoder_that_is_trained_sees_what_generation_shows_it(self, caption):
        tokenizer, encoder = tiny_tokenizer(), tiny_text_encoder()
        with torch.no_grad():
            trained = caption_features([caption, "another, longer caption"], tokenizer, encoder, TEXT_TOKENS)
            generated = encode_text(caption, tokenizer=tokenizer, text_encoder=encoder, text_tokens=TEXT_TOKENS)
        assert torch.allclose(trained[0], pad_texts([generated], TEXT_TOKENS)[0], atol=1e-5)


def change_row(dataset, name, **changes):
    """Rewrite one row of the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (part,) = Dataset(dataset).parts()
    rows = [row | (changes if row["id"] == name else {}) for row in pq.read_table(part).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=manifest_schema()), part)


def fill(recipe):
    """Fill the recipe's cache; (id, reason) of each sample that was encoded or could not be."""
    seen = []
    make_cache(recipe, on_sample=lambda *told: seen.append(told))
    return seen


def skipped(folder):
    lines = (folder / "skipped.jsonl").read_text().splitlines()
    return {row["sample"]: row["reason"] for row in map(json.loads, lines)}


class TestCache:
    """What lies in a cache is used for the very samples that it was made of."""

    @pytest.fixture
    def mine(self, dataset, tmp_path):
        shutil.copytree(dataset, tmp_path / "mine")
        return tmp_path / "mine"

    @pytest.fixture(scope="class")
    def filled(self, base, dataset, tmp_path_factory):
        folder = tmp_path_factory.mktemp("latents") / "cache"
        fill(make_recipe(base, dataset, f"data.cache={folder}"))
        return folder

    @pytest.fixture
    def cache(self, filled, tmp_path):
        shutil.copytree(filled, tmp_path / "cache")
        return tmp_path / "cache"

    def test_another_datasets_cache_is_refused_though_it_has_the_same_ids(self, base, cache, tmp_path):
        other = save_dataset(tmp_path / "other", frames=9)
        recipe = make_recipe(base, other, f"data.cache={cache}")
        with pytest.raises(InputError, match=r"holds none of the samples of .*other; fill it with magref train cache"):
            train(recipe, tmp_path / "run", team=CPU)
        assert [name for name, problem in fill(recipe) if problem is None] == [f"s{n}" for n in range(6)]
        assert train(recipe, tmp_path / "again", team=CPU).step == 4

    def test_a_row_that_was_changed_is_another_sample(self, base, mine, cache, tmp_path):
        row = next(row for _, row in Dataset(mine).rows() if row["id"] == "s2")
        change_row(mine, "s2", clip=row["clip"] | {"start": 1})
        recipe = make_recipe(base, mine, f"data.cache={cache}")
        train(recipe, tmp_path / "run", team=CPU)
        assert skipped(tmp_path / "run").keys() == {"s2"}
        assert "not in the cache as its row is now" in skipped(tmp_path / "run")["s2"]
        assert fill(recipe) == [("s2", None)]

    def test_provenance_and_masks_change_nothing(self, base, mine, cache, tmp_path):
        change_row(mine, "s2", provenance={"source": "elsewhere"})
        assert fill(make_recipe(base, mine, f"data.cache={cache}")) == []

    @pytest.mark.parametrize("name", ["clips/s2.mp4", "pictures/s2/disc-0.png"])
    def test_a_file_that_was_replaced_is_noticed(self, base, mine, cache, tmp_path, name):
        shutil.copy(mine / name.replace("s2", "s3"), mine / name)
        with (mine / name).open("ab") as file:
            file.write(b"0")
        recipe = make_recipe(base, mine, f"data.cache={cache}", "optim.steps=6")
        train(recipe, tmp_path / "run", team=CPU)
        assert f"{name} has changed since it was encoded" in skipped(tmp_path / "run")["s2"]
        assert fill(recipe) == [("s2", None)]
        assert fill(recipe) == []

    def test_files_that_are_gone_are_not_missed(self, base, mine, cache, tmp_path):
        shutil.rmtree(mine / "clips")
        recipe = make_recipe(base, mine, f"data.cache={cache}")
        assert train(recipe, tmp_path / "run", team=CPU).step == 4

    def test_a_damaged_file_of_the_cache_is_made_again(self, base, dataset, cache):
        (path,) = (cache / "samples").glob("s4-*")
        path.write_bytes(path.read_bytes()[:100])
        assert fill(make_recipe(base, dataset, f"data.cache={cache}")) == [("s4", None)]

    def test_filling_with_fewer_canvases_keeps_the_caches_own_number(self, base, mine, cache, tmp_path):
        shutil.rmtree(cache / "samples")
        fill(make_recipe(base, mine, f"data.cache={cache}", "data.canvases=1"))
        recipe = make_recipe(base, mine, f"data.cache={cache}", "optim.steps=8")
        train(recipe, tmp_path / "run", team=CPU)
        assert not (tmp_path / "run" / "skipped.jsonl").exists()

    def test_latents_of_another_scale_are_another_cache(self, base, dataset, cache, tmp_path):
        shutil.copytree(base, tmp_path / "scaled")
        path = tmp_path / "scaled" / "vae" / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"_diffusers_version": "0.0.0"}))
        assert fill(make_recipe(tmp_path / "scaled", dataset, f"data.cache={cache}")) == []
        path.write_text(json.dumps(config | {"latents_std": [2.0] * len(config["latents_std"])}))
        with pytest.raises(InputError, match="was made with another model"):
            fill(make_recipe(tmp_path / "scaled", dataset, f"data.cache={cache}"))

    def test_what_could_not_be_encoded_is_listed_once(self, base, mine, cache):
        (mine / "clips" / "s1.mp4").write_bytes(b"no video")
        recipe = make_recipe(base, mine, f"data.cache={cache}")
        assert [name for name, problem in fill(recipe) + fill(recipe) if problem] == ["s1", "s1"]
        assert len((cache / "skipped.jsonl").read_text().splitlines()) == 1

    def test_a_full_disk_ends_in_a_sentence_and_leaves_no_half_file(self, base, dataset, cache):
        sizes = {path.name: path.stat().st_size for path in (cache / "samples").iterdir()}
        for path in list((cache / "samples").iterdir())[:3]:
            path.unlink()
        recipe = make_recipe(base, dataset, f"data.cache={cache}")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with EFBIG, like a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (min(sizes.values()) // 2, before[1]))
        try:
            with pytest.raises(OutputError, match="could not be written: it is larger than files may be there"):
                fill(recipe)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert len(list((cache / "samples").iterdir())) == 3
        fill(recipe)
        assert {path.name: path.stat().st_size for path in (cache / "samples").iterdir()} == sizes


class TestRows:
    def test_a_bad_row_costs_its_sample_alone(self, base, dataset, tmp_path):
        shutil.copytree(dataset, tmp_path / "mine")
        change_row(tmp_path / "mine", "s1", clip={"path": "clips/s1.mp4", "fps": -1.0})
        change_row(tmp_path / "mine", "s2", caption="")
        recipe = make_recipe(base, tmp_path / "mine", "optim.steps=8")
        train(recipe, tmp_path / "run", team=CPU)
        reasons = skipped(tmp_path / "run")
        assert reasons.keys() == {"s1", "s2"}
        assert "clip.fps: input should be greater than 0" in reasons["s1"]
        assert "caption" in reasons["s2"]

    def test_an_id_that_occurs_twice_is_named(self, base, dataset, tmp_path):
        shutil.copytree(dataset, tmp_path / "mine")
        change_row(tmp_path / "mine", "s1", id="s2")
        train(make_recipe(base, tmp_path / "mine"), tmp_path / "run", team=CPU)
        assert skipped(tmp_path / "run") == {"s2": "its id occurs twice; the second one is left out"}

    def test_a_run_from_a_cache_asks_for_no_row_again(self, base, dataset, tmp_path, monkeypatch):
        recipe = make_recipe(base, dataset, f"data.cache={tmp_path / 'cache'}")
        fill(recipe)
        monkeypatch.setattr(rows_module, "_read_group", None)
        assert train(recipe, tmp_path / "run", team=CPU).step == 4

    def test_a_dataset_without_samples(self, base, tmp_path):
        dataset = save_dataset(tmp_path / "none", 0)
        with pytest.raises(InputError, match="none has no samples; add some with magref dataset import"):
            prepare(make_recipe(base, dataset))

    def test_paths_are_relative_to_the_working_directory_at_the_beginning(self, base, dataset, tmp_path, monkeypatch):
        shutil.copytree(dataset, tmp_path / "mine")
        monkeypatch.chdir(tmp_path)
        recipe = make_recipe(base, "mine", "data.cache=latents/cache")
        setting = prepare(recipe)
        assert (setting.dataset.folder, setting.cache) == (tmp_path / "mine", tmp_path / "latents" / "cache")
        assert recipe.data.dataset == "mine"
        monkeypatch.chdir("/")
        assert setting.rows["s0"].id == "s0"


class TestValidationVideos:
    CHANGES = ("validation.samples=3", "validation.every=4", "validation.videos=2")

    def test_a_held_out_sample_without_pictures_is_named_and_the_next_takes_its_place(self, base, dataset, tmp_path):
        shutil.copytree(dataset, tmp_path / "mine")
        recipe = make_recipe(base, tmp_path / "mine", *self.CHANGES, f"data.cache={tmp_path / 'cache'}")
        fill(recipe)
        shutil.rmtree(tmp_path / "mine" / "pictures" / "s0")
        assert train(recipe, tmp_path / "run", team=CPU).step == 4
        assert skipped(tmp_path / "run").keys() == {"s0"}
        assert "cannot be read" in skipped(tmp_path / "run")["s0"]
        videos = sorted(path.name for path in (tmp_path / "run" / "samples" / "step-00000004").glob("*.mp4"))
        assert videos == ["0.mp4", "1.mp4"]

    def test_each_video_has_the_size_of_its_samples_bucket(self, base, tmp_path):
        dataset = save_dataset(tmp_path / "mine", 1, prefix="a")
        save_dataset(dataset, 5, prefix="b", width=HEIGHT, height=WIDTH)
        sizes = f"data.sizes=[[{WIDTH}, {HEIGHT}], [{HEIGHT}, {WIDTH}]]"
        train(make_recipe(base, dataset, *self.CHANGES, sizes), tmp_path / "run", team=CPU)
        folder = tmp_path / "run" / "samples" / "step-00000004"
        shapes = [read_video(folder / f"{number}.mp4")[0].shape[1:3] for number in range(2)]
        assert shapes == [(HEIGHT, WIDTH), (WIDTH, HEIGHT)]
