"""k-means: seeding by k-means++, Lloyd's iterations, and the rows nearest to the centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows
from alframe.functional.d2_sampling import race, sample_d2
from alframe.functional.gradients import OuterProducts, finite_rows, largest_value, safe_scale

_SCORES = 2**21  # squared distances of some centroids to all points, kept at once: 16 MB
_PAIRS = 2**12  # points that are compared with one centroid at once, from direct differences
_NEAR = 1 + 2.0**-18  # squared distances that rounding may have put in the wrong order


def kmeans_pp(
    points: ArrayT,
    size: int,
    rng: np.random.Generator,
    weights: ArrayT | None = None,
) -> ArrayT:
    """Draws points one by one, each in proportion to its squared distance to the nearest drawn one.

    The first is drawn uniformly (in proportion to its weight). Points equal to drawn ones, and
    those of weight 0, are drawn only when no others are left, then uniformly.

    Args:
        points: [n, d], any real dtype.
        size: How many points to draw, in 0 .. n.
        rng: Draws n exponential numbers for each point.
        weights: [n], at least 0: what each point's probability is multiplied by.

    Returns:
        The drawn positions [size] (int64, distinct, in the order of drawing).

    Raises:
        ValueError: For another shape, NaN or infinite values, a size out of range or negative
            weights.

    Time is O(n d size), almost all of it in matrix products; memory beyond the points is O(n).

    **Source:** D. Arthur & S. Vassilvitskii, *k-means++: The Advantages of Careful Seeding*, 2007,
    section 2.2. **Deviations:** drawn positions are distinct also where points are equal.
    """
    given = finite_rows(points, "points")
    _check_size(size, 0, len(given))
    if size == 0:
        return like(torch.empty(0, dtype=torch.int64, device=given.device), points)
    shares = _shares(weights, len(given), given.device)
    first = race(shares, rng).argmax().reshape(1)
    rest = sample_d2(_centered(given), first, size - 1, rng, shares)
    return like(torch.cat([first, rest]), points)


def kmeans(
    points: ArrayT,
    k: int,
    rng: np.random.Generator,
    iterations: int = 25,
    init: ArrayT | None = None,
) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Clusters points around k centroids: k-means++ (`kmeans_pp`), then Lloyd's iterations.

    An iteration moves each centroid to the mean of the points nearest to it, ties to the lowest
    cluster; the last one is that which changes no assignment. A cluster without points gets the
    point that is farthest from its centroid, ties to the lowest position, unless that would empty
    another one or no point is away from its centroid; then it stays where it is.

    Args:
        points: [n, d], any real dtype.
        k: How many clusters, in 1 .. n.
        rng: Used for the seeding only.
        iterations: How many at most.
        init: Centroids [k, d] to start from instead of drawn ones.

    Returns:
        The centroids [k, d] (float64), the nearest centroid of each point [n] (int64), and the
        distance to it [n] (Euclidean, float64).

    Raises:
        ValueError: For another shape, NaN or infinite values, or k out of range.

    Time is O(iterations n k d), almost all of it in matrix products, in float64; memory beyond the
    points is O(n + k d). A point goes to another than its nearest centroid only where their squared
    distances differ by less than rounding, 1e-12 of the squared norms about the mean. On a GPU,
    sums keep their order, and so a seed its clusters, in torch's deterministic mode only.

    **Source:** S. P. Lloyd, *Least squares quantization in PCM*, 1982; D. Arthur & S.
    Vassilvitskii, 2007. **Deviations:** none; the iterations have a low limit by default.
    """
    given = finite_rows(points, "points")
    _check_size(k, 1, len(given))
    data = _centered(given)
    centroids = _place(_start(given, k, rng, init), data)
    assignment = _assign(data, centroids)
    for _ in range(iterations):
        _fill_empty(data, centroids, assignment)
        centroids = _means(data, centroids, assignment)
        before, assignment = assignment, _assign(data, centroids)
        if torch.equal(before, assignment):
            break
    distances = _squares(data, centroids, assignment).sqrt_() / data.scale
    found = (centroids + data.origin) / data.scale
    return like(found, points), like(assignment, points), like(distances, points)


def nearest_to_centroids(points: ArrayT, centroids: ArrayT) -> ArrayT:
    """Takes, centroid by centroid, the nearest point that is not taken yet.

    Args:
        points: [n, d], any real dtype.
        centroids: [k, d], at most as many as points, on the same device.

    Returns:
        For each centroid a position [k] (int64, distinct), ties to the lowest.

    Raises:
        ValueError: For another shape, NaN or infinite values, or more centroids than points.

    Time is O(n k d); memory beyond the inputs is O(n + k d).
    """
    given, targets = finite_rows(points, "points"), finite_rows(centroids, "centroids")
    if given.shape[1] != targets.shape[1]:
        raise ValueError(
            f"expected centroids of {given.shape[1]} values, got shape {tuple(targets.shape)}"
        )
    _check_size(len(targets), 0, len(given))
    data = _centered(given)
    goals = _place(targets, data)
    taken = torch.empty(0, dtype=torch.int64, device=given.device)
    for block in torch.split(goals, max(1, _SCORES // max(1, len(given)))):
        squares = _all_squares(data, block)
        squares[:, taken] = torch.inf
        for i, goal in enumerate(block):
            row = _nearest(data, goal, squares[i]).reshape(1)
            squares[:, row] = torch.inf
            taken = torch.cat([taken, row])
    return like(taken, points)


def _check_size(size: int, least: int, n: int) -> None:
    if not least <= size <= n:
        raise ValueError(f"expected a number from {least} to {n}, that of the points, got {size}")


def _shares(weights: Tensor | npt.NDArray[Any] | None, n: int, device: torch.device) -> Tensor:
    """Returns the weights [n], float64, the largest 1."""
    if weights is None:
        return torch.ones(n, dtype=torch.float64, device=device)
    values = as_tensor(weights).to(device).double()
    if values.shape != (n,):
        raise ValueError(f"expected weights [{n}], got shape {tuple(values.shape)}")
    refuse_rows(~(values.isfinite() & (values >= 0)), "finite weights of at least 0")
    if not values.max() > 0:
        raise ValueError("expected a weight above 0, got only zeros")
    return values / values.max()


def _start(points: Tensor, k: int, rng: np.random.Generator, init: Any) -> Tensor:
    """Returns the first centroids [k, d]: the given ones, or drawn points."""
    if init is None:
        return points[kmeans_pp(points, k, rng)]
    start = finite_rows(init, "init").to(points.device)
    if start.shape != (k, points.shape[1]):
        raise ValueError(
            f"expected init to be {k} centroids of {points.shape[1]} values, got shape "
            f"{tuple(start.shape)}"
        )
    return start


def _centered(points: Tensor) -> OuterProducts:
    """Returns the points about their mean, times a power of two: outer products with 1."""
    ones = torch.ones(1, 1, device=points.device).expand(len(points), 1)
    scale = safe_scale(largest_value(points))
    raw = OuterProducts.of(ones, points, scale=scale)
    mean = raw.weighted_sum(torch.full_like(raw.squared_norms, 1 / max(1, len(points)))).flatten()
    return OuterProducts.of(ones, points, scale=scale, origin=mean)


def _place(values: Tensor, data: OuterProducts) -> Tensor:
    """Returns values [k, d] in the units of the centered points, float64."""
    return values.double() * data.scale - data.origin


def _assign(data: OuterProducts, centroids: Tensor) -> Tensor:
    """Returns the nearest centroid of each point [n], ties to the lowest."""
    norms = centroids.square().sum(1)
    assignment = torch.empty(len(data), dtype=torch.int64, device=centroids.device)
    for rows, part in data.parts(len(centroids)):
        # float64: 1.5 x the time of float32 (k = 5,000, d = 64), and no pair of clusters confused
        scores = torch.addmm(norms, part.right, centroids.T, alpha=-2)
        assignment[rows] = scores.argmin(dim=1)  # the first of equals
    return assignment


def _means(data: OuterProducts, centroids: Tensor, assignment: Tensor) -> Tensor:
    """Returns the mean of each cluster's points [k, d], or its centroid where it has none."""
    sums = torch.zeros_like(centroids)
    for rows, part in data.parts():
        sums.index_add_(0, assignment[rows], part.right)
    counts = torch.bincount(assignment, minlength=len(centroids))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centroids)


def _fill_empty(data: OuterProducts, centroids: Tensor, assignment: Tensor) -> None:
    """Moves into each empty cluster, lowest first, the point farthest from its centroid."""
    counts = torch.bincount(assignment, minlength=len(centroids))
    empty = (counts == 0).nonzero().flatten().tolist()
    if not empty:
        return
    squares = _squares(data, centroids, assignment)
    farthest = squares.argsort(descending=True, stable=True)
    farthest = farthest[squares[farthest] > 0]
    sizes = counts.tolist()
    for row, source in zip(farthest.tolist(), assignment[farthest].tolist(), strict=True):
        if sizes[source] > 1:
            sizes[source] -= 1
            assignment[row] = empty.pop(0)
            if not empty:
                return


def _all_squares(data: OuterProducts, goals: Tensor) -> Tensor:
    """Returns the squared distances of all goals [k, d] to all points, [k, n], float64."""
    others = OuterProducts.of(goals.new_ones(len(goals), 1), goals)
    squares = goals.new_empty(len(goals), len(data))
    for rows, part in data.parts(len(goals)):
        squares[:, rows] = part.squared_distances(others).T
    return squares


def _squares(data: OuterProducts, centroids: Tensor, assignment: Tensor) -> Tensor:
    """Returns the squared distance of each point to its centroid, [n], from direct differences."""
    squares = torch.empty_like(data.squared_norms)
    for rows, part in data.parts():
        squares[rows] = (part.right - centroids[assignment[rows]]).square().sum(1)
    return squares


def _nearest(data: OuterProducts, goal: Tensor, squares: Tensor) -> Tensor:
    """Returns the position of the smallest of the squared distances [n] to the goal [d].

    They are computed anew, from direct differences, where rounding may have changed the order.
    """
    lowest = squares.min()
    if lowest == 0:
        return squares.argmin()  # the first of equals
    near = (squares <= lowest * _NEAR).nonzero().flatten()
    again = [(data.take(rows).right - goal).square().sum(1) for rows in torch.split(near, _PAIRS)]
    return near[torch.cat(again).argmin()]
