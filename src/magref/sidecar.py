"""The record beside every video: all that is needed to make it again, byte for byte on the same machine.

The same record lies inside the video's own metadata. It holds no time and no host name: equal work gives equal records.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from magref import __version__
from magref.errors import CheckpointError, InputError
from magref.outputs import VIDEO_ENDINGS, writing
from magref.references import Crop, OpenReference, Reference, Role, file_sha256
from magref.settings import GenerationSettings, Quantization, Record
from magref.video import read_metadata

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

FORMAT: Final = "magref-sidecar"
VERSION: Final = 1
WEIGHT_ENDINGS = (".safetensors", ".bin", ".pth", ".pt", ".gguf")

_WHOLE_UP_TO_BYTES = 64 * 2**20
_SAMPLES, _SAMPLE_BYTES = 16, 2**20


class ReferenceRecord(Record):
    """One reference, in the order given; `path` is None for a picture that did not come from a file."""

    path: str | None
    sha256: Sha256
    """Of the whole file, whatever the crop."""
    role: Role
    label: str | None = None
    crop: Crop | None = None

    @classmethod
    def of(cls, reference: OpenReference) -> ReferenceRecord:
        """The record of a reference as it lies on a canvas (`canvas.references`)."""
        return cls(
            path=None if reference.path is None else str(reference.path),
            sha256=reference.sha256,
            role=reference.role,
            label=reference.label,
            crop=reference.crop,
        )


class LoraRecord(Record):
    """One LoRA file and the strength it was applied with."""

    path: str
    sha256: Sha256
    scale: float


class TransformerRecord(Record):
    """A single file that took the place of the model's own transformer; its hash as `weights_sha256` gives it."""

    path: str
    weights_sha256: Sha256


class ModelRecord(Record):
    """The weights: `name` is a path, a hub id or "magref-nano"; `weights_sha256` as the function of that name gives."""

    name: str
    weights_sha256: Sha256
    dtype: str
    quantize: Quantization | None = None
    preset: str | None = None
    """By which it was put on the device; None in records from before there were presets."""
    transformer: TransformerRecord | None = None
    lora: tuple[LoraRecord, ...] = ()


class Versions(Record):
    """What the bytes of a video depend on; "av" is PyAV, which brings the encoders."""

    magref: str
    python: str
    torch: str
    diffusers: str
    transformers: str
    pillow: str
    av: str


class Sidecar(Record):
    """Everything that decided one video."""

    format: Literal["magref-sidecar"] = FORMAT
    version: Literal[1] = VERSION
    created_by: Literal["magref"] = "magref"
    ai_generated: Literal[True] = True
    settings: GenerationSettings
    references: tuple[ReferenceRecord, ...]
    model: ModelRecord
    device: str
    versions: Versions
    frames: Annotated[int, Field(gt=0)]
    """In the file, after `settings.drop_frames` were cut."""
    fps: Annotated[float, Field(gt=0)]
    """Of the file; `settings.fps` unless another was asked for."""
    output_sha256: Sha256 | None = None
    """Of the video file; None in the copy inside it."""


def sidecar_path(video_path: str | Path) -> Path:
    """Where the sidecar of a video lies: beside it, ending in .json."""
    return Path(video_path).with_suffix(".json")


def write_sidecar(sidecar: Sidecar, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the record as indented JSON; whole or not at all.

    Raises:
        OutputError: the file exists and `overwrite` is off, or it cannot be written.
    """
    with writing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(sidecar_bytes(sidecar))
    return Path(path)


def sidecar_bytes(sidecar: Sidecar) -> bytes:
    """The record as the file holds it."""
    text = json.dumps(sidecar.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    # File names in another encoding hold lone surrogates; as escapes they stay valid JSON.
    return text.encode("utf-8", "backslashreplace")


def metadata_of(sidecar: Sidecar) -> dict[str, str]:
    """What goes into the video's own metadata: a mark that people and players can read, and the record as JSON."""
    inside = sidecar.model_copy(update={"output_sha256": None})  # a file cannot hold its own hash
    mark = f"AI-generated video, made with magref {sidecar.versions.magref} from {len(sidecar.references)} pictures"
    return {"comment": mark, "description": json.dumps(inside.model_dump(mode="json"), separators=(",", ":"))}


def read_sidecar(path: str | Path) -> Sidecar:
    """Read a sidecar, or the copy of it inside a video.

    Raises:
        InputError: the file is missing, is not a sidecar, or is one of another version.
    """
    path = Path(os.path.expanduser(path))
    if not path.exists():
        raise InputError(f"the sidecar {path} does not exist; check its path")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a sidecar (.json) or a video in it")
    if path.suffix.lower() in VIDEO_ENDINGS:
        text = read_metadata(path).get("description", "")
        if f'"{FORMAT}"' not in text:
            raise InputError(f"{path} carries no magref record; give the .json written beside the video")
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the sidecar {path} cannot be read ({error}); check or replace the file") from None
    return _parse(text, path)


def is_sidecar(path: Path) -> bool:
    """Whether a file is a sidecar of this package, of any version; what else it holds is not looked at."""
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("format") == FORMAT


def _parse(text: str, path: Path) -> Sidecar:
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"the sidecar {path} is not JSON ({error}); give the .json that magref wrote") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{path} is not a magref sidecar; give the .json that magref wrote beside a video")
    if data.get("version") != VERSION:
        raise InputError(
            f"the sidecar {path} has version {data.get('version')}, not {VERSION}; use the magref that wrote it"
        )
    try:
        return Sidecar.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"the sidecar {path} is not valid: {first_problem(error)}; restore the file") from None


def first_problem(error: ValidationError) -> str:
    """The first problem that pydantic found, in a few words: where, and what."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where} is unknown"
    if problem["type"] == "missing":
        return f"{where} is missing"
    message = problem["msg"].removeprefix("Value error, ")  # a check of our own, whose words say enough
    return f"{where}: {message[:1].lower()}{message[1:]}" if where else message


def reopen_references(sidecar: Sidecar, base: Path) -> list[Reference]:
    """The references of a recorded video, found again and unchanged.

    Args:
        sidecar: the record.
        base: the folder of the record; relative paths are tried from the current folder and from here.

    Raises:
        InputError: a reference is missing, has changed, or never was a file.
    """
    references = []
    for number, record in enumerate(sidecar.references, 1):
        if record.path is None:
            raise InputError(
                f"reference {number} of the sidecar was no file; only references from files can be replayed"
            )
        path = find_recorded(record.path, base, f"reference {record.path}", record.sha256, file_sha256)
        references.append(Reference(path, role=record.role, label=record.label, crop=record.crop))
    return references


def find_recorded(path: str, base: Path, what: str, expected: str, hash_of: Callable[[Path], str]) -> Path:
    """The recorded file, found again from the current folder or from `base`, with the hash it had.

    Raises:
        InputError: it is missing, or has changed.
    """
    candidates = [Path(os.path.expanduser(path)), base / path]
    there = [candidate for candidate in candidates if candidate.is_file()]
    if not there:
        raise InputError(f"the {what} of the sidecar does not exist; put it back to replay")
    same = [candidate for candidate in there if hash_of(candidate) == expected]
    if not same:
        raise InputError(f"the {what} has changed since the video was made; put the old one back")
    return same[0]


def weights_sha256(weights: str | Path | Sequence[str | Path]) -> str:
    """One hash for a model's weights: over each file's name, size and content, in order of the names.

    Files up to 64 MiB are read whole. Of larger ones, where reading all of 32 GB would take minutes, it takes the
    safetensors header (all names, shapes and types) and sixteen evenly spaced MiB, the first and the last among them:
    enough to tell models, conversions and fine-tunings apart, not to prove that every byte is intact.

    Args:
        weights: a model's folder (all weight files below it), or files.

    Raises:
        CheckpointError: there are no weight files, or one cannot be read.
    """
    if isinstance(weights, (str, Path)):
        root = Path(weights)
        found = [root] if root.is_file() else [p for p in root.rglob("*") if p.suffix.lower() in WEIGHT_ENDINGS]
        files = {p.relative_to(root).as_posix() if p != root else p.name: p for p in found}
    else:
        files = {Path(p).name: Path(p) for p in weights}
        if len(files) != len(weights):
            raise CheckpointError("two of the weight files have the same name; put them into one folder and name that")
    if not files:
        raise CheckpointError(f"{weights} holds no weight files ({', '.join(WEIGHT_ENDINGS)}); check the path")
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        try:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            for block in _sampled(path):
                digest.update(block)
        except OSError as error:
            raise CheckpointError(f"the weights {path} cannot be read ({error.strerror}); check the file") from None
    return digest.hexdigest()


def _sampled(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE_UP_TO_BYTES:
            while block := file.read(_SAMPLE_BYTES):
                yield block
            return
        if path.suffix.lower() == ".safetensors":
            header = int.from_bytes(file.read(8), "little")  # its length stands in the first eight bytes
            yield file.read(min(header, _WHOLE_UP_TO_BYTES))
        for sample in range(_SAMPLES):
            file.seek(sample * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            yield file.read(_SAMPLE_BYTES)


def installed_versions() -> Versions:
    """The versions on this machine, read without importing the packages."""
    packages = ("torch", "diffusers", "transformers", "pillow", "av")
    ours = {"magref": __version__, "python": platform.python_version()}
    return Versions(**ours, **{name: _installed(name) for name in packages})


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
