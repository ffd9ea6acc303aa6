"""Models take turns in a device's memory: each loads when it is first asked for, and the one before it goes."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar, cast

import torch

from magref.placement import choose_device

T = TypeVar("T")


class Shelf:
    """Room for `keep` models on one device.

    Adapters share a shelf and ask it for their networks at every call; nothing else holds them, so that a network is
    freed when its turn ends. A curation that goes stage by stage loads each model once.
    """

    def __init__(self, device: str | torch.device | None = None, *, keep: int = 1) -> None:
        self.device = device if isinstance(device, torch.device) else choose_device(device)
        self.keep = keep
        self._held: OrderedDict[int, tuple[object, object]] = OrderedDict()  # the longest unused first

    def take(self, owner: object, load: Callable[[], T]) -> T:
        """What `load` gave for this owner; called again only where another model took its place meanwhile."""
        if id(owner) not in self._held:
            while len(self._held) >= self.keep:
                self._held.popitem(last=False)
                self._return_memory()
            self._held[id(owner)] = owner, load()  # the owner too: its id is nobody else's as long as it lives
        self._held.move_to_end(id(owner))
        return cast(T, self._held[id(owner)][1])

    def clear(self) -> None:
        """Free every model."""
        self._held.clear()
        self._return_memory()

    def _return_memory(self) -> None:
        gc.collect()  # models hold themselves in circles
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
