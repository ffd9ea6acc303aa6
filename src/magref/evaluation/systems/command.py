"""Any other program as a system: a command line with places for prompt, references and output, run without a shell."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import Field

from magref.batch import Case
from magref.errors import InputError, ResourceError
from magref.evaluation.systems.interface import CaseFailedError, Kind, absolute
from magref.outputs import write_image
from magref.references import Role, open_reference
from magref.settings import Record
from magref.video import probe_video

TEXTS = ("id", "prompt", "out", "seed")
LISTS: dict[str, Role | None] = {
    "references": None,
    "persons": "person",
    "objects": "object",
    "backgrounds": "background",
}
"""Names of lists of pictures, and the role of those in each; None for all."""
EVIDENCE_CHARS = 2000
"""Of what the program wrote, the last ones are kept."""

_PLACE = re.compile(r"\{([a-z_]+)(?::([^{}]*))?\}")


class CommandSettings(Record):
    """`timeout_s` bounds each case; it decides no video, and may change from one run to the next."""

    command: str
    timeout_s: Annotated[float, Field(gt=0, exclude=True)] = 3600.0


class Command:
    """A `System`; its one GPU is named to the program by CUDA_VISIBLE_DEVICES."""

    def __init__(self, settings: CommandSettings, device: str | None) -> None:
        self.device = device or "chosen by the command"
        self._settings = settings
        self._environment = os.environ | _visible(device)

    def make(self, case: Case, seed: int, out: Path) -> dict[str, Any]:
        """See `System`."""
        with tempfile.TemporaryDirectory(prefix="magref-") as scratch:
            pictures = [_picture(case, index, Path(scratch)) for index in range(len(case.refs))]
            texts = {"id": case.id, "prompt": case.prompt, "out": absolute(str(out)), "seed": str(seed)}
            lists = {
                name: [path for path, ref in zip(pictures, case.refs, strict=True) if role in (None, ref.role)]
                for name, role in LISTS.items()
            }
            self._run(substituted(self._settings.command, texts, lists))
        try:
            probe_video(out)
        except InputError as error:
            raise CaseFailedError("no_video", f"the command ended well and left no video ({error})") from None
        return {"command": self._settings.command, "prompt": case.prompt, "seed": seed}

    def _run(self, arguments: Sequence[str]) -> None:
        """Run the program in a process group of its own, so that it ends with all that it started."""
        process = None
        with tempfile.TemporaryFile() as said:
            try:
                with _signals_later():
                    process = subprocess.Popen(  # noqa: S603  the user's own command, without a shell
                        arguments, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                        env=self._environment, start_new_session=True,
                    )  # fmt: skip
                code = process.wait(self._settings.timeout_s)
            except OSError as error:
                raise CaseFailedError("failed", f"{arguments[0]} cannot be run ({error.strerror})") from None
            except BaseException as error:  # an interrupt among them
                if process is not None:
                    _end_group(process)
                if isinstance(error, subprocess.TimeoutExpired):
                    why = f"the command took more than {self._settings.timeout_s:g} s"
                    raise CaseFailedError("timeout", why, _end_of(said)) from None
                raise
            if code != 0:
                raise CaseFailedError("exit_code", f"the command ended with exit code {code}", _end_of(said))


def substituted(command: str, texts: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> list[str]:
    """The arguments of a command line, which is split first, so that no value can become more than it is.

    `{references}` as an argument by itself becomes one argument each; `{references:,}` is the list joined by what
    follows the colon, and may stand within an argument.

    Raises:
        InputError: the command cannot be split, names something else, or has no `{out}`.
    """
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise InputError(f"the command {command!r} cannot be split ({error}); mend its quotes") from None
    arguments: list[str] = []
    for part in parts:
        whole = _PLACE.fullmatch(part)
        if whole and whole[1] in lists and whole[2] is None:
            arguments += lists[whole[1]]
            continue
        arguments.append(_PLACE.sub(lambda place: _value(place, texts, lists), part))
    if "out" not in {place[1] for place in _PLACE.finditer(command)}:
        raise InputError(f"the command {command!r} does not say where the video goes; write {{out}} in its place")
    return arguments


def _visible(device: str | None) -> dict[str, str]:
    """The GPU that a program is to see: cuda:1 is the second of those that this process sees."""
    named = re.fullmatch(r"cuda:(\d+)", device or "")
    if named is None:
        return {}
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        return {"CUDA_VISIBLE_DEVICES": named[1]}
    gpus = seen.split(",")
    if int(named[1]) >= len(gpus):
        raise ResourceError(f"device {device} was asked for, but CUDA_VISIBLE_DEVICES is {seen!r}; name another device")
    return {"CUDA_VISIBLE_DEVICES": gpus[int(named[1])]}


def _value(place: re.Match[str], texts: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> str:
    name, joint = place[1], place[2]
    if name in texts and joint is None:
        return texts[name]
    if name in lists and joint is not None:
        return joint.join(lists[name])
    if name in lists:
        raise InputError(f"{place[0]} stands within an argument; write it by itself, or joined: {{{name}:,}}")
    known = ", ".join(f"{{{known}}}" for known in (*TEXTS, *LISTS))
    raise InputError(f"{place[0]} in the command is unknown; use {known}")


def _picture(case: Case, index: int, scratch: Path) -> str:
    """The path of a reference; of a cropped one that of a copy, since another program knows of no crop."""
    ref = case.refs[index]
    if ref.crop is None:
        return absolute(ref.uri)
    opened = open_reference(ref.reference())
    picture = opened.rgb
    if opened.alpha is not None:
        picture.putalpha(opened.alpha)
    return str(write_image(picture, scratch / f"{index + 1}.png"))


def _end_of(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 4 * EVIDENCE_CHARS))  # a character has at most four bytes
    return said.read().decode("utf-8", "replace")[-EVIDENCE_CHARS:]


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Interrupts wait until the block ends: one within Popen would leave a program that nobody knows of."""
    if threading.current_thread() is not threading.main_thread():  # no other is interrupted
        yield
        return
    noted: list[int] = []
    before = {
        number: signal.signal(number, lambda found, _: noted.append(found))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in noted:
            signal.raise_signal(late)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and whatever it started."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _check(settings: CommandSettings) -> dict[str, str]:
    program, *_ = substituted(settings.command, dict.fromkeys(TEXTS, ""), dict.fromkeys(LISTS, ()))
    if shutil.which(program) is None:
        raise InputError(f"there is no program {program!r} here; give its path, or python with a script")
    return {}


COMMAND = Kind(CommandSettings, _check, Command)
