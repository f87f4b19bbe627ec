"""k-means++ against exact enumeration, k-means against scikit-learn, and plain twins."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from alframe.functional import d2_sampling, gradients
from alframe.functional import kmeans as module
from alframe.functional.kmeans import kmeans, kmeans_pp, nearest_to_centroids


def blobs(n=400, d=5, clusters=8, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    centers = 4 * rng.normal(size=(clusters, d))
    return centers[rng.integers(clusters, size=n)] + spread * rng.normal(size=(n, d))


def seeding_twin(points, size, rng, weights):
    """The definition: one race over all points for each draw."""
    points = np.asarray(points, dtype=np.float64)
    near, chosen = np.ones(len(points)), []
    while len(chosen) < size:
        scores = near * weights / rng.standard_exponential(len(points))
        if not scores.max() > 0:
            free = [row for row in range(len(points)) if row not in chosen]
            return chosen + rng.permutation(free)[: size - len(chosen)].tolist()
        row = int(scores.argmax())
        squares = ((points - points[row]) ** 2).sum(axis=1)
        near = np.minimum(near, squares) if chosen else squares
        chosen.append(row)
        near[chosen] = 0
    return chosen


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("waiting", "checks", "chunk"), [(1, 1, 64), (7, 3, 500), (128, 256, 2**18)]
)
def test_drawn_points_are_those_of_the_definition(
    monkeypatch, dtype, weighted, waiting, checks, chunk
):
    monkeypatch.setattr(d2_sampling, "_WAITING", waiting)
    monkeypatch.setattr(d2_sampling, "_CHECKS", checks)
    monkeypatch.setattr(gradients, "_CHUNK", chunk)
    points = blobs(n=250).astype(dtype)
    weights = np.linspace(0, 3, 250) if weighted else None
    rows = kmeans_pp(points, 60, np.random.default_rng(1), weights)
    assert rows.dtype == np.int64
    expected = seeding_twin(
        points, 60, np.random.default_rng(1), 1.0 if weights is None else weights
    )
    assert rows.tolist() == expected


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [3, 1, 0, 2]])
def test_draws_fall_as_often_as_exact_enumeration_says(weights):
    points = [(0, 0), (1, 0), (0, 2), (3, 3)]
    expected = {}
    for order in permutations(range(4), 2):
        share = Fraction(weights[order[0]], sum(weights))
        squares = [
            w * sum((a - b) ** 2 for a, b in zip(point, points[order[0]], strict=True))
            for w, point in zip(weights, points, strict=True)
        ]
        share *= Fraction(squares[order[1]], sum(squares))
        if share:
            expected[order] = 1000 * float(share)
    assert sum(expected.values()) == pytest.approx(1000)
    rng, counts = np.random.default_rng(2), dict.fromkeys(expected, 0)
    for _ in range(1000):
        drawn = kmeans_pp(np.array(points, dtype=np.float32), 2, rng, np.array(weights))
        counts[tuple(drawn.tolist())] += 1  # KeyError where the probability is 0
    statistic = sum((counts[o] - expected[o]) ** 2 / expected[o] for o in expected)
    assert statistic < chi2.ppf(0.999, len(expected) - 1)


def test_an_offset_and_a_scale_change_no_draw():
    points = np.round(blobs(n=120) * 16)
    plain = kmeans_pp(points, 40, np.random.default_rng(3)).tolist()
    for moved in (points + 2.0**40, np.ldexp(points, 990), np.ldexp(points, -1060)):
        assert kmeans_pp(moved, 40, np.random.default_rng(3)).tolist() == plain


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 5e-324])
def test_equal_points_are_all_drawn_once(value):
    rows = kmeans_pp(np.full((9, 3), value), 9, np.random.default_rng(4))
    assert sorted(rows.tolist()) == list(range(9))
    assert rows.tolist() != list(range(9))


def test_points_of_weight_zero_are_drawn_last():
    weights = np.array([0, 1, 0, 1e300, 1, 0])
    for seed in range(20):
        rows = kmeans_pp(np.arange(6.0)[:, None], 6, np.random.default_rng(seed), weights).tolist()
        assert sorted(rows[:3]) == [1, 3, 4]
        assert sorted(rows) == list(range(6))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"expected weights \[3\], got shape \(2,\)"),
        ([1, -1, np.nan], "at least 0, got 2 bad rows of 3: 1, 2"),
        ([0, 0, 0], "got only zeros"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        kmeans_pp(np.zeros((3, 1)), 1, np.random.default_rng(0), np.array(weights))


@pytest.mark.parametrize("chunk", [64, 2**18])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("iterations", [1, 4, 300])
def test_clusters_are_those_of_scikit_learn(monkeypatch, chunk, dtype, iterations):
    cluster = pytest.importorskip("sklearn.cluster")
    monkeypatch.setattr(gradients, "_CHUNK", chunk)
    points = blobs(spread=2.0).astype(dtype)
    start = points[:12]
    peer = cluster.KMeans(12, init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
    peer.fit(points.astype(np.float64))
    found, assignment, distances = kmeans(points, 12, np.random.default_rng(0), iterations, start)
    np.testing.assert_allclose(found, peer.cluster_centers_, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(assignment, peer.labels_)
    assert (distances**2).sum() == pytest.approx(peer.inertia_, rel=1e-10)
    assert (found.dtype, assignment.dtype, distances.dtype) == (np.float64, np.int64, np.float64)


def test_seeds_are_drawn_points_and_a_seed_repeats_the_clusters():
    points = blobs()
    rows = kmeans_pp(points, 20, np.random.default_rng(5))
    found, assignment, _ = kmeans(points, 20, np.random.default_rng(5), iterations=0)
    np.testing.assert_allclose(found, points[rows], rtol=1e-14)
    np.testing.assert_array_equal(assignment, cdist(points, found).argmin(axis=1))
    drawn = kmeans(points, 20, np.random.default_rng(5))
    np.testing.assert_array_equal(
        drawn[0], kmeans(points, 20, np.random.default_rng(0), init=points[rows])[0]
    )
    assert drawn[2].sum() < np.linalg.norm(points - found[assignment], axis=1).sum()


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(12, 30))
@settings(deadline=None, max_examples=30)
def test_every_distinct_point_that_can_has_a_cluster(seed, k, n):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, size=(n, 2)).astype(np.float32)
    found, assignment, distances = kmeans(points, k, rng, iterations=50)
    near = cdist(points, found)
    np.testing.assert_allclose(distances, near.min(axis=1), atol=1e-9)
    np.testing.assert_allclose(near[np.arange(n), assignment], near.min(axis=1), atol=1e-9)
    if k >= len(np.unique(points, axis=0)):
        assert distances.max() < 1e-9


def test_an_empty_cluster_takes_the_farthest_point():
    points = np.array([[0.0], [1.0], [2.0], [10.0], [12.0]])
    start = np.array([[1.0], [900.0], [11.0], [800.0]])
    found, assignment, _ = kmeans(points, 4, np.random.default_rng(0), iterations=1, init=start)
    # all but row 1 are at 1 from their centroids: the lowest row moves to the lowest cluster
    np.testing.assert_allclose(found, [[1], [0], [11], [2]])
    assert assignment.tolist() == [1, 0, 3, 2, 2]


def test_an_empty_cluster_empties_no_other():
    points = np.array([[0.0], [1.0], [2.0], [50.0]])
    start = np.array([[1.0], [60.0], [900.0]])
    found, assignment, _ = kmeans(points, 3, np.random.default_rng(0), iterations=1, init=start)
    np.testing.assert_allclose(found, [[1.5], [50], [0]])
    assert assignment.tolist() == [2, 0, 0, 1]


def test_points_that_are_centroids_do_not_move_into_empty_clusters():
    points = np.array([[1.0, 2.0]] * 5)
    found, assignment, distances = kmeans(points, 3, np.random.default_rng(0))
    np.testing.assert_allclose(found, points[:3])
    assert assignment.tolist() == [0] * 5
    assert distances.tolist() == [0] * 5


@pytest.mark.parametrize("exponent", [-1060, -600, 0, 600, 990])
def test_a_scale_changes_no_cluster(exponent):
    points = np.round(blobs() * 16)
    plain = kmeans(points, 9, np.random.default_rng(6))
    scaled = kmeans(np.ldexp(points, exponent), 9, np.random.default_rng(6))
    np.testing.assert_array_equal(scaled[1], plain[1])
    np.testing.assert_allclose(np.ldexp(scaled[0], -exponent), plain[0], rtol=1e-3)
    np.testing.assert_allclose(np.ldexp(scaled[2], -exponent), plain[2], rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype):
    points = torch.from_numpy(blobs(n=90)).to(dtype)
    results = kmeans(points.requires_grad_(), 7, np.random.default_rng(7))
    twins = kmeans(points.detach().double().numpy(), 7, np.random.default_rng(7))
    for ours, expected in zip(results, twins, strict=True):
        assert isinstance(ours, torch.Tensor)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)
    rows = nearest_to_centroids(points, results[0])
    assert rows.tolist() == nearest_twin(points.detach().double().numpy(), twins[0])


def nearest_twin(points, centroids):
    rows = []
    for centroid in centroids:
        squares = ((points - centroid) ** 2).sum(axis=1)
        squares[rows] = np.inf
        rows.append(int(squares.argmin()))
    return rows


@pytest.mark.parametrize("together", [1, 1000, 2**20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest_points_are_those_of_a_loop(monkeypatch, together, dtype):
    monkeypatch.setattr(module, "_SCORES", together)
    points = blobs(n=150).astype(dtype)
    centroids = np.repeat(blobs(n=30, seed=1), 3, axis=0)
    rows = nearest_to_centroids(points, centroids)
    assert rows.tolist() == nearest_twin(points.astype(np.float64), centroids)
    assert len(set(rows.tolist())) == 90


def test_nearest_points_that_are_equal_come_lowest_first(monkeypatch):
    # equal points in matrix products of different lengths, which may round differently
    monkeypatch.setattr(gradients, "_CHUNK", 240 * 7)
    points = np.tile(blobs(n=60, d=33), (4, 1))
    centroids = blobs(n=240, d=33, seed=1)
    assert nearest_to_centroids(points, centroids).tolist() == nearest_twin(points, centroids)
    for value in (0.0, 0.1, 1e300, 5e-324):
        same = np.full((8, 2), value)
        assert nearest_to_centroids(same, same[:5]).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, r: kmeans_pp(p, 5, r), "from 0 to 4.* got 5"),
        (lambda p, r: kmeans_pp(p, -1, r), "from 0 to 4.* got -1"),
        (lambda p, r: kmeans(p, 0, r), "from 1 to 4.* got 0"),
        (lambda p, r: kmeans(p, 5, r), "from 1 to 4.* got 5"),
        (lambda p, r: kmeans(p, 2, r, init=p[:3]), r"2 centroids of 2 values, got shape \(3, 2\)"),
        (lambda p, _: nearest_to_centroids(p, np.zeros((5, 2))), "from 0 to 4.* got 5"),
        (lambda p, _: nearest_to_centroids(p, np.zeros((2, 3))), "centroids of 2 values"),
        (lambda p, _: nearest_to_centroids(p, p[:1] * np.nan), "centroids without NaN"),
        (lambda p, r: kmeans(p[0], 1, r), r"got shape \(2,\)"),
        (lambda p, r: kmeans(np.where(p == 1, np.nan, p), 1, r), "1 bad rows of 4: 1"),
        (lambda p, r: kmeans_pp(np.where(p == 1, np.inf, p), 1, r), "1 bad rows of 4: 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]]), np.random.default_rng(0))


def test_nothing_asked_gives_nothing():
    for points in (np.zeros((0, 2)), np.zeros((3, 2))):
        assert kmeans_pp(points, 0, np.random.default_rng(0)).shape == (0,)
        rows = nearest_to_centroids(points, np.zeros((0, 2)))
        assert (rows.shape, rows.dtype) == ((0,), np.int64)
    assert sorted(kmeans_pp(np.zeros((3, 0)), 3, np.random.default_rng(0))) == [0, 1, 2]


@pytest.mark.gpu
def test_a_gpu_finds_the_same_clusters():
    points = torch.from_numpy(blobs(n=3000, d=40)).float()
    on_cpu = kmeans(points, 50, np.random.default_rng(8))
    on_gpu = kmeans(points.cuda(), 50, np.random.default_rng(8))
    for theirs, ours in zip(on_gpu, on_cpu, strict=True):
        assert theirs.is_cuda
        np.testing.assert_allclose(theirs.cpu().numpy(), ours.numpy(), rtol=1e-9, atol=1e-9)
    rows = nearest_to_centroids(points.cuda(), on_gpu[0])
    assert rows.tolist() == nearest_to_centroids(points, on_cpu[0]).tolist()
