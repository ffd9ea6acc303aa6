"""Noise levels, the training loss, and solvers that walk a straight line exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magref.errors import InputError
from magref.flow import add_noise, flow_loss, make_scheduler, sample, sampling_sigmas, shifted, training_sigmas

SOLVERS = pytest.mark.parametrize("solver", ["unipc", "dpm++"])
SHAPE = (1, 16, 2, 4, 4)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def straight_walk(solver: str, steps: int, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the solver ends on the line from noise to clean latents, and the clean latents."""
    clean, noise = random(*SHAPE, seed=1), random(*SHAPE, seed=2)
    scheduler = make_scheduler(solver, steps=steps, shift=shift)
    start = add_noise(clean, noise, scheduler.sigmas[:1])
    seen = []

    def on_step(step, latents):
        seen.append(step)
        return latents

    end = sample(lambda latents, step: noise - clean, start, scheduler, on_step)
    assert seen == list(range(steps))
    return end, clean


# --- noise levels ----------------------------------------------------------------------------------------------------


@SOLVERS
@given(steps=st.integers(1, 1500), shift=st.floats(0.2, 20))
def test_noise_levels_fall_from_about_one_to_zero(solver, steps, shift):
    sigmas = sampling_sigmas(steps, shift, solver)
    assert sigmas.shape == (steps + 1,)
    assert (np.diff(sigmas) < 0).all()
    assert 0.99 < sigmas[0] <= 1 + 1e-12
    assert sigmas[-1] == 0


@given(st.floats(0, 1), st.floats(0.1, 20))
def test_the_shift_is_the_formula_and_keeps_the_ends(sigma, shift):
    assert shifted(sigma, shift) == pytest.approx(shift * sigma / (1 + (shift - 1) * sigma))
    assert shifted(sigma, 1.0) == pytest.approx(sigma)
    assert shifted(0.0, shift) == 0
    assert shifted(1.0, shift) == pytest.approx(1)
    assert shifted(shifted(sigma, shift), 1 / shift) == pytest.approx(sigma)  # and can be undone


@SOLVERS
def test_the_published_noise_levels_by_hand(solver):
    start = 0.999 if solver == "unipc" else 1.0
    middle = start / 2
    expected = [3 * start / (1 + 2 * start), 3 * middle / (1 + 2 * middle), 0]
    assert sampling_sigmas(2, 3.0, solver) == pytest.approx(expected, abs=1e-7)
    scheduler = make_scheduler(solver, steps=2, shift=3.0)
    assert scheduler.sigmas.tolist() == pytest.approx(expected, abs=1e-7)
    assert scheduler.timesteps.tolist() == [int(1000 * level) for level in expected[:2]]


@SOLVERS
def test_a_scheduler_keeps_the_settings_of_the_one_it_is_made_from(solver):
    first = make_scheduler("unipc", {"solver_order": 3})
    assert make_scheduler(solver, first.config).config.solver_order == 3
    assert make_scheduler(solver).config.solver_order == 2


def test_an_unknown_solver_is_refused():
    with pytest.raises(InputError, match=r"solver 'euler' is unknown; use unipc or dpm\+\+$"):
        make_scheduler("euler", steps=4)


def test_training_levels_follow_the_shift_and_the_generator_alone():
    def draw(shift):
        state = torch.get_rng_state()
        levels = training_sigmas(4000, shift, torch.Generator().manual_seed(0))
        assert torch.equal(state, torch.get_rng_state())
        return levels

    levels = draw(1.0)
    assert torch.equal(levels, draw(1.0))
    assert ((levels > 0) & (levels < 1)).all()
    assert levels.median() == pytest.approx(0.5, abs=0.02)
    assert draw(3.0).median() == pytest.approx(0.75, abs=0.02)
    assert torch.allclose(draw(3.0), 3 * levels / (1 + 2 * levels))


def test_a_wider_spread_draws_more_of_the_highest_and_lowest_levels():
    wide = training_sigmas(4000, 3.0, torch.Generator().manual_seed(0), spread=2.0)
    assert wide.logit().std() == pytest.approx(2.0, abs=0.1)
    assert wide.median() == pytest.approx(0.75, abs=0.03)


# --- noise and loss --------------------------------------------------------------------------------------------------


def test_noise_is_added_along_a_straight_line():
    clean, noise = random(3, *SHAPE[1:], seed=1), random(3, *SHAPE[1:], seed=2)
    noisy = add_noise(clean, noise, torch.tensor([0.0, 1.0, 0.25]))
    assert torch.equal(noisy[0], clean[0])
    assert torch.equal(noisy[1], noise[1])
    assert torch.allclose(noisy[2], 0.75 * clean[2] + 0.25 * noise[2])


def test_the_noise_level_keeps_the_precision_of_the_latents():
    clean = random(*SHAPE).bfloat16()
    assert add_noise(clean, clean, torch.tensor([0.5])).dtype == torch.bfloat16


def test_the_loss_is_zero_at_the_true_velocity_and_grows_away_from_it():
    clean, noise = random(*SHAPE, seed=1), random(*SHAPE, seed=2)
    assert flow_loss(noise - clean, clean, noise) == 0
    assert flow_loss(noise - clean + 0.5, clean, noise) == pytest.approx(0.25)
    assert flow_loss(clean - noise, clean, noise) > 1


def test_the_loss_counts_every_latent_frame_alike():
    clean, noise = torch.zeros(1, 16, 4, 4, 4), torch.zeros(1, 16, 4, 4, 4)
    for frame in range(4):
        predicted = torch.zeros_like(clean)
        predicted[:, :, frame] = 1
        assert flow_loss(predicted, clean, noise) == pytest.approx(0.25)


def test_each_example_has_its_own_loss():
    clean, noise = random(2, *SHAPE[1:], seed=1), random(2, *SHAPE[1:], seed=2)
    predicted = noise - clean + torch.tensor([0.0, 0.5]).view(2, 1, 1, 1, 1)
    assert flow_loss(predicted, clean, noise).tolist() == pytest.approx([0.0, 0.25])


def test_the_loss_is_taken_in_float32():
    clean, noise = random(*SHAPE, seed=1).bfloat16(), random(*SHAPE, seed=2).bfloat16()
    assert flow_loss(noise - clean, clean, noise).dtype == torch.float32


# --- solvers ---------------------------------------------------------------------------------------------------------


@SOLVERS
@settings(deadline=None, max_examples=15)
@given(steps=st.integers(1, 40), shift=st.floats(0.5, 12))
def test_a_straight_line_is_walked_exactly_in_any_number_of_steps(solver, steps, shift):
    end, clean = straight_walk(solver, steps, shift)
    assert (end - clean).norm() < 1e-4 * clean.norm()


@SOLVERS
@pytest.mark.parametrize(("steps", "shift"), [(1100, 1.0), (300, 12.0)])
def test_steps_that_share_a_timestep_do_no_harm(solver, steps, shift):
    timesteps = make_scheduler(solver, steps=steps, shift=shift).timesteps.tolist()
    assert len(set(timesteps)) < steps
    end, clean = straight_walk(solver, steps, shift)
    assert (end - clean).norm() < 1e-3 * clean.norm()


@SOLVERS
def test_a_curved_path_is_followed_the_better_the_more_steps_there_are(solver):
    """Velocity of a Gaussian with standard deviation s: the exact end of x is s x."""
    s, start = 0.5, random(*SHAPE)

    def error(steps):
        scheduler = make_scheduler(solver, steps=steps, shift=1.0)

        def velocity(x, step):
            sigma = scheduler.sigmas[step]
            variance = (1 - sigma) ** 2 * s**2 + sigma**2
            return x * (sigma - (1 - sigma) * s**2) / variance

        end = sample(velocity, start, scheduler, lambda step, latents: latents)
        return float((end - s * start).norm() / start.norm())

    assert error(40) < 5e-3
    assert error(40) < 0.3 * error(8)


@SOLVERS
def test_what_the_callback_returns_goes_on(solver):
    clean, noise = random(*SHAPE, seed=1), random(*SHAPE, seed=2)
    scheduler = make_scheduler(solver, steps=4, shift=3.0)
    end = sample(
        lambda latents, step: noise - clean, noise, scheduler, lambda step, latents: clean if step == 3 else latents
    )
    assert torch.equal(end, clean)


@SOLVERS
def test_the_noise_is_left_as_it_was(solver):
    noise = random(*SHAPE)
    kept = noise.clone()
    sample(lambda latents, step: latents, noise, make_scheduler(solver, steps=3, shift=3.0), lambda step, x: x)
    assert torch.equal(noise, kept)
