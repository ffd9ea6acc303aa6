"""Where examples come from: the dataset, encoded as they are needed, or a cache that was filled before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from magref.canvas import Canvas
from magref.conditioning import Conditioning
from magref.dataset.format import Sample
from magref.errors import InputError
from magref.geometry import VideoShape
from magref.training.batches import Drawn
from magref.training.cache import SKIPPED_FILE, empty_file, read_encoded, sample_file
from magref.training.encoding import Encoders
from magref.training.examples import Buckets, draw_canvas, first_frame_canvas, read_clip
from magref.training.objective import Example
from magref.training.recipe import ObjectiveRecipe, Recipe
from magref.video import Frames

Empty = tuple[Conditioning | None, torch.Tensor | str]
"""The conditioning of no references (None where there is none), and the text of no caption."""


@dataclass(frozen=True)
class Pixels:
    """What lies on disk for one example, not yet encoded."""

    drawn: Drawn
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

    def __init__(
        self, folder: Path, samples: dict[str, Sample], encoders: Encoders, buckets: Buckets, recipe: Recipe
    ) -> None:
        self._folder, self._samples, self._encoders = folder, samples, encoders
        self._buckets, self._recipe = buckets, recipe
        self._empty: dict[VideoShape, Empty] = {}
        if recipe.objective.text_dropout or recipe.objective.reference_dropout:
            self._empty = {shape: (encoders.blank(shape), encoders.text("")) for shape in buckets.shapes()}

    def read(self, drawn: Drawn) -> Pixels:
        """The clip, and a canvas that is drawn anew for each seed."""
        sample, data = self._samples[drawn.name], self._recipe.data
        shape = self._buckets.choose(sample.clip)
        frames = read_clip(self._folder, sample.clip, shape, data.fps)
        if data.condition == "first-frame":
            return Pixels(drawn, frames, first_frame_canvas(frames), shape)
        canvas = draw_canvas(self._folder, sample, shape, data, (self._recipe.seed, drawn.seed))
        return Pixels(drawn, frames, canvas, shape)

    def example(self, read: Pixels | Example, *, dropout: bool = True) -> Example:
        """Encoded by the functions that generation uses."""
        assert isinstance(read, Pixels)
        name, seed = read.drawn.name, read.drawn.seed
        clean, text = self._encoders.clip(read.frames), self._encoders.text(self._samples[name].caption)
        conditioning = self._encoders.canvas(read.canvas, read.shape.frames)
        example = Example(name, clean, conditioning, text, seed)
        return drop(example, self._empty.get(read.shape), self._recipe.objective) if dropout else example


class Cached:
    """Reads what `magref train cache` encoded, one of each sample's canvases at random."""

    def __init__(self, cache: Path, samples: dict[str, Sample], buckets: Buckets, recipe: Recipe) -> None:
        self._cache, self._samples, self._buckets, self._recipe = cache, samples, buckets, recipe
        self._empty: dict[VideoShape, Empty] = {}
        if recipe.objective.text_dropout or recipe.objective.reference_dropout:
            for shape in buckets.shapes():
                encoded = read_encoded(empty_file(cache, shape))
                self._empty[shape] = (encoded.conditioning, encoded.text)

    def read(self, drawn: Drawn) -> Example:
        """One example with one of its canvases."""
        draw = int(np.random.default_rng([drawn.seed, 0]).integers(self._recipe.data.canvases))
        encoded = read_encoded(sample_file(self._cache, drawn.name), draw)
        if encoded.clean is None or encoded.conditioning is None:
            raise InputError(f"its file in {self._cache} is not whole; delete it and fill the cache again")
        return Example(drawn.name, encoded.clean, encoded.conditioning, encoded.text, drawn.seed)

    def example(self, read: Pixels | Example, *, dropout: bool = True) -> Example:
        """Nothing is left to encode."""
        assert isinstance(read, Example)
        shape = self._buckets.choose(self._samples[read.name].clip)
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


def usable(
    samples: list[Sample], buckets: Buckets, on_skip: Callable[[str, str], None], cache: Path | None
) -> list[tuple[str, VideoShape]]:
    """The samples that have a bucket and, with a cache, lie in it; `on_skip` is told the others with the reason."""
    found = []
    for sample in samples:
        try:
            shape = buckets.choose(sample.clip)
        except InputError as error:
            on_skip(sample.id, str(error))
            continue
        if cache is not None and not sample_file(cache, sample.id).is_file():
            on_skip(sample.id, f"it is not in the cache; see {cache / SKIPPED_FILE}, or fill it again")
            continue
        found.append((sample.id, shape))
    return found
