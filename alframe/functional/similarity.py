"""Similarities of pairs of points, computed when they are needed and never kept as a matrix.

There are two precisions. The *value* of a pair is computed in float64. Its *level* is computed by
one float32 matrix product for a whole block of pairs, on the safe side of the value by more than
float32 can round. A kernel that drops pairs by their levels, and decides by values, decides as if
every value had been computed.

Levels hold only where float32 is float32: use them within ``exact_products``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import as_tensor, refuse_rows

# Numbers in one temporary: 1 MB of float64, which stays in a CPU's cache; a GPU wants more work
# for each call.
CHUNK_CPU, CHUNK_GPU = 2**17, 2**24
_ROUNDING = 2.0**-24  # relative, of one float32 operation
_UNDERFLOW = 2.0**-110  # more than what one product of float32 vectors can lose to underflow
_DISTANCES = ("euclidean", "sqeuclidean")


class PointSet:
    """Points [n, d], as one metric sees them.

    The similarity of two points, higher = more similar, is

    - cosine: the cosine, in [-1, 1]; a zero vector has similarity 0 to all, also to itself;
    - dot: the inner product;
    - euclidean, sqeuclidean: minus the distance, minus its square;

    of the points times ``2 ** -exponent``, so that no square over- or underflows. A level is the
    same, but minus the square of the distance for both distances.

    Attributes:
        metric: One of the four.
        n: The number of points.
        center: The mean of the points for distances, else 0: float64 [d].
        lengths: Of the points around the center, float64 [n].
    """

    def __init__(
        self, points: Tensor, metric: str, exponent: int | None = None, center: Tensor | None = None
    ) -> None:
        self.metric, self.n, self.device = metric, len(points), points.device
        self.is_distance = metric in _DISTANCES
        self._given = self._points = points
        if metric == "cosine":  # every point has a scale of its own
            self.exponent = 0
            self._scale(_row_exponents(points))
        else:
            self.exponent = largest_exponent(points) if exponent is None else exponent
            self._scale(torch.tensor([self.exponent], device=self.device))
        d = points.shape[1]
        # Of |x|^2 + |y|^2. A level is d + 2 products, of together at most twice that for distances
        # and once for the others, and what goes into it was rounded as well.
        self._error = (2 * d + 32 if self.is_distance else d + 16) * _ROUNDING
        self.center = torch.zeros(d, dtype=torch.float64, device=self.device)
        if center is not None:
            self.center = center
        elif self.is_distance:
            for rows in self.slices():
                self.center += self.values(rows).sum(dim=0) / max(1, self.n)
        self.lengths = torch.empty(self.n, dtype=torch.float64, device=self.device)
        for rows in self.slices():
            self.lengths[rows] = (self.values(rows) - self.center).norm(dim=1)

    @cached_property
    def single(self) -> Tensor:
        """float32 [n, d + 2], the left factor of levels: points, squared lengths, and ones."""
        d = self._points.shape[1]
        single = torch.ones(self.n, d + 2, dtype=torch.float32, device=self.device)
        for rows in self.slices():
            single[rows, :d] = (self.values(rows) - self.center).float()
            single[rows, d] = self.lengths[rows].square().float()
        return single

    def subset(self, rows: Tensor) -> PointSet:
        """Returns some of the points, so that similarities to all of them are defined."""
        return PointSet(self._given[rows], self.metric, self.exponent, self.center)

    def slices(self, beside: int = 1) -> Iterator[slice]:
        """Yields slices that are together all rows, where each takes d or ``beside`` numbers."""
        step = self.chunk_rows(beside)
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def chunk_rows(self, beside: int = 1) -> int:
        """Returns how many rows to take at a time, where each takes d or ``beside`` numbers."""
        chunk = CHUNK_CPU if self.device.type == "cpu" else CHUNK_GPU
        return max(1, chunk // max(1, self._points.shape[1], beside))

    def values(self, rows: Tensor | slice) -> Tensor:
        """Returns points [m, d] in float64 between whose rows similarities are computed."""
        if isinstance(rows, slice):
            factor = self._factor if len(self._factor) == 1 else self._factor[rows]
            return self._points[rows].double() * factor  # not in place: it may be the input
        # index_select: ten times as fast as points[rows] (torch 2.15, 4,096 rows of 64 float32)
        factor = self._factor if len(self._factor) == 1 else self._factor.index_select(0, rows)
        return self._points.index_select(0, rows).double().mul_(factor)

    def block(self, mine: Tensor, others: Tensor) -> Tensor:
        """Returns similarities [m, k] of values [m, d] to values [k, d], in float64."""
        if not self.is_distance:
            return mine @ others.T
        direct = "donot_use_mm_for_euclid_dist"  # differences first: nothing cancels
        distances = torch.cdist(mine, others, compute_mode=direct)
        return distances.neg_() if self.metric == "euclidean" else -distances.square_()

    def pairs(self, mine: Tensor, others: Tensor) -> Tensor:
        """Returns similarities [m] of values [m, d] to values [m, d], one to one, in float64."""
        if not self.is_distance:
            return (mine * others).sum(dim=1)
        squares = (mine - others).square_().sum(dim=1)
        return squares.sqrt_().neg_() if self.metric == "euclidean" else squares.neg_()

    def between(self, mine: Tensor, others: PointSet, theirs: Tensor) -> Tensor:
        """Returns similarities [m] of points mine[i] to points theirs[i] of a set, in float64."""
        step = self.chunk_rows()
        # A GPU sums a row in an order that depends on the number of rows: always as many.
        padding = 0 if self.device.type == "cpu" else -len(mine) % step
        rows = (torch.cat([part, part.new_zeros(padding)]) for part in (mine, theirs))
        parts = zip(*(torch.split(part, step) for part in rows), strict=True)
        found = [self.pairs(self.values(i), others.values(j)) for i, j in parts]
        return torch.cat(found)[: len(mine)]

    def right(self, rows: Tensor | slice, side: int, above: Tensor | None = None) -> Tensor:
        """Returns float32 [m, d + 2], so that ``single @ right.T`` are levels on the safe side.

        Args:
            rows: Which points.
            side: 1 for levels at or above the true ones, -1 for levels at or below them.
            above: Thresholds [m] in float64 that are subtracted from the levels.
        """
        d = self._points.shape[1]
        right = self.single[rows].clone()
        own = side * self._error - (1 if self.is_distance else 0)
        bias = own * right[:, d].double() + side * _UNDERFLOW
        if above is not None:
            bias += side * (d + 8) * _ROUNDING * above.abs() - above
        right[:, :d] *= 2 if self.is_distance else 1
        right[:, d] = own
        right[:, d + 1] = bias.float()
        return right

    def slack(self, mine: Tensor, others: Tensor) -> Tensor:
        """Returns how far at most a level is from the true one, for squared lengths of points."""
        return (2 * self._error * (mine + others)).add_(2 * _UNDERFLOW)

    def _scale(self, exponents: Tensor) -> None:
        """Sets what the points are multiplied by, moving extreme ones out of the way once."""
        ends = exponents[:, None]
        if bool((ends.abs() > 300).any()):  # their squares, or 1 / length, may not be finite
            self._points, ends = times_two_to(self._points.double(), -ends), ends * 0
        self._factor = torch.ldexp(torch.ones_like(ends, dtype=torch.float64), -ends)
        if self.metric == "cosine":
            for rows in self.slices():
                length = self.values(rows).norm(dim=1, keepdim=True)
                self._factor[rows] /= torch.where(length > 0, length, 1.0)


def finite_points(embeddings: Tensor | npt.NDArray[Any], name: str = "embeddings") -> Tensor:
    """Returns the embeddings as a tensor [n, d >= 1], refusing other shapes and NaN or infinity."""
    points = as_tensor(embeddings)
    if points.ndim != 2:
        raise ValueError(f"expected {name} [n, d], got shape {tuple(points.shape)}")
    if points.shape[1] == 0:
        return torch.zeros(len(points), 1, device=points.device)
    bad = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    step = max(1, CHUNK_CPU // points.shape[1])
    for start in range(0, len(points), step):
        bad[start : start + step] = ~points[start : start + step].isfinite().all(dim=1)
    refuse_rows(bad, f"{name} without NaN or infinity")
    return points


def checked_rows(
    rows: Sequence[int] | Tensor | npt.NDArray[Any] | None, name: str, points: Tensor
) -> Tensor:
    """Returns distinct rows of the points, ascending int64, refusing what is none."""
    n, some = len(points), [] if rows is None else rows
    values = some if isinstance(some, Tensor) else torch.from_numpy(np.array(some))
    if values.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=points.device)
    whole = not values.is_floating_point() and values.dtype != torch.bool
    if values.ndim != 1 or not whole or values.min() < 0 or values.max() >= n:
        raise ValueError(
            f"expected {name} to be a list of rows from 0 to {n - 1}, got {values.dtype} of shape "
            f"{tuple(values.shape)} from {values.min().item()} to {values.max().item()}"
        )
    distinct: Tensor = torch.unique(values.long().to(points.device))
    return distinct


def checked_size(size: int, n: int, given: int) -> None:
    """Raises ValueError where there are not so many rows to pick."""
    if not 0 <= size <= n - given:
        raise ValueError(
            f"expected a size from 0 to {n - given} ({n} points, {given} of them given), got {size}"
        )


def check_metric(metric: str, known: tuple[str, ...]) -> None:
    """Raises ValueError where the metric is not among the known ones."""
    if metric not in known:
        raise ValueError(f"expected metric to be one of {', '.join(known)}, got {metric!r}")


def largest_exponent(*sets: Tensor) -> int:
    """Returns e so that the largest absolute value is in [2 ** (e - 1), 2 ** e), or 0."""
    ends = [float(end) for values in sets if values.numel() for end in values.aminmax()]
    return math.frexp(max(map(abs, ends), default=0.0))[1]


def times_two_to(values: Tensor, exponents: Tensor | int) -> Tensor:
    """Returns values * 2 ** exponents, where the power itself may be out of range."""
    whole = torch.as_tensor(exponents, device=values.device)
    half = torch.div(whole, 2, rounding_mode="floor")
    return torch.ldexp(torch.ldexp(values, half), whole - half)


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Keeps float32 matrix products in float32, whatever is set: no TF32, bfloat16 or autocast."""
    homes: tuple[Any, ...] = (torch.backends.cuda, torch.backends.mkldnn)
    backends: list[Any] = [getattr(home, "matmul", None) for home in homes]
    if not all(hasattr(backend, "fp32_precision") for backend in backends):  # torch < 2.9
        backends = []
    before = [backend.fp32_precision for backend in backends]
    legacy = None if backends else torch.get_float32_matmul_precision()
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        if legacy is not None:
            torch.set_float32_matmul_precision("highest")
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
        if legacy is not None:
            torch.set_float32_matmul_precision(legacy)


def _row_exponents(points: Tensor) -> Tensor:
    exponents = torch.zeros(len(points), dtype=torch.int32, device=points.device)
    step = max(1, CHUNK_CPU // points.shape[1])
    for start in range(0, len(points), step):
        largest = points[start : start + step].double().abs().amax(dim=1)
        exponents[start : start + step] = torch.frexp(largest).exponent
    return exponents
