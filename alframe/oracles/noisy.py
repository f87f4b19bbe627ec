"""An annotator who errs."""

from __future__ import annotations

import numpy as np

from alframe.data.dataset import Dataset
from alframe.errors import UserError
from alframe.protocols import Array, Rows


class NoisyOracle:
    """Answers with the dataset's label, or, at the given rate, with another class.

    Symmetric noise: each of the other classes is equally likely. Whether a row's label is wrong,
    and how, depends on the row and the seed alone, so that asking again gives the same answer.

    Args:
        data: The dataset.
        rate: Share of wrong labels in [0, 1].
        seed: 0 or more.
    """

    free = True

    def __init__(self, data: Dataset, rate: float, seed: int) -> None:
        if not 0 <= rate <= 1:
            raise UserError(f"oracle.rate={rate}: expected a share in [0, 1]; change oracle.rate")
        self._data = data
        rng = np.random.default_rng([seed, data.num_rows])
        wrong = rng.random(data.num_rows) < rate
        shift = rng.integers(1, data.num_classes, data.num_rows)
        self._shift = np.where(wrong, shift, 0)

    def answer(self, rows: Rows) -> tuple[Rows, Array]:
        """See `alframe.protocols.Oracle.answer`."""
        return rows, (self._data.reveal(rows) + self._shift[rows]) % self._data.num_classes
