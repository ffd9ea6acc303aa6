"""MagrefPipeline, over tiny random models: what it gives, and what decides it."""

import copy
import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from magref import MagrefPipeline, Reference, autoencoder, compose_canvas
from magref.text import encode_text
from tiny_pipeline import LATENT, PROMPT, REFS, SMALL, make_pipeline, relative, run


@pytest.fixture(scope="module")
def pipe() -> MagrefPipeline:
    return make_pipeline()


@pytest.fixture(scope="module")
def video(pipe) -> np.ndarray:
    return pipe(PROMPT, REFS, **SMALL, output_type="np").frames


@pytest.fixture(scope="module")
def latents(pipe) -> torch.Tensor:
    return pipe(PROMPT, REFS, **SMALL, output_type="latent").frames


def seeded_noise(seed: int = 7) -> torch.Tensor:
    return torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(seed))


# --- what comes out --------------------------------------------------------------------------------------------------


def test_pil_is_a_list_of_images(pipe, video):
    frames = run(pipe, output_type="pil")
    assert isinstance(frames, list)
    assert [(type(f), f.size, f.mode) for f in frames] == [(Image.Image, (64, 32), "RGB")] * 5
    assert np.array_equal(np.stack([np.asarray(frame) for frame in frames]), (video * 255).round())


def test_np_is_float32_from_zero_to_one(video):
    assert isinstance(video, np.ndarray)
    assert (video.shape, video.dtype) == ((5, 32, 64, 3), np.float32)
    assert 0 <= video.min() < video.max() <= 1


def test_pt_is_the_same_with_channels_first(pipe, video):
    frames = run(pipe, output_type="pt")
    assert (frames.shape, frames.dtype) == ((5, 3, 32, 64), torch.float32)
    assert np.array_equal(frames.permute(0, 2, 3, 1).numpy(), video)


def test_latents_are_whole_and_as_the_sampler_sees_them(pipe, latents, video):
    assert (latents.shape, latents.dtype) == ((1, *LATENT), torch.float32)
    mean, std = (torch.tensor(getattr(pipe.vae.config, f"latents_{k}")).view(-1, 1, 1, 1) for k in ("mean", "std"))
    exact = copy.deepcopy(pipe.vae).double()  # in float32 diffusers' own rounding would count as ours
    with torch.no_grad():
        decoded = exact.decode((latents * std + mean).double()).sample[0]
    pixels = (decoded / 2 + 0.5).clamp(0, 1).permute(1, 2, 3, 0).numpy()
    assert pixels.shape[0] == 9
    assert np.abs(pixels[4:] - video).max() < 1e-5


def test_canvas_and_settings_come_with_the_frames(pipe):
    out = pipe(PROMPT, REFS, **SMALL, output_type="latent")
    assert out.canvas.image.tobytes() == compose_canvas(REFS, height=32, width=64).image.tobytes()
    assert {name: getattr(out.settings, name) for name in SMALL} == SMALL
    assert (out.settings.prompt, out.settings.guidance_scale, out.settings.solver) == (PROMPT, 5.0, "unipc")
    with pytest.raises(dataclasses.FrozenInstanceError):
        out.frames = None


@pytest.mark.parametrize("output_type", ["pil", "np", "pt", "latent"])
def test_several_videos_are_a_list_and_each_is_that_of_its_own_seed(pipe, output_type):
    def comparable(frames):
        return np.stack([np.asarray(frame) for frame in frames])

    both = run(pipe, output_type=output_type, num_videos_per_prompt=2)
    assert isinstance(both, list)
    assert len(both) == 2
    for i, one in enumerate(both):
        alone = run(pipe, output_type=output_type, seed=7 + i)
        assert type(one) is type(alone)
        assert np.array_equal(comparable(one), comparable(alone))
    assert not np.array_equal(comparable(both[0]), comparable(both[1]))


@pytest.mark.parametrize(("drop", "kept"), [(0, 9), (1, 8), (8, 1)])
def test_frames_are_dropped_from_the_start(pipe, video, drop, kept):
    frames = run(pipe, output_type="np", drop_frames=drop)
    assert len(frames) == kept
    common = min(kept, len(video))
    assert np.array_equal(frames[-common:], video[-common:])


@pytest.mark.parametrize("drop", [0, 4, 6])
def test_frames_made_while_they_are_read_are_those_of_the_call(pipe, monkeypatch, drop):
    monkeypatch.setattr(autoencoder, "PIECE_PIXELS", {"cpu": 0})  # pieces of 1, 4 and 4 frames
    expected = run(pipe, output_type="np", drop_frames=drop)
    out = pipe(PROMPT, REFS, **SMALL | {"drop_frames": drop}, output_type="latent")
    stream = pipe.frames(out.frames, out.settings)
    assert len(stream) == 9 - drop
    assert stream.shape == expected.shape
    for frames in (list(stream), stream.array()):  # as often as they are wanted
        assert np.array_equal(frames, (expected * 255).round().astype(np.uint8))


def test_a_long_video_is_never_whole_in_memory(pipe, monkeypatch):
    monkeypatch.setattr(autoencoder, "PIECE_PIXELS", {"cpu": 0})
    out = pipe(PROMPT, REFS, **SMALL | {"num_frames": 17, "drop_frames": 0}, output_type="latent")
    decoded = []
    conv_out = autoencoder._Run.decoder
    monkeypatch.setattr(autoencoder._Run, "decoder", lambda *a: decoded.append(1) or conv_out(*a))
    frames = iter(pipe.frames(out.frames, out.settings))
    pieces = [len(decoded) for _ in frames]
    assert pieces == [1] + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4


def test_dropping_leaves_the_latents_whole(pipe, latents):
    assert torch.equal(run(pipe, drop_frames=8), latents)


@pytest.mark.parametrize(("height", "width", "frames"), [(64, 32, 5), (48, 32, 1), (32, 96, 9)])
def test_portrait_and_other_sizes(pipe, height, width, frames):
    made = run(pipe, output_type="np", height=height, width=width, num_frames=frames, drop_frames=0)
    assert made.shape == (frames, height, width, 3)


def test_a_single_picture_need_not_be_in_a_list(pipe):
    assert torch.equal(run(pipe, PROMPT, REFS[0]), run(pipe, PROMPT, [REFS[0]]))


def test_references_may_be_of_every_kind(pipe, latents):
    opened = [str(REFS[0]), Image.open(REFS[1]), Reference(REFS[2], role="person", label="dog")]
    assert torch.equal(run(pipe, PROMPT, opened), latents)


# --- what decides it -------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_video_again(pipe, latents, video):
    assert torch.equal(run(pipe), latents)
    assert np.array_equal(run(pipe, output_type="np"), video)
    assert not torch.equal(run(pipe, seed=8), latents)


def test_a_seed_gives_the_same_video_in_another_process(video):
    code = (
        "import hashlib, test_pipeline as t; pipe = t.make_pipeline()\n"
        "frames = pipe(t.PROMPT, t.REFS, **t.SMALL, output_type='np').frames\n"
        "print(hashlib.sha256(frames.tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == hashlib.sha256(video.tobytes()).hexdigest()


def test_the_global_random_state_is_neither_read_nor_changed(pipe, latents):
    with torch.random.fork_rng():
        torch.manual_seed(123)
        state = torch.get_rng_state()
        assert torch.equal(run(pipe), latents)
        assert torch.equal(torch.get_rng_state(), state)


def test_without_a_seed_one_is_drawn_and_recorded(pipe):
    first, second = (pipe(PROMPT, REFS, **SMALL | {"seed": None}, output_type="latent") for _ in range(2))
    assert first.settings.seed != second.settings.seed
    assert torch.equal(run(pipe, seed=first.settings.seed), first.frames)


def test_a_seed_decides_the_shuffled_layout(pipe):
    made = {s: pipe(PROMPT, REFS, **SMALL | {"seed": s}, order="shuffled", output_type="latent") for s in (1, 2, 3, 4)}
    for seed, out in made.items():
        again = compose_canvas(REFS, height=32, width=64, order="shuffled", seed=seed)
        assert out.canvas.rectangles == again.rectangles
    assert len({out.canvas.rectangles for out in made.values()}) > 1


def test_a_generator_takes_the_seeds_place(pipe, latents):
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(run(pipe, seed=1, generator=generator), latents)
    assert not torch.equal(run(pipe, seed=1, generator=generator), latents)  # it has moved on


def test_generators_in_a_list_make_one_video_each(pipe, latents):
    generators = [torch.Generator().manual_seed(seed) for seed in (8, 7)]
    videos = run(pipe, generator=generators, num_videos_per_prompt=2)
    assert torch.equal(videos[1], latents)
    assert torch.equal(videos[0], run(pipe, seed=8))


@pytest.mark.parametrize("batched", [False, True], ids=["4-D", "5-D"])
def test_latents_take_the_seeds_place(pipe, latents, batched):
    noise = seeded_noise() if batched else seeded_noise()[0]
    kept = noise.clone()
    assert torch.equal(run(pipe, seed=1, latents=noise), latents)
    assert torch.equal(noise, kept)


def test_latents_for_several_videos(pipe, latents):
    noise = torch.cat([seeded_noise(8), seeded_noise(7)])
    videos = run(pipe, latents=noise, num_videos_per_prompt=2)
    assert torch.equal(videos[1], latents)
    assert not torch.equal(videos[0], latents)


def features(pipe, text: str) -> torch.Tensor:
    return encode_text(text, tokenizer=pipe.tokenizer, text_encoder=pipe.text_encoder, text_tokens=512)


@pytest.mark.parametrize("batched", [False, True], ids=["2-D", "3-D"])
def test_text_features_take_the_prompts_place(pipe, latents, batched):
    embeds, negative = (features(pipe, text) for text in (PROMPT, pipe.defaults.negative_prompt))
    if batched:
        embeds, negative = embeds[None], negative[None]
    assert torch.equal(run(pipe, None, REFS, prompt_embeds=embeds), latents)
    assert torch.equal(run(pipe, None, REFS, prompt_embeds=embeds, negative_prompt_embeds=negative), latents)
    assert torch.equal(run(pipe, negative_prompt_embeds=negative), latents)


def test_text_features_padded_with_zeros_mean_the_same(pipe, latents):
    embeds = features(pipe, PROMPT)
    padded = F.pad(embeds, (0, 0, 0, 512 - len(embeds)))[None]
    assert relative(run(pipe, None, REFS, prompt_embeds=padded), latents) < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"negative_prompt": "snow"},
        {"guidance_scale": 4.0},
        {"flow_shift": 5.0},
        {"solver": "dpm++"},
        {"num_inference_steps": 3},
        {"prompt_embeds": torch.zeros(1, 16)},
        {"negative_prompt_embeds": torch.zeros(1, 16)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_has_an_effect(pipe, latents, change):
    assert relative(run(pipe, **change), latents) > 1e-5


def test_prompt_references_and_mask_have_an_effect(pipe, latents):
    assert relative(run(pipe, "the cat sleeps", REFS), latents) > 1e-5
    assert relative(run(pipe, PROMPT, REFS[::-1]), latents) > 1e-5
    ring = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    ring.paste((0, 0, 0, 0), (16, 16, 48, 48))
    shapes = {mask: run(pipe, PROMPT, [ring], mask=mask) for mask in ("rectangle", "alpha")}
    assert relative(shapes["alpha"], shapes["rectangle"]) > 1e-5


# --- guidance --------------------------------------------------------------------------------------------------------


def test_guidance_is_the_published_formula(pipe):
    """With one step, the end is a straight line in the guidance scale."""
    ends = {scale: run(pipe, num_inference_steps=1, guidance_scale=scale) for scale in (0, 1, 5)}
    expected = ends[0] + 5 * (ends[1] - ends[0])
    assert relative(ends[5], expected) < 1e-5
    assert relative(ends[5], ends[1]) > 1e-4


def test_guidance_zero_is_the_negative_prompt_alone(pipe):
    assert (
        relative(run(pipe, guidance_scale=0, negative_prompt="snow"), run(pipe, "snow", REFS, guidance_scale=1)) < 1e-5
    )


@pytest.mark.parametrize(("scale", "passes"), [(5.0, 2), (1.0, 1), (1, 1)])
def test_guidance_one_skips_the_unconditional_pass(pipe, scale, passes):
    batches, texts = [], []
    hooks = [
        pipe.transformer.blocks[1]
        .ffn.net[2]
        .register_forward_hook(lambda m, args, out: batches.append(args[0].shape[0])),
        pipe.text_encoder.register_forward_hook(lambda m, args, out: texts.append(1)),
    ]
    try:
        run(pipe, guidance_scale=scale)
    finally:
        for hook in hooks:
            hook.remove()
    assert sum(batches) == passes * SMALL["num_inference_steps"]
    assert len(texts) == passes


def test_guidance_one_takes_no_notice_of_the_negative_prompt(pipe):
    ends = [run(pipe, guidance_scale=1.0, negative_prompt=negative) for negative in ("snow", "a very long text")]
    assert torch.equal(*ends)


# --- callback --------------------------------------------------------------------------------------------------------


def test_the_callback_sees_every_step(pipe, latents):
    seen = []

    def look(caller, step, timestep, tensors):
        assert caller is pipe
        assert tensors["latents"].shape == (1, *LATENT)
        seen.append((step, int(timestep), tensors["latents"].clone()))

    assert torch.equal(run(pipe, callback_on_step_end=look), latents)
    assert [step for step, _, _ in seen] == [0, 1]
    assert 990 < seen[0][1] > seen[1][1] > 0
    assert torch.equal(seen[1][2], latents)


def test_the_callback_may_replace_the_latents(pipe, latents):
    wanted = torch.full((1, *LATENT), 0.5)
    ended = run(pipe, callback_on_step_end=lambda p, step, t, tensors: {"latents": wanted} if step == 1 else {})
    assert torch.equal(ended, wanted)
    halfway = run(pipe, callback_on_step_end=lambda p, step, t, tensors: {"latents": wanted} if step == 0 else None)
    assert not torch.equal(halfway, latents)
    assert not torch.equal(halfway, wanted)
