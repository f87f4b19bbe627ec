"""Lower bounds of squared distances, by one matrix product, that no rounding pushes too high."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.passes import on_host

_TINY = 2.0**-110  # far above what underflow can lose in float32 at values around 1
_LEFT = 1e-4  # share of the points' variance that may be left out of the products
_FEATURES = 32  # below which all of them are used
_NARROW = (torch.float32, torch.float16, torch.bfloat16)


class Filtered(NamedTuple):
    """Points as the filter sees them.

    Attributes:
        values: [m, p], relative to the mean, along the filter's axes.
        base: Squared norms of the values, less the slack [m].
        slack: What roundings may add to, or take from, a squared distance on this side [m].
        reach: Upper bounds of the norms of what the axes leave out [m].
    """

    values: Tensor
    base: Tensor
    slack: Tensor
    reach: Tensor


class Filter:
    """Rules out pairs of points and centers that are certainly not near.

    Args:
        origin: Mean of the points [d], times ``scale``, float64.
        scale: Power of two by which values are multiplied; exact distances are, too.
        spread: Largest difference of two values of one feature, times ``scale``.
        dtypes: Of points and centers.
    """

    def __init__(
        self, origin: Tensor, scale: float, spread: float, dtypes: set[torch.dtype]
    ) -> None:
        self._mean, self._scale = origin, scale
        self._plain = dtypes <= set(_NARROW) and scale == 1 and 1e-10 < spread < 1e10
        self._zoom = 1.0 if self._plain or not spread else 2.0 ** min(500, -math.frexp(spread)[1])
        self._tiny = _TINY * (1 + len(origin)) * max(1.0, spread * self._zoom) ** 2
        self._use(torch.float32 if len(origin) < 2**16 else torch.float64, None)

    def see(self, points: Tensor) -> Filtered:
        """Returns points [m, d] as the filter sees them."""
        if self._plain and self._dtype == torch.float32:
            values = points - self._origin
        else:
            values = self._centered(points).to(self._dtype)
        squares = torch.linalg.vecdot(values, values).double()
        slack = squares * self._error
        if self._axes is None:
            return Filtered(values, squares - slack, slack, torch.zeros_like(slack))
        values = values @ self._axes
        kept = torch.linalg.vecdot(values, values).double()
        return Filtered(values, kept - slack, slack, (squares - kept + slack).clamp_min(0).sqrt())

    def learn(self, sample: Tensor) -> None:
        """Leaves out directions in which some points [m, d] hardly differ.

        Distances along the others are lower bounds. This pays where few directions matter.
        """
        d = sample.shape[1]
        if d < _FEATURES or self._dtype != torch.float32:
            return
        values = self._centered(sample).cpu()
        spreads, axes = torch.linalg.eigh(values.T @ values)  # ascending
        left = spreads.clamp_min(0).cumsum(0)
        width = max(1, d - int((left <= _LEFT * left[-1]).sum()))
        if 2 * width <= d:
            self._use(self._dtype, axes[:, d - width :].to(self._mean.device, self._dtype))

    def refine(self) -> None:
        """Uses all directions again, or where that was so, float64."""
        self._use(torch.float32 if self._axes is not None else torch.float64, None)

    def near_pairs(self, nearest: Tensor, x: Filtered, c: Filtered, *, closest: bool) -> Tensor:
        """Returns pairs, as i * k + j, among them all whose distance is below nearest.

        Args:
            nearest: [m], squared distances of scaled points, float64.
            x: Points [m].
            c: Centers [k].
            closest: Leave out pairs that another center is certain to undercut.
        """
        # lower bounds of squared distances, less the points' base
        bound = torch.addmm(c.base.to(self._dtype), x.values, c.values.T, alpha=-2)
        lowest = bound.amin(dim=1)
        limit = nearest.mul((1 + self._error) * self._zoom**2).sub_(x.base).add_(self._tiny)
        if closest:
            above = (x.reach + c.reach.amax()).square_().add_(lowest)
            above.add_(x.slack + c.slack.amax(), alpha=5)
            limit = torch.minimum(limit, above)
        limit = limit.to(self._dtype)
        some = (lowest <= limit).nonzero()[:, 0]
        if 4 * len(some) > len(limit):
            return _at_most(bound, limit)
        pairs = _at_most(bound.index_select(0, some), limit.index_select(0, some))
        i = pairs // len(c.base)
        return pairs + (some.index_select(0, i) - i) * len(c.base)

    def _centered(self, points: Tensor) -> Tensor:
        values = points.double() * self._scale  # not in place: these may be the caller's
        return values.sub_(self._mean).mul_(self._zoom)

    def _use(self, dtype: torch.dtype, axes: Tensor | None) -> None:
        """Sets precision and axes, and the error bound that goes with them.

        With u the unit roundoff, and x and c a point and a center around the mean, all roundings
        together (of the points, their coordinates along the axes, the norms, the product, the limit
        it is compared with, and the exact distance itself) move a squared distance by at most error
        * (|x|^2 + |c|^2). It rests on the bound of any dot product's error, of length d and in any
        order, d * u / (1 - d * u) times that of the absolute values: N. J. Higham, *Accuracy and
        Stability of Numerical Algorithms*, 2nd edition, 2002, section 3.1.
        """
        d = len(self._mean)
        unit, unit64 = (torch.finfo(t).eps / 2 for t in (dtype, torch.float64))
        self._dtype, self._axes = dtype, axes
        width = d if axes is None else axes.shape[1]
        turns = 0.0 if axes is None else 4.3 * math.sqrt(width) * (d + 4)
        self._error = 1.01 * ((3 * width + 32 + turns) * unit + (2 * d + 32) * unit64)
        self._origin = self._mean.float() if self._plain else self._mean


def _at_most(values: Tensor, limits: Tensor) -> Tensor:
    """Returns where, in row-major order, values [m, k] are at most the limit of their row [m]."""
    if on_host(values):  # several times faster than torch there
        found: npt.NDArray[np.int64] = np.flatnonzero(values.numpy() <= limits.numpy()[:, None])
        return torch.from_numpy(found)
    return (values <= limits[:, None]).flatten().nonzero()[:, 0]
