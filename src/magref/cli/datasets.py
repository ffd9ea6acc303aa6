"""`magref dataset import`, `check` and `export`; what the synthetic world writes is in `worlds.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from magref.cli import worlds

_FOLDER = Annotated[Path, typer.Argument(help="The dataset's folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(help="Training samples: make a dataset of your own clips, check it, export it.")
    group.command("import", help="Make a dataset of a folder of clips, captions and reference pictures.")(import_)
    group.command("check", help="Say what is wrong with a dataset; exit code 1 where something is.")(check)
    group.command("export", help="Write a dataset as WebDataset shards for an object store.")(export)
    group.command("remove", help="Take a person out of a dataset: all samples that show them.")(remove)
    worlds.register(group)
    app.add_typer(group, name="dataset")


def import_(
    source: Annotated[Path, typer.Argument(help="walk.mp4, its caption walk.txt, pictures in walk/, and so on.")],
    folder: _FOLDER,
    name: Annotated[str | None, typer.Option(help="The dataset's name; none: the folder's.")] = None,
    license: Annotated[str | None, typer.Option(help="Under which the material may be used.")] = None,
) -> None:
    """Make a dataset of a folder of clips, or go on with it; what cannot be used is named and passed over."""
    from magref.dataset.importing import import_folder

    console = Console(stderr=True)
    added = passed = 0
    for imported in import_folder(source, folder, name=name or folder.resolve().name, license=license):
        if imported.problem is None:
            added += 1
            console.print(f"added {imported.name}", markup=False, highlight=False)
        else:
            passed += 1
            console.print(f"passed over {imported.name}: {imported.problem}", markup=False, highlight=False)
    console.print(f"{added} samples added to {folder}, {passed} clips passed over", markup=False, highlight=False)
    if passed:
        raise typer.Exit(1)


def check(
    folder: _FOLDER,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every frame too, which takes long.")] = False,
) -> None:
    """Check every sample of a dataset and its files; nothing is changed."""
    from magref.dataset.check import check_dataset
    from magref.dataset.store import Dataset

    console = Console(stderr=True)
    problems = 0
    for problem in check_dataset(folder, decode=decode):
        problems += 1
        console.print(f"{problem.sample}: {problem.sentence}", markup=False, highlight=False)
    console.print(f"{len(Dataset(folder))} samples, {problems} problems", markup=False, highlight=False)
    if problems:
        raise typer.Exit(1)


def remove(
    folder: _FOLDER,
    identity: Annotated[str, typer.Option(help="Whom: the identity of a subject, as in the manifest.")],
    whole_sources: Annotated[
        bool, typer.Option("--whole-sources", help="Also all other samples of the same source videos.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would go.")] = False,
) -> None:
    """Delete every sample that shows a person, with its clip, pictures and masks, from folder and manifest."""
    from magref.dataset.removal import plan_removal
    from magref.dataset.removal import remove as remove_planned

    console = Console(stderr=True)
    removal = plan_removal(folder, identity, whole_sources=whole_sources)
    for _, sample in removal.samples:
        source = sample.provenance.source
        console.print(f"{sample.id}{f' of {source}' if source else ''}", markup=False, highlight=False)
    what = f"{len(removal.samples)} samples with {len(removal.files())} files"
    if not yes:
        console.print(f"{what} would be removed; nothing was, add --yes to do it", markup=False, highlight=False)
        return
    remove_planned(removal)
    console.print(f"{what} removed from {folder}", markup=False, highlight=False)


def export(
    folder: _FOLDER,
    destination: Annotated[Path, typer.Argument(help="The folder for the shards.")],
    samples: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 500,
) -> None:
    """Write a dataset as WebDataset shards; those that are there already with the same samples are kept."""
    from magref.dataset.shards import export_shards

    console = Console(stderr=True)
    for shard in export_shards(folder, destination, shard_samples=samples):
        console.print(f"{'wrote' if shard.new else 'kept'} {shard.path}", markup=False, highlight=False)
