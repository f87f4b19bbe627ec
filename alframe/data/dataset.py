"""A dataset: inputs by row, a test part, and training labels behind one door."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from alframe.data.checks import Examples, clean_parts
from alframe.data.loading import DataOptions, Loading, parted
from alframe.data.splits import SplitOptions, Splits
from alframe.data.statistics import mean_and_std
from alframe.protocols import Array, Rows
from alframe.store import Store

__all__ = [
    "DataOptions",
    "Dataset",
    "Loading",
    "SplitOptions",
    "Splits",
    "build_dataset",
    "parted",
]


@dataclass(frozen=True, eq=False)
class Dataset:
    """The data of a run; made by `build_dataset`, which checks them.

    Attributes:
        name: For tables and titles.
        inputs: Training inputs by row: uint8 images [n, h, w, c] or float32 features [n, d].
        test_inputs: Test inputs in the same form.
        test_labels: Their classes, int64, 0 to ``num_classes - 1``.
        classes: The class names, by class number.
        pool_rows: The rows that may be queried, ascending.
        validation_rows: The rows that validate, ascending, none of them in ``pool_rows``.
        fingerprint: sha256 (hex) over all that is here but the name, hidden labels and rows
            included: equal fingerprints mean equal data, shared out equally.
        mean: float32, per channel (in units of 0..255) or per feature, of all training inputs;
            0 where the dataset is not to be standardized.
        std: The standard deviation likewise, never 0; 1 where it is not to be standardized.
        loading: How training batches are made; not part of the fingerprint, for it changes none.
        stores: Those that hold the inputs of ``train`` and ``test``, where stores do.
    """

    name: str
    inputs: Array = field(repr=False)
    test_inputs: Array = field(repr=False)
    test_labels: Array = field(repr=False)
    classes: tuple[str, ...]
    pool_rows: Rows = field(repr=False)
    validation_rows: Rows = field(repr=False)
    fingerprint: str
    mean: Array = field(repr=False)
    std: Array = field(repr=False)
    _labels: Array = field(repr=False)
    loading: Loading = field(default=Loading(), repr=False)
    stores: Mapping[str, Store] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> Literal["images", "features"]:
        """What a row is: an image or a vector of features."""
        return "images" if self.inputs.ndim == 4 else "features"

    @property
    def num_classes(self) -> int:
        """The number of classes, those of the test part included."""
        return len(self.classes)

    @property
    def num_rows(self) -> int:
        """The number of training rows, those outside pool and validation included."""
        return len(self.inputs)

    @property
    def num_tests(self) -> int:
        """The number of test rows."""
        return len(self.test_labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row: (h, w, c) or (d,)."""
        return self.inputs.shape[1:]

    def inputs_of(self, split: Literal["train", "test"]) -> Array:
        """Returns the inputs of the training rows (all of them) or of the test rows."""
        return self.inputs if split == "train" else self.test_inputs

    def inputs_fingerprint(self, split: Literal["train", "test"]) -> str:
        """Returns the sha256 (hex) over a split's inputs and how they are standardized.

        Labels, and how rows are shared out, are not part of it: two datasets that differ only in
        these have the same embeddings. For rows of a store its key stands for them, and for mean
        and standard deviation the rows that these are of: their last bits depend on whether the
        rows are in memory.
        """
        if split in self.stores:
            learned = np.sort(np.concatenate([self.pool_rows, self.validation_rows]))
            return _fingerprint({"learned": learned}, [split, self.stores[split].key])
        arrays = {"inputs": self.inputs_of(split), "mean": self.mean, "std": self.std}
        return _fingerprint(arrays, split)

    def is_embedded_in(self, store: Store, split: Literal["train", "test"]) -> bool:
        """Tells whether a store holds embeddings of a split's rows.

        These are embeddings of its inputs, or, where the inputs are a store's, of what that store
        was made of.
        """
        made_of = {self.inputs_fingerprint(split)}
        if split in self.stores:
            made_of.add(self.stores[split].parts["inputs"])
        return store.parts.get("inputs") in made_of

    def reveal(self, rows: Rows) -> Array:
        """Gives the labels of training rows: the one door, for oracles and validation only.

        Args:
            rows: Training-row numbers [k]; repeats are allowed.

        Returns:
            Their classes in the same order, int64 [k].

        Raises:
            IndexError: For what is no training-row number. Negative numbers do not count from
                the end.
        """
        rows = np.asarray(rows)
        if rows.size and rows.dtype.kind not in "iu":
            raise IndexError(f"expected row numbers, got values of type {rows.dtype}")
        outside = rows[(rows < 0) | (rows >= self.num_rows)]
        if outside.size:
            raise IndexError(f"row {outside[0]} is not among the {self.num_rows} training rows")
        labels: Array = self._labels[rows.astype(np.int64)]
        return labels


def build_dataset(  # noqa: PLR0913 the parts of a dataset are as many
    name: str,
    train: Examples,
    test: Examples,
    classes: Sequence[str] | None,
    splits: Splits,
    standardize: bool = True,
    aside: Rows | None = None,
    loading: Loading = Loading(),  # noqa: B008 it is frozen
) -> Dataset:
    """Checks the arrays of a dataset, numbers its classes and shares out its rows.

    Args:
        name: The dataset's name; errors say ``data=<name>``.
        train: Inputs and labels, one per row: uint8 images [n, h, w] or [n, h, w, c] or float
            features [n, d]; integer or string labels [n].
        test: The same for the test part.
        classes: Class names: integer labels are positions in them, string labels are among them.
            None names the classes by the ids that occur, sorted.
        splits: How the training rows are shared out.
        standardize: Whether ``mean`` and ``std`` are measured, or left at 0 and 1.
        aside: Training rows that are neither pool nor validation, such as those that the test part
            was cut from; they keep their numbers, so that a row is a row of the user's file.
        loading: How training batches are made.

    Raises:
        UserError: For arrays that are not as above or do not fit together, for NaN or infinite
            features, and for splits that the rows do not allow.
    """
    train, test, names = clean_parts(train, test, classes, f"data={name}")
    (inputs, labels), (test_inputs, test_labels) = train, test
    nowhere = np.empty(0, np.int64) if aside is None else aside
    kept = np.setdiff1d(np.arange(len(labels)), nowhere, assume_unique=True)
    pool_rows, validation_rows = (kept[part] for part in splits.rows(labels[kept], len(names)))
    arrays = {
        "inputs": inputs, "labels": labels, "test_inputs": test_inputs,
        "test_labels": test_labels, "pool_rows": pool_rows, "validation_rows": validation_rows,
    }  # fmt: skip
    width = inputs.shape[-1]
    unit = np.zeros(width, np.float32), np.ones(width, np.float32)
    mean, std = mean_and_std(inputs[kept]) if standardize else unit
    return Dataset(
        name=name,
        inputs=inputs,
        test_inputs=test_inputs,
        test_labels=test_labels,
        classes=names,
        pool_rows=pool_rows,
        validation_rows=validation_rows,
        fingerprint=_fingerprint(arrays, [standardize, names]),
        mean=mean,
        std=std,
        _labels=labels,
        loading=loading,
    )


def _fingerprint(arrays: Mapping[str, Array], words: object) -> str:
    """Returns the sha256 over words and arrays, whose shapes and types come first (unambiguous)."""
    shapes = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    digest = hashlib.sha256(json.dumps([words, shapes]).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
