"""Procedural textures: plain and patterned surfaces, and scenes with the statistics of photographs.

Every function takes a `Draw` for B samples and returns (B, 3, S, S) float32 in [0, 1].
"""

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


def pattern(draw: Draw, size: int) -> torch.Tensor:
    """Two colours in a plain, striped, checked, spotted, marbled or shaded pattern, with a little grain."""
    x, y = grid(size)
    angle, period = draw.uniform(0, math.pi)[:, None, None], draw.uniform(0.18, 0.8)[:, None, None]
    u = x * angle.cos() + y * angle.sin()
    v = -x * angle.sin() + y * angle.cos()
    phase = draw.uniform(0, 2 * math.pi)[:, None, None]
    stripes = torch.sin(2 * math.pi * u / period + phase)
    checks = stripes * torch.sin(2 * math.pi * v / period)
    lattice_u, lattice_v = u / period % 1 - 0.5, v / period % 1 - 0.5
    spots = draw.uniform(0.1, 0.4)[:, None, None] - (lattice_u**2 + lattice_v**2).sqrt()
    marble = fractal_noise(draw, size, 1)[:, 0]
    sharpness = draw.uniform(2, 12)[:, None, None]
    kinds = torch.stack(
        [
            torch.zeros_like(stripes),
            (sharpness * stripes).sigmoid(),
            (sharpness * checks * 2).sigmoid(),
            (sharpness * spots * 8).sigmoid(),
            (sharpness * marble * 0.5).sigmoid(),
            (u * 0.5 + 0.5).clamp(0, 1),
        ],
        dim=1,
    )
    mix = kinds[torch.arange(len(draw)), draw.integer(kinds.shape[1])][:, None]
    first, second = colours(draw)[..., None, None], colours(draw)[..., None, None]
    grain = fractal_noise(draw, size, 1) * draw.uniform(0.0, 0.08)[:, None, None, None]
    return (first * (1 - mix) + second * mix + grain).clamp(0, 1)


def scene(draw: Draw, size: int, leaves: int = 24) -> torch.Tensor:
    """A sky-and-ground gradient under overlapping soft shapes ("dead leaves"), over coloured 1/f noise.

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
