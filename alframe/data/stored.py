"""Rows of a store in the place of an array: on disk where they are many."""

from __future__ import annotations

import contextlib
from typing import cast

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


def check_in_memory(inputs: Array) -> None:
    """Refuses inputs of a dataset that stay on disk, where a learner needs them in memory.

    Raises:
        UserError: Saying what to change.
    """
    if isinstance(inputs, StoredRows):
        raise UserError(
            "this learner needs all rows in memory: expected one that reads them from disk, such "
            f"as the probe, as they take {inputs.nbytes / 2**30:.1f} GiB; change the learner, or "
            "raise embeddings.keep_gib (with data=embedded, data.keep_gib)"
        )


def mean_and_std_of(store: Store, inputs: Array) -> tuple[Array, Array]:
    """Returns what standardizes the rows of a store, see `mean_and_std`.

    Rows that stay on disk are read once, and the result is kept beside them.
    """
    if not isinstance(inputs, StoredRows):
        return mean_and_std(inputs)
    path = store.folder / MOMENTS
    with contextlib.suppress(OSError, CorruptFileError):
        kept = decode_state(path)
        if kept["key"] == store.key:
            return standardizing(kept["mean"], kept["variance"])
    moments = Moments(store.width)
    for _, chunk in store.chunks(AT_ONCE):
        moments.add(chunk)
    mean, variance = moments.mean, moments.variance
    with contextlib.suppress(OSError):  # someone else's store, say: then it is read again next time
        write_atomic(path, encode_state({"key": store.key, "mean": mean, "variance": variance}))
    return standardizing(mean, variance)
