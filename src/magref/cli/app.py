"""The commands of `magref`."""

from __future__ import annotations

import typer

from magref import __version__
from magref.cli import bench, curate, datasets, evaluate, generate, models, plan, train

app = typer.Typer(
    name="magref",
    help="Videos of your own people, objects and places, from reference pictures and a prompt.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
generate.register(app)
plan.register(app)
models.register(app)
datasets.register(app)
curate.register(app)
train.register(app)
bench.register(app)
evaluate.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"magref {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Videos of your own people, objects and places, from reference pictures and a prompt."""
