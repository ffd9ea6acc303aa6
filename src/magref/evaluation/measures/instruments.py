"""The trained networks that the measures look through, and the pictures of others that a subject is told from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from magref.errors import CheckpointError
from magref.evaluation.measures.crops import clip_view
from magref.evaluation.measures.embedding import CROP_PX, MARGIN, IdentityNet, embed
from magref.evaluation.measures.finder import FinderNet
from magref.references import ImageLike, Reference, open_reference
from magref.synthetic.identities import draw_subjects, kind_of
from magref.synthetic.splits import nth_identity
from magref.synthetic.traits import Traits

WEIGHTS = "measures.safetensors"
OTHERS = 99
_FIRST_OTHER = 2_000_000
"""Numbers of held-out identities from here on are in no clip of a world with its usual number of identities."""
_GROUNDS = (255, 150, 60)
"""Greys that a cut-out is laid on."""


@dataclass(frozen=True)
class Instruments:
    """Both networks, ready to use."""

    identity: IdentityNet
    finder: FinderNet


@lru_cache(maxsize=1)
def shipped_instruments() -> Instruments:
    """Those that come with the package."""
    with resources.as_file(resources.files("magref.evaluation.measures") / "weights" / WEIGHTS) as path:
        return load_instruments(path)


def load_instruments(path: Path) -> Instruments:
    """Both networks from one file.

    Raises:
        CheckpointError: the file is missing, or holds something else.
    """
    if not path.exists():
        raise CheckpointError(
            f"there are no weights at {path}; make them with python -m magref.evaluation.measures.make_instruments"
        )
    state = {name: value.float() for name, value in load_file(path).items()}
    nets = IdentityNet(), FinderNet()
    for prefix, net in zip(("identity.", "finder."), nets, strict=True):
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        missing = net.load_state_dict(own, strict=False)
        wanted = [name for name in missing.missing_keys if not name.endswith("num_batches_tracked")]
        if wanted or missing.unexpected_keys:
            raise CheckpointError(f"{path} does not fit this version's measures; install the package anew")
        net.eval().requires_grad_(False)
    return Instruments(*nets)


def reference_feature(net: IdentityNet, reference: Reference | ImageLike) -> torch.Tensor:
    """(D,) unit vector of a subject's reference: its visible part, on several greys where it is cut out."""
    opened = open_reference(reference if isinstance(reference, Reference) else Reference(reference))
    picture, alpha = opened.rgb, opened.alpha
    visible = None if alpha is None else alpha.point(lambda a: 255 if a > 25 else 0).getbbox()
    box = visible or (0, 0, *picture.size)
    side = round(max(box[2] - box[0], box[3] - box[1]) * MARGIN)
    left, top = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    views = []
    for grey in _GROUNDS if alpha is not None else _GROUNDS[:1]:
        ground = Image.new("RGB", (side, side), (grey, grey, grey))
        ground.paste(picture, (-left, -top), alpha)
        small = ground.resize((CROP_PX, CROP_PX), Image.Resampling.LANCZOS)
        views.append(torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).permute(2, 0, 1))
    return F.normalize(embed(net, torch.stack(views)).mean(dim=0), dim=0)


@lru_cache(maxsize=64)
def other_features(net: IdentityNet, count: int = OTHERS, kind: str | None = None) -> torch.Tensor:
    """(count, D) of held-out identities that are in no clip, seen as references are; of one kind, where it is given."""
    numbers: list[int] = []
    n = _FIRST_OTHER
    while len(numbers) < count:
        identity = nth_identity("held-out", n)
        if kind is None or kind_of(identity).name == kind:
            numbers.append(identity)
        n += 1
    rows = np.array(numbers, dtype=np.int64)
    drawn = draw_subjects(numbers, clip_view(Traits(rows, "others"), rows), 96)
    pictures = (drawn.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return torch.stack([reference_feature(net, Image.fromarray(picture)) for picture in pictures])
