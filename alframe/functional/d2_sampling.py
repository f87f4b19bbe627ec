"""Sampling proportional to the squared distance to the nearest pick, which k-means++ and BADGE do.

A draw is a race: row i arrives after the time E_i / (weight_i * distance_i ** 2) with E_i ~ Exp(1),
fresh for each draw, and the first to arrive is picked. That is row i with the probability that it
has to have, and in contrast to an inverse cumulative sum it takes no sum over all rows. So upper
bounds of the distances suffice for all rows but those that lead the race, and picks may wait until
many of them are applied to all rows in one matrix product. The rows are those that the plain
algorithm draws, with one pass over all rows for each pick; and rounding changes a pick only where
it changes which of two rows arrives first.

**Source:** D. Arthur & S. Vassilvitskii, *k-means++: The Advantages of Careful Seeding*, 2007,
section 2.2; for the race, P. S. Efraimidis & P. G. Spirakis, *Weighted random sampling with a
reservoir*, 2006.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alframe.functional.gradients import OuterProducts

_WAITING = 128  # picks that wait at most: the more, the fewer passes, the looser the bounds
_CHECKS = 256  # comparisons of one row with the picks that wait, before they are applied to all


def sample_d2(
    vectors: OuterProducts,
    picked: Tensor,
    size: int,
    rng: np.random.Generator,
    weights: Tensor | None = None,
) -> Tensor:
    """Draws vectors one by one, each in proportion to its weight times its squared distance.

    The distance is that to the nearest vector picked before. Where all these products are 0, the
    rest is drawn uniformly from all that are not picked.

    Args:
        vectors: n vectors, the squares of whose norms are far from over- and underflow.
        picked: Positions picked before, at least one.
        size: How many to draw, at most as many as are not picked.
        rng: Draws n exponential numbers for each pick.
        weights: [n], float64, at least 0; all 1 without them.

    Returns:
        Distinct positions [size], int64, in the order of picking.
    """
    weights = torch.ones_like(vectors.squared_norms) if weights is None else weights
    near = _Nearest(vectors, picked)
    rows: list[int] = []
    while len(rows) < size:
        row = _draw(near, weights, rng)
        if row is None:
            free = np.setdiff1d(np.arange(len(vectors)), [*picked.tolist(), *rows])
            rows += rng.permutation(free)[: size - len(rows)].tolist()
        else:
            rows.append(row)
            near.add(row)
    return torch.tensor(rows, dtype=torch.int64, device=picked.device)


def race(weights: Tensor, rng: np.random.Generator) -> Tensor:
    """Returns n scores, float64: the highest is that of row i in proportion to its weight.

    Args:
        weights: [n], float64, at least 0. Where it is 0, so is the score.
        rng: Draws n exponential numbers.
    """
    return weights / _noise(weights, rng)


def _noise(example: Tensor, rng: np.random.Generator) -> Tensor:
    noise = rng.standard_exponential(len(example))
    np.maximum(noise, np.finfo(np.float64).tiny, out=noise)  # 0 / 0 would win every race
    return torch.from_numpy(noise).to(example.device)


def _draw(near: _Nearest, weights: Tensor, rng: np.random.Generator) -> int | None:
    """Returns the winner of one race, or None where all rows have score 0."""
    noise = _noise(weights, rng)
    scores = near.bounds * weights / noise
    checked: set[int] = set()
    while True:
        row = int(scores.argmax())  # the first of equals
        if row in checked or not len(near.waiting):
            return row if scores[row] > 0 else None
        if near.checks < _CHECKS:
            near.check(row)
            checked.add(row)
            scores[row] = near.bounds[row] * weights[row] / noise[row]
        else:
            near.apply()
            torch.mul(near.bounds, weights, out=scores).div_(noise)


class _Nearest:
    """Squared distances to the nearest pick: upper bounds, which picks that wait may lower.

    Args:
        vectors: n vectors.
        picked: Positions of the first picks.
    """

    def __init__(self, vectors: OuterProducts, picked: Tensor) -> None:
        self.vectors = vectors
        self.bounds = torch.full_like(vectors.squared_norms, torch.inf)
        for rows in torch.split(picked, _WAITING):
            self._wait(rows)
            self.apply()

    def add(self, row: int) -> None:
        """Adds a pick."""
        self._wait(torch.cat([self.rows, self.rows.new_tensor([row])]))
        if len(self.rows) == _WAITING:
            self.apply()

    def check(self, row: int) -> None:
        """Makes the bound of one row its distance itself."""
        self.checks += 1
        self._lower(slice(row, row + 1), self.vectors.take(slice(row, row + 1)))

    def apply(self) -> None:
        """Makes the bounds of all rows the distances themselves: no pick waits any more."""
        for rows, part in self.vectors.parts(len(self.rows)):
            self._lower(rows, part)
        self._wait(self.rows[:0])

    def _wait(self, rows: Tensor) -> None:
        self.rows, self.waiting = rows, self.vectors.take(rows)
        self.bounds[rows] = 0  # rounding must not let them be picked again
        if not len(rows):
            self.checks = 0

    def _lower(self, rows: slice, part: OuterProducts) -> None:
        squares = part.squared_distances(self.waiting).amin(dim=1)
        torch.minimum(self.bounds[rows], squares, out=self.bounds[rows])
