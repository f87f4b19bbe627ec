"""A dataset whose inputs are the stored embeddings of its rows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal

import numpy as np

from alframe.data.dataset import Dataset
from alframe.data.statistics import mean_and_std
from alframe.errors import UserError
from alframe.store import Store


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
    wanted = {"split": split, "inputs": data.inputs_fingerprint(split)}
    for name, value in wanted.items():
        if store.parts.get(name) != value:
            raise UserError(
                f"{key}={folder}: expected the {split} rows of data={data.name}, got another "
                f"{name} ({store.parts.get(name)}); change data, or fill a store with {command}"
            )
    return store


def made_by(store: Store) -> dict[str, str]:
    """Returns what a store says of its embeddings."""
    return {name: store.parts[name] for name in ("encoder", "weights", "dtype")}


def on_embeddings(data: Dataset, train: str | None, test: str | None) -> Dataset:
    """Returns the dataset with embeddings in place of its inputs; rows and labels stay.

    Each value is standardized over the rows of pool and validation.

    Args:
        data: The dataset.
        train: Folder of the store of its training rows; they are read into memory as float32.
        test: Folder of that of its test rows, by the same encoder.

    Raises:
        UserError: If a store is absent, altered, of other rows, of another encoder, or holds rows
            that are invalid.
    """
    stores = [open_store(train, data, "train"), open_store(test, data, "test")]
    encoders = [{**store.parts, "split": "", "inputs": ""} for store in stores]
    if encoders[0] != encoders[1]:
        raise UserError(
            f"embeddings.test={test}: expected the encoder of embeddings.train={train}, got "
            "another one, or another type; fill both stores with one encoder and store.dtype"
        )
    for store, name in zip(stores, ("train", "test"), strict=True):
        if len(store.invalid):
            raise UserError(
                f"embeddings.{name}={store.folder}: expected embeddings of all rows, got "
                f"{len(store.invalid)} invalid ones, first row {store.invalid[0]}; learners cannot "
                "leave rows out: mend the data or choose another encoder"
            )
    for store in stores:
        store.verify()  # all of it is read anyway
    inputs, test_inputs = (store.take(np.arange(store.num_rows)) for store in stores)
    learned = np.union1d(data.pool_rows, data.validation_rows)  # not those that were put aside
    mean, std = mean_and_std(inputs if len(learned) == len(inputs) else inputs[learned])
    signed = " ".join([data.fingerprint, *(store.key for store in stores)])
    return replace(
        data,
        inputs=inputs,
        test_inputs=test_inputs,
        mean=mean,
        std=std,
        embedded=made_by(stores[0]),
        fingerprint=hashlib.sha256(signed.encode()).hexdigest(),
    )
