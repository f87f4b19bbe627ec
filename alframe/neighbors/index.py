"""What finds the nearest rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alframe.errors import UserError
from alframe.neighbors.source import EmbeddingSource
from alframe.protocols import Array, Rows

METRICS = ("euclidean", "cosine", "dot")


class TooFewFoundError(UserError):
    """An approximate index that cannot find as many rows as were asked for."""


class NeighborIndex(Protocol):
    """An index of the embeddings of one source."""

    @property
    def metric(self) -> str:
        """One of euclidean, cosine and dot."""
        ...

    def build(self, source: EmbeddingSource) -> None:
        """Indexes all rows of a source.

        Raises:
            UserError: For NaN, infinite, or (under cosine) zero rows that are not to be dropped.
        """
        ...

    def search(self, queries: Array, k: int, exclude: Rows | None = None) -> tuple[Array, Rows]:
        """Returns the ``k`` nearest rows of each query, best first.

        Args:
            queries: Embeddings [m, d], floating point.
            k: In 1 .. rows in the index, or one fewer with ``exclude``.
            exclude: Row number [m] that each query itself is, and that it must not find, however
                many equal rows there are.

        Returns:
            Values [m, k], float32: distances, ascending, under euclidean; similarities, falling,
            under cosine and dot. And rows [m, k], int64, all of them valid.

        Raises:
            UserError: For queries that are NaN, infinite, of another width, or (under cosine) zero;
                for ``k`` out of range.
            TooFewFoundError: Where an approximate index cannot find ``k`` rows.
        """
        ...

    def save(self, folder: Path) -> None:
        """Writes the index, without the embeddings that its source holds."""
        ...

    def load(self, folder: Path, source: EmbeddingSource) -> None:
        """Reads a saved index of this kind for the source that it was built on.

        Raises:
            UserError: If it is of other embeddings, another kind, metric or width, or if one of
                its files is truncated, altered or absent.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Returns kind, metric, rows, width, source key and settings, as JSON values."""
        ...


def check_metric_option(metric: str) -> None:
    """Raises `UserError` where the metric of an index is not known."""
    if metric not in METRICS:
        raise UserError(f"index.metric={metric}: expected one of {', '.join(METRICS)}.")


def checked_queries(
    queries: Array, width: int, metric: str, exclude: Rows | None
) -> tuple[Array, Rows | None]:
    """Returns queries as float32 [m, d] and the excluded rows as int64 [m], refusing bad ones."""
    if queries.ndim != 2 or queries.shape[1] != width:
        raise UserError(
            f"expected queries [m, {width}], as wide as what the index was built on, got "
            f"{list(queries.shape)}; build the index from the encoder of the queries"
        )
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
        values: Array = np.ascontiguousarray(queries, dtype=np.float32)
    bad, what = ~np.isfinite(values).all(axis=1), "finite"
    if metric == "cosine" and not bad.any():
        bad, what = ~values.any(axis=1), "nonzero (index.metric=cosine)"
    if bad.any():
        at = np.flatnonzero(bad)
        raise UserError(
            f"expected queries to be {what}, got {len(at)} bad ones of {len(values)}: "
            f"{first_few(at)}"
        )
    if exclude is None:
        return values, None
    rows = np.asarray(exclude)
    if rows.shape != (len(values),) or rows.dtype.kind not in "iu":
        raise UserError(
            f"expected the row number of each of {len(values)} queries in exclude, got "
            f"{rows.dtype} {list(rows.shape)}"
        )
    return values, rows.astype(np.int64)


def check_k(k: int, rows: int, exclude: Rows | None) -> None:
    """Raises `UserError` for a number of neighbors that the index does not hold."""
    most = rows - (exclude is not None)
    if not 1 <= k <= most:
        others = "other rows" if exclude is not None else "rows"
        raise UserError(
            f"expected k from 1 to {most}, the {others} in the index, got {k}; lower k, or index "
            "more rows"
        )


def first_few(rows: Rows) -> str:
    """Returns the first five of many rows, in words."""
    return ", ".join(map(str, rows[:5].tolist())) + (", ..." if len(rows) > 5 else "")


def without(rows: Rows, values: Array, exclude: Rows | None, k: int) -> tuple[Array, Rows]:
    """Returns values and rows [m, k], the excluded row of each query left out by its number.

    Args:
        rows: Found rows [m, k], or [m, k + 1] with ``exclude``, best first.
        values: Of these rows.
        exclude: Row numbers [m], or None.
        k: How many to keep.
    """
    if exclude is None:
        return values[:, :k], rows[:, :k]
    order = np.argsort(rows == exclude[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(values, order, 1), np.take_along_axis(rows, order, 1)
