"""What a run needs before its first step: the recipe's model and dataset, found and checked, then loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from magref.checkpoints import layout
from magref.dataset.format import Sample
from magref.dataset.store import Dataset
from magref.errors import InputError, ResourceError
from magref.models import Model, find_model
from magref.settings import GenerationDefaults
from magref.sidecar import weights_sha256
from magref.training.cache import CacheInfo, fill_cache, fill_empty, fingerprint, open_cache
from magref.training.encoding import Encoders
from magref.training.examples import Buckets
from magref.training.loading import (
    StoredTransformer,
    build_transformer,
    draw,
    fill,
    find_transformer,
    initialise,
    load_encoders,
)
from magref.training.lora import add_lora, fill_lora, quantize
from magref.training.parallel import Team
from magref.training.recipe import Recipe


@dataclass(frozen=True)
class Setting:
    """All that a run needs and that is known before any weight is read."""

    recipe: Recipe
    base: Model
    stored: StoredTransformer
    buckets: Buckets
    samples: list[Sample]
    defaults: GenerationDefaults
    """What the trained model generates with: the base's, and the mechanism that was trained."""


def prepare(recipe: Recipe) -> Setting:
    """Find model and dataset and check that they go together.

    Raises:
        MagrefError: something is missing or does not fit.
    """
    if recipe.optim.compile and not torch.cuda.is_available() and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise ResourceError("compiling on a CPU takes a C++ compiler; install g++, or set optim.compile to false")
    base = find_model(recipe.model.base)
    sizes = recipe.data.sizes or ((base.defaults.width, base.defaults.height),)
    buckets = Buckets(sizes, recipe.data.frames or (base.defaults.num_frames,), recipe.data.fps)
    for shape in buckets.shapes():
        shape.check(base.strides)
    samples = list(Dataset(recipe.data.dataset))
    shift = recipe.objective.flow_shift or base.defaults.flow_shift
    defaults = base.defaults.model_copy(update={"mechanism": recipe.model.mechanism, "flow_shift": shift})
    return Setting(recipe, base, find_transformer(base), buckets, samples, defaults)


def make_encoders(setting: Setting, team: Team, *, idle: bool = False) -> tuple[Encoders, Any]:
    """The frozen models, and the text encoder that is to be trained (None where it is frozen too).

    `idle` leaves the frozen ones in the CPU's memory: a run from a cache needs them for validation videos alone.
    """
    recipe = setting.recipe
    dtype = torch.bfloat16 if recipe.optim.precision == "bf16" else torch.float32
    place = torch.device("cpu") if idle else team.device
    vae, text_encoder, tokenizer, image_encoder = load_encoders(setting.base, dtype, place)
    trained = None
    if recipe.model.text_encoder:
        kind, config = type(text_encoder), text_encoder.config
        if recipe.model.fresh:
            text_encoder = initialise(lambda: kind(config), recipe.seed).to(team.device)
        trained = text_encoder.to(team.device).float().requires_grad_(True).train()
    encoders = Encoders(
        vae,
        None if trained is not None else text_encoder,
        tokenizer,
        image_encoder,
        setting.base.strides,
        setting.base.defaults.text_tokens,
        recipe.model.mechanism,
        team.device,
    )
    return encoders, trained


def cache_info(setting: Setting) -> CacheInfo:
    """What a cache for this run is made with."""
    recipe, base = setting.recipe, setting.base
    parts = ["vae", "image_encoder"] if recipe.model.text_encoder else ["vae", "image_encoder", "text_encoder"]
    names = {"vae": layout.VAE, "image_encoder": layout.IMAGE_ENCODER, "text_encoder": layout.TEXT_ENCODER}
    paths = {part: base.folder / (names[part] if base.layout == "published" else part) for part in parts}
    encoders = {part: weights_sha256(path) for part, path in paths.items() if path.exists()}
    made_with = fingerprint(encoders, setting.buckets, recipe.data, recipe.model.mechanism)
    return CacheInfo(made_with=made_with, canvases=recipe.data.canvases)


def make_cache(recipe: Recipe, *, on_sample: Callable[[str, str | None], None]) -> tuple[int, int]:
    """Encode the dataset into `data.cache`; several processes share the work. What is there already stays.

    Args:
        on_sample: told each sample of this process, with the reason where it could not be used.

    Returns:
        How many samples all processes encoded, and how many could not be used.
    """
    if recipe.data.cache is None:
        raise InputError("the recipe names no cache; set data.cache to a folder")
    folder, dataset = (Path(os.path.expanduser(name)) for name in (recipe.data.cache, recipe.data.dataset))
    team = Team.join()
    try:
        setting = team.each(lambda: prepare(recipe))
        team.first(lambda: open_cache(folder, cache_info(setting), make=True))
        encoders, _ = make_encoders(setting, team)
        team.first(lambda: fill_empty(folder, encoders, setting.buckets))
        own = setting.samples[team.rank :: team.world]
        counts = [0, 0]
        for name, problem in fill_cache(folder, dataset, own, encoders, setting.buckets, recipe.data):
            counts[problem is not None] += 1
            on_sample(name, problem)
        encoded, passed_over = zip(*team.gather(counts), strict=True)
        return sum(encoded), sum(passed_over)
    finally:
        team.leave()


def make_transformer(setting: Setting, team: Team) -> Any:
    """The transformer with its weights, adapters where the recipe has them, spread over the team."""
    recipe, config = setting.recipe, setting.stored.config
    lora, precision = recipe.model.lora, recipe.optim.precision
    # Spread weights are kept in float32, since FSDP2 wants one type for frozen weights and adapters.
    small = lora is not None and precision == "bf16" and team.world == 1
    transformer = build_transformer(config, torch.bfloat16 if small else torch.float32)
    if lora is not None and lora.quantize == "int8":
        fill(transformer, setting.stored, team.device)
        quantize(transformer, lora)
        add_lora(transformer, lora)
        fill_lora(transformer.to(team.device), recipe.seed)
        return transformer.train()
    if lora is not None:
        add_lora(transformer, lora)
    team.shard(transformer, transformer.blocks, precision=precision)
    if recipe.model.fresh:
        draw(transformer, config, recipe.seed, team.device)
    else:
        fill(transformer, setting.stored, team.device)
    if lora is not None:
        fill_lora(transformer, recipe.seed)
    return transformer.train()
