"""AutoencoderKLWan's arithmetic in an order that suits CPUs and GPUs; results are those of diffusers' within rounding.

diffusers codes one latent frame after the other, which leaves each convolution little to do. Here activations lie with
their channels last, (B, T, H, W, C), and as many frames go through at once as memory takes. What a causal convolution
must remember of the frames before is kept as diffusers keeps it, so that a long video passes in pieces, and decoded
pieces can be written while the next is made. On a CPU oneDNN makes every convolution, where PyTorch would send three
dimensional ones of that size down a slow path (a fifth of the speed of the others).
"""

from __future__ import annotations

from collections.abc import Iterator
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

from magref.elementwise import RMS_SILU_EPS, arithmetic_for
from magref.tiles import Tiling

PIECE_PIXELS = {"cpu": 2**19, "cuda": 2**22, "meta": 2**22}
"""About so many pixels go through at once, at least those of one latent frame: 85 frames of the embedded model on a
CPU, 8 frames at 480 x 832 on a GPU. Without data (`accounting.py`) all is as on a GPU."""


@torch.no_grad()
def encode(vae: Any, video: torch.Tensor) -> DiagonalGaussianDistribution:
    """(B, 3, F, H, W) in [-1, 1], F = 4 T - 3 -> the posterior of (B, C, T, h, w) latents, not normalised."""
    bring(vae)
    if vae.use_tiling or not suits(vae, video, video.dtype):
        return vae.encode(video).latent_dist
    patch = vae.config.patch_size or 1
    frames = video.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # (B, 3, F, h, p, w, q)
    frames = frames.permute(0, 2, 3, 5, 1, 6, 4).flatten(4).contiguous()
    run = _Run(video.device, video.dtype, {})
    coded = torch.cat([run.encoder(vae.encoder, part) for part in _pieces(frames, 4)], 1)
    return DiagonalGaussianDistribution(run.conv(vae.quant_conv, coded).movedim(-1, 1).contiguous())


def decode(vae: Any, latents: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """(B, C, T, h, w) latents, not normalised -> (B, 3, 4 T - 3, H, W) in [-1, 1]; `dtype` as for `decode_pieces`."""
    return torch.cat(list(decode_pieces(vae, latents, dtype)), dim=2)


@torch.no_grad()
def decode_pieces(vae: Any, latents: torch.Tensor, dtype: torch.dtype | None = None) -> Iterator[torch.Tensor]:
    """The decoded video (B, 3, f, H, W) piece by piece, the first frame alone; no piece needs those before it.

    `dtype` is what to compute in, where this arithmetic `suits`; None: the weights' own precision. diffusers' tiles
    (`enable_tiling`) are kept: each is decoded by itself, and neighbours are blended.
    """
    bring(vae)
    dtype = dtype or vae.dtype
    if not suits(vae, latents, dtype):
        yield vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return
    tiling = Tiling.of(vae, latents)
    weights: dict[torch.Tensor, torch.Tensor] = {}
    runs = [_Run(latents.device, dtype, weights) for _ in tiling.places]
    z = runs[0].conv(vae.post_quant_conv, latents.to(dtype).movedim(1, -1).contiguous())
    growth = 4 * vae.spatial_compression_ratio**2
    patch = vae.config.patch_size or 1
    for part in _pieces(z, 1, growth):
        tiles = [run.decoder(vae.decoder, tile) for run, tile in zip(runs, tiling.cut(part), strict=True)]
        frames = tiling.join(tiles)
        pixels = frames.unflatten(4, (-1, patch, patch)).permute(0, 4, 1, 2, 6, 3, 5)  # (B, 3, f, h, p, w, q)
        yield pixels.flatten(5).flatten(3, 4).clamp(-1, 1)


def bring(vae: Any) -> None:
    """Where the whole autoencoder is offloaded between uses (`enable_model_cpu_offload`), it comes to the device."""
    if hasattr(vae, "_hf_hook"):
        vae._hf_hook.pre_forward(vae)


def suits(vae: Any, tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether the arithmetic here stands in for the autoencoder's own, for this input and precision.

    It knows Wan2.1's architecture, on a GPU in any precision, on a CPU in float32; Wan2.2's, and weights that a hook
    brings layer by layer, are left to diffusers.
    """
    device = next(vae.parameters()).device
    if type(vae) is not AutoencoderKLWan or vae.config.is_residual or tensor.device != device:
        return False
    if device.type == "cpu":
        return tensor.dtype == vae.dtype == dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return device.type in ("cuda", "meta")


def _pieces(frames: torch.Tensor, step: int, growth: int = 1) -> list[torch.Tensor]:
    """The first frame, which stands for itself, then pieces of a multiple of `step` frames."""
    batch, _, height, width, _ = frames.shape
    count = max(1, PIECE_PIXELS[frames.device.type] // (batch * height * width * growth * step)) * step
    return [frames[:, :1], *(part for part in frames[:, 1:].split(count, dim=1) if part.shape[1])]


class _Run:
    """One video's way through the encoder or the decoder, piece by piece; runs side by side may share `weights`."""

    def __init__(self, device: torch.device, dtype: torch.dtype, weights: dict[torch.Tensor, torch.Tensor]) -> None:
        self.past: dict[torch.nn.Module, torch.Tensor] = {}
        """The frames that each temporal convolution still needs of the pieces before."""
        self._dtype = dtype
        self._weights = weights
        self._math = arithmetic_for(device)
        self._convolution = _onednn if device.type == "cpu" and dtype is torch.float32 else _convolution

    def encoder(self, encoder: Any, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(encoder.conv_in, x)
        for layer in encoder.down_blocks:
            x = self.layer(layer, x)
        x = self.layer(encoder.mid_block, x)
        return self.conv(encoder.conv_out, self.normed(encoder.norm_out, x))

    def decoder(self, decoder: Any, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(decoder.conv_in, x)
        x = self.layer(decoder.mid_block, x)
        for block in decoder.up_blocks:
            for layer in (*block.resnets, *(block.upsamplers or ())):
                x = self.layer(layer, x)
        return self.conv(decoder.conv_out, self.normed(decoder.norm_out, x))

    def layer(self, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        if isinstance(layer, WanResidualBlock):
            return self.residual(layer, x)
        if isinstance(layer, WanMidBlock):
            x = self.residual(layer.resnets[0], x)
            for attention, block in zip(layer.attentions, layer.resnets[1:], strict=True):
                x = self.residual(block, self.attention(attention, x))
            return x
        assert isinstance(layer, WanResample)
        return self.up(layer, x) if layer.mode.startswith("up") else self.down(layer, x)

    def residual(self, block: WanResidualBlock, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if isinstance(block.conv_shortcut, torch.nn.Identity) else self.conv(block.conv_shortcut, x)
        x = self.conv(block.conv1, self.normed(block.norm1, x))
        x = self.conv(block.conv2, self.normed(block.norm2, x))
        return x.add_(shortcut)

    def up(self, layer: WanResample, x: torch.Tensor) -> torch.Tensor:
        """Twice the size and, but for a video's first frame, twice the frames."""
        if layer.mode == "upsample3d":
            if layer in self.past:
                x = self.conv(layer.time_conv, x)  # (B, T, H, W, 2 C)
                x = x.unflatten(4, (2, -1)).movedim(4, 2).flatten(1, 2)
            else:  # the convolution never sees the first frame: zeros stand for it
                self.past[layer] = x.new_empty(0)
                self.past[layer.time_conv] = torch.zeros_like(x).expand(-1, 2, -1, -1, -1)
        x = x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2, -1).flatten(4, 5).flatten(2, 3)
        return self.conv2d(layer.resample[1], x, padding=1)

    def down(self, layer: WanResample, x: torch.Tensor) -> torch.Tensor:
        """Half the size and, but for a video's first frame, half the frames."""
        x = self.conv2d(layer.resample[1], F.pad(x, (0, 0, 0, 1, 0, 1)), padding=0)
        if layer.mode == "downsample2d":
            return x
        before = self.past.get(layer)
        self.past[layer] = x[:, -1:].clone()  # a view would keep all frames in memory
        if before is None:
            return x
        return self.convolve(torch.cat([before, x], 1), layer.time_conv)

    def conv(self, conv: torch.nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        """Causal: each frame sees itself and those before it, zeros before the first."""
        taps = conv.kernel_size[0]
        if taps == 1:
            return self.convolve(x, conv)
        before = self.past.get(conv)
        if before is None and x.shape[1] == 1:  # the other taps see zeros only
            self.past[conv] = F.pad(x, (0, 0, 0, 0, 0, 0, taps - 2, 0))
            return self.convolve(x, conv, first=True)
        x = F.pad(x, (0, 0, 0, 0, 0, 0, taps - 1, 0)) if before is None else torch.cat([before, x], 1)
        self.past[conv] = x[:, 1 - taps :].clone()
        return self.convolve(x, conv)

    def convolve(self, x: torch.Tensor, conv: torch.nn.Conv3d, *, first: bool = False) -> torch.Tensor:
        """Without padding in time; so much in space that a stride of 1 keeps the size. `first`: the last tap alone."""
        weight, bias = self.own(conv.weight), self.own(conv.bias)
        if first:
            weight = weight[:, :, -1:]
        if weight[0, 0].numel() == 1:
            return F.linear(x, weight.flatten(1), bias)
        padding = [0, weight.shape[3] // 2, weight.shape[4] // 2]
        return self._convolution(x, weight, bias, padding, list(conv.stride))

    def conv2d(self, conv: torch.nn.Conv2d, x: torch.Tensor, padding: int) -> torch.Tensor:
        weight, bias = self.own(conv.weight), self.own(conv.bias)
        y = self._convolution(x.flatten(0, 1), weight, bias, [padding] * 2, list(conv.stride))
        return y.unflatten(0, x.shape[:2])

    def normed(self, norm: WanRMS_norm, x: torch.Tensor) -> torch.Tensor:
        """With the activation that follows it."""
        return self._math.rms_silu(x, self.own(norm.gamma).flatten())

    def attention(self, block: WanAttentionBlock, x: torch.Tensor) -> torch.Tensor:
        """Within each frame."""
        gamma = self.own(block.norm.gamma).flatten()
        pixels = F.rms_norm(x, gamma.shape, gamma, RMS_SILU_EPS).flatten(2, 3)  # (B, T, H W, C)
        qkv = F.linear(pixels, self.own(block.to_qkv.weight).flatten(1), self.own(block.to_qkv.bias))
        query, key, value = qkv.chunk(3, dim=-1)
        pixels = F.scaled_dot_product_attention(query, key, value)
        return x + F.linear(pixels, self.own(block.proj.weight).flatten(1), self.own(block.proj.bias)).view_as(x)

    def own(self, weight: Any) -> torch.Tensor:
        """A weight in this run's precision, made once; a GPU's convolutions want it with its channels last too."""
        if weight.dtype == self._dtype and weight.device.type == "cpu":
            return weight
        if weight not in self._weights:
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(weight.ndim, torch.contiguous_format)
            self._weights[weight] = weight.to(self._dtype, memory_format=layout)
        return self._weights[weight]


def _onednn(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: list[int], stride: list[int]
) -> torch.Tensor:
    """Channels last in and out; `torch.conv3d` would choose its slow path by the size of the input."""
    y = torch.mkldnn_convolution(x.movedim(-1, 1), weight, bias, padding, stride, [1] * len(stride), 1)
    return y.movedim(1, -1).contiguous()


def _convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: list[int], stride: list[int]
) -> torch.Tensor:
    """Channels last in and out, by PyTorch's own choice: cuDNN on a GPU."""
    convolve = F.conv2d if len(stride) == 2 else F.conv3d
    y = convolve(x.movedim(-1, 1), weight, bias, stride, padding)
    return y.movedim(1, -1).contiguous()
