"""Agreement with the published implementation, end to end, on its own numbers (tests/golden/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from magref import MagrefPipeline, compose_canvas
from magref.conditioning import CLIP_SIZE_PX, build_conditioning, canvas_pixels, clip_features
from magref.flow import make_scheduler, sampling_sigmas
from magref.text import encode_text

GOLDEN = Path(__file__).parent / "golden"
PROMPT = "A man in a blue jacket sits on the green grass while a dog walks around him."
REFERENCES = [GOLDEN / "refs" / "0.png", GOLDEN / "refs" / "1.png"]
SETTINGS = {"height": 96, "width": 160, "num_frames": 81, "num_inference_steps": 6, "order": "given"}


def relative(found: torch.Tensor, expected: np.ndarray) -> float:
    """The norm of the difference over the norm of what is expected."""
    target = torch.from_numpy(np.asarray(expected, dtype=np.float32))
    found = found.float().reshape(target.shape)
    return float((found - target).norm() / target.norm())


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "two_refs_unipc.npz"))


@pytest.fixture(scope="module")
def pipeline() -> MagrefPipeline:
    made = MagrefPipeline.from_published(GOLDEN / "checkpoint", torch_dtype=torch.float32, clip_num_heads=4)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def noise(golden) -> torch.Tensor:
    return torch.from_numpy(golden["noise"])


@pytest.fixture(scope="module")
def final(pipeline, noise) -> torch.Tensor:
    return pipeline(PROMPT, REFERENCES, latents=noise, output_type="latent", **SETTINGS).frames


def test_text_features(pipeline, golden):
    for text, name in ((PROMPT, "context"), (pipeline.defaults.negative_prompt, "context_null")):
        features = encode_text(text, tokenizer=pipeline.tokenizer, text_encoder=pipeline.text_encoder, text_tokens=64)
        assert relative(features, golden[name]) < 1e-5


def test_conditioning(pipeline, golden):
    canvas = compose_canvas(REFERENCES, height=96, width=160)
    assert np.array_equal(np.asarray(canvas.image), golden["canvas"])
    assert np.array_equal(canvas.latent_mask(8), golden["latent_mask"].astype(bool))
    made = build_conditioning(
        [canvas], 81, vae=pipeline.vae, strides=pipeline.strides, image_encoder=pipeline.image_encoder
    )
    assert relative(made.guidance, golden["y"]) < 1e-5
    assert relative(made.image_embeds, golden["clip_fea"]) < 1e-5


def test_an_antialiased_or_cropped_clip_image_is_noticed(pipeline, golden):
    canvas = compose_canvas(REFERENCES, height=96, width=160)
    pixels = canvas_pixels(canvas)[None]
    size = (CLIP_SIZE_PX, CLIP_SIZE_PX)
    antialiased = torch.nn.functional.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    cropped = pixels[..., :, 32:128]
    for wrong in (antialiased, cropped):
        assert relative(clip_features(pipeline.image_encoder, wrong), golden["clip_fea"]) > 1e-5


def test_final_latents_with_unipc(final, golden):
    assert relative(final, golden["latents"]) < 1e-4


def test_frames_before_any_is_dropped(pipeline, golden, final, noise):
    frames = pipeline(PROMPT, REFERENCES, latents=noise, output_type="pt", drop_frames=0, **SETTINGS).frames
    assert frames.shape == (81, 3, 96, 160)
    video = frames * 2 - 1
    head = torch.from_numpy(golden["video_head"].astype(np.float32))  # (3, 5, 48, 80): every second pixel
    assert (video[:5, :, ::2, ::2].transpose(0, 1) - head).abs().max() < 1e-3
    assert np.abs(video.mean(dim=(1, 2, 3)).numpy() - golden["video_mean"]).max() < 1e-3
    assert np.abs(video.std(dim=(1, 2, 3)).numpy() - golden["video_std"]).max() < 1e-3


def test_four_frames_are_dropped_by_default(pipeline):
    few = {**SETTINGS, "num_inference_steps": 1, "num_frames": 9}
    assert pipeline(PROMPT, REFERENCES, seed=0, output_type="np", **few).frames.shape == (5, 96, 160, 3)


@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
def test_published_noise_levels(solver, golden):
    start = 0.999 if solver == "unipc" else 1.0
    levels = np.linspace(start, 0, 7)[:-1]
    levels = 3 * levels / (1 + 2 * levels)
    assert np.allclose(sampling_sigmas(6, 3.0, solver), [*levels, 0], atol=1e-7)
    timesteps = make_scheduler(solver, steps=6, shift=3.0).timesteps
    assert timesteps.tolist() == np.floor(1000 * levels).astype(int).tolist()
    if solver == "unipc":
        assert timesteps.tolist() == golden["timesteps"].tolist()


@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
def test_solvers_reach_the_same_end(pipeline, noise, golden, solver):
    """Both are solvers of one equation: with many steps they meet."""
    few = {**SETTINGS, "num_inference_steps": 40, "num_frames": 5, "height": 32, "width": 32}
    start = torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    run = {s: pipeline(PROMPT, REFERENCES, latents=start, solver=s, output_type="latent", drop_frames=0, **few).frames
           for s in ("unipc", "dpm++")}  # fmt: skip
    assert relative(run["unipc"], run["dpm++"].numpy()) < 2e-2


def spoilt(pipeline, noise, monkeypatch, *, guidance_scale=None, change=None) -> torch.Tensor:
    """Final latents after a deliberate mistake."""
    if change is not None:
        import magref.pipeline as home

        real = home.build_conditioning

        def wrong(*args, **kwargs):
            made = real(*args, **kwargs)
            return type(made)(change(made.guidance.clone()), made.image_embeds)

        monkeypatch.setattr(home, "build_conditioning", wrong)
    return pipeline(
        PROMPT, REFERENCES, latents=noise, output_type="latent", guidance_scale=guidance_scale, **SETTINGS
    ).frames


def _empty_mask(guidance: torch.Tensor) -> torch.Tensor:
    guidance[:, :4] = 0
    return guidance


def _lost_channel(guidance: torch.Tensor) -> torch.Tensor:
    guidance[:, 3] = 0
    return guidance


@pytest.mark.parametrize(
    "mistake",
    [{"change": _empty_mask}, {"change": _lost_channel}, {"guidance_scale": 4.5}],
    ids=["empty mask", "lost channel", "other guidance"],
)
def test_each_mistake_is_noticed(pipeline, noise, golden, monkeypatch, mistake):
    assert relative(spoilt(pipeline, noise, monkeypatch, **mistake), golden["latents"]) > 1e-4


def test_saved_and_loaded_again_equal_to_the_bit(pipeline, noise, final, tmp_path):
    pipeline.save_pretrained(tmp_path / "model")
    again = MagrefPipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    assert again.defaults == pipeline.defaults
    assert torch.equal(again(PROMPT, REFERENCES, latents=noise, output_type="latent", **SETTINGS).frames, final)
