"""The measures measured: rendered held-out clips must score high, and clips that were spoilt on purpose low.

`python -m magref.evaluation.measures.oracle` prints the table of `docs/measures.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from magref.canvas import compose_canvas
from magref.conditioning import decode_latents, encode_video
from magref.evaluation.measures.instruments import Instruments, load_instruments, shipped_instruments
from magref.evaluation.measures.score import Case, CaseSubject, Scores, VideoScore, score_video, summarise
from magref.references import Reference
from magref.synthetic.plans import SIMPLE, STAGED, WorldConfig
from magref.synthetic.samples import cut_out, picture_of
from magref.synthetic.world import Scenes, render_scenes

Video = npt.NDArray[np.uint8]
FRAMES, HEIGHT_PX, WIDTH_PX = 17, 64, 96
_SEED = 4242
_STRANGER = 1_500_000
WORLDS = {
    "simple": SIMPLE.model_copy(update={"references": 1}),
    "static camera": WorldConfig(camera=0.0, occlusion=0.0, references=1),
    "everything": WorldConfig(references=1),
    "staged": STAGED.model_copy(update={"references": 1}),
}


@dataclass(frozen=True)
class Clip:
    """A clip and what it was to show."""

    video: Video
    case: Case


def clips(
    world: WorldConfig, count: int, *, seed: int = _SEED, split: str = "held-out", batch: int = 16
) -> Iterator[Clip]:
    """Rendered clips of a split with the case that each is the perfect answer to."""
    for start in range(0, count, batch):
        indices = range(start, min(start + batch, count))
        scenes = render_scenes(
            indices, frames=FRAMES, height=HEIGHT_PX, width=WIDTH_PX, seed=seed, split=split, config=world
        )
        for row in range(len(indices)):
            yield Clip(scenes.frames[row].permute(0, 2, 3, 1).numpy(), case_of(scenes, row, world))


def case_of(scenes: Scenes, row: int, world: WorldConfig) -> Case:
    """The case of one rendered clip: its first references, its motions, its background, and a canvas of all of them."""
    truth = scenes.truths[row]
    pictures = [picture_of(scenes.references[row, n, 0], world) for n in range(len(truth.subjects))]
    references = [Reference(p, role=s.role, label=s.label) for p, s in zip(pictures, truth.subjects, strict=True)]
    behind = None
    if truth.place is not None:
        behind = Image.fromarray(scenes.backgrounds[row].permute(1, 2, 0).cpu().numpy())
    height, width = scenes.frames.shape[-2:]
    on_canvas = [*references, *([Reference(behind, role="background")] if behind else [])]
    return Case(
        tuple(CaseSubject(r, s.motion) for r, s in zip(references, truth.subjects, strict=True)),
        behind or truth.colour,
        compose_canvas(on_canvas, height=height, width=width).image,
    )


def wrong_reference(clip: Clip, number: int) -> Clip:
    """Every subject is to be somebody else, of any kind."""
    config = WorldConfig(references=1)
    others = render_scenes(
        range(_STRANGER + number * 3, _STRANGER + number * 3 + len(clip.case.subjects)), frames=1, height=HEIGHT_PX,
        width=WIDTH_PX, seed=_SEED + 1, split="held-out", config=config,
    )  # fmt: skip
    strangers = [Reference(cut_out(picture)) for picture in others.references[:, 0, 0]]
    return _with(clip, [replace(s, reference=r) for s, r in zip(clip.case.subjects, strangers, strict=True)])


def backwards(clip: Clip, number: int) -> Clip:
    """Played from its last frame to its first: only what has a direction should be wrong then."""
    return Clip(np.ascontiguousarray(clip.video[::-1]), clip.case)


def frozen(clip: Clip, number: int) -> Clip:
    """Its middle frame throughout."""
    return Clip(np.repeat(clip.video[len(clip.video) // 2][None], len(clip.video), axis=0), clip.case)


def one_too_few(clip: Clip, number: int) -> Clip:
    """One subject more was asked for."""
    return _with(clip, [*clip.case.subjects, clip.case.subjects[0]])


def one_too_many(clip: Clip, number: int) -> Clip:
    """One subject less was asked for."""
    return _with(clip, clip.case.subjects[:-1])


def other_background(clip: Clip, number: int) -> Clip:
    """A background reference of another place, or another colour's name."""
    if isinstance(clip.case.background, str):
        names = [name for name in ("red", "green", "blue", "white") if name != clip.case.background]
        return Clip(clip.video, replace(clip.case, background=names[number % len(names)]))
    config = WorldConfig(references=1, pictures=1.0)
    other = render_scenes(
        [_STRANGER + number], frames=1, height=HEIGHT_PX, width=WIDTH_PX, seed=_SEED + 2, config=config
    )
    picture = Image.fromarray(other.backgrounds[0].permute(1, 2, 0).numpy())
    return Clip(clip.video, replace(clip.case, background=picture))


def canvas_kept(clip: Clip, number: int) -> Clip:
    """The canvas as a still."""
    assert clip.case.canvas is not None
    return Clip(np.repeat(np.asarray(clip.case.canvas)[None], len(clip.video), axis=0), clip.case)


def canvas_shines_through(clip: Clip, number: int) -> Clip:
    """The canvas at 40% over the clip."""
    mixed = 0.6 * clip.video + 0.4 * np.asarray(clip.case.canvas)[None]
    return Clip(mixed.round().astype(np.uint8), clip.case)


def turns_into_another(clip: Clip, number: int) -> Clip:
    """Its colours change places on the way, so that a subject ends as another."""
    share = np.linspace(0, 1, len(clip.video))[:, None, None, None]
    mixed = (1 - share) * clip.video + share * clip.video[..., [1, 2, 0]]
    return Clip(mixed.round().astype(np.uint8), clip.case)


def flickers(clip: Clip, number: int) -> Clip:
    """Every other frame is a tenth darker."""
    gain = np.where(np.arange(len(clip.video)) % 2, 0.9, 1.0)[:, None, None, None]
    return Clip((clip.video * gain).round().astype(np.uint8), clip.case)


SPOILT: dict[str, Callable[[Clip, int], Clip]] = {
    "wrong reference": wrong_reference, "backwards": backwards, "frozen": frozen, "one too few": one_too_few,
    "one too many": one_too_many, "other background": other_background, "canvas kept": canvas_kept,
    "canvas shines through": canvas_shines_through, "turns into another": turns_into_another, "flickers": flickers,
}  # fmt: skip


def doubled(world: WorldConfig, count: int, *, seed: int = _SEED) -> Iterator[Clip]:
    """Clips that show each of their subjects once more than they should: those of a pair, asked for as one."""
    for clip in clips(world.model_copy(update={"max_subjects": 2}), count, seed=seed):
        if len(clip.case.subjects) == 2:
            yield one_too_many(clip, 0)


@torch.no_grad()
def through_vae(video: Video, vae: torch.nn.Module) -> Video:
    """Encoded and decoded: the best that a model with this autoencoder can do."""
    pixels = torch.from_numpy(video).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    decoded = decode_latents(vae, encode_video(vae, pixels))[0]
    return ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


def run(
    found: Sequence[Clip], tools: Instruments, *, spoil: Callable[[Clip, int], Clip] | None = None,
    vae: torch.nn.Module | None = None, drop: int = 0,
) -> Scores:  # fmt: skip
    """Score clips as they are, or spoilt, or after the autoencoder."""
    scores: list[VideoScore] = []
    for number, clip in enumerate(found):
        shown = spoil(clip, number) if spoil else clip
        video = through_vae(shown.video, vae) if vae is not None else shown.video
        scores.append(score_video(video[drop:], shown.case, instruments=tools))
    return summarise(scores)


def _with(clip: Clip, subjects: Sequence[CaseSubject]) -> Clip:
    return Clip(clip.video, replace(clip.case, subjects=tuple(subjects)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.measures.oracle", description=__doc__)
    parser.add_argument("--weights", type=Path, help="other networks than those that come with the package")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument(
        "--spoilt", type=int, default=60, help="how many clips are spoilt in each way, or go through the autoencoder"
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tools = load_instruments(options.weights) if options.weights else shipped_instruments()
    from magref.pipeline import MagrefPipeline

    vae = MagrefPipeline.from_pretrained().vae
    figures: dict[str, Scores] = {}
    for name, world in WORLDS.items():
        found = list(clips(world, options.clips))
        figures[name] = _show(name, run(found, tools))
        figures[f"{name}, 4 frames dropped"] = _show(f"{name}, 4 frames dropped", run(found, tools, drop=4))
        figures[f"{name}, VAE"] = _show(f"{name}, VAE", run(found[: options.spoilt], tools, vae=vae))
    found = list(clips(WORLDS["static camera"], options.spoilt))
    for name, spoil in SPOILT.items():
        figures[name] = _show(f"static camera, {name}", run(found, tools, spoil=spoil))
    if options.json:
        means = {name: {key: mean.model_dump() for key, mean in s.means.items()} for name, s in figures.items()}
        options.json.write_text(json.dumps(means, indent=1), encoding="utf-8")


def _show(name: str, scores: Scores) -> Scores:
    print(f"{name}: {len(scores.videos)} videos", flush=True)
    for key, mean in scores.means.items():
        print(f"  {key:18} {mean}", flush=True)
    return scores


if __name__ == "__main__":
    main()
