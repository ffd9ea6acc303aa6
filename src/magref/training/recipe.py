"""What a training run is: one strict record, read from YAML, that is saved with the run.

Figures that the paper states (section 4.1) are the defaults; where it is silent the default is our choice, and the
field says so.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from magref.errors import InputError, ResourceError
from magref.references import MAX_REFERENCES
from magref.settings import Mechanism, Record
from magref.sidecar import first_problem

ENDING = ".yaml"

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]


class Part(Record):
    """Base of a recipe's parts: numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class LoraRecipe(Part):
    """Low-rank adapters in place of the full weights; our choice throughout, the paper trains all weights."""

    rank: Positive = 32
    alpha: Positive = 32
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj", "net.0.proj", "net.2")
    quantize: Literal["none", "int8"] = "none"
    """The frozen weights in 8 bits, through torchao: half the memory of bfloat16."""


class ModelRecipe(Part):
    """Which model is trained, and which part of it."""

    base: str
    """A folder (diffusers' layout, the authors' or Wan2.1's own image-to-video layout), or magref-nano."""
    fresh: bool = False
    """Random weights of the base's sizes, instead of its own, for what is trained."""
    mechanism: Mechanism = "masked"
    lora: LoraRecipe | None = None
    """None: all of the transformer's weights."""
    text_encoder: bool = False
    """Train the text encoder together with the transformer, as for small models."""

    @model_validator(mode="after")
    def _check(self) -> ModelRecipe:
        if self.lora is not None and (self.fresh or self.text_encoder):
            raise ValueError("lora goes with neither fresh nor text_encoder; leave one out")
        return self


class AugmentRecipe(Part):
    """Changes of the references against copy-paste; the paper names none, so all of this is our choice."""

    mirror: Share = 0.5
    """How often a reference is mirrored. Turn it off where pictures hold writing."""
    rotate_degrees: Annotated[float, Field(ge=0, le=45)] = 5.0
    shrink: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Up to how much smaller than its cell a reference is drawn."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Up to which share of a picture without transparency is cut from its sides."""
    light: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Up to how much brightness, contrast and saturation change."""


class DataRecipe(Part):
    """Which samples, and how they become examples."""

    dataset: str
    """Its folder; relative paths count from the working directory."""
    cache: str | None = None
    """Folder of encoded samples, filled by `magref train cache`; None: everything is encoded during training."""
    canvases: Positive = 4
    """Canvases encoded for each sample of the cache, each with its own references and layout."""
    sizes: tuple[tuple[Positive, Positive], ...] = ()
    """(width, height) buckets; each clip goes to the nearest in shape. None: the model's own size."""
    frames: tuple[Positive, ...] = ()
    """Lengths, 4k+1; each clip takes the longest it fills. None: the model's own length."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """To which clips are brought by leaving frames out; None: temporal stride 1 (paper 4.1)."""
    condition: Literal["references", "first-frame"] = "references"
    """What lies on the canvas; the clip's own first frame makes plain image-to-video, as Wan2.1 was trained before."""
    candidates: Positive = 10
    """Of each subject's pictures, the best so many are drawn from (paper 3.1: ten faces)."""
    references: Annotated[int, Field(gt=0, le=MAX_REFERENCES)] = 4
    backgrounds: bool = False
    """Whether background references go on the canvas; the paper trains without them (4.1)."""
    shuffle: bool = True
    """Shuffle references over the canvas's cells (paper 3.2)."""
    object_dropout: Share = 0.1
    """How often an object's reference is left out; our choice."""
    augment: AugmentRecipe = AugmentRecipe()
    workers: Whole = 2
    """Threads that prepare the next examples."""


class OptimRecipe(Part):
    """AdamW as in paper 4.1; restart period, warm-up and batch size are not stated there and are our choice."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon, for small models in one process: for the blocks' matrices, AdamW for the rest."""
    muon_scale: Annotated[float, Field(gt=0)] = 1.0
    """Muon's learning rate, in multiples of `learning_rate`, which then is AdamW's."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    schedule: Literal["cosine", "trapezoid", "constant"] = "cosine"
    """Cosine annealing with restarts (paper 4.1); or flat, falling to zero over the last three tenths of the steps."""
    period_steps: Positive = 1000
    warmup_steps: Whole = 100
    lowest: Share = 0.1
    """Where each cosine ends, as a share of the learning rate."""
    steps: Positive
    batch: Positive = 1
    """Samples in one pass on one device."""
    accumulate: Positive = 1
    """Passes before each step."""
    ema: Decay = 0.0
    """Decay of the moving average of the weights, which is then what is exported; 0: none."""
    precision: Literal["bf16", "fp32"] = "bf16"
    checkpointing: Literal["none", "selective", "full"] = "none"
    """Activation checkpointing of the blocks; selective keeps self-attention's outputs."""
    compile: bool = False
    """Let torch compile the blocks; on a CPU that takes a C++ compiler."""


class ObjectiveRecipe(Part):
    """Flow matching (paper 4.1)."""

    flow_shift: Annotated[float, Field(gt=0)] | None = None
    """None: the one the model generates with."""
    level_spread: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of the noise levels' logits: above 1, more of the highest and the lowest levels."""
    text_dropout: Share = 0.1
    """How often a caption is left out, for guidance; our choice."""
    reference_dropout: Share = 0.0
    """How often the whole canvas is left blank, without references; our choice."""


class ValidationRecipe(Part):
    """What is looked at during the run."""

    every: Positive = 500
    samples: Whole | None = None
    """Samples kept out of training, at most half of all; 0: no validation. None: a tenth, one to eight."""
    videos: Whole = 2
    """Of these samples, so many are generated each time."""

    def held_out(self, samples: int) -> int:
        """How many of so many samples are kept out of training."""
        wanted = min(8, max(1, samples // 10)) if self.samples is None else self.samples
        return min(samples // 2, wanted)


class Recipe(Part):
    """A training run."""

    model: ModelRecipe
    data: DataRecipe
    optim: OptimRecipe
    objective: ObjectiveRecipe = ObjectiveRecipe()
    validation: ValidationRecipe = ValidationRecipe()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    save_every: Positive = 500
    keep: Positive = 2
    """The newest checkpoints that stay."""
    loggers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.data.condition == "first-frame" and self.model.mechanism != "masked":
            raise ValueError("data.condition first-frame goes with the masked mechanism alone; leave one out")
        if self.objective.reference_dropout and self.model.mechanism != "masked":
            raise ValueError("objective.reference_dropout goes with the masked mechanism alone; set it to 0")
        return self


def check_processes(recipe: Recipe, processes: int) -> None:
    """Whether a recipe runs on so many processes.

    Raises:
        ResourceError: it runs in one alone.
    """
    if processes == 1:
        return
    if recipe.optim.optimizer == "muon":
        raise ResourceError("muon runs in one process alone; set optim.optimizer to adamw")
    if recipe.model.lora is not None and recipe.model.lora.quantize == "int8":
        raise ResourceError("8-bit weights cannot be spread over processes; set model.lora.quantize to none")


def shipped_recipes() -> list[str]:
    """Names of the recipes inside the package."""
    folder = resources.files("magref.training") / "recipes"
    return sorted(entry.name.removesuffix(ENDING) for entry in folder.iterdir() if entry.name.endswith(ENDING))


def read_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file, or a shipped one by its name.

    Args:
        changes: "section.key=value" each, the value as in YAML.

    Raises:
        InputError: there is none, or a key or value is wrong; the sentence names it.
    """
    return parse_recipe(recipe_text(name), str(name), changes)


def recipe_text(name: str | Path) -> str:
    """The YAML of a recipe; errors as for `read_recipe`."""
    path = Path(os.path.expanduser(name))
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"the recipe {name} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"the recipe {name} cannot be read ({error.strerror}); check its path") from None
    shipped = resources.files("magref.training") / "recipes" / f"{name}{ENDING}"
    if re.fullmatch(r"[\w-]+", str(name)) and shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    known = ", ".join(shipped_recipes())
    raise InputError(f"the recipe {name} is neither a file nor a shipped one; give a .yaml file or one of {known}")


def parse_recipe(text: str, source: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe from YAML text; `source` is what errors call it."""
    values = _load(text, f"the recipe {source}")
    if not isinstance(values, dict):
        raise InputError(f"the recipe {source} holds no sections; see docs/training.md")
    for change in changes:
        _apply(values, change)
    try:
        document = json.dumps(values, default=str)  # where lists may stand for tuples; types stay strict
    except TypeError:
        raise InputError(f"the recipe {source} has a key that is no text; put it in quotes") from None
    except ValueError:
        raise InputError(f"the recipe {source} has an alias (*) within its own anchor (&); write it out") from None
    try:
        return Recipe.model_validate_json(document)
    except ValidationError as error:
        raise InputError(f"the recipe {source} cannot be used: {first_problem(error)}") from None


def recipe_yaml(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise InputError(f"the change {change!r} is not KEY=VALUE; write for example optim.steps=1000")
    place = values
    for section in sections:
        inner = place.get(section)
        place[section] = inner if isinstance(inner, dict) else {}
        place = place[section]
    place[last] = _load(text, f"the value in the change {change!r}")


def _load(text: str, what: str) -> Any:
    """What YAML text holds; `what` is what errors call it."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: {error.problem}" if mark else str(error.problem)
    except RecursionError:
        where = "it is nested too deeply"
    except (yaml.YAMLError, ValueError) as error:  # ValueError: dates and numbers that look like some and are none
        where = str(error).splitlines()[0]
    raise InputError(f"{what} is not YAML ({where}); mend that place, or put texts in quotes")


class _Loader(yaml.SafeLoader):
    """YAML whose 1e-5 is a number, as in YAML 1.2; PyYAML's own takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)
