"""The autoencoder's arithmetic says what diffusers' own says, whatever the architecture, the pieces and the tiles."""

from __future__ import annotations

import accelerate
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
        monkeypatch.setattr(autoencoder, "PIECE_PIXELS", {"cpu": 0})


@pytest.fixture
def like_a_gpu(monkeypatch):
    """On a CPU, the way that convolutions go on a GPU, in any precision."""
    monkeypatch.setattr(autoencoder, "suits", lambda *_: True)
    monkeypatch.setattr(autoencoder, "_onednn", autoencoder._convolution)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("frames", [1, 5, 9, 17])
@pytest.mark.parametrize("kind", SHAPES)
@torch.no_grad()
def test_it_codes_as_diffusers_does(kind, frames, batch):
    vae = autoencoder_of(**SHAPES[kind])
    video = torch.randn(batch, 3, frames, 32, 48, generator=torch.Generator().manual_seed(1))
    assert autoencoder.suits(vae, video, video.dtype)
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


@pytest.mark.parametrize("kind", SHAPES)
@torch.no_grad()
def test_on_a_gpu_it_codes_as_diffusers_does(kind, like_a_gpu):
    vae = autoencoder_of(**SHAPES[kind])
    video = torch.randn(1, 3, 9, 32, 48, generator=torch.Generator().manual_seed(1))
    latents = vae.encode(video).latent_dist.mean
    torch.testing.assert_close(autoencoder.encode(vae, video).mean, latents, **CLOSE)
    torch.testing.assert_close(autoencoder.decode(vae, latents), vae.decode(latents).sample, **CLOSE)


@torch.no_grad()
def test_decoding_in_bfloat16_is_as_near_as_diffusers_in_bfloat16(like_a_gpu):
    vae = autoencoder_of(**SHAPES["wan2.1"])
    latents = torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    exact = vae.decode(latents).sample
    ours = autoencoder.decode(vae, latents, torch.bfloat16)
    theirs = vae.bfloat16().decode(latents.bfloat16()).sample
    assert ours.dtype is torch.bfloat16
    error, their_error = ((frames.float() - exact).norm() / exact.norm() for frames in (ours, theirs))
    assert error < max(1.2 * their_error, 0.01)


@pytest.mark.parametrize("kind", ["wan2.1", "patches, unequal halves"])
@pytest.mark.parametrize("size", [(6, 8), (4, 9), (9, 3)], ids=str)
@torch.no_grad()
def test_tiles_are_those_of_diffusers(kind, size):
    vae = autoencoder_of(**SHAPES[kind])
    latents = torch.randn(1, 4, 3, *size, generator=torch.Generator().manual_seed(1))
    whole = vae.decode(latents).sample
    edge, stride = 4 * vae.spatial_compression_ratio, 3 * vae.spatial_compression_ratio
    vae.enable_tiling(edge, edge, stride, stride)
    expected = vae.decode(latents).sample
    assert (expected - whole).norm() > 1e-3 * whole.norm()
    torch.testing.assert_close(autoencoder.decode(vae, latents), expected, **CLOSE)


@torch.no_grad()
def test_a_frame_no_larger_than_a_tile_is_decoded_whole():
    vae = autoencoder_of(**SHAPES["wan2.1"])
    latents = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    whole = autoencoder.decode(vae, latents)
    vae.enable_tiling(4 * vae.spatial_compression_ratio, 4 * vae.spatial_compression_ratio)
    assert torch.equal(autoencoder.decode(vae, latents), whole)


@torch.no_grad()
def test_pieces_are_made_one_by_one():
    """What a writer needs so that a long video takes no more memory."""
    vae = autoencoder_of(**SHAPES["wan2.1"])
    latents = torch.randn(1, 4, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    whole = vae.decode(latents).sample
    made = []
    vae.decoder.conv_out.register_forward_hook(lambda *_: made.append("all"))
    pieces = autoencoder.decode_pieces(vae, latents)
    first = next(pieces)
    assert first.shape[2] == 1
    assert made == []
    torch.testing.assert_close(torch.cat([first, *pieces], 2), whole, **CLOSE)


def test_others_code_themselves():
    """Other precisions on a CPU, another architecture, weights that a hook brings layer by layer: diffusers' own."""
    video = torch.randn(1, 3, 5, 16, 16)
    vae = autoencoder_of(**SHAPES["wan2.1"])
    assert not autoencoder.suits(autoencoder_of(**SHAPES["wan2.1"]).bfloat16(), video.bfloat16(), torch.bfloat16)
    assert not autoencoder.suits(vae, video, torch.bfloat16)
    assert not autoencoder.suits(autoencoder_of(dim_mult=[1, 2, 2, 2], is_residual=True), video, video.dtype)
    assert not autoencoder.suits(autoencoder_of(**SHAPES["wan2.1"]).to("meta"), video, video.dtype)
    assert autoencoder.suits(vae, video, video.dtype)


@torch.no_grad()
def test_an_offloaded_autoencoder_is_brought_first():
    vae = autoencoder_of(**SHAPES["wan2.1"])
    latents = torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    expected = autoencoder.decode(vae, latents)
    _, hook = accelerate.cpu_offload_with_hook(vae, execution_device="cpu")
    brought = []
    vae._hf_hook.pre_forward = lambda module, *_: brought.append(module)
    assert torch.equal(autoencoder.decode(vae, latents), expected)
    assert brought == [vae]
    hook.remove()


@torch.no_grad()
def test_wan22s_architecture_is_coded_by_diffusers():
    vae = autoencoder_of(dim_mult=[1, 2, 2, 2], is_residual=True, base_dim=8)
    video = torch.randn(1, 3, 5, 16, 16)
    latents = vae.encode(video).latent_dist.mode()
    assert torch.equal(autoencoder.encode(vae, video).mode(), latents)
    assert torch.equal(autoencoder.decode(vae, latents), vae.decode(latents).sample)
