"""Fills stores: in chunks, by one or more processes, to be killed at any moment.

Every process goes over the shards and writes those that are neither finished nor held by another;
it holds a shard by the lock on ``shard_00000.lock``, which the system frees when the process ends.
A finished shard is moved to its name and recorded in ``store.json``, which is only changed under
``store.lock``. The process that records the last shard finishes the store.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from alframe.errors import UserError
from alframe.files import write_json
from alframe.protocols import Array
from alframe.run_dir import HeldError, now, take_lock
from alframe.store.manifest import (
    MANIFEST,
    Manifest,
    check_sum,
    invalid_words,
    lock_path,
    shard_path,
)
from alframe.store.plan import Plan, check_room, finished
from alframe.store.shard import ShardWriter, forget

log = logging.getLogger(__name__)

LOCK = "store.lock"
POLL = 0.02  # seconds between two looks at another process's lock on store.json
FULL = (errno.ENOSPC, errno.EDQUOT)

Embed = Callable[[int, int], Array]
"""Returns the embeddings float32 [stop - start, d] of the rows from start to before stop."""


@dataclass
class Filled:
    """What a process did.

    Attributes:
        rows: Rows that it embedded.
        seconds: What that took.
        found: Shards that were finished already.
        held: Who writes the shards that it left to others, one for each shard.
    """

    rows: int = 0
    seconds: float = 0.0
    found: int = 0
    held: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """How shards are written.

    Attributes:
        embed: Gives the embeddings.
        rows_per_chunk: Rows that it is asked for at a time, at most.
        part: (i, n) writes every n-th shard from the i-th on, counted from 1.
        advance: Told of numbers of rows that are there, written or found.
        checkpoint_seconds: At most so often what is written is made safe from a kill.
    """

    embed: Embed
    rows_per_chunk: int
    part: tuple[int, int] = (1, 1)
    advance: Callable[[int], None] | None = None
    checkpoint_seconds: float = 5.0

    def tell(self, rows: int) -> None:
        """Tells of so many rows."""
        if self.advance is not None:
            self.advance(rows)


class StoreWriter:
    """A store that is to be filled, new or to be gone on with.

    Args:
        folder: Of the store.
        plan: What it is to hold.
        invalid: Whether embeddings that are not finite, or zero, end in an error once all rows are
            written (``refuse``), or are recorded in the store as invalid (``drop``).

    Raises:
        UserError: If there is something else in the folder, or not enough room on its disk.
    """

    def __init__(
        self, folder: str | Path, plan: Plan, invalid: Literal["refuse", "drop"] = "refuse"
    ) -> None:
        if invalid not in ("refuse", "drop"):
            raise UserError(f"store.invalid={invalid}: expected refuse or drop")
        self.folder = Path(folder).expanduser()
        self._keys = plan.keys
        self._drops = invalid == "drop"
        manifest = plan.manifest(self.folder)
        check_room(self.folder, manifest, self._keys)
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._exclusive():
                if (self.folder / MANIFEST).is_file():  # perhaps of a process that began with us
                    manifest = plan.manifest(self.folder)
                else:
                    write_json(self.folder / MANIFEST, manifest.content())
        self.layout = manifest.layout

    def state(self) -> str:
        """Returns ``filling``, ``complete`` or ``invalid``, see `Manifest`."""
        return self._manifest().state

    def verify(self) -> None:
        """Compares every finished shard with its checksum.

        Raises:
            UserError: For the first shard that was altered.
        """
        manifest = self._manifest()
        for shard in finished(self.folder, manifest):
            check_sum(self.folder, shard, manifest.shards[shard]["sha256"])

    def fill(self, work: Work) -> Filled:
        """Writes every shard that is neither finished nor held, then finishes the store.

        Raises:
            UserError: If the disk is full, or embeddings cannot be searched and ``invalid`` is
                ``refuse``. All that is written is kept.
        """
        filled = Filled()
        first, step = work.part
        known = set(finished(self.folder, self._manifest()))
        for shard in range(first - 1, self.layout.shards, step):
            if shard in known:
                self._skip(shard, work, filled)
                continue
            try:
                lock = self._locked(shard)
            except HeldError as held:
                filled.held.append(str(held))
                continue
            with lock:
                # another process may have finished it before it gave the lock free
                if shard in self._manifest().shards and shard_path(self.folder, shard).is_file():
                    self._skip(shard, work, filled)
                else:
                    self._fill_shard(shard, work, filled)
                with self._writing():
                    forget(self.folder, shard)
        self._finish()
        return filled

    def _skip(self, shard: int, work: Work, filled: Filled) -> None:
        filled.found += 1
        work.tell(len(self.layout.span(shard)))

    def _locked(self, shard: int) -> IO[str]:
        with self._writing():
            return take_lock(self.folder, lock_path(self.folder, shard).name)

    def _fill_shard(self, shard: int, work: Work, filled: Filled) -> None:
        start = time.perf_counter()
        with self._writing():
            writer = ShardWriter(self.folder, self.layout, shard)
        with closing(writer):
            before = writer.done
            work.tell(before)
            self._write_rows(self.layout.span(shard), writer, work)
            with self._writing():
                self._record(shard, writer.commit())
        filled.rows += writer.done - before
        filled.seconds += time.perf_counter() - start

    def _write_rows(self, span: range, writer: ShardWriter, work: Work) -> None:
        saved = time.monotonic()
        while writer.done < len(span):
            start = span.start + writer.done
            stop = min(start + work.rows_per_chunk, span.stop)
            embeddings = work.embed(start, stop)
            if embeddings.shape != (stop - start, self.layout.width):
                raise UserError(
                    f"encoder gives embeddings of shape {embeddings.shape} for {stop - start} rows:"
                    f" expected ({stop - start}, {self.layout.width}); change encoder"
                )
            with self._writing():
                bad = writer.append(embeddings)
                if time.monotonic() - saved >= work.checkpoint_seconds:
                    writer.save()
                    saved = time.monotonic()
            if bad:
                log.warning("%d of rows %d to %d cannot be searched", bad, start, stop - 1)
            work.tell(stop - start)

    def _record(self, shard: int, record: dict[str, Any]) -> None:
        with self._exclusive():
            manifest = self._manifest()
            manifest.shards[shard] = record
            write_json(self.folder / MANIFEST, manifest.content())

    def _finish(self) -> None:
        """Ends the store where all shards are there."""
        with self._writing(), self._exclusive():
            manifest = self._manifest()
            there = len(finished(self.folder, manifest))
            if manifest.state == "complete" or there < self.layout.shards:
                return
            for shard in range(self.layout.shards):  # of which a kill may have left something
                forget(self.folder, shard)
            bad = sum(map(len, manifest.invalid().values()))
            refused = bad == self.layout.rows or (bad > 0 and not self._drops)
            manifest.state = "invalid" if refused else "complete"
            manifest.about["finished"] = now()
            write_json(self.folder / MANIFEST, manifest.content())
        if refused:
            words = invalid_words(manifest, self._keys)
            raise UserError(f"{self._keys.folder}={self.folder}: {words}")

    def _manifest(self) -> Manifest:
        return Manifest.read(self.folder, self._keys.folder)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keeps other processes from changing ``store.json``."""
        while True:
            try:
                lock = take_lock(self.folder, LOCK)
                break
            except HeldError:
                time.sleep(POLL)
        with lock:
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what the disk refuses into one sentence."""
        try:
            yield
        except OSError as error:
            key = self._keys.folder
            remedy = "make room there" if error.errno in FULL else f"change {key}"
            raise UserError(
                f"{key}={self.folder} cannot be written ({error.strerror}): expected a folder with "
                f"room and write permission; what is written is kept: {remedy}, then run the same "
                "command again"
            ) from error
