"""Handwritten digits that come with scikit-learn: no download, and quick to learn."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from alframe.data.dataset import DataOptions, Dataset, build_dataset, parted
from alframe.data.splits import hold_out


def digits(*, test: float = 0.3, **options: Unpack[DataOptions]) -> Dataset:
    """Loads 1,797 handwritten digits as uint8 images [n, 8, 8, 1], with values from 0 to 255.

    Args:
        test: The test part, a fraction or a number of rows; stratified, always the same rows.
        **options: See `Splits` and `Loading`.

    Raises:
        UserError: For a test part or splits that the rows do not allow.

    Source:
        The test set of the UCI data "Optical Recognition of Handwritten Digits" (Alpaydin and
        Kaynak, 1998), by way of ``sklearn.datasets.load_digits``.
    """
    from sklearn.datasets import load_digits

    splits, loading = parted(options)
    table = load_digits()
    images = np.rint(table.images * (255 / 16)).astype(np.uint8)[..., None]
    _, test_rows = hold_out(table.target, test)
    return build_dataset(
        "digits",
        (images, table.target),
        (images[test_rows], table.target[test_rows]),
        [str(name) for name in table.target_names],
        splits,
        aside=test_rows,
        loading=loading,
    )
