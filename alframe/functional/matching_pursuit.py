"""Matching pursuit: a few weighted vectors whose sum is that of all."""

from __future__ import annotations

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like
from alframe.functional.similarity import PointSet, exact_products, finite_points, times_two_to
from alframe.functional.winners import exact_argmax

_ROUNDING = 2.0**-24  # relative, of one float32 operation
_STEPS = 100  # Newton steps at most; a handful suffice


def omp_match(
    vectors: ArrayT, size: int, *, target: ArrayT | None = None, ridge: float = 0.5
) -> tuple[ArrayT, ArrayT]:
    """Orthogonal matching pursuit with weights of 0 or more.

    Minimizes abs(sum_j w_j v_j - b) ** 2 + r abs(w) ** 2 over the picked vectors v_j and weights
    w_j >= 0, where b is the target and r = ``ridge`` times the mean squared length of the vectors.
    Each pick is the vector of largest inner product with what is left of b after the best weights
    (of either sign) of the picks before, ties to the lowest row; the weights of 0 or more come
    last, for all picks at once.

    What is left of b is r y with y = (sum_j v_j v_j' + r) ** -1 b, so each pick costs O(d ** 2)
    however many there are before it, and picking goes on beyond d picks. The weights are
    max(0, v_j' y) for the y that minimizes r abs(y) ** 2 + sum_j max(0, v_j' y) ** 2 - 2 b' y.

    Args:
        vectors: [n, d], any real dtype. Numpy in means numpy out; torch in means torch on the same
            device.
        size: How many to pick, in 0 .. n.
        target: b [d]; the sum of all vectors without it.
        ridge: r in units of the mean squared length, above 0; more makes the weights more even.

    Returns:
        The picked rows [size] (int64, distinct, in pick order), and their weights [size] (float64,
        0 or more).

    Raises:
        ValueError: For another shape, NaN or infinite values, a size out of range, or a ridge that
            is not above 0.

    Time O((n d + d ** 2) size), memory O(n d + d ** 2): one float32 copy of the vectors.

    **Source:** K. Killamsetty et al., *GRAD-MATCH: Gradient Matching based Data Subset Selection
    for Efficient Deep Model Training*, 2021, algorithm 2, arXiv:2103.00123; Y. C. Pati, R.
    Rezaiifar & P. S. Krishnaprasad, *Orthogonal matching pursuit*, 1993. **Deviations:** 1. weights
    below 0 are excluded once, at the end, not after each pick. 2. The ridge is relative to the
    vectors' lengths. 3. It does not stop at an error: the size is asked for.
    """
    points = finite_points(vectors, "vectors")
    n, width = points.shape
    if not 0 <= size <= n:
        raise ValueError(f"expected a size from 0 to {n}, got {size}")
    if not ridge > 0:
        raise ValueError(f"expected a ridge above 0, got {ridge}")
    if size == 0:
        return like(torch.empty(0, dtype=torch.int64), vectors), like(
            torch.empty(0, dtype=torch.float64), vectors
        )
    space = PointSet(points, "dot")
    if target is None:
        goal = sum(
            (space.values(rows).sum(0) for rows in space.slices()), points.new_zeros(1).double()
        )
    else:
        goal = times_two_to(as_tensor(target).double().to(points.device), -space.exponent)
        if goal.shape != (width,) or not bool(goal.isfinite().all()):
            raise ValueError(f"expected a finite target [{width}], got shape {tuple(goal.shape)}")
    strength = ridge * float(space.lengths.square().mean()) if n else 1.0
    with exact_products(points.device):
        rows = _pursue(space, goal, size, strength or 1.0)
    weights = _weights(space.values(rows), goal, strength or 1.0)
    return like(rows, vectors), like(weights, vectors)


def _pursue(space: PointSet, goal: Tensor, size: int, strength: float) -> Tensor:
    """Returns the picks [size]; ``inverse`` is (sum of outer products + strength) ** -1."""
    width = len(goal)
    inverse = torch.eye(width, dtype=torch.float64, device=space.device) / strength
    rows = torch.empty(size, dtype=torch.int64, device=space.device)
    for i in range(size):
        left = strength * (inverse @ goal)
        levels = (space.single[:, :width] @ left.float()).double()
        levels[rows[:i]] = -torch.inf
        errors = (2 * width + 32) * _ROUNDING * space.lengths * left.norm()
        rows[i] = exact_argmax(levels, errors, lambda near: (space.values(near) * left).sum(1))  # noqa: B023
        vector = space.values(rows[i : i + 1])[0]
        turned = inverse @ vector
        inverse -= torch.outer(turned, turned) / (1 + vector @ turned)
    return rows


def _weights(vectors: Tensor, goal: Tensor, strength: float) -> Tensor:
    """Returns the weights [k] of vectors [k, d] by Newton's method on the dual, [d]."""

    def dual(y: Tensor) -> Tensor:
        return strength * (y @ y) + (vectors @ y).clamp_min(0).square().sum() - 2 * (goal @ y)

    y = torch.zeros_like(goal)
    eye = strength * torch.eye(len(goal), dtype=goal.dtype, device=goal.device)
    for _ in range(_STEPS):
        active = vectors[vectors @ y > 0] if bool(y.any()) else vectors
        step = torch.linalg.solve(active.T @ active + eye, goal) - y
        value, share = dual(y), 1.0
        while float(dual(y + share * step)) > float(value) and share > 1e-10:
            share /= 2
        y = y + share * step
        if float(step.abs().amax()) <= 1e-13 * float(y.abs().amax()) or share <= 1e-10:
            break
    return (vectors @ y).clamp_min(0)
