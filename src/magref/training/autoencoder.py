"""Train a small video autoencoder: `python -m magref.training.autoencoder DATASET... FOLDER`.

The architecture is diffusers' `AutoencoderKLWan` at a small size. A CPU learns it slowest of all parts, and single
images teach most of it: for one frame the causal 3-D convolutions see nothing but zeros before it, so they are 2-D
convolutions with their last temporal tap, at a third of the cost (`ImageFastPath`).
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
    unpatchify,
)

from magref.dataset.store import Dataset
from magref.errors import InputError
from magref.geometry import VideoShape
from magref.placement import choose_dtype
from magref.synthetic.draw import Draw
from magref.synthetic.textures import scene
from magref.training.examples import draw_canvas
from magref.training.muon import Muon
from magref.training.recipe import DataRecipe
from magref.video import read_video

LATENT_CHANNELS = 32
"""Twice Wan2.1's: at 64x96 pixels, 16 numbers for each 8x8 block leave no faces. The best linear code of 8x8 blocks, as
a yardstick, reaches 26.8 dB on twelve photographs of that size with 16 numbers, and 30.3 dB with 32.
"""

NANO_VAE = {
    "base_dim": 16,
    "decoder_base_dim": 16,
    "z_dim": LATENT_CHANNELS,
    "dim_mult": [2, 3, 4],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [True, True],
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 8,
    "latents_mean": [0.0] * LATENT_CHANNELS,
    "latents_std": [1.0] * LATENT_CHANNELS,
}


@dataclass(frozen=True)
class AutoencoderRecipe:
    """How long, how fast, and what each batch holds."""

    steps: int = 4800
    image_share: float = 0.3
    """Of the steps, so many at the beginning see single images alone; after them every fourth step does."""
    image_batch: int = 16
    clip_batch: int = 4
    """Clips of 5 frames; two of 9 or 17."""
    learning_rate: float = 2e-3
    lowest: float = 0.02
    """Where the cosine ends, as a share of the learning rate."""
    warmup_steps: int = 50
    edge_weight: float = 0.5
    kl_weight: float = 3e-5
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


CONSTANT = 8.0
"""The value of the trunk's first channel: several times the length of what the other channels hold."""


@torch.no_grad()
def initialise(vae: AutoencoderKLWan) -> None:
    """Start the network as a nearly linear image codec that repeats each frame in time.

    The default initialisation took over a thousand steps to find colour: the RMS norms lose the signal's amplitude, and
    two thirds of every kernel see only the zeros before a single image. Here the trunk keeps its variance, residual
    branches and earlier temporal taps start at zero, and the temporal convolutions copy, so that what single images
    teach holds for clips. The first channel of the trunk is a constant that dominates the norms' denominators, and
    their gains undo it: the norms hardly act until training wants them to. After 500 steps on images this was worth
    0.4 dB.
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
        elif isinstance(module, WanRMS_norm):
            module.gamma.fill_(CONSTANT / module.gamma.numel() ** 0.5)
            module.gamma[0] = 0.0
    for part in (vae.encoder, vae.decoder):
        _constant_channel(part.conv_in, inputs_too=False)
        for module in part.modules():
            if isinstance(module, WanResidualBlock):
                torch.nn.init.zeros_(module.conv2.weight)
                if isinstance(module.conv_shortcut, WanCausalConv3d):
                    _constant_channel(module.conv_shortcut)
            elif isinstance(module, WanResample):
                _constant_channel(module.resample[1])


def _constant_channel(conv: torch.nn.Conv2d | torch.nn.Conv3d, *, inputs_too: bool = True) -> None:
    """Make its first output the constant and, where its first input is one, let no other output see it."""
    assert conv.bias is not None
    if inputs_too:
        conv.weight[:, 0] = 0.0
    conv.weight[0] = 0.0
    conv.bias[0] = CONSTANT


class Material:
    """What the autoencoder sees: clips, canvases, and procedural scenes with the statistics of photographs.

    Every second image is a scene, since what was learnt on drawn clips alone would fail on photographs; of the others
    every second one is a canvas, whose finer lines are what a subject's looks come from.
    """

    def __init__(
        self, clips: list[torch.Tensor], seed: int, *, canvases: list[torch.Tensor] | None = None, scenes: int = 200
    ) -> None:
        if not clips:
            raise InputError("the dataset has no clips to learn from; give another")
        self._clips = clips
        """(F, 3, H, W) uint8, all of one size."""
        self._canvases = canvases or clips
        """(F, 3, H, W) uint8, of which an image is one frame."""
        self._generator = torch.Generator().manual_seed(seed)
        self._seed, self._rendered = seed, 0
        self._scenes: list[torch.Tensor] = []
        self._most = 3 * scenes
        self.refresh(scenes)

    @property
    def frames(self) -> int:
        """Of the shortest clip."""
        return min(clip.shape[0] for clip in self._clips)

    def refresh(self, count: int) -> None:
        """Render new scenes, dropping the oldest ones beyond the most that are kept."""
        _, _, height, width = self._clips[0].shape
        indices = list(range(self._rendered, self._rendered + count))
        self._rendered += count
        pictures = scene(Draw(indices, self._seed), max(height, width))[..., :height, :width]
        self._scenes.extend((pictures * 255).round().to(torch.uint8))
        del self._scenes[: max(0, len(self._scenes) - self._most)]

    def images(self, batch: int) -> torch.Tensor:
        """(B, 3, 1, H, W) in [-1, 1]."""
        chosen = []
        for k in range(batch):
            if k % 2 == 0:
                chosen.append(self._augmented(self._one(self._scenes)[None]))
            else:
                clip = self._one(self._canvases if k % 4 == 1 else self._clips)
                frame = self._integer(clip.shape[0])
                chosen.append(self._augmented(clip[frame : frame + 1]))
        return torch.stack(chosen)

    def clips(self, batch: int, frames: int) -> torch.Tensor:
        """(B, 3, F, H, W) in [-1, 1], from a random place in their clips; played backwards half of the time."""
        chosen = []
        for _ in range(batch):
            clip = self._one(self._clips)
            start = self._integer(clip.shape[0] - frames + 1)
            window = clip[start : start + frames]
            chosen.append(self._augmented(window.flip(0) if self._integer(2) else window))
        return torch.stack(chosen)

    def _one(self, things: list[torch.Tensor]) -> torch.Tensor:
        return things[self._integer(len(things))]

    def _integer(self, high: int) -> int:
        return int(torch.randint(high, (1,), generator=self._generator))

    def _augmented(self, video: torch.Tensor) -> torch.Tensor:
        """Mirror, and swap colour channels at times: (F, 3, H, W) uint8 -> (3, F, H, W) in [-1, 1]."""
        if self._integer(3) == 0:
            video = video[:, torch.randperm(3, generator=self._generator)]
        if self._integer(2):
            video = video.flip(-1)
        return video.transpose(0, 1).float() / 127.5 - 1


def read_clips(folder: Path) -> list[torch.Tensor]:
    """Every clip of a dataset, (F, 3, H, W) uint8."""
    videos = (read_video(folder / sample.clip.path)[0] for sample in Dataset(folder))
    return [torch.from_numpy(video).permute(0, 3, 1, 2).contiguous() for video in videos]


def read_canvases(folder: Path, like: torch.Tensor) -> list[torch.Tensor]:
    """A canvas of every sample's references, (1, 3, H, W) uint8, in the size of the clip `like` (F, 3, H, W)."""
    shape, recipe = VideoShape(1, *like.shape[2:]), DataRecipe(dataset=str(folder), backgrounds=True)
    canvases = (draw_canvas(folder, sample, shape, recipe, (0,)) for sample in Dataset(folder) if sample.subjects)
    return [torch.from_numpy(np.array(canvas.image)).permute(2, 0, 1)[None].contiguous() for canvas in canvases]


def encode(vae: AutoencoderKLWan, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log-variance of the posterior, each (B, C, T, h, w), for (B, 3, F, H, W) in [-1, 1]."""
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
    """Linear warm-up, then one cosine over all steps."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(step / recipe.steps, 1.0))
    share = recipe.lowest + (1 - recipe.lowest) * cosine
    return recipe.learning_rate * share * min(1.0, (step + 1) / recipe.warmup_steps)


def batch_of(recipe: AutoencoderRecipe, material: Material, step: int) -> torch.Tensor:
    """What a step sees: (B, 3, F, H, W) in [-1, 1].

    The long clips count: a model that had seen 17 frames in one step of eight lost 5 dB from the first to the last.
    """
    if step < recipe.image_share * recipe.steps or step % 4 == 3:
        return material.images(recipe.image_batch)
    frames = min((17, 5, 9)[step % 4], material.frames)
    return material.clips(recipe.clip_batch if frames <= 5 else 2, frames)


def optimizers(recipe: AutoencoderRecipe, vae: AutoencoderKLWan) -> list[torch.optim.Optimizer]:
    """Muon for the kernels inside, AdamW for what meets pixels and latents, and for all that is no kernel."""
    outer = ("conv_in", "conv_out", "quant_conv")
    kernels: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in vae.named_parameters():
        inside = parameter.ndim >= 4 and not any(part in name for part in outer)
        (kernels if inside else others).append(parameter)
    return [
        Muon(kernels, lr=recipe.learning_rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
    ]


def train_autoencoder(
    recipe: AutoencoderRecipe,
    clips: list[torch.Tensor],
    folder: Path,
    *,
    canvases: list[torch.Tensor] | None = None,
    save_every: int = 250,
) -> AutoencoderKLWan:
    """Train, or go on from `folder/checkpoint.pt`; losses are appended to `folder/loss.csv`.

    Where the processor multiplies bfloat16 in hardware the networks run in it: about 0.6 of the time.
    """
    torch.manual_seed(recipe.seed)
    vae = use_image_fast_path(AutoencoderKLWan(**NANO_VAE))
    initialise(vae)
    steppers = optimizers(recipe, vae)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        vae.load_state_dict(state["vae"])
        for optimizer, saved in zip(steppers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    material = Material(clips, seed=recipe.seed + first, canvases=canvases)
    half = choose_dtype(torch.device("cpu")) is torch.bfloat16
    noise = torch.Generator().manual_seed(recipe.seed + 1 + first)
    for step in range(first, recipe.steps):
        video = batch_of(recipe, material, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            mean, logvar = (part.float() for part in encode(vae, video))
            latents = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=noise)
            output = decode_unclamped(vae, latents).float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(output, video, recipe.edge_weight) + recipe.kl_weight * kl
        vae.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for optimizer in steppers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step)
            optimizer.step()
        if step % 4 == 0:
            material.refresh(1)
        if step % 25 == 0:
            with (folder / "loss.csv").open("a") as log:
                log.write(f"{step},{loss.item():.4f},{psnr(output.detach(), video):.2f},{kl.item():.3f}\n")
        if (step + 1) % save_every == 0 or step + 1 == recipe.steps:
            states = [optimizer.state_dict() for optimizer in steppers]
            temporary = checkpoint.with_suffix(".tmp")
            torch.save({"vae": vae.state_dict(), "optimizers": states, "step": step + 1}, temporary)
            temporary.replace(checkpoint)
    return vae


def psnr(output: torch.Tensor, target: torch.Tensor) -> float:
    """In dB, for values in [-1, 1]."""
    error = (output.clamp(-1, 1) - target).square().mean()
    return -10 * math.log10(float(error) / 4)


@torch.no_grad()
def measure_latents(vae: AutoencoderKLWan, material: Material, count: int = 96) -> None:
    """Note the latents' mean and deviation per channel in the configuration, as the sampler needs them."""
    frames = min(17, material.frames)
    means = torch.cat([encode(vae, material.clips(8, frames))[0] for _ in range(count // 8)])
    vae.register_to_config(
        latents_mean=means.mean(dim=(0, 2, 3, 4)).tolist(), latents_std=means.std(dim=(0, 2, 3, 4)).tolist()
    )


def main() -> None:
    """Train on the clips and canvases of datasets and save the autoencoder as a diffusers folder."""
    parser = argparse.ArgumentParser(prog="python -m magref.training.autoencoder", description=__doc__)
    parser.add_argument("datasets", type=Path, nargs="+", help="datasets whose clips have all one size")
    parser.add_argument("folder", type=Path, help="for the checkpoint, the losses and, in vae/, the autoencoder")
    parser.add_argument("--steps", type=int, default=AutoencoderRecipe.steps)
    options = parser.parse_args()
    clips = [clip for dataset in options.datasets for clip in read_clips(dataset)]
    canvases = [canvas for dataset in options.datasets for canvas in read_canvases(dataset, clips[0])]
    recipe = AutoencoderRecipe(steps=options.steps)
    vae = train_autoencoder(recipe, clips, options.folder, canvases=canvases).eval()
    measure_latents(vae, Material(clips, seed=1))
    vae.save_pretrained(options.folder / "vae")


if __name__ == "__main__":
    main()
