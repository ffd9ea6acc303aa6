"""Reference pictures: opening them, their orientation, transparency and role."""

from __future__ import annotations

import hashlib
import operator
import os
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from magref.errors import InputError

Role = Literal["person", "object", "background"]
ImageLike = str | Path | Image.Image
Crop = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the upright picture; right and bottom exclusive, as Pillow has it."""

MAX_REFERENCES = 8
MIN_SIDE_PX = 8
MAX_ASPECT = 32
MAX_PIXELS = 150_000_000


@dataclass(frozen=True)
class Reference:
    """A picture of a person, an object or a background that is to appear in the video.

    `image` is a path or a PIL image; `label` is the words of the prompt that mean it, kept for the record; `crop` is
    the part of the picture to use.
    """

    image: ImageLike
    role: Role = "object"
    label: str | None = None
    crop: Crop | None = None

    def __post_init__(self) -> None:
        if self.role not in ("person", "object", "background"):
            raise InputError(f"reference role {self.role!r} is unknown; use person, object or background")
        if self.crop is not None:
            object.__setattr__(self, "crop", _check_crop(self.crop))


@dataclass(frozen=True)
class OpenReference:
    """A reference whose pixels have been read.

    `rgb` is the picture, upright, cropped and composited onto white; `alpha` its transparency, None where it has none;
    `identity` is what `sha256` comes from: a file's hash, or else the upright picture before it was cropped.
    """

    rgb: Image.Image
    alpha: Image.Image | None
    role: Role
    label: str | None
    path: Path | None
    identity: str | Image.Image
    crop: Crop | None = None

    @cached_property
    def sha256(self) -> str:
        """Over the whole file, or over size and pixels where the picture did not come from a file."""
        if isinstance(self.identity, str):
            return self.identity
        header = f"{self.identity.mode}{self.identity.size}".encode()
        return hashlib.sha256(header + self.identity.convert("RGBA").tobytes()).hexdigest()


def open_references(references: Sequence[Reference | ImageLike]) -> list[OpenReference]:
    """Open one to eight references in the given order, backgrounds moved to the end.

    Raises:
        InputError: too many or too few references, or one that is missing, unreadable, too small or too elongated.
    """
    if isinstance(references, (str, Path, Image.Image, Reference)):
        references = [references]
    if not isinstance(references, Sequence):
        raise InputError(f"the references are a {type(references).__name__}; give a list of paths or PIL images")
    if not 1 <= len(references) <= MAX_REFERENCES:
        raise InputError(f"{len(references)} references were given; give 1 to {MAX_REFERENCES}")
    wrapped = [r if isinstance(r, Reference) else Reference(r) for r in references]
    numbered = sorted(enumerate(wrapped, 1), key=lambda item: item[1].role == "background")  # stable: the rest stays
    return [open_reference(reference, f"reference {number}") for number, reference in numbered]


def open_reference(reference: Reference, name: str = "the given image") -> OpenReference:
    """Read the pixels of one reference, upright, cropped, composited onto white; errors as for `open_references`.

    `name` is what errors call a picture that has no path.
    """
    given = reference.image
    source = Path(os.path.expanduser(given)) if isinstance(given, (str, Path)) else given
    path = source if isinstance(source, Path) else None
    if path is not None:
        name = f"the reference {path}"
        _check_file(path)
    elif not isinstance(given, Image.Image):
        raise InputError(f"{name} is of type {type(given).__name__}; give a path or a PIL image")
    try:
        image = _upright(source, name, uncropped=reference.crop is None)
        identity = image if path is None else file_sha256(path)
        if reference.crop is not None:
            image = _cropped(image, reference.crop, name)
        rgb, alpha = _on_white(image, name)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture that can be read; use PNG, JPEG or WebP") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name} has more than {MAX_PIXELS:,} pixels; make it smaller") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file provokes
        why = str(error) or type(error).__name__
        raise InputError(f"{name} cannot be read ({why}); check or replace the file") from None
    return OpenReference(rgb, alpha, reference.role, reference.label, path, identity, reference.crop)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's whole content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise InputError(f"the reference {path} does not exist; check its path") from None
    except OSError as error:
        raise InputError(f"the reference {path} cannot be read ({error.strerror}); check its path") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"the reference {path} is a folder; name a picture in it")
    if not stat.S_ISREG(mode):  # a pipe would be waited for, for ever
        raise InputError(f"the reference {path} is not a regular file; save the picture in one")


def _upright(source: Path | Image.Image, name: str, *, uncropped: bool) -> Image.Image:
    """A copy of the pixels, decoded only after the size that the file's header gives has been checked."""
    if isinstance(source, Path):
        with warnings.catch_warnings():  # Pillow's own warning of large pictures is not needed
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                return _upright(image, name, uncropped=uncropped)
    _check_pixels(source.size, name)
    if uncropped:
        _check_sides(source.size, name)
    return ImageOps.exif_transpose(source)


def _check_crop(crop: Sequence[int]) -> Crop:
    try:
        left, top, right, bottom = (operator.index(edge) for edge in crop)
    except (TypeError, ValueError):
        left = top = right = bottom = 0
    if not (0 <= left < right and 0 <= top < bottom):
        raise InputError(f"the crop {crop} is not left, top, right, bottom; give four whole numbers: (0, 0, 200, 100)")
    return left, top, right, bottom


def _cropped(image: Image.Image, crop: Crop, name: str) -> Image.Image:
    _, _, right, bottom = crop
    if right > image.width or bottom > image.height:
        raise InputError(
            f"the crop {list(crop)} does not lie in {name}, which is {image.width}x{image.height} upright; make it fit"
        )
    cut = image.crop(crop)
    _check_sides(cut.size, f"the crop {list(crop)} of {name}")
    return cut


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} is {width}x{height}, more than {MAX_PIXELS:,} pixels; make it smaller")


def _check_sides(size: tuple[int, int], name: str) -> None:
    width, height = size
    if min(size) < MIN_SIDE_PX:
        raise InputError(f"{name} is {width}x{height}; use one with at least {MIN_SIDE_PX} pixels on both sides")
    if max(size) > MAX_ASPECT * min(size):
        raise InputError(f"{name} is {width}x{height}; crop it so that no side exceeds {MAX_ASPECT} times the other")


def _on_white(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """The picture as RGB on the canvas's white, and its alpha channel if it has one.

    The published code drops transparency, so that hidden pixels show; white is what surrounds a reference in training.
    """
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip 16-bit grey to white
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    elif image.mode == "I":
        image = _eight_bits(image)
    elif image.mode == "F":
        raise InputError(f"{name} has fractions for pixels, and their white is unknown; save it as 8-bit PNG")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB"), None
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema()[1] == 0:
        raise InputError(f"{name} is wholly transparent; give a picture that shows something")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB"), rgba.getchannel("A")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Whole numbers of up to 32 bits as 8-bit grey; how deep they are is told by the largest."""
    values = np.asarray(image).clip(0)
    deep = next(bits for bits in (8, 16, 31) if int(values.max()) < 2**bits)
    return Image.fromarray((values >> (deep - 8)).astype(np.uint8))
