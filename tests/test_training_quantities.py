"""What a step and a validation do, read where it happens: gradients, rates, norms, precision, noise, averages."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from magref.flow import TRAIN_TIMESTEPS, add_noise, shifted
from magref.training import trainer as trainer_module
from magref.training.batches import Drawn
from magref.training.objective import Objective
from magref.training.optim import learning_rate
from magref.training.parallel import Team
from magref.training.setup import prepare
from magref.training.trainer import Run
from magref.training.validation import NOISE_LEVELS
from training_data import make_recipe

CPU = Team(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def start(base, dataset, tmp_path_factory):
    """Begin a run with changes of the recipe."""

    def start(*changes: str) -> Run:
        return Run(prepare(make_recipe(base, dataset, *changes)), tmp_path_factory.mktemp("run") / "run", CPU)

    return start


@pytest.fixture(scope="module")
def plain(start):
    """A run that no test changes."""
    return start()


@pytest.fixture(scope="module")
def examples(plain):
    return [plain.source.example(plain.source.read(Drawn(f"s{n}", n, ()))) for n in range(4)]


def gradients(run, passes, number=0):
    """Those that the optimizer sees in one step, by name; and what the step returned."""
    seen = {}

    def look(*_):
        seen.update({name: p.grad.clone() for name, p in run.transformer.named_parameters() if p.grad is not None})

    hook = run.optimizers[0].register_step_pre_hook(look)
    result = run.step(number, passes, stopping=False)
    hook.remove()
    return seen, result


def total_norm(tensors):
    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


class TestStep:
    def test_the_gradients_of_several_passes_are_those_of_one_large_batch(self, start, examples):
        run = start("optim.clip_norm=1e9", "optim.ema=0", "optim.learning_rate=1e-30")
        whole, (loss, norm, _) = gradients(run, [examples])
        parts, (same_loss, same_norm, _) = gradients(run, [examples[:2], examples[2:]])
        assert same_loss == pytest.approx(loss, rel=1e-5)
        assert same_norm == pytest.approx(norm, rel=1e-4)
        assert whole.keys() == parts.keys()
        for name, gradient in whole.items():
            assert torch.allclose(gradient, parts[name], rtol=1e-3, atol=1e-6), name

    def test_the_gradient_is_clipped_to_the_recipes_norm_and_the_norm_before_is_told(self, start, examples):
        run = start("optim.clip_norm=1e-3")
        clipped, (_, norm, _) = gradients(run, [examples[:2]])
        assert total_norm(clipped.values()) == pytest.approx(1e-3, rel=1e-2)
        assert norm > 0.1

    def test_each_step_has_its_own_learning_rate_and_moves_the_weights_by_it(self, start, examples):
        run = start("optim.warmup_steps=100", "optim.weight_decay=0")
        for number in (0, 40):
            before = copy.deepcopy(run.transformer.state_dict())
            rates = []
            hook = run.optimizers[0].register_step_pre_hook(
                lambda optimizer, *_, rates=rates: rates.append(optimizer.param_groups[0]["lr"])
            )
            run.optimizers[0].state.clear()  # without a past, AdamW moves every weight by the rate
            run.step(number, [examples[:2]], stopping=False)
            hook.remove()
            rate = 1e-3 * (number + 1) / 100
            assert rates == [pytest.approx(rate)] == [learning_rate(run.recipe.optim, number)]
            moved = max(float((p - before[name]).abs().max()) for name, p in run.transformer.state_dict().items())
            assert moved == pytest.approx(rate, rel=1e-2)

    def test_the_betas_are_the_recipes(self, start, examples):
        run = start("optim.betas=[0.8, 0.95]")
        seen, _ = gradients(run, [examples[:2]])
        state = run.optimizers[0].state[run.transformer.proj_out.weight]
        gradient = seen["proj_out.weight"]
        assert torch.allclose(state["exp_avg"], 0.2 * gradient, rtol=1e-4)
        assert torch.allclose(state["exp_avg_sq"], 0.05 * gradient.square(), rtol=1e-4)

    @pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
    def test_the_layers_compute_in_the_recipes_precision_on_weights_in_float32(self, start, examples, precision, dtype):
        run = start(f"optim.precision={precision}")
        seen = []
        layer = run.transformer.blocks[0].attn1.to_q
        layer.register_forward_hook(lambda module, inputs, output: seen.append((module.weight.dtype, output.dtype)))
        run.objective.loss(examples[:1])
        assert seen == [(torch.float32, dtype)]

    def test_the_noise_levels_move_by_the_recipes_flow_shift(self, start):
        levels = {}
        for shift in (1, 8):
            run = start(f"objective.flow_shift={shift}")
            example = run.source.example(run.source.read(Drawn("s0", 3, ())))
            seen = []
            run.transformer.register_forward_pre_hook(
                lambda module, args, kwargs, seen=seen: seen.append(kwargs["timestep"]), with_kwargs=True
            )
            with torch.no_grad():
                for seed in range(8):
                    run.objective.loss([trainer_module.Example(**{**vars(example), "seed": seed})])
            levels[shift] = torch.cat(seen) / TRAIN_TIMESTEPS
        assert torch.allclose(levels[8], shifted(levels[1], 8.0), rtol=1e-4)
        assert levels[1].std() > 0.1

    def test_the_recipes_flow_shift_is_the_models_where_it_names_none(self, plain):
        assert plain.objective.flow_shift == plain.setting.base.defaults.flow_shift


class Attentions(TorchDispatchMode):
    """Counts how often attention is computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += str(function).startswith("aten._scaled_dot_product") and "backward" not in str(function)
        return function(*arguments, **(keywords or {}))


class TestCheckpointing:
    @pytest.mark.parametrize(
        ("kind", "feed_forwards", "attentions"), [("none", 1, 3), ("selective", 2, 5), ("full", 2, 6)]
    )
    def test_blocks_are_computed_again_and_self_attention_only_where_all_is(
        self, start, examples, kind, feed_forwards, attentions
    ):
        run = start(f"optim.checkpointing={kind}")
        calls = Counter()
        for number, block in enumerate(run.transformer.blocks):
            block.ffn.register_forward_hook(lambda *_, number=number: calls.update([number]))
        with Attentions() as counted:
            run.objective.loss(examples[:1]).backward()
        blocks = len(run.transformer.blocks)
        assert calls == dict.fromkeys(range(blocks), feed_forwards)
        assert counted.count == attentions * blocks  # of a block: over itself, the text and the image


class TestCompiling:
    @pytest.mark.parametrize("wanted", [True, False])
    def test_the_blocks_are_compiled_where_the_recipe_says_so(self, start, monkeypatch, wanted):
        monkeypatch.setattr("shutil.which", lambda name: name)
        run = start(f"optim.compile={str(wanted).lower()}", "optim.steps=1")
        calls = []
        with torch.compiler.set_stance("force_eager"):  # what would be compiled is told, and left as it is
            monkeypatch.setattr(torch, "compile", lambda function, **_: calls.append(1) or function)
            run.go(lambda step, figures: None)
        compiled = [block._compiled_call_impl is not None for block in run.transformer.blocks]
        assert compiled == [wanted] * len(compiled)


class TestValidation:
    CHANGES = ("validation.samples=2", "validation.every=2", "validation.videos=0")

    def test_what_is_held_out_is_never_trained_on(self, start, monkeypatch):
        seen = {True: set(), False: set()}
        genuine = Objective.loss

        def loss(self, examples, sigma=None):
            seen[sigma is None].update(example.name for example in examples)
            return genuine(self, examples, sigma)

        monkeypatch.setattr(Objective, "loss", loss)
        run = start(*self.CHANGES)
        run.go(lambda step, figures: None)
        assert seen[True] == {"s2", "s3", "s4", "s5"}
        assert seen[False] == {"s0", "s1"}

    @pytest.mark.parametrize("ema", [0.9, 0.0])
    def test_its_loss_is_of_the_averages_at_fixed_levels_and_noise(self, start, plain, ema):
        run = start(*self.CHANGES, f"optim.ema={ema}", "optim.steps=2", "optim.learning_rate=1e-2")
        beginning = copy.deepcopy(plain.transformer.state_dict())
        if run.averages is not None:
            run.averages.update = lambda step: None  # they stay the weights of the beginning
        told = []
        run.go(lambda step, figures: told.append(figures.get("validation_loss")))
        compared = start(*self.CHANGES)
        compared.transformer.load_state_dict(beginning if ema else run.transformer.state_dict())
        compared.models.eval()
        losses = []
        for number, (name, _) in enumerate(run.held_out):
            example = compared.source.example(compared.source.read(Drawn(name, number, ())), dropout=False)
            generator = torch.Generator().manual_seed(number)
            torch.randn(1, generator=generator)  # the level that would have been drawn
            noise = torch.randn(example.clean.shape, generator=generator)
            for level in NOISE_LEVELS:
                sigma = torch.tensor([level])
                noisy = add_noise(example.clean, noise, sigma)
                with torch.no_grad():
                    velocity = compared.objective.velocity(noisy, sigma, example.conditioning, [example.text])
                losses.append(float((velocity - (noise - example.clean)).square().mean()))
        assert [value for value in told if value is not None] == [pytest.approx(sum(losses) / len(losses), rel=1e-4)]
        if ema:
            assert not torch.equal(run.transformer.proj_out.weight, beginning["proj_out.weight"])

    def test_what_a_caption_is_worth_is_measured_from_noise_alone_against_the_next_ones(self, start):
        run = start(*self.CHANGES, "optim.ema=0", "optim.steps=2", "optim.learning_rate=1e-30")
        told = []
        run.go(lambda step, figures: told.append(figures.get("caption_gain")))
        examples = [
            run.source.example(run.source.read(Drawn(name, number, ())), dropout=False)
            for number, (name, _) in enumerate(run.held_out)
        ]
        gains = []
        with torch.no_grad():
            for example, other in zip(examples, [*examples[1:], examples[0]], strict=True):
                swapped = dataclasses.replace(example, text=other.text)
                right, wrong = (float(run.objective.loss([each], sigma=1.0)) for each in (example, swapped))
                gains.append(wrong - right)
        assert len(gains) > 1
        assert max(map(abs, gains)) > 0
        assert [value for value in told if value is not None] == [pytest.approx(sum(gains) / len(gains), abs=1e-6)]

    def test_the_loss_depends_on_the_level(self, plain, examples):
        with torch.no_grad():
            low, high = (plain.objective.loss(examples[:1], sigma=level) for level in (0.1, 0.9))
        assert low != pytest.approx(float(high), rel=1e-2)
