"""The noise that sampling starts from: a seed's, a generator's, or the caller's own."""

from __future__ import annotations

import torch

from magref.errors import InputError


def initial_noises(
    size: tuple[int, ...],
    count: int,
    seed: int,
    latents: torch.Tensor | None,
    generator: torch.Generator | list[torch.Generator] | None,
) -> list[torch.Tensor]:
    """Initial noise (1, C, T, h, w) float32 for each video, drawn on the CPU so that every device gets the same.

    Args:
        size: of one noise.
        seed: of the first video where no generator is given; it counts up.
        latents: the noise itself, (count, C, T, h, w), or (C, T, h, w) of one video.
        generator: one for all videos, or one for each.

    Raises:
        InputError: something does not have this form.
    """
    if not isinstance(count, int) or count < 1:
        raise InputError(f"num_videos_per_prompt is {count!r}; use 1 or more")
    if latents is not None:
        if not isinstance(latents, torch.Tensor):
            raise InputError(f"latents are a {type(latents).__name__}; give a torch tensor")
        latents = latents[None] if latents.ndim == 4 else latents
        if tuple(latents.shape) != (count, *size[1:]):
            raise InputError(f"latents have shape {tuple(latents.shape)}; give {(count, *size[1:])}")
        return list(latents.float().split(1))
    given = generator if isinstance(generator, list) else [generator]
    if not all(one is None or isinstance(one, torch.Generator) for one in given):
        raise InputError("generator is not a torch.Generator; give one, or a list with one for each video")
    if isinstance(generator, list) and len(generator) != count:
        raise InputError(f"{len(generator)} generators were given for {count} videos; give one for each")
    noises = []
    for index in range(count):
        if generator is None:
            source = torch.Generator().manual_seed(seed + index)
        else:
            source = generator[index] if isinstance(generator, list) else generator
        noises.append(torch.randn(size, generator=source, device=source.device))
    return noises
