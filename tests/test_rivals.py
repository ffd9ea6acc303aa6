"""The published rivals over tiny random files of their layout: what loads, and that sampling does what their code does.

Their steps are written out here once more, naively, over the transformer's own forward. Nothing here was computed by
their authors' code.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import FirstBlockCacheConfig, UniPCMultistepScheduler, WanTransformer3DModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor

from magref import MagrefOutput, MagrefPipeline, Reference
from magref.checkpoints.layout import TRANSFORMER
from magref.conditioning import decode_latents, encode_video, image_pixels, latent_statistics
from magref.errors import CheckpointError, InputError
from magref.flow import make_scheduler
from magref.mechanisms import letterboxed
from magref.models import find_model
from magref.references import open_references
from magref.rivals import PhantomPipeline, SkyReelsA2Pipeline
from magref.rivals.skyreels_a2 import clip_picture, cropped, padded
from magref.text import encode_text
from tiny import GOLDEN, published_state, seeded, tiny_components

REFS = [GOLDEN / "refs" / f"{i}.png" for i in range(5)]
CHECKPOINT = GOLDEN / "checkpoint"
PROMPT = "a dog runs"
HEIGHT, WIDTH, FRAMES, STEPS = 32, 64, 17, 3
SMALL = {"height": HEIGHT, "width": WIDTH, "num_frames": FRAMES, "num_inference_steps": STEPS, "seed": 7}
LATENT = (1, 16, 5, 4, 8)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())


def texts_of(pipe, *prompts: str) -> list[torch.Tensor]:
    """(1, 512, D) each, padded with zeros."""
    parts = {"tokenizer": pipe.tokenizer, "text_encoder": pipe.text_encoder, "text_tokens": pipe.defaults.text_tokens}
    features = [encode_text(prompt, **parts) for prompt in prompts]
    return [F.pad(each, (0, 0, 0, pipe.defaults.text_tokens - len(each)))[None] for each in features]


# --- SkyReels-A2 -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a2_folder(tmp_path_factory) -> Path:
    """diffusers' layout, with the class names of the published code."""
    folder = tmp_path_factory.mktemp("skyreels-a2")
    parts = tiny_components()
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    CLIPImageProcessor(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, resample=3
    ).save_pretrained(folder / "image_processor")
    config = json.loads((folder / "transformer" / "config.json").read_text())
    (folder / "transformer" / "config.json").write_text(json.dumps(config | {"_class_name": "A2Model"}))
    index = {
        "_class_name": "A2Pipeline",
        "_diffusers_version": "0.33.0.dev0",
        "image_encoder": ["transformers", "CLIPVisionModel"],
        "image_processor": ["transformers", "CLIPImageProcessor"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["models.transformer_a2", "A2Model"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def a2(a2_folder) -> SkyReelsA2Pipeline:
    pipe = SkyReelsA2Pipeline.from_pretrained(a2_folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a2_runs_and_drops_twelve_frames(a2, count):
    out = a2(PROMPT, REFS[:count], output_type="np", **SMALL)
    assert isinstance(out, MagrefOutput)
    assert out.frames.shape == (FRAMES - 12, HEIGHT, WIDTH, 3)
    assert (out.settings.flow_shift, out.settings.guidance_scale) == (8.0, 5.0)
    assert (out.settings.mechanism, out.settings.fps) == ("vanilla", 15.0)
    assert len(out.canvas.references) == count
    assert a2.defaults.num_inference_steps == 50


def test_a2_is_not_taken_for_another_model(a2_folder, a2, tmp_path):
    a2.save_pretrained(tmp_path / "saved")
    for folder in (a2_folder, tmp_path / "saved"):
        for load in (find_model, MagrefPipeline.from_pretrained, PhantomPipeline.from_pretrained):
            with pytest.raises(CheckpointError, match=r"is a model of SkyReelsA2Pipeline.*magref\.rivals\.SkyReelsA2"):
                load(folder)
    assert SkyReelsA2Pipeline.from_pretrained(tmp_path / "saved").defaults == a2.defaults


def test_a2_on_the_hub_is_not_taken_for_another_model(a2_folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(a2_folder))
    with pytest.raises(CheckpointError, match="is a model of SkyReelsA2Pipeline"):
        find_model("Skywork/SkyReels-A2")


def test_a2_needs_the_seed_beside_a_generator(a2):
    """Without it, the sample of the references' latents would be another one each time."""
    generator = torch.Generator().manual_seed(1)
    small = {name: value for name, value in SMALL.items() if name != "seed"}
    with pytest.raises(InputError, match="give a seed beside the noise"):
        a2(PROMPT, REFS[:1], generator=generator, **small)


def test_rivals_have_no_region_mask(a2):
    with pytest.raises(InputError, match="mask alpha is for masked guidance, and this model is vanilla; drop it"):
        a2(PROMPT, REFS[:1], mask="alpha", **SMALL)


def naive_a2(pipe, noise: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Three references, step by step."""
    one, two, three = (reference.rgb for reference in open_references(REFS[:3]))
    size = (WIDTH, HEIGHT)
    frames = [padded(one, size)] + 4 * [padded(two, size)] + 4 * [cropped(three, size)]
    video = torch.zeros(1, 3, FRAMES, HEIGHT, WIDTH)
    video[0, :, :9] = torch.stack([image_pixels(frame) for frame in frames], dim=1)
    mean, std = latent_statistics(pipe.vae, video)
    latents = (pipe.vae.encode(video).latent_dist.sample(generator) - mean) / std
    mask = torch.zeros(1, 4, *LATENT[2:])
    mask[:, :, :3] = 1
    processor = CLIPImageProcessor(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, resample=3)
    seen = processor([padded(picture, (512, 512)) for picture in (one, two, three)], return_tensors="pt").pixel_values
    blocks = [pipe.image_encoder(each[None], output_hidden_states=True).hidden_states[-2] for each in seen]
    text, negative = texts_of(pipe, PROMPT, pipe.defaults.negative_prompt)
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=8
    )
    scheduler.set_timesteps(STEPS)
    x = noise
    for timestep in scheduler.timesteps:
        velocity, uncond = (
            pipe.transformer(
                torch.cat([x, mask, latents], dim=1), timestep.expand(1), each, torch.cat(blocks, dim=1)
            ).sample
            for each in (text, negative)
        )
        x = scheduler.step(uncond + 5.0 * (velocity - uncond), timestep, x, return_dict=False)[0]
    return x


@torch.no_grad()
def test_a2_samples_as_its_code_does(a2):
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(LATENT, generator=generator)
    expected = naive_a2(a2, noise, generator)
    found = a2(PROMPT, REFS[:3], output_type="latent", **SMALL).frames
    assert relative(found, expected) < 1e-5
    assert relative(found, a2(PROMPT, REFS[:2], output_type="latent", **SMALL).frames) > 1e-3


def test_the_posterior_is_sampled_by_the_seed(a2):
    def guidance(seed):
        out = a2(PROMPT, REFS[:2], output_type="latent", **SMALL | {"num_inference_steps": 1, "seed": seed})
        return a2._conditioning(out.canvas, out.settings).guidance

    assert torch.equal(guidance(1), guidance(1))
    assert torch.equal(guidance(1)[:, :4], guidance(2)[:, :4])
    assert not torch.equal(guidance(1)[:, 4:], guidance(2)[:, 4:])


def test_a2_is_loaded_in_the_precisions_of_its_code(a2_folder):
    pipe = SkyReelsA2Pipeline.from_pretrained(a2_folder, torch_dtype=torch.bfloat16)
    assert pipe.transformer.dtype == pipe.text_encoder.dtype == torch.bfloat16
    assert pipe.vae.dtype == pipe.image_encoder.dtype == torch.float32
    pipe.set_progress_bar_config(disable=True)
    assert pipe(PROMPT, REFS[:1], output_type="latent", **SMALL).frames.isfinite().all()


def test_a2_saved_and_loaded_again(a2, tmp_path):
    a2.save_pretrained(tmp_path / "model")
    again = SkyReelsA2Pipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    assert again.defaults == a2.defaults
    one, two = (pipe(PROMPT, REFS[:2], output_type="latent", **SMALL).frames for pipe in (a2, again))
    assert torch.equal(one, two)


def test_a2_takes_three_references_that_fit_the_video(a2):
    with pytest.raises(InputError, match="4 references were given; give 1 to 3"):
        a2(PROMPT, REFS[:4], **SMALL)
    with pytest.raises(InputError, match="3 references do not fit into 5 frames; use 9 frames or more"):
        a2(PROMPT, REFS[:3], **SMALL | {"num_frames": 5})


def test_a2_needs_its_folder(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        SkyReelsA2Pipeline.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("size", [(20, 60), (60, 20), (40, 40)])
def test_padding_keeps_the_whole_picture_and_cropping_fills(size):
    picture = Image.new("RGB", size, "red")
    whole, full = np.asarray(padded(picture, (64, 32))), np.asarray(cropped(picture, (64, 32)))
    assert whole.shape == full.shape == (32, 64, 3)
    assert (full == (255, 0, 0)).all()
    assert (whole[16, 32] == (255, 0, 0)).all()
    share = (whole[:, :, 1] < 128).mean()
    aspect = size[0] / size[1]
    assert share == pytest.approx(min(aspect, 2) / max(aspect, 2), abs=0.1)
    assert np.asarray(clip_picture(picture)).shape == (224, 224, 3)


def test_a_background_is_cropped_wherever_it_comes(a2):
    tall = Image.new("RGB", (20, 60), "red")
    (boxed, background) = (
        a2(PROMPT, [Reference(tall, role)], output_type="latent", **SMALL | {"num_inference_steps": 1})
        for role in ("object", "background")
    )
    assert relative(boxed.frames, background.frames) > 1e-4


# --- Phantom ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory) -> Path:
    """Wan2.1's text-to-video release, as far as Phantom needs it: VAE, umT5, tokenizer, config.json."""
    folder = tmp_path_factory.mktemp("wan") / "t2v"
    unused = shutil.ignore_patterns(f"{TRANSFORMER}*", "*clip*", "xlm*")
    shutil.copytree(CHECKPOINT, folder, copy_function=os.symlink, ignore=unused)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory, wan_folder) -> dict[str, Path]:
    """One transformer in the three forms in which it may come."""
    config = json.loads((wan_folder / "config.json").read_text())
    with seeded(9):
        transformer = WanTransformer3DModel(
            num_attention_heads=config["num_heads"],
            attention_head_dim=config["dim"] // config["num_heads"],
            in_channels=16,
            text_dim=text_width(),
            freq_dim=16,
            ffn_dim=64,
            num_layers=2,
        )
    state = published_state(transformer)
    folder = tmp_path_factory.mktemp("phantom")
    torch.save(state, folder / "Phantom-Wan-1.3B.pth")
    save_file(state, folder / "phantom.safetensors")
    shards = folder / "14b"
    shards.mkdir()
    names = sorted(state)
    weight_map = {name: f"Phantom_Wan_14B-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file_name in sorted(set(weight_map.values())):
        save_file({name: state[name] for name in names if weight_map[name] == file_name}, shards / file_name)
    (shards / "Phantom_Wan_14B.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    return {"pth": folder / "Phantom-Wan-1.3B.pth", "file": folder / "phantom.safetensors", "shards": shards}


def text_width() -> int:
    return load_file(CHECKPOINT / f"{TRANSFORMER}.safetensors")["text_embedding.0.weight"].shape[1]


@pytest.fixture(scope="module")
def phantom(wan_folder, weights) -> PhantomPipeline:
    pipe = PhantomPipeline.from_published(wan_folder, weights=weights["pth"], torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("form", ["file", "shards"])
def test_every_form_of_phantoms_weights_loads_the_same(phantom, wan_folder, weights, form):
    other = PhantomPipeline.from_published(wan_folder, weights=weights[form], torch_dtype=torch.float32)
    state = phantom.transformer.state_dict()
    assert state.keys() == other.transformer.state_dict().keys()
    for name, tensor in other.transformer.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("count", [1, 4])
def test_phantom_runs_and_gives_all_of_its_frames(phantom, count):
    out = phantom(PROMPT, REFS[:count], output_type="np", **SMALL)
    assert isinstance(out, MagrefOutput)
    assert out.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert (out.settings.flow_shift, out.settings.guidance_scale, out.settings.drop_frames) == (5.0, 7.5, 0)
    assert phantom.image_guidance_scale == 5.0
    assert phantom.defaults.num_inference_steps == 50
    assert phantom.defaults.text_tokens == 64  # as config.json says
    assert phantom.defaults.negative_prompt.startswith("色调艳丽")


def naive_phantom(pipe, noise: torch.Tensor) -> torch.Tensor:
    """As published: the noise has the references' frames too; they are written over at each step and cut at the end."""
    pictures = [letterboxed(reference, (WIDTH, HEIGHT)) for reference in open_references(REFS[:2])]
    references = torch.cat([encode_video(pipe.vae, image_pixels(one)[None, :, None]) for one in pictures], dim=2)
    text, negative = texts_of(pipe, PROMPT, pipe.defaults.negative_prompt)
    scheduler = make_scheduler("unipc", steps=STEPS, shift=5.0)
    x = noise
    for timestep in scheduler.timesteps:
        passes = ((references, text), (references, negative), (torch.zeros_like(references), negative))
        both, image, neither = (
            pipe.transformer(torch.cat([x[:, :, :-2], tail], dim=2), timestep.expand(1), each).sample
            for tail, each in passes
        )
        velocity = neither + 5.0 * (image - neither) + 7.5 * (both - image)
        x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
    return x[:, :, :-2]


@torch.no_grad()
def test_phantom_samples_as_its_code_does(phantom):
    noise = torch.randn(1, 16, 7, 4, 8, generator=torch.Generator().manual_seed(3))
    found = phantom(PROMPT, REFS[:2], latents=noise[:, :, :5], output_type="latent", **SMALL).frames
    assert relative(found, naive_phantom(phantom, noise)) < 1e-5


@torch.no_grad()
def test_both_scales_of_phantoms_guidance_count(phantom):
    def latents(**changes):
        return phantom(PROMPT, REFS[:2], output_type="latent", **SMALL | changes).frames

    base = latents()
    assert relative(latents(guidance_scale=1.0), base) > 1e-4
    phantom.image_guidance_scale = 1.0
    try:
        assert relative(latents(), base) > 1e-4
    finally:
        phantom.image_guidance_scale = 5.0
    assert torch.equal(latents(), base)


def test_phantoms_frames_are_the_decoded_latents(phantom):
    latents, video = (phantom(PROMPT, REFS[:1], output_type=kind, **SMALL).frames for kind in ("latent", "pt"))
    with torch.no_grad():
        decoded = (decode_latents(phantom.vae, latents)[0] / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(decoded.transpose(0, 1), video, atol=1e-5)


def test_phantom_saved_and_loaded_again(phantom, tmp_path):
    phantom.save_pretrained(tmp_path / "model")
    again = PhantomPipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    assert again.defaults == phantom.defaults
    assert again.image_guidance_scale == 5.0
    one, two = (pipe(PROMPT, REFS[:1], output_type="latent", **SMALL).frames for pipe in (phantom, again))
    assert torch.equal(one, two)


def test_phantom_takes_four_references_and_no_step_cache(phantom):
    with pytest.raises(InputError, match="5 references were given; give 1 to 4"):
        phantom(PROMPT, REFS, **SMALL)
    phantom.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    try:
        with pytest.raises(InputError, match="disable_cache"):
            phantom(PROMPT, REFS[:1], **SMALL)
    finally:
        phantom.transformer.disable_cache()


def test_other_weights_are_refused_with_a_sentence(wan_folder, weights, tmp_path):
    def fails(words: str, weights: Path, folder: Path = wan_folder) -> None:
        with pytest.raises(CheckpointError, match=words) as caught:
            PhantomPipeline.from_published(folder, weights=weights)
        assert "\n" not in str(caught.value)

    fails("takes 36 input channels where 16 are needed", CHECKPOINT / f"{TRANSFORMER}.safetensors")
    fails("holds no Wan transformer", wan_folder / "Wan2.1_VAE.pth")
    fails("is missing", tmp_path / "absent.pth")
    fails("Phantom_Wan_14B.safetensors is missing", tmp_path)
    fails("does not exist", weights["pth"], tmp_path / "nowhere")
    state = torch.load(weights["pth"], weights_only=True)
    torch.save({name: tensor for name, tensor in state.items() if name != "blocks.1.norm3.bias"}, tmp_path / "cut.pth")
    fails("lacks blocks.1.norm2.bias", tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="takes 68 input channels where 32 are needed"):
        PhantomPipeline.from_pretrained()  # the embedded model is no Phantom
