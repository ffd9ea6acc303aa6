"""How a subject is seen: the same identity in another pose, from another side, in another light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from magref.synthetic.traits import Floats, Traits


def _rows(count: int, value: float = 0.0) -> Floats:
    return np.full(count, value, dtype=np.float32)


@dataclass(frozen=True)
class View:
    """How B subjects are seen; each field a (B,) float32 array, `tint` (B, 3).

    `phase` runs from 0 to 1 through one cycle of walking, flapping or swimming, `stride` is how far the limbs go (0:
    they hang); `turn` from -1 to 1 is where the face looks, `lean` tilts the head in radians; `wave` raises an arm,
    `blink` closes the eyes; `mirror` is 1 or -1; `rotation` in radians, clockwise; `zoom` and the point (`focus_x`,
    `focus_y`) say what fills the picture: at 1 and (0, 0) all of the subject; `light` is the brightness, (`light_x`,
    `light_y`) the side that the light comes from, y down, and `shading` how strong it is.
    """

    phase: Floats
    stride: Floats
    turn: Floats
    lean: Floats
    wave: Floats
    blink: Floats
    mirror: Floats
    rotation: Floats
    zoom: Floats
    focus_x: Floats
    focus_y: Floats
    light: Floats
    tint: Floats
    light_x: Floats
    light_y: Floats
    shading: Floats

    def __len__(self) -> int:
        return len(self.phase)

    def __getitem__(self, rows: np.typing.NDArray[np.int64] | np.typing.NDArray[np.bool_]) -> View:
        return View(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def plain_view(count: int) -> View:
    """Standing, seen from the front in white light from the upper left."""
    return View(
        phase=_rows(count), stride=_rows(count), turn=_rows(count), lean=_rows(count), wave=_rows(count),
        blink=_rows(count), mirror=_rows(count, 1), rotation=_rows(count), zoom=_rows(count, 1), focus_x=_rows(count),
        focus_y=_rows(count), light=_rows(count, 1), tint=np.ones((count, 3), dtype=np.float32),
        light_x=_rows(count, -0.5), light_y=_rows(count, -0.7), shading=_rows(count, 1),
    )  # fmt: skip


def lit(view: View, traits: Traits, name: str = "light", amount: float = 1.0) -> View:
    """The view in another light: brightness, tint, direction and strength from the traits."""
    # From warm to cold, with little green or violet: light that people know.
    warm, green = traits.uniform(f"{name} warm", -0.12, 0.12), traits.uniform(f"{name} green", -0.03, 0.03)
    tint = np.stack([1 + warm * amount, 1 + green * amount, 1 - warm * amount], axis=1)
    angle = traits.uniform(f"{name} from", -np.pi * 0.95, -np.pi * 0.05)
    return replace(
        view,
        light=traits.uniform(f"{name} brightness", 1 - 0.32 * amount, 1 + 0.12 * amount),
        tint=tint.astype(np.float32),
        light_x=np.cos(angle).astype(np.float32),
        light_y=np.sin(angle).astype(np.float32),
        shading=traits.uniform(f"{name} shading", 1 - 0.5 * amount, 1 + 0.7 * amount),
    )


def in_light(view: View, light: View) -> View:
    """The view in the light of another one."""
    return replace(
        view, light=light.light, tint=light.tint, light_x=light.light_x, light_y=light.light_y, shading=light.shading
    )


def joined(views: Sequence[View]) -> View:
    """The rows of all views, one after the other."""
    return View(**{field.name: np.concatenate([getattr(view, field.name) for view in views]) for field in fields(View)})


def any_view(traits: Traits, name: str = "view") -> View:
    """A view as a reference picture has it: any pose, side, mirroring, small rotation, framing and light."""
    count = len(traits)
    view = plain_view(count)
    view = replace(
        view,
        phase=traits.uniform(f"{name} phase"),
        stride=traits.uniform(f"{name} stride", 0.0, 0.8),
        turn=traits.uniform(f"{name} turn", -0.8, 0.8),
        lean=traits.uniform(f"{name} lean", -0.12, 0.12),
        mirror=np.where(traits.chance(f"{name} mirror", 0.5), -1, 1).astype(np.float32),
        rotation=traits.uniform(f"{name} rotation", -0.12, 0.12),
        zoom=traits.uniform(f"{name} zoom", 0.78, 1.0),
    )
    return lit(view, traits, f"{name} light")
