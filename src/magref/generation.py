"""Generation as work: jobs are checked before any weights load, run with progress, written with their record."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from magref.canvas import Canvas, compose_canvas
from magref.errors import InputError, OutputError, memory_errors
from magref.finished import Keeping, Weights, is_finished
from magref.frames import FrameStream
from magref.geometry import VideoShape
from magref.models import EMBEDDED_NAME, Model, find_model, load_model, quiet_libraries, transformer_shapes
from magref.outputs import IMAGE_ENDINGS, check_output, write_image, writing
from magref.presets import CARDS, CPU, PRESETS, Preset, check_preset, choose_preset, place, with_quantization
from magref.prompts import check_prompt
from magref.references import Reference, file_sha256
from magref.settings import GenerationDefaults, GenerationSettings, check_references, resolve_settings
from magref.sheets import canvas_preview, check_sheet, stacked_strips, video_strip
from magref.sidecar import (
    LoraRecord,
    ModelRecord,
    ReferenceRecord,
    Sidecar,
    TransformerRecord,
    find_recorded,
    installed_versions,
    is_sidecar,
    metadata_of,
    read_sidecar,
    reopen_references,
    sidecar_bytes,
    sidecar_path,
    weights_sha256,
)
from magref.sizes import Sizes, find_sizes, sizes_of
from magref.video import Frames, check_rate, write_video

if TYPE_CHECKING:
    import torch

    from magref.pipeline import MagrefPipeline


REMEDY = "use --preset auto, or another --device or --dtype"
"""Where the memory does not suffice."""


@dataclass(frozen=True)
class Job:
    """One video that is wanted."""

    output: Path
    prompt: str
    references: Sequence[Reference]
    seed: int | None = None


@dataclass(frozen=True)
class Request:
    """What all jobs of one run share; `settings` may hold None for the model's own default."""

    settings: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    transformer: Path | None = None
    lora: tuple[str, ...] = ()
    device: str | None = None
    dtype: str | None = None
    parallel: str | None = None
    """How the processes that torchrun started share each video; see `parallel.Parallel`."""
    preset: str | None = None
    quantize: str | None = None
    """In place of the preset's own; "none" for weights as they are."""
    preview: Path | None = None
    sheet: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Plan:
    """One video that can be made: everything is resolved and checked. `record` is the sidecar that is replayed."""

    output: Path
    settings: GenerationSettings
    references: Sequence[Reference]
    record: Sidecar | None = None

    def canvas(self) -> Canvas:
        """The canvas of this video."""
        s = self.settings
        return compose_canvas(self.references, height=s.height, width=s.width, order=s.order, seed=s.seed, mask=s.mask)


def plan(model: Model, jobs: Sequence[Job], request: Request, *, skip_finished: bool = False) -> list[Plan]:
    """Resolve and check every job and output; with `skip_finished`, leave out videos that are there as they are wanted.

    Raises:
        InputError, OutputError, CheckpointError: the first thing that cannot be used or written.
    """
    plans = []
    skip_finished = skip_finished and not request.overwrite
    weights = cache(partial(_weights, model, request))
    keeping = Keeping(request.dtype, request.quantize, request.preset)
    for job in jobs:
        check_prompt(job.prompt)
        settings = resolve_settings(model.defaults, model.strides, prompt=job.prompt, seed=job.seed, **request.settings)
        any_seed = job.seed is None
        if skip_finished and is_finished(job.output, settings, job.references, weights, keeping, any_seed=any_seed):
            continue
        plans.append(Plan(job.output, settings, job.references))
        with memory_errors(f"a canvas of {settings.width}x{settings.height}", "use a smaller size"):
            count = len(plans[-1].canvas().references)  # opens all; not kept, since a batch may hold gigabytes of them
        shape = VideoShape(settings.num_frames, settings.height, settings.width)
        check_references(settings.mechanism, count, shape, model.strides)
    _check_outputs(plans, request)
    return plans


def replayed(path: Path, output: Path, request: Request) -> tuple[Model, list[Plan], Request]:
    """What `run` needs to make the video of a sidecar again.

    Raises:
        InputError: the sidecar, one of its references, or the model's weights are not what they were.
    """
    sidecar = read_sidecar(path)
    model = find_model(request.model or sidecar.model.name)
    if model.layout != "hub" and weights_sha256(model.folder) != sidecar.model.weights_sha256:
        raise InputError(f"the weights of {model.name} are not those that made {path}; give the same with --model")
    base = Path(os.path.expanduser(path)).parent
    lora = []
    for adapter in sidecar.model.lora:
        file = find_recorded(adapter.path, base, f"LoRA {adapter.path}", adapter.sha256, file_sha256)
        lora.append(f"{file}:{adapter.scale}")
    transformer = None
    if (weights := sidecar.model.transformer) is not None:
        what = f"transformer {weights.path}"
        transformer = find_recorded(weights.path, base, what, weights.weights_sha256, weights_sha256)
    recorded = sidecar.model.preset  # the first and the last put everything on the device, whichever it is
    plans = [Plan(output, sidecar.settings, reopen_references(sidecar, base), sidecar)]
    _check_outputs(plans, request)
    request = Request(
        lora=tuple(lora),
        transformer=transformer,
        device=request.device or sidecar.device,
        parallel=request.parallel,
        dtype=sidecar.model.dtype,
        preset=request.preset or (None if recorded in (CPU.name, CARDS[0].name) else recorded),
        quantize=sidecar.model.quantize or "none",
        preview=request.preview,
        sheet=request.sheet,
        overwrite=request.overwrite,
    )
    return model, plans, request


def run(model: Model, plans: Sequence[Plan], request: Request) -> None:
    """Make and write the planned videos, showing progress.

    With `request.parallel` every process of torchrun calls this; the first one's plans are made, and it alone writes.

    Raises:
        MagrefError: as the pipeline and the writers raise; videos already written stay.
    """
    if request.parallel is None:
        _run(model, plans, request)
        return
    from magref.parallel import check_processes
    from magref.training.parallel import Team

    team = Team.join(request.device and request.device.partition(":")[0])
    try:
        check_processes(request.parallel, team.world)
        plans = team.first(lambda: plans)
        request = replace(request, device=str(team.device))
        _run(model, plans, request if team.leads else replace(request, preview=None, sheet=None), leads=team.leads)
        team.wait()
    finally:
        team.leave()


def _run(model: Model, plans: Sequence[Plan], request: Request, *, leads: bool = True) -> None:
    console = Console(stderr=True, quiet=not leads)
    if not plans:
        console.print("nothing to do: all videos are there")
        return
    check_request(model, request)
    if request.preview is not None:
        write_image(canvas_preview(plans[0].canvas()), request.preview, overwrite=request.overwrite)
        console.print(f"wrote {request.preview}", markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"loading {model.name}", total=None)
        with memory_errors(model.name, REMEDY):
            pipeline, record = load_pipeline(model, request, largest(plans))
        if request.parallel is not None:
            pipeline.spread(request.parallel)
        strips = []
        for number, planned in enumerate(plans, 1):
            if planned.record is not None and record.weights_sha256 != planned.record.model.weights_sha256:
                raise InputError(f"the weights of {model.name} are not the sidecar's; give the same with --model")
            name = planned.output.name + (f" ({number} of {len(plans)})" if len(plans) > 1 else "")
            progress.reset(task, total=planned.settings.num_inference_steps, description=name)
            frames: Frames | FrameStream
            frames, canvas = make_frames(pipeline, planned, lambda: progress.advance(task))
            if not leads:
                continue
            progress.update(task, description=f"writing {name}")
            if request.sheet is not None:
                frames = frames.array()
                strips.append(video_strip(frames, canvas.image))
            sidecar = make_sidecar(planned, canvas, record, str(pipeline.device), len(frames))
            write_planned(sidecar, frames, planned, overwrite=request.overwrite)
            console.print(describe_made(planned, len(frames)), soft_wrap=True, markup=False)
    if request.sheet is not None:
        sheet = stacked_strips(strips, [planned.settings.prompt for planned in plans])
        write_image(sheet, request.sheet, overwrite=request.overwrite)
        console.print(f"wrote {request.sheet}", markup=False)


def largest(plans: Sequence[Plan]) -> GenerationSettings:
    """The settings of the video that takes the most memory."""
    return max((planned.settings for planned in plans), key=lambda made: made.num_frames * made.height * made.width)


def describe_made(planned: Plan, frames: int) -> str:
    """What to say of a video that was written."""
    return f"wrote {planned.output} ({frames} frames, seed {planned.settings.seed})"


def _check_outputs(plans: Sequence[Plan], request: Request) -> None:
    """That every file can be written, each under its own name, none over a picture that is read."""
    pictures = [picture for picture in (request.preview, request.sheet) if picture is not None]
    outputs = [*(p.output for p in plans), *(sidecar_path(p.output) for p in plans), *pictures]
    resolved: set[Path] = set()
    for output in outputs:
        path = Path(os.path.realpath(os.path.expanduser(output)))
        if path in resolved:
            raise InputError(f"two outputs would have the name {path}; give each its own")
        resolved.add(path)
    read = {
        Path(os.path.realpath(os.path.expanduser(reference.image)))
        for planned in plans
        for reference in planned.references
        if isinstance(reference.image, (str, Path))
    }
    for path in read & resolved:
        raise InputError(f"the output {path} is one of the references; choose another name")
    for planned in plans:
        check_output(planned.output, request.overwrite)
        beside = check_output(sidecar_path(planned.output), request.overwrite, endings=(".json",))
        if beside.exists() and not is_sidecar(beside):
            raise OutputError(f"{beside} is no record of a video, and would be replaced; choose another output")
        check_rate(planned.settings.fps, planned.output.suffix.lower())
    for picture in pictures:
        check_output(picture, request.overwrite, endings=IMAGE_ENDINGS)
    if plans and request.sheet is not None:
        first = plans[0].settings  # all have one size
        check_sheet(request.sheet, len(plans), (first.width, first.height))


def _weights(model: Model, request: Request) -> Weights:
    """The hashes of a request's weights, whose files are looked into first."""
    _, _, adapters = check_request(model, request)
    transformer = None if request.transformer is None else weights_sha256(request.transformer)
    return weights_sha256(model.folder), transformer, tuple((file_sha256(path), scale) for path, scale in adapters)


def check_request(model: Model, request: Request) -> tuple[torch.device, torch.dtype, list[tuple[Path, float]]]:
    """Device, precision and adapters of a request, every file of it looked into; before any weights load."""
    from magref.checkpoints.lora import check_lora, split_lora
    from magref.placement import choose_device, choose_dtype
    from magref.quantization import check_quantization

    device = choose_device("cpu" if request.device is None and request.preset == CPU.name else request.device)
    dtype = choose_dtype(device, request.dtype)
    check_preset(request.preset, device)
    if (asked := with_quantization(CPU, request.quantize).quantize) is not None:
        check_quantization(asked, device, dtype)
    adapters = [split_lora(text) for text in request.lora]
    if adapters and model.layout != "hub":  # a hub model's shapes are known once it is loaded
        shapes = transformer_shapes(model)
        for path, _ in adapters:
            check_lora(path, shapes)
    if request.transformer is not None and not request.transformer.is_file():
        raise InputError(f"the file {request.transformer} does not exist; check its path")
    return device, dtype, adapters


def load_pipeline(
    model: Model, request: Request, biggest: GenerationDefaults | None = None
) -> tuple[MagrefPipeline, ModelRecord]:
    """The pipeline of a request, which is checked first, and the record of its weights.

    A preset is chosen for videos of up to the size of `biggest`; None: as the model makes them by default.
    """
    from magref.attention_int8 import check_int8
    from magref.checkpoints.lora import read_lora

    device, dtype, adapters = check_request(model, request)
    in_8_bits = isinstance(biggest, GenerationSettings) and biggest.savings.attention == "int8"

    def chosen(sizes: Callable[[], Sizes]) -> Preset:
        wanted, element = biggest or model.defaults, dtype.itemsize
        preset = choose_preset(request.preset, device, sizes, wanted, element=element, quantize=request.quantize)
        if in_8_bits:
            check_int8(device, preset)
        return preset

    quiet_libraries()
    if in_8_bits:  # what is known before a hub model is loaded
        check_int8(device, PRESETS.get(request.preset or ""))
    if model.layout == "hub":  # whose sizes and shapes are known once it is loaded
        pipeline = load_model(model, dtype, transformer_file=request.transformer)
        preset = chosen(lambda: sizes_of(pipeline))
        shapes = {name: tuple(tensor.shape) for name, tensor in pipeline.transformer.state_dict().items()}
    else:
        preset = chosen(lambda: find_sizes(str(model.folder)))
        pipeline = load_model(model, dtype, transformer_file=request.transformer)
        shapes = transformer_shapes(model)
    for index, (path, _) in enumerate(adapters):
        pipeline.load_lora_weights(read_lora(path, shapes), adapter_name=f"lora{index}")
    if adapters:
        pipeline.set_adapters([f"lora{k}" for k in range(len(adapters))], [scale for _, scale in adapters])
    place(pipeline, preset, device)
    pipeline.set_progress_bar_config(disable=True)
    transformer = None
    if request.transformer is not None:
        path = request.transformer
        transformer = TransformerRecord(path=str(path), weights_sha256=weights_sha256(path))
    record = ModelRecord(
        name=model.name if model.layout == "hub" or model.name == EMBEDDED_NAME else str(model.folder.resolve()),
        weights_sha256=weights_sha256(model.folder),
        dtype=str(dtype).removeprefix("torch."),
        quantize=preset.quantize,
        preset=preset.name,
        transformer=transformer,
        lora=tuple(LoraRecord(path=str(p), sha256=file_sha256(p), scale=scale) for p, scale in adapters),
    )
    return pipeline, record


def make_frames(
    pipeline: MagrefPipeline, planned: Plan, advance: Callable[[], None] = lambda: None
) -> tuple[FrameStream, Canvas]:
    """The frames, decoded while they are read, and the canvas behind them; `advance` is called after each step."""
    settings = planned.settings.model_dump(exclude={"fps", "text_tokens", "mechanism", "savings"})
    out = pipeline(
        references=planned.references,
        savings=planned.settings.savings,
        output_type="latent",
        callback_on_step_end=lambda *_: advance(),
        **settings,
    )
    return pipeline.frames(out.frames, out.settings), out.canvas


def make_sidecar(planned: Plan, canvas: Canvas, model: ModelRecord, device: str, frames: int) -> Sidecar:
    """The record of a video of so many frames."""
    references = tuple(ReferenceRecord.of(reference) for reference in canvas.references)
    if planned.record is not None:  # names as first recorded: a reference found elsewhere leaves the bytes unchanged
        references, model = planned.record.references, planned.record.model
    return Sidecar(
        settings=planned.settings,
        references=references,
        model=model,
        device=device,
        versions=installed_versions(),
        frames=frames,
        fps=planned.settings.fps,
    )


def write_planned(sidecar: Sidecar, frames: Frames | FrameStream, planned: Plan, *, overwrite: bool) -> None:
    """The video with the record inside it, and the sidecar, which alone can hold the video's hash; both or neither."""
    record_path = sidecar_path(planned.output)
    with writing(planned.output, overwrite=overwrite) as video, writing(record_path, overwrite=overwrite) as record:
        write_video(frames, video, fps=sidecar.fps, metadata=metadata_of(sidecar))
        record.write_bytes(sidecar_bytes(sidecar.model_copy(update={"output_sha256": file_sha256(video)})))
