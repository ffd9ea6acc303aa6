"""How much of everything the ablation takes, and which runs it compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from magref.evaluation.tasks import Group
from magref.settings import Mechanism

MECHANISMS: tuple[Mechanism, ...] = ("masked", "vanilla", "tokenwise")


@dataclass(frozen=True)
class Budget:
    """Equal for all mechanisms."""

    base_samples: int = 3000
    base_steps: int = 2000
    samples: int = 3000
    steps: int = 2000
    marks: tuple[int, ...] = (250, 500, 1000, 2000)
    """Steps after which each run is measured."""
    frames: int = 9
    """Of each clip: its first half, where directions are learnt soonest (docs/training.md)."""
    seeds: tuple[int, ...] = (0, 1)
    canvases: int = 2
    batch: int = 8
    cases: int = 24
    """Videos of each group."""
    shown: int = 3
    """Of these, so many are kept to be looked at."""
    precision: Literal["bf16", "fp32"] = "bf16"
    compile: bool = True

    def num_frames(self, group: Group) -> int:
        """Of a group's videos."""
        return group.length * (self.frames - 1) + 1


QUICK = Budget(
    base_samples=12,
    base_steps=2,
    samples=12,
    steps=4,
    marks=(2, 4),
    seeds=(0,),
    canvases=1,
    batch=2,
    cases=2,
    shown=1,
    precision="fp32",
    compile=False,
)
"""Everything once, for nobody's eyes: does it run?"""


@dataclass(frozen=True)
class Arm:
    """What one run trains; with a seed, it is a run."""

    mechanism: Mechanism
    shuffle: bool = True

    @property
    def name(self) -> str:
        """As the tables have it."""
        return self.mechanism + ("" if self.shuffle else ", unshuffled")

    def folder(self, seed: int) -> str:
        """The name of a run's folder."""
        return self.mechanism + ("" if self.shuffle else "-unshuffled") + f"-{seed}"


ARMS = (*(Arm(mechanism) for mechanism in MECHANISMS), Arm("masked", shuffle=False))
"""Every mechanism, and masked guidance whose references always stand in the same order (paper 3.2: shuffling)."""

GROUPS = {
    "one": Group(1),
    "two": Group(2),
    "three": Group(3),
    "background": Group(1, background=True),
    "long": Group(1, length=3),
    "long-two": Group(2, length=3),
}
"""Three subjects, a background and the length are zero-shot."""
