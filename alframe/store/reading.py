"""Reads stores; see `alframe.store`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np

from alframe.errors import UserError
from alframe.noted import Seen, look_at
from alframe.protocols import Array, Rows
from alframe.store.manifest import (
    Manifest,
    check_size,
    check_sum,
    invalid_words,
    key_of,
    shard_path,
)
from alframe.store.mapping import Shards

TAKEN_AT_ONCE = 65536  # rows, so that what is copied on the way stays small


class Store:
    """A finished store, read-only; opening it maps nothing yet.

    Attributes:
        folder: Where it is.
        num_rows: Its rows: row r of the store is row r of the dataset's split.
        width: Values of an embedding.
        dtype: As it is stored, ``float16`` or ``float32``.
        parts: What the embeddings are of, by name.
        key: A hash of ``parts``.
        invalid: Rows [k], ascending, that were not finite or zero and are NaN throughout here.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.num_rows = manifest.layout.rows
        self.width = manifest.layout.width
        self.dtype = manifest.layout.dtype
        self.parts: Mapping[str, str] = manifest.parts
        self.key = key_of(manifest.parts)
        invalid = [row for rows in manifest.invalid().values() for row in rows]
        self.invalid: Rows = np.array(sorted(invalid), dtype=np.int64)
        self._layout = manifest.layout
        self._sums = {shard: str(record["sha256"]) for shard, record in manifest.shards.items()}
        self._shards = Shards(folder, manifest.layout.shards)

    @classmethod
    def open(cls, folder: str | Path, key: str = "store") -> Self:
        """Opens a finished store, and checks the sizes of its files, but not their contents.

        Args:
            folder: Of the store.
            key: The config key of the folder, for errors.

        Raises:
            UserError: If there is none, it is not finished, or a shard is absent or truncated.
        """
        path = Path(folder).expanduser()
        manifest = Manifest.read(path, key)
        if manifest.state == "invalid":
            raise UserError(f"{key}={folder}: {invalid_words(manifest)}")
        if manifest.state != "complete":
            raise UserError(
                f"{key}={folder} is not finished: {len(manifest.shards)} of "
                f"{manifest.layout.shards} shards are; run the command again that fills it"
            )
        for shard in range(manifest.layout.shards):
            check_size(path, manifest.layout, shard)
        return cls(path, manifest)

    def verify(self) -> None:
        """Compares every shard with its checksum, which reads all of them.

        Raises:
            UserError: For the first shard that was altered.
        """
        for shard, expected in sorted(self._sums.items()):
            check_sum(self.folder, shard, expected)

    def seen(self) -> Seen:
        """Returns how the shards' files are, see `alframe.noted`.

        Raises:
            UserError: For a shard that is not there any more.
        """
        for shard in sorted(self._sums):
            check_size(self.folder, self._layout, shard)
        return look_at(shard_path(self.folder, shard) for shard in sorted(self._sums))

    def chunks(self, rows_per_chunk: int, span: range | None = None) -> Iterator[tuple[int, Array]]:
        """Yields the rows in order, as views of the files; nothing is copied.

        Args:
            rows_per_chunk: At most so many; a chunk ends where a shard ends.
            span: Only these rows, consecutive ones; None = all.

        Yields:
            The first row, and the embeddings [m, d] from there on, as they are stored. They cannot
            be written to.
        """
        if rows_per_chunk < 1:
            raise ValueError(f"expected 1 or more rows in a chunk, got {rows_per_chunk}")
        span = range(self.num_rows) if span is None else span
        per_shard = self._layout.rows_per_shard
        for shard in range(span.start // per_shard, -(-span.stop // per_shard)):
            stored, start = self._shards[shard], self._layout.span(shard).start
            end = min(span.stop - start, len(stored))
            for first in range(max(0, span.start - start), end, rows_per_chunk):
                yield start + first, stored[first : min(first + rows_per_chunk, end)]

    def take(self, rows: Rows) -> Array:
        """Returns the embeddings of some rows.

        Args:
            rows: Row numbers [m], in any order; repeats are allowed.

        Returns:
            float32 [m, d], in the order of ``rows``.

        Raises:
            IndexError: For what is no row of the store. Negative numbers do not count from the end.
        """
        rows = self._checked(rows)
        taken = np.empty((len(rows), self.width), np.float32)
        order = np.argsort(rows, kind="stable")  # a disk wants to be read forwards
        for begin in range(0, len(rows), TAKEN_AT_ONCE):
            places = order[begin : begin + TAKEN_AT_ONCE]
            for shard, part in self._by_shard(rows[places]):
                stored, here = self._shards[shard], self._here(rows[places[part]], shard)
                taken[places[part]] = np.take(stored, here, axis=0)  # fast, unlike [here]
        return taken

    def picked(self, rows: Rows, room: Array) -> Iterator[tuple[int, Array]]:
        """Yields some rows in order, a few at a time, in memory that is used again.

        Args:
            rows: Row numbers [m], ascending.
            room: [b, d], of the type ``dtype``: written to.

        Yields:
            How many rows came before, and the embeddings [at most b, d] of the next ones, as they
            are stored, until the following ones go over them.

        Raises:
            IndexError: As `take`.
        """
        rows = self._checked(rows)
        for shard, part in self._by_shard(rows):
            stored, here = self._shards[shard], self._here(rows[part], shard)
            for first in range(0, len(here), len(room)):
                some = here[first : first + len(room)]
                few = room[: len(some)]
                np.take(stored, some, axis=0, out=few, mode="clip")  # "raise" makes a copy
                yield part.start + first, few

    def _by_shard(self, rows: Rows) -> Iterator[tuple[int, slice]]:
        """Yields each shard that ascending rows are of, and which of the rows those are."""
        shards = rows // self._layout.rows_per_shard
        ends = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(rows)]
        for start, end in pairwise(ends):
            if start < end:
                yield int(shards[start]), slice(start, end)

    def _here(self, rows: Rows, shard: int) -> Rows:
        """Returns the places of rows in their shard."""
        return rows - self._layout.span(shard).start

    def _checked(self, rows: Rows) -> Rows:
        rows = np.asarray(rows)
        if rows.size and (rows.dtype.kind not in "iu" or rows.ndim != 1):
            raise IndexError(f"expected row numbers [m], got {rows.dtype} {list(rows.shape)}")
        outside = rows[(rows < 0) | (rows >= self.num_rows)]
        if outside.size:
            raise IndexError(f"row {outside[0]} is not among the {self.num_rows} rows of the store")
        return rows.astype(np.int64)
