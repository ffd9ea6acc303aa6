"""One video on several GPUs under torchrun: its tokens are shared out (Ulysses), or the two passes of guidance.

Sharing tokens, every process holds the whole transformer and a part of the sequence. All but self-attention looks at
one token at a time; for self-attention the processes exchange tokens for heads, so that each attends over the whole
sequence with a part of the heads (DeepSpeed Ulysses, arXiv 2309.14509). It is the fast denoiser's own arithmetic that
is shared; diffusers' context parallelism, which knows rings too, runs through its hooks in the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F

from magref.errors import InputError

Parallel = Literal["ulysses", "guidance"]
"""ulysses: all processes share the tokens of both passes. guidance: one half of them makes the conditional pass, the
other the unconditional one, and each half shares that pass's tokens."""

Denoise = Callable[[torch.Tensor, int], list[torch.Tensor]]
"""Latents and step -> the velocity of each text."""


@dataclass(frozen=True)
class TokenShare:
    """The part of one sequence that this process holds; every process of `group` holds as many tokens."""

    group: Any
    rank: int
    world: int

    def own(self, x: torch.Tensor, dim: int) -> torch.Tensor:
        """The process's part of all tokens along `dim`; zeros fill up the last one's."""
        tokens = x.shape[dim]
        part = -(-tokens // self.world)
        first = min(self.rank * part, tokens)
        kept = x.narrow(dim, first, min(part, tokens - first))
        return F.pad(kept, (0, 0) * (x.ndim - dim - 1) + (0, part - kept.shape[dim])).contiguous()

    def whole(self, x: torch.Tensor, tokens: int) -> torch.Tensor:
        """All tokens (B, S, C) from every process's part (B, s, C)."""
        parts = [torch.empty_like(x) for _ in range(self.world)]
        dist.all_gather(parts, x.contiguous(), group=self.group)
        return torch.cat(parts, 1)[:, :tokens]

    def attention(
        self,
        attend: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        tokens: int,
    ) -> torch.Tensor:
        """Attention over the whole sequence of `tokens`, of (B, s, heads, d) each -> (B, s, heads, d)."""
        together = torch.stack([query, key, value])  # (3, B, s, heads, d)
        mine = together.unflatten(3, (self.world, -1)).movedim(3, 0)  # (n, 3, B, s, heads / n, d)
        mine = self._exchanged(mine).movedim(0, 2).flatten(2, 3)[:, :, :tokens]  # (3, B, S, heads / n, d)
        out = attend(*mine.unbind(0))
        part = query.shape[1]
        out = F.pad(out, (0, 0, 0, 0, 0, part * self.world - tokens)).unflatten(1, (self.world, part))
        return self._exchanged(out.movedim(1, 0)).movedim(0, 2).flatten(2, 3)

    def _exchanged(self, x: torch.Tensor) -> torch.Tensor:
        """Entry i of the first dimension goes to process i; what comes from process i is its entry i."""
        x = x.contiguous()
        out = torch.empty_like(x)
        dist.all_to_all_single(out, x, group=self.group)
        return out


@dataclass(frozen=True)
class Spread:
    """What a process does of the sampling: the tokens that it shares with others, and the pass that it makes.

    `passes` is the group of the processes with the same tokens in the two halves, `half` 0 or 1 in it; None where
    every process makes both passes.
    """

    share: TokenShare | None
    passes: Any = None
    half: int = 0

    @classmethod
    def over(cls, kind: str, heads: int) -> Spread:
        """Over all processes that torchrun started; to be called in all of them.

        Raises:
            InputError: the number of processes does not suit the way or the transformer's heads.
        """
        world = dist.get_world_size() if dist.is_initialized() else 1
        check_processes(kind, world)
        halves = 2 if kind == "guidance" else 1
        sharing = world // halves
        if heads % sharing:
            fitting = " or ".join(str(n * halves) for n in range(2, heads + 1) if heads % n == 0)
            raise InputError(f"{heads} heads cannot be shared by {sharing} processes; use {fitting} processes")
        half, place = divmod(dist.get_rank(), sharing)
        # Every process takes part in making every group.
        sequences = [dist.new_group(list(range(h * sharing, (h + 1) * sharing))) for h in range(halves)]
        opposites = [dist.new_group([p + h * sharing for h in range(halves)]) for p in range(sharing)]
        share = TokenShare(sequences[half], place, sharing) if sharing > 1 else None
        return cls(share, opposites[place] if halves == 2 else None, half)

    def denoiser(self, make: Callable[[Sequence[torch.Tensor]], Denoise], texts: Sequence[torch.Tensor]) -> Denoise:
        """What gives every process the velocities of all texts; `make` makes a denoiser of some of them."""
        if self.passes is None or len(texts) == 1:
            return make(texts)
        own = make(texts[self.half :: 2])

        def denoise(latents: torch.Tensor, step: int) -> list[torch.Tensor]:
            velocity = torch.cat(own(latents, step)).contiguous()
            both = [torch.empty_like(velocity) for _ in range(2)]
            dist.all_gather(both, velocity, group=self.passes)
            return both

        return denoise


def first_seed(seed: int, device: torch.device) -> int:
    """The first process's seed, in all of them; where none was given each has drawn another."""
    told = torch.tensor(seed, device=device)
    dist.broadcast(told, 0)
    return int(told)


def check_processes(kind: str, world: int) -> None:
    """Raise InputError unless so many processes can share videos in this way."""
    if kind not in get_args(Parallel):
        raise InputError(f"parallel way {kind!r} is unknown; use {' or '.join(get_args(Parallel))}")
    if world == 1:
        raise InputError("there is one process only; start several, as by torchrun --nproc-per-node 2 -m magref ...")
    if kind == "guidance" and world % 2:
        raise InputError(f"two passes cannot be shared by {world} processes; use an even number, or ulysses")


def shard_text_encoder(text_encoder: Any) -> None:
    """Spread the weights of umT5 over all processes; each block's are gathered while it computes (FSDP2)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(text_encoder.device.type, (dist.get_world_size(),))
    for block in text_encoder.encoder.block:
        fully_shard(block, mesh=mesh)
    fully_shard(text_encoder, mesh=mesh, reshard_after_forward=True)  # a root's embedding would stay whole
