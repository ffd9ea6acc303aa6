"""What a run needs before its first step: the recipe's model and dataset, found and checked, then loaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from magref.checkpoints import layout
from magref.checkpoints.headers import read_json
from magref.dataset.rows import Rows
from magref.dataset.store import Dataset
from magref.errors import InputError, ResourceError, memory_errors
from magref.models import Model, find_model
from magref.settings import GenerationDefaults
from magref.sidecar import weights_sha256
from magref.training.cache import SKIPPED_FILE, CacheInfo, fill_cache, fill_empty, fingerprint, open_cache
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

MEMORY_REMEDY = "use optim.checkpointing full, a smaller optim.batch, size or fewer data.frames; --plan says what fits"

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Setting:
    """All that a run needs and that is known before any weight is read."""

    recipe: Recipe
    base: Model
    stored: StoredTransformer
    buckets: Buckets
    dataset: Dataset
    """Its folder, and that of the cache, absolute: the recipe's are relative to the working directory."""
    cache: Path | None
    defaults: GenerationDefaults
    """What the trained model generates with: the base's, and what was trained otherwise."""

    @cached_property
    def rows(self) -> Rows:
        """The dataset's samples by their ids."""
        return Rows(self.dataset)


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
    dataset = Dataset(_absolute(recipe.data.dataset))
    if not len(dataset):
        raise InputError(f"the dataset {dataset.folder} has no samples; add some with magref dataset import")
    cache = None if recipe.data.cache is None else _absolute(recipe.data.cache)
    if recipe.model.lora is not None and recipe.model.mechanism != base.defaults.mechanism:
        raise InputError(
            f"a LoRA is generated with by its base's mechanism, {base.defaults.mechanism}; set model.mechanism to it, "
            "or model.lora to null"
        )
    width, height = _trained(sizes, (base.defaults.width, base.defaults.height), sizes[0])
    defaults = base.defaults.model_copy(
        update={
            "width": width,
            "height": height,
            "num_frames": _trained(buckets.frames, base.defaults.num_frames, max(buckets.frames)),
            "mechanism": recipe.model.mechanism,
            "flow_shift": recipe.objective.flow_shift or base.defaults.flow_shift,
            "fps": recipe.data.fps or base.defaults.fps,
            # A clip's own first frame is part of the video, a canvas is not.
            "drop_frames": 0 if recipe.data.condition == "first-frame" else base.defaults.drop_frames,
        }
    )
    return Setting(recipe, base, find_transformer(base), buckets, dataset, cache, defaults)


def _trained(values: Collection[_Value], before: _Value, otherwise: _Value) -> _Value:
    """What a model generates by default: as before where that is among what it was trained on."""
    return before if before in values else otherwise


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def make_encoders(setting: Setting, team: Team, *, idle: bool = False) -> tuple[Encoders, Any]:
    """The frozen models, and the text encoder that is to be trained (None where it is frozen too).

    `idle` leaves the frozen ones in the CPU's memory: a run from a cache needs them for validation videos alone. Each
    process has all of them whole, the trained one until it is spread.
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
    if not recipe.model.text_encoder:
        encoders["text_tokens"] = str(base.defaults.text_tokens)
    if base.layout != "published":  # whose VAE is always Wan2.1's
        config = {key: value for key, value in read_json(paths["vae"] / layout.CONFIG).items() if key[0] != "_"}
        encoders["vae_config"] = json.dumps(config, sort_keys=True)
    made_with = fingerprint(encoders, setting.buckets, recipe.data, recipe.model.mechanism)
    return CacheInfo(made_with=made_with, canvases=recipe.data.canvases)


def make_cache(recipe: Recipe, *, on_sample: Callable[[str, str | None], None]) -> tuple[int, int]:
    """Encode the dataset into `data.cache`; several processes share the work. What is there already stays.

    Args:
        on_sample: told each sample of this process, with the reason where it could not be used.

    Returns:
        How many samples all processes encoded, and how many could not be used.

    Raises:
        MagrefError: one sentence; what was encoded before stays.
    """
    if recipe.data.cache is None:
        raise InputError("the recipe names no cache; set data.cache to a folder")
    team = Team.join()
    try:
        setting = team.each(lambda: prepare(recipe))
        folder, dataset = setting.cache, setting.dataset
        assert folder is not None
        made = team.first(lambda: open_cache(folder, cache_info(setting), make=True))
        team.first(lambda: (folder / SKIPPED_FILE).unlink(missing_ok=True))
        data = recipe.data.model_copy(update={"canvases": made.canvases})
        counts = [0, 0]
        with memory_errors("encoding a sample", "use smaller data.sizes or fewer data.frames"):
            encoders, _ = make_encoders(setting, team)
            team.first(lambda: fill_empty(folder, encoders, setting.buckets))
            own = islice((row for _, row in dataset.rows()), team.rank, None, team.world)
            for name, problem in fill_cache(folder, dataset.folder, own, encoders, setting.buckets, data):
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
        fill(transformer, setting.stored, torch.device("cpu"))
        quantize(transformer, lora, team.device)
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
