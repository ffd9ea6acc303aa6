"""The autoencoder's arithmetic for CPUs says what diffusers' own says, whatever the architecture and the pieces."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan

from magref import autoencoder
from tiny import seeded

CLOSE = {"atol": 1e-5, "rtol": 1e-4}
SHAPES = {
    "wan2.1": {"dim_mult": [1, 2, 2, 2], "num_res_blocks": 2},
    "patches, unequal halves": {
        "dim_mult": [2, 3, 4],
        "temperal_downsample": [True, True],
        "decoder_base_dim": 6,
        "patch_size": 2,
        "in_channels": 12,
        "out_channels": 12,
    },
    "time first": {"dim_mult": [1, 1, 2], "temperal_downsample": [True, True], "scale_factor_spatial": 4},
}


def autoencoder_of(**config) -> AutoencoderKLWan:
    """Small and random; every parameter, so that no gain is 1 and no bias 0."""
    kinds = {"base_dim": 8, "num_res_blocks": 1, "z_dim": 4, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    with seeded(0):
        vae = AutoencoderKLWan(**{**kinds, **config}).eval()
        for parameter in vae.parameters():
            parameter.data = torch.randn_like(parameter) * (parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 1)
    return vae


@pytest.fixture(autouse=True, params=["at once", "in pieces"])
def pieces(request, monkeypatch):
    if request.param == "in pieces":
        monkeypatch.setattr(autoencoder, "PIECE_PIXELS", 0)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("frames", [1, 5, 9, 17])
@pytest.mark.parametrize("kind", SHAPES)
@torch.no_grad()
def test_it_codes_as_diffusers_does(kind, frames, batch):
    vae = autoencoder_of(**SHAPES[kind])
    video = torch.randn(batch, 3, frames, 32, 48, generator=torch.Generator().manual_seed(1))
    assert autoencoder.suits(vae, video)
    theirs, ours = vae.encode(video).latent_dist, autoencoder.encode(vae, video)
    assert theirs.mean.std() > 0.05
    torch.testing.assert_close(ours.mean, theirs.mean, **CLOSE)
    torch.testing.assert_close(ours.logvar, theirs.logvar, **CLOSE)
    decoded = vae.decode(theirs.mean).sample
    assert (decoded.abs() < 1).float().mean() > 0.2  # the clamp hides the rest
    torch.testing.assert_close(autoencoder.decode(vae, theirs.mean), decoded, **CLOSE)


def test_what_went_in_stays_as_it_was():
    vae = autoencoder_of(**SHAPES["wan2.1"])
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    video = torch.randn(1, 3, 5, 16, 16)
    copy = video.clone()
    latents = autoencoder.encode(vae, video).mean
    kept = latents.clone()
    autoencoder.decode(vae, latents)
    assert torch.equal(video, copy)
    assert torch.equal(latents, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in vae.state_dict().items())


def test_others_code_themselves():
    """Tiles, other precisions, another architecture, an offloading hook: diffusers' own path."""
    video = torch.randn(1, 3, 5, 16, 16)
    vae = autoencoder_of(**SHAPES["wan2.1"])
    assert not autoencoder.suits(autoencoder_of(**SHAPES["wan2.1"]).bfloat16(), video.bfloat16())
    assert not autoencoder.suits(autoencoder_of(dim_mult=[1, 2, 2, 2], is_residual=True), video)
    vae.enable_tiling()
    assert not autoencoder.suits(vae, video)
    vae.disable_tiling()
    assert autoencoder.suits(vae, video)
    vae._hf_hook = object()
    assert not autoencoder.suits(vae, video)


@torch.no_grad()
def test_wan22s_architecture_is_coded_by_diffusers():
    vae = autoencoder_of(dim_mult=[1, 2, 2, 2], is_residual=True, base_dim=8)
    video = torch.randn(1, 3, 5, 16, 16)
    latents = vae.encode(video).latent_dist.mode()
    assert torch.equal(autoencoder.encode(vae, video).mode(), latents)
    assert torch.equal(autoencoder.decode(vae, latents), vae.decode(latents).sample)
