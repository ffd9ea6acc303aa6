"""What a model's autoencoder keeps of pictures: `python -m magref.evaluation.coding PICTURE...`.

Each is scaled to cover the model's size, and coded twice: alone, as one frame, and as a clip that stands still.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image, ImageOps

from magref.conditioning import decode_latents, encode_video
from magref.evaluation.measures.steadiness import flicker
from magref.models import quiet_libraries
from magref.pipeline import MagrefPipeline
from magref.references import Reference, open_reference
from magref.training.autoencoder import psnr


@dataclass(frozen=True)
class Coded:
    """One picture: `alone` and `still` are the PSNR of both ways in dB, `flicker` in levels of 255."""

    name: str
    alone: float
    still: float
    flicker: float


@torch.no_grad()
def code(pipeline: MagrefPipeline, path: Path) -> Coded:
    """Code a picture at the pipeline's own size and length, in float32."""
    size, frames = (pipeline.defaults.width, pipeline.defaults.height), pipeline.defaults.num_frames
    picture = ImageOps.fit(open_reference(Reference(path)).rgb, size, Image.Resampling.LANCZOS)
    frame = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None, :, None] / 127.5 - 1
    vae = pipeline.vae.float()
    alone, still = (
        decode_latents(vae, encode_video(vae, frame.expand(-1, -1, count, -1, -1))).clamp(-1, 1)
        for count in (1, frames)
    )
    unrest = flicker(still[0].movedim(1, 0) / 2 + 0.5, torch.ones(frames, *size[::-1], dtype=torch.bool))
    return Coded(path.name, psnr(alone, frame), psnr(still, frame), unrest or 0.0)


def table(coded: Sequence[Coded]) -> str:
    """As Markdown, the mean last."""
    rows = ["| picture | alone, dB | still clip, dB | flicker |", "|---|---|---|---|"]
    mean = Coded("mean", *(fmean(getattr(one, key) for one in coded) for key in ("alone", "still", "flicker")))
    rows += [f"| {one.name} | {one.alone:.1f} | {one.still:.1f} | {one.flicker:.1f} |" for one in (*coded, mean)]
    return "\n".join(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m magref.evaluation.coding", description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--model", default=None, help="a model folder; the embedded model by default")
    options = parser.parse_args()
    quiet_libraries()
    pipeline = MagrefPipeline.from_pretrained(options.model)
    print(table([code(pipeline, path) for path in options.pictures]))


if __name__ == "__main__":
    main()
