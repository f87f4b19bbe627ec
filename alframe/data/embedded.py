"""Embeddings in stores, with the labels of their rows: nothing else of the data is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import numpy as np

from alframe.data.array import read_arrays
from alframe.data.checks import Examples, clean_parts
from alframe.data.dataset import DataOptions, Dataset, build_dataset, parted
from alframe.data.on_embeddings import with_rows_of
from alframe.errors import UserError
from alframe.options import check_range
from alframe.protocols import Array
from alframe.store import Store


def embedded(
    *, train: str, test: str, labels: str, keep_gib: float = 2.0, **options: Unpack[DataOptions]
) -> Dataset:
    """Loads embeddings that were made before, perhaps more than fit into memory.

    Args:
        train: Folder of the store of the training rows, see `alframe.store`.
        test: Folder of that of the test rows, by the same encoder; these are read into memory.
        labels: A .npz file with ``labels`` and ``test_labels``, integers or strings [n], one for
            each row of the stores, and perhaps the names ``classes``. It is read without pickle.
        keep_gib: Training rows are read into memory if they take at most so many GiB as float32,
            else they stay on disk.
        **options: See `Splits` and `Loading`.

    Raises:
        UserError: For stores or labels that are absent, not as above or do not fit together, and
            for splits that the rows do not allow.
    """
    check_range("data.keep_gib", keep_gib, 0, 2**20)
    splits, loading = parted(options)
    stores = Store.open(train, "data.train"), Store.open(test, "data.test")
    source = f"data.labels={labels}"
    content = read_arrays(Path(labels).expanduser(), source)
    parts = [
        _standing_in(store, content.get(name), f"{source}: {name}")
        for store, name in zip(stores, ("labels", "test_labels"), strict=True)
    ]
    names = np.ravel(content["classes"]).astype(str).tolist() if "classes" in content else None
    first, second, classes = clean_parts(parts[0], parts[1], names, source)
    data = build_dataset("embedded", first, second, classes, splits, False, None, loading)
    return with_rows_of(data, *stores, keep_gib, "data")


def _standing_in(store: Store, labels: Array | None, source: str) -> Examples:
    """Returns labels beside inputs of one zero each, in whose place the embeddings come."""
    if labels is None or labels.shape != (store.num_rows,):
        found = "none" if labels is None else f"{labels.dtype} {list(labels.shape)}"
        raise UserError(
            f"{source}: expected one for each of the {store.num_rows} rows of {store.folder}, got "
            f"{found}"
        )
    return np.zeros((store.num_rows, 1), np.float32), labels
