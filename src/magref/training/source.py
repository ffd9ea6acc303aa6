"""Where examples come from: the dataset, encoded as they are needed, or a cache that was filled before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from magref.canvas import Canvas
from magref.conditioning import Conditioning
from magref.dataset.rows import Rows
from magref.dataset.store import Dataset, listing_of
from magref.errors import InputError
from magref.geometry import VideoShape
from magref.settings import check_references
from magref.training.batches import Drawn
from magref.training.cache import SKIPPED_FILE, changed_file, empty_file, read_encoded, row_digest, sample_file
from magref.training.encoding import Encoders
from magref.training.examples import Buckets, draw_canvas, first_frame_canvas, read_clip
from magref.training.objective import Example
from magref.training.recipe import ObjectiveRecipe, Recipe
from magref.video import Frames

Empty = tuple[Conditioning | None, torch.Tensor | str]
"""The conditioning of no references (None where there is none), and the text of no caption."""


class Usable(NamedTuple):
    """What a run keeps of each sample in memory: its bucket, and the digest of its row where it lies in a cache."""

    name: str
    shape: VideoShape
    digest: str


@dataclass(frozen=True)
class Pixels:
    """What lies on disk for one example, not yet encoded."""

    drawn: Drawn
    caption: str
    frames: Frames
    canvas: Canvas
    shape: VideoShape


class Source(Protocol):
    """Reads examples in two steps, since the VAE keeps state and so must not run in several threads."""

    def read(self, drawn: Drawn) -> Pixels | Example:
        """From disk, in any thread; a MagrefError says why a sample cannot be used."""

    def example(self, read: Pixels | Example, *, dropout: bool = True) -> Example:
        """What was read, encoded, in the main thread. Validation reads without dropout."""


class Encoding:
    """Reads clip and pictures, and encodes them."""

    def __init__(self, folder: Path, rows: Rows, encoders: Encoders, buckets: Buckets, recipe: Recipe) -> None:
        self._folder, self._rows, self._encoders = folder, rows, encoders
        self._buckets, self._recipe = buckets, recipe
        self._empty: dict[VideoShape, Empty] = {}
        if recipe.objective.text_dropout or recipe.objective.reference_dropout:
            self._empty = {shape: (encoders.blank(shape), encoders.text("")) for shape in buckets.shapes()}

    def read(self, drawn: Drawn) -> Pixels:
        """The clip, and a canvas that is drawn anew for each seed."""
        sample, data = self._rows[drawn.name], self._recipe.data
        shape = self._buckets.choose(sample.clip)
        frames = read_clip(self._folder, sample.clip, shape, data.fps)
        if data.condition == "first-frame":
            return Pixels(drawn, sample.caption, frames, first_frame_canvas(frames), shape)
        canvas = draw_canvas(self._folder, sample, shape, data, (self._recipe.seed, drawn.seed))
        check_references(self._recipe.model.mechanism, len(canvas.references), shape, self._encoders.strides)
        return Pixels(drawn, sample.caption, frames, canvas, shape)

    def example(self, read: Pixels | Example, *, dropout: bool = True) -> Example:
        """Encoded by the functions that generation uses."""
        assert isinstance(read, Pixels)
        name, seed = read.drawn.name, read.drawn.seed
        clean, text = self._encoders.clip(read.frames), self._encoders.text(read.caption)
        conditioning = self._encoders.canvas(read.canvas, read.shape.frames)
        example = Example(name, clean, conditioning, text, seed)
        return drop(example, self._empty.get(read.shape), self._recipe.objective) if dropout else example


class Cached:
    """Reads what `magref train cache` encoded of the dataset in `folder`, one of each sample's canvases at random."""

    def __init__(self, cache: Path, folder: Path, found: Sequence[Usable], buckets: Buckets, recipe: Recipe) -> None:
        self._cache, self._folder, self._recipe = cache, folder, recipe
        self._found = {sample.name: sample for sample in found}
        self._empty: dict[VideoShape, Empty] = {}
        if recipe.objective.text_dropout or recipe.objective.reference_dropout:
            for shape in buckets.shapes():
                encoded = read_encoded(empty_file(cache, shape))
                self._empty[shape] = (encoded.conditioning, encoded.text)

    def read(self, drawn: Drawn) -> Example:
        """One example with one of its canvases."""
        draw = int(np.random.default_rng([drawn.seed, 0]).integers(self._recipe.data.canvases))
        encoded = read_encoded(sample_file(self._cache, drawn.name, self._found[drawn.name].digest), draw)
        if encoded.clean is None or encoded.conditioning is None:
            raise InputError(f"its file in {self._cache} is not whole; delete it and fill the cache again")
        changed = changed_file(encoded.sizes, self._folder)
        if changed is not None:
            raise InputError(f"{changed} has changed since it was encoded; run magref train cache RECIPE again")
        return Example(drawn.name, encoded.clean, encoded.conditioning, encoded.text, drawn.seed)

    def example(self, read: Pixels | Example, *, dropout: bool = True) -> Example:
        """Nothing is left to encode."""
        assert isinstance(read, Example)
        shape = self._found[read.name].shape
        return drop(read, self._empty.get(shape), self._recipe.objective) if dropout else read


def drop(example: Example, empty: Empty | None, recipe: ObjectiveRecipe) -> Example:
    """Leave out references, text, or both, as often as the recipe says."""
    if empty is None:
        return example
    conditioning, text = empty
    without_references, without_text = np.random.default_rng([example.seed, 1]).random(2)
    if conditioning is not None and without_references < recipe.reference_dropout:
        example = replace(example, conditioning=conditioning)
    if without_text < recipe.text_dropout:
        example = replace(example, text=text)
    return example


def usable(dataset: Dataset, buckets: Buckets, on_skip: Callable[[str, str], None], cache: Path | None) -> list[Usable]:
    """The samples that have a bucket and, with a cache, lie in it; `on_skip` is told the others with the reason.

    Raises:
        InputError: the manifest cannot be read, or the cache has none of the samples.
    """
    shapes = {shape: shape for shape in buckets.shapes()}  # so that all samples of a bucket share one object
    found: dict[str, Usable] = {}
    missing = 0
    for _, row in dataset.rows(("id", "clip") if cache is None else None):
        try:
            name, clip = listing_of(row)
            shape = shapes[buckets.choose(clip)]
        except InputError as error:
            on_skip(str(row["id"]), str(error))
            continue
        digest = "" if cache is None else row_digest(row)
        if name in found:
            on_skip(name, "its id occurs twice; the second one is left out")
        elif cache is not None and not sample_file(cache, name, digest).is_file():
            missing += 1
            on_skip(name, f"it is not in the cache as its row is now; fill it again, or see {cache / SKIPPED_FILE}")
        else:
            found[name] = Usable(name, shape, digest)
    if missing and not found:
        raise InputError(
            f"the cache {cache} holds none of the samples of {dataset.folder}; fill it with magref train cache RECIPE, "
            "or name another as data.cache"
        )
    return list(found.values())
