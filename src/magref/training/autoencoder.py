"""Train the embedded model's video autoencoder: single images first, clips after.

The architecture is diffusers' `AutoencoderKLWan` at a small size. A CPU learns it slowest of all parts, and single
images teach most of it: for one frame the causal 3-D convolutions see nothing but zeros before it, so they are 2-D
convolutions with their last temporal tap, at a third of the cost (`ImageFastPath`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResidualBlock, unpatchify

from magref.synthetic.clips import Clips, render

NANO_VAE = {
    "base_dim": 16,
    "z_dim": 16,
    "dim_mult": [1, 2, 4],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [True, True],
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 8,
}


@dataclass(frozen=True)
class AutoencoderRecipe:
    """The defaults of the shipped autoencoder; its model card says where its own run differed."""

    image_steps: int = 2000
    clip_steps: int = 1000
    image_batch: int = 16
    clip_batch: int = 4
    learning_rate: float = 8e-4
    final_learning_rate: float = 5e-5
    warmup_steps: int = 100
    edge_weight: float = 0.5
    kl_weight: float = 3e-5
    pool_size: int = 400
    height: int = 64
    width: int = 96
    frames: int = 17
    seed: int = 0


class ImageFastPath(WanCausalConv3d):
    """A causal 3-D convolution that runs a lone first frame as the equal 2-D convolution."""

    def forward(self, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        """As `WanCausalConv3d.forward`: (B, C, T, H, W), with the frames before it in `cache_x`."""
        lone = x.shape[2] == 1 and cache_x is None and self._padding[4] == self.kernel_size[0] - 1
        if not lone:
            return super().forward(x, cache_x)
        padding = (self._padding[2], self._padding[0])
        image = F.conv2d(x[:, :, 0], self.weight[:, :, -1], self.bias, stride=self.stride[1:], padding=padding)
        return image.unsqueeze(2)


def use_image_fast_path(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Switch every causal convolution of `vae` to `ImageFastPath`, in place; results are equal."""
    for module in vae.modules():
        if type(module) is WanCausalConv3d:
            module.__class__ = ImageFastPath
    return vae


@torch.no_grad()
def initialise(vae: AutoencoderKLWan) -> None:
    """Start the network as a nearly linear image codec that repeats each frame in time.

    The default initialisation took over a thousand steps to find colour: the RMS norms lose the signal's amplitude, and
    two thirds of every kernel see only the zeros before a single image. Here the trunk keeps its variance, residual
    branches and earlier temporal taps start at zero, constant channels carry the amplitude past the norms, and the
    temporal convolutions copy, so that what single images teach holds for clips.
    """
    for name, module in vae.named_modules():
        if isinstance(module, WanCausalConv3d):
            fan_in = module.in_channels * module.kernel_size[1] * module.kernel_size[2]
            module.weight.zero_()
            torch.nn.init.normal_(module.weight[:, :, -1], std=fan_in**-0.5)
            module.bias.zero_()
            if name.endswith("time_conv"):
                copies = module.out_channels // module.in_channels
                module.weight.zero_()
                module.weight[:, :, -1, 0, 0] = torch.eye(module.in_channels).repeat(copies, 1)
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=(9 * module.in_channels) ** -0.5)
            if module.bias is not None:
                module.bias.zero_()
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            torch.nn.init.zeros_(module.conv2.weight)
    vae.encoder.conv_in.bias[:2] = 1.0
    vae.decoder.conv_in.bias[:8] = 1.0


class ClipPool:
    """Rendered clips kept in memory, a few replaced at every step; batches are cut from it with augmentation."""

    def __init__(self, recipe: AutoencoderRecipe, start: int) -> None:
        self._recipe, self._next = recipe, start
        self._generator = torch.Generator().manual_seed(recipe.seed + start)
        self._clips: list[torch.Tensor] = []  # (F, 3, H, W) uint8
        self._stills: list[torch.Tensor] = []  # (3, H, W) uint8
        while len(self._clips) < recipe.pool_size:
            self.refresh(20)

    def refresh(self, count: int) -> None:
        """Render `count` new clips, dropping the oldest ones beyond the pool's size."""
        recipe = self._recipe
        indices = list(range(self._next, self._next + count))
        clips = render(indices, frames=recipe.frames, height=recipe.height, width=recipe.width, seed=recipe.seed)
        self._next += count
        self._clips.extend(clips.frames)
        self._stills.extend(clips.background)
        self._stills.extend(_enlarged(clips, recipe.height, recipe.width))
        del self._clips[: max(0, len(self._clips) - recipe.pool_size)]
        del self._stills[: max(0, len(self._stills) - 2 * recipe.pool_size)]

    def _integer(self, high: int) -> int:
        return int(torch.randint(high, (1,), generator=self._generator))

    def _augment(self, video: torch.Tensor) -> torch.Tensor:
        """Mirror and swap colour channels at random: (F, 3, H, W) uint8 -> (3, F, H, W) in [-1, 1]."""
        video = video[:, torch.randperm(3, generator=self._generator)]
        if self._integer(2):
            video = video.flip(-1)
        return video.transpose(0, 1).float() / 127.5 - 1

    def images(self, batch: int) -> torch.Tensor:
        """(B, 3, 1, H, W) in [-1, 1]: half frames of clips, half backgrounds and large subjects."""
        chosen = []
        for k in range(batch):
            if k % 2:
                image = self._stills[self._integer(len(self._stills))]
            else:
                image = self._clips[self._integer(len(self._clips))][self._integer(self._recipe.frames)]
            chosen.append(self._augment(image[None]))
        return torch.stack(chosen)

    def clips(self, batch: int, frames: int) -> torch.Tensor:
        """(B, 3, F, H, W) in [-1, 1], at a random position; played backwards half of the time."""
        chosen = []
        for _ in range(batch):
            clip = self._clips[self._integer(len(self._clips))]
            start = self._integer(clip.shape[0] - frames + 1)
            window = clip[start : start + frames]
            chosen.append(self._augment(window.flip(0) if self._integer(2) else window))
        return torch.stack(chosen)


def _enlarged(clips: Clips, height: int, width: int) -> torch.Tensor:
    """Each subject on white, as large as it stands on the canvas. (B, 3, H, W) uint8"""
    images = torch.ones(len(clips.captions), 3, height, width)
    for image, tile, (left, top, right, bottom) in zip(images, clips.subject, clips.boxes.tolist(), strict=True):
        crop = tile[None, :, top:bottom, left:right]
        scale = min(height / (bottom - top), width / (right - left))
        size = (min(height, round((bottom - top) * scale)), min(width, round((right - left) * scale)))
        crop = F.interpolate(crop, size=size, mode="bilinear", antialias=True)[0].clamp(0, 1)
        y, x = (height - size[0]) // 2, (width - size[1]) // 2
        image[:, y : y + size[0], x : x + size[1]] = crop[:3] * crop[3:] + 1 - crop[3:]
    return (images * 255).round().to(torch.uint8)


def encode(vae: AutoencoderKLWan, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log-variance of the posterior, each (B, 16, T, h, w), for (B, 3, F, H, W) in [-1, 1]."""
    posterior = vae.encode(video).latent_dist
    return posterior.mean, posterior.logvar


def decode_unclamped(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """What `vae.decode` gives before its clamp, whose gradient is zero outside [-1, 1]."""
    vae.clear_cache()
    x = vae.post_quant_conv(latents)
    chunks = []
    for t in range(x.shape[2]):
        vae._conv_idx = [0]
        chunks.append(
            vae.decoder(x[:, :, t : t + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=t == 0)
        )
    vae.clear_cache()
    return unpatchify(torch.cat(chunks, dim=2), patch_size=vae.config.patch_size)


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor, edge_weight: float) -> torch.Tensor:
    """Squared and absolute error of the pixels and, weighted, of their horizontal and vertical differences."""
    error = output - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.square().mean() + 0.5 * (error.abs().mean() + edge_weight * edges)


def learning_rate(recipe: AutoencoderRecipe, step: int) -> float:
    """Linear warm-up, then one cosine over both stages."""
    total = recipe.image_steps + recipe.clip_steps
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(step / total, 1.0))
    rate = recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * cosine
    return rate * min(1.0, (step + 1) / recipe.warmup_steps)


def train_autoencoder(recipe: AutoencoderRecipe, folder: Path, *, save_every: int = 250) -> AutoencoderKLWan:
    """Train, or go on from `folder/checkpoint.pt`; losses are appended to `folder/loss.csv`."""
    torch.manual_seed(recipe.seed)
    vae = use_image_fast_path(AutoencoderKLWan(**NANO_VAE))
    initialise(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    pool = ClipPool(recipe, start=2 * first)
    noise = torch.Generator().manual_seed(recipe.seed + 1 + first)
    total, begun = recipe.image_steps + recipe.clip_steps, time.monotonic()
    for step in range(first, total):
        if step < recipe.image_steps:
            video = pool.images(recipe.image_batch)
        else:
            frames = 5 if step % 3 else 9
            video = pool.clips(recipe.clip_batch if frames == 5 else recipe.clip_batch // 2, frames)
        mean, logvar = encode(vae, video)
        latents = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=noise)
        output = decode_unclamped(vae, latents)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(output, video, recipe.edge_weight) + recipe.kl_weight * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        optimizer.step()
        pool.refresh(1)
        if step % 25 == 0:
            psnr = -10 * math.log10(float((output.detach().clamp(-1, 1) - video).square().mean()) / 4)
            line = f"{step},{loss.item():.4f},{psnr:.2f},{kl.item():.3f},{time.monotonic() - begun:.0f}"
            with (folder / "loss.csv").open("a") as log:
                log.write(line + "\n")
        if (step + 1) % save_every == 0 or step + 1 == total:
            temporary = checkpoint.with_suffix(".tmp")
            torch.save({"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, temporary)
            temporary.replace(checkpoint)
    return vae
