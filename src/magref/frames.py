"""A video's frames that are made only while they are read, so that a long one takes no more memory than a short one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class FrameStream:
    """Frames uint8 (H, W, 3), RGB; each time they are read, they are made anew.

    `shape` is (F, H, W, 3); `make` gives pieces (f, H, W, 3) in their order, F frames together.
    """

    shape: tuple[int, int, int, int]
    make: Callable[[], Iterator[npt.NDArray[np.uint8]]]

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        for piece in self.make():
            yield from piece

    def array(self) -> npt.NDArray[np.uint8]:
        """All frames (F, H, W, 3)."""
        return np.concatenate(list(self.make()))
