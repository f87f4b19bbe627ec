"""A sweep's folder: its cells' run directories, what their runs share, and notes about the cells.

`sweep.json` says what the sweep is, so that another one is not mixed with it. In `cells/` lies what
a cell's run directory cannot say: that a process works on it (a lock), which job of a cluster that
is, and why it failed where it could not even begin.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from alframe.errors import UserError
from alframe.files import write_json
from alframe.run_dir import changed_keys, flatten, now, take_lock
from alframe.sweeps.cells import Cell

RECORD = "sweep.json"
NOTES = "cells"
SHARED = "shared"
FILES = (
    "data.path", "data.train", "data.test", "data.labels", "embeddings.train", "embeddings.test",
)  # fmt: skip
"""Keys that a run may change as long as the data are the same."""
STATES = ("done", "running", "queued", "waiting", "interrupted", "killed", "failed", "new")


@dataclass(frozen=True)
class Look:
    """What is known of a cell.

    Attributes:
        state: ``done``, ``running`` (a process works on it), ``queued`` (a job of a cluster will),
            ``failed``, ``killed`` (it was running, and no process works on it), ``interrupted``
            (it was left, and can go on), ``waiting`` (for labels), or ``new``.
        error: The last line of what it failed with.
        job: Of the cluster, the last one that was asked for.
    """

    state: str
    error: str = ""
    job: str = ""


class SweepFolder:
    """The folder of one sweep.

    Args:
        path: Of the folder, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = path / NOTES

    def open(self, base: Mapping[str, Any], swept: Sequence[str], cells: Sequence[Cell]) -> None:
        """Makes the folder, or goes on with the sweep in it, to which cells may be added.

        Args:
            base: The config that all cells have in common, plain.
            swept: Keys whose values are the cells', as they stand in the config.
            cells: Of this command.

        Raises:
            UserError: If the folder holds something else, or a sweep of another config.
        """
        if not self.record() and (strange := _strangers(self.path)):
            raise UserError(
                f"hydra.sweep.dir={self.path} holds no sweep, but {strange[0]}: expected a new or "
                "empty folder, or that of a sweep to go on with; change hydra.sweep.dir"
            )
        try:
            with self.alone():
                self._add(base, swept, cells)
        except OSError as error:
            raise UserError(
                f"hydra.sweep.dir={self.path} cannot be written ({error.strerror}): expected a "
                "folder with room and write permission; change hydra.sweep.dir or paths.runs_dir"
            ) from error

    def _add(self, base: Mapping[str, Any], swept: Sequence[str], cells: Sequence[Cell]) -> None:
        record = self.record()
        swept = sorted({*record.get("swept", []), *swept})
        if changes := _changes(record.get("base", base), base, swept):
            raise UserError(
                f"hydra.sweep.dir={self.path} holds a sweep of another config: expected the same "
                f"keys where they are not swept, changed are {'; '.join(changes)}. Use another "
                "hydra.sweep.dir, or the old values"
            )
        known = {**record.get("cells", {}), **{cell.name: cell.overrides for cell in cells}}
        about = {"begun": record.get("begun", now()), "swept": swept, "cells": known}
        write_json(self.path / RECORD, {**about, "base": record.get("base", base)})

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one launcher of the sweep at a time see what is to be done, and note it."""
        self.notes.mkdir(parents=True, exist_ok=True)
        with (self.notes / "launching").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def record(self) -> dict[str, Any]:
        """Returns ``sweep.json``, or nothing where there is none."""
        try:
            found: dict[str, Any] = json.loads((self.path / RECORD).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return found

    def known(self) -> list[Cell]:
        """Returns all cells that were ever asked for."""
        return [Cell(name, tuple(words)) for name, words in self.record().get("cells", {}).items()]

    def look(self, name: str) -> Look:
        """Returns what is known of a cell."""
        status, note = _read(self.path / name / "status.json"), self._note(name)
        state, job = str(status.get("state", "new")), str(self.job(name).get("id", ""))
        if state == "done":
            return Look(state)
        if self.is_held(name):
            return Look("running", job=job)
        if "error" in note:
            return Look("failed", str(note["error"]), job)
        reason = _last_line(str(status.get("reason", "")))
        if state == "running" or (state == "new" and "by" in note):
            return Look("killed", "it ended without a word: killed, or the machine failed", job)
        return Look(state, reason if state in ("failed", "interrupted") else "", job)

    def hold(self, name: str) -> IO[str]:
        """Locks a cell for the process that works on it, until the file is closed.

        Raises:
            HeldError: If another one does.
        """
        (self.notes).mkdir(parents=True, exist_ok=True)
        return take_lock(self.notes, f"{name}.lock")

    def is_held(self, name: str) -> bool:
        """Says whether a live process works on a cell."""
        try:
            with (self.notes / f"{name}.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def begins(self, name: str) -> None:
        """Forgets how a cell failed, as it is tried again, and notes who does that."""
        self._write(f"{name}.json", by=f"process {os.getpid()} on {socket.gethostname()}")

    def fails(self, name: str, error: str, *, mistake: bool) -> None:
        """Notes why a cell failed, and whether that is a mistake of the user."""
        self._write(f"{name}.json", error=error, mistake=mistake, at=now())

    def is_mistake(self, name: str) -> bool:
        """Says whether a failed cell failed by a mistake of the user."""
        return bool(self._note(name).get("mistake"))

    def asks(self, name: str, job: str, kind: str) -> None:
        """Notes that a job of a cluster is to make a cell."""
        self._write(f"{name}.job.json", id=job, kind=kind, at=now())

    def job(self, name: str) -> dict[str, Any]:
        """Returns the last job that was asked for: id, kind and time, or nothing."""
        return _read(self.notes / f"{name}.job.json")

    def tidy(self) -> None:
        """Removes the folder if no cell has begun."""
        names = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if names and names <= {RECORD, NOTES}:
            for note in (self.notes).glob("*"):
                note.unlink()
            with suppress(OSError):
                (self.notes).rmdir()
                (self.path / RECORD).unlink()
                self.path.rmdir()
                self.path.parent.rmdir()  # where it was made for the sweep, too

    def _write(self, name: str, **entries: Any) -> None:
        (self.notes).mkdir(parents=True, exist_ok=True)
        write_json(self.notes / name, entries)

    def _note(self, name: str) -> dict[str, Any]:
        return _read(self.notes / f"{name}.json")


def _strangers(path: Path) -> list[str]:
    """Returns what is in a folder and was not left by a start that was killed at once."""
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    return [name for name in names if name != NOTES and not name.endswith(".partial")]


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], swept: Sequence[str]) -> list[str]:
    """Returns what `changed_keys` does, but for the values of swept keys."""
    within = tuple(f"{key}." for key in swept)
    before, after = flatten(old), flatten(new)
    # a run compares the fingerprint of its data; here that would take as long as to load them
    changed = changed_keys(old, new) + [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in FILES
        if before.get(key) != after.get(key)
    ]
    keys = [change.partition(": ")[0] for change in changed]
    return [c for c, k in zip(changed, keys, strict=True) if not f"{k}.".startswith(within)]


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
