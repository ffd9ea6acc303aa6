"""The parts of training: recipes, the order of samples, what a canvas is drawn from, the schedule, the plan."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from magref.dataset.format import Clip, Picture
from magref.dataset.store import Dataset
from magref.errors import InputError
from magref.geometry import VideoShape
from magref.training import examples, nano
from magref.training.augment import augment
from magref.training.batches import Drawn, Loader, Order
from magref.training.examples import Buckets, blank_canvas, candidates, draw_canvas, frame_numbers, read_clip
from magref.training.optim import Averages, build_optimizers, learning_rate, set_learning_rate
from magref.training.recipe import AugmentRecipe, DataRecipe, parse_recipe, read_recipe, recipe_yaml, shipped_recipes
from magref.video import read_video
from training_data import FRAMES, HEIGHT, WIDTH, disc, save_dataset

NOTHING = AugmentRecipe(mirror=0, rotate_degrees=0, shrink=0, crop=0, light=0)
SHAPE = VideoShape(FRAMES, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_dataset(tmp_path_factory.mktemp("dataset") / "discs")


class TestRecipe:
    @pytest.mark.parametrize("name", shipped_recipes())
    def test_shipped_recipes_are_valid_and_survive_being_saved(self, name):
        recipe = read_recipe(name)
        assert parse_recipe(recipe_yaml(recipe), "saved") == recipe

    def test_the_papers_recipe_has_the_figures_of_section_4_1(self):
        optim = read_recipe("14b-32gpu").optim
        assert (optim.optimizer, optim.learning_rate, optim.betas) == ("adamw", 1e-5, (0.9, 0.999))
        assert (optim.weight_decay, optim.clip_norm, optim.schedule) == (0.01, 1.0, "cosine")
        data = read_recipe("14b-32gpu").data
        assert (data.sizes, data.frames, data.fps) == (((832, 480),), (81,), None)
        assert (data.shuffle, data.backgrounds, data.candidates) == (True, False, 10)

    @pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "0.00001", "1E-5"])
    def test_numbers_may_be_written_as_people_do(self, text):
        assert read_recipe("nano", [f"optim.learning_rate={text}"]).optim.learning_rate == 1e-5

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("model:\n\tbase: x", r"is not YAML \(line 2: found character '\\t'"),
            ("seed: 2024-13-45", r"is not YAML \(month must be in 1\.\.12\); .* put texts in quotes"),
            ("seed: !!int many", "is not YAML"),
            ("[" * 5000, "is not YAML .it is nested too deeply"),
            ("model: &m\n  lora: *m", r"has an alias \(\*\) within its own anchor"),
            ("model: &m [*m]", r"has an alias \(\*\) within its own anchor"),
            ("2024-01-01: 3", "has a key that is no text; put it in quotes"),
            ("", "holds no sections"),
        ],
        ids=["tab", "date", "number", "depth", "loop", "loop in a list", "key", "empty"],
    )
    def test_yaml_that_is_no_recipe(self, tmp_path, text, sentence):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_recipe(path)

    @pytest.mark.parametrize("change", ["seed=2024-13-45", "seed=&a [*a]", "seed=[", "seed=!!int x"])
    def test_a_change_that_is_no_yaml(self, change):
        with pytest.raises(InputError, match=r"is not YAML|within its own anchor"):
            read_recipe("nano", [change])

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
    def test_a_recipe_in_another_encoding(self, tmp_path, encoding):
        path = tmp_path / "recipe.yaml"
        path.write_text("# größer", encoding=encoding)
        with pytest.raises(InputError, match=r"recipe\.yaml is not UTF-8 text; save it as UTF-8"):
            read_recipe(path)

    def test_a_name_that_is_too_long(self):
        with pytest.raises(InputError, match=r"cannot be read \(File name too long\); check its path"):
            read_recipe("x" * 5000)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ("optim.betas=[0.9, 1]", r"optim\.betas\.1: input should be less than 1"),
            ("optim.learning_rate=.inf", r"optim\.learning_rate: input should be a finite number"),
            ("seed=9223372036854775808", "seed: input should be less than"),
        ],
    )
    def test_numbers_that_no_optimizer_takes(self, change, sentence):
        with pytest.raises(InputError, match=sentence):
            read_recipe("nano", [change])

    def test_a_lora_of_random_weights_is_refused(self):
        with pytest.raises(InputError, match="lora goes with neither fresh nor text_encoder"):
            read_recipe("nano-smoke", ["model.lora.rank=4"])

    def test_nano_learns_whole_clips_whatever_its_base_generates(self):
        """A base that nano-start made generates the half clips that it was trained on."""
        assert read_recipe("nano-start").data.frames == (9,)
        assert read_recipe("nano").data.frames == (nano.DEFAULTS.num_frames,)


class TestOrder:
    """Every sample once in an epoch, whatever the batches, and the same for one process or several."""

    @staticmethod
    def order(count=10, **changes):
        settings = {"batch": 2, "passes": 1, "world": 1, "seed": 3} | changes
        return Order([(f"s{n}", n % 2) for n in range(count)], **settings)

    def test_an_epoch_has_every_sample(self):
        order = self.order(12)
        names = [d.name for step in range(order.steps_per_epoch) for part in order.step(step, 0) for d in part]
        assert sorted(names) == sorted(f"s{n}" for n in range(12))

    def test_a_batch_has_one_bucket(self):
        order = self.order()
        for step in range(3 * order.steps_per_epoch):
            assert len({int(d.name[1:]) % 2 for d in order.step(step, 0)[0]}) == 1

    @pytest.mark.parametrize(("batch", "passes", "world"), [(4, 1, 1), (2, 2, 1), (2, 1, 2), (1, 2, 2), (1, 1, 4)])
    def test_a_step_sees_the_same_samples_however_it_is_cut(self, batch, passes, world):
        whole = self.order(batch=4)
        cut = self.order(batch=batch, passes=passes, world=world)
        for step in range(6):
            drawn = [d for rank in range(world) for part in cut.step(step, rank) for d in part]
            expected = whole.step(step, 0)[0]
            assert sorted((d.name, d.seed) for d in drawn) == sorted((d.name, d.seed) for d in expected)

    def test_any_step_can_be_asked_for_first(self):
        forwards, jumped = self.order(), self.order()
        steps = [forwards.step(step, 0) for step in range(9)]
        assert jumped.step(8, 0) == steps[8]
        assert jumped.step(1, 0) == steps[1]

    def test_epochs_differ(self):
        order = self.order(12)
        first, second = (order.step(epoch * order.steps_per_epoch, 0)[0] for epoch in (0, 1))
        assert {d.seed for d in first}.isdisjoint({d.seed for d in second})

    @pytest.mark.parametrize("count", [1, 3, 7])
    def test_a_small_bucket_fills_its_batch_again(self, count):
        order = self.order(count, batch=8)
        assert all(len(order.step(step, 0)[0]) == 8 for step in range(order.steps_per_epoch))

    @pytest.mark.parametrize(
        ("count", "sentence"),
        [
            (0, "there are no samples to train on; the run's skipped.jsonl says why"),
            (1, "1 sample is too few for 4 processes; use 1 at most"),
            (3, "3 samples are too few for 4 processes; use 3 at most"),
        ],
    )
    def test_fewer_samples_than_processes(self, count, sentence):
        with pytest.raises(InputError, match=sentence):
            self.order(count, world=4)

    def test_a_sample_that_fails_is_replaced_by_one_of_its_bucket_and_reported_once(self):
        reported = []

        def read(drawn: Drawn) -> str:
            if drawn.name == "s4":
                raise InputError("it is broken")
            return drawn.name

        loader = Loader(self.order(), 0, read, lambda *report: reported.append(report), workers=2)
        names = [name for passes in loader.steps(0, 20) for part in passes for name in part]
        assert len(names) == 40
        assert "s4" not in names
        assert reported == [("s4", "it is broken")]


class TestClips:
    @staticmethod
    def clip(**changes):
        settings = {"path": "a.mp4", "fps": 24.0, "num_frames": 100, "height": 480, "width": 832, "stop": 100}
        return Clip(**(settings | changes))

    def test_clips_go_to_the_nearest_shape_and_the_longest_length(self):
        buckets = Buckets(((832, 480), (480, 832), (640, 640)), (81, 49), None)
        assert buckets.choose(self.clip()) == VideoShape(81, 480, 832)
        assert buckets.choose(self.clip(height=1920, width=1080)) == VideoShape(81, 832, 480)
        assert buckets.choose(self.clip(height=500, width=512, stop=60)) == VideoShape(49, 640, 640)

    def test_leaving_out_frames_brings_a_clip_to_its_rate(self):
        assert frame_numbers(self.clip(stop=10), 12.0) == [0, 2, 4, 6, 8]
        assert frame_numbers(self.clip(stop=10), None) == list(range(10))
        assert frame_numbers(self.clip(start=4, stop=8), 30.0) == [4, 5, 6, 7]
        at16 = frame_numbers(self.clip(), 16.0)
        assert len(at16) == 67
        assert np.allclose(np.diff(at16), 1.5, atol=0.51)

    def test_frames_cover_the_size_and_keep_their_shape(self, dataset):
        sample = next(iter(Dataset(dataset)))
        same = read_clip(dataset, sample.clip, SHAPE, None)
        assert same.shape == (FRAMES, HEIGHT, WIDTH, 3)
        half = read_clip(dataset, sample.clip, VideoShape(FRAMES, 16, 16), None)
        middle = np.asarray(Image.fromarray(same[0]).crop((8, 0, 40, 32)).resize((16, 16), Image.Resampling.LANCZOS))
        assert np.abs(half[0].astype(int) - middle).max() <= 2

    def test_a_window_is_read_at_its_own_frames(self, dataset):
        sample = next(iter(Dataset(dataset)))
        whole, _ = read_video(dataset / sample.clip.path)
        clip = sample.clip.model_copy(update={"start": 1, "stop": 6})
        assert np.array_equal(read_clip(dataset, clip, VideoShape(3, HEIGHT, WIDTH), 4.0), whole[[1, 3, 5]])

    def test_a_clip_that_is_shorter_than_its_row_says_is_named(self, dataset):
        sample = next(iter(Dataset(dataset)))
        clip = sample.clip.model_copy(update={"num_frames": 9, "stop": 9})
        with pytest.raises(InputError, match=r"s0\.mp4 has 6 frames, and frame 9 is needed"):
            read_clip(dataset, clip, VideoShape(9, HEIGHT, WIDTH), None)


class TestCanvases:
    def test_a_seed_gives_one_canvas_and_another_seed_another(self, dataset):
        sample = next(iter(Dataset(dataset)))
        recipe = DataRecipe(dataset=str(dataset))
        first, again, other = (draw_canvas(dataset, sample, SHAPE, recipe, (0, seed)).image for seed in (1, 1, 2))
        assert first.tobytes() == again.tobytes()
        assert first.tobytes() != other.tobytes()

    def test_references_are_shuffled_over_the_cells_unless_told_otherwise(self, dataset):
        sample = next(iter(Dataset(dataset)))
        plain = {"dataset": str(dataset), "augment": NOTHING, "object_dropout": 0.0}
        for shuffle, layouts in ((True, 2), (False, 1)):
            recipe = DataRecipe(shuffle=shuffle, **plain)
            canvases = [draw_canvas(dataset, sample, SHAPE, recipe, (0, seed)) for seed in range(16)]
            firsts = {canvas.rectangles[0][0] < WIDTH // 2 for canvas in canvases}
            assert len(firsts) == layouts

    def test_one_picture_of_each_subject_is_taken_from_the_best(self, dataset):
        sample = next(iter(Dataset(dataset)))
        recipe = DataRecipe(dataset=str(dataset), augment=NOTHING, candidates=2, shuffle=False, object_dropout=1.0)
        sizes = set()
        for seed in range(12):
            canvas = draw_canvas(dataset, sample, SHAPE, recipe, (0, seed))
            assert [reference.role for reference in canvas.references] == ["person"]
            sizes.add(canvas.references[0].rgb.size)
        assert sizes == {(22, 22), (21, 21)}  # the two with the highest scores

    def test_backgrounds_come_only_where_asked_for(self, dataset):
        sample = next(iter(Dataset(dataset)))
        for wanted in (False, True):
            recipe = DataRecipe(dataset=str(dataset), backgrounds=wanted)
            roles = [r.role for r in draw_canvas(dataset, sample, SHAPE, recipe, (0, 1)).references]
            assert ("background" in roles) is wanted

    def test_of_more_references_than_fit_the_person_is_always_shown_and_each_object_sometimes(self, dataset):
        sample = next(iter(Dataset(dataset)))
        person, box, _ = sample.subjects
        boxes = [box.model_copy(update={"key": f"box{n}", "label": str(n)}) for n in range(5)]
        sample = sample.model_copy(update={"subjects": (*boxes, person)})
        recipe = DataRecipe(dataset=str(dataset), object_dropout=0.0, references=4, shuffle=False)
        seen = set()
        for seed in range(24):
            references = draw_canvas(dataset, sample, SHAPE, recipe, (0, seed)).references
            assert [r.role for r in references] == ["object"] * 3 + ["person"]
            labels = [r.label for r in references[:3]]
            assert labels == sorted(labels)
            seen |= set(labels)
        assert seen == set("01234")

    def test_where_all_references_fit_nothing_is_drawn(self, dataset):
        subjects = list(next(iter(Dataset(dataset))).subjects)
        random = np.random.default_rng(0)
        assert examples._fitting(subjects, len(subjects), random) == subjects
        assert random.bit_generator.state == np.random.default_rng(0).bit_generator.state

    def test_a_damaged_picture_is_an_error_of_its_sample(self, tmp_path):
        folder = save_dataset(tmp_path / "discs", 1)
        picture = folder / "pictures" / "s0" / "disc-2.png"
        header = b"IHDR" + bytes(5)  # too short, with the right checksum: Pillow raises a bare ValueError
        length, checksum = (5).to_bytes(4, "big"), zlib.crc32(header).to_bytes(4, "big")
        picture.write_bytes(picture.read_bytes()[:8] + length + header + checksum)
        recipe = DataRecipe(dataset=str(folder), candidates=1)
        sample = next(iter(Dataset(folder)))
        with pytest.raises(InputError, match=r"disc-2\.png cannot be read"):
            draw_canvas(folder, sample, SHAPE, recipe, (0, 0))

    def test_pictures_from_outside_the_trained_window_go_first(self):
        clip = TestClips.clip(start=10, stop=50)
        inside, outside, elsewhere = (Picture(path="a.png", frame=frame, score=1.0) for frame in (20, 60, None))
        assert candidates((inside, outside, elsewhere), clip) == [outside, elsewhere]
        assert candidates((inside,), clip) == [inside]

    def test_the_blank_canvas_is_white_and_its_mask_empty(self):
        canvas = blank_canvas(SHAPE)
        assert canvas.image.size == (WIDTH, HEIGHT)
        assert not canvas.mask.any()


class TestAugment:
    PICTURE = disc("red", 40)

    def test_turned_off_it_changes_nothing(self):
        for picture in (self.PICTURE, Image.new("RGBA", (30, 20), "blue")):
            result = augment(picture, NOTHING, np.random.default_rng(0))
            assert result.tobytes() == picture.tobytes()

    def test_mirroring(self):
        half = Image.new("RGBA", (20, 20), "blue")
        half.paste("red", (0, 0, 10, 20))
        result = augment(half, NOTHING.model_copy(update={"mirror": 1.0}), np.random.default_rng(0))
        assert result.getpixel((0, 0))[:3] == (0, 0, 255)

    def test_shrinking_leaves_the_pixels_and_adds_transparent_ground(self):
        sizes = {
            augment(self.PICTURE, NOTHING.model_copy(update={"shrink": 0.5}), np.random.default_rng(seed)).size
            for seed in range(9)
        }
        assert max(sizes) > (50, 50)
        assert all(40 <= width <= 80 for width, _ in sizes)

    def test_a_photograph_is_neither_turned_nor_shrunk_but_cropped(self):
        photograph = Image.new("RGBA", (100, 80), "blue")
        changed = augment(photograph, AugmentRecipe(crop=0.4, rotate_degrees=30), np.random.default_rng(1))
        assert changed.getchannel("A").getextrema() == (255, 255)
        assert changed.width < 100

    def test_turning_one_change_off_leaves_the_others_as_they_were(self):
        still = {"rotate_degrees": 0.0, "shrink": 0.0, "crop": 0.0}
        both = augment(self.PICTURE, AugmentRecipe(**still), np.random.default_rng(5))
        light = augment(self.PICTURE, AugmentRecipe(**still, mirror=0), np.random.default_rng(5))
        assert both.getpixel((20, 20)) == light.getpixel((20, 20))


class TestSchedule:
    def test_cosine_with_restarts(self):
        optim = read_recipe("14b-32gpu").optim
        rates = [learning_rate(optim, step) for step in range(12000)]
        assert rates[0] == pytest.approx(1e-5 / 200)
        assert max(rates) == pytest.approx(1e-5)
        assert rates[200 + 5000 - 1] == pytest.approx(1e-6, rel=1e-3)
        assert rates[200 + 5000] == pytest.approx(1e-5)

    def test_the_trapezoid_ends_at_nothing(self):
        optim = read_recipe("nano").optim
        assert learning_rate(optim, 3499) == pytest.approx(1.5e-3, rel=1e-3)
        assert learning_rate(optim, 4999) == pytest.approx(1e-6, rel=1e-3)  # one step of 5,000 before zero

    def test_muon_may_have_a_rate_of_its_own(self):
        model = torch.nn.ModuleDict(
            {"blocks": torch.nn.ModuleList([torch.nn.Linear(3, 3)]), "out": torch.nn.Linear(3, 1)}
        )
        muon, adamw = build_optimizers(model, read_recipe("nano", ["optim.muon_scale=4"]).optim)
        set_learning_rate([muon, adamw], 0.5)
        assert [group["lr"] for group in muon.param_groups] == [2.0]
        assert [group["lr"] for group in adamw.param_groups] == [0.5]

    def test_averages_swap_and_swap_back(self):
        layer = torch.nn.Linear(2, 2)
        averages = Averages(layer, 0.5)
        before = layer.weight.detach().clone()
        with torch.no_grad():
            layer.weight += 1
        averages.update(100)
        averages.swap()
        assert torch.allclose(layer.weight, before + 0.5)
        averages.swap()
        assert torch.allclose(layer.weight, before + 1)
