"""Pictures of the subjects of clips: in each pose for the frames, and as references in views that no frame has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from magref.synthetic.identities import draw_subjects
from magref.synthetic.motions import POSES
from magref.synthetic.pixels import to_uint8
from magref.synthetic.plans import Plan, SubjectPlan, WorldConfig
from magref.synthetic.splits import Split
from magref.synthetic.traits import Traits
from magref.synthetic.views import View, any_view, in_light, joined, plain_view


def pose_pictures(plans: Sequence[Plan], light: View, height: int, device: torch.device | str) -> torch.Tensor:
    """(P, POSES, 4, S, S) float32 premultiplied: every subject of all plans in each of its poses.

    `light` has a row for each plan; `height` is the frame's, in pixels.
    """
    subjects = [(b, subject) for b, plan in enumerate(plans) for subject in plan.subjects]
    size = max(48, -(-int(height * 0.8) // 16) * 16)
    clips = np.repeat([b for b, _ in subjects], POSES)
    views = in_light(joined([subject.track.pose_view for _, subject in subjects]), light[clips])
    # The light comes from one side for the whole clip, also where a subject is mirrored in it.
    facing = np.repeat([np.sign(subject.track.squash[0]) for _, subject in subjects], POSES).astype(np.float32)
    views = replace(views, light_x=views.light_x * facing)
    identities = np.repeat([subject.identity for _, subject in subjects], POSES).tolist()
    tiles = draw_subjects(identities, views, size, device=device, premultiplied=True)
    tiles = tiles.view(len(subjects), POSES, 4, size, size)
    _disguise(tiles, [subject for _, subject in subjects])
    return tiles


def reference_pictures(
    plans: Sequence[Plan], seed: int, split: Split, config: WorldConfig, device: torch.device | str
) -> torch.Tensor:
    """(B, N, R, 4, S, S) uint8 straight RGBA: R pictures of each of at most N subjects, zeros where there is none."""
    count, size = config.references, config.reference_px
    shown = [(b, n, subject) for b, plan in enumerate(plans) for n, subject in enumerate(plan.subjects)]
    numbers = [(plans[b].index * 4 + n) * 16 + r for b, n, _ in shown for r in range(count)]
    traits = Traits(numbers, f"reference {seed} {split}")
    view = plain_view(len(numbers)) if config.staged else any_view(traits)
    if not config.lighting:
        view = in_light(view, plain_view(len(numbers)))
    person = np.repeat([s.kind.family == "person" for _, _, s in shown], count)
    close = person & traits.chance(
        "close", 0.0 if config.staged else 0.4
    )  # of people also portraits, as the paper's faces are
    view = replace(
        view,
        zoom=np.where(close, view.zoom * 1.75, view.zoom).astype(np.float32),
        focus_y=np.where(close, -0.42, 0.0).astype(np.float32),
    )
    identities = np.repeat([s.identity for _, _, s in shown], count).tolist()
    drawn = to_uint8(draw_subjects(identities, view, size, device=device)).view(len(shown), count, 4, size, size)
    _disguise(drawn, [subject for _, _, subject in shown])
    result = torch.zeros(len(plans), config.max_subjects, count, 4, size, size, dtype=torch.uint8, device=device)
    result[[b for b, _, _ in shown], [n for _, n, _ in shown]] = drawn
    return result


def _disguise(pictures: torch.Tensor, subjects: Sequence[SubjectPlan]) -> None:
    """Exchange the colours of those who are disguised, in place: (P, R, 4, S, S), a row for each subject."""
    for row, subject in enumerate(subjects):
        if subject.colours is not None:
            pictures[row, :, :3] = pictures[row, :, list(subject.colours)]
