"""The command line: thin, it parses, calls and shows progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from magref import __version__
from magref.cli import datasets, generate, models
from magref.errors import MagrefError

INTERRUPTED = 130
"""The exit code of a program that was interrupted from the keyboard."""

app = typer.Typer(
    name="magref",
    help="Videos of your own people, objects and places, from reference pictures and a prompt.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
generate.register(app)
models.register(app)
datasets.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"magref {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Videos of your own people, objects and places, from reference pictures and a prompt."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake ends in one sentence and exit code 2, an interrupt in 130."""
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="magref", standalone_mode=False)
    except MagrefError as error:
        _fail(str(error))
    except typer.TyperException as error:
        _fail(f"{error.format_message().rstrip('.')}; see magref --help")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if code == INTERRUPTED:  # typer itself may turn an interrupt into this code
        print("magref: interrupted; what was finished is kept, nothing is half written", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str) -> None:
    print(f"magref: {sentence}", file=sys.stderr)
    sys.exit(2)
