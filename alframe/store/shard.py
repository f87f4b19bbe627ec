"""One shard of a store while it is written: appended to, gone on with after a kill, committed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alframe.files import sync_folder, write_json
from alframe.protocols import Array
from alframe.store.manifest import (
    HASHED_AT_ONCE,
    Layout,
    lock_path,
    partial_path,
    progress_path,
    shard_path,
)

WRITTEN_AT_ONCE = 2**24  # bytes: Linux keeps what comes in pieces of 2 MiB in pages of that size
REASONS = ("not_finite", "overflow", "underflow", "zero")


class ShardWriter:
    """Writes the rows of a shard in order; whoever makes one holds the shard's lock.

    The rows go to ``shard_00000.npy.partial``. Beside it, ``shard_00000.progress.json`` says how
    many of them are surely on disk; after a kill, what came later is written again.

    Attributes:
        done: Rows that are written.
    """

    def __init__(self, folder: Path, layout: Layout, shard: int) -> None:
        self._path = shard_path(folder, shard)
        self._partial = partial_path(folder, shard)
        self._progress = progress_path(folder, shard)
        self._layout, self._span = layout, layout.span(shard)
        header = layout.header(shard)
        if self._path.exists():  # killed after the move, before the shard was recorded
            self._path.replace(self._partial)
        self.done, self._invalid = self._saved(len(header))
        self._digest = hashlib.sha256()
        self._file = self._partial.open("r+b" if self.done else "w+b", buffering=WRITTEN_AT_ONCE)
        if self.done:
            self._file.truncate(len(header) + self.done * layout.bytes_per_row)
            while block := self._file.read(HASHED_AT_ONCE):
                self._digest.update(block)
        else:
            self._write(header)

    def append(self, embeddings: Array) -> int:
        """Writes the next rows.

        Args:
            embeddings: float32 [m, d]. Rows that cannot be searched (NaN, infinite, too large
                or too small for the stored type, zero throughout) are noted, and NaN throughout in
                the file.

        Returns:
            How many rows cannot be searched.
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            stored = np.ascontiguousarray(embeddings, dtype=self._layout.stored)
        finite = np.isfinite(stored).all(axis=1)
        zero = ~stored.any(axis=1)
        if not finite.all() or zero.any():
            fits = np.isfinite(embeddings).all(axis=1)
            small = zero & embeddings.any(axis=1)
            marks = {
                "not_finite": ~fits, "overflow": fits & ~finite,
                "underflow": small, "zero": zero & ~small,
            }  # fmt: skip
            first = self._span.start + self.done
            for reason, marked in marks.items():
                self._invalid[reason] += (np.flatnonzero(marked) + first).tolist()
            stored = np.where((finite & ~zero)[:, None], stored, stored.dtype.type(np.nan))
        self._write(np.ascontiguousarray(stored).data)
        self.done += len(stored)
        return int((~finite | zero).sum())

    def save(self) -> None:
        """Makes what is written survive a kill and a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())
        write_json(self._progress, {"rows": self.done, "invalid": self._invalid})

    def commit(self) -> dict[str, Any]:
        """Moves the finished shard to its name.

        Returns:
            Its record for the manifest, with which `forget` may be called once that is on disk.
        """
        assert self.done == len(self._span)
        self.save()
        self._file.close()
        self._partial.replace(self._path)
        sync_folder(self._path.parent)
        bad = {reason: rows for reason, rows in self._invalid.items() if rows}
        return {"sha256": self._digest.hexdigest(), **bad}

    def close(self) -> None:
        """Closes the file; what is saved is kept."""
        with contextlib.suppress(OSError):  # on a full disk, of what could not be written before
            self._file.close()

    def _write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._digest.update(content)

    def _saved(self, header: int) -> tuple[int, dict[str, list[int]]]:
        """Returns how many rows are surely on disk, and which of them cannot be searched."""
        nothing: dict[str, list[int]] = {reason: [] for reason in REASONS}
        try:
            progress: Mapping[str, Any] = json.loads(self._progress.read_text())
            size = self._partial.stat().st_size
        except (OSError, ValueError):
            return 0, nothing
        rows = int(progress["rows"])
        if size < header + rows * self._layout.bytes_per_row:  # someone else cut it
            return 0, nothing
        return rows, {reason: list(progress["invalid"].get(reason, ())) for reason in REASONS}


def forget(folder: Path, shard: int) -> None:
    """Removes what only an unfinished shard needs; whoever calls holds its lock."""
    for path in (progress_path(folder, shard), lock_path(folder, shard)):
        path.unlink(missing_ok=True)
