"""One class against all others: the labels of a search for a rare concept."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from alframe.data.dataset import Dataset
from alframe.errors import UserError, nearest

REST = "rest"


def one_against_rest(data: Dataset, concept: str) -> Dataset:
    """Returns the dataset with two classes: 1 is the concept, 0 all the rest.

    Rows, splits and inputs stay as they are. The classes of the data are told apart by their names.

    Args:
        data: Whose classes are the concepts.
        concept: The name of one of them.

    Raises:
        UserError: If no class has that name.
    """
    if concept not in data.classes:
        raise UserError(
            f"concept={concept}: expected one of the {data.num_classes} classes of data="
            f"{data.name}{nearest(concept, data.classes, most=3)}"
        )
    number = data.classes.index(concept)
    signed = hashlib.sha256(f"{data.fingerprint} {concept}".encode()).hexdigest()
    return replace(
        data,
        classes=(REST, concept),
        test_labels=(data.test_labels == number).astype(np.int64),
        fingerprint=signed,
        _labels=(data._labels == number).astype(np.int64),
    )
