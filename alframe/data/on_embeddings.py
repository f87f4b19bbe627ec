"""A dataset whose inputs are the stored embeddings of its rows."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import Literal

import numpy as np

from alframe.data.dataset import Dataset
from alframe.data.stored import mean_and_std_of, rows_of
from alframe.errors import UserError
from alframe.options import check_range
from alframe.protocols import Rows
from alframe.store import Store

log = logging.getLogger(__name__)


def open_store(folder: str | None, data: Dataset, split: Literal["train", "test"]) -> Store:
    """Opens the store of a dataset's rows.

    Args:
        folder: The config key ``embeddings.<split>``.
        data: Whose rows it must hold.
        split: Which of them.

    Raises:
        UserError: If there is none, or it holds other rows.
    """
    key = f"embeddings.{split}"
    command = f"alframe-embed data={data.name} split={split} out=FOLDER"
    if folder is None:
        raise UserError(f"{key}=null: expected the folder of a store; fill one with {command}")
    store = Store.open(folder, key)
    of_split, of_inputs = store.parts.get("split") == split, data.is_embedded_in(store, split)
    for name, is_right in (("split", of_split), ("inputs", of_inputs)):
        if not is_right:
            raise UserError(
                f"{key}={folder}: expected the {split} rows of data={data.name}, got another "
                f"{name} ({store.parts.get(name)}); change data, or fill a store with {command}"
            )
    return store


def made_by(store: Store) -> dict[str, str]:
    """Returns what a store says of its embeddings."""
    return {name: store.parts[name] for name in ("encoder", "weights", "dtype")}


def on_embeddings(
    data: Dataset, train: str | None, test: str | None, keep_gib: float | None = None
) -> Dataset:
    """Returns the dataset with embeddings in place of its inputs; rows and labels stay.

    Each value is standardized over the rows of pool and validation. Rows whose embeddings are
    invalid are left out of pool, validation and test part; a warning says how many.

    Args:
        data: The dataset.
        train: Folder of the store of its training rows.
        test: Folder of that of its test rows, by the same encoder; they are read into memory.
        keep_gib: Training rows are read into memory if they take at most so many GiB as float32,
            else they stay on disk; None = 2.

    Raises:
        UserError: If a store is absent, altered, of other rows or of another encoder.
    """
    keep_gib = 2.0 if keep_gib is None else keep_gib
    check_range("embeddings.keep_gib", keep_gib, 0, 2**20)
    stores = open_store(train, data, "train"), open_store(test, data, "test")
    return with_rows_of(data, *stores, keep_gib, "embeddings")


def with_rows_of(data: Dataset, train: Store, test: Store, keep_gib: float, key: str) -> Dataset:
    """Returns the dataset with the rows of stores as its inputs, see `on_embeddings`.

    Args:
        data: The dataset.
        train: Holds an embedding of each training row.
        test: Likewise.
        keep_gib: See `on_embeddings`.
        key: The config key of the stores, for errors.

    Raises:
        UserError: If the encoders or the numbers of rows differ.
    """
    encoders = [{**store.parts, "split": "", "inputs": ""} for store in (train, test)]
    if encoders[0] != encoders[1]:
        raise UserError(
            f"{key}.test={test.folder}: expected the encoder of {key}.train={train.folder}, got "
            "another one, or another type; fill both stores with one encoder and store.dtype"
        )
    for store, name, rows in ((train, "train", data.num_rows), (test, "test", data.num_tests)):
        if store.num_rows != rows:
            raise UserError(
                f"{key}.{name}={store.folder}: expected embeddings of the {rows} {name} rows of "
                f"data={data.name}, got {store.num_rows}; change {key}.{name}"
            )
    data, tests = _without(data, train.invalid, test.invalid, key)
    test.verify()  # all of it is read anyway
    inputs, learned = (
        rows_of(train, keep_gib),
        np.sort(np.concatenate([data.pool_rows, data.validation_rows]), kind="stable"),
    )
    mean, std = mean_and_std_of(train, inputs, learned)  # not those that were put aside
    left_out = [str(store.invalid.tolist()) for store in (train, test) if len(store.invalid)]
    signed = " ".join([data.fingerprint, train.key, test.key, *left_out])
    return replace(
        data,
        inputs=inputs,
        test_inputs=test.take(tests),
        mean=mean,
        std=std,
        fingerprint=hashlib.sha256(signed.encode()).hexdigest(),
        stores={"train": train, "test": test},
    )


def _without(data: Dataset, train: Rows, test: Rows, key: str) -> tuple[Dataset, Rows]:
    """Leaves training and test rows out, and returns the test rows that stay, as well."""
    tests = np.setdiff1d(np.arange(data.num_tests), test, assume_unique=True)
    if not len(train) and not len(test):
        return data, tests
    pool, validation = (
        rows[~np.isin(rows, train)] for rows in (data.pool_rows, data.validation_rows)
    )
    log.warning(
        "%d pool rows, %d validation rows and %d test rows are left out, since their embeddings in "
        "%s.train and %s.test are invalid",
        len(data.pool_rows) - len(pool), len(data.validation_rows) - len(validation), len(test),
        key, key,
    )  # fmt: skip
    labels = data.test_labels[tests]
    return replace(data, pool_rows=pool, validation_rows=validation, test_labels=labels), tests
