"""The world rendered: batches of clips with everything that is known about them.

Sample `i` of a seed and a split shows the same in any batch and on any device, to rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F

from magref.references import Role
from magref.synthetic import palette
from magref.synthetic.clips import to_uint8, visible_boxes
from magref.synthetic.easel import Easel, box, capsule, petals
from magref.synthetic.identities import draw_subjects
from magref.synthetic.motions import POSES
from magref.synthetic.places import draw_places, place_of
from magref.synthetic.plans import FOOT, SIMPLE, Plan, SubjectPlan, WorldConfig, plan_scene
from magref.synthetic.splits import Split, check_split
from magref.synthetic.traits import Floats, Traits
from magref.synthetic.views import View, any_view, lit, plain_view

__all__ = ["SIMPLE", "SceneTruth", "Scenes", "SubjectTruth", "WorldConfig", "render_plans", "render_scenes"]

_MARGIN = 1.36
"""How much larger than the frame a moving camera's backdrop is."""
_VISIBLE = 0.5
"""A pixel belongs to a subject whose share of it is at least this."""


@dataclass(frozen=True)
class SubjectTruth:
    """What is known of one subject of a clip; `span` is where the caption has `label`, in characters."""

    identity: int
    kind: str
    role: Role
    label: str
    span: tuple[int, int]
    motion: str
    speed: float


@dataclass(frozen=True)
class SceneTruth:
    """What is known of one clip.

    `place` is the sort of place behind the subjects, None before a plain backdrop of `colour`; `place_label` and
    `place_span` are the caption's words for it, if it has any; `new` names what of it training never has: "identity",
    "combination", "words".
    """

    index: int
    caption: str
    subjects: tuple[SubjectTruth, ...]
    place: str | None
    place_number: int | None
    place_label: str | None
    place_span: tuple[int, int] | None
    colour: str
    camera: str
    occluded: bool
    new: tuple[str, ...]


@dataclass(frozen=True)
class Scenes:
    """B clips of F frames with at most N subjects, rows of absent subjects zero.

    `frames` (B, F, 3, H, W) uint8; `masks` (B, N, F, H, W) bool, where a subject is to be seen; `boxes` (B, N, F, 4)
    int64 around that: left, top, right, bottom in pixels, right and bottom exclusive, zeros where nothing is seen;
    `visible` (B, N, F) float32, the share of the subject's outline within the frame and not hidden; `centres`
    (B, N, F, 2) float32, the middle of each subject's picture in fractions of width and height; `references`
    (B, N, R, 4, S, S) uint8 straight RGBA; `backgrounds` (B, 3, H, W) uint8, what lies behind the subjects, in another
    light and framing than in the clip.
    """

    frames: torch.Tensor
    masks: torch.Tensor
    boxes: torch.Tensor
    visible: torch.Tensor
    centres: torch.Tensor
    references: torch.Tensor
    backgrounds: torch.Tensor
    truths: tuple[SceneTruth, ...]

    @property
    def captions(self) -> list[str]:
        """The captions of all clips."""
        return [truth.caption for truth in self.truths]


def render_scenes(
    indices: Sequence[int],
    *,
    frames: int,
    height: int,
    width: int,
    seed: int = 0,
    split: str = "train",
    config: WorldConfig | None = None,
    device: torch.device | str = "cpu",
) -> Scenes:
    """Render the samples with these indices.

    Raises:
        InputError: there is no such split.
    """
    known = check_split(split)
    config = config or WorldConfig()
    plans = [
        plan_scene(i, frames=frames, height=height, width=width, seed=seed, split=known, config=config) for i in indices
    ]
    return render_plans(
        plans, frames=frames, height=height, width=width, seed=seed, split=known, config=config, device=device
    )


def render_plans(
    plans: Sequence[Plan], *, frames: int, height: int, width: int, seed: int, split: Split, config: WorldConfig,
    device: torch.device | str = "cpu",
) -> Scenes:  # fmt: skip
    """Render scenes that were decided before, see `plan_scene`."""
    with _few_threads(device):
        return _render(plans, frames, height, width, seed, split, config, device)


@contextlib.contextmanager
def _few_threads(device: torch.device | str) -> Iterator[None]:
    """One thread on a CPU: parts are small, and what threads cost each time is more than they save.

    Measured: 17 clips a second with one thread, 6 with two; more cores are used by more processes.
    """
    before = torch.get_num_threads()
    if torch.device(device).type == "cpu" and before > 1:
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
    else:
        yield


def _render(
    plans: Sequence[Plan], frames: int, height: int, width: int, seed: int, split: Split, config: WorldConfig,
    device: torch.device | str,
) -> Scenes:  # fmt: skip
    traits = Traits([plan.index for plan in plans], f"scene {seed} {split}")
    camera = _camera(plans, traits, frames)
    pairs = [(b, n, subject) for b, plan in enumerate(plans) for n, subject in enumerate(plan.subjects)]
    light = lit(plain_view(len(plans)), traits) if config.lighting else plain_view(len(plans))
    tiles = _tiles(pairs, light, height, device)
    behind, places = _backdrops(plans, light, _other_light(traits, config), height, width, camera, device)
    layers = _Layers(behind)

    # How far below a picture's middle the feet are, in its half sides.
    feet = (visible_boxes(tiles[:, :, 3].amax(dim=1))[:, 3].cpu().numpy() / tiles.shape[-1] * 2 - 1).astype(np.float32)
    slots = config.max_subjects
    shape = (len(plans), slots, frames)
    alphas = torch.zeros(*shape, height, width, device=device)
    whole = torch.zeros(shape, device=device)
    centres = np.zeros((*shape, 2), np.float32)
    # From the back to the front: the k-th nearest subjects of all clips at once.
    depths = [sorted(range(len(plan.subjects)), key=lambda n: plan.subjects[n].depth) for plan in plans]
    position = {(b, n): row for row, (b, n, _) in enumerate(pairs)}
    for k in range(slots):
        present = [(b, depths[b][k]) for b in range(len(plans)) if k < len(depths[b])]
        if not present:
            continue
        rows = torch.tensor([b for b, _ in present], device=device)
        columns = torch.tensor([n for _, n in present], device=device)
        chosen = [plans[b].subjects[n] for b, n in present]
        at = _on_screen(chosen, camera[[b for b, _ in present]], feet[[position[p] for p in present]])
        shadows = config.shadows and any(subject.stands for subject in chosen)
        paint = _place(tiles[[position[p] for p in present]], chosen, at, height, width, device)
        if shadows:
            layers.shade(rows, chosen, at, feet[[position[p] for p in present]])
        cover = layers.lay(rows, paint)
        alphas[rows] *= (1 - cover)[:, None]
        alphas[rows, columns] = cover
        # The outline's whole area, in pixels: what the picture covers at this size.
        area = tiles[[position[p] for p in present], :, 3].sum(dim=(-2, -1))
        poses = torch.tensor(np.stack([s.track.pose for s in chosen]), device=device)
        scale = torch.tensor(at[..., 2] * height / tiles.shape[-1], device=device) ** 2
        squash = torch.tensor(np.stack([np.abs(s.track.squash) for s in chosen]), device=device)
        whole[rows, columns] = area.gather(1, poses) * scale * squash
        for (b, n), path in zip(present, at, strict=True):
            centres[b, n] = path[:, :2] / 2 * np.array([height / width, 1]) + 0.5
    front = _occluders(plans, traits, light, height, width, device)
    if front is not None:
        rows, picture = front
        alphas[rows] *= (1 - layers.lay(rows, picture[:, :, None].expand(-1, -1, frames, -1, -1)))[:, None]

    masks = alphas >= _VISIBLE
    return Scenes(
        frames=to_uint8(layers.video.transpose(1, 2)),
        masks=masks,
        boxes=boxes_of(masks),
        visible=(alphas.sum(dim=(-2, -1)) / whole.clamp(min=1e-3)).clamp(0, 1),
        centres=torch.from_numpy(centres).to(device),
        references=_references(plans, pairs, seed, split, config, device),
        backgrounds=to_uint8(places),
        truths=tuple(_truth(plan) for plan in plans),
    )


def boxes_of(masks: torch.Tensor) -> torch.Tensor:
    """(..., H, W) bool -> (..., 4) left, top, right, bottom, right and bottom exclusive; zeros where nothing is set."""
    height, width = masks.shape[-2:]
    columns, rows = masks.any(dim=-2).int(), masks.any(dim=-1).int()
    left, top = columns.argmax(-1), rows.argmax(-1)
    right, bottom = width - columns.flip(-1).argmax(-1), height - rows.flip(-1).argmax(-1)
    return torch.stack([left, top, right, bottom], dim=-1) * columns.any(dim=-1, keepdim=True)


def _tiles(
    pairs: Sequence[tuple[int, int, SubjectPlan]], light: View, height: int, device: torch.device | str
) -> torch.Tensor:
    """(P, POSES, 4, S, S) premultiplied pictures of every subject in each of its poses, in the clip's light."""
    size = max(48, -(-int(height * 0.8) // 16) * 16)
    views = _stack([subject.track.pose_view for _, _, subject in pairs])
    clip = np.repeat([b for b, _, _ in pairs], POSES)
    # The light comes from one side for the whole clip, also where a subject is mirrored in it.
    facing = np.repeat([np.sign(subject.track.squash[0]) for _, _, subject in pairs], POSES).astype(np.float32)
    views = replace(
        views, light=light.light[clip], tint=light.tint[clip], light_x=light.light_x[clip] * facing,
        light_y=light.light_y[clip], shading=light.shading[clip],
    )  # fmt: skip
    identities = np.repeat([subject.identity for _, _, subject in pairs], POSES).tolist()
    tiles = draw_subjects(identities, views, size, device=device, premultiplied=True)
    return tiles.view(len(pairs), POSES, 4, size, size)


def _stack(views: Sequence[View]) -> View:
    return View(**{f.name: np.concatenate([getattr(view, f.name) for view in views]) for f in fields(View)})


def _camera(plans: Sequence[Plan], traits: Traits, frames: int) -> Floats:
    """(B, F, 3): where the camera looks, x and y in half heights, and its zoom."""
    time = np.linspace(0, 1, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    far, zoom = traits.uniform("camera far", 0.16, 0.26), traits.uniform("camera zoom", 1.22, 1.34)
    result = np.zeros((len(plans), frames, 3), np.float32)
    result[..., 2] = 1
    for b, plan in enumerate(plans):
        kind, sweep = plan.camera, far[b] * (2 * time - 1)
        if kind.startswith("pan"):
            result[b, :, 0] = sweep * (-1 if kind == "pan left" else 1)
        elif kind.startswith("tilt"):
            result[b, :, 1] = 0.7 * sweep * (-1 if kind == "tilt up" else 1)
        elif kind.startswith("zoom"):
            result[b, :, 2] = 1 + (zoom[b] - 1) * (time if kind == "zoom in" else 1 - time)
    return result


def _on_screen(subjects: Sequence[SubjectPlan], camera: Floats, feet: Floats) -> Floats:
    """(P, F, 5): x, y and half size on the screen in half heights, rotation, and the scale of the width."""
    paths = [np.stack([t.x, t.y, t.size, t.rotation, t.squash], axis=1) for t in (s.track for s in subjects)]
    at = np.stack(paths)
    stands = np.array([s.stands for s in subjects])
    at[..., 1] += (stands * (FOOT - feet))[:, None] * at[..., 2]  # on the ground that the plan put it on
    at[..., :2] = (at[..., :2] - camera[..., :2]) * camera[..., 2:]
    at[..., 2] *= camera[..., 2]
    return at


def _place(
    tiles: torch.Tensor,
    subjects: Sequence[SubjectPlan],
    at: Floats,
    height: int,
    width: int,
    device: torch.device | str,
) -> torch.Tensor:
    """(P, 4, F, H, W): each subject's picture where it is in each frame, premultiplied."""
    count, frames = at.shape[:2]
    poses = torch.tensor(np.stack([s.track.pose for s in subjects]), device=device)
    chosen = tiles[torch.arange(count, device=device)[:, None], poses].flatten(0, 1)  # (P * F, 4, S, S)
    x, y, size, turn, squash = (at[..., n].reshape(-1) for n in range(5))
    cos, sin = np.cos(turn), np.sin(turn)
    # affine_grid's own coordinates run from -1 to 1 over the frame; the picture's likewise.
    aspect = width / height
    theta = np.stack(
        [
            np.stack(
                [cos * aspect / (size * squash), sin / (size * squash), -(cos * x + sin * y) / (size * squash)], axis=1
            ),
            np.stack([-sin * aspect / size, cos / size, (sin * x - cos * y) / size], axis=1),
        ],
        axis=1,
    )
    placed = F.grid_sample(chosen, _grid(theta, height, width, device), padding_mode="zeros", align_corners=False)
    return placed.view(count, frames, 4, height, width).transpose(1, 2)


def _backdrops(
    plans: Sequence[Plan],
    light: View,
    other: View,
    height: int,
    width: int,
    camera: Floats,
    device: torch.device | str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What lies behind the subjects: (B, 3, F, H, W) in each frame, and (B, 3, H, W) as the `other` view has it.

    `camera` (B, F, 3). What has one size is painted together, since most of a picture's cost is its number of parts.
    """
    frames = camera.shape[1]
    result = torch.empty(len(plans), 3, frames, height, width, device=device)
    still = [b for b, plan in enumerate(plans) if plan.camera == "static"]
    views = _stack([light[np.array(still, dtype=np.int64)], other])
    pictures = _pictures([*(plans[b] for b in still), *plans], views, height, width, device)
    result[still] = pictures[: len(still), :, None]
    rows = np.array([b for b, plan in enumerate(plans) if plan.camera != "static"], dtype=np.int64)
    if len(rows):
        big_size = round(height * _MARGIN), round(width * _MARGIN)
        big = _pictures([plans[row] for row in rows.tolist()], light[rows], *big_size, device)
        share, aspect = height / big.shape[-2], width / height
        x, y, zoom = (camera[rows, :, n].reshape(-1) for n in range(3))
        zero = np.zeros_like(x)
        across = np.stack([share / zoom, zero, x / aspect * share], axis=1)
        theta = np.stack([across, np.stack([zero, share / zoom, y * share], axis=1)], axis=1)
        grid = _grid(theta, height, width, device).view(len(rows), frames * height, width, 2)
        seen = F.grid_sample(big, grid, padding_mode="border", align_corners=False)
        result[rows.tolist()] = seen.view(len(rows), 3, frames, height, width)
    return result, pictures[len(still) :]


def _grid(theta: Floats, height: int, width: int, device: torch.device | str) -> torch.Tensor:
    """(N, H, W, 2): where each pixel looks; `theta` (N, 2, 3) maps the frame's -1 to 1 to the picture's."""
    maps = torch.from_numpy(theta.astype(np.float32)).to(device)
    return F.affine_grid(maps, [len(maps), 1, height, width], align_corners=False)


def _pictures(plans: Sequence[Plan], light: View, height: int, width: int, device: torch.device | str) -> torch.Tensor:
    # A plain backdrop is to be the colour that the caption names: the light tints it but a little.
    tint = 0.6 + 0.4 * light.tint * light.light[:, None]
    colours = np.array([palette.COLOURS[plan.colour] for plan in plans], np.float32) * tint
    result = torch.from_numpy(colours).to(device)[:, :, None, None].expand(-1, -1, height, width).clamp(0, 1).clone()
    rows = np.array([b for b, plan in enumerate(plans) if plan.place is not None], dtype=np.int64)
    if len(rows):
        numbers = [place for plan in plans if (place := plan.place) is not None]
        result[torch.from_numpy(rows).to(device)] = draw_places(numbers, light[rows], height, width, device=device)
    return result


class _Layers:
    """A video that is laid over layer by layer, from the back to the front; (B, 3, F, H, W)."""

    def __init__(self, video: torch.Tensor) -> None:
        self.video = video
        self._height, self._width = video.shape[-2:]

    def lay(self, rows: torch.Tensor, paint: torch.Tensor) -> torch.Tensor:
        """Lay premultiplied RGBA (P, 4, F, H, W) over these rows; returns its alpha (P, F, H, W)."""
        cover = paint[:, 3]
        self.video[rows] = self.video[rows] * (1 - cover[:, None]) + paint[:, :3]
        return cover

    def shade(self, rows: torch.Tensor, subjects: Sequence[SubjectPlan], at: Floats, feet: Floats) -> None:
        """Soft shadows on the ground under those that stand on it."""
        device, aspect = self.video.device, self._width / self._height
        y = (torch.arange(self._height, device=device) + 0.5) / self._height * 2 - 1
        x = ((torch.arange(self._width, device=device) + 0.5) / self._width * 2 - 1) * aspect
        strength = torch.tensor([0.3 * s.stands for s in subjects], device=device)[:, None, None, None]
        wide = torch.tensor([0.32 if s.kind.family == "person" else 0.55 for s in subjects], device=device)[:, None]
        # A shadow stays on the ground under who jumps.
        drop = np.stack([s.track.y.max() - s.track.y if s.motion == "jumps" else 0 * s.track.y for s in subjects])
        floor = at[..., 1] + feet[:, None] * at[..., 2] + drop
        cx, cy, size = (
            torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)).to(device)
            for v in (at[..., 0], floor, at[..., 2])
        )
        dx = ((x - cx[..., None]) / (size * wide)[..., None])[:, :, None]  # (P, F, 1, W)
        dy = ((y - cy[..., None]) / (size * 0.1)[..., None])[..., None]  # (P, F, H, 1)
        dark = (1 - (dx.square() + dy.square())).clamp_(0, 1) * strength
        self.video[rows] *= (1 - dark)[:, None]


def _occluders(
    plans: Sequence[Plan], traits: Traits, light: View, height: int, width: int, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The rows that have something in the foreground, and its pictures (P, 4, H, W), premultiplied."""
    rows = np.array([b for b, plan in enumerate(plans) if plan.occluder is not None], dtype=np.int64)
    if not len(rows):
        return None
    sort = np.array([plan.occluder for plan in plans if plan.occluder is not None])
    easel, t = Easel(light[rows], (height, width), device), Traits(traits.numbers[rows], "occluder")
    wide = width / height
    x = t.uniform("x", -0.9, 0.9) * wide
    green = np.stack([t.uniform("g0", 0.1, 0.3), t.uniform("g1", 0.3, 0.5), t.uniform("g2", 0.08, 0.22)], axis=1)
    colour = palette.shade(t, "post", palette.TABLE[t.integer("post", len(palette.NAMES))])
    bush, pole, fence, boulder = (sort == n for n in range(4))
    for n, (dx, dy) in enumerate(((-0.28, 0.14), (0.28, 0.16), (0.0, 0.0))):
        easel.paint(
            petals(x + dx, 0.92 + dy, t.uniform(f"r {n}", 0.26, 0.36), 0.14, 10.0), green * (0.85 + 0.1 * n), where=bush
        )
    easel.paint(box(x, 0, t.uniform("thick", 0.05, 0.09), 1.2, r=0.0), colour, where=pole)
    for n in range(9):
        at = -wide + n * wide / 4
        easel.paint(box(at, 0.86, 0.035, 0.24, r=0.02), colour, where=fence)
    for y in (0.74, 0.92):
        easel.paint(box(0, y, wide + 0.3, 0.025, r=0.0), colour * 0.9, where=fence)
    grey = np.repeat(t.uniform("grey", 0.35, 0.6)[:, None], 3, axis=1)
    easel.paint(capsule(x - 0.2, 0.98, x + 0.2, 0.94, 0.24, 0.3), grey, where=boulder)
    return torch.from_numpy(rows).to(device), easel.finish()


def _references(
    plans: Sequence[Plan], pairs: Sequence[tuple[int, int, SubjectPlan]], seed: int, split: Split, config: WorldConfig,
    device: torch.device | str,
) -> torch.Tensor:  # fmt: skip
    """(B, N, R, 4, S, S) uint8: candidate references, each another view than any frame of the clip."""
    count, size = config.references, config.reference_px
    numbers = [(plans[b].index * 4 + n) * 16 + r for b, n, _ in pairs for r in range(count)]
    traits = Traits(numbers, f"reference {seed} {split}")
    view = any_view(traits)
    if not config.lighting:
        plain = plain_view(len(numbers))
        view = replace(
            view,
            light=plain.light,
            tint=plain.tint,
            light_x=plain.light_x,
            light_y=plain.light_y,
            shading=plain.shading,
        )
    person = np.repeat([s.kind.family == "person" for _, _, s in pairs], count)
    close = person & traits.chance("close", 0.4)  # of people also portraits, as the paper's faces are
    view = replace(
        view,
        zoom=np.where(close, view.zoom * 1.75, view.zoom).astype(np.float32),
        focus_y=np.where(close, -0.42, 0.0).astype(np.float32),
    )
    identities = np.repeat([s.identity for _, _, s in pairs], count).tolist()
    drawn = to_uint8(draw_subjects(identities, view, size, device=device)).view(len(pairs), count, 4, size, size)
    result = torch.zeros(len(plans), config.max_subjects, count, 4, size, size, dtype=torch.uint8, device=device)
    result[[b for b, _, _ in pairs], [n for _, n, _ in pairs]] = drawn
    return result


def _other_light(traits: Traits, config: WorldConfig) -> View:
    """How the places look on their references: in another light, and a little closer."""
    view = plain_view(len(traits))
    if config.lighting:
        view = lit(view, traits, "background light", 0.6)
    return replace(view, zoom=traits.uniform("background zoom", 1.0, 1.2))


def _truth(plan: Plan) -> SceneTruth:
    text = plan.caption.text
    subjects = tuple(
        SubjectTruth(s.identity, s.kind.name, s.kind.role, text[slice(*span)], span, s.motion, s.speed)
        for s, span in zip(plan.subjects, plan.caption.spans, strict=True)
    )
    sort = None if plan.place is None else place_of(plan.place)
    span = plan.caption.place
    return SceneTruth(
        index=plan.index, caption=text, subjects=subjects, place=sort, place_number=plan.place,
        place_label=None if span is None else text[slice(*span)], place_span=span, colour=plan.colour,
        camera=plan.camera,
        occluded=plan.occluder is not None, new=plan.new,
    )  # fmt: skip
