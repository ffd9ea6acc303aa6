"""Which samples could not be used, and why: one list for all of a run's processes and all of its parts."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from magref.outputs import writing
from magref.training.parallel import Team


class Skipped:
    """The list in a file, each sample once. Every process notes its own; the first one writes them all."""

    def __init__(self, path: Path, team: Team) -> None:
        self._path, self._team = path, team
        self._known: dict[str, str] = team.first(self._written)
        self._new: dict[str, str] = {}
        self._lock = threading.Lock()

    def note(self, name: str, reason: str) -> None:
        """Add a sample, from any thread."""
        with self._lock:
            self._new.setdefault(name, reason)

    def share(self) -> int:
        """Write what was noted since the last time; returns how many there are. All processes call it together.

        Raises:
            OutputError: the list could not be written.
        """
        with self._lock:
            own, self._new = self._new, {}
        before = len(self._known)
        for noted in self._team.gather(own):
            self._add(noted)
        if len(self._known) > before:
            self._team.first(self._write)
        return len(self._known)

    def write_own(self) -> None:
        """Write what this process noted without asking the others: for one that ends while they may wait in a step.

        Raises:
            OutputError: the list could not be written.
        """
        with self._lock:
            own, self._new = self._new, {}
        self._add(own)
        self._write()

    def _add(self, noted: dict[str, str]) -> None:
        for name, reason in noted.items():
            self._known.setdefault(name, reason)

    def _written(self) -> dict[str, str]:
        if not self._path.is_file():
            return {}
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return {row["sample"]: row["reason"] for row in map(json.loads, lines)}

    def _write(self) -> None:
        with writing(self._path, overwrite=True) as temporary, temporary.open("w", encoding="utf-8") as file:
            for name, reason in self._known.items():
                file.write(json.dumps({"sample": name, "reason": reason}, ensure_ascii=False) + "\n")
