"""Train the network of `finder.py`: `python -m magref.evaluation.measures.train_finder FOLDER`.

It learns from frames of the training split and the boxes around what is visible in them. A run that was stopped goes on
from its checkpoint.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from magref.evaluation.measures.degrade import degraded
from magref.evaluation.measures.finder import HEIGHT_PX, STRIDE, FinderNet
from magref.evaluation.measures.train_identity import export
from magref.outputs import writing
from magref.synthetic.plans import WorldConfig
from magref.synthetic.world import render_scenes
from magref.training.muon import Muon

WIDTH_PX = 96
_LEAST_VISIBLE = 0.25
"""Of whom less is to be seen counts neither as found nor as missed."""


@dataclass(frozen=True)
class FinderRecipe:
    """Everything that decides the weights."""

    scenes: int = 3600
    frames: int = 5
    batch: int = 48
    steps: int = 4600
    learning_rate: float = 3e-3
    smallest: float = 0.35
    warmup_steps: int = 40
    seed: int = 0


@dataclass(frozen=True)
class Frames:
    """N frames: `pixels` (N, 3, H, W) uint8, `boxes` (N, K, 4) in pixels, `seen` (N, K) the visible share, 0: none."""

    pixels: torch.Tensor
    boxes: torch.Tensor
    seen: torch.Tensor


def make_frames(recipe: FinderRecipe, *, split: str = "train", chunk: int = 24) -> Frames:
    """Frames of the world, and every scene's background without subjects, where nothing is to be found."""
    config = WorldConfig(references=1, reference_px=16)
    pixels, boxes, seen = [], [], []
    for start in range(0, recipe.scenes, chunk):
        indices = range(start, min(start + chunk, recipe.scenes))
        scenes = render_scenes(
            indices, frames=recipe.frames, height=HEIGHT_PX, width=WIDTH_PX, seed=recipe.seed + 101, split=split,
            config=config,
        )  # fmt: skip
        nothing = torch.zeros(len(indices), 1, config.max_subjects)
        pixels.append(torch.cat([scenes.frames, scenes.backgrounds[:, None]], dim=1).flatten(0, 1))
        boxes.append(
            torch.cat([scenes.boxes.transpose(1, 2), nothing[..., None].expand(-1, -1, -1, 4)], dim=1).flatten(0, 1)
        )
        seen.append(torch.cat([scenes.visible.transpose(1, 2), nothing], dim=1).flatten(0, 1))
    return Frames(torch.cat(pixels), torch.cat(boxes).float(), torch.cat(seen))


def targets(boxes: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the network is to say of frames with these boxes (B, K, 4).

    Returns:
        The heat (B, h, w), 1 at middles and falling around them; what each cell is to say of its subject's box
        (B, 4, h, w); where that counts; and where the heat counts (B, h, w).
    """
    rows, columns = torch.arange(HEIGHT_PX // STRIDE) + 0.5, torch.arange(WIDTH_PX // STRIDE) + 0.5
    x, y = ((boxes[..., n] + boxes[..., n + 2]) / 2 / STRIDE for n in (0, 1))  # (B, K), in cells
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)
    dx, dy = columns - x[..., None, None], rows[:, None] - y[..., None, None]  # (B, K, h, w) by broadcasting
    spread = (size / STRIDE * 0.13).clamp(min=0.6)
    heat = torch.exp(-((dx / spread[..., :1, None]).square() + (dy / spread[..., 1:, None]).square()) / 2)
    middle = (dx.abs() <= 0.5) & (dy.abs() <= 0.5)
    heat = torch.where(middle, 1.0, heat)
    there = (seen >= _LEAST_VISIBLE)[..., None, None]
    doubtful = ((seen > 0) & (seen < _LEAST_VISIBLE))[..., None, None]
    counted = ~((heat > 0.3) & doubtful).any(dim=1)
    heat = heat * there
    best, owner = heat.max(dim=1)  # (B, h, w)
    # Of the box speak the middle's cell and its neighbours.
    values = torch.stack(
        [
            (size[..., 0] / HEIGHT_PX).log()[..., None, None].expand_as(heat),
            (size[..., 1] / HEIGHT_PX).log()[..., None, None].expand_as(heat),
            0.5 - dx.expand_as(heat),
            0.5 - dy.expand_as(heat),
        ],
        dim=2,
    )  # (B, K, 4, h, w)
    near = (heat > 0) & (dx.abs() <= 1.5) & (dy.abs() <= 1.5)
    spoken = near.gather(1, owner[:, None])[:, 0]
    chosen = values.gather(1, owner[:, None, None].expand(-1, 1, 4, -1, -1))[:, 0]
    return best, chosen, spoken, counted


def finder_loss(maps: torch.Tensor, boxes: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The focal loss of the heat (Zhou et al. 2019, "Objects as points") and the absolute error of the boxes."""
    heat, values, spoken, counted = targets(boxes, seen)
    middle = heat == 1
    chance = maps[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = -(1 - chance).square() * chance.log() * middle
    miss = -chance.square() * (1 - chance).log() * (1 - heat) ** 4 * ~middle
    count = middle.sum().clamp(min=1)
    error = (maps[:, 1:] - values).abs() * spoken[:, None]
    return ((hit + miss) * counted).sum() / count + error.sum() / spoken.sum().clamp(min=1)


def batch_of(frames: Frames, recipe: FinderRecipe, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures, boxes and visible shares of a step: each depends on the seed and the step alone."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    rows = torch.randint(len(frames.pixels), (recipe.batch,), generator=generator)
    pictures, boxes, seen = frames.pixels[rows].float() / 255, frames.boxes[rows], frames.seen[rows]
    mirrored = torch.rand(recipe.batch, generator=generator) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
    flipped = torch.stack([WIDTH_PX - boxes[..., 2], boxes[..., 1], WIDTH_PX - boxes[..., 0], boxes[..., 3]], dim=-1)
    boxes = torch.where(mirrored[:, None, None], flipped, boxes)
    return degraded(pictures, generator, smallest=recipe.smallest), boxes, seen


def train(recipe: FinderRecipe, folder: Path, *, save_every: int = 100) -> FinderNet:
    """Train, or go on from `folder/checkpoint.pt`."""
    torch.manual_seed(recipe.seed)
    net = FinderNet()
    last = net.head[-1]
    kernels = [p for p in net.parameters() if p.ndim >= 2 and p is not last.weight]
    others = [p for p in net.parameters() if p.ndim < 2 or p is last.weight]
    optimizers = [
        Muon(kernels, lr=recipe.learning_rate, weight_decay=0.02),
        torch.optim.AdamW(others, lr=recipe.learning_rate, weight_decay=0.0),
    ]
    first = 0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        first = state["step"]
        net.load_state_dict(state["net"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
    frames = make_frames(recipe)
    started = time.monotonic()
    for step in range(first, recipe.steps):
        rate = min(1.0, (step + 1) / recipe.warmup_steps, (1 - step / recipe.steps) / 0.45)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * rate
        pictures, boxes, seen = batch_of(frames, recipe, step)
        loss = finder_loss(net(pictures), boxes, seen)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        done = step + 1
        if done % 20 == 0:
            pace = (time.monotonic() - started) / (done - first)
            print(f"step {done}  loss {float(loss.detach()):.3f}  {pace:.2f} s/step", flush=True)
        if done % save_every == 0 or done == recipe.steps:
            kept = {"step": done, "net": net.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
            with writing(checkpoint, overwrite=True) as temporary:
                torch.save(kept, temporary)
    return net.eval()


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.measures.train_finder", description=__doc__)
    parser.add_argument("folder", type=Path, help="the checkpoint and the weights")
    parser.add_argument("--steps", type=int, default=FinderRecipe.steps)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = FinderRecipe(steps=options.steps)
    net = train(recipe, options.folder)
    export(net, options.folder / "finder.safetensors", {"recipe": repr(recipe)})


if __name__ == "__main__":
    main()
