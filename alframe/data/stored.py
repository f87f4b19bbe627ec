"""Rows of a store in the place of an array: on disk where they are many."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TypeGuard, cast

import numpy as np

from alframe.data.statistics import Moments, mean_and_std, standardizing
from alframe.errors import UserError
from alframe.files import CorruptFileError, decode_state, encode_state, write_atomic
from alframe.protocols import Array, Rows
from alframe.store import Store

MOMENTS = "moments.npz"
AT_ONCE = 2**13  # rows of which the moments are taken together


class StoredRows:
    """The rows of a store as an array float32 [n, d], of which only what is asked for is read.

    Attributes:
        store: Which holds them.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shape = (store.num_rows, store.width)
        self.nbytes = 4 * store.num_rows * store.width

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows | slice) -> Array:
        """Returns a copy of some rows, by their numbers [m] or a slice: float32 [m, d]."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        return self.store.take(rows)


def rows_of(store: Store, keep_gib: float) -> Array:
    """Returns the rows of a store, float32 [n, d]: in memory, or `StoredRows`.

    Args:
        store: The store.
        keep_gib: They are read into memory if they take at most so many GiB.
    """
    if 4 * store.num_rows * store.width <= keep_gib * 2**30:
        return store.take(np.arange(store.num_rows))
    # It is asked for rows, its length and its shape as an array is; who wants more of it asks
    # `check_in_memory` first.
    return cast("Array", StoredRows(store))


def is_stored(inputs: object) -> TypeGuard[StoredRows]:
    """Tells whether the inputs of a dataset stay on disk."""
    return isinstance(inputs, StoredRows)


def check_in_memory(inputs: Array) -> None:
    """Refuses inputs of a dataset that stay on disk, where a learner needs them in memory.

    Raises:
        UserError: Saying what to change.
    """
    if is_stored(inputs):
        raise UserError(
            "this learner needs all rows in memory: expected one that reads them from disk, such "
            f"as the probe, as they take {inputs.nbytes / 2**30:.1f} GiB; change the learner, or "
            "raise embeddings.keep_gib (with data=embedded, data.keep_gib)"
        )


def mean_and_std_of(store: Store, inputs: Array, rows: Rows) -> tuple[Array, Array]:
    """Returns what standardizes the rows of a store, see `mean_and_std`, once they are verified.

    Rows that stay on disk are read once, and the result is kept beside them, for as long as nobody
    touches their files.

    Args:
        store: The store.
        inputs: What `rows_of` gave.
        rows: Over which it is taken, ascending.

    Raises:
        UserError: If the store was altered.
    """
    if not is_stored(inputs):
        store.verify()
        return mean_and_std(inputs if len(rows) == len(inputs) else inputs[rows])
    path, seen = store.folder / MOMENTS, store.seen()  # of before it is read
    key = hashlib.sha256(store.key.encode() + rows.data).hexdigest()
    with contextlib.suppress(OSError, CorruptFileError):
        kept = decode_state(path)
        if (kept["key"], kept.get("stamp")) == (key, seen.files):
            return standardizing(kept["mean"], kept["variance"])
    store.verify()
    moments, wanted = Moments(store.width), np.zeros(store.num_rows, dtype=bool)
    wanted[rows] = True
    for start, chunk in store.chunks(AT_ONCE):
        marks = wanted[start : start + len(chunk)]
        if marks.any():
            moments.add(chunk if marks.all() else chunk[marks])
    mean, variance = moments.mean, moments.variance
    about = {"key": key, "stamp": seen.files}
    if seen.settled:
        with contextlib.suppress(OSError):  # someone else's store, say: it is read again next time
            write_atomic(path, encode_state({**about, "mean": mean, "variance": variance}))
    return standardizing(mean, variance)
