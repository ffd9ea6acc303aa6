"""The rival mechanisms: what the transformer is given by each, and that every part of the package honours it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from magref import MagrefPipeline, Reference, compose_canvas
from magref.canvas import cell_order
from magref.conditioning import build_conditioning, canvas_pixels, clip_features, encode_video, image_pixels
from magref.denoiser import Denoiser, PlainDenoiser
from magref.errors import CheckpointError, InputError
from magref.flow import make_scheduler
from magref.generation import Job, Request, plan
from magref.geometry import Strides, VideoShape
from magref.mechanisms import reference_pictures, successive_video, tokenwise_guidance, vanilla_guidance
from magref.models import find_model, stored_defaults
from magref.settings import GenerationDefaults, check_references
from tiny import GOLDEN, TEXT_DIM, tiny_components, tiny_image_encoder, tiny_transformer, tiny_vae

REFS = [GOLDEN / "refs" / f"{i}.png" for i in range(5)]
STRIDES = Strides()
FRAMES = 13
"""Four latent frames."""
HEIGHT, WIDTH = 32, 64
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
MECHANISMS = ("masked", "vanilla", "tokenwise")


@pytest.fixture(scope="module")
def vae():
    return tiny_vae()


@pytest.fixture(scope="module")
def image_encoder():
    return tiny_image_encoder()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def canvas_of(*indices: int, **how):
    return compose_canvas([REFS[i] for i in indices], height=HEIGHT, width=WIDTH, **how)


def plain(colour: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    return Image.new("RGB", size, colour)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())


# --- references as pictures ------------------------------------------------------------------------------------------


def test_one_reference_alone_looks_as_on_its_canvas():
    canvas = canvas_of(2)
    (picture,) = reference_pictures(canvas, fill_background=True)
    assert picture.tobytes() == canvas.image.tobytes()


@pytest.mark.parametrize("count", range(1, 9))
def test_pictures_follow_the_cells(count):
    colours = ["red", "green", "blue", "cyan", "magenta", "yellow", "black", "grey"][:count]
    sizes = [(40, 200), (200, 40), (64, 64)]  # letterboxed, tall and wide ones have other corners than their cells
    references = [plain(colour, sizes[i % 3]) for i, colour in enumerate(colours)]
    given = compose_canvas(references, height=96, width=160)
    assert given.by_cell() == given.references
    for seed in range(5):
        canvas = compose_canvas(references, height=96, width=160, order="shuffled", seed=seed)
        cells = cell_order(count, "shuffled", seed)
        assert canvas.by_cell() == tuple(canvas.references[i] for i in sorted(range(count), key=cells.__getitem__))
        middles = [np.asarray(p)[48, 80].tolist() for p in reference_pictures(canvas, fill_background=False)]
        assert middles == [list(r.rgb.getpixel((0, 0))) for r in canvas.by_cell()]


def test_only_backgrounds_fill_the_picture_and_only_where_asked():
    tall = plain("red", (50, 200))
    canvas = compose_canvas([Reference(tall, "background"), tall], height=HEIGHT, width=WIDTH)
    for fill in (True, False):
        boxed, background = reference_pictures(canvas, fill_background=fill)
        assert boxed.getpixel((0, 0)) == (255, 255, 255)
        assert background.getpixel((0, 0)) == ((255, 0, 0) if fill else (255, 255, 255))


# --- vanilla mask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0] + 12 * [None]), (2, [0] + 4 * [1] + 8 * [None]), (3, [0] + 4 * [1] + 4 * [2] + 4 * [None])],
)
def test_successive_references_take_one_latent_frame_each(count, expected):
    pixels = random(count, 3, HEIGHT, WIDTH)
    video = successive_video(pixels, VideoShape(FRAMES, HEIGHT, WIDTH), STRIDES)
    for frame, index in enumerate(expected):
        assert torch.equal(video[:, frame], torch.zeros(3, HEIGHT, WIDTH) if index is None else pixels[index])


def test_more_references_than_latent_frames_are_refused():
    video = successive_video(random(4, 3, HEIGHT, WIDTH), VideoShape(13, HEIGHT, WIDTH), STRIDES)
    assert video.shape == (3, 13, HEIGHT, WIDTH)
    check_references("vanilla", 4, VideoShape(13, HEIGHT, WIDTH), STRIDES)
    with pytest.raises(InputError, match="4 references do not fit into 9 frames; use 13 frames or more"):
        check_references("vanilla", 4, VideoShape(9, HEIGHT, WIDTH), STRIDES)
    for other in ("masked", "tokenwise"):
        check_references(other, 4, VideoShape(9, HEIGHT, WIDTH), STRIDES)


def test_the_vanilla_mask_is_one_over_the_references_own_frames():
    latents = random(2, 16, 4, 4, 8)
    guidance = vanilla_guidance(latents, [1, 3], mask_channels=4)
    assert guidance.shape == (2, 20, 4, 4, 8)
    for row, count in enumerate((1, 3)):
        assert (guidance[row, :4, :count] == 1).all()
        assert not guidance[row, :4, count:].any()
    assert torch.equal(guidance[:, 4:], latents)


def test_vanilla_is_what_its_parts_say(vae, image_encoder):
    canvas = canvas_of(0, 1)
    made = build_conditioning(
        [canvas], FRAMES, vae=vae, strides=STRIDES, image_encoder=image_encoder, mechanism="vanilla"
    )
    pixels = torch.stack([image_pixels(p) for p in reference_pictures(canvas, fill_background=True)])
    video = torch.cat([pixels[:1], pixels[1:].expand(4, -1, -1, -1), torch.zeros(8, 3, HEIGHT, WIDTH)])
    assert torch.allclose(made.guidance[:, 4:], encode_video(vae, video.transpose(0, 1)[None]), **CLOSE)
    assert made.tail is None
    each = [clip_features(image_encoder, one[None]) for one in pixels]
    assert torch.allclose(made.image_embeds, torch.cat(each, dim=1), **CLOSE)  # one block after the other


def test_vanilla_takes_canvases_of_several_counts_but_not_with_an_image_encoder(vae, image_encoder):
    canvases = [canvas_of(0), canvas_of(1, 2)]
    parts = {"vae": vae, "strides": STRIDES, "mechanism": "vanilla"}
    together = build_conditioning(canvases, FRAMES, **parts)
    for i, canvas in enumerate(canvases):
        alone = build_conditioning([canvas], FRAMES, **parts)
        assert torch.allclose(together.guidance[i : i + 1], alone.guidance, **CLOSE)
    with pytest.raises(InputError, match="equally many references, not 1, 2"):
        build_conditioning(canvases, FRAMES, image_encoder=image_encoder, **parts)


# --- token-wise concatenation ----------------------------------------------------------------------------------------


def test_tokenwise_guidance_shows_the_references_after_the_video():
    nothing, references = random(1, 16, 4, 4, 8), random(2, 16, 3, 4, 8, seed=1)
    guidance = tokenwise_guidance(nothing, references, mask_channels=4)
    assert guidance.shape == (2, 20, 7, 4, 8)
    assert not guidance[:, :4, :4].any()
    assert (guidance[:, :4, 4:] == 1).all()
    assert torch.equal(guidance[:, 4:, :4], nothing.expand(2, -1, -1, -1, -1))
    assert torch.equal(guidance[:, 4:, 4:], references)


def test_tokenwise_is_what_its_parts_say(vae, image_encoder):
    canvases = [canvas_of(0, 1), canvas_of(3, 2)]
    made = build_conditioning(
        canvases, FRAMES, vae=vae, strides=STRIDES, image_encoder=image_encoder, mechanism="tokenwise"
    )
    assert made.tail.shape == (2, 16, 2, 4, 8)
    for i, canvas in enumerate(canvases):
        for k, picture in enumerate(reference_pictures(canvas, fill_background=False)):
            encoded = encode_video(vae, image_pixels(picture)[None, :, None])[0, :, 0]
            assert torch.allclose(made.tail[i, :, k], encoded, **CLOSE)
            assert torch.equal(made.guidance[i, 4:, 4 + k], made.tail[i, :, k])
    nothing = encode_video(vae, torch.zeros(1, 3, FRAMES, HEIGHT, WIDTH))
    assert torch.allclose(made.guidance[:1, 4:, :4], nothing, **CLOSE)
    seen = clip_features(image_encoder, torch.stack([canvas_pixels(canvas) for canvas in canvases]))
    assert torch.equal(made.image_embeds, seen)  # the canvas, as masked guidance has it


def test_tokenwise_takes_one_number_of_references(vae):
    with pytest.raises(InputError, match=r"token-wise concatenation takes .* equally many references, not 1, 2"):
        build_conditioning([canvas_of(0), canvas_of(1, 2)], 5, vae=vae, strides=STRIDES, mechanism="tokenwise")


def test_tokenwise_stays_within_the_known_positions(vae):
    strides = Strides(positions=5)
    parts = {"vae": vae, "strides": strides, "mechanism": "tokenwise"}
    assert build_conditioning([canvas_of(0)], FRAMES, **parts).guidance.shape[2] == 5
    with pytest.raises(InputError, match="13 frames and 2 references are too many for this model; use 9 frames"):
        build_conditioning([canvas_of(0, 1)], FRAMES, **parts)


def test_an_unknown_mechanism_is_refused(vae):
    with pytest.raises(InputError, match="use masked, vanilla or tokenwise"):
        build_conditioning([canvas_of(0)], 5, vae=vae, strides=STRIDES, mechanism="adapter")


# --- join and cut ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mechanism", "length"), [("masked", 4), ("vanilla", 4), ("tokenwise", 6)])
def test_joining_and_cutting(vae, mechanism, length):
    canvases = [canvas_of(0, 1), canvas_of(2, 3)]
    made = build_conditioning(canvases, FRAMES, vae=vae, strides=STRIDES, mechanism=mechanism)
    noisy = random(2, 16, 4, 4, 8)
    x = made.join(noisy)
    assert x.shape == (2, 36, length, 4, 8)
    assert torch.equal(x[:, :16, :4], noisy)
    assert torch.equal(x[:, 16:], made.guidance)
    if mechanism == "tokenwise":
        assert torch.equal(x[:, :16, 4:], made.tail)
    assert torch.equal(made.cut(x[:, :16]), noisy)


def test_moving_and_repeating_take_the_tail_along(vae):
    made = build_conditioning([canvas_of(0), canvas_of(1)], 5, vae=vae, strides=STRIDES, mechanism="tokenwise")
    repeated = made.repeated(3)
    for i in range(6):
        assert torch.equal(repeated.tail[i], made.tail[i // 3])
    moved = made.to(torch.device("cpu"), torch.bfloat16)
    assert torch.equal(moved.tail, made.tail.bfloat16())
    assert moved.join(random(2, 16, 2, 4, 8)).dtype == torch.bfloat16


# --- the transformer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [True, False], ids=["clip", "no clip"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
@torch.no_grad()
def test_both_denoisers_agree(vae, image_encoder, mechanism, clip):
    transformer = tiny_transformer(clip)
    seen = image_encoder if clip else None
    made = build_conditioning(
        [canvas_of(0, 1, 2)], FRAMES, vae=vae, strides=STRIDES, image_encoder=seen, mechanism=mechanism
    )
    texts = [random(n, TEXT_DIM, seed=n) for n in (7, 12)]
    timesteps = make_scheduler("unipc", steps=3, shift=3.0).timesteps
    latents = random(1, 16, 4, 4, 8, seed=3)
    fast, plain = (
        kind(transformer, texts, made, timesteps, text_tokens=512)(latents, 1) for kind in (Denoiser, PlainDenoiser)
    )
    assert len(fast) == len(plain) == 2
    for ours, theirs in zip(fast, plain, strict=True):
        assert ours.shape == latents.shape
        assert relative(ours, theirs) < 1e-5


@torch.no_grad()
def test_the_tail_follows_the_video_in_time(vae):
    """Whoever moves a reference to another place of the tail changes its positions, and so the velocity."""
    transformer = tiny_transformer(False)
    timesteps = make_scheduler("unipc", steps=3, shift=3.0).timesteps
    velocities = []
    for order in ((0, 1), (1, 0)):
        made = build_conditioning([canvas_of(*order)], 5, vae=vae, strides=STRIDES, mechanism="tokenwise")
        denoiser = Denoiser(transformer, [random(5, TEXT_DIM)], made, timesteps, text_tokens=512)
        velocities.append(denoiser(random(1, 16, 2, 4, 8, seed=3), 1)[0])
    assert relative(*velocities) > 1e-5


# --- generation ------------------------------------------------------------------------------------------------------

SMALL = {"height": HEIGHT, "width": WIDTH, "num_frames": 9, "num_inference_steps": 2, "seed": 7, "drop_frames": 0}


def pipeline_of(mechanism: str) -> MagrefPipeline:
    defaults = GenerationDefaults(mechanism=mechanism, num_inference_steps=2).model_dump()
    pipe = MagrefPipeline(**tiny_components(), generation_defaults=defaults)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_stored_mechanism_decides_what_the_pipeline_does(tmp_path):
    found = {}
    for mechanism in MECHANISMS:
        pipe = pipeline_of(mechanism)
        out = pipe("a dog", REFS[:2], output_type="latent", **SMALL)
        assert out.frames.shape == (1, 16, 3, 4, 8)
        assert out.settings.mechanism == mechanism
        found[mechanism] = out.frames
    assert relative(found["vanilla"], found["masked"]) > 1e-3
    assert relative(found["tokenwise"], found["masked"]) > 1e-3

    pipe.save_pretrained(tmp_path / "model")
    again = MagrefPipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    assert stored_defaults(tmp_path / "model").mechanism == "tokenwise"
    assert torch.equal(again("a dog", REFS[:2], output_type="latent", **SMALL).frames, found["tokenwise"])


def test_vanilla_refuses_too_many_references_before_it_samples():
    pipe = pipeline_of("vanilla")
    pipe.text_encoder = None  # not even the prompt is encoded
    with pytest.raises(InputError, match="5 references do not fit into 9 frames; use 17 frames or more"):
        pipe("a dog", REFS, **SMALL)


def test_a_plan_refuses_them_before_any_weights_load(tmp_path):
    model = find_model()
    model = replace(model, defaults=model.defaults.model_copy(update={"mechanism": "vanilla"}))
    job = Job(tmp_path / "a.mp4", "a dog", [Reference(path) for path in REFS])
    with pytest.raises(InputError, match="5 references do not fit into 9 frames; use 17 frames or more"):
        plan(model, [job], Request(settings={"num_frames": 9}))
    assert len(plan(model, [job], Request(settings={"num_frames": 17}))) == 1


def test_a_folder_that_names_no_mechanism_is_masked_and_one_that_names_another_is_refused(tmp_path):
    index = tmp_path / "model_index.json"
    index.write_text('{"generation_defaults": {"height": 64}}')
    assert stored_defaults(tmp_path).mechanism == "masked"
    index.write_text('{"generation_defaults": {"mechanism": "adapter"}}')
    with pytest.raises(CheckpointError, match="mechanism"):
        stored_defaults(tmp_path)
