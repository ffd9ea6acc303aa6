"""Scenes with the statistics of photographs, which the small autoencoder learns from."""

from __future__ import annotations

import math

import torch

from magref.synthetic.draw import Draw


def grid(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of each pixel's centre in [-1, 1], two (S, S) tensors; y points down."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def colours(draw: Draw) -> torch.Tensor:
    """(B, 3) random colours: any hue, from greyish to vivid, from dark to light."""
    hue, saturation, value = draw.uniform(), draw.uniform(0, 1) ** 0.7, draw.uniform(0.12, 1.0)
    phase = (hue[:, None] * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6
    ramp = torch.minimum(phase, 4 - phase).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * ramp)


def fractal_noise(draw: Draw, size: int, channels: int) -> torch.Tensor:
    """(B, channels, S, S) noise with a 1/f^a spectrum, a from 1.2 to 2.4, scaled to unit variance per sample."""
    exponent = draw.uniform(1.2, 2.4)
    frequency = torch.fft.fftfreq(size)[:, None].square() + torch.fft.rfftfreq(size)[None].square()
    frequency = frequency.sqrt().clamp(min=1 / size)
    spectrum = torch.fft.rfft2(draw.normal_field(channels, size, size))
    noise = torch.fft.irfft2(spectrum * frequency ** -exponent[:, None, None, None], s=(size, size))
    noise = noise - noise.mean(dim=(-2, -1), keepdim=True)
    return noise / noise.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def scene(draw: Draw, size: int, leaves: int = 24) -> torch.Tensor:
    """(B, 3, S, S) float32 in [0, 1]: sky and ground under soft shapes ("dead leaves"), over coloured 1/f noise.

    Occlusion and 1/f noise are the two statistics that make an autoencoder trained on them work on photographs.
    """
    x, y = grid(size)
    horizon = draw.uniform(-0.6, 0.9)[:, None, None]
    ground = ((y - horizon) * draw.uniform(2, 30)[:, None, None]).sigmoid()[:, None]
    image = colours(draw)[..., None, None] * (1 - ground) + colours(draw)[..., None, None] * ground
    share = draw.uniform(0, 1)
    for rank in range(leaves):
        centre_x, centre_y = draw.uniform(-1.1, 1.1), draw.uniform(-1.1, 1.1)
        radius = 0.06 + 0.5 * draw.uniform() ** 3
        aspect, angle = draw.uniform(0.3, 1.0), draw.uniform(0, math.pi)
        power = torch.where(draw.chance(0.4), 8.0, 2.0)
        softness = draw.uniform(4, 90)
        colour = colours(draw)[..., None, None]
        dx, dy = x - centre_x[:, None, None], y - centre_y[:, None, None]
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        u, v = dx * cos + dy * sin, (-dx * sin + dy * cos) / aspect[:, None, None]
        distance = (u.abs() ** power[:, None, None] + v.abs() ** power[:, None, None]) ** (1 / power[:, None, None])
        inside = ((radius[:, None, None] - distance) * softness[:, None, None]).sigmoid()
        inside = (inside * (rank / leaves < share)[:, None, None])[:, None]
        image = image * (1 - inside) + colour * inside
    tint = fractal_noise(draw, size, 3) * torch.tensor([1.0, 0.6, 0.6])[:, None, None]
    mix = torch.tensor([[1.0, 0.5, 0.3], [1.0, 0.0, -0.6], [1.0, -0.5, 0.3]])
    noise = torch.einsum("rc,bchw->brhw", mix, tint)
    return (image + noise * draw.uniform(0.01, 0.12)[:, None, None, None]).clamp(0, 1)
