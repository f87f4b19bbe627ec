"""Greedy max coverage and the purity rule against plain loops and scikit-activeml."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skactiveml.pool import ProbCover as Peer

from alframe.functional.coverage import max_coverage_greedy, purity_radius

POINTS = st.integers(1, 40).flatmap(
    lambda n: st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4)).map(list), min_size=n, max_size=n
    )
)  # a lattice: many ties, many pairs at exactly the radius


def slow(points, size, radius, centers=()):
    """The definition, by loops over dictionaries."""
    points = dict(enumerate(np.asarray(points, dtype=np.float64)))
    ball = {
        i: {j for j in points if ((points[i] - points[j]) ** 2).sum() <= radius * radius}
        for i in points
    }
    covered = set().union(*(ball[i] for i in centers))
    free, rows, gains = sorted(set(points) - set(centers)), [], []
    for _ in range(size):
        new = {i: len(ball[i] - covered) for i in free}
        if max(new.values()) == 0:
            rows.append(max(free, key=lambda i: (len(ball[i]), -i)))
        else:
            rows.append(max(free, key=lambda i: (new[i], -i)))
        gains.append(new[rows[-1]])
        covered |= ball[rows[-1]]
        free.remove(rows[-1])
    return rows, gains


@settings(deadline=None, max_examples=60)
@given(POINTS, st.sampled_from([0, 1, math.sqrt(2), 2, 2.5, math.inf]), st.data())
def test_against_plain_loops_on_a_lattice(points, radius, data):
    n = len(points)
    centers = data.draw(st.lists(st.integers(0, n - 1), max_size=n // 2, unique=True))
    size = data.draw(st.integers(0, n - len(centers)))
    # sqrt(2) ** 2 > 2: the pairs at that distance are inside
    rows, gains = max_coverage_greedy(np.array(points, dtype=float), size, radius, centers)
    assert (rows.tolist(), gains.tolist()) == slow(points, size, radius, centers)
    assert (gains[:-1] >= gains[1:]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_against_plain_loops_in_many_tiles_and_any_type(dtype):
    torch.manual_seed(0)
    centers = 3 * torch.randn(9, 5)
    points = (centers[torch.randint(9, (1500,))] + torch.randn(1500, 5)).to(dtype)
    rows, gains = max_coverage_greedy(points, 300, 1.5, torch.arange(7))
    slow_rows, slow_gains = slow_matrix(points.double().numpy(), 300, 1.5, range(7))
    assert rows.tolist() == slow_rows
    assert gains.tolist() == slow_gains


def slow_matrix(points, size, radius, centers=()):
    """The definition, by a matrix of all pairs; to the end of what can be covered."""
    inside = ((points[:, None] - points) ** 2).sum(-1) <= radius * radius
    covered, free = inside[list(centers)].any(0), np.ones(len(points), dtype=bool)
    free[list(centers)] = False
    rows, gains = [], []
    for _ in range(size):
        new = np.where(free, (inside & ~covered).sum(1), -1)
        rows.append(int(new.argmax()))
        gains.append(int(new.max()))
        covered |= inside[rows[-1]]
        free[rows[-1]] = False
    assert gains[-1] > 0
    return rows, gains


@pytest.mark.parametrize("labeled", [1, 5])
@pytest.mark.parametrize("seed", range(4))
def test_picks_equal_those_of_scikit_activeml(seed, labeled, monkeypatch):
    def first(values, random_state):
        return [np.nanargmax(values)]

    monkeypatch.setattr(
        "skactiveml.pool._prob_cover.rand_argmax", first
    )  # it breaks ties at random
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(150, 3))
    radius = float(rng.uniform(0.4, 0.9))
    labels = np.full(150, np.nan)
    labels[:labeled] = 0
    theirs = Peer(n_classes=2, deltas=[radius], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one radius is tried, so that its purity is not known
        picks, utilities = theirs.query(points, labels, batch_size=30, return_utilities=True)
    rows, gains = max_coverage_greedy(points, 30, radius, np.arange(labeled))
    np.testing.assert_array_equal(np.nanmax(utilities, axis=1), gains)
    covering = gains > 0  # then all of theirs are equal, and the first is taken
    assert covering.sum() >= 20
    np.testing.assert_array_equal(picks[covering], rows[covering])


def test_dense_regions_come_first_and_an_outlier_last():
    rng = np.random.default_rng(0)
    sizes = (40, 25, 10, 1)
    points = np.concatenate(
        [rng.uniform(-0.3, 0.3, size=(n, 2)) + 10 * i for i, n in enumerate(sizes)]
    )
    rows, gains = max_coverage_greedy(points, 4, 1.0)
    assert gains.tolist() == list(sizes)
    assert (points[rows].mean(1) / 10).round().tolist() == [0, 1, 2, 3]


def test_when_all_is_covered_dense_balls_go_on():
    # A row of points: 0 1 2 3 4, and 10. Balls of 1: the middle ones hold three.
    points = np.array([[0.0], [1], [2], [3], [4], [10]])
    rows, gains = max_coverage_greedy(points, 6, 1.0)
    assert rows.tolist() == [1, 3, 5, 2, 0, 4]
    assert gains.tolist() == [3, 2, 1, 0, 0, 0]


@pytest.mark.parametrize("factor", [2.0**-1000, 2.0**-300, 1, 2.0**300, 2.0**1000])
@pytest.mark.parametrize("offset", [0.0, 2.0**20])
def test_scale_and_offset_move_no_pick(factor, offset):
    rng = np.random.default_rng(0)
    points = rng.integers(0, 9, size=(200, 3)).astype(float)
    rows, gains = max_coverage_greedy(points, 40, 2.0)
    moved = (points + offset) * factor
    again, counts = max_coverage_greedy(moved, 40, 2.0 * factor)
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_array_equal(gains, counts)


def test_an_outlier_far_away_does_not_blur_the_others():
    points = np.concatenate([np.arange(50.0)[:, None], [[1e150]]])
    rows, gains = max_coverage_greedy(points / 1e3, 5, 2.0 / 1e3 * (1 + 1e-9))
    assert gains.tolist() == [5] * 5
    assert rows.tolist() == [2, 7, 12, 17, 22]


def test_constant_points_and_no_points():
    rows, gains = max_coverage_greedy(np.full((7, 2), 3.0), 7, 0.0)
    assert (rows.tolist(), gains.tolist()) == ([0, 1, 2, 3, 4, 5, 6], [7, 0, 0, 0, 0, 0, 0])
    rows, gains = max_coverage_greedy(np.empty((0, 2)), 0, 1.0)
    assert len(rows) == len(gains) == 0
    assert max_coverage_greedy(np.zeros((3, 0)), 2, 1.0)[1].tolist() == [3, 0]


def test_what_cannot_be_is_refused():
    points = np.zeros((5, 2))
    with pytest.raises(ValueError, match=r"size from 0 to 4 .*got 5"):
        max_coverage_greedy(points, 5, 1.0, [0])
    with pytest.raises(ValueError, match="radius of 0 or more"):
        max_coverage_greedy(points, 1, -1.0)
    with pytest.raises(ValueError, match="radius of 0 or more"):
        max_coverage_greedy(points, 1, math.nan)
    with pytest.raises(ValueError, match="centers to be a list of rows from 0 to 4"):
        max_coverage_greedy(points, 1, 1.0, [5])
    with pytest.raises(ValueError, match=r"embeddings \[n, d\], got shape \(5,\)"):
        max_coverage_greedy(points[:, 0], 1, 1.0)
    points[[1, 3]] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 bad rows of 5: 1, 3"):
        max_coverage_greedy(points, 1, 1.0)


def purity(points, labels, radius):
    """The share of balls that hold no other label, by loops."""
    pure = 0
    for mine, label in zip(points, labels, strict=True):
        near = [
            other
            for point, other in zip(points, labels, strict=True)
            if np.sqrt(((mine - point) ** 2).sum()) <= radius
        ]
        pure += all(other == label for other in near)
    return pure / len(points)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alpha", [0.5, 0.95, 1.0])
def test_the_radius_is_the_largest_of_enough_purity(seed, alpha):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(60, 2))
    labels = (points[:, 0] > 0).astype(np.int64)
    radius = purity_radius(points, labels, alpha)
    assert purity(points, labels, radius) >= alpha
    assert purity(points, labels, radius * (1 + 1e-8)) < alpha


def test_it_lies_where_the_grid_of_scikit_activeml_says():
    class Given:
        """A clustering that is known already."""

        def __init__(self, n_clusters):
            pass

        def fit_predict(self, points):
            return labels

    rng = np.random.default_rng(0)
    points = rng.normal(size=(100, 2)) + 3 * rng.integers(0, 2, size=(100, 1))
    labels = (points.sum(1) > 3).astype(np.int64)
    radius, step = purity_radius(points, labels, 0.9), 0.02
    theirs = Peer(n_classes=2, deltas=np.arange(0, 4, step), alpha=0.9, cluster_algo=Given)
    theirs.query(points, np.where(np.arange(100) < 3, 0, np.nan))
    assert theirs.delta_max_ <= radius < theirs.delta_max_ + step


def test_one_label_has_pure_balls_of_any_radius():
    assert purity_radius(np.arange(5.0)[:, None], np.zeros(5, np.int64)) == math.inf
    rows, gains = max_coverage_greedy(np.arange(5.0)[:, None], 2, math.inf)
    assert (rows.tolist(), gains.tolist()) == ([0, 1], [5, 0])


def test_equal_points_of_two_labels_leave_no_radius():
    assert purity_radius(np.zeros((4, 2)), np.array([0, 1, 0, 1])) == 0
    with pytest.raises(ValueError, match="4 whole labels"):
        purity_radius(np.zeros((4, 2)), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="purity above 0"):
        purity_radius(np.zeros((4, 2)), np.zeros(4, np.int64), 0.0)
