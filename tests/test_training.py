"""A small model from nothing: its autoencoder, Muon, its tokenizer, and the folder that training begins with."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResidualBlock

from magref import MagrefPipeline
from magref.errors import InputError
from magref.training.autoencoder import (
    LATENT_CHANNELS,
    NANO_VAE,
    AutoencoderRecipe,
    Material,
    batch_of,
    decode_unclamped,
    encode,
    initialise,
    learning_rate,
    measure_latents,
    psnr,
    read_canvases,
    read_clips,
    train_autoencoder,
    use_image_fast_path,
)
from magref.training.encoding import caption_features
from magref.training.muon import Muon, orthogonalise
from magref.training.nano import (
    TEXT_WIDTH,
    build_text_encoder,
    build_tokenizer,
    make_text,
    world_captions,
    write_base,
)
from magref.training.reading import Lesson, Reader, answers, scenes, teach
from magref.training.trainer import train
from tiny import tiny_vae
from training_data import disc, make_recipe, save_dataset

SMALL = AutoencoderRecipe(steps=6, image_batch=2, clip_batch=2)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    return tiny_vae()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return read_clips(save_dataset(tmp_path_factory.mktemp("clips") / "discs", 4, frames=9))


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(world_captions(600))


class TestAutoencoder:
    @torch.no_grad()
    def test_the_image_shortcut_is_exact(self):
        plain = tiny_vae()
        quick = use_image_fast_path(tiny_vae())
        for frames in (1, 5):
            video = torch.randn(2, 3, frames, 32, 48, generator=torch.Generator().manual_seed(0))
            for a, b in zip(encode(plain, video), encode(quick, video), strict=True):
                assert torch.allclose(a, b, atol=1e-5)

    @torch.no_grad()
    def test_it_starts_by_repeating_what_one_image_gives(self):
        vae = AutoencoderKLWan(**NANO_VAE)
        initialise(vae)
        image = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
        still = image.expand(-1, -1, 9, -1, -1)
        one, many = encode(vae, image)[0], encode(vae, still)[0]
        assert torch.allclose(many, one.expand_as(many), atol=1e-4)
        assert torch.allclose(decode_unclamped(vae, many), decode_unclamped(vae, one), atol=1e-3)

    @torch.no_grad()
    def test_its_norms_hardly_act_at_first(self):
        """A constant channel dominates them, so that they do not lose the signal's amplitude."""
        vae = AutoencoderKLWan(**NANO_VAE)
        initialise(vae)
        seen = []
        norms = [module for module in vae.modules() if isinstance(module, WanResidualBlock)]
        for block in norms:
            block.norm1.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
        image = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
        decode_unclamped(vae, encode(vae, image)[0])
        assert len(seen) == len(norms)
        for before, after in seen:
            assert (after[:, 1:] - before[:, 1:]).norm() < 0.25 * before[:, 1:].norm()

    @torch.no_grad()
    def test_unclamped_decoding_is_decoding(self, vae):
        latents = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0))
        assert torch.equal(decode_unclamped(vae, latents).clamp(-1, 1), vae.decode(latents).sample)

    def test_batches_lie_in_the_pixel_range(self, clips):
        material = Material(clips, 0, scenes=4)
        for batch in (material.images(4), material.clips(2, 5)):
            assert batch.min() >= -1
            assert batch.max() <= 1
        assert material.images(4).shape == (4, 3, 1, 32, 48)
        assert material.clips(2, 5).shape == (2, 3, 5, 32, 48)

    def test_images_come_first_and_then_clips_of_several_lengths(self, clips):
        material = Material(clips, 0, scenes=4)
        recipe = AutoencoderRecipe(steps=20)
        frames = [batch_of(recipe, material, step).shape[2] for step in range(20)]
        assert set(frames[:6]) == {1}
        assert set(frames[6:]) == {1, 5, 9}

    def test_no_clips(self):
        with pytest.raises(InputError, match="no clips to learn from"):
            Material([], 0)

    def test_training_leaves_a_checkpoint_and_a_log_and_goes_on(self, clips, tmp_path):
        train_autoencoder(SMALL, clips, tmp_path, save_every=100)
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 6
        assert (tmp_path / "loss.csv").read_text().startswith("0,")
        train_autoencoder(AutoencoderRecipe(steps=8, image_batch=2, clip_batch=2), clips, tmp_path)
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 8

    def test_it_learns(self, clips, tmp_path):
        material = Material(clips, 5, scenes=4)
        video = material.images(8)
        before = use_image_fast_path(AutoencoderKLWan(**NANO_VAE))
        initialise(before)
        after = train_autoencoder(AutoencoderRecipe(steps=30, image_batch=4, warmup_steps=5), clips, tmp_path)
        with torch.no_grad():
            first, last = (psnr(decode_unclamped(v, encode(v, video)[0]), video) for v in (before, after))
        assert last > first + 4

    def test_canvases_are_among_the_images(self, clips, tmp_path):
        save_dataset(tmp_path / "discs", 3, frames=5)
        canvases = read_canvases(tmp_path / "discs", clips[0])
        assert [canvas.shape for canvas in canvases] == [(1, *clips[0].shape[1:])] * 3
        grey = [torch.full_like(clips[0], 128)]
        images = Material(grey, 0, canvases=canvases, scenes=4).images(16)
        assert (images[1::4].flatten(1).amax(dim=1) == 1).all()  # a canvas is white beside its references
        assert (images[3::4].abs() < 0.01).all()  # a clip's frame

    def test_latents_are_normalised_by_what_was_measured(self, clips):
        vae = AutoencoderKLWan(**NANO_VAE)
        initialise(vae)
        measure_latents(vae, Material(clips, 0, scenes=4), count=16)
        assert len(vae.config.latents_std) == LATENT_CHANNELS
        assert vae.config.latents_std != NANO_VAE["latents_std"]

    def test_the_rate_warms_up_and_ends_low(self):
        recipe = AutoencoderRecipe(steps=100, warmup_steps=10, learning_rate=1.0)
        rates = [learning_rate(recipe, step) for step in range(101)]
        assert rates[0] == pytest.approx(0.1, rel=1e-3)
        assert rates[50] == pytest.approx(0.51)
        assert rates[100] == pytest.approx(0.02)


class TestMuon:
    @pytest.mark.parametrize("shape", [(48, 48), (96, 24), (24, 96)], ids=str)
    def test_orthogonalising_keeps_the_singular_vectors_and_evens_out_the_values(self, shape):
        matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        core = left.mT @ orthogonalise(matrices) @ right.mT
        values = core.diagonal(dim1=1, dim2=2)
        # Newton-Schulz with these coefficients lets the smallest values of a square matrix lag behind.
        assert values.quantile(0.1) > 0.6
        assert values.max() < 1.3
        assert (core - torch.diag_embed(values)).abs().max() < 1e-3

    def test_its_updates_are_as_large_as_those_of_adamw(self):
        parameter = torch.nn.Parameter(torch.zeros(64, 256))
        parameter.grad = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * 1e-4
        Muon([parameter], lr=0.5).step()
        assert parameter.square().mean().sqrt().item() == pytest.approx(0.5 * 0.2, rel=0.2)

    def test_what_has_no_gradient_stays(self):
        parameter = torch.nn.Parameter(torch.ones(4, 4))
        Muon([parameter], lr=0.5).step()
        assert torch.equal(parameter, torch.ones(4, 4))

    def test_a_convolutions_kernel_is_a_matrix_of_outputs(self):
        gradient = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
        kernel, matrix = torch.nn.Parameter(torch.zeros(8, 4, 3, 3)), torch.nn.Parameter(torch.zeros(8, 36))
        kernel.grad, matrix.grad = gradient, gradient.flatten(1)
        Muon([kernel], lr=0.5).step()
        Muon([matrix], lr=0.5).step()
        assert torch.equal(kernel.flatten(1), matrix)


class TestBase:
    """The model folder that `magref train nano` begins with."""

    def test_it_is_trained_like_any_other(self, tmp_path, monkeypatch):
        monkeypatch.setattr("magref.training.nano.CAPTIONS", 50)
        vae = AutoencoderKLWan(**NANO_VAE)
        initialise(vae)
        write_base(vae, *make_text(1), tmp_path / "base", layers=1, heads=2)
        dataset = save_dataset(tmp_path / "discs", 2, width=96, height=64, frames=17)
        recipe = make_recipe(tmp_path / "base", dataset, "model.text_encoder=true", "optim.steps=2")
        output = train(recipe, tmp_path / "run").output
        pipe = MagrefPipeline.from_pretrained(output)
        assert pipe.transformer.config.in_channels == 2 * LATENT_CHANNELS + 4
        out = pipe("A disc moves left.", [disc("red")], num_inference_steps=2, seed=0, output_type="np")
        assert out.frames.shape == (17, 64, 96, 3)

    def test_the_text_encoder_is_taught_what_moves_where(self, tokenizer, monkeypatch):
        monkeypatch.setattr("magref.training.reading._TEST", 200)
        rights = []
        for steps in (1, 200):
            torch.manual_seed(0)
            encoder, size = build_text_encoder(len(tokenizer)), (5, 32, 48)
            rights.append(
                teach(encoder, tokenizer, size, steps=steps, text_tokens=64, captions=500, batch=16, learning_rate=4e-3)
            )
        assert rights[0] < 0.3
        assert rights[1] > 0.5

    def test_a_caption_is_asked_what_it_tells(self):
        hidden = 0
        for plan in scenes(0, 200, (5, 32, 48)):
            told = answers(plan)
            motions = [subject.motion for subject in plan.subjects]
            assert [told[n] == 0 for n in range(3)] == [n >= len(motions) for n in range(3)]
            assert len(set(told[: len(motions)])) == len(set(motions))
            hidden += told[3] < 0
            assert (told[3] < 0) == (plan.place is not None and plan.caption.place is None)
        assert 0 < hidden < 60

    def test_words_alone_answer(self, tokenizer):
        plans = scenes(0, 20, (5, 32, 48))
        lesson = Lesson.of(plans, tokenizer, 32)
        lengths = [min(32, len(tokenizer(plan.caption.text).input_ids)) for plan in plans]
        assert lesson.words.sum(dim=1).tolist() == lengths
        for question in range(4):
            targets = lesson.targets(question)
            for row, (plan, length) in enumerate(zip(plans, lengths, strict=True)):
                assert set(targets[row, :length].tolist()) == {answers(plan)[question]}
                assert set(targets[row, length:].tolist()) <= {-100}
        part = lesson.draw(3, torch.Generator().manual_seed(0))
        logits = Reader(build_text_encoder(len(tokenizer)))(part)
        assert [each.shape[:2] for each in logits] == [part.ids.shape] * 4

    def test_text_rows_are_zero_beyond_the_caption(self, tokenizer):
        encoder = build_text_encoder(len(tokenizer))
        rows = caption_features(["The dog moves left.", ""], tokenizer, encoder, 32)
        assert rows.shape == (2, 32, TEXT_WIDTH)
        length = len(tokenizer("The dog moves left.").input_ids)
        assert rows[0, :length].abs().sum(dim=1).min() > 0
        assert rows[0, length:].abs().max() == 0
        assert rows[1, 1:].abs().max() == 0

    def test_the_tokenizer_knows_the_motions_and_can_spell_anything(self, tokenizer):
        for word in (" left", " right", " up", " down"):
            assert len(tokenizer.tokenize(word.strip())) == 1
        for text in ("zebra crossing naïve 漢字 🙂",):
            assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).strip() == text
