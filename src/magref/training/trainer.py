"""A training run, from recipe to weights: `magref train`.

The loop is the same for the embedded model on a laptop and for 14B over many processes; what differs lies in `loading`
and `parallel`. It can be stopped at any time, and goes on from its newest checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch.distributed.fsdp import FSDPModule

from magref.errors import MagrefError, ResourceError
from magref.flow import make_scheduler
from magref.geometry import VideoShape
from magref.outputs import writing
from magref.pipeline import MagrefPipeline
from magref.references import Reference
from magref.training.batches import Drawn, Loader, Order
from magref.training.cache import note_skipped, open_cache
from magref.training.checkpoints import checkpoints, load_checkpoint, open_run, save_checkpoint
from magref.training.examples import draw_canvas, read_clip
from magref.training.export import export_lora, export_model
from magref.training.logs import Logger, open_loggers
from magref.training.meter import Meter, stop_requests
from magref.training.objective import Example, Objective
from magref.training.optim import Averages, build_optimizers, learning_rate, set_learning_rate, trainable
from magref.training.parallel import Team, checkpoint_blocks
from magref.training.recipe import Recipe
from magref.training.setup import Setting, cache_info, make_encoders, make_transformer, prepare
from magref.training.source import Cached, Encoding, Source, usable
from magref.training.validation import validation_loss, validation_videos

Report = Callable[[int, Mapping[str, float]], None]
"""Told each logged step and its figures."""

LOG_EVERY = 10


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
    setting = prepare(recipe)
    team = team or Team.join()
    if recipe.optim.optimizer == "muon" and team.world > 1:
        raise ResourceError("muon runs in one process alone; set optim.optimizer to adamw")
    if recipe.data.cache is not None:
        open_cache(Path(os.path.expanduser(recipe.data.cache)), cache_info(setting), make=False)
    if team.leads:
        open_run(folder, recipe)
    team.wait()
    run = Run(setting, folder, team)
    try:
        return run.go(report or (lambda step, figures: None))
    finally:
        run.close()


class Run:
    """The state of a run: models, optimizers, data, logs. `train` is the way in; the parts serve measurements."""

    def __init__(self, setting: Setting, folder: Path, team: Team) -> None:
        recipe = setting.recipe
        self.setting, self.recipe, self.folder, self.team = setting, recipe, folder, team
        self.loggers: list[Logger] = []
        if team.leads:
            self.loggers = open_loggers(recipe.loggers, folder, recipe.model_dump(mode="json"))
        self.encoders, text_encoder = make_encoders(setting, team, idle=recipe.data.cache is not None)
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
            self.encoders.tokenizer,
            self.encoders.text_tokens,
            setting.defaults.flow_shift,
            team.device,
            recipe.optim.precision == "bf16",
        )
        self.source, training, self.held_out = self._data()
        self.order = Order(
            training, batch=recipe.optim.batch, passes=recipe.optim.accumulate, world=team.world, seed=recipe.seed
        )

    def _data(self) -> tuple[Source, list[tuple[str, VideoShape]], list[tuple[str, VideoShape]]]:
        """The source of examples, the training samples and those for validation."""
        recipe, setting = self.recipe, self.setting
        cache = None if recipe.data.cache is None else Path(os.path.expanduser(recipe.data.cache))
        skipped = self.folder / ("skipped.jsonl" if self.team.leads else f"skipped-{self.team.rank}.jsonl")
        skipped.unlink(missing_ok=True)
        found = usable(setting.samples, setting.buckets, skipped, cache)
        samples = {sample.id: sample for sample in setting.samples}
        held_out = min(recipe.validation.samples, len(found) // 2)
        source: Source
        if cache is not None:
            source = Cached(cache, samples, setting.buckets, recipe)
        else:
            dataset = Path(os.path.expanduser(recipe.data.dataset))
            source = Encoding(dataset, samples, self.encoders, setting.buckets, recipe)
        self.skipped = skipped
        return source, found[held_out:], found[:held_out]

    def restore(self, step: int | None = None) -> int:
        """Load the checkpoint of a step, or the newest; returns the number of steps done, 0 where there is none."""
        return load_checkpoint(self.folder, self.models, self.optimizers, self.averages, self.team, step=step)

    def go(self, report: Report) -> Finished:
        """All steps from the newest checkpoint on."""
        recipe, team = self.recipe, self.team
        first = self.restore()
        if recipe.optim.compile:
            self.transformer.compile_repeated_blocks()  # after loading: compiled blocks have other names
        loader = Loader(
            self.order,
            team.rank,
            self.source.read,
            lambda name, reason: note_skipped(self.skipped, name, reason),
            workers=recipe.data.workers,
        )
        meter = Meter(loader)
        saved = first
        with stop_requests() as stop:
            for number, passes in enumerate(loader.steps(first, recipe.optim.steps), first):
                with meter.preparing():
                    examples = [[self.source.example(read) for read in part] for part in passes]
                loss, norm, wanted = self.step(number, examples, stopping=stop[0])
                done = number + 1
                meter.add(loss, norm)
                last = done == recipe.optim.steps or wanted
                if done % LOG_EVERY == 0 or last:
                    samples = recipe.optim.batch * recipe.optim.accumulate * team.world
                    figures = meter.figures(learning_rate(recipe.optim, number), samples)
                    self._log(done, figures, report)
                if done % recipe.save_every == 0 or last:
                    self._save(done)
                    saved = done
                if done % recipe.validation.every == 0 and self.held_out:
                    self._validate(done, report)
                if wanted:
                    return Finished(saved, None)
        return Finished(recipe.optim.steps, self._export())

    def step(self, number: int, passes: Sequence[Sequence[Example]], *, stopping: bool) -> tuple[float, float, bool]:
        """One update; returns the loss over all processes, the gradient's norm, and whether any is asked to stop."""
        recipe = self.recipe.optim
        torch.manual_seed(zlib.crc32(f"{self.recipe.seed}/{number}/{self.team.rank}".encode()))  # for dropout layers
        set_learning_rate(self.optimizers, learning_rate(recipe, number))
        total = torch.zeros((), device=self.team.device)
        for index, examples in enumerate(passes):
            self._synchronise(index == len(passes) - 1)
            loss = self.objective.loss(examples) / len(passes)
            loss.backward()
            total += loss.detach()
        seen = self.team.mean(torch.stack([total, torch.tensor(float(stopping), device=total.device)]))
        norm = torch.nn.utils.clip_grad_norm_(trainable(self.models), recipe.clip_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        value, length = float(seen[0]), float(norm)
        if not (math.isfinite(value) and math.isfinite(length)):
            raise self._not_finite(number)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.averages is not None:
            self.averages.update(number)
        return value, length, bool(seen[1] > 0)

    def _synchronise(self, wanted: bool) -> None:
        for model in self.models.values():
            if isinstance(model, FSDPModule):
                model.set_requires_gradient_sync(wanted)

    def _not_finite(self, number: int) -> MagrefError:
        kept = checkpoints(self.folder)
        last = f"the checkpoint of step {kept[-1][0]} is kept" if kept else "no checkpoint had been written"
        return ResourceError(
            f"the loss is not a number at step {number + 1}; {last}: lower optim.learning_rate, or look at the samples"
        )

    def _save(self, step: int) -> None:
        save_checkpoint(
            self.folder, step, self.models, self.optimizers, self.averages, self.team, keep=self.recipe.keep
        )

    def _log(self, step: int, figures: Mapping[str, float], report: Report) -> None:
        for logger in self.loggers:
            logger.figures(step, figures)
        if self.team.leads:
            report(step, figures)

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

    def _validate(self, step: int, report: Report) -> None:
        examples = []
        for number, (name, _) in enumerate(self.held_out):
            try:
                read = self.source.read(Drawn(name, number, ()))
            except MagrefError as error:
                note_skipped(self.skipped, name, str(error))
                continue
            examples.append(self.source.example(read, dropout=False))
        with self.averaged():
            self.models.eval()
            if examples:
                self._log(step, {"validation_loss": validation_loss(self.objective, examples)}, report)
            self._show(step, [(name, shape) for name, shape in self.held_out if name in {e.name for e in examples}])
            self.models.train()
        for model in self.models.values():
            if isinstance(model, FSDPModule):
                model.reshard()  # what was gathered without gradients holds the averages

    def _show(self, step: int, held_out: Sequence[tuple[str, VideoShape]]) -> None:
        """Videos of the first samples."""
        cases = self._cases(held_out[: self.recipe.validation.videos])
        if not cases:
            return
        encoders = (self.encoders.vae, self.encoders.text_encoder, self.encoders.image_encoder)
        idle = [model for model in encoders if model is not None and model.device != self.team.device]
        for model in idle:
            model.to(self.team.device)
        folder = self.folder / "samples" / f"step-{step:08d}"
        sheet = validation_videos(self.pipeline(), cases, folder, held_out[0][1], self.team)
        for model in idle:
            model.to("cpu")
        for logger in self.loggers:
            if sheet is not None:
                logger.picture(step, "validation", sheet.convert("RGB"))

    def _cases(self, held_out: Sequence[tuple[str, VideoShape]]) -> list[tuple[str, list[Reference]]]:
        """Captions and references to generate videos of."""
        samples = {sample.id: sample for sample in self.setting.samples}
        dataset, data = Path(os.path.expanduser(self.recipe.data.dataset)), self.recipe.data
        plain = data.model_copy(update={"shuffle": False, "object_dropout": 0.0})
        cases = []
        for name, shape in held_out:
            if data.condition == "first-frame":
                frames = read_clip(dataset, samples[name].clip, shape, data.fps)
                references = [Reference(Image.fromarray(frames[0]))]
            else:
                canvas = draw_canvas(dataset, samples[name], shape, plain, (self.recipe.seed, 0))
                references = [Reference(reference.rgb, role=reference.role) for reference in canvas.references]
            cases.append((samples[name].caption, references))
        return cases

    def pipeline(self) -> MagrefPipeline:
        """The models as they are, as a pipeline; within `averaged`, their averages."""
        text_encoder = self.objective.text_encoder or self.encoders.text_encoder
        pipeline = MagrefPipeline(
            self.transformer,
            self.encoders.vae,
            text_encoder,
            self.encoders.tokenizer,
            make_scheduler("unipc"),
            self.encoders.image_encoder,
            self.setting.defaults.model_dump(),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _export(self) -> Path:
        """Write the result; one of an earlier, shorter part of the run stays beside it."""
        name = "model" if self.recipe.model.lora is None else "lora.safetensors"
        path, record = self.folder / name, self.folder / "exported.json"
        done = json.loads(record.read_text()) if record.exists() else {}
        steps = self.recipe.optim.steps
        if done.get("steps") == steps and (self.folder / done["name"]).exists():
            return self.folder / str(done["name"])
        if path.exists():
            path = self.folder / f"{path.stem}-{steps}{path.suffix}"
        with self.averaged():
            if self.recipe.model.lora is not None:
                export_lora(path, self.transformer, self.recipe.model.lora, self.team)
            else:
                text_encoder = self.objective.text_encoder
                export_model(path, self.setting.base, self.transformer, text_encoder, self.setting.defaults, self.team)
        if self.team.leads:
            with writing(record, overwrite=True) as temporary:
                temporary.write_text(json.dumps({"steps": steps, "name": path.name}), encoding="utf-8")
        return path

    def close(self) -> None:
        """Write what the loggers hold, and leave the team."""
        for logger in self.loggers:
            logger.close()
        self.team.leave()
