"""MagrefPipeline: models saved, loaded, cast, offloaded, compiled, cached and adapted give what they should."""

import json
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from diffusers import FirstBlockCacheConfig
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from magref import MagrefPipeline
from magref.errors import CheckpointError
from magref.placement import loading_dtype
from magref.settings import GenerationDefaults
from tiny_pipeline import PROMPT, REFS, SMALL, make_pipeline, relative, run


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return make_pipeline()(PROMPT, REFS, **SMALL, output_type="latent").frames


def test_a_model_without_an_image_encoder_uses_none():
    pipe = make_pipeline(image_encoder=False)
    assert run(pipe, output_type="np").shape == (5, 32, 64, 3)
    assert torch.equal(run(pipe), run(pipe))


def test_stored_defaults_are_what_none_means():
    defaults = GenerationDefaults(
        height=48, width=32, num_frames=5, num_inference_steps=1, drop_frames=2, flow_shift=5.0
    )
    pipe = make_pipeline(generation_defaults=defaults.model_dump())
    out = pipe(PROMPT, REFS, seed=1, output_type="np")
    assert out.frames.shape == (3, 48, 32, 3)
    assert {name: getattr(out.settings, name) for name in defaults.model_dump()} == defaults.model_dump()


@pytest.mark.parametrize("image_encoder", [True, False], ids=["clip", "no clip"])
def test_saved_and_loaded_again_it_is_equal_to_the_bit(tmp_path, image_encoder):
    defaults = GenerationDefaults(height=32, width=32, num_frames=5, num_inference_steps=2, drop_frames=1, fps=8.0)
    pipe = make_pipeline(image_encoder, generation_defaults=defaults.model_dump())
    pipe.save_pretrained(tmp_path)
    again = MagrefPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.defaults == defaults
    assert (again.image_encoder is None) == (not image_encoder)
    for name in ("transformer", "vae", "text_encoder") + ("image_encoder",) * image_encoder:
        old, new = (getattr(p, name).state_dict() for p in (pipe, again))
        assert old.keys() == new.keys()
        assert all(torch.equal(old[key], new[key]) for key in old)
    first, second = (p(PROMPT, REFS, seed=3, output_type="np").frames for p in (pipe, again))
    assert np.array_equal(first, second)
    assert first.shape == (4, 32, 32, 3)
    stored = json.loads((tmp_path / "model_index.json").read_text())
    assert stored["generation_defaults"] == defaults.model_dump()


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Path:
    """A folder in bfloat16, its VAE in float32."""
    pipe = make_pipeline()
    for part in (pipe.transformer, pipe.text_encoder, pipe.image_encoder):
        part.to(torch.bfloat16)
    folder = tmp_path_factory.mktemp("half")
    pipe.save_pretrained(folder)
    return folder


def dtypes(pipe) -> tuple[torch.dtype, ...]:
    return tuple(part.dtype for part in (pipe.transformer, pipe.text_encoder, pipe.image_encoder, pipe.vae))


def test_weights_load_in_the_precision_that_suits_what_was_stored(half):
    expected = loading_dtype("bfloat16")
    assert dtypes(MagrefPipeline.from_pretrained(half)) == (expected,) * 3 + (torch.float32,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_vae_stays_in_float32_whatever_the_rest_is_in(half, dtype, latents):
    pipe = MagrefPipeline.from_pretrained(half, torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    assert dtypes(pipe) == (dtype,) * 3 + (torch.float32,)
    assert relative(run(pipe), latents) < 0.05


def test_each_part_can_be_given_a_precision_of_its_own(half):
    pipe = MagrefPipeline.from_pretrained(half, torch_dtype={"transformer": torch.bfloat16, "default": torch.float32})
    assert dtypes(pipe) == (torch.bfloat16, torch.float32, torch.float32, torch.float32)


def test_a_pipeline_that_is_offloaded_whole_gives_the_same(latents):
    """As `enable_sequential_cpu_offload` does it, with a CPU in the GPU's place: weights wait on the meta device."""
    pipe = make_pipeline()
    for part in (pipe.transformer, pipe.vae, pipe.text_encoder, pipe.image_encoder):
        accelerate.cpu_offload(part, execution_device=torch.device("cpu"))
    assert pipe.vae.device.type == pipe.text_encoder.device.type == "meta"
    assert relative(run(pipe), latents) < 1e-5
    assert run(pipe, output_type="np").shape == (5, 32, 64, 3)


def test_slow_bfloat16_is_said(caplog, monkeypatch):
    pipe = make_pipeline()
    pipe.transformer.to(torch.bfloat16)
    monkeypatch.setattr("magref.pipeline.choose_dtype", lambda device: torch.float32)
    run(pipe, num_inference_steps=1)
    assert "torch_dtype=torch.float32" in caplog.text


def test_a_compiled_transformer_is_not_taken_apart(latents):
    pipe = make_pipeline()
    calls = []
    whole = pipe.transformer
    pipe.transformer = torch.compile(whole, backend=lambda graph, _: calls.append(1) or graph.forward)
    assert relative(run(pipe), latents) < 1e-5
    assert calls


def test_a_step_cache_runs(latents):
    pipe = make_pipeline()
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e-9))
    assert relative(run(pipe), latents) < 1e-5


def test_offloading_hooks_change_nothing_but_where_it_runs(latents):
    pipe = make_pipeline()
    cpu = torch.device("cpu")
    pipe.transformer.enable_group_offload(onload_device=cpu, offload_device=cpu, offload_type="leaf_level")
    calls = []
    pipe.transformer.register_forward_hook(lambda module, args, output: calls.append(1))
    assert relative(run(pipe), latents) < 1e-5
    assert len(calls) == 2 * SMALL["num_inference_steps"]  # through the transformer's own forward, where hooks see it


def test_a_lora_is_saved_loaded_and_unloaded(tmp_path, latents):
    source = make_pipeline().transformer
    with torch.random.fork_rng():
        torch.manual_seed(3)
        names = ["to_q", "to_v", "ffn.net.2"]
        source.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=names, init_lora_weights=False))
    MagrefPipeline.save_lora_weights(tmp_path, transformer_lora_layers=get_peft_model_state_dict(source))
    pipe = make_pipeline()
    pipe.load_lora_weights(tmp_path, adapter_name="style")
    changed = run(pipe)
    assert relative(changed, latents) > 1e-3
    assert relative(run(make_pipeline(transformer=source)), changed) < 1e-6
    pipe.set_adapters("style", 0.5)
    assert relative(run(pipe), changed) > 1e-4
    pipe.unload_lora_weights()
    assert torch.equal(run(pipe), latents)


def test_a_folder_that_holds_no_model_is_told_so(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"is not a model folder in diffusers' layout; it has no model_index\.json"
    ):
        MagrefPipeline.from_pretrained(tmp_path)
