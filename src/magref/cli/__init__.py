"""The command line: thin, it parses, calls and shows progress."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""The exit code of a program that was interrupted from the keyboard."""
FAILED = 2
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)
"""What the system answers to a path that a person mistyped or may not use."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake ends in one sentence and exit code 2, an interrupt in 130."""
    try:
        code = _run(None if arguments is None else list(arguments))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None or error.errno not in _UNUSABLE:
            raise
        code = _failed(f"{error.filename} cannot be used ({error.strerror}); check the path and its permissions")
    if code == INTERRUPTED:
        print("magref: interrupted; what was finished is kept, nothing is half written", file=sys.stderr)
        # Where it struck within an exec of text, as dataclasses have it on import, Python remembers it and would end by
        # the signal in place of our code; the next exec makes it forget.
        exec("")  # noqa: S102
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    """The exit code; imports happen in here, so that an interrupt is caught from the first moment on."""
    import typer

    from magref.cli.app import app
    from magref.errors import MagrefError, SaidError

    try:
        code = app(args=arguments, prog_name="magref", standalone_mode=False)
    except SaidError:
        return FAILED
    except MagrefError as error:
        return _failed(str(error))
    except typer.TyperException as error:
        if not error.format_message():  # the help has been shown in place of an error
            return FAILED
        return _failed(f"{error.format_message().rstrip('.')}; see magref --help")
    except typer.Abort:  # what typer makes of an interrupt
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _failed(sentence: str) -> int:
    print(f"magref: {sentence}", file=sys.stderr)
    return FAILED
