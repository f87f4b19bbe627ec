"""Float32 stand-ins for similarities, from one matrix product, with a bound on their error.

The *worth* of a pair, higher = nearer, is

- euclidean: 2 p.y - |y|^2, which is |p|^2 minus the squared distance, around a common center;
- cosine, dot: p.y for a query p scaled to length 1; under cosine, y is scaled as well.

Its *level* is at least the worth, less ``error`` of the query, and at most 2 ``slack`` of the row
and ``error`` of the query above it. So pairs that rounding cannot rule out are found by levels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from alframe.errors import UserError
from alframe.neighbors.scan import Scan, unit_rows

_ROUNDING = 2.0**-24  # relative, of one float32 operation
_UNDERFLOW = 2.0**-110  # more than what one product of float32 vectors can lose to underflow
_FAR = 2.0**50  # queries may be larger than all rows by this factor


class Levels:
    """The factors of levels, for one metric and one source.

    Args:
        metric: euclidean, cosine or dot.
        scan: Of the source.
        device: Where products are computed.
    """

    def __init__(self, metric: str, scan: Scan, device: torch.device) -> None:
        self.metric, self.device = metric, device
        exponent = math.frexp(scan.largest)[1]
        # Squares must not over- or underflow; a power of two rounds nothing.
        self._factor = 1.0 if metric == "cosine" or abs(exponent) < 30 else 2.0**-exponent
        self._largest = scan.largest
        self._center = scan.mean.float().to(device)
        # d + 2 products, of together at most twice the squared lengths, and what was rounded before
        self._error = (2 * len(scan.mean) + 32) * _ROUNDING
        self.invalid = torch.from_numpy(scan.invalid).to(device)

    def left(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the factor [m, d + 1] of queries [m, d], float32, and their errors [m].

        Raises:
            UserError: For queries so far away that float32 cannot tell rows apart.
        """
        ones = queries.new_ones(len(queries), 1)
        if self.metric != "euclidean":
            error = torch.full_like(ones[:, 0], _UNDERFLOW)
            return torch.cat([unit_rows(queries), ones], dim=1), error
        if queries.numel() and float(queries.abs().max()) > _FAR * max(self._largest, 1e-30):
            raise UserError(
                f"expected queries of values up to {_FAR:.0e} times the largest of the index, "
                f"{self._largest:g}, got {float(queries.abs().max()):g}; embed both alike"
            )
        p = self._scaled(queries) - self._center * self._factor
        error = self._error * p.square().sum(dim=1) + _UNDERFLOW
        return torch.cat([2 * p, ones], dim=1), error

    def right(self, points: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Returns the factor [n, d + 1] of points [n, d] and their slacks [n], both float32.

        Args:
            points: Rows first, first + 1, ... of the source, float32.
            first: The first row.
        """
        bad = self.invalid[(self.invalid >= first) & (self.invalid < first + len(points))] - first
        if len(bad):
            points = points.index_fill(0, bad, 0)
        right = points.new_empty(len(points), points.shape[1] + 1)
        y = right[:, :-1]
        if self.metric == "cosine":
            y.copy_(unit_rows(points))
        elif self.metric == "dot":
            y.copy_(self._scaled(points))
        else:
            torch.sub(self._scaled(points), self._center * self._factor, out=y)
        if self.metric == "cosine":
            slack, right[:, -1] = torch.full_like(y[:, 0], self._error), self._error
        elif self.metric == "dot":
            slack = self._error * torch.linalg.vector_norm(y, dim=1) + _UNDERFLOW
            right[:, -1] = slack
        else:
            squares = torch.linalg.vector_norm(y, dim=1).square_()
            slack = self._error * squares + _UNDERFLOW
            right[:, -1] = slack - squares
        right[bad, -1] = -torch.inf
        return right, slack

    def _scaled(self, points: Tensor) -> Tensor:
        return points if self._factor == 1.0 else points * self._factor
