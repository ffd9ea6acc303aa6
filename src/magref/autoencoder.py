"""AutoencoderKLWan's arithmetic on a CPU, in an order that suits one; results are those of diffusers' within rounding.

diffusers codes one latent frame after the other, which leaves each convolution little to do, and PyTorch sends three
dimensional convolutions of that size down a slow path (a fifth of the speed of the others). Here activations lie with
their channels last, (B, T, H, W, C), many frames go through at once, and oneDNN makes every convolution. What a causal
convolution must remember of the frames before is kept as diffusers keeps it, so that a long video passes in pieces.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanMidBlock,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

PIECE_PIXELS = 2**19
"""About so many pixels go through at once, at least those of one latent frame: 85 frames of the embedded model."""


@torch.no_grad()
def encode(vae: Any, video: torch.Tensor) -> DiagonalGaussianDistribution:
    """(B, 3, F, H, W) in [-1, 1], F = 4 T - 3 -> the posterior of (B, C, T, h, w) latents, not normalised."""
    if not suits(vae, video):
        return vae.encode(video).latent_dist
    patch = vae.config.patch_size or 1
    frames = video.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # (B, 3, F, h, p, w, q)
    frames = frames.permute(0, 2, 3, 5, 1, 6, 4).flatten(4).contiguous()
    run = _Run()
    coded = torch.cat([run.encoder(vae.encoder, part) for part in _pieces(frames, 4)], 1)
    return DiagonalGaussianDistribution(run.conv(vae.quant_conv, coded).movedim(-1, 1).contiguous())


@torch.no_grad()
def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(B, C, T, h, w) latents, not normalised -> (B, 3, 4 T - 3, H, W) in [-1, 1]."""
    if not suits(vae, latents):
        return vae.decode(latents, return_dict=False)[0]
    run = _Run()
    z = run.conv(vae.post_quant_conv, latents.movedim(1, -1).contiguous())
    growth = 4 * vae.spatial_compression_ratio**2
    frames = torch.cat([run.decoder(vae.decoder, part) for part in _pieces(z, 1, growth)], 1)
    patch = vae.config.patch_size or 1
    pixels = frames.unflatten(4, (-1, patch, patch)).permute(0, 4, 1, 2, 6, 3, 5)  # (B, 3, F, h, p, w, q)
    return pixels.flatten(5).flatten(3, 4).clamp(-1, 1)


def suits(vae: Any, tensor: torch.Tensor) -> bool:
    """Whether the arithmetic here stands in for the autoencoder's own, for this input.

    It knows Wan2.1's architecture in float32 on a CPU; Wan2.2's, tiles, and weights that an offloading hook brings are
    left to diffusers.
    """
    return (
        type(vae) is AutoencoderKLWan
        and not vae.config.is_residual
        and not vae.use_tiling
        and not hasattr(vae, "_hf_hook")
        and tensor.device.type == vae.device.type == "cpu"
        and tensor.dtype == vae.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
    )


def _pieces(frames: torch.Tensor, step: int, growth: int = 1) -> list[torch.Tensor]:
    """The first frame, which stands for itself, then pieces of a multiple of `step` frames."""
    batch, _, height, width, _ = frames.shape
    count = max(1, PIECE_PIXELS // (batch * height * width * growth * step)) * step
    return [frames[:, :1], *(part for part in frames[:, 1:].split(count, dim=1) if part.shape[1])]


class _Run:
    """One video's way through the encoder or the decoder, piece by piece."""

    def __init__(self) -> None:
        self.past: dict[torch.nn.Module, torch.Tensor] = {}
        """The frames that each temporal convolution still needs of the pieces before."""

    def encoder(self, encoder: Any, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(encoder.conv_in, x)
        for layer in encoder.down_blocks:
            x = self.layer(layer, x)
        x = self.layer(encoder.mid_block, x)
        return self.conv(encoder.conv_out, F.silu(_norm(encoder.norm_out, x), inplace=True))

    def decoder(self, decoder: Any, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(decoder.conv_in, x)
        x = self.layer(decoder.mid_block, x)
        for block in decoder.up_blocks:
            for layer in (*block.resnets, *(block.upsamplers or ())):
                x = self.layer(layer, x)
        return self.conv(decoder.conv_out, F.silu(_norm(decoder.norm_out, x), inplace=True))

    def layer(self, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        if isinstance(layer, WanResidualBlock):
            return self.residual(layer, x)
        if isinstance(layer, WanMidBlock):
            x = self.residual(layer.resnets[0], x)
            for attention, block in zip(layer.attentions, layer.resnets[1:], strict=True):
                x = self.residual(block, _attention(attention, x))
            return x
        assert isinstance(layer, WanResample)
        return self.up(layer, x) if layer.mode.startswith("up") else self.down(layer, x)

    def residual(self, block: WanResidualBlock, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if isinstance(block.conv_shortcut, torch.nn.Identity) else self.conv(block.conv_shortcut, x)
        x = self.conv(block.conv1, F.silu(_norm(block.norm1, x), inplace=True))
        x = self.conv(block.conv2, F.silu(_norm(block.norm2, x), inplace=True))
        return x.add_(shortcut)

    def up(self, layer: WanResample, x: torch.Tensor) -> torch.Tensor:
        """Twice the size and, but for a video's first frame, twice the frames."""
        if layer.mode == "upsample3d":
            if layer in self.past:
                x = self.conv(layer.time_conv, x)  # (B, T, H, W, 2 C)
                x = x.unflatten(4, (2, -1)).movedim(4, 2).flatten(1, 2)
            else:  # the convolution never sees the first frame: zeros stand for it
                self.past[layer] = x[:, :0]
                self.past[layer.time_conv] = torch.zeros_like(x).expand(-1, 2, -1, -1, -1)
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return _conv2d(layer.resample[1], x, padding=1)

    def down(self, layer: WanResample, x: torch.Tensor) -> torch.Tensor:
        """Half the size and, but for a video's first frame, half the frames."""
        x = _conv2d(layer.resample[1], F.pad(x, (0, 0, 0, 1, 0, 1)), padding=0)
        if layer.mode == "downsample2d":
            return x
        before = self.past.get(layer)
        self.past[layer] = x[:, -1:]
        if before is None:
            return x
        return _convolve(torch.cat([before, x], 1), layer.time_conv, layer.time_conv.weight)

    def conv(self, conv: torch.nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        """Causal: each frame sees itself and those before it, zeros before the first."""
        taps = conv.kernel_size[0]
        if taps == 1:
            return _convolve(x, conv, conv.weight)
        before = self.past.get(conv)
        if before is None and x.shape[1] == 1:  # the other taps see zeros only
            self.past[conv] = F.pad(x, (0, 0, 0, 0, 0, 0, taps - 2, 0))
            return _convolve(x, conv, conv.weight[:, :, -1:])
        x = F.pad(x, (0, 0, 0, 0, 0, 0, taps - 1, 0)) if before is None else torch.cat([before, x], 1)
        self.past[conv] = x[:, 1 - taps :]
        return _convolve(x, conv, conv.weight)


def _convolve(x: torch.Tensor, conv: torch.nn.Conv3d, weight: torch.Tensor) -> torch.Tensor:
    """Without padding in time; so much in space that a stride of 1 keeps the size."""
    if weight[0, 0].numel() == 1:
        return F.linear(x, weight.flatten(1), conv.bias)
    padding = [0, weight.shape[3] // 2, weight.shape[4] // 2]
    return _onednn(x, weight, conv.bias, padding, list(conv.stride))


def _conv2d(conv: torch.nn.Conv2d, x: torch.Tensor, padding: int) -> torch.Tensor:
    y = _onednn(x.flatten(0, 1), conv.weight, conv.bias, [padding] * 2, list(conv.stride))
    return y.unflatten(0, x.shape[:2])


def _onednn(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: list[int], stride: list[int]
) -> torch.Tensor:
    """Channels last in and out; `torch.conv3d` would choose its slow path by the size of the input."""
    y = torch.mkldnn_convolution(x.movedim(-1, 1), weight, bias, padding, stride, [1] * len(stride), 1)
    return y.movedim(1, -1).contiguous()


def _norm(norm: WanRMS_norm, x: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.gamma.flatten(), eps=1e-24)


def _attention(block: WanAttentionBlock, x: torch.Tensor) -> torch.Tensor:
    """Within each frame."""
    pixels = _norm(block.norm, x).flatten(2, 3)  # (B, T, H W, C)
    q, k, v = F.linear(pixels, block.to_qkv.weight.flatten(1), block.to_qkv.bias).chunk(3, dim=-1)
    pixels = F.scaled_dot_product_attention(q, k, v)
    return x + F.linear(pixels, block.proj.weight.flatten(1), block.proj.bias).view_as(x)
