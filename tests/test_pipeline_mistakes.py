"""MagrefPipeline: what it refuses, before any work."""

import numpy as np
import pytest
import torch
from PIL import Image

from magref import MagrefPipeline
from magref.errors import InputError, ResourceError
from tiny_pipeline import LATENT, PROMPT, REFS, SMALL, make_pipeline, run


def cpu_memory_error(_: str) -> RuntimeError:
    """What torch raises where the CPU's memory does not suffice."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**52)
    return caught.value


@pytest.fixture
def idle(monkeypatch) -> MagrefPipeline:
    """A pipeline whose models must not run."""

    def busy(*args, **kwargs):
        raise AssertionError("a model ran")

    made = make_pipeline()
    for part in (made.text_encoder, made.image_encoder, made.transformer.patch_embedding):
        part.register_forward_pre_hook(busy)
    monkeypatch.setattr(made.vae, "encode", busy)
    return made


def test_the_idle_pipeline_notices_work(idle):
    with pytest.raises(AssertionError, match="a model ran"):
        run(idle)


MISTAKES = {
    "no reference": ([], {}, "0 references were given; give 1 to 8"),
    "nine references": ([REFS[0]] * 9, {}, "9 references were given; give 1 to 8"),
    "references None": (None, {}, "the references are a NoneType; give a list"),
    "missing reference": (["/nowhere/dog.png"], {}, "the reference /nowhere/dog.png does not exist; check its path"),
    "small reference": ([Image.new("RGB", (1, 1))], {}, "reference 1 is 1x1; use one with at least 8 pixels"),
    "height": (REFS, {"height": 40}, "height 40 .* use 32 or 48"),
    "width": (REFS, {"width": 8}, "width 8 .* use 16"),
    "height is text": (REFS, {"height": "32"}, "height '32' is not a whole number"),
    "frames": (REFS, {"num_frames": 8}, "8 frames .* use 5 or 9"),
    "dropped frames": (REFS, {"drop_frames": 9}, "9 of 9 frames .* use 0 to 8"),
    "steps": (REFS, {"num_inference_steps": 0}, "0 steps .* use 1 or more"),
    "guidance": (REFS, {"guidance_scale": -1}, "guidance scale -1 is negative; use 0 or more"),
    "shift": (REFS, {"flow_shift": 0}, "flow shift 0 is not positive"),
    "solver": (REFS, {"solver": "euler"}, "solver 'euler' is unknown; use unipc or dpm"),
    "order": (REFS, {"order": "random"}, "order 'random' is unknown; use given or shuffled"),
    "mask": (REFS, {"mask": "oval"}, "mask 'oval' is unknown; use rectangle or alpha"),
    "seed": (REFS, {"seed": -1}, "seed -1 is out of range"),
    "output type": (REFS, {"output_type": "video"}, "output type 'video' is unknown; use pil, np, pt or latent"),
    "videos": (REFS, {"num_videos_per_prompt": 0}, "num_videos_per_prompt is 0; use 1 or more"),
    "half a video": (REFS, {"num_videos_per_prompt": 1.5}, "num_videos_per_prompt is 1.5; use 1 or more"),
    "latents' size": (REFS, {"latents": torch.zeros(16, 2, 4, 8)}, r"\(1, 16, 2, 4, 8\); give \(1, 16, 3, 4, 8\)"),
    "latents' axes": (REFS, {"latents": torch.zeros(3, 4, 8)}, r"latents have shape \(3, 4, 8\)"),
    "latents' count": (
        REFS,
        {"latents": torch.zeros(LATENT), "num_videos_per_prompt": 2},
        r"give \(2, 16, 3, 4, 8\)",
    ),
    "latents' kind": (REFS, {"latents": np.zeros(LATENT)}, "latents are a ndarray; give a torch tensor"),
    "generators": (
        REFS,
        {"generator": [torch.Generator()], "num_videos_per_prompt": 2},
        "1 generators were given for 2 videos; give one for each",
    ),
    "generator's kind": (REFS, {"generator": 7}, "generator is not a torch.Generator; give one"),
    "long features": (REFS, {"prompt_embeds": torch.zeros(513, 16)}, "513 text rows were given; give at most 512"),
    "long negative features": (REFS, {"negative_prompt_embeds": torch.zeros(1, 513, 16)}, "513 text rows were given"),
    "wide features": (REFS, {"prompt_embeds": torch.zeros(5, 17)}, r"shape \(5, 17\); give \(n, 16\) or \(1, n, 16\)"),
    "two prompts' features": (REFS, {"prompt_embeds": torch.zeros(2, 5, 16)}, r"shape \(2, 5, 16\); give \(n, 16\)"),
    "features' kind": (REFS, {"negative_prompt_embeds": [0.0]}, "text features are a list; give a torch tensor"),
    "negative prompt": (REFS, {"negative_prompt": 5}, "the negative prompt is a int; give one string"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_before_any_model_runs(idle, mistake):
    references, arguments, sentence = MISTAKES[mistake]
    with pytest.raises(InputError, match=sentence):
        idle(PROMPT, references, **SMALL | arguments)


@pytest.mark.parametrize(
    ("prompt", "sentence"), [("", "the prompt is empty"), (" \n", "the prompt is empty"), (None, "give one string")]
)
def test_an_empty_prompt_is_told_before_any_model_runs(idle, prompt, sentence):
    with pytest.raises(InputError, match=sentence):
        idle(prompt, REFS, **SMALL)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, cpu_memory_error])
def test_too_little_memory_is_told_with_the_remedy(monkeypatch, error):
    pipe = make_pipeline()

    def exhausted(*args):
        raise error("no memory left")

    pipe.transformer.patch_embedding.register_forward_pre_hook(exhausted)
    with pytest.raises(ResourceError, match="does not suffice for 64x32, 9 frames; use a smaller size, fewer frames"):
        run(pipe)
