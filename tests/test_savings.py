"""Approximate savings: what they leave out, that nothing is left out unasked, and what they refuse."""

import pytest
import torch

from magref import MagrefPipeline
from magref.denoiser import Denoiser
from magref.errors import InputError
from magref.rivals import PhantomPipeline
from magref.savings import FAST, FASTER, StepCache, chosen_savings
from magref.settings import Savings
from tiny import GOLDEN, IN_CHANNELS, LATENT_CHANNELS, tiny_components, tiny_transformer

PROMPT, REFS = "a dog runs", [GOLDEN / "refs" / "0.png"]
SMALL = {"height": 32, "width": 48, "num_frames": 5, "num_inference_steps": 10, "seed": 7, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def pipe() -> MagrefPipeline:
    made = MagrefPipeline(**tiny_components(image_encoder=False))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """How many texts each call of the denoiser has, call by call."""
    calls: list[int] = []
    original = Denoiser.__call__

    def counted(self, latents, step):
        velocities = original(self, latents, step)
        calls.append(len(velocities))
        return velocities

    monkeypatch.setattr(Denoiser, "__call__", counted)
    return calls


def run(pipe, savings=None, **changes) -> torch.Tensor:
    return pipe(PROMPT, REFS, output_type="latent", savings=savings, **SMALL | changes).frames


def sampled(velocity, steps: int, threshold: float) -> tuple[list[int], list[torch.Tensor]]:
    """The computed steps and all velocities, with latents that move by the velocity over `steps`."""
    cache = StepCache(velocity, steps=steps, threshold=threshold)
    latents, velocities = torch.ones(1, 1, 1, 2, 2), []
    for step in range(steps):
        velocities.append(cache(latents, step))
        latents = latents - velocities[-1] / steps
    return cache.computed, velocities


# --- the step cache --------------------------------------------------------------------------------------------------


def test_a_velocity_that_stays_is_computed_in_the_first_fifth_and_at_the_end():
    computed, velocities = sampled(lambda latents, step: torch.ones_like(latents), 20, 0.05)
    assert computed == [0, 1, 2, 3, 19]
    assert all(torch.equal(each, velocities[0]) for each in velocities)


def test_a_velocity_that_turns_at_every_step_is_always_computed():
    computed, _ = sampled(lambda latents, step: torch.full_like(latents, 1.0 + step % 2), 20, 0.05)
    assert computed == list(range(20))


def test_what_is_taken_over_is_the_last_that_was_computed():
    computed, velocities = sampled(lambda latents, step: torch.full_like(latents, 1 + 0.02 * step), 20, 0.05)
    assert computed[:5] == [0, 1, 2, 3, 6]  # 2% a step: two steps stay under 5%, the third would not
    assert torch.equal(velocities[4], velocities[3])
    assert torch.equal(velocities[5], velocities[3])
    assert torch.equal(velocities[6], torch.full_like(velocities[6], 1.12))


@pytest.mark.parametrize("thresholds", [(0.01, 0.05), (0.05, 0.2)])
def test_a_higher_threshold_computes_no_more_steps(thresholds):
    lower, higher = (
        sampled(lambda latents, step: torch.full_like(latents, 1 + 0.01 * step), 30, threshold)[0]
        for threshold in thresholds
    )
    assert len(higher) < len(lower) < 30


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_are_all_computed(steps):
    assert sampled(lambda latents, step: torch.ones_like(latents), steps, 0.5)[0] == list(range(steps))


def test_a_step_at_which_guidance_begins_or_ends_is_computed():
    cache = StepCache(
        lambda latents, step: torch.ones_like(latents), steps=20, threshold=0.5, guides=range(6, 12).__contains__
    )
    for step in range(20):
        cache(torch.full((1, 1, 1, 2, 2), float(step)), step)
    assert cache.computed == [0, 1, 2, 3, 6, 12, 19]


@pytest.mark.parametrize("velocities", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("moves", [0.0, 1.0])
def test_latents_that_stay_and_velocities_of_zero_divide_nothing(velocities, moves):
    cache = StepCache(lambda latents, step: torch.full_like(latents, velocities[step > 3]), steps=10, threshold=0.05)
    found = [cache(torch.full((1, 1, 1, 2, 2), moves * step), step) for step in range(10)]
    assert all(velocity.isfinite().all() for velocity in found)
    assert torch.equal(found[-1], torch.full_like(found[-1], velocities[1]))


# --- in the pipeline -------------------------------------------------------------------------------------------------


def test_nothing_is_left_out_unasked(pipe, passes):
    latents = run(pipe)
    assert passes == [2] * 10
    assert torch.equal(run(pipe, Savings()), latents)
    assert torch.equal(run(pipe, Savings(step_cache=1e-12)), latents)  # a threshold that nothing stays under


def test_the_step_cache_leaves_steps_out_and_comes_near(pipe, passes):
    exact = run(pipe)
    passes.clear()
    found = run(pipe, Savings(step_cache=0.3))
    assert 3 <= len(passes) < 10
    assert not torch.equal(found, exact)
    assert (found - exact).norm() < 0.2 * exact.norm()


def test_steps_outside_the_interval_have_one_pass(pipe, passes):
    run(pipe, Savings(guidance_interval=(0.2, 0.7)))
    assert passes == [1, 1, 2, 2, 2, 2, 2, 1, 1, 1]


def test_the_first_step_with_guidance_takes_over_nothing_from_one_without(pipe, monkeypatch):
    """As in `--faster`, where the interval begins at the step from which the cache may take over."""
    steps, original = [], Denoiser.__call__
    monkeypatch.setattr(Denoiser, "__call__", lambda self, x, step: steps.append(step) or original(self, x, step))
    run(pipe, Savings(step_cache=0.99, guidance_interval=(0.2, 1.0)))
    assert steps[:3] == [0, 1, 2]


def test_an_empty_interval_is_no_guidance(pipe):
    found, expected = run(pipe, Savings(guidance_interval=(0.0, 0.0))), run(pipe, guidance_scale=1.0)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, run(pipe), atol=1e-2)


def test_without_guidance_the_interval_changes_nothing(pipe, passes):
    found = run(pipe, Savings(guidance_interval=(0.2, 0.7)), guidance_scale=1.0)
    assert passes == [1] * 10
    assert torch.equal(found, run(pipe, guidance_scale=1.0))


def test_both_work_beside_hooks(pipe):
    savings = Savings(step_cache=0.3, guidance_interval=(0.2, 1.0))
    expected = run(pipe, savings)
    handle = pipe.transformer.blocks[0].register_forward_hook(lambda *_: None)
    try:
        assert torch.allclose(run(pipe, savings), expected, atol=1e-4)
    finally:
        handle.remove()


def test_phantom_takes_the_cache_and_refuses_the_interval():
    parts = tiny_components(image_encoder=False)
    parts["transformer"] = tiny_transformer(image_encoder=False, in_channels=LATENT_CHANNELS)
    phantom = PhantomPipeline(**parts)
    phantom.set_progress_bar_config(disable=True)
    assert IN_CHANNELS != LATENT_CHANNELS
    assert run(phantom, Savings(step_cache=0.3)).isfinite().all()
    with pytest.raises(InputError, match="PhantomPipeline guides by more than text, at every step; leave out"):
        run(phantom, FASTER)


# --- what may be asked for -------------------------------------------------------------------------------------------


def test_bundles_give_way_to_what_is_named():
    assert chosen_savings() == Savings()
    assert chosen_savings(fast=True) == FAST != Savings()
    assert chosen_savings(faster=True) == FASTER != FAST
    assert chosen_savings(fast=True, step_cache=0.2) == FAST.model_copy(update={"step_cache": 0.2})
    assert chosen_savings(faster=True, guidance_interval=(0.0, 1.0)).guidance_interval == (0.0, 1.0)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"fast": True, "faster": True}, "--fast and --faster were both given; choose one of them"),
        ({"step_cache": -0.1}, "from 0 to below 1"),
        ({"step_cache": 1.0}, "from 0 to below 1"),
        ({"guidance_interval": (0.7, 0.2)}, "its end after its beginning"),
        ({"guidance_interval": (0.0, 1.5)}, "within 0:1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(asked, sentence):
    with pytest.raises(InputError, match=sentence):
        chosen_savings(**asked)
