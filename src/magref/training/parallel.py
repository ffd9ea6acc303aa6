"""Processes under torchrun: who am I, what is agreed on, FSDP2 over all of them; and activation checkpointing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from magref.errors import MagrefError, ResourceError, SaidError

T = TypeVar("T")

_PATIENCE = timedelta(days=1)
"""How long processes wait for one that writes a model or fills a cache; NCCL alone would give up after ten minutes."""

_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)


@dataclass(frozen=True)
class Team:
    """One process among those of the run."""

    rank: int
    world: int
    device: torch.device
    desk: Any = None
    """The group over which words and waiting go, in the CPU's memory; None alone."""

    @classmethod
    def join(cls, device: str | None = None) -> Team:
        """The team that torchrun made, or this process alone.

        Raises:
            ResourceError: more processes on a machine than it has GPUs.
        """
        kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
        world = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if kind == "cuda":
            if local >= torch.cuda.device_count():
                raise ResourceError(
                    f"process {local} has no GPU, there are {torch.cuda.device_count()}; give torchrun "
                    f"--nproc-per-node {max(1, torch.cuda.device_count())}"
                )
            torch.cuda.set_device(local)
        place = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
        if world == 1:
            return cls(0, 1, place)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if kind == "cuda" else "gloo")
        return cls(dist.get_rank(), world, place, dist.new_group(backend="gloo", timeout=_PATIENCE))

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def most(self, count: int) -> int:
        """The largest of all processes' counts."""
        if self.world == 1:
            return count
        counts = torch.tensor(count)
        dist.all_reduce(counts, dist.ReduceOp.MAX, group=self.desk)
        return int(counts)

    def gather(self, value: T) -> list[T]:
        """What every process gives, in their order; it travels as a pickle."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.desk)
        return values

    def each(self, work: Callable[[], T]) -> T:
        """Every process does the work; where it fails in any, all of them end, and the first of those says why.

        Raises:
            MagrefError: of this process's own work.
            SaidError: of another's.
        """
        if self.world == 1:
            return work()
        value: Any = None
        problem: MagrefError | None = None
        try:
            value = work()
        except MagrefError as error:
            problem = error
        problems = self.gather(None if problem is None else str(problem))
        failed = [rank for rank, text in enumerate(problems) if text is not None]
        if not failed:
            return value
        if problem is not None and failed[0] == self.rank:
            raise problem
        raise SaidError(problems[failed[0]])

    def first(self, work: Callable[[], T]) -> T:
        """The first process does the work for all, which get what comes out; errors as for `each`."""
        told: list[Any] = [self.each(lambda: work() if self.leads else None)]
        if self.world > 1:
            dist.broadcast_object_list(told, group=self.desk)
        return told[0]

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.world > 1:
            dist.barrier(group=self.desk)

    def leave(self) -> None:
        """End the process group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def shard(self, model: torch.nn.Module, layers: Any, *, precision: Literal["bf16", "fp32"]) -> None:
        """Spread the weights of a model over all processes, each of its layers by itself; alone, nothing happens.

        Weights, gradients and optimizer state are kept in float32; what is sent and computed with is `precision`.
        """
        if self.world == 1:
            return
        mesh = init_device_mesh(self.device.type, (self.world,))
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,  # it would round timesteps and rotary tables; autocast does the rest
        )
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)


def checkpoint_blocks(transformer: Any, kind: Literal["none", "selective", "full"]) -> None:
    """Compute the blocks' activations again in the backward pass; "selective" keeps self-attention's outputs.

    At 32,760 tokens self-attention is half of a block's work, and its output a thirtieth of its activations; attention
    to text and image is a hundredth of the work, for twice as much to keep.
    """
    if kind == "none":
        return
    contexts: dict[str, Any] = {}
    if kind == "selective":
        contexts["context_fn"] = partial(create_selective_checkpoint_contexts, _keep_attention)

    def run(block: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
        return checkpoint(block, *arguments, use_reentrant=False, **contexts)

    transformer.enable_gradient_checkpointing(run)


def _keep_attention(_context: Any, operator: Any, *arguments: Any, **_named: Any) -> CheckpointPolicy:
    name = getattr(operator, "_opname", "") or str(operator).split(".")[1]
    # Queries and keys (B, heads, tokens, D) are as many where tokens attend to themselves; a text or an image of just
    # as many is kept too, which does no harm.
    if name in _ATTENTION and arguments[0].shape[-2] == arguments[1].shape[-2]:
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
