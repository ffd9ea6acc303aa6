"""Train the network of `embedding.py`: `python -m magref.evaluation.measures.train_identity FOLDER`.

ArcFace (Deng et al. 2019): each identity of the training split has a direction of its own, and the angle between it and
each of its pictures is widened by a margin before a softmax over all identities. Every batch shows each of its
identities twice, and the same loss is taken with one picture as the direction of the other: the directions of thousands
of identities are learnt slowly, each from few pictures. A run that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from magref.evaluation.measures.crops import Stock, make_stock, random_crops
from magref.evaluation.measures.embedding import DIMENSIONS, IdentityNet
from magref.outputs import writing
from magref.synthetic.splits import nth_identity
from magref.training.muon import Muon


@dataclass(frozen=True)
class IdentityRecipe:
    """Everything that decides the weights."""

    identities: int = 3000
    views: int = 10
    places: int = 600
    batch: int = 128
    """Pictures; half as many identities."""
    steps: int = 3200
    learning_rate: float = 3e-3
    scale: float = 24.0
    margin: float = 0.3
    """In radians; grows from zero over the first third of the steps."""
    warmup_steps: int = 40
    seed: int = 0


def arcface(
    features: torch.Tensor, directions: torch.Tensor, labels: torch.Tensor, *, scale: float, margin: float
) -> torch.Tensor:
    """The loss: (B, D) unit vectors, (N, D) directions of any length, (B,) which of the N."""
    cosine = (features @ F.normalize(directions, dim=1).T).clamp(-1 + 1e-6, 1 - 1e-6)  # (B, N)
    own = cosine.gather(1, labels[:, None])
    angle = torch.acos(own) + margin
    widened = torch.where(angle < math.pi, torch.cos(angle), own - margin * math.sin(margin))
    return F.cross_entropy(scale * cosine.scatter(1, labels[:, None], widened), labels)


def batch_of(stock: Stock, recipe: IdentityRecipe, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and labels of a step: each depends on the seed and the step alone."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    labels = torch.randperm(len(stock.tiles), generator=generator)[: recipe.batch // 2].repeat(2)
    views = torch.randint(stock.tiles.shape[1], (recipe.batch,), generator=generator)
    return random_crops(stock, labels, views, generator), labels


def train(recipe: IdentityRecipe, folder: Path, *, save_every: int = 100) -> IdentityNet:
    """Train, or go on from `folder/checkpoint.pt`."""
    torch.manual_seed(recipe.seed)
    net = IdentityNet()
    directions = torch.nn.Parameter(torch.randn(recipe.identities, DIMENSIONS) * 0.1)
    kernels = [p for p in net.parameters() if p.ndim >= 2]
    others = [p for p in net.parameters() if p.ndim < 2]
    optimizers = [
        Muon(kernels, lr=recipe.learning_rate, weight_decay=0.02),
        torch.optim.AdamW([*others, directions], lr=recipe.learning_rate, weight_decay=0.0),
    ]
    first = 0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        first = state["step"]
        net.load_state_dict(state["net"])
        directions.data.copy_(state["directions"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
    identities = [nth_identity("train", n) for n in range(recipe.identities)]
    stock = make_stock(identities, recipe.views, places=recipe.places, seed=recipe.seed)
    started = time.monotonic()
    for step in range(first, recipe.steps):
        share = step / recipe.steps
        rate = min(1.0, (step + 1) / recipe.warmup_steps, (1 - share) / 0.45)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * rate
        pictures, labels = batch_of(stock, recipe, step)
        margin = recipe.margin * min(1.0, 3 * share)
        features = net(pictures)
        loss = arcface(features, directions, labels, scale=recipe.scale, margin=margin)
        first_half, second_half = features.chunk(2)
        pairs = torch.arange(len(first_half))
        near = arcface(first_half, second_half, pairs, scale=recipe.scale, margin=margin)
        (loss + near).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        done = step + 1
        if done % 20 == 0:
            pace = (time.monotonic() - started) / (done - first)
            print(
                f"step {done}  loss {float(loss.detach()):.3f}  pairs {float(near.detach()):.3f}  {pace:.2f} s/step",
                flush=True,
            )
        if done % save_every == 0 or done == recipe.steps:
            kept = {
                "step": done, "net": net.state_dict(), "directions": directions.detach(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            }  # fmt: skip
            with writing(checkpoint, overwrite=True) as temporary:
                torch.save(kept, temporary)
    return net.eval()


def export(net: torch.nn.Module, path: Path, about: dict[str, str]) -> None:
    """The weights in half precision, with what they were made with."""
    state = {name: value.half().contiguous() for name, value in net.state_dict().items() if value.is_floating_point()}
    with writing(path, overwrite=True) as temporary:
        save_file(state, temporary, metadata=about)


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.measures.train_identity", description=__doc__)
    parser.add_argument("folder", type=Path, help="the checkpoint and the weights")
    parser.add_argument("--steps", type=int, default=IdentityRecipe.steps)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = IdentityRecipe(steps=options.steps)
    net = train(recipe, options.folder)
    export(net, options.folder / "identity.safetensors", {"recipe": repr(recipe)})


if __name__ == "__main__":
    main()
