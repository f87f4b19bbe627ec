"""Which rows of a dataset may be queried, and which ones validate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from alframe.errors import UserError
from alframe.options import check_part, check_whole, is_number, part_size
from alframe.protocols import Array, Rows

# One random stream per purpose, so that a change of one part leaves the draws of the others alone.
_SUBSET, _VALIDATION, _IMBALANCE, _TEST = range(4)


class SplitOptions(TypedDict, total=False):
    """The keys that every dataset's YAML has for its `Splits`, next to its own."""

    validation: float
    subset: int | None
    imbalance: float | None
    split_seed: int


@dataclass(frozen=True)
class Splits:
    """How the rows of a dataset are shared out. Every draw is stratified by class.

    Row numbers stay those of the full dataset: nothing is sliced.

    Attributes:
        validation: A fraction in [0, 1) of the subset, or a number of its rows (an integer).
        subset: The number of training rows in total, validation rows included, or None for all.
        imbalance: None, or a ratio in (0, 1] that makes the pool long-tailed: class c of C keeps a
            share ``imbalance ** (c / (C - 1))`` of its pool rows, and at least one of them.
        split_seed: Seeds the draws; not the run's seed, so that all seeds of an experiment share
            one split.

    Raises:
        UserError: For a value out of range.

    Source:
        Imbalance: the exponential profile of Cui et al., "Class-balanced loss based on effective
        number of samples", section 5.1, arXiv 1901.05555.
    """

    validation: float = 0
    subset: int | None = None
    imbalance: float | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_part("data.validation", self.validation)
        check_whole("data.split_seed", self.split_seed, at_least=0)
        if self.subset is not None:
            check_whole("data.subset", self.subset, at_least=1)
        ratio = self.imbalance
        if ratio is not None and not (is_number(ratio) and 0 < ratio <= 1):
            raise UserError(
                f"data.imbalance={ratio}: expected null or a ratio above 0 and up to 1."
            )

    def rows(self, labels: Array, num_classes: int) -> tuple[Rows, Rows]:
        """Shares out the rows of a training part.

        Args:
            labels: The class of every row, 0 to ``num_classes - 1``, int64 [n].
            num_classes: C of ``imbalance``; classes without a row count too.

        Returns:
            The pool rows and the validation rows: both ascending, disjoint.

        Raises:
            UserError: Where there are too few rows for ``subset`` or ``validation``.
        """
        rows = np.arange(len(labels), dtype=np.int64)
        if self.subset is not None:
            if self.subset > len(rows):
                raise UserError(
                    f"data.subset={self.subset}: expected at most the {len(rows)} training rows "
                    "of this dataset, or null for all of them."
                )
            rows = _stratified(rows, labels, self.subset, self._rng(_SUBSET))
        size = part_size("data.validation", self.validation, len(rows))
        validation = _stratified(rows, labels, size, self._rng(_VALIDATION))
        pool = np.setdiff1d(rows, validation, assume_unique=True)
        if self.imbalance is not None:
            present = np.bincount(labels[pool], minlength=num_classes)
            shares = self.imbalance ** (np.arange(num_classes) / max(num_classes - 1, 1))
            kept = np.maximum(np.rint(present * shares), np.minimum(present, 1)).astype(np.int64)
            pool = _draw(pool, labels[pool], kept, self._rng(_IMBALANCE))
        return pool, validation

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([stream, self.split_seed])


def hold_out(labels: Array, part: float) -> tuple[Rows, Rows]:
    """Cuts a test part from data that come without one; no seed moves it.

    Args:
        labels: The label of every row: integers or strings [n].
        part: ``data.test``: a fraction in (0, 1) of the rows, or a number of rows (an integer).

    Returns:
        The training rows and the test rows: both ascending, disjoint, stratified by label.

    Raises:
        UserError: For a part out of range, or one that leaves training or test empty.
    """
    check_part("data.test", part)
    size = part_size("data.test", part, len(labels))
    if size == 0:
        raise UserError(f"data.test={part}: expected at least one test row, got none.")
    rows = np.arange(len(labels), dtype=np.int64)
    classes = np.unique(labels, return_inverse=True)[1]
    test = _stratified(rows, classes, size, np.random.default_rng([_TEST, 0]))
    return np.setdiff1d(rows, test, assume_unique=True), test


def _stratified(rows: Rows, labels: Array, size: int, rng: np.random.Generator) -> Rows:
    """Draws ``size`` of the rows, from each class in proportion (``labels`` is by row number)."""
    if size == 0:
        return rows[:0]
    classes = labels[rows]
    return _draw(rows, classes, _apportion(np.bincount(classes), size), rng)


def _apportion(counts: Array, size: int) -> Array:
    """Shares ``size`` seats out in proportion to ``counts`` by largest remainder.

    Ties go to the lower class. In integers, so that no rounding decides.
    """
    seats, remainders = np.divmod(counts * size, counts.sum())
    missing = size - seats.sum()
    seats[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return seats


def _draw(rows: Rows, classes: Array, counts: Array, rng: np.random.Generator) -> Rows:
    """Draws ``counts[c]`` of the rows of each class c; ascending (``classes`` is by position)."""
    shuffled = rng.permutation(len(rows))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    sorted_classes = classes[by_class]
    starts = np.searchsorted(sorted_classes, np.arange(len(counts)))
    rank = np.arange(len(rows)) - starts[sorted_classes]
    return np.sort(rows[by_class[rank < counts[sorted_classes]]])
