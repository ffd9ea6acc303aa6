"""A training step at the nano size, against a plain loop over diffusers' transformer with PyTorch's AdamW.

Both sides take the same encoded examples, the same noise and noise levels and the same precision, and end in the same
loss, which is compared first. Ours is the trainer's own step, data from the cache included; theirs has its tensors
ready.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import torch

from magref.flow import TRAIN_TIMESTEPS, add_noise
from magref.placement import choose_dtype
from magref.synthetic.samples import SampleSettings, write_samples
from magref.training.batches import Loader
from magref.training.encoding import pad_texts, stack_conditioning
from magref.training.objective import Example, _draw
from magref.training.parallel import Team
from magref.training.recipe import Recipe, read_recipe
from magref.training.setup import make_cache, prepare
from magref.training.trainer import Run
from pairs import describe_machine, measure, print_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--no-compile", action="store_true", help="leave torch's compiler out on our side")
    parser.add_argument("--threads", type=int, help="of PyTorch; none: its own choice")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        team = Team.join(arguments.device)
        compare(Path(folder), arguments.batch, arguments.pairs, team, compiled=not arguments.no_compile)


def compare(folder: Path, batch: int, pairs: int, team: Team, *, compiled: bool) -> None:
    recipe = make_recipe(folder, batch, team.device, compiled=compiled)
    list(write_samples(folder / "world", SampleSettings(fps=8.0), count=3 * batch))
    make_cache(recipe, on_sample=lambda name, problem: None)
    ours = Run(prepare(recipe), folder / "ours", team)
    theirs = Run(prepare(recipe), folder / "theirs", team)
    if compiled:
        ours.transformer.compile_repeated_blocks()
    loader = Loader(ours.order, 0, ours.source.read, lambda name, reason: None, workers=2)
    steps = iter(loader.steps(0, 10**6))
    fixed = [theirs.source.example(read, dropout=False) for read in next(steps)[0]]
    with torch.no_grad():
        difference = abs(float(ours.objective.loss(fixed)) / float(plain_loss(theirs, fixed)) - 1)
    print(describe_machine())
    if team.device.type == "cuda":
        print(torch.cuda.get_device_name(team.device))
    print(
        f"{batch} samples, {'compiled' if compiled else 'not compiled'}; the losses differ by {difference:.1e} relative"
    )
    optimizer = torch.optim.AdamW(theirs.models.parameters(), lr=1e-5)
    number = 0

    def our_step() -> None:
        nonlocal number
        examples = [ours.source.example(read) for read in next(steps)[0]]
        ours.step(number, [examples], stopping=False)
        number += 1
        finish(team.device)

    def their_step() -> None:
        optimizer.zero_grad()
        plain_loss(theirs, fixed).backward()
        torch.nn.utils.clip_grad_norm_(theirs.models.parameters(), 1.0)
        optimizer.step()
        finish(team.device)

    print_table("training step", [("trainer", "plain loop", *measure(our_step, their_step, pairs), 0.8)])
    waited, begun = loader.waited_s, time.perf_counter()
    for _ in range(pairs):
        our_step()
    elapsed = time.perf_counter() - begun
    share = (loader.waited_s - waited) / elapsed
    rate = pairs * batch / elapsed
    print(f"waiting for data from the cache: {share:.1%} of {pairs} steps (aim: 20% at most), {rate:.1f} clips/s")


def finish(device: torch.device) -> None:
    """Wait for a GPU, whose work would else fall to the other side."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_loss(run: Run, examples: list[Example]) -> torch.Tensor:
    """Flow matching as anyone would write it over diffusers' transformer."""
    device = run.team.device
    clean = torch.cat([example.clean for example in examples]).to(device)
    drawn = [_draw(example, run.setting.defaults.flow_shift, run.recipe.objective.level_spread) for example in examples]
    noise, sigmas = (torch.cat(parts).to(device) for parts in zip(*drawn, strict=True))
    guidance = stack_conditioning([example.conditioning for example in examples]).guidance.to(device)
    texts = [example.text.to(device) for example in examples if isinstance(example.text, torch.Tensor)]
    with torch.autocast(device.type, torch.bfloat16, enabled=run.objective.bf16):
        predicted = run.transformer(
            hidden_states=torch.cat([add_noise(clean, noise, sigmas), guidance], dim=1),
            timestep=sigmas * TRAIN_TIMESTEPS,
            encoder_hidden_states=pad_texts(texts, run.encoders.text_tokens),
            return_dict=False,
        )[0]
    return torch.nn.functional.mse_loss(predicted.float(), noise - clean)


def make_recipe(folder: Path, batch: int, device: torch.device, *, compiled: bool) -> Recipe:
    changes = {
        "data.dataset": folder / "world",
        "data.cache": folder / "latents",
        "data.canvases": 1,
        "optim.batch": batch,
        "optim.optimizer": "adamw",
        "optim.precision": "bf16" if choose_dtype(device) is torch.bfloat16 else "fp32",
        "optim.ema": 0,
        "optim.compile": str(compiled).lower(),
        "validation.samples": 0,
        "loggers": "[]",
    }
    return read_recipe("nano", [f"{key}={value}" for key, value in changes.items()])


if __name__ == "__main__":
    main()
