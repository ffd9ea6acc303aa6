"""Encoded samples on disk: a file for each, with the clip's latents, several canvases, and the caption's features.

    cache.json                      what it was made with
    samples/<id>-<row>.safetensors  clean, guidance.0 .., image.0 .., tail.0 .., text
    empty/<F>x<H>x<W>.safetensors   the same of no references and no caption, for dropout
    skipped.jsonl                   samples that could not be used when it was filled last, and why

<row> is a hash of the sample's row in the manifest: one of another dataset, or one that was changed, is another sample.

The canvas cannot be cached once for all, since references and layout are drawn anew each time; so a few draws of each
sample are encoded, and training takes one of them at random.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from magref.conditioning import Conditioning
from magref.dataset.format import Sample
from magref.dataset.store import sample_of
from magref.errors import InputError, MagrefError
from magref.geometry import VideoShape
from magref.outputs import append, writing
from magref.settings import Record
from magref.training.encoding import Encoders
from magref.training.examples import Buckets, draw_canvas, first_frame_canvas, read_clip
from magref.training.recipe import DataRecipe

VERSION: Final = 1
INFO_FILE: Final = "cache.json"
SKIPPED_FILE: Final = "skipped.jsonl"


class CacheInfo(Record):
    """What a cache was made with; a run must ask for the same."""

    format: Literal["magref-latents"] = "magref-latents"
    version: Literal[1] = VERSION
    made_with: str
    """What `fingerprint` gives."""
    canvases: int


@dataclass(frozen=True)
class Encoded:
    """One sample with one of its canvases; tensors (1, ...) as in `Batch`, parts that an empty one lacks are None."""

    clean: torch.Tensor | None
    conditioning: Conditioning | None
    text: torch.Tensor | str
    sizes: Mapping[str, int]
    """Of the files that were encoded, in bytes, by their paths in the dataset."""


def fingerprint(encoders: Mapping[str, str], buckets: Buckets, recipe: DataRecipe, mechanism: str) -> str:
    """One hash over what decides how samples are encoded: the encoders, the shapes, how references are drawn."""
    free = {"cache", "workers", "dataset", "canvases", "sizes", "frames"}
    record = {
        "encoders": dict(encoders),
        "shapes": [[shape.frames, shape.height, shape.width] for shape in buckets.shapes()],
        "data": recipe.model_dump(mode="json", exclude=free),
        "mechanism": mechanism,
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def row_digest(row: Mapping[str, Any]) -> str:
    """A hash of the part of a manifest's row that decides what is encoded."""
    parts = {key: row.get(key) for key in ("id", "caption", "clip", "subjects")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def open_cache(folder: Path, info: CacheInfo, *, make: bool) -> CacheInfo:
    """Check that the cache is the one asked for, or begin it where `make` is set; returns what it was made with.

    Raises:
        InputError: there is none, or it was made with something else.
    """
    path = folder / INFO_FILE
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the cache {folder} is a file; name a folder as data.cache")
    if path.is_file():
        try:
            found = CacheInfo.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError:
            raise InputError(f"{path} is no record of this version's caches; name another folder") from None
        if found.made_with != info.made_with or found.canvases < info.canvases:
            raise InputError(
                f"the cache {folder} was made with another model or other data settings; name another folder as "
                "data.cache, or set things back"
            )
        return found
    if not make:
        raise InputError(f"the cache {folder} does not exist; fill it with magref train cache RECIPE")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"the folder {folder} is not empty and no cache; name another as data.cache")
    with writing(path) as temporary:
        temporary.write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return info


def fill_cache(
    folder: Path,
    dataset: Path,
    rows: Iterable[dict[str, Any]],
    encoders: Encoders,
    buckets: Buckets,
    recipe: DataRecipe,
) -> Iterator[tuple[str, str | None]]:
    """Encode the manifest's rows that are not there yet, or whose files have changed since.

    Which canvases there are does not depend on a run's seed, so that runs can share a cache.

    Yields:
        Each id, with the reason where it could not be used.

    Raises:
        OutputError: one could not be written.
    """
    for row in rows:
        name, path = str(row["id"]), sample_file(folder, str(row["id"]), row_digest(row))
        if _is_current(path, dataset):
            continue
        try:
            tensors, metadata = _encode(dataset, sample_of(row), encoders, buckets, recipe)
        except MagrefError as error:
            line = json.dumps({"sample": name, "reason": str(error)}, ensure_ascii=False)
            append(folder / SKIPPED_FILE, f"{line}\n".encode())
            yield name, str(error)
            continue
        with writing(path, overwrite=True) as temporary:
            save_file(tensors, temporary, metadata=metadata)
        yield name, None


def fill_empty(folder: Path, encoders: Encoders, buckets: Buckets) -> None:
    """Encode no references and no caption, for each shape, where that is not there yet."""
    for shape in buckets.shapes():
        path = empty_file(folder, shape)
        if not path.exists():
            text, blank = encoders.text(""), encoders.blank(shape)
            named = {} if blank is None else _named(blank)
            tensors = {f"{name}.0": _small(tensor) for name, tensor in named.items()}
            if isinstance(text, torch.Tensor):
                tensors["text"] = _small(text)
            with writing(path) as temporary:
                save_file(tensors, temporary, metadata={"caption": "", "sizes": "{}"})


def _encode(
    dataset: Path, sample: Sample, encoders: Encoders, buckets: Buckets, recipe: DataRecipe
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    shape = buckets.choose(sample.clip)
    frames = read_clip(dataset, sample.clip, shape, recipe.fps)
    tensors = {"clean": encoders.clip(frames)}
    for draw in range(recipe.canvases):
        if recipe.condition == "first-frame":
            canvas = first_frame_canvas(frames)
        else:
            canvas = draw_canvas(dataset, sample, shape, recipe, (0, draw))
        conditioning = encoders.canvas(canvas, shape.frames)
        for name, tensor in _named(conditioning).items():
            tensors[f"{name}.{draw}"] = tensor
    text = encoders.text(sample.caption)
    if isinstance(text, torch.Tensor):
        tensors["text"] = text
    metadata = {"caption": sample.caption, "sizes": json.dumps(_sizes(sample, dataset))}
    return {name: _small(tensor) for name, tensor in tensors.items()}, metadata


def _sizes(sample: Sample, dataset: Path) -> dict[str, int]:
    """Of the clip and the pictures, of which canvases are drawn; in bytes."""
    pictures = [picture.path for subject in sample.subjects for picture in subject.pictures]
    sizes = {}
    for name in (sample.clip.path, *pictures):
        with contextlib.suppress(OSError):
            sizes[name] = (dataset / name).stat().st_size
    return sizes


def _named(conditioning: Conditioning) -> dict[str, torch.Tensor]:
    parts = {"guidance": conditioning.guidance, "image": conditioning.image_embeds, "tail": conditioning.tail}
    return {name: tensor for name, tensor in parts.items() if tensor is not None}


def _small(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision: normalised latents and features need no more."""
    return (tensor.half() if tensor.dtype == torch.float32 else tensor).contiguous().cpu()


def sample_file(folder: Path, name: str, digest: str) -> Path:
    """Where a sample with a row of this digest lies in the cache."""
    return folder / "samples" / f"{name}-{digest}.safetensors"


def empty_file(folder: Path, shape: VideoShape) -> Path:
    """Where the conditioning and the text of nothing lie."""
    return folder / "empty" / f"{shape.frames}x{shape.height}x{shape.width}.safetensors"


def read_encoded(path: Path, draw: int = 0) -> Encoded:
    """One file of the cache, with its canvas number `draw`.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            stored = set(file.keys())

            def tensor(key: str) -> torch.Tensor | None:
                return file.get_tensor(key).float() if key in stored else None

            guidance = tensor(f"guidance.{draw}")
            conditioning = (
                None if guidance is None else Conditioning(guidance, tensor(f"image.{draw}"), tensor(f"tail.{draw}"))
            )
            text, metadata = tensor("text"), file.metadata()
            sizes = json.loads(metadata["sizes"])
            return Encoded(tensor("clean"), conditioning, metadata["caption"] if text is None else text, sizes)
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"its file {path} cannot be read ({error}); fill the cache again") from None


def changed_file(sizes: Mapping[str, int], dataset: Path) -> str | None:
    """The first of these files that has another size now, as a sign of other content; None where all are as they were.

    Files that are gone count as they were: training from a cache needs few of them.
    """
    for name, size in sizes.items():
        with contextlib.suppress(OSError):
            if (dataset / name).stat().st_size != size:
                return name
    return None


def _is_current(path: Path, dataset: Path) -> bool:
    """Whether a sample lies in the cache, whole and of the dataset's files as they are now."""
    try:
        with safe_open(path, framework="pt") as file:
            sizes = json.loads(file.metadata()["sizes"])
    except (OSError, SafetensorError, KeyError, TypeError):
        return False
    return changed_file(sizes, dataset) is None
