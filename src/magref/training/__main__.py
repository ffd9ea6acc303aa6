"""Make magref-nano from nothing: `python -m magref.training --folder runs/nano`.

Four stages, each resumed where it was interrupted: the autoencoder, latents of the synthetic world, the transformer,
and the export of a model folder. The model card says where the shipped weights' own run differed from the defaults.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from transformers import PreTrainedTokenizerFast

from magref.geometry import Strides
from magref.training.autoencoder import (
    AutoencoderRecipe,
    ClipPool,
    encode,
    train_autoencoder,
    use_image_fast_path,
)
from magref.training.latents import SHARD, LatentSamples, cache_latents
from magref.training.nano import DEFAULTS, build_text_encoder, build_tokenizer, build_transformer, export
from magref.training.transformer import TransformerRecipe, train_transformer

STAGES = ("autoencoder", "latents", "transformer", "export")
LATENTS_SEED = 1
LATENT_SHARDS = 44
STILL_SHARDS = 12
TAKES = 3


def main() -> None:
    """Run the stages that were asked for, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m magref.training", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="checkpoints, latents and the model")
    parser.add_argument("--stage", choices=STAGES, help="one stage alone")
    parser.add_argument(
        "--shards", type=int, default=LATENT_SHARDS, help=f"of {SHARD} subjects with {TAKES} clips each"
    )
    parser.add_argument("--steps", type=int, default=TransformerRecipe.steps, help="of the transformer")
    parser.add_argument(
        "--compile", action="store_true", help="compile the transformer for its training; needs a C++ compiler"
    )
    options = parser.parse_args()
    stages = {
        "autoencoder": lambda: make_autoencoder(options.folder),
        "latents": lambda: make_latents(options.folder, options.shards),
        "transformer": lambda: make_transformer(options.folder, options.steps, compiled=options.compile),
        "export": lambda: make_model(options.folder),
    }
    for name in (options.stage,) if options.stage else STAGES:
        print(f"{name} ...", flush=True)
        stages[name]()


def make_autoencoder(folder: Path) -> None:
    """Train the autoencoder, measure its latents' mean and deviation per channel, and save it."""
    recipe = AutoencoderRecipe()
    vae = train_autoencoder(recipe, folder / "autoencoder").eval()
    pool = ClipPool(replace(recipe, pool_size=120), start=5_000_000)
    with torch.no_grad():
        means = torch.cat([encode(vae, pool.clips(8, recipe.frames))[0] for _ in range(12)])
    vae.register_to_config(
        latents_mean=means.mean(dim=(0, 2, 3, 4)).tolist(), latents_std=means.std(dim=(0, 2, 3, 4)).tolist()
    )
    vae.save_pretrained(folder / "vae")


def load_autoencoder(folder: Path) -> AutoencoderKLWan:
    """The trained autoencoder; its configuration does not name this folder, since it is exported with the model."""
    config = AutoencoderKLWan.load_config(folder / "vae")
    vae = AutoencoderKLWan.from_config({key: value for key, value in config.items() if key != "_name_or_path"})
    vae.load_state_dict(AutoencoderKLWan.from_pretrained(folder / "vae").state_dict())
    return use_image_fast_path(vae).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The run's tokenizer."""
    return PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")


def make_latents(folder: Path, shards: int) -> None:
    """Encode the transformer's training samples."""
    cache_latents(
        load_autoencoder(folder),
        Strides(),
        DEFAULTS,
        folder / "latents",
        shards=shards,
        takes=TAKES,
        still_shards=STILL_SHARDS,
        seed=LATENTS_SEED,
    )


def make_transformer(folder: Path, steps: int, *, compiled: bool) -> None:
    """Train transformer and text encoder; their moving averages are saved beside the tokenizer."""
    recipe = TransformerRecipe(steps=steps)
    torch.manual_seed(recipe.seed)
    if not (folder / "tokenizer").exists():  # kept: a change of the captions must not change a run that goes on
        build_tokenizer().save_pretrained(folder / "tokenizer")
    tokenizer = load_tokenizer(folder)
    transformer, text_encoder = train_transformer(
        recipe,
        LatentSamples(folder / "latents", recipe.seed),
        build_transformer(),
        build_text_encoder(len(tokenizer)),
        tokenizer,
        folder / "transformer_run",
        text_tokens=DEFAULTS.text_tokens,
        compiled=compiled,
    )
    torch.save(
        {"transformer": transformer.state_dict(), "text_encoder": text_encoder.state_dict()}, folder / "averages.pt"
    )


def make_model(folder: Path) -> None:
    """Put the parts together into a model folder."""
    tokenizer = load_tokenizer(folder)
    transformer, text_encoder = build_transformer(), build_text_encoder(len(tokenizer))
    averages = torch.load(folder / "averages.pt", weights_only=True)
    transformer.load_state_dict(averages["transformer"])
    text_encoder.load_state_dict(averages["text_encoder"])
    export(
        folder / "magref-nano",
        transformer=transformer,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        vae=load_autoencoder(folder),
    )


if __name__ == "__main__":
    main()
