"""Fisher information of the last layer: which rows would settle the weights that matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, like
from alframe.functional.gradients import residuals
from alframe.functional.similarity import (
    checked_rows,
    finite_points,
    largest_exponent,
    times_two_to,
)

_CHUNK = 2**18  # values in one float64 temporary: 2 MB


def bait_greedy(
    probs: ArrayT,
    embeddings: ArrayT,
    size: int,
    *,
    given: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
    ridge: float = 1.0,
    oversample: float = 2.0,
) -> ArrayT:
    """Picks rows that minimize tr(M ** -1 F), of the information M of the picks and F of all rows.

    The information of a row with probabilities p and embedding h in the weights of a linear last
    layer is (diag(p) - p p') times the outer product of h with itself. Its blocks on the diagonal,
    one for each class c, are p_c (1 - p_c) h h', and only these are used. M = r + the sum over
    given and picked rows, F = the mean over all rows. Forward: add the row that lowers the trace
    most, ties to the lowest row, until there are ``oversample`` times as many as asked for.
    Backward: take away the row that raises it least, ties to the lowest row.

    Args:
        probs: Class probabilities [n, classes].
        embeddings: Inputs of the last layer [n, d], any real dtype, on the same device.
        size: How many rows to pick, in 0 .. n - distinct given rows.
        given: Rows in 0 .. n - 1 that are labeled already; they are never picked.
        ridge: r in units of the mean diagonal of F's blocks, above 0.
        oversample: How many rows go forward for each that is asked for, 1 or more.

    Returns:
        The picked rows [size] (int64, distinct, in the order of the forward pass).

    Raises:
        ValueError: For another shape, NaN or infinite values, probabilities outside [0, 1], a size
            out of range, or given rows that are not rows.

    Time O(n d classes) for each forward pick; memory O(n classes + classes d ** 2).

    **Source:** J. T. Ash, S. Goel, A. Krishnamurthy & S. Kakade, *Gone Fishing: Neural Active
    Learning with Fisher Embeddings*, 2021, equation 4 and algorithm 1, arXiv:2106.09675.
    **Deviations:** 1. blocks of different classes are dropped, without which M has (classes d) ** 2
    entries and each pick costs that many operations for each row. 2. Given rows count in M as
    picks do, not as their mean. 3. The ridge is relative to the information.
    """
    points = finite_points(embeddings)
    blocks = _Blocks(residuals(probs), points, ridge)
    known = checked_rows(given, "given", points)
    free = len(points) - len(known)
    if not 0 <= size <= free:
        raise ValueError(f"expected a size from 0 to {free}, got {size}")
    if not oversample >= 1:
        raise ValueError(f"expected oversample to be 1 or more, got {oversample}")
    for row in known.tolist():
        blocks.move(row, 1)
    open_rows = torch.ones(len(points), dtype=torch.bool, device=points.device)
    open_rows[known] = False
    picks: list[int] = []
    for _ in range(min(free, round(oversample * size)) if size else 0):
        gains = torch.where(open_rows, blocks.gains(), -torch.inf)
        picks.append(int(gains.argmax()))  # the first of equals
        open_rows[picks[-1]] = False
        blocks.move(picks[-1], 1)
    rows = torch.tensor(picks, dtype=torch.int64, device=points.device)
    return like(_backward(blocks, rows, size), probs)


def _backward(blocks: _Blocks, rows: Tensor, size: int) -> Tensor:
    """Returns the ``size`` rows that are left when those that matter least are taken away."""
    part = blocks.part(rows)
    kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    order = rows.argsort()  # so that ties go to the lowest row
    for _ in range(len(rows) - size):
        losses = torch.where(kept, part.losses(), torch.inf)
        worst = int(order[losses[order].argmin()])
        kept[worst] = False
        part.move(worst, -1)
    return rows[kept]


class _Blocks:
    """One block of the information for each class, and what each row would change.

    ``near[i, c]`` is h_i' M_c ** -1 h_i, ``worth[i, c]`` is h_i' M_c ** -1 F_c M_c ** -1 h_i.
    """

    def __init__(self, errors: Any, points: Tensor, ridge: float) -> None:
        if len(errors) != len(points):
            raise ValueError(f"expected {len(points)} rows of probabilities, got {len(errors)}")
        if not ridge > 0:
            raise ValueError(f"expected a ridge above 0, got {ridge}")
        self._points, self._exponent = points, largest_exponent(points)
        errors = torch.as_tensor(errors, device=points.device).double()
        # p (1 - p), from p - 1 for the likeliest class and p for the others
        self.weights = (errors.abs() * (1 - errors.abs())).clamp_min_(0)
        width, count = points.shape[1], errors.shape[1]
        information = torch.zeros(count, width, width, dtype=torch.float64, device=points.device)
        for rows in self._chunks():
            values = self._values(rows)
            weighted = values[:, None] * self.weights[rows][:, :, None]
            information += torch.einsum("ncd,ne->cde", weighted, values) / max(1, len(points))
        strength = float(information.diagonal(dim1=1, dim2=2).mean()) * ridge or 1.0
        self._inverse = torch.eye(width, dtype=torch.float64, device=points.device) / strength
        self._inverse = self._inverse.repeat(count, 1, 1)
        self._worth = information / strength**2
        self.near, self.worth = torch.empty_like(self.weights), torch.empty_like(self.weights)
        for rows in self._chunks():
            values = self._values(rows)
            self.near[rows] = (values.square().sum(1) / strength)[:, None]
            self.worth[rows] = torch.einsum("nd,cde,ne->nc", values, self._worth, values)

    def part(self, rows: Tensor) -> _Blocks:
        """Returns the same blocks with only some rows."""
        some = object.__new__(_Blocks)
        some._points, some._exponent = self._points[rows], self._exponent
        some.weights, some.near, some.worth = self.weights[rows], self.near[rows], self.worth[rows]
        some._inverse, some._worth = self._inverse, self._worth
        return some

    def gains(self) -> Tensor:
        """Returns how much adding each row would lower the trace [n]."""
        gains: Tensor = self.weights * self.worth / (1 + self.weights * self.near)
        return gains.sum(1)

    def losses(self) -> Tensor:
        """Returns how much taking each row away would raise the trace [n]."""
        left = (1 - self.weights * self.near).clamp_min(1e-12)
        losses: Tensor = self.weights * self.worth / left
        return losses.sum(1)

    def move(self, row: int, sign: int) -> None:
        """Adds a row to M, or takes it away: updates of rank one."""
        values = self._values(slice(row, row + 1))[0]
        weights = sign * self.weights[row]
        turned, aside = self._inverse @ values, self._worth @ values  # [classes, d]
        factors = weights / (1 + weights * (turned @ values)).clamp_min(1e-12)
        worth = aside @ values
        for rows in self._chunks():
            points = self._values(rows)
            one, two = points @ turned.T, points @ aside.T
            self.near[rows] -= factors * one.square()
            self.worth[rows] += factors * one * (factors * worth * one - 2 * two)
        outer = turned[:, :, None] * turned[:, None, :]
        mixed = turned[:, :, None] * aside[:, None, :]
        self._worth = (
            self._worth
            - factors[:, None, None] * (mixed + mixed.mT)
            + (factors.square() * worth)[:, None, None] * outer
        )
        self._inverse = self._inverse - factors[:, None, None] * outer

    def _values(self, rows: slice) -> Tensor:
        """Returns embeddings in float64, multiplied by a power of two that keeps them near 1."""
        values = self._points[rows].double()
        if abs(self._exponent) > 300:  # the power itself may be out of range
            return times_two_to(values, -self._exponent)
        return values * 2.0**-self._exponent  # not in place: it may be the input

    def _chunks(self) -> Iterator[slice]:
        step = max(1, _CHUNK // (self._points.shape[1] * self.weights.shape[1]))
        for start in range(0, len(self.weights), step):
            yield slice(start, min(start + step, len(self.weights)))
