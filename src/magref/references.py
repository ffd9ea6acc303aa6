"""Reference pictures: opening them, their orientation, transparency and role."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from magref.errors import InputError

Role = Literal["person", "object", "background"]
ImageLike = str | Path | Image.Image

MAX_REFERENCES = 8
MIN_SIDE_PX = 8
MAX_ASPECT = 32
MAX_PIXELS = 150_000_000


@dataclass(frozen=True)
class Reference:
    """A picture of a person, an object or a background that is to appear in the video.

    `image` is a path or a PIL image; `label` is the words of the prompt that mean it, kept for the record.
    """

    image: ImageLike
    role: Role = "object"
    label: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ("person", "object", "background"):
            raise InputError(f"reference role {self.role!r} is unknown; use person, object or background")


@dataclass(frozen=True)
class OpenReference:
    """A reference whose pixels have been read.

    `rgb` is the picture composited onto white; `alpha` its transparency, None where it has none; `sha256` is taken over
    the file, or over size and pixels where the picture did not come from a file.
    """

    rgb: Image.Image
    alpha: Image.Image | None
    role: Role
    label: str | None
    path: Path | None
    sha256: str


def open_references(references: Sequence[Reference | ImageLike]) -> list[OpenReference]:
    """Open one to eight references in the given order, backgrounds moved to the end.

    Raises:
        InputError: too many or too few references, or one that is missing, unreadable, too small or too elongated.
    """
    if isinstance(references, (str, Path, Image.Image, Reference)):
        references = [references]
    if not 1 <= len(references) <= MAX_REFERENCES:
        raise InputError(f"{len(references)} references were given; give 1 to {MAX_REFERENCES}")
    wrapped = [r if isinstance(r, Reference) else Reference(r) for r in references]
    wrapped.sort(key=lambda r: r.role == "background")  # a stable sort: the given order is kept otherwise
    return [open_reference(r) for r in wrapped]


def open_reference(reference: Reference) -> OpenReference:
    """Read the pixels of one reference, upright, composited onto white; errors as for `open_references`."""
    path: Path | None = None
    if isinstance(reference.image, Image.Image):
        image, name = reference.image, "the given image"
        _check_size(image.size, name)
    elif isinstance(reference.image, (str, Path)):
        path = Path(reference.image).expanduser()
        image, name = _read(path), str(path)
    else:
        kind = type(reference.image).__name__
        raise InputError(f"a reference is a {kind}; give a path or a PIL image")
    image = ImageOps.exif_transpose(image)
    if path is None:
        header = f"{image.mode}{image.size}".encode()
        digest = hashlib.sha256(header + image.convert("RGBA").tobytes()).hexdigest()
    else:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rgb, alpha = _on_white(image)
    return OpenReference(rgb, alpha, reference.role, reference.label, path, digest)


def _read(path: Path) -> Image.Image:
    if not path.exists():
        raise InputError(f"the reference {path} does not exist; check its path")
    if path.is_dir():
        raise InputError(f"the reference {path} is a folder; name a picture in it")
    try:
        # The size is checked here, from the header, before any pixel is decoded: Pillow's own warning is not needed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        _check_size(image.size, str(path))
        image.load()
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"the reference {path} is not a picture that can be read; use PNG, JPEG or WebP") from None
    except Image.DecompressionBombError:
        raise InputError(f"the reference {path} has more than {MAX_PIXELS:,} pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"the reference {path} cannot be read ({error}); check or replace the file") from None
    return image


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} is {width}x{height}, more than {MAX_PIXELS:,} pixels; make it smaller")
    if min(size) < MIN_SIDE_PX:
        raise InputError(f"{name} is {width}x{height}; both sides must have at least {MIN_SIDE_PX} pixels")
    if max(size) > MAX_ASPECT * min(size):
        raise InputError(f"{name} is {width}x{height}; crop it so that no side exceeds {MAX_ASPECT} times the other")


def _on_white(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture as RGB on the canvas's white, and its alpha channel if it has one.

    The published code drops transparency, so that hidden pixels show; white is what surrounds a reference in training.
    """
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip 16-bit grey to white
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB"), None
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB"), rgba.getchannel("A")
