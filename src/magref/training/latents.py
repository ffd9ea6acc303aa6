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
from magref.conditioning import build_conditioning, canvas_pixels, encode_video
from magref.geometry import Strides
from magref.references import Reference
from magref.settings import GenerationDefaults
from magref.synthetic.clips import Clips, render, still_captions

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


@torch.no_grad()
def encode_still_shard(
    vae: Any, strides: Strides, defaults: GenerationDefaults, indices: list[int], *, takes: int, seed: int
) -> tuple[dict[str, torch.Tensor], list[list[str]]]:
    """Samples whose video is their own canvas, standing still: a subject or a background alone, filling the picture.

    They are how the transformer learns to look at the canvas at all; without them that takes several times longer.
    The takes differ in their captions. Returns what `encode_shard` returns.
    """
    height, width, frames = defaults.height, defaults.width, defaults.num_frames
    clips = render(indices, frames=1, height=height, width=width, seed=seed)
    references = [canvas.references for canvas in canvases_of(clips, height, width)]
    alone = [Reference(refs[-1].rgb, role=refs[-1].role) for refs in references]
    canvases = [compose_canvas([reference], height=height, width=width) for reference in alone]
    pixels = torch.stack([canvas_pixels(canvas) for canvas in canvases])
    clean = torch.cat([encode_video(vae, p[:, :, None].expand(-1, -1, frames, -1, -1)) for p in pixels.split(8)])
    guidance = torch.cat(
        [
            build_conditioning(canvases[k : k + 8], frames, vae=vae, strides=strides).guidance
            for k in range(0, len(canvases), 8)
        ]
    )
    tensors = {"guidance": guidance.half(), "clean": clean[:, None].half().repeat(1, takes, 1, 1, 1, 1)}
    texts = [still_captions(indices, clips.has_background, seed=seed, take=take) for take in range(takes)]
    return tensors, [list(c) for c in zip(*texts, strict=True)]


def cache_latents(
    vae: Any,
    strides: Strides,
    defaults: GenerationDefaults,
    folder: Path,
    *,
    shards: int,
    takes: int,
    seed: int,
    still_shards: int = 0,
    shard_size: int = SHARD,
) -> None:
    """Write shards of `shard_size` samples; those already written are kept, so that an interrupted run goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(f"moving-{k:05d}", k, encode_shard) for k in range(shards)]
    wanted += [(f"still-{k:05d}", shards + k, encode_still_shard) for k in range(still_shards)]
    for name, number, make in wanted:
        path = folder / f"{name}.safetensors"
        if path.exists():
            continue
        indices = list(range(number * shard_size, (number + 1) * shard_size))
        tensors, captions = make(vae, strides, defaults, indices, takes=takes, seed=seed)
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
