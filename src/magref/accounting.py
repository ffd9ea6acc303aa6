"""What a computation takes in memory beside its weights, and in work, found by running it on tensors without data.

On the device "meta" every operation tells the shape of its result and computes nothing, so that a step of a 14B
transformer is counted in seconds on any machine, by the code that will run. What a kernel takes inside itself is not
seen; nor are a GPU's fused kernels, which take less than the plain operations that are counted here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Use:
    """The most bytes that were allocated at once, the result among them; and the work of matrix products and
    convolutions, two for each multiplication and addition. Attention's work is not counted.
    """

    peak_bytes: int
    flops: int

    def extrapolated(self, after: Use, steps: int) -> Use:
        """From two neighbouring lengths of a video, this and `after`, to the one `steps` after this."""
        return Use(
            self.peak_bytes + steps * (after.peak_bytes - self.peak_bytes),
            self.flops + steps * (after.flops - self.flops),
        )


def use_of(compute: Callable[[], object]) -> Use:
    """What is used while `compute` runs; its inputs, made before, are not counted."""
    counter = _Counter()
    with torch.no_grad(), _FusedAttention(), counter:
        compute()
    return Use(counter.peak, counter.flops)


def measured_bytes(compute: Callable[[], object]) -> int:
    """`Use.peak_bytes` measured on a CPU: the most that torch's allocator gave out at once, above what was before."""
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profile:
        compute()
    now = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


class _Counter(TorchDispatchMode):
    """Counts the bytes of every storage from the operation that makes it to the moment nothing refers to it."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.flops = 0
        self._now = 0
        self._known: set[int] = set()
        self._views: dict[Any, bool] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function is torch.ops.aten.convolution.default and _has_channels_last(args[0]):
            result = torch.empty_like(result, memory_format=_CHANNELS_LAST[result.ndim])
        if (work := flop_registry.get(function._overloadpacket)) is not None:
            self.flops += work(*args, **kwargs, out_val=result)
        if function not in self._views:
            self._views[function] = any(one.alias_info is not None for one in function._schema.returns)
        if not self._views[function]:
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, nbytes = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self._now += nbytes
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._free, key, nbytes)

    def _free(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self._now -= nbytes


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def _has_channels_last(x: torch.Tensor) -> bool:
    """Then convolutions give such results too, on every device but this."""
    return x.ndim in _CHANNELS_LAST and x.is_contiguous(memory_format=_CHANNELS_LAST[x.ndim])


class _FusedAttention(TorchFunctionMode):
    """Attention as every fused kernel does it: the only large thing that it allocates is its result."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return query.new_empty(*query.shape[:-1], value.shape[-1])
