"""What inputs and labels must look like, and how class ids become numbers."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from alframe.errors import UserError
from alframe.protocols import Array

Examples = tuple[Array, Array]
"""Inputs and labels, one per row."""

_SHOWN = 5


def clean_examples(inputs: Array, labels: Array, source: str) -> Examples:
    """Checks one part of a dataset and brings it into the form that the rest of alframe knows.

    Args:
        inputs: uint8 images [n, h, w] or [n, h, w, c], or float features [n, d] of any precision.
        labels: One class id per row: integers, booleans or strings [n].
        source: What the errors start with: the config key and the part.

    Returns:
        The inputs as contiguous uint8 [n, h, w, c] or float32 [n, d]; the labels as int64 or
        strings.

    Raises:
        UserError: For other types or shapes, no rows, unequal lengths, NaN or infinite features.
    """
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iubU":
        raise UserError(
            f"{source}: expected labels [n] of integers or strings, got {_describe(labels)}."
        )
    inputs = _clean_inputs(inputs, source)
    if len(inputs) != len(labels):
        raise UserError(
            f"{source}: expected one label per input, got {len(labels)} labels for "
            f"{len(inputs)} inputs."
        )
    return inputs, labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def clean_parts(
    train: Examples, test: Examples, names: Sequence[str] | None, source: str
) -> tuple[Examples, Examples, tuple[str, ...]]:
    """Checks both parts of a dataset, together, and maps class ids to 0..C-1.

    Args:
        train: Inputs and labels, as `clean_examples` takes them.
        test: The same; classes that are absent from ``train`` are allowed.
        names: The class names: integer labels are positions in them, strings are among them. None
            takes the ids that occur in either part, sorted, as the names.
        source: What the errors start with: the config key.

    Returns:
        Both parts, with labels int64, and the class names. What comes out may go in again.

    Raises:
        UserError: For what `clean_examples` refuses, parts of different shapes or types, a label
            that is no class, or a class named twice.
    """
    inputs, labels = clean_examples(*train, f"{source}, training part")
    test_inputs, test_labels = clean_examples(*test, f"{source}, test part")
    if (inputs.dtype, inputs.shape[1:]) != (test_inputs.dtype, test_inputs.shape[1:]):
        raise UserError(
            f"{source}: expected training and test inputs of one type and shape, got "
            f"{_describe(inputs)} and {_describe(test_inputs)}."
        )
    if labels.dtype.kind != test_labels.dtype.kind:
        raise UserError(
            f"{source}: expected one type of labels, got {labels.dtype} in the training part and "
            f"{test_labels.dtype} in the test part."
        )
    ids, classes = _classes(np.union1d(labels, test_labels), names, source)
    numbers = _positions(labels, ids, source), _positions(test_labels, ids, source)
    return (inputs, numbers[0]), (test_inputs, numbers[1]), classes


def _classes(
    found: Array, names: Sequence[str] | None, source: str
) -> tuple[Array, tuple[str, ...]]:
    """Returns the class ids and the class names, by class number."""
    if names is None:
        return found, tuple(str(name) for name in found)
    classes = tuple(str(name) for name in names)
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise UserError(f"{source}: expected distinct class names, got {twice!r} twice.")
    return np.array(classes) if found.dtype.kind == "U" else np.arange(len(classes)), classes


def _positions(labels: Array, ids: Array, source: str) -> Array:
    """Returns where each label stands in ``ids``, int64."""
    unknown = labels[~np.isin(labels, ids)]
    if len(unknown):
        first = str(unknown[0])
        near = get_close_matches(first, [str(name) for name in ids], n=1)
        known = f"one of {len(ids)} classes"
        if labels.dtype.kind != "U":
            known = f"0 to {len(ids) - 1}, as there are {len(ids)} class names"
        elif near:
            known += f" (the nearest is {near[0]!r})"
        raise UserError(
            f"{source}: expected every label to be {known}; got {first!r}, and "
            f"{len(unknown)} such labels in all."
        )
    order = np.argsort(ids)
    positions: Array = order[np.searchsorted(ids, labels, sorter=order)].astype(np.int64)
    return positions


def _clean_inputs(inputs: Array, source: str) -> Array:
    is_image = inputs.dtype == np.uint8 and inputs.ndim in (3, 4)
    is_feature = inputs.dtype.kind == "f" and inputs.ndim == 2
    if not (is_image or is_feature) or 0 in inputs.shape:
        raise UserError(
            f"{source}: expected uint8 images [n, h, w] or [n, h, w, c], or float features [n, d], "
            f"none of them empty; got {_describe(inputs)}."
        )
    if is_feature:
        return _clean_features(inputs, source)
    images = inputs[..., None] if inputs.ndim == 3 else inputs
    if images.shape[1] in (1, 3) and images.shape[2] > 4 and images.shape[3] > 4:
        raise UserError(
            f"{source}: expected images with the channels last [n, h, w, c], got "
            f"{_describe(images)}, which looks like channels first."
        )
    return np.ascontiguousarray(images)


def _clean_features(inputs: Array, source: str) -> Array:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is refused below
        features: Array = np.ascontiguousarray(inputs, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        shown = ", ".join(str(row) for row in bad[:_SHOWN])
        more = ", ..." if len(bad) > _SHOWN else ""
        raise UserError(
            f"{source}: expected finite float32 features, got NaN or infinite values in "
            f"{len(bad)} of {len(features)} rows ({shown}{more})."
        )
    return features


def _describe(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"
