"""The embedded model's trainer: equal shortcuts, exact resumption, and one function for conditioning."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel

from magref.conditioning import build_conditioning, encode_video
from magref.geometry import Strides
from magref.settings import GenerationDefaults
from magref.synthetic.clips import render
from magref.training.autoencoder import (
    NANO_VAE,
    AutoencoderRecipe,
    ClipPool,
    decode_unclamped,
    encode,
    initialise,
    train_autoencoder,
    use_image_fast_path,
)
from magref.training.latents import LatentSamples, cache_latents, canvases_of, encode_shard, read_shards
from magref.training.muon import Muon, orthogonalise
from magref.training.nano import TEXT_WIDTH, build_text_encoder, build_tokenizer
from magref.training.transformer import TransformerRecipe, learning_rate, text_rows, train_transformer
from tiny import TRANSFORMER, tiny_vae

SMALL = AutoencoderRecipe(
    image_steps=3, clip_steps=3, image_batch=2, clip_batch=2, pool_size=20, height=32, width=48, frames=9
)
DEFAULTS = GenerationDefaults(
    height=32, width=48, num_frames=5, num_inference_steps=2, drop_frames=0, negative_prompt="", text_tokens=32
)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    return tiny_vae()


@pytest.fixture(scope="module")
def latents(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    cache_latents(vae, Strides(), DEFAULTS, folder, shards=1, takes=2, seed=0, shard_size=6)
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


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
    def test_unclamped_decoding_is_decoding(self, vae):
        latents = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0))
        assert torch.equal(decode_unclamped(vae, latents).clamp(-1, 1), vae.decode(latents).sample)

    def test_batches_lie_in_the_pixel_range(self):
        pool = ClipPool(SMALL, start=0)
        for batch in (pool.images(4), pool.clips(2, 5)):
            assert batch.min() >= -1
            assert batch.max() <= 1
        assert pool.images(4).shape == (4, 3, 1, 32, 48)
        assert pool.clips(2, 5).shape == (2, 3, 5, 32, 48)

    def test_training_leaves_a_checkpoint_and_a_log(self, tmp_path):
        train_autoencoder(SMALL, tmp_path, save_every=100)
        assert (tmp_path / "checkpoint.pt").exists()
        assert (tmp_path / "loss.csv").read_text().startswith("0,")


class TestLatents:
    def test_conditioning_is_what_generation_uses(self, vae):
        tensors, captions = encode_shard(vae, Strides(), DEFAULTS, [3, 4], takes=2, seed=0)
        clips = render([3, 4], frames=5, height=32, width=48, seed=0)
        made = build_conditioning(canvases_of(clips, 32, 48), 5, vae=vae, strides=Strides())
        assert torch.equal(tensors["guidance"], made.guidance.half())
        assert captions[0][0] == clips.captions[0]

    def test_the_target_is_the_clip_over_all_latent_frames(self, vae):
        tensors, _ = encode_shard(vae, Strides(), DEFAULTS, [3], takes=1, seed=0)
        clip = render([3], frames=5, height=32, width=48, seed=0).frames.transpose(1, 2).float() / 127.5 - 1
        with torch.no_grad():
            assert torch.equal(tensors["clean"][:, 0], encode_video(vae, clip).half())
        assert tensors["clean"].shape == (1, 1, 16, 2, 4, 6)

    def test_finished_shards_are_kept(self, vae, latents):
        before = {path: path.stat().st_mtime_ns for path in latents.iterdir()}
        cache_latents(vae, Strides(), DEFAULTS, latents, shards=1, takes=2, seed=0, shard_size=6)
        assert {path: path.stat().st_mtime_ns for path in latents.iterdir()} == before

    def test_every_sample_comes_once_an_epoch(self, latents):
        samples = LatentSamples(latents, seed=0)
        assert len(samples) == 12
        seen = [caption for step in range(3) for caption in samples.batch(step, 4)[2]]
        stored = [c for _, captions in read_shards(latents) for takes in captions for c in takes]
        assert sorted(seen) == sorted(stored)


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


class TestTransformer:
    def run(self, folder, latents, tokenizer, steps: int) -> WanTransformer3DModel:
        torch.manual_seed(0)
        transformer = WanTransformer3DModel(**TRANSFORMER | {"text_dim": TEXT_WIDTH})
        return train_transformer(
            TransformerRecipe(steps=8, batch=4, warmup_steps=2),
            LatentSamples(latents, 0),
            transformer,
            build_text_encoder(len(tokenizer)),
            tokenizer,
            folder,
            text_tokens=32,
            stop_after=steps,
        )[0]

    def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(self, tmp_path, latents, tokenizer):
        whole = self.run(tmp_path / "whole", latents, tokenizer, 8)
        self.run(tmp_path / "parts", latents, tokenizer, 5)
        parts = self.run(tmp_path / "parts", latents, tokenizer, 8)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, parts.state_dict()[name]), name

    def test_the_rate_warms_up_holds_and_ends_at_zero(self):
        recipe = TransformerRecipe(steps=100, warmup_steps=10, learning_rate=1.0)
        rates = [learning_rate(recipe, step) for step in range(101)]
        assert rates[0] == pytest.approx(0.1)
        assert set(rates[9:70]) == {1.0}
        assert rates[85] == pytest.approx(0.5)
        assert rates[100] == 0

    def test_text_rows_are_zero_beyond_the_caption(self, tokenizer):
        encoder = build_text_encoder(len(tokenizer))
        rows = text_rows(["The dog moves left.", ""], tokenizer, encoder, 32)
        assert rows.shape == (2, 32, TEXT_WIDTH)
        length = len(tokenizer("The dog moves left.").input_ids)
        assert rows[0, :length].abs().sum(dim=1).min() > 0
        assert rows[0, length:].abs().max() == 0
        assert rows[1, 1:].abs().max() == 0


def test_the_tokenizer_knows_the_motions_and_can_spell_anything(tokenizer):
    for word in (" left", " right", " up", " grows", " still"):
        assert len(tokenizer.tokenize(word.strip())) == 1
    for text in ("zebra crossing naïve 漢字 🙂",):
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).strip() == text
