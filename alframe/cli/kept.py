"""The index that is kept beside the embeddings of a store, for all runs that ask for it."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

from alframe.files import write_json
from alframe.neighbors.audit import Audit, Recall
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.saving import META
from alframe.neighbors.source import EmbeddingSource
from alframe.noted import is_noted, write_note
from alframe.run_dir import HeldError, take_lock
from alframe.store import Store

log = logging.getLogger(__name__)
POLL = 0.5  # seconds between two looks at another process's lock
SHARDS_NOTE = "shards.json"
"""The note of the store's files, see `alframe.noted`."""
HARMLESS = ("min_recall", "on_low_recall", "gpu", "device", "keep_gib")
"""Keys of an index that change neither what is built nor, but for rounding, what is found."""
SEARCHES = ("nprobe", "ef_search", "refine")
"""Keys of an index that change what is found, but not what is built."""
CHOOSES = "alframe.neighbors.kinds.auto"  # by memory, among others
REMEDY = "make room there, or move the store (embeddings.train, embeddings.dir, data.train)"

Words = Mapping[str, Any]


def place_of(words: Words, store: Store) -> Path:
    """Returns the folder of a store's index of a config: another one is another index."""
    return store.folder / f"index_{_hash(words, [*HARMLESS, *SEARCHES], store.key)}"


def ready(index: NeighborIndex, store: Store, place: Path) -> None:
    """Loads the index that is kept in a folder, or builds it and keeps it there.

    While a process builds it, others wait. What is there is loaded without a lock, from a folder
    that may only be read, too.

    Args:
        index: As the config made it, not built.
        store: The embeddings.
        place: See `place_of`.

    Raises:
        UserError: If the store or the index was altered, or is not to be used.
    """
    if not (place / META).is_file():
        lock = _lock_if_possible(place, "index")
        with lock or nullcontext():
            if not (place / META).is_file():
                build(index, store, place if lock else None)
                return
    check_shards(store, place)
    index.load(place, store)


def build(index: NeighborIndex, store: Store, place: Path | None) -> None:
    """Builds an index of a store, and keeps it where there is a place for it."""
    start = time.perf_counter()
    check_shards(store, place)
    index.build(store)
    if place is not None:
        try:
            index.save(place)
        except OSError as error:  # the disk is full
            _warn("index", place, error)
    seconds = time.perf_counter() - start
    log.info("index of %d rows built in %.1f s: %s", store.num_rows, seconds, place or "not kept")


def check_shards(store: Store, place: Path | None) -> None:
    """Compares a store's files with their checksums, unless they are as they were then.

    Args:
        store: Whose files.
        place: Of an index, where a note is kept of how they were; None = nowhere.

    Raises:
        UserError: For a file that was altered.
    """
    seen, note = store.seen(), None if place is None else place / SHARDS_NOTE
    if note is not None and is_noted(note, seen):
        return
    store.verify()
    if note is not None:
        write_note(note, seen)


def recall_of(index: NeighborIndex, words: Words, store: Store, place: Path) -> Words:
    """Returns the recall of an index, empty where it is exact: measured once for all runs."""
    if index.describe()["kind"] == "exact":
        return {}
    file = place / f"recall_{_hash(words, HARMLESS, store.key)}.json"
    lock = None if _recorded(file) is not None else _lock_if_possible(place, "recall")
    with lock or nullcontext():
        if (recall := _recorded(file)) is not None:
            return recall
        found = measured(index, store)
        if lock:
            try:
                write_json(file, found)
            except OSError as error:
                _warn("recall", place, error)
        return found


def _recorded(file: Path) -> dict[str, Any] | None:
    """Returns the recall that a file holds, or None where it is to be measured."""
    try:
        return Recall(**json.loads(file.read_text())).record()
    except (OSError, ValueError, TypeError):  # absent, or not what was written
        return None


def measured(index: NeighborIndex, source: EmbeddingSource) -> dict[str, Any]:
    """Measures the recall of an index that is not exact."""
    if index.describe()["kind"] == "exact":
        return {}
    exact = ExactIndex(metric=index.metric, drop_invalid=True)
    exact.build(source)
    return _audit(index).recall(index, source, exact).record()


def judged(index: NeighborIndex, recall: Words) -> Words:
    """Returns a recall, having warned of a low one or refused it."""
    if recall:
        _audit(index).judge(Recall(**recall))
    return recall


def locked(folder: Path, name: str = "lock") -> IO[str]:
    """Waits until no other process builds what is in a folder, which is made; returns the lock.

    Raises:
        OSError: Where the folder cannot be written.
    """
    said = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return take_lock(folder, name)
        except FileNotFoundError:
            continue  # who merged the parts removed their folder just now
        except HeldError as held:
            if not said:
                log.info("%s builds the index in %s: waiting", held, folder)
            said = True
            time.sleep(POLL)


def _lock_if_possible(place: Path, what: str) -> AbstractContextManager[Any] | None:
    try:
        return locked(place)
    except OSError as error:  # a disk that is full, or a store that may only be read
        _warn(what, place, error)
        return None


def _warn(what: str, place: Path, error: OSError) -> None:
    log.warning(
        "the %s is for this run alone: %s cannot be written (%s); %s", what, place, error, REMEDY
    )


def _audit(index: NeighborIndex) -> Audit:
    audit: Audit = getattr(index, "audit", Audit())
    return audit


def _hash(words: Words, but: Iterable[str], key: str) -> str:
    kept = {name: value for name, value in words.items() if name not in but}
    if "memory_gib" in kept and kept.get("_target_") != CHOOSES:
        kept["memory_gib"] = None  # refuses, and changes nothing
    signed = json.dumps([kept, key], sort_keys=True, default=str)
    return hashlib.sha256(signed.encode()).hexdigest()[:12]
