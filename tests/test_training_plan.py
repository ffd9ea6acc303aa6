"""What a run would take, before it is begun: work, time and memory from sizes alone."""

from __future__ import annotations

import pytest
from rich.console import Console

from magref.checkpoints.architecture import magref_14b_config
from magref.cli import main
from magref.errors import InputError, ResourceError
from magref.sizes import forward_flops, linear_flops
from magref.training.plan import RunPlan, plan_run, plan_table
from magref.training.recipe import read_recipe


def shown(plan: RunPlan) -> str:
    console = Console(width=160)
    with console.capture() as text:
        console.print(plan_table(plan))
    return text.get()


def test_the_published_sizes_give_the_published_work():
    plan = plan_run(read_recipe("14b-32gpu"), gpu="h100", gpus=32)
    assert plan.parameters == 16_394_878_784
    assert plan.tokens == 32_760
    assert forward_flops(magref_14b_config(), 32_760, 512) == pytest.approx(1686.4e12, rel=1e-3)
    assert plan.step_flops == pytest.approx(32 * 5.06e15, rel=1e-2)
    assert sum(plan.memory_bytes[name] for name in ("weights", "gradients", "optimizer")) == pytest.approx(
        8.2e9, rel=1e-2
    )


def test_what_is_kept_for_the_backward_pass():
    kept = {
        kind: plan_run(read_recipe("14b-32gpu", [f"optim.checkpointing={kind}"]), gpu="h100", gpus=32).memory_bytes
        for kind in ("full", "selective")
    }
    inputs = 40 * 32_760 * 5120 * 2  # of each block; what its self-attention gives is as large
    assert kept["selective"]["activations"] - kept["full"]["activations"] == inputs


def test_a_lora_computes_no_gradients_of_the_weights_that_it_freezes():
    plan = plan_run(read_recipe("14b-lora-1gpu"), gpu="h100", gpus=1)
    config, samples = magref_14b_config(), plan.samples_per_step
    whole, linear = (count(config, plan.tokens, 512) for count in (forward_flops, linear_flops))
    assert plan.step_flops == samples * (2 * linear + 3 * (whole - linear))


def test_the_references_of_a_token_wise_model_are_tokens_too():
    plan = plan_run(read_recipe("14b-32gpu", ["model.mechanism=tokenwise"]), gpu="h100", gpus=32)
    assert plan.tokens == 32_760 + 4 * 1560
    assert "at most 39,000 tokens" in shown(plan)


def test_the_rate_is_that_of_bfloat16():
    plans = (plan_run(read_recipe("nano", [f"optim.precision={p}"]), gpu="h100", gpus=1) for p in ("bf16", "fp32"))
    assert ["in bfloat16; fp32 takes longer" in shown(plan) for plan in plans] == [False, True]


@pytest.mark.parametrize(
    ("recipe", "changes", "sentence"),
    [
        ("nano", [], "muon runs in one process alone; set optim.optimizer to adamw"),
        ("14b-lora-1gpu", ["model.lora.quantize=int8"], "8-bit weights cannot be spread over processes"),
    ],
)
def test_what_a_run_refuses_is_not_planned(recipe, changes, sentence):
    with pytest.raises(ResourceError, match=sentence):
        plan_run(read_recipe(recipe, changes), gpu="h100", gpus=8)


def test_all_weights_do_not_fit_on_one_gpu_and_a_lora_does():
    assert not plan_run(read_recipe("14b-32gpu"), gpu="h200", gpus=1).fits
    assert plan_run(read_recipe("14b-lora-1gpu"), gpu="h100", gpus=1).fits


def test_encoders_lie_on_the_processor_without_a_cache_and_beside_it_with_one():
    changes = ["data.cache=null"]
    encoding, cached = (plan_run(read_recipe("14b-lora-1gpu", c), gpu="h100", gpus=1) for c in (changes, []))
    wan21 = 4 * 126_892_531 + 2 * (5_680_910_336 + 630_766_080)  # the VAE in float32, umT5-xxl and CLIP in bfloat16
    assert encoding.memory_bytes["encoders"] == cached.idle_bytes == wan21
    silent = plan_run(read_recipe("14b-lora-1gpu", ["validation.videos=0"]), gpu="h100", gpus=1)
    assert encoding.idle_bytes == silent.idle_bytes == 0
    assert sum(encoding.memory_bytes.values()) == sum(cached.memory_bytes.values()) + wan21


def test_encoders_from_beside_count_where_they_are_larger_than_the_activations_they_come_after():
    small = read_recipe("14b-lora-1gpu", ["data.frames=[5]", "data.sizes=[[256, 256]]"])
    plan = plan_run(small, gpu="h100", gpus=1)
    assert plan.memory_bytes["encoders, while videos are generated"] == plan.idle_bytes
    assert "activations" not in plan.memory_bytes


def test_a_text_encoder_that_is_trained_is_counted_with_what_is_trained():
    trained, frozen = (
        plan_run(read_recipe("nano", [f"model.text_encoder={value}", "optim.precision=fp32"]), gpu="cpu", gpus=1)
        for value in ("true", "false")
    )
    own = trained.trained - frozen.trained
    assert own == trained.parameters - frozen.parameters == (frozen.idle_bytes - trained.idle_bytes) / 4 > 0
    assert trained.memory_bytes["gradients"] == 4 * trained.trained


def test_the_command_prints_it_and_loads_nothing(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "14b-32gpu", "--plan", "--gpus", "32"])
    assert ended.value.code == 0
    text = capsys.readouterr().err
    assert "16,394,878,784" in text
    assert "samples a day" in text


def test_an_unknown_processor():
    with pytest.raises(InputError, match="the processor 'abacus' is unknown; use one of h100"):
        plan_run(read_recipe("nano"), gpu="abacus", gpus=1)
