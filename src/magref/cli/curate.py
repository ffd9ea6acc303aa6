"""`magref curate`, with `report` and `tune`; what each stage shows while it runs is in `curate_progress.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from magref.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("curate", help="Turn raw videos into training samples.")(curate)


def curate(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEOS... | report WORK | tune WORK",
            help="Videos, folders or .txt lists of them, addresses; or a work folder to report on, or to tune.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The dataset's folder; for report, the .html page.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option("--work", help="For everything measured; none: DATASET-work beside the dataset.")
    ] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="A .yaml file of settings.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: motion.least=1.0.")
    ] = None,
    for_model: Annotated[
        str | None, typer.Option("--for", metavar="MODEL", help="Cut clips of this model's length and rate.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The dataset's name; none: the folder's.")] = None,
    license: Annotated[str | None, typer.Option(help="Under which the material may be used.")] = None,
    processes: Annotated[int | None, typer.Option(min=0, help="For work without models; none: one a core.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster's address; none: RAY_ADDRESS, or one of this machine.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Ray workers that hold models.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each of these.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="For models: cuda, cuda:1, cpu; none: a GPU where there is one.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME=FOLDER", help="Own weights: buffalo_l=packs/mine.")
    ] = None,
    captioner: Annotated[str | None, typer.Option(help="qwen2.5-vl-7b or -3b; none: what fits the device.")] = None,
    faces: Annotated[str, typer.Option(help="buffalo_l or antelopev2, both for non-commercial use.")] = "buffalo_l",
    caption_server: Annotated[
        str | None, typer.Option(help="Caption with an OpenAI-compatible server: http://host:8000/v1.")
    ] = None,
    server_model: Annotated[str, typer.Option(help="The server's model.")] = "Qwen/Qwen2.5-VL-7B-Instruct",
    truth: Annotated[
        Path | None, typer.Option(help="In place of models: the answers beside films of magref dataset footage.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what the run would take; --work may name an earlier run to go by.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Look again at videos in which something failed.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="For report: replace the page.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before weights are fetched.")] = False,
) -> None:
    """Turn videos into a dataset, or go on with it; what was killed goes on where it was."""
    from magref.cli.curate_progress import Shown
    from magref.curation.running.bundle import MakeModels, PretrainedModels
    from magref.curation.running.engines import Engine, LocalEngine
    from magref.curation.running.options import read_settings
    from magref.curation.running.run import curate as run
    from magref.curation.running.run import needs_models
    from magref.curation.running.sources import find_sources
    from magref.curation.running.work import Work, forget_failed
    from magref.dataset.format import DatasetInfo

    console = Console(stderr=True, highlight=False)
    if given[0] in ("report", "tune") and len(given) == 2:
        if given[0] == "report":
            _report(Path(given[1]), output, overwrite, console)
        else:
            _tune(Path(given[1]), changes or [])
        return
    options = read_settings(settings, [*_length_of(for_model), *(changes or [])])
    if plan:
        from magref.cli.curate_plan import show_plan

        earlier = work or (beside(output) if output else None)
        show_plan(
            find_sources(given), options, earlier, server=caption_server is not None,
            cores=processes or _cores(), gpus=workers,
        )  # fmt: skip
        return
    if output is None:
        raise InputError("no dataset was named; give its folder with --output")
    output = Path(os.path.abspath(output.expanduser()))
    work = Path(os.path.abspath((work or beside(output)).expanduser()))
    sources = find_sources(given)
    if retry_failed and work.exists():
        count = forget_failed(work)
        console.print(f"{count} videos are looked at again", markup=False)
    make: MakeModels
    if truth is not None:
        from magref.curation.truth import TruthModels

        make = TruthModels(str(truth))
    else:
        from magref.models import quiet_libraries

        quiet_libraries()
        pretrained = PretrainedModels(
            device=device, folders=_folders(model or []), captioner=captioner, faces=faces, server=caption_server,
            server_model=server_model, fetch=_fetcher(console, yes),
        )  # fmt: skip
        # Asked for now, not after the hours of the first stage; and on a cluster, here.
        make = pretrained.ready() if needs_models(Work(work), sources) else pretrained
    runs: Engine
    if engine == "ray":
        from magref.curation.running.cluster import RayEngine

        runs = RayEngine(address, workers=workers, gpus=gpus, processes=processes)
    elif engine == "local":
        runs = LocalEngine(_cores() if processes is None else processes)
    else:
        raise InputError(f"the engine {engine!r} is unknown; use local or ray")
    with Shown(console) as watch:
        finished = run(
            sources, output, options, work=work, make=make, engine=runs,
            info=DatasetInfo(name=name or output.name, license=license), watch=watch,
        )  # fmt: skip
    console.print(f"{finished.samples} samples in {output}; magref curate report {work} shows the rest", markup=False)


def beside(dataset: Path) -> Path:
    """The work folder of a dataset."""
    return dataset.with_name(dataset.name + "-work")


def _report(folder: Path, page: Path | None, overwrite: bool, console: Console) -> None:
    from magref.curation.running.report import write_report
    from magref.curation.running.work import find_work

    written = write_report(find_work(folder), page or Path("report.html"), overwrite=overwrite)
    console.print(f"wrote {written}", markup=False)


def _cores() -> int:
    return os.cpu_count() or 1


def _tune(folder: Path, changes: list[str]) -> None:
    from rich.table import Table

    from magref.curation.running.tuning import TUNED, tune
    from magref.curation.running.work import find_work

    before, after = tune(find_work(folder), changes)
    table = Table("clips after", "as made", "with the changes", "never measured")
    for stage in TUNED:
        table.add_row(stage, str(before[stage].kept), str(after[stage].kept), str(after[stage].unmeasured))
    Console().print(table)


def _length_of(model: str | None) -> list[str]:
    """The changes that make clips those of a model; none where none is named."""
    if model is None:
        return []
    from magref.models import find_model

    defaults = find_model(model).defaults
    return [f"windows.frames={defaults.num_frames}", f"windows.fps={defaults.fps}"]


def _folders(given: list[str]) -> tuple[tuple[str, str], ...]:
    from magref.curation.models.catalogue import known

    pairs = []
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals:
            raise InputError(f"{text!r} is not NAME=FOLDER; write for example buffalo_l=packs/mine")
        pairs.append((known(name).name, folder))
    return tuple(pairs)


def _fetcher(console: Console, yes: bool) -> Callable[..., object]:
    from magref.curation.models.catalogue import Weights
    from magref.curation.models.fetching import fetch

    def ask(line: str) -> bool:
        console.print(line, markup=False)
        return yes or typer.confirm("Fetch it?", err=True)

    def bring(weights: Weights, folder: Path) -> object:
        return fetch(weights, folder, confirm=ask)

    return bring
