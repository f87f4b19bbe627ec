"""Which points lie within a distance of which: exact, chunk by chunk, for huge and tiny values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import refuse_rows

# Pairs of points in one temporary. 1 MB of float64 stays in a CPU's cache (a shared two-core x86-64
# host, torch 2.15, one thread: 5 ns a pair of 64 values); a GPU must be given more at a time.
_PAIRS_CPU, _PAIRS_GPU = 2**17, 2**21


class Points:
    """Points [n, d] between which distances are asked for, chunk by chunk.

    Attributes:
        count: n.
        device: Where they are.
        scale: A power of two (which rounds nothing) by which all values are multiplied before use,
            so that their squares neither over- nor underflow.

    Raises:
        ValueError: For another shape, NaN or infinite values.
    """

    def __init__(self, points: Tensor) -> None:
        if points.ndim != 2:
            raise ValueError(f"expected embeddings [n, d], got shape {tuple(points.shape)}")
        self._points = points
        self.count, self.width = points.shape
        self.device = points.device
        self._pairs = _PAIRS_GPU if points.is_cuda else _PAIRS_CPU
        self.scale, self.squares_max = 1.0, 0.0
        self._shift = torch.zeros(self.width, dtype=torch.float64, device=self.device)
        self._measure()

    def chunks(self, rows: Tensor, beside: int) -> Iterator[tuple[slice, Tensor]]:
        """Yields (slice of rows, their positions), few enough to be compared with ``beside``."""
        step = max(1, min(self._pairs // max(1, beside), self._pairs // max(1, self.width)))
        for start in range(0, len(rows), step):
            yield slice(start, start + step), rows[start : start + step]

    def tiles(self, left: Tensor, right: Tensor) -> Iterator[tuple[slice, slice, Tile]]:
        """Yields (slice of left, slice of right, what there is between them), all pairs once."""
        most = math.isqrt(8 * self._pairs)  # the larger the left part, the rarer the right is read
        for start in range(0, len(left), most):
            part = slice(start, start + most)
            mine = self._centered(left[part])
            for there, rows in self.chunks(right, len(mine)):
                yield part, there, Tile(self, (left[part], mine), (rows, self._centered(rows)))

    def squared_distances(self, left: Tensor, right: Tensor) -> Tensor:
        """Returns squared distances [m] in float64, scaled, between left[i] and right[i]."""
        # Always as many rows at a time: a GPU sums a row in an order that depends on their number.
        step = max(1, self._pairs // max(1, self.width))
        padding = -len(left) % step
        left, right = (torch.cat([r, r.new_zeros(padding)]) for r in (left, right))
        parts = [
            (self._scaled(a) - self._scaled(b)).square_().sum(dim=1)
            for a, b in zip(torch.split(left, step), torch.split(right, step), strict=True)
        ]
        empty = torch.empty(0, dtype=torch.float64, device=self.device)
        return torch.cat([*parts, empty])[: len(left) - padding]

    def nearest_stranger(self, groups: Tensor) -> Tensor:
        """Returns the distance [n] from each point to the nearest of another group, or infinity."""
        rows = torch.arange(self.count, device=self.device)
        least = torch.full((self.count,), torch.inf, dtype=torch.float64, device=self.device)
        nearest = torch.zeros_like(rows)
        for mine, there, tile in self.tiles(rows, rows):
            squares = tile.squares().masked_fill_(groups[mine, None] == groups[there], torch.inf)
            values, at = squares.min(dim=1)
            closer = values < least[mine]
            least[mine] = torch.where(closer, values, least[mine])
            nearest[mine] = torch.where(closer, at + there.start, nearest[mine])
        exact = self.squared_distances(rows, nearest).sqrt_().div_(self.scale)
        return exact.masked_fill_(least.isinf(), torch.inf)

    def _measure(self) -> None:
        """Checks the values, and finds their scale and their mean."""
        rows = torch.arange(self.count, device=self.device)
        bad = torch.zeros(self.count, dtype=torch.bool, device=self.device)
        largest = 0.0
        for part, _ in self.chunks(rows, 1):
            chunk = self._points[part]
            bad[part] = ~chunk.isfinite().all(dim=1)
            largest = max(largest, chunk.double().abs().amax().item() if chunk.numel() else 0.0)
        refuse_rows(bad, "embeddings without NaN or infinity")
        if largest and not 1e-90 < largest < 1e90:
            self.scale = 2.0 ** min(900, -math.frexp(largest)[1])
        for _, part_rows in self.chunks(rows, 1):
            self._shift += self._scaled(part_rows).sum(dim=0) / self.count
        for _, part_rows in self.chunks(rows, 1):
            squares = self._centered(part_rows).square_().sum(dim=1)
            self.squares_max = max(self.squares_max, squares.max().item())

    def _scaled(self, rows: Tensor) -> Tensor:
        return self._points.index_select(0, rows).double().mul_(self.scale)

    def _centered(self, rows: Tensor) -> Tensor:
        """Returns scaled rows less their mean, which a common offset leaves accurate."""
        return self._scaled(rows).sub_(self._shift)


class Tile:
    """The pairs between a few points on the left and a few on the right."""

    def __init__(
        self, points: Points, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]
    ) -> None:
        self._points = points
        (self._left, a), (self._right, b) = left, right
        self._a2, self._b2 = a.square().sum(dim=1), b.square().sum(dim=1)
        # squared distances less a2: the product's rounding is below `_slack` of the squares
        self._partial = torch.addmm(self._b2.expand(len(a), len(b)), a, b.T, alpha=-2)
        self._slack = 4 * (points.width + 16) * torch.finfo(torch.float64).eps

    def squares(self) -> Tensor:
        """Returns squared distances, scaled, [left, right]; rounding may leave them negative."""
        return self._partial + self._a2[:, None]

    def within(self, limit: float) -> Tensor:
        """Tells which squared distances (direct, scaled) are at most ``limit``, [left, right]."""
        beyond = self._partial - (limit - self._a2)[:, None]
        inside = beyond <= 0
        doubt = self._slack * (self._a2.max() + self._b2.max() + limit)
        unsure = beyond.abs_() <= doubt
        if unsure.any():
            i, j = unsure.nonzero(as_tuple=True)
            kept = beyond[i, j] <= self._slack * (self._a2[i] + self._b2[j] + limit)
            i, j = i[kept], j[kept]
            exact = self._points.squared_distances(self._left[i], self._right[j])
            inside[i, j] = exact <= limit
        return inside


class Balls:
    """Balls of one radius around all points: who lies in whose.

    Args:
        points: The points.
        radius: 0 or more, in the units of the points; a ball holds what is at most as far.

    Raises:
        ValueError: If the radius is negative or NaN.
    """

    def __init__(self, points: Points, radius: float) -> None:
        if not radius >= 0:
            raise ValueError(f"expected a radius of 0 or more, got {radius}")
        self.points = points
        # 8: no squared distance is above 4 times the largest square; 1: where all points are equal
        everything = 8 * points.squares_max + 1
        scaled = float(radius) * points.scale
        self._limit = min(scaled * scaled, everything)

    def inside(self, left: Tensor, right: Tensor) -> Tensor:
        """Tells which of ``right`` lie in the balls around ``left``: [left, right]."""
        marks = torch.empty((len(left), len(right)), dtype=torch.bool, device=left.device)
        for mine, there, tile in self.points.tiles(left, right):
            marks[mine, there] = tile.within(self._limit)
        return marks

    def count(self, left: Tensor, right: Tensor) -> Tensor:
        """Returns how many of ``right`` lie in each ball around ``left``: int64 [left]."""
        counts = torch.zeros(len(left), dtype=torch.int64, device=left.device)
        for mine, _, tile in self.points.tiles(left, right):
            counts[mine] += tile.within(self._limit).sum(dim=1)
        return counts

    def union(self, left: Tensor, right: Tensor) -> Tensor:
        """Tells which of ``right`` lie in some ball around ``left``: [right]."""
        marks = torch.zeros(len(right), dtype=torch.bool, device=left.device)
        for _, there, tile in self.points.tiles(left, right):
            marks[there] |= tile.within(self._limit).any(dim=0)
        return marks


def positions(
    given: Sequence[int] | Tensor | npt.NDArray[Any] | None, count: int, device: torch.device
) -> Tensor:
    """Returns distinct positions, ascending int64, refusing what is none of 0 .. count - 1."""
    given = [] if given is None else given
    values = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if values.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=device)
    whole = not values.is_floating_point() and values.dtype != torch.bool
    if values.ndim != 1 or not whole or values.min() < 0 or values.max() >= count:
        raise ValueError(
            f"expected centers to be a list of positions from 0 to {count - 1}, got "
            f"{values.dtype} of shape {tuple(values.shape)} from {values.min().item()} to "
            f"{values.max().item()}"
        )
    distinct: Tensor = torch.unique(values.long().to(device))
    return distinct
