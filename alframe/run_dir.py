"""What is on disk: one directory holds one run, and every finished stage of it.

Resuming is running the same code again: `RunDir.once` returns what a finished stage returned, so
that pipelines hold no restore branch. The tables (`metrics.csv`, `selections.parquet`) derive from
the stages and are the hand-over to reports and notebooks.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

import yaml

from alframe.errors import UserError, differing
from alframe.files import CorruptFileError, decode_state, encode_state, write_atomic, write_json
from alframe.protocols import State

log = logging.getLogger(__name__)

HARMLESS = (
    "run_dir", "resume", "paths", "logger", "limits", "choices", "share", "sweep",
    "data.root", "data.path", "data.train", "data.test", "data.labels",
    "data.loader", "data.device_share", "data.workers",
    "embeddings.train", "embeddings.test", "embeddings.dir",
    "index.min_recall", "index.on_low_recall", "index.memory_gib", "index.keep_gib",
)  # fmt: skip
"""Config keys (with all below them) that may change between a run and its resumption.

Where data and embeddings lie may change, what they are may not: their fingerprint is compared.
Training batches are the same, however they are made.
"""

LATER = (
    ".recipe.cutout", ".recipe.mixup", "pipeline.fidelity", "concept", "embeddings.learn",
    "embeddings.encoder", "embeddings.keep_gib",
)  # fmt: skip
"""Ends of keys that came after 0.1.0: 0, false or null is what a run without them meant."""

UNUSED = ("index", "embeddings.dtype")
"""Keys (with all below them) that came after 0.1.0, of which a run without them makes no use."""


class HeldError(Exception):
    """A folder that a live process has locked; says which one."""


def now() -> str:
    """Returns the time in ISO form, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_run_dir(parent: Path, name: str) -> Path:
    """Returns the path of a new run below ``parent``, unlike any other start in the same second."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return parent / f"{name}-{stamp}-{secrets.token_hex(3)}"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a nested mapping as one of dotted keys to leaves."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def is_harmless(key: str) -> bool:
    """Says whether a dotted key may change between a run and its resumption."""
    return any(_is_below(key, name) for name in HARMLESS)


def _is_below(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns "key: old -> new" for every key that differs and is not harmless."""
    old, new = (
        {key: value for key, value in flatten(c).items() if not is_harmless(key)}
        for c in (before, after)
    )
    unused = [name for name in UNUSED if not any(_is_below(key, name) for key in old)]
    new = {
        key: value
        for key, value in new.items()
        if key in old
        or not (any(_is_below(key, name) for name in unused) or (not value and key.endswith(LATER)))
    }
    absent = "(absent)"
    return [
        f"{key}: {old.get(key, absent)} -> {new.get(key, absent)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent)
    ]


def read_config(path: Path) -> dict[str, Any]:
    """Returns the config of the run at ``path``.

    Raises:
        UserError: If there is no run.
    """
    file = path / "config.yaml"
    if not file.is_file():
        raise UserError(f"{path} holds no run: expected a folder with a config.yaml")
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    return config


class RunDir:
    """One run on disk, held by this process until `close`."""

    writes = True  # False in a process that only follows another one

    def __init__(self, path: Path, lock: IO[str], status: dict[str, Any]) -> None:
        self.path = path
        self._lock = lock
        self.status = status
        self.went_on = False
        """Whether a stage was computed since this start, and not only passed again."""

    @classmethod
    def open(
        cls, path: Path, config: Mapping[str, Any], identity: Mapping[str, Any] | None = None
    ) -> Self:
        """Takes a new directory, or an existing one to resume the run in it.

        Args:
            path: The directory.
            config: The composed config, plain.
            identity: What else must be the same on resume, such as the dataset's fingerprint.

        Raises:
            UserError: If the directory cannot be written, holds something else, is in use by a
                live process, or holds a run of another config or dataset.
        """
        existing = (path / "config.yaml").is_file()
        if existing:
            _check_same(path, config, identity or {})
        elif path.is_dir() and not all(_is_ours(entry.name) for entry in path.iterdir()):
            raise UserError(
                f"run_dir={path} is not empty and holds no run: expected a new or empty folder, or "
                "a run to resume; change run_dir"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = take_lock(path)
            if not existing:
                text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
                write_atomic(path / "config.yaml", text.encode())
        except HeldError as held:
            raise UserError(
                f"run_dir={path} is in use by {held}: wait for it or use another run_dir"
            ) from None
        except OSError as error:
            raise UserError(
                f"run_dir={path} cannot be written ({error.strerror}): expected a folder with room "
                "and write permission; change run_dir or paths.runs_dir"
            ) from error
        run = cls(path, lock, _read_status(path))
        if not run.status:
            run.update_status(
                state="running", started=now(), run_id=secrets.token_hex(8), **(identity or {})
            )
        return run

    def close(self) -> None:
        """Gives the directory free."""
        self._lock.close()

    def update_status(self, **entries: Any) -> None:
        """Merges entries into ``status.json``."""
        self.status.update(entries)
        write_json(self.path / "status.json", self.status)

    def once(self, key: str, fn: Callable[[], State]) -> State:
        """Returns what stage ``key`` returned, running it only if it was never finished.

        Args:
            key: The stage's file within the run directory, without its suffix.
            fn: Computes the stage's outcome: numpy arrays and JSON values by name.
        """
        path = self._stage(key)
        if path.is_file():
            try:
                return decode_state(path)
            except CorruptFileError as error:
                log.warning("%s; it is computed again", error)
        state = fn()
        write_atomic(path, encode_state(state))
        self.went_on = True
        return state

    def done(self, key: str) -> bool:
        """Says whether stage ``key`` is finished."""
        return self._stage(key).is_file()

    def discard(self, key: str) -> None:
        """Removes a finished stage that no later stage asks for."""
        self._stage(key).unlink(missing_ok=True)

    def scratch(self, key: str) -> Path:
        """Returns a folder for what stage ``key`` keeps while it runs."""
        folder = self.path / key / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_scratch(self, key: str) -> None:
        """Removes the folder of `scratch`."""
        shutil.rmtree(self.path / key / "scratch", ignore_errors=True)

    def _stage(self, key: str) -> Path:
        return self.path / f"{key}.npz"


def _is_ours(name: str) -> bool:
    """Says whether a start that was killed before it wrote its config may have left this."""
    return name == "lock" or name.endswith(".partial")


def _read_status(path: Path) -> dict[str, Any]:
    try:
        status: dict[str, Any] = json.loads((path / "status.json").read_text())
    except FileNotFoundError:
        return {}
    return status


def _check_same(path: Path, config: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    changes = changed_keys(read_config(path), config)
    if changes:
        raise UserError(
            f"run_dir={path} holds a run of another config: expected the same keys, changed are "
            f"{'; '.join(changes)}. Use another run_dir, or the old values"
        )
    status = _read_status(path)
    for key, value in identity.items():
        if key in status and status[key] != value:
            expected, got = differing(status[key], value)
            hint = " (index=auto chooses by index.memory_gib, too)" if key == "neighbors" else ""
            raise UserError(
                f"run_dir={path} was started with other {key}: expected {expected}, got {got}; "
                f"restore the {key}{hint} or use another run_dir"
            )


def take_lock(path: Path, name: str = "lock") -> IO[str]:
    """Locks a folder; the system frees the lock when this process ends, however it ends.

    Args:
        path: The folder.
        name: Of the lock's file in it; those of different names are different locks.

    Returns:
        The lock's file, to be closed in order to free it.

    Raises:
        HeldError: If a live process holds it.
    """
    file = (path / name).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise HeldError(holder) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    _locks.add(file)
    return file


def _let_go() -> None:
    """Closes the locks that a forked process got from its parent, such as a loader's worker.

    It may live a few seconds longer than a parent that is killed, whose run may be resumed at once.
    """
    for file in _locks:
        file.close()


_locks: weakref.WeakSet[IO[str]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_let_go)
