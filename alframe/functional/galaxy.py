"""GALAXY: bisection between differently labeled points on one line of points for each class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_numpy, as_tensor, like, refuse_rows

Ints = npt.NDArray[Any]
_NEVER = np.iinfo(np.int64).max // 4  # farther than any place


def galaxy_bisect(probs: ArrayT, known: Tensor | Ints, labels: Tensor | Ints, size: int) -> ArrayT:
    """Picks points halfway between points of different labels, class by class in turn.

    For each class k all points stand on a line, sorted by their margin p_k - max p, ties by max p
    and then by position. A known point is + where its label is k, else -. In each turn the next
    class picks on its line:

    - the middle of the shortest gap between a known + and a known - that are neighbors among the
      known. Picks split it, but as their labels come only after the query the cut may be in any of
      its parts: of all parts, the middle of the one that is the largest share of its gap, and of
      equal shares the shortest.
    - Where no such gap is open: the point that is closest to a + and a -, by the larger of its
      distances along the line. Such points lie on both sides of the cuts that are found.
    - Where no + is known: the likeliest point of the class. Where no - is known: the least likely.

    Args:
        probs: Class probabilities [n, classes].
        known: Distinct positions of points that are labeled [m]; they are never picked. The turns
            begin with class m modulo the number of classes.
        labels: Their labels [m], as class numbers.
        size: How many points to pick, in 0 .. n - m.

    Returns:
        Positions [size], int64, in pick order, distinct. Time O(c n log n) to sort and O(m + size)
        a pick (c classes); memory 8 n c bytes, and 9 bytes for each class and known or picked
        point.

    Raises:
        ValueError: For another shape, NaN or infinite values, or a size out of range.

    **Source:** J. Zhang, J. Katz-Samuels & R. Nowak, *GALAXY: Graph-based Active Learning at the
    Extreme*, ICML 2022, arXiv:2202.01402; G. Dasarathy, R. Nowak & X. Zhu, *S2: An Efficient Graph
    Based Active Learning Algorithm with Application to Nonparametric Classification*, COLT 2015,
    arXiv:1506.08760. **Deviations:** 1. a label is asked for only after the last pick, where theirs
    come one by one; a query is therefore a search by equal parts and not a binary search. With
    ``size=1`` there is no difference. 2. The middle of the shortest path that joins a + and a - is
    found from the known points, without a graph. Their graph joins points up to ``order`` places
    apart, and the order grows by 1 where no path is left; here the smallest order that has a path
    is taken at every pick, which is the second rule above. 3. Where they pick at random, because no
    + or no - is known, the third rule.
    """
    values, known, labels = as_tensor(probs), as_numpy(known), as_numpy(labels)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"expected probabilities [n, classes], got shape {tuple(values.shape)}")
    if known.shape != labels.shape:
        raise ValueError(f"expected a label for each of {len(known)} points, got {labels.shape}")
    refuse_rows(~values.isfinite().all(dim=1), "probabilities without NaN or infinity")
    if not 0 <= size <= len(values) - len(known):
        raise ValueError(
            f"expected a size from 0 to {len(values) - len(known)} ({len(values)} points, "
            f"{len(known)} of them known), got {size}"
        )
    lines = [_Line(order, known, labels == k) for k, order in enumerate(_orders(values))]
    picks = np.zeros(size, dtype=np.int64)
    for turn in range(size):
        picks[turn] = lines[(len(known) + turn) % len(lines)].pick(picks[:turn])
    return like(torch.from_numpy(picks), probs)


def _orders(probs: Tensor) -> Iterator[Ints]:
    """Yields for each class the points from the least likely to the likeliest."""
    top = probs.amax(dim=1).double()
    by_top = top.argsort(stable=True)
    for column in probs.unbind(dim=1):
        margin = column.double() - top
        yield by_top[margin[by_top].argsort(stable=True)].int().cpu().numpy()


class _Line:
    """All points in the order of one class, and the taken ones: known or picked.

    Attributes:
        order: The point at each place.
        place: The place of each point.
        taken: Places, ascending, between -1 and n as the ends of the line.
        sign: Of each taken place: 1 = of the class, -1 = of another, 0 = picked, or an end.
    """

    def __init__(self, order: Ints, known: Ints, signs: npt.NDArray[np.bool_]) -> None:
        self.order = order
        self.place = np.empty_like(order)
        self.place[order] = np.arange(len(order), dtype=order.dtype)
        by_place = np.argsort(self.place[known])
        self.taken = np.concatenate([[-1], self.place[known[by_place]], [len(order)]])
        self.sign = np.concatenate([[0], np.where(signs[by_place], 1, -1), [0]]).astype(np.int8)
        self.told = 0  # of the picks so far

    def pick(self, picks: Ints) -> int:
        """Returns the next point, given all picks so far, in order of time."""
        places = np.sort(self.place[picks[self.told :]])
        at = np.searchsorted(self.taken, places)
        self.told = len(picks)
        self.taken = np.insert(self.taken, at, places)
        self.sign = np.insert(self.sign, at, 0)
        return int(self.order[self._choose()])

    def _choose(self) -> int:
        left, right = self.taken[:-1], self.taken[1:]
        is_open = right - left > 1
        if not (self.sign > 0).any():
            return int(right[is_open][-1]) - 1
        if not (self.sign < 0).any():
            return int(left[is_open][0]) + 1
        plus, minus = self._nearest(1), self._nearest(-1)
        below, above = np.maximum(plus[0], minus[0]), np.minimum(plus[1], minus[1])
        differ = (plus[0] > minus[0]) != (plus[1] < minus[1])
        cut = is_open & differ & (below >= 0) & (above < _NEVER)
        if cut.any():
            share = np.where(cut, (right - left) / (above - below), -1.0)
            width = np.where(share == share.max(), right - left, _NEVER)
            gap = int(width.argmin())
            return int(left[gap] + right[gap]) // 2
        # A gap between equal signs: the other sign is nearest to one of its ends.
        below, above = np.minimum(plus[0], minus[0]), np.maximum(plus[1], minus[1])
        far = np.stack([left + 1 - below, above - (right - 1)])
        far[:, ~is_open] = _NEVER
        gap = int(far.min(axis=0).argmin())
        return int(left[gap] + 1 if far[0, gap] <= far[1, gap] else right[gap] - 1)

    def _nearest(self, sign: int) -> tuple[Ints, Ints]:
        """Returns for each gap the nearest known place of a sign, below it and above it."""
        here = self.sign == sign
        below = np.maximum.accumulate(np.where(here, self.taken, -_NEVER))
        above = np.minimum.accumulate(np.where(here, self.taken, _NEVER)[::-1])[::-1]
        return below[:-1], above[1:]
