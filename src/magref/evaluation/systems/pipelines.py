"""Pipelines of this package as systems: any model that `magref generate` takes, SkyReels-A2, and Phantom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from magref.batch import Case
from magref.canvas import MaskKind, Order
from magref.checkpoints.layout import check_diffusers, existing_folder
from magref.errors import memory_errors
from magref.evaluation.systems.interface import Dtype, Kind, Place, dtype_of, mark, own_model
from magref.generation import Plan, Request, check_request, load_pipeline, make_frames, make_sidecar
from magref.geometry import Strides
from magref.models import find_model, quiet_libraries, stored_strides
from magref.settings import GenerationDefaults, Record, Solver, resolve_settings
from magref.sidecar import ModelRecord, metadata_of, weights_sha256
from magref.video import write_video

if TYPE_CHECKING:
    import torch

    from magref.pipeline import MagrefPipeline

Count = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
REMEDY = "use another device or dtype"


class Sampling(Record):
    """What may be asked of a pipeline; None: the model's own (`GenerationDefaults`)."""

    height: Count | None = None
    width: Count | None = None
    num_frames: Count | None = None
    num_inference_steps: Count | None = None
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    flow_shift: Rate | None = None
    solver: Solver | None = None
    fps: Rate | None = None
    negative_prompt: str | None = None
    order: Order | None = None
    mask: MaskKind | None = None
    dtype: Dtype | None = None

    def given(self) -> dict[str, Any]:
        """What decides a video, for `resolve_settings`."""
        return self.model_dump(include=Sampling.model_fields.keys() - {"dtype"})

    def check(self, defaults: GenerationDefaults, strides: Strides) -> None:
        """Raise InputError unless the model can make such videos."""
        resolve_settings(defaults, strides, prompt="", seed=0, **self.given())


class PipelineSystem:
    """A pipeline with its settings; `record` goes into the videos, for `magref generate --replay`."""

    def __init__(
        self, name: str, pipeline: MagrefPipeline, sampling: Sampling, record: ModelRecord | None = None
    ) -> None:
        self.device = str(pipeline.device)
        self._name, self._pipeline, self._sampling, self._record = name, pipeline, sampling, record

    def make(self, case: Case, seed: int, out: Path) -> dict[str, Any]:
        """See `System`."""
        pipeline = self._pipeline
        settings = resolve_settings(
            pipeline.defaults, pipeline.strides, prompt=case.prompt, seed=seed, **self._sampling.given()
        )
        plan = Plan(out, settings, case.references())
        frames, canvas = make_frames(pipeline, plan)
        inside = mark(self._name)
        if self._record is not None:
            inside = metadata_of(make_sidecar(plan, canvas, self._record, self.device, len(frames)))
        write_video(frames, out, fps=settings.fps, metadata=inside)
        return settings.model_dump(mode="json") | {"dtype": dtype_of(pipeline)}


class OwnSettings(Sampling):
    """A model of this package, as `magref generate` takes it; None: the embedded one. Only what lies here: the
    benchmark records the weights' hash before it begins.
    """

    model: Annotated[str | None, AfterValidator(own_model)] = None
    transformer: Place | None = None
    lora: tuple[Place, ...] = ()
    """FILE or FILE:SCALE."""

    def request(self, device: str | None = None) -> Request:
        """As generation takes it."""
        transformer = None if self.transformer is None else Path(self.transformer)
        return Request(transformer=transformer, lora=self.lora, device=device, dtype=self.dtype)


def _check_own(settings: OwnSettings) -> dict[str, str]:
    model = find_model(settings.model)
    settings.check(model.defaults, model.strides)
    _, _, adapters = check_request(model, settings.request("cpu"))
    found = {"model": weights_sha256(model.folder)}
    if settings.transformer is not None:
        found["transformer"] = weights_sha256(settings.transformer)
    return found | {f"lora {path}": weights_sha256(path) for path, _ in adapters}


def _open_own(settings: OwnSettings, device: str | None) -> PipelineSystem:
    model = find_model(settings.model)
    with memory_errors(model.name, REMEDY):
        pipeline, record = load_pipeline(model, settings.request(device))
    return PipelineSystem("magref", pipeline, settings, record)


class SkyReelsSettings(Sampling):
    """SkyReels-A2 (`magref.rivals`); `model` is the published folder."""

    model: Place


def _check_skyreels(settings: SkyReelsSettings) -> dict[str, str]:
    from magref.rivals.skyreels_a2 import DEFAULTS

    folder = existing_folder(settings.model)
    check_diffusers(folder)
    settings.check(DEFAULTS, stored_strides(folder))
    return {"model": weights_sha256(folder)}


def _open_skyreels(settings: SkyReelsSettings, device: str | None) -> PipelineSystem:
    from magref.placement import choose_device, choose_dtype
    from magref.rivals import SkyReelsA2Pipeline

    def load(where: torch.device) -> MagrefPipeline:
        return SkyReelsA2Pipeline.from_pretrained(settings.model, torch_dtype=choose_dtype(where, settings.dtype))

    return _rival("SkyReels-A2", load, choose_device(device), settings)


class PhantomSettings(Sampling):
    """Phantom (`magref.rivals`); `model` is Wan2.1's text-to-video folder, `weights` Phantom's transformer."""

    model: Place
    weights: Place


def _check_phantom(settings: PhantomSettings) -> dict[str, str]:
    from magref.rivals.phantom import DEFAULTS

    settings.check(DEFAULTS, Strides())
    folder = existing_folder(settings.model)
    return {"model": weights_sha256(folder), "weights": weights_sha256(settings.weights)}


def _open_phantom(settings: PhantomSettings, device: str | None) -> PipelineSystem:
    from magref.placement import choose_device, choose_dtype
    from magref.rivals import PhantomPipeline

    def load(where: torch.device) -> MagrefPipeline:
        dtype = choose_dtype(where, settings.dtype)
        return PhantomPipeline.from_published(settings.model, weights=settings.weights, torch_dtype=dtype)

    return _rival("Phantom", load, choose_device(device), settings)


def _rival(
    name: str, load: Callable[[torch.device], MagrefPipeline], where: torch.device, settings: Sampling
) -> PipelineSystem:
    quiet_libraries()
    with memory_errors(f"{name} on {where}", REMEDY):
        pipeline = load(where).to(where)
    pipeline.set_progress_bar_config(disable=True)
    return PipelineSystem(name, pipeline, settings)


OWN = Kind(OwnSettings, _check_own, _open_own)
SKYREELS_A2 = Kind(SkyReelsSettings, _check_skyreels, _open_skyreels)
PHANTOM = Kind(PhantomSettings, _check_phantom, _open_phantom)
