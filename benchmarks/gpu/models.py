"""Random models of the true sizes, and tiny ones of the same architecture; what the benchmarks feed them.

Speed and memory depend on sizes alone: no weights are downloaded.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel

from magref.checkpoints.architecture import magref_14b_config
from magref.conditioning import Conditioning
from magref.flow import make_scheduler

TEXT_TOKENS = 512
TINY = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 64,
    "image_dim": 24,
    "added_kv_proj_dim": 32,
}
TINY_VAE = {"base_dim": 8, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1}


@dataclass(frozen=True)
class Sizes:
    """Of one video: latents (frames, height, width), rows of the two texts, rows and width of CLIP's features."""

    latent: tuple[int, int, int]
    texts: tuple[int, int]
    image: tuple[int, int]

    @property
    def tokens(self) -> int:
        """The transformer's sequence length."""
        frames, height, width = self.latent
        return frames * height * width // 4


TRUE = Sizes((21, 60, 104), (120, 126), (257, 1280))
"""480 x 832 pixels, 81 frames: 32,760 tokens; a long prompt, and the negative prompt as it is."""
SMALL = Sizes((2, 4, 6), (5, 7), (50, 24))


def sizes(tiny: bool) -> Sizes:
    return SMALL if tiny else TRUE


def transformer(tiny: bool, layers: int, device: torch.device, dtype: torch.dtype) -> Any:
    """The 14B transformer, or one of fewer layers; what `from_pretrained` keeps in float32 is in it here too."""
    config = magref_14b_config() | (TINY if tiny else {}) | {"num_layers": layers}
    with torch.device("meta"):
        model = WanTransformer3DModel(**config)
    for name, parameter in model.named_parameters():
        kept = any(part in name for part in model._keep_in_fp32_modules)
        parameter.data = parameter.data.to(torch.float32 if kept else dtype)
    model = model.to_empty(device=device)
    filled(model)
    with torch.device(device):  # its tables are computed, not loaded
        model.rope = type(model.rope)(config["attention_head_dim"], config["patch_size"], model.config.rope_max_seq_len)
    return model.eval().requires_grad_(False)


def filled(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter random; gains near 1, so that 40 blocks neither die out nor overflow."""
    generators: dict[torch.device, torch.Generator] = {}
    for name, parameter in model.named_parameters():
        device = parameter.device
        generator = generators.setdefault(device, torch.Generator(device).manual_seed(seed))
        gain = ("norm" in name and name.endswith("weight")) or name.endswith("gamma")
        fan = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
        parameter.data.normal_(1.0 if gain else 0.0, 0.1 if gain else fan**-0.5, generator=generator)
    return model


def sharing(model: Any) -> Any:
    """Another model over the same weights, to be compiled or set up in another way."""
    weights = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, weights)


def set_attention(model: Any, backend: str) -> Any:
    """diffusers' attention backend of this model alone; `set_attention_backend` changes it for others too."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    for module in model.modules():
        if hasattr(module, "processor"):
            module.processor = type(module.processor)()
            module.processor._attention_backend = AttentionBackendName(backend)
    return model


def vae(tiny: bool, device: torch.device) -> Any:
    """Wan2.1's autoencoder in float32."""
    with torch.device(device):
        return filled(AutoencoderKLWan(**(TINY_VAE if tiny else {}))).eval().requires_grad_(False)


def inputs(
    of: Sizes, model: Any, device: torch.device, dtype: torch.dtype, steps: int = 4
) -> tuple[list[torch.Tensor], Conditioning, torch.Tensor, torch.Tensor]:
    """Text features, conditioning, timesteps and noise."""
    source = torch.Generator(device).manual_seed(1)

    def random(*shape: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(shape, generator=source, device=device).to(kind)

    texts = [random(rows, model.config.text_dim) for rows in of.texts]
    guidance = random(1, model.config.in_channels - model.config.out_channels, *of.latent)
    conditioning = Conditioning(guidance, random(1, *of.image))
    timesteps = make_scheduler("unipc", steps=steps, shift=3.0).timesteps
    return texts, conditioning, timesteps, random(1, model.config.out_channels, *of.latent, kind=torch.float32)
