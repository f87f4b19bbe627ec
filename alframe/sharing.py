"""Fits that runs have in common are made once, and found by the signature of all that decides them.

**What is signed, and why.** Two fits may only be taken for one if they would end with the same
weights, metrics, curve and history:

- the data (their config without where they lie, and the fingerprint of their arrays and splits),
  since a fit also holds test metrics; the task; rows, labels and weights to train on (so that a
  noisy oracle, a subset or another selection is another fit);
- the learner's whole config with model and recipe, the trainer's (precision, deterministic mode),
  and the random stream (seed, purpose, round);
- what is recorded, and after which epoch the fit may stop;
- the device in words, never only its type: a fit's seconds are part of it, speed-ups never mix
  devices, and kernels and number of threads decide the last bits;
- versions of the packages that compute, and the code: alframe's own files that take part in a fit
  without comments and docstrings, and all files of the packages that a ``_target_`` names. Not the
  git revision, since a new README must not cost a new fit.

A difference that does not matter (the name of a config key, say) costs a fit; one that is missed
would give wrong results. What is not noticed: other packages that a stranger's code imports.

**What is kept.** A folder for each signature: ``fitted.npz`` (as a stage's file, with its sha256),
``fit.json`` (for people: what it is, who made it, what it cost), ``lock``, and ``scratch/`` while
it is made. One process makes it, the others wait. Where that process is killed, the system frees
its lock, and the next one goes on from its last checkpoint. Nothing is ever removed: a folder that
no run holds may be.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from alframe.errors import UserError
from alframe.files import CorruptFileError, decode_state, encode_state, write_atomic, write_json
from alframe.options import check_range
from alframe.protocols import Fitted, Need, State, View
from alframe.run_dir import HeldError, RunDir, now, take_lock

log = logging.getLogger(__name__)
MAKERS = "made_by"
"""In the state of a shared fit: the runs that trained it, one after the other."""
POLL = 0.5  # seconds between two looks at another process's lock


@dataclass(frozen=True)
class Wanted:
    """A fit that a run asks for.

    Attributes:
        name: Of the fit in its run; for people, it is not signed.
        learner: Whose config is signed.
        view: What is trained on.
        stream: Seed, purpose and round of its random stream.
        needs: What it is to record.
    """

    name: str
    learner: Literal["proxy", "target"]
    view: View
    stream: tuple[int, str, int]
    needs: Sequence[Need]


class Sharing:
    """A folder of finished fits.

    Args:
        dir: The folder; None shares nothing.
        patience: Seconds to wait for a fit that a live process is making, before making it too.
        records: Histories that every fit records for strategies of other runs; None = all that the
            task has. What a strategy needs itself is recorded in any case.
        decides: What is signed of every fit of the run, plain; ``learners`` holds the learners'
            part by ``proxy`` and ``target``.
    """

    def __init__(
        self,
        dir: str | None = None,
        patience: float = 21600.0,
        records: Sequence[str] | None = None,
        decides: Mapping[str, Any] | None = None,
    ) -> None:
        if not (dir is None or (isinstance(dir, str) and dir)):
            raise UserError(f"share.dir={dir}: expected a folder, or null to share nothing")
        check_range("share.patience", patience, 0, math.inf)
        self.folder = None if dir is None else Path(dir).resolve()
        if self.folder is not None:
            _check_place(self.folder)
        if isinstance(records, str) or not all(isinstance(name, str) for name in records or ()):
            raise UserError(
                f"share.records={records}: expected a list of histories such as [correct], or null"
            )
        self.records = None if records is None else tuple(records)
        self._patience = patience
        self._decides = dict(decides or {})

    def signed(self, wanted: Wanted) -> dict[str, Any]:
        """Returns all that decides the fit, in words and numbers."""
        common = {key: value for key, value in self._decides.items() if key != "learners"}
        stops = [need.until_epoch for need in wanted.needs]
        known = [stop for stop in stops if stop is not None]
        return {
            **common,
            "learner": self._decides.get("learners", {}).get(wanted.learner),
            "view": view_digest(wanted.view),
            "stream": list(wanted.stream),
            "records": sorted({name for need in wanted.needs for name in need.fields}),
            "until_epoch": max(known) if stops and len(known) == len(stops) else None,
        }

    def fit(self, wanted: Wanted, run: RunDir, train: Callable[[Path], Fitted]) -> State | None:
        """Returns the state of the fit, which is trained here if no run has trained it yet.

        Args:
            wanted: Which fit.
            run: Who asks.
            train: Trains in a folder for what it needs to go on after a kill.

        Returns:
            The state with `MAKERS`, or None where another process was waited for in vain.

        Raises:
            UserError: If the folder cannot be written.
        """
        assert self.folder is not None
        signed = self.signed(wanted)
        folder = self.folder / signature(signed)
        state = _read(folder, warn=False)
        if state is None:
            lock = self._wait(folder, wanted.name)
            if lock is None:
                return None
            with lock:  # another process may have made it in the meantime
                state = _read(folder, warn=True)
                if state is None:
                    return _make(folder, _described(wanted, signed), run, train)
        if makers := others(state[MAKERS], run):
            log.info("%s: taken from %s, as %s trained it", wanted.name, folder, makers)
        return state

    def _wait(self, folder: Path, name: str) -> IO[str] | None:
        """Locks a folder, or gives up when patience is at its end."""
        start, said = time.monotonic(), False
        while True:
            try:
                with _writing(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    return take_lock(folder)
            except HeldError as held:
                holder = str(held)
            if time.monotonic() - start >= self._patience:
                log.warning(
                    "%s: %s has not finished it within share.patience=%g seconds: it is trained "
                    "here, too", name, holder, self._patience,
                )  # fmt: skip
                return None
            if not said:
                log.info("%s: %s is training it for all runs: waiting", name, holder)
                said = True
            time.sleep(POLL)


def signature(signed: Mapping[str, Any]) -> str:
    """Returns the sha256 of what `Sharing.signed` returned."""
    return hashlib.sha256(json.dumps(signed, sort_keys=True, default=str).encode()).hexdigest()


def view_digest(view: View) -> dict[str, Any]:
    """Returns the number of rows of a view, and the sha256 over its arrays, types and shapes."""
    digest = hashlib.sha256()
    for array in (view.rows, view.labels, view.weights):
        if array is not None:
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return {"rows": len(view.rows), "weighted": view.weights is not None, "sha": digest.hexdigest()}


def others(makers: Sequence[Mapping[str, str]], run: RunDir) -> str:
    """Returns where the runs are, other than ``run``, that trained a fit or a part of it."""
    strangers = [maker["path"] for maker in makers if maker["run_id"] != run.status["run_id"]]
    return "; ".join(strangers)


def _described(wanted: Wanted, signed: Mapping[str, Any]) -> dict[str, Any]:
    seed, purpose, round_id = wanted.stream
    words = f"{wanted.name}: {purpose} on {len(wanted.view.rows)} rows, seed {seed}"
    return {"what": f"{words}, round {round_id}", "signed": signed}


def _make(
    folder: Path, about: Mapping[str, Any], run: RunDir, train: Callable[[Path], Fitted]
) -> State:
    """Trains, and keeps the outcome; whoever calls holds the lock."""
    scratch = folder / "scratch"
    me = {"run_id": run.status["run_id"], "path": str(run.path.resolve())}
    with _writing(folder):
        scratch.mkdir(exist_ok=True)
        # what a killed process left is part of this fit, and of its seconds
        begun = _makers(folder / "fit.json") if any(scratch.iterdir()) else []
        makers = [maker for maker in begun if maker["run_id"] != me["run_id"]] + [me]
        note = {**about, "state": "training", MAKERS: makers, "started": now()}
        write_json(folder / "fit.json", note)
    fitted = train(scratch)
    state: State = {**fitted.state(), MAKERS: makers}
    cost = {"state": "done", "seconds_fit": fitted.seconds, "finished": now()}
    try:
        write_atomic(folder / "fitted.npz", encode_state(state))
        write_json(folder / "fit.json", {**note, **cost})
        shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:  # the run has its own copy, which matters more
        log.warning("%s cannot be written (%s): the fit is not shared", folder, error.strerror)
    return state


def _check_place(folder: Path) -> None:
    """Refuses a folder that could not be made, before a run begins; writes nothing."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise _unwritable(folder, f"{place} is no folder with write permission")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses into one sentence."""
    try:
        yield
    except OSError as error:
        raise _unwritable(folder.parent, str(error.strerror)) from error


def _unwritable(folder: Path, reason: str) -> UserError:
    return UserError(
        f"share.dir={folder} cannot be written ({reason}): expected a folder with room and write "
        "permission; change share.dir"
    )


def _read(folder: Path, *, warn: bool) -> State | None:
    path = folder / "fitted.npz"
    if not path.is_file():
        return None
    try:
        return decode_state(path)
    except CorruptFileError as error:
        if warn:
            log.warning("%s; it is computed again", error)
        return None


def _makers(path: Path) -> list[dict[str, str]]:
    """Returns who began a fit, as far as that can be read."""
    try:
        makers: list[dict[str, str]] = json.loads(path.read_text())[MAKERS]
    except (OSError, ValueError, KeyError):
        return []
    return makers
