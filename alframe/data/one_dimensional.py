"""Points on a line with one class boundary: where active learning can be seen at work."""

from __future__ import annotations

from typing import Literal, Unpack

import numpy as np

from alframe.data.checks import Examples
from alframe.data.dataset import DataOptions, Dataset, build_dataset, parted
from alframe.errors import UserError
from alframe.options import check_whole, is_number
from alframe.protocols import Array

Kind = Literal["uniform", "gaussians", "overlapping"]

_TEST_POINTS = 20_000
_CLASSES = ("left", "right")
_CENTER = {"gaussians": 2.0, "overlapping": 1.0}

# Of the kinds without noise: lowest point of the test grid, highest point, usual boundary.
_GRIDS = {"uniform": (0.0, 1.0, 0.37), "gaussians": (-6.0, 6.0, 0.0)}


def one_dimensional(
    *,
    kind: Kind = "uniform",
    rows: int = 2000,
    threshold: float | None = None,
    seed: int = 0,
    **options: Unpack[DataOptions],
) -> Dataset:
    """Draws a pool of points x on a line, as float32 features [rows, 1], with two classes.

    | kind        | x                                    | class 1          | test inputs        |
    |-------------|--------------------------------------|------------------|--------------------|
    | uniform     | uniform in [0, 1)                    | x > threshold    | grid over [0, 1]   |
    | gaussians   | mixture of N(-2, 1) and N(+2, 1)     | x > threshold    | grid over [-6, 6]  |
    | overlapping | mixture of N(-1, 1) and N(+1, 1)     | drawn from the   | a fresh sample     |
    |             |                                      | right Gaussian   |                    |

    The grids are 20,000 equally spaced points with noise-free labels, so that test error times the
    grid's length is how far a learned boundary is from the true one.

    Args:
        kind: Which of the above.
        rows: The number of training rows.
        threshold: The true boundary; None means 0.37 for ``uniform`` and 0 for ``gaussians``.
        seed: Seeds the points; the run's seed, so that each seed sees another pool.
        **options: See `Splits` and `Loading`.

    Raises:
        UserError: For another kind, a threshold outside the grid (or with ``overlapping``, which
            has none), or splits that the rows do not allow.

    Source:
        "Growing or compressing datasets", lecture and lab of Introduction to Data-Centric AI, MIT.
    """
    if kind != "overlapping" and kind not in _GRIDS:
        known = ", ".join((*_GRIDS, "overlapping"))
        raise UserError(f"data.kind={kind}: expected one of {known}.")
    check_whole("data.rows", rows, at_least=1)
    check_whole("data.seed", seed, at_least=0)
    splits, loading = parted(options)
    pool_rng, test_rng = np.random.default_rng(seed).spawn(2)
    train = _points(kind, rows, pool_rng)
    if kind == "overlapping":
        if threshold is not None:
            raise UserError(
                f"data.threshold={threshold}: expected null, as data.kind=overlapping has no "
                "threshold."
            )
        test = _points(kind, _TEST_POINTS, test_rng)
    else:
        boundary = _boundary(kind, threshold)
        train, test = (_labeled(points, boundary) for points in (train[0], _grid(kind)))
    return build_dataset(
        f"one_dimensional_{kind}",
        train,
        test,
        _CLASSES,
        splits,
        standardize=False,
        loading=loading,
    )


def _boundary(kind: Kind, threshold: float | None) -> float:
    low, high, usual = _GRIDS[kind]
    boundary = usual if threshold is None else threshold
    if not (is_number(boundary) and low < boundary < high):
        raise UserError(
            f"data.threshold={threshold}: expected null or a number between {low:g} and "
            f"{high:g}, the range of data.kind={kind}."
        )
    return boundary


def _grid(kind: Kind) -> Array:
    """Returns the midpoints of equal cells: each stands for a cell of equal length."""
    low, high, _ = _GRIDS[kind]
    grid = low + (high - low) * (np.arange(_TEST_POINTS) + 0.5) / _TEST_POINTS
    return grid[:, None].astype(np.float32)


def _labeled(points: Array, boundary: float) -> Examples:
    return points, points[:, 0] > boundary


def _points(kind: Kind, size: int, rng: np.random.Generator) -> Examples:
    """Draws points, float32 [size, 1], and the side (0 or 1) that each was drawn from."""
    sides = rng.integers(2, size=size)
    if kind == "uniform":
        points = rng.random(size)
    else:
        points = rng.normal((2 * sides - 1) * _CENTER[kind], 1.0)
    return points[:, None].astype(np.float32), sides
