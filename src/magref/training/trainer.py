"""A training run, from recipe to weights: `magref train`.

The loop is the same for the embedded model on a laptop and for 14B over many processes; what differs lies in `loading`
and `parallel`. It can be stopped at any time, and goes on from its newest checkpoint.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.distributed.fsdp import FSDPModule

from magref.attention import diffusers_attention
from magref.errors import InputError, MagrefError, OutputError, ResourceError, memory_errors
from magref.flow import make_scheduler
from magref.geometry import VideoShape
from magref.pipeline import MagrefPipeline
from magref.quantization import check_quantization
from magref.training.batches import Drawn, Loader, Order
from magref.training.cache import SKIPPED_FILE, open_cache
from magref.training.checkpoints import (
    Seen,
    check_seen,
    kept,
    load_checkpoint,
    note_recipe,
    open_run,
    save_checkpoint,
)
from magref.training.encoding import Encoders
from magref.training.export import export_lora, export_model
from magref.training.logs import Logger, open_loggers
from magref.training.meter import Meter, stop_requests
from magref.training.objective import Example, Objective
from magref.training.optim import Averages, build_optimizers, learning_rate, set_learning_rate, trainable
from magref.training.parallel import Team, checkpoint_blocks
from magref.training.recipe import Recipe, check_processes
from magref.training.result import find_result, forget_result, note_result
from magref.training.setup import MEMORY_REMEDY, Setting, cache_info, make_encoders, make_transformer, prepare
from magref.training.skipped import Skipped
from magref.training.source import Cached, Encoding, Source, Usable, usable
from magref.training.validation import (
    NoRoom,
    RunPipeline,
    Stopped,
    brought,
    cases_of,
    look_at_held_out,
    validation_videos,
)

Report = Callable[[int, Mapping[str, float]], None]
"""Told each logged step and its figures."""

LOG_EVERY = 10

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """How a run ended: after `step` steps, with what it wrote, or stopped before its last step."""

    step: int
    output: Path | None


def train(recipe: Recipe, folder: Path, *, report: Report | None = None, team: Team | None = None) -> Finished:
    """Run a recipe in a folder, or go on with the run there.

    Raises:
        MagrefError: one sentence; checkpoints that were written before stay.
    """
    team = team or Team.join()
    try:
        setting = team.each(lambda: prepare(recipe))
        team.first(lambda: _begin(setting, folder, team))
        with memory_errors("the models", MEMORY_REMEDY):
            run = Run(setting, folder, team)
        try:
            with memory_errors(f"training on {recipe.optim.batch} samples at a time", MEMORY_REMEDY):
                return run.go(report or (lambda step, figures: None))
        finally:
            run.close()
    finally:
        team.leave()


def _begin(setting: Setting, folder: Path, team: Team) -> None:
    recipe = setting.recipe
    check_processes(recipe, team.world)
    if recipe.model.lora is not None and recipe.model.lora.quantize == "int8":
        check_quantization("int8", team.device)
    if setting.cache is not None:
        open_cache(setting.cache, cache_info(setting), make=False)
    open_run(folder, recipe)


class Run:
    """The state of a run: models, optimizers, data, logs. `train` is the way in; the parts serve measurements."""

    def __init__(self, setting: Setting, folder: Path, team: Team) -> None:
        recipe = setting.recipe
        self.setting, self.recipe, self.folder, self.team = setting, recipe, folder, team
        self.bf16 = recipe.optim.precision == "bf16"
        self.loggers: list[Logger] = []
        self.skipped = Skipped(folder / SKIPPED_FILE, team)
        found = self._usable()
        held_out = recipe.validation.held_out(len(found))
        places = [(sample.name, sample.shape) for sample in found]
        self.training, self.held_out = places[held_out:], places[:held_out]
        batch, passes = recipe.optim.batch, recipe.optim.accumulate
        self.order = team.each(
            lambda: Order(self.training, batch=batch, passes=passes, world=team.world, seed=recipe.seed)
        )
        self.samples_per_step = batch * passes * team.world
        self.seen = Seen.of(self.training, [name for name, _ in self.held_out], self.samples_per_step)
        team.first(lambda: check_seen(folder, self.seen))
        team.first(self._open_loggers)
        text_encoder = None
        if recipe.model.text_encoder:
            self.encoders, text_encoder = self._load_encoders()
        self.transformer = make_transformer(setting, team)
        self.models = torch.nn.ModuleDict({"transformer": self.transformer})
        if text_encoder is not None:
            team.shard(text_encoder, text_encoder.encoder.block, precision=recipe.optim.precision)
            self.models["text_encoder"] = text_encoder
        checkpoint_blocks(self.transformer, recipe.optim.checkpointing)
        self.optimizers = build_optimizers(self.models, recipe.optim)
        self.averages = Averages(self.models, recipe.optim.ema) if recipe.optim.ema else None
        self.objective = Objective(
            self.transformer,
            text_encoder,
            None if text_encoder is None else self.encoders.tokenizer,
            setting.base.defaults.text_tokens,
            setting.defaults.flow_shift,
            recipe.objective.level_spread,
            team,
            self.bf16,
        )
        self.source = self._source(found)
        team.wait()  # for slow disks: the first step's exchange gives up after ten minutes

    @cached_property
    def encoders(self) -> Encoders:
        """The frozen models; a run from a cache loads them for videos alone."""
        return self._load_encoders()[0]

    def _load_encoders(self) -> tuple[Encoders, Any]:
        return make_encoders(self.setting, self.team, idle=self.recipe.data.cache is not None)

    def _open_loggers(self) -> None:
        self.loggers = open_loggers(self.recipe.loggers, self.folder, self.recipe.model_dump(mode="json"))

    def _usable(self) -> list[Usable]:
        setting = self.setting
        found = self.team.first(lambda: usable(setting.dataset, setting.buckets, self.skipped.note, setting.cache))
        self.skipped.share()
        return found

    def _source(self, found: Sequence[Usable]) -> Source:
        setting = self.setting
        if setting.cache is not None:
            return Cached(setting.cache, setting.dataset.folder, found, setting.buckets, self.recipe)
        return Encoding(setting.dataset.folder, setting.rows, self.encoders, setting.buckets, self.recipe)

    def restore(self, step: int | None = None) -> int:
        """Load the checkpoint of a step, or the newest; returns the number of steps done, 0 where there is none."""
        return load_checkpoint(self.folder, self.models, self.optimizers, self.averages, self.team, step=step)

    def go(self, report: Report) -> Finished:
        """All steps from the newest checkpoint on."""
        recipe, team = self.recipe, self.team
        first = self.restore()
        if first > recipe.optim.steps:
            raise InputError(
                f"the run in {self.folder} has done {first} steps, more than optim.steps, {recipe.optim.steps}; set it "
                f"to {first} or more"
            )
        team.first(lambda: note_recipe(self.folder, recipe))
        team.first(lambda: forget_result(self.folder, first))
        team.first(lambda: report(first, {"samples": len(self.training), "held_out": len(self.held_out)}))
        if recipe.optim.compile:
            for block in self.transformer.blocks:
                block.compile()
        loader = Loader(self.order, team.rank, self.source.read, self.skipped.note, workers=recipe.data.workers)
        meter = Meter(loader, team.device)
        with stop_requests() as stop:
            for number, passes in enumerate(self._batches(loader, first), first):
                with meter.preparing():
                    examples = [[self.source.example(read) for read in part] for part in passes]
                loss, norm, wanted = self.step(number, examples, stopping=stop[0])
                done = number + 1
                meter.add(loss, norm)
                last = done == recipe.optim.steps or wanted
                if done % LOG_EVERY == 0 or last:
                    rate = learning_rate(recipe.optim, number)
                    self._log(done, meter.figures(rate, self.samples_per_step, self.skipped.share()), report)
                saved = done % recipe.save_every == 0 or last
                with meter.aside():
                    if saved:
                        self._save(done)
                    if done % recipe.validation.every == 0 and self.held_out and not wanted:
                        wanted = not self._validate(done, report, stop)
                        if wanted and not saved:
                            self._save(done)
                if wanted:
                    return Finished(done, None)
        with self._losing_nothing():
            return Finished(recipe.optim.steps, self._export())

    def _batches(self, loader: Loader[Any], first: int) -> Iterator[list[list[Any]]]:
        try:
            yield from loader.steps(first, self.recipe.optim.steps)
        except MagrefError:
            self.skipped.write_own()  # which the error points to, and no step comes that would share them
            raise

    def step(self, number: int, passes: Sequence[Sequence[Example]], *, stopping: bool) -> tuple[float, float, bool]:
        """One update; returns the loss over all processes, the gradient's norm, and whether any is asked to stop."""
        recipe = self.recipe.optim
        torch.manual_seed(zlib.crc32(f"{self.recipe.seed}/{number}/{self.team.rank}".encode()))  # for dropout layers
        set_learning_rate(self.optimizers, learning_rate(recipe, number))
        losses: list[torch.Tensor] = []
        with diffusers_attention(self.transformer, torch.bfloat16 if self.bf16 else torch.float32):
            for examples in passes:
                # Spread gradients are summed over the processes after each pass: left until the last one, every process
                # would keep them whole, which at 14B is 65 GB.
                loss = self.objective.loss(examples) / len(passes)
                loss.backward()
                losses.append(loss.detach())
        stops = torch.tensor(float(stopping), device=self.team.device)
        seen = self.team.mean(torch.stack([torch.stack(losses).sum(), stops]))
        norm = torch.nn.utils.clip_grad_norm_(trainable(self.models), recipe.clip_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        value, length = float(seen[0]), float(norm)
        if not (math.isfinite(value) and math.isfinite(length)):
            own = [e.name for part, loss in zip(passes, losses, strict=True) if not loss.isfinite() for e in part]
            names = sorted({name for some in self.team.gather(own) for name in some})
            self.team.first(lambda: self._not_finite(number, names))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.averages is not None:
            self.averages.update(number)
        return value, length, bool(seen[1] > 0)

    def _not_finite(self, number: int, names: Sequence[str]) -> NoReturn:
        # Where the gradient alone is no number, it is no sample's.
        look = f", or look at the samples {', '.join(names)}" if names else ""
        raise ResourceError(
            f"the loss is not a number at step {number + 1}; {kept(self.folder)}: lower optim.learning_rate{look}"
        )

    def _save(self, step: int) -> None:
        state = (self.models, self.optimizers, self.averages, self.seen, self.team)
        save_checkpoint(self.folder, step, *state, keep=self.recipe.keep)

    def _log(self, step: int, figures: Mapping[str, float], report: Report) -> None:
        def tell() -> None:
            for logger in self.loggers:
                logger.figures(step, figures)
            report(step, figures)

        with self._losing_nothing():
            self.team.first(tell)

    @contextmanager
    def _losing_nothing(self) -> Iterator[None]:
        """Where something else than a checkpoint cannot be written, say that none is lost."""
        try:
            yield
        except OutputError as error:
            raise OutputError(f"{error} ({kept(self.folder)}, and the same command goes on from there)") from error

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The weights' averages in place of the weights, where the run keeps some."""
        if self.averages is not None:
            self.averages.swap()
        try:
            yield
        finally:
            if self.averages is not None:
                self.averages.swap()

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """The averages, without dropout; after it, the weights are trained on."""
        try:
            with self.averaged():
                self.models.eval()
                try:
                    yield
                finally:
                    self.models.train()
        finally:
            for model in self.models.values():
                if isinstance(model, FSDPModule):
                    model.reshard()  # what was gathered without gradients holds the averages

    def _validate(self, step: int, report: Report, stop: Sequence[bool]) -> bool:
        """The losses and videos of held-out samples; returns whether it came to its end before the run was to stop."""

        def read(number: int, name: str) -> Example:
            return self.source.example(self.source.read(Drawn(name, number, ())), dropout=False)

        names = [name for name, _ in self.held_out]
        try:
            with self._at_rest():
                found = look_at_held_out(self.objective, names, read, self.skipped.note, self.team, stop)
                if found is not None:
                    self._log(step, found.figures(), report)
                    self._show(step, [(name, shape) for name, shape in self.held_out if name in found.names], stop)
            ended = True
        except Stopped:
            ended = False
        self.skipped.share()
        return ended

    def _show(self, step: int, held_out: Sequence[tuple[str, VideoShape]], stop: Sequence[bool]) -> None:
        """Videos of the first of these samples."""
        folder = self.folder / "samples" / f"step-{step:08d}"
        # What one process cannot read, none generates.
        cases = self.team.first(lambda: cases_of(self.setting, held_out, self.skipped.note))
        if not cases:
            return
        try:
            with self.pipeline() as pipeline, self._losing_nothing():
                sheet = validation_videos(pipeline, cases, folder, self.team, stop)

                def tell() -> None:
                    for logger in self.loggers:
                        logger.picture(step, "validation", sheet.convert("RGB"))

                self.team.first(tell)
        except NoRoom as error:
            if self.team.leads:
                _LOG.warning("step %d goes without its validation videos: %s", step, error)

    @contextmanager
    def pipeline(self) -> Iterator[MagrefPipeline]:
        """The models as they are, as a pipeline; within `averaged`, their averages.

        Encoders that idle in the CPU's memory come to the run's device for as long.

        Raises:
            NoRoom: memory does not suffice for them.
        """
        text_encoder = self.objective.text_encoder or self.encoders.text_encoder
        encoders = (self.encoders.vae, text_encoder, self.encoders.image_encoder)
        with brought([model for model in encoders if model is not None], self.team):
            pipeline = RunPipeline(
                self.transformer,
                self.encoders.vae,
                text_encoder,
                self.encoders.tokenizer,
                make_scheduler("unipc"),
                self.encoders.image_encoder,
                self.setting.defaults.model_dump(),
            )
            pipeline.team = self.team
            pipeline.autocast = self.bf16 and isinstance(self.transformer, FSDPModule)
            pipeline.set_progress_bar_config(disable=True)
            yield pipeline

    def _export(self) -> Path:
        """Write the result, where it has not been written; one of other weights stays beside it."""
        path, written = self.team.first(lambda: find_result(self.folder, self.recipe))
        if written:
            return path
        with self.averaged():
            if self.recipe.model.lora is not None:
                export_lora(path, self.transformer, self.recipe.model.lora, self.team)
            else:
                text_encoder = self.objective.text_encoder
                export_model(path, self.setting.base, self.transformer, text_encoder, self.setting.defaults, self.team)
        self.team.first(lambda: note_result(self.folder, self.recipe, path))
        return path

    def close(self) -> None:
        """Write what the loggers hold."""
        for logger in self.loggers:
            logger.close()
