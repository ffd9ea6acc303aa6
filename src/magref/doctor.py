"""What is installed, which models are here and whole, and what this machine can run; for `magref doctor`.

A probe that fails becomes a line of the report: the doctor works where the installation does not.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from magref import __version__
from magref.capacity import NEEDS, Ability, Device, ability
from magref.checkpoints import layout
from magref.curation.models.catalogue import CATALOGUE, find
from magref.errors import MagrefError
from magref.models import EMBEDDED_FOLDER, EMBEDDED_NAME

T = TypeVar("T")

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "huggingface-hub",
    "av",
    "pillow",
    "psutil",
    "ftfy",
    "numpy",
    "pydantic",
    "rich",
    "typer",
)
_OF_EXTRA = re.compile(r"([\w.-]+).*;\s*extra\s*==\s*['\"]([\w-]+)['\"]")
"""A requirement as the installed package states it: gguf>=0.17; extra == 'gguf'."""
MODEL_FOLDERS = (Path("models"), Path("ckpts"))
"""Looked through in the current folder, each model one level down."""


@dataclass(frozen=True)
class Package:
    """One required package; `version` is None where it is not installed."""

    name: str
    version: str | None


@dataclass(frozen=True)
class Extra:
    """One optional part of this package, and the command that installs it."""

    name: str
    installed: bool
    install: str


@dataclass(frozen=True)
class FoundModel:
    """One model on this machine; `problem` is the first thing that is wrong with it, None where it is whole."""

    name: str
    path: Path
    disk_bytes: int
    problem: str | None


@dataclass(frozen=True)
class CurationWeights:
    """Weights that curation can use; `path` is None where they are not here."""

    name: str
    task: str
    licence: str
    nbytes: int
    path: Path | None


@dataclass(frozen=True)
class Report:
    """All findings; `problems` are the probes that failed, one sentence each."""

    magref: str
    python: str
    system: str
    packages: tuple[Package, ...]
    extras: tuple[Extra, ...]
    devices: tuple[Device, ...]
    default_device: str | None
    default_dtype: str | None
    folder: Path
    free_bytes: int | None
    models: tuple[FoundModel, ...]
    weights: tuple[CurationWeights, ...]
    abilities: tuple[Ability, ...]
    problems: tuple[str, ...]


def examine(model_folders: Sequence[str | Path] = ()) -> Report:
    """Look at the installation, the machine and the models; reads headers only and changes nothing.

    Args:
        model_folders: models, or folders that hold models, to look at beside the usual places.
    """
    problems: list[str] = []

    def probe(what: str, look: Callable[[], T]) -> T | None:
        try:
            return look()
        except Exception as error:  # whatever a broken installation provokes
            reason = next(iter(str(error).splitlines()), "")
            problems.append(f"{what} could not be found out ({type(error).__name__}: {reason})")
            return None

    devices = [*(probe("the GPUs", _gpus) or ()), *(probe("the CPU", _cpus) or ())]
    device, dtype = probe("the default device", _defaults) or (None, None)
    folder = probe("the current folder", Path.cwd) or Path()
    found = probe("the models", lambda: list(_model_folders(model_folders))) or []
    cached = probe("the models in the hub's cache", lambda: list(_cached())) or []
    return Report(
        magref=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} ({platform.machine()})",
        packages=tuple(Package(name, _version(name)) for name in PACKAGES),
        extras=tuple(
            Extra(name, all(_version(package) for package in packages), f"pip install 'magref[{name}]'")
            for name, packages in (probe("the extras", _extras) or {}).items()
        ),
        devices=tuple(devices),
        default_device=device,
        default_dtype=dtype,
        folder=folder,
        free_bytes=probe("the free disk space", lambda: shutil.disk_usage(folder).free),
        models=(_embedded(), *(_examined(name, path) for name, path in found + cached)),
        weights=tuple(probe("the weights for curation", lambda: list(_curation_weights())) or ()),
        abilities=tuple(ability(need, devices) for need in NEEDS) if devices else (),
        problems=tuple(problems),
    )


def render(report: Report) -> RenderableType:
    """The report as tables for a terminal."""
    installed = Table.grid(padding=(0, 2))
    installed.add_row("magref", report.magref)
    installed.add_row("python", f"{report.python} on {report.system}")
    for package in report.packages:
        installed.add_row(package.name, package.version or "[red]missing[/red]; run pip install magref")
    for extra in report.extras:
        state = "installed" if extra.installed else f"not installed; run {extra.install}"
        installed.add_row(f"extra {extra.name}", escape(state))

    machine = Table.grid(padding=(0, 2))
    for device in report.devices:
        bf16 = "bfloat16 in hardware" if device.bf16 else "no bfloat16 in hardware"
        machine.add_row(device.name, f"{device.model}, {device.detail}, {decimal(device.memory_bytes)}, {bf16}")
    machine.add_row("by default", f"{report.default_device or 'unknown'}, {report.default_dtype or 'unknown'}")
    free = "unknown" if report.free_bytes is None else decimal(report.free_bytes)
    machine.add_row("disk", f"{free} free in {escape(str(report.folder))}")

    models = Table.grid(padding=(0, 2))
    models.add_column(overflow="fold")  # paths stay readable
    models.add_column(no_wrap=True)
    models.add_column(overflow="fold")
    for model in report.models:
        state = f"whole, in {model.path}" if model.problem is None else f"not whole: {model.problem}"
        models.add_row(escape(model.name), decimal(model.disk_bytes), escape(state))

    weights = Table.grid(padding=(0, 2))
    for column in range(5):
        weights.add_column(overflow="fold", no_wrap=column == 2)
    for entry in report.weights:
        state = f"not here; magref download {entry.name}" if entry.path is None else f"here, in {entry.path}"
        weights.add_row(entry.name, entry.task, decimal(entry.nbytes), entry.licence, escape(state))

    runs = Table.grid(padding=(0, 2))
    for each in report.abilities:
        runs.add_row(each.model, each.sentence)

    parts: list[RenderableType] = []
    for title, table in (
        ("Installed", installed),
        ("This machine", machine),
        ("Models", models),
        ("Weights for curation", weights),
        ("What this machine can run (estimates, at each model's default size)", runs),
    ):
        parts += [f"[bold]{title}[/bold]", table, ""]
    if report.problems:
        parts += ["[bold red]Problems[/bold red]", *map(escape, report.problems)]
    return Group(*parts)


def _version(package: str) -> str | None:
    """Without importing the package, which takes seconds and may fail."""
    try:
        return metadata.version(package)
    except Exception:  # a damaged installation has damaged metadata too
        return None


def _extras() -> dict[str, list[str]]:
    """Extra of this package -> the packages it installs; the developers' own is left out."""
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires("magref") or ():
        if (match := _OF_EXTRA.match(requirement)) and match[2] != "dev":
            extras.setdefault(match[2], []).append(match[1])
    return extras


def _cpus() -> list[Device]:
    import psutil  # type: ignore[import-untyped]
    import torch

    from magref.placement import choose_dtype

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    native = choose_dtype(torch.device("cpu")) is torch.bfloat16
    return [Device("cpu", _cpu_name(), psutil.virtual_memory().total, native, f"{cores} cores")]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine() or "unknown"


def _gpus() -> list[Device]:
    import torch

    from magref.placement import AMPERE

    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = (properties.major, properties.minor)
        detail = f"compute capability {properties.major}.{properties.minor}"
        bf16 = capability >= AMPERE
        found.append(Device(f"cuda:{index}", properties.name, properties.total_memory, bf16, detail))
    if torch.backends.mps.is_available():
        import psutil

        found.append(Device("mps", _cpu_name(), psutil.virtual_memory().total, True, "shared memory"))
    return found


def _defaults() -> tuple[str | None, str | None]:
    from magref.placement import choose_device, choose_dtype

    device = choose_device()
    return str(device), str(choose_dtype(device)).removeprefix("torch.")


def _model_folders(given: Sequence[str | Path]) -> Iterator[tuple[str, Path]]:
    """Models in the given folders and the usual ones: a folder itself, or those one level below it."""
    seen: set[Path] = set()
    folders = [Path(os.path.expanduser(folder)) for folder in given]
    for folder in [*folders, *MODEL_FOLDERS]:
        candidates = [folder]
        if folder.is_dir() and not _is_model(folder):
            candidates = sorted(child for child in folder.iterdir() if child.is_dir() and _is_model(child))
        if folder in folders:
            candidates = candidates or [folder]  # asked for by name: the report says what is wrong with it
        elif not folder.is_dir():
            continue
        for path in candidates:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield str(path), path


def _is_model(folder: Path) -> bool:
    """Whether the folder is, or is becoming, a model in one of the two layouts."""
    return (
        (folder / layout.MODEL_INDEX).is_file()
        or layout.is_published(folder)
        or any(folder.glob("*.part"))
        or any(folder.glob(f"{layout.TRANSFORMER}*.safetensors*"))
    )


def _cached() -> Iterator[tuple[str, Path]]:
    """Video models in the Hugging Face cache that this package can open."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repo in sorted(repos, key=lambda repo: str(repo.repo_id)):
        for revision in repo.revisions:
            path = Path(revision.snapshot_path)
            if repo.repo_type == "model" and (layout.is_published(path) or _is_ours(path / layout.MODEL_INDEX)):
                yield repo.repo_id, path


def _curation_weights() -> Iterator[CurationWeights]:
    for weights in CATALOGUE.values():
        yield CurationWeights(weights.name, weights.task, weights.licence, weights.nbytes, find(weights))


def _is_ours(index: Path) -> bool:
    """Whether a model_index.json names our pipeline or Wan's image-to-video one; other models share that cache."""
    try:
        text = index.read_text("utf-8")
    except OSError:
        return False
    return "MagrefPipeline" in text or "WanImageToVideoPipeline" in text


def _embedded() -> FoundModel:
    found = _examined(EMBEDDED_NAME, EMBEDDED_FOLDER)
    if found.problem is None:
        return found
    remedy = "install the package anew: pip install --force-reinstall --no-deps magref"
    return replace(found, problem=f"the model that ships with magref is damaged or absent; {remedy}")


def _examined(name: str, path: Path) -> FoundModel:
    try:
        disk_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if (path / layout.MODEL_INDEX).is_file():
            layout.check_diffusers(path)
        else:
            layout.check_published(path)
    except MagrefError as error:
        return FoundModel(name, path, disk_bytes, str(error))
    except Exception as error:  # a damaged file is a finding, not a crash
        return FoundModel(name, path, 0, f"{path} cannot be read ({error}); check the folder")
    return FoundModel(name, path, disk_bytes, None)
