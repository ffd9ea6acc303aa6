"""What the transformer sees: mask channels, canvas latents, CLIP's view of the whole canvas, and the text."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from magref.canvas import compose_canvas
from magref.conditioning import (
    Conditioning,
    build_conditioning,
    canvas_pixels,
    clip_features,
    condition_video,
    decode_latents,
    encode_video,
    latent_statistics,
    masked_guidance,
)
from magref.geometry import Strides, VideoShape
from magref.text import encode_text
from tiny import GOLDEN, tiny_image_encoder, tiny_text_encoder, tiny_tokenizer, tiny_vae

REFS = [GOLDEN / "refs" / f"{i}.png" for i in range(5)]
STRIDES = Strides()
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def vae():
    return tiny_vae()


@pytest.fixture(scope="module")
def image_encoder():
    return tiny_image_encoder()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def canvas_of(*indices: int, height: int = 32, width: int = 64):
    return compose_canvas([REFS[i] for i in indices], height=height, width=width)


def marked(width: int, mark: int | None) -> torch.Tensor:
    """A grey canvas (1, 3, 64, width), with a black column from x = `mark`."""
    image = Image.new("RGB", (width, 64), "grey")
    if mark is not None:
        ImageDraw.Draw(image).rectangle((mark, 0, mark + 3, 63), fill="black")
    return canvas_pixels(compose_canvas([image], height=64, width=width))[None]


# --- masked guidance (equations 2 and 3) -----------------------------------------------------------------------------


def test_mask_channels_come_first_and_mark_the_first_latent_frame_only():
    latents = random(2, 16, 3, 4, 6)
    mask = random(2, 4, 6, seed=1) > 0
    guidance = masked_guidance(latents, mask, mask_channels=4)
    assert guidance.shape == (2, 20, 3, 4, 6)
    for channel in range(4):
        assert torch.equal(guidance[:, channel, 0], mask.float())
    assert not guidance[:, :4, 1:].any()
    assert torch.equal(guidance[:, 4:], latents)
    assert 0 < mask.sum() < mask.numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_guidance_keeps_the_precision_of_the_latents(dtype):
    guidance = masked_guidance(random(1, 16, 2, 2, 2).to(dtype), torch.ones(1, 2, 2, dtype=torch.bool), mask_channels=4)
    assert guidance.dtype == dtype


def test_the_condition_is_the_canvas_then_grey():
    pixels = random(2, 3, 32, 48)
    video = condition_video(pixels, VideoShape(9, 32, 48))
    assert video.shape == (2, 3, 9, 32, 48)
    assert torch.equal(video[:, :, 0], pixels)
    assert not video[:, :, 1:].any()


def test_pixels_range_from_minus_one_to_one():
    canvas = compose_canvas([Image.new("RGB", (32, 32), (0, 255, 51))], height=32, width=64)
    pixels = canvas_pixels(canvas)
    assert pixels.shape == (3, 32, 64)
    assert pixels.dtype == torch.float32
    assert pixels[:, 16, 32].tolist() == pytest.approx([-1, 1, 51 / 127.5 - 1])
    assert pixels[:, 16, 0].tolist() == [1, 1, 1]  # the white of the canvas


@pytest.mark.parametrize(("height", "width"), [(32, 64), (64, 32)])
def test_the_whole_is_what_its_parts_say(vae, image_encoder, height, width):
    canvas = canvas_of(0, 1, height=height, width=width)
    made = build_conditioning([canvas], 5, vae=vae, strides=STRIDES, image_encoder=image_encoder)
    assert made.guidance.shape == (1, 20, 2, height // 8, width // 8)
    pixels = torch.from_numpy(np.array(canvas.image)).permute(2, 0, 1)[None] / 127.5 - 1
    video = torch.cat([pixels[:, :, None], torch.zeros(1, 3, 4, height, width)], dim=2)
    with torch.no_grad():
        mode = vae.encode(video).latent_dist.mode()
    mean = torch.tensor(vae.config.latents_mean).view(-1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(-1, 1, 1, 1)
    assert torch.allclose(made.guidance[:, 4:], (mode - mean) / std, **CLOSE)
    assert torch.equal(made.guidance[0, 0, 0] == 1, torch.from_numpy(canvas.latent_mask(8)))


def test_a_batch_of_canvases_equals_each_alone(vae, image_encoder):
    canvases = [canvas_of(0), canvas_of(1, 2), canvas_of(0, 1, 2, 3, 4)]
    parts = {"vae": vae, "strides": STRIDES, "image_encoder": image_encoder}
    together = build_conditioning(canvases, 5, **parts)
    for i, canvas in enumerate(canvases):
        alone = build_conditioning([canvas], 5, **parts)
        assert torch.equal(together.guidance[i : i + 1, :4], alone.guidance[:, :4])
        assert torch.allclose(together.guidance[i : i + 1], alone.guidance, **CLOSE)
        assert torch.allclose(together.image_embeds[i : i + 1], alone.image_embeds, **CLOSE)
    assert not torch.allclose(together.guidance[0], together.guidance[1], atol=0.1)


def test_repeating_keeps_each_canvas_together():
    conditioning = Conditioning(random(2, 20, 2, 4, 4), random(2, 5, 8))
    repeated = conditioning.repeated(3)
    for i in range(6):
        assert torch.equal(repeated.guidance[i], conditioning.guidance[i // 3])
        assert torch.equal(repeated.image_embeds[i], conditioning.image_embeds[i // 3])
    assert Conditioning(conditioning.guidance, None).repeated(2).image_embeds is None


def test_moving_changes_precision_and_nothing_else():
    conditioning = Conditioning(random(1, 20, 2, 4, 4), random(1, 5, 8))
    moved = conditioning.to(torch.device("cpu"), torch.bfloat16)
    assert torch.equal(moved.guidance, conditioning.guidance.bfloat16())
    assert torch.equal(moved.image_embeds, conditioning.image_embeds.bfloat16())
    assert Conditioning(conditioning.guidance, None).to(torch.device("cpu"), torch.bfloat16).image_embeds is None


# --- CLIP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [0, 252], ids=["left", "right"])
def test_clip_sees_the_edges_of_a_wide_canvas(image_encoder, mark):
    bare, changed = (clip_features(image_encoder, marked(256, m)) for m in (None, mark))
    assert (bare - changed).norm() > 1e-2 * bare.norm()


def test_clip_sees_the_canvas_stretched_to_a_square(image_encoder):
    """A canvas that is stretched beforehand by whole pixels looks almost the same."""
    image = Image.new("RGB", (64, 64), "grey")
    ImageDraw.Draw(image).rectangle((8, 8, 30, 50), fill="red")
    narrow, wide = (canvas_pixels(compose_canvas([image.resize((w, 64))], height=64, width=w))[None] for w in (64, 256))
    a, b, blank = (clip_features(image_encoder, pixels) for pixels in (narrow, wide, torch.zeros_like(wide)))
    assert (a - b).norm() < 0.2 * (a - blank).norm()


def test_clip_gives_its_penultimate_layer(image_encoder):
    pixels = torch.zeros(1, 3, 224, 224)  # nothing to be stretched: mid-grey
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    normalised = torch.tensor((0.5 - mean) / std, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 224, 224)
    with torch.no_grad():
        hidden = image_encoder(pixel_values=normalised, output_hidden_states=True).hidden_states
    features = clip_features(image_encoder, pixels)
    assert features.shape == (1, 50, 24)
    assert torch.allclose(features, hidden[-2], **CLOSE)
    assert not torch.allclose(features, hidden[-1], atol=1e-2)


def test_without_an_image_encoder_there_are_no_image_features(vae):
    assert build_conditioning([canvas_of(0)], 5, vae=vae, strides=STRIDES).image_embeds is None


# --- latents ---------------------------------------------------------------------------------------------------------


def test_latents_are_normalised_and_decoding_undoes_it(vae):
    video = torch.tanh(random(1, 3, 5, 32, 32))
    with torch.no_grad():
        mode = vae.encode(video).latent_dist.mode()
        plain = vae.decode(mode).sample
        latents = encode_video(vae, video)
        decoded = decode_latents(vae, latents)
    mean, std = latent_statistics(vae, latents)
    assert torch.allclose(latents * std + mean, mode, **CLOSE)
    assert not torch.allclose(latents, mode, atol=0.1)
    assert torch.allclose(decoded, plain, **CLOSE)


def test_encoding_draws_no_random_numbers(vae):
    video = torch.tanh(random(1, 3, 5, 32, 32))
    with torch.no_grad():
        state = torch.get_rng_state()
        first = encode_video(vae, video)
        assert torch.equal(state, torch.get_rng_state())
        torch.rand(1)
        assert torch.equal(first, encode_video(vae, video))


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text_parts():
    return {"tokenizer": tiny_tokenizer(), "text_encoder": tiny_text_encoder()}


def test_text_features_have_one_row_for_each_token_and_no_padding(text_parts):
    assert encode_text("a dog", text_tokens=64, **text_parts).shape == (6, 16)  # five bytes and the end
    assert encode_text("", text_tokens=64, **text_parts).shape == (1, 16)


def test_long_texts_are_cut_off(text_parts):
    features = encode_text("a long sentence " * 20, text_tokens=64, **text_parts)
    assert features.shape == (64, 16)


def test_text_features_equal_those_of_a_padded_text_under_its_mask(text_parts):
    text = "the dog runs"
    found = encode_text(text, text_tokens=64, **text_parts)
    tokens = text_parts["tokenizer"]([text], padding="max_length", max_length=64, return_tensors="pt")
    with torch.no_grad():
        padded = text_parts["text_encoder"](tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state[0]
    count = int(tokens.attention_mask.sum())
    assert count == len(found) == 13
    assert torch.allclose(found, padded[:count], **CLOSE)


def test_texts_are_cleaned_before_they_are_read(text_parts):
    clean, typed = (encode_text(t, text_tokens=64, **text_parts) for t in ("a dog & cat", "  a dog\n&amp;  cat "))
    assert torch.equal(clean, typed)
