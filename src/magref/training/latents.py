"""Training samples of the synthetic world as latents on disk: encoding is what a CPU spends most time on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magref.canvas import Canvas, compose_canvas
from magref.conditioning import build_conditioning, encode_video
from magref.geometry import Strides
from magref.references import Reference
from magref.settings import GenerationDefaults
from magref.synthetic.clips import Clips, render

SHARD = 48


def canvases_of(clips: Clips, height: int, width: int) -> list[Canvas]:
    """The canvas of each clip: its subject, cut out on white, and its background where it has one."""
    canvases = []
    for index, (left, top, right, bottom) in enumerate(clips.reference_boxes.tolist()):
        tile = (clips.subject[index, :, top:bottom, left:right] * 255).round().to(torch.uint8)
        references = [Reference(Image.fromarray(tile.permute(1, 2, 0).contiguous().numpy()))]
        if clips.has_background[index]:
            scene = clips.background[index].permute(1, 2, 0).contiguous().numpy()
            references.append(Reference(Image.fromarray(scene), role="background"))
        canvases.append(compose_canvas(references, height=height, width=width))
    return canvases


@torch.no_grad()
def encode_shard(
    vae: Any, strides: Strides, defaults: GenerationDefaults, indices: list[int], *, takes: int, seed: int
) -> tuple[dict[str, torch.Tensor], list[list[str]]]:
    """Samples `indices` as latents, each canvas with `takes` clips of other motions.

    Returns `guidance` (N, M + C, T, h, w), from the function that generation uses; `clean` (N, takes, C, T, h, w), the
    clips' latents over all T frames; and the captions, N lists of `takes`.
    """
    height, width, frames = defaults.height, defaults.width, defaults.num_frames
    clean, captions = [], []
    for take in range(takes):
        clips = render(indices, frames=frames, height=height, width=width, seed=seed, take=take)
        video = clips.frames.transpose(1, 2).float() / 127.5 - 1
        clean.append(torch.cat([encode_video(vae, part) for part in video.split(8)]))
        captions.append(clips.captions)
    canvases = canvases_of(clips, height, width)
    guidance = torch.cat(
        [
            build_conditioning(canvases[k : k + 8], frames, vae=vae, strides=strides).guidance
            for k in range(0, len(canvases), 8)
        ]
    )
    tensors = {"guidance": guidance.half(), "clean": torch.stack(clean, dim=1).half()}
    return tensors, [list(c) for c in zip(*captions, strict=True)]


def cache_latents(
    vae: Any,
    strides: Strides,
    defaults: GenerationDefaults,
    folder: Path,
    *,
    shards: int,
    takes: int,
    seed: int,
    shard_size: int = SHARD,
) -> None:
    """Write shards of `shard_size` samples; those already written are kept, so that an interrupted run goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = folder / f"{shard:05d}.safetensors"
        if path.exists():
            continue
        indices = list(range(shard * shard_size, (shard + 1) * shard_size))
        tensors, captions = encode_shard(vae, strides, defaults, indices, takes=takes, seed=seed)
        temporary = path.with_suffix(".tmp")
        save_file(tensors, temporary, metadata={"captions": json.dumps(captions)})
        temporary.replace(path)


def read_shards(folder: Path) -> Iterator[tuple[dict[str, torch.Tensor], list[list[str]]]]:
    """The tensors and captions of every shard, as `encode_shard` returned them."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            captions = json.loads(file.metadata()["captions"])
        yield load_file(path), captions


class LatentSamples:
    """All cached samples in memory, in random order without repetition within an epoch."""

    def __init__(self, folder: Path, seed: int) -> None:
        guidance, clean, self._captions = [], [], []
        for tensors, captions in read_shards(folder):
            guidance.append(tensors["guidance"])
            clean.append(tensors["clean"])
            self._captions.extend(captions)
        self._guidance, self._clean = torch.cat(guidance), torch.cat(clean)
        self._takes = self._clean.shape[1]
        self._seed = seed
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self._guidance.shape[0] * self._takes

    def batch(self, step: int, size: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Guidance (B, M + C, T, h, w), clean latents (B, C, T, h, w) and captions of a step."""
        chosen = []
        for position in range(step * size, (step + 1) * size):
            epoch, offset = divmod(position, len(self))
            if self._order[0] != epoch:
                generator = torch.Generator().manual_seed(self._seed + epoch)
                self._order = (epoch, torch.randperm(len(self), generator=generator).tolist())
            chosen.append(divmod(self._order[1][offset], self._takes))
        samples = torch.tensor([c[0] for c in chosen])
        takes = torch.tensor([c[1] for c in chosen])
        captions = [self._captions[s][t] for s, t in chosen]
        return self._guidance[samples].float(), self._clean[samples, takes].float(), captions
