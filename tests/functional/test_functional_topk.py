"""Nearest and most similar points against exact arithmetic, a plain twin and scikit-learn."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from alframe.functional import topk
from alframe.functional.topk import pairwise_topk

METRICS = ["euclidean", "cosine", "dot"]
# (dtype, scale, offset) under which scale * (-3 .. 3) + offset is exact.
GRIDS = [
    (np.float16, 1.0, 0.0),
    (np.float16, 2.0**-24, 0.0),
    (np.float32, 1.0, 2.0**22),
    (np.float32, 2.0**-149, 0.0),
    (np.float32, 2.0**126, 0.0),
    (np.float64, 1.0, 2.0**45),
    (np.float64, 2.0**-1030, 0.0),
    (np.float64, 2.0**1020, 0.0),
    (np.float64, 2.0**-600, 2.0**-555),
]


def twin(queries, points, k, metric, exclude_self=False):
    """The definition with plain loops in float64: values and rows, best first."""
    queries, points = (np.asarray(array, dtype=np.float64) for array in (queries, points))
    all_values, all_rows = [], []
    for i, query in enumerate(queries):
        found = []
        for j, point in enumerate(points):
            if metric == "euclidean":
                value = float(np.linalg.norm(query - point))
            else:
                lengths = np.linalg.norm(query) * np.linalg.norm(point)
                value = float(query @ point)
                if metric == "cosine":
                    value = value / lengths if lengths else 0.0
            if not (exclude_self and i == j):
                found.append((value if metric == "euclidean" else -value, j))
        best = sorted(found)[:k]
        all_values.append([value if metric == "euclidean" else -value for value, _ in best])
        all_rows.append([j for _, j in best])
    return np.array(all_values).reshape(-1, k), np.array(all_rows, dtype=int).reshape(-1, k)


@st.composite
def grid_problems(draw):
    dtype, scale, offset = draw(st.sampled_from(GRIDS))
    m, n, d = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 3))
    steps = draw(st.lists(st.integers(-3, 3), min_size=(m + n) * d, max_size=(m + n) * d))
    both = np.array(steps, dtype=np.float64).reshape(m + n, d) * scale + offset
    return both[:m].astype(dtype), both[m:].astype(dtype), draw(st.integers(0, n))


@given(grid_problems())
@settings(deadline=None, max_examples=200)
def test_nearest_are_those_of_exact_arithmetic(problem):
    queries, points, k = problem
    values, rows = pairwise_topk(queries, points, k)
    for i, query in enumerate(queries):
        squares = [
            sum(
                (Fraction(float(x)) - Fraction(float(y))) ** 2
                for x, y in zip(query, p, strict=True)
            )
            for p in points
        ]
        expected = sorted(range(len(points)), key=lambda j: (squares[j], j))[:k]
        assert rows[i].tolist() == expected
        for value, j in zip(values[i], expected, strict=True):
            assert abs(Fraction(float(value)) ** 2 - squares[j]) <= squares[j] / 10**9


@pytest.mark.parametrize("chunk", [1, 70, 2**22])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 3, 40, 129])
def test_all_chunks_give_what_plain_loops_give(monkeypatch, chunk, metric, k):
    monkeypatch.setattr(topk, "_BLOCK_CPU", chunk)
    monkeypatch.setattr(topk, "_GROUP", 4)
    points = np.random.default_rng(0).normal(size=(130, 5)).astype(np.float32)
    values, rows = pairwise_topk(points, points, k, metric=metric, exclude_self=True)
    expected_values, expected_rows = twin(points, points, k, metric, exclude_self=True)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(values, expected_values, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("metric", METRICS)
def test_queries_need_not_be_the_points(metric):
    rng = np.random.default_rng(1)
    queries, points = rng.normal(size=(7, 6)), rng.normal(size=(400, 6)) + 1
    values, rows = pairwise_topk(queries, points, 5, metric=metric)
    expected_values, expected_rows = twin(queries, points, 5, metric)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(values, expected_values, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_scikit_learn_finds_the_same(metric):
    points = np.random.default_rng(2).normal(size=(500, 20))
    values, rows = pairwise_topk(points, points, 10, metric=metric)
    search = NearestNeighbors(n_neighbors=10, metric=metric, algorithm="brute").fit(points)
    distances, expected = search.kneighbors(points)
    np.testing.assert_array_equal(rows, expected)
    found = values if metric == "euclidean" else 1 - values
    np.testing.assert_allclose(found, distances, atol=1e-6)  # theirs expands squares


def test_points_that_float32_cannot_tell_apart_are_told_apart():
    points = 1 + np.random.default_rng(3).normal(size=(200, 3)) * 1e-9
    points[0] = 100
    values, rows = pairwise_topk(points, points, 4, exclude_self=True)
    expected_values, expected_rows = twin(points, points, 4, "euclidean", exclude_self=True)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(values, expected_values, rtol=1e-9)


def test_tiny_points_are_told_apart_from_zero_queries():
    values, rows = pairwise_topk(np.zeros((1, 1)), np.array([[2.0**-1030], [0]]), 2)
    assert rows.tolist() == [[1, 0]]
    assert values.tolist() == [[0, 2.0**-1030]]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e-300, -1e300])
def test_equal_points_come_lowest_first(metric, value):
    points = np.full((70, 3), value)
    values, rows = pairwise_topk(points, points, 3, metric=metric, exclude_self=True)
    assert rows[0].tolist() == [1, 2, 3]
    assert rows[2].tolist() == [0, 1, 3]
    assert rows[69].tolist() == [0, 1, 2]
    if metric == "euclidean":
        assert (values == 0).all()
    if metric == "cosine":
        np.testing.assert_allclose(values, float(value != 0), rtol=1e-15)


def test_cosines_look_at_directions_only():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(60, 4))
    lengths = 2.0 ** rng.integers(-900, 900, size=(60, 1))
    lengths[7] = 0
    values, rows = pairwise_topk(points * lengths, points * lengths, 60, metric="cosine")
    points[7] = 0
    expected_values, expected_rows = twin(points, points, 60, "cosine")
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(values, expected_values, atol=1e-15)
    assert rows[7].tolist() == list(range(60))  # a zero vector is equally similar to all


@pytest.mark.parametrize("metric", METRICS)
def test_autocast_and_low_precision_change_nothing_and_stay_set(metric):
    points = torch.randn(150, 30, generator=torch.Generator().manual_seed(0))
    expected = pairwise_topk(points, points, 5, metric=metric)[1]
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = pairwise_topk(points, points, 5, metric=metric)[1]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_torch_in_torch_out(dtype, metric):
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    values, rows = pairwise_topk(points.requires_grad_(), points, 4, metric=metric)
    expected = twin(points.detach().double(), points.detach().double(), 4, metric)
    assert (values.dtype, rows.dtype) == (torch.float64, torch.int64)
    np.testing.assert_allclose(values.numpy(), expected[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(rows.numpy(), expected[1])


@pytest.mark.parametrize("metric", METRICS)
def test_read_only_numpy_is_left_alone_without_a_warning(metric):
    points = np.random.default_rng(5).normal(size=(30, 3)) * 3
    before = points.copy()
    points.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, rows = pairwise_topk(points, points, 5, metric=metric)
    assert (values.dtype, rows.dtype) == (np.float64, np.int64)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("shapes", [((0, 4), (3, 4)), ((2, 4), (0, 4)), ((2, 0), (3, 0))])
def test_nothing_to_find_gives_nothing(shapes):
    values, rows = pairwise_topk(np.zeros(shapes[0]), np.zeros(shapes[1]), 0)
    assert values.shape == rows.shape == (shapes[0][0], 0)


def test_points_without_features_are_equal_points():
    assert pairwise_topk(np.zeros((2, 0)), np.zeros((3, 0)), 2)[1].tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_nonfinite_values_are_refused_with_count_and_first_rows(value, side):
    arrays = [np.zeros((10, 2)), np.zeros((10, 2))]
    arrays[side][2:9, 1] = value
    name = ("queries", "points")[side]
    with pytest.raises(ValueError, match=rf"{name} without .* 7 bad rows of 10: 2, 3, 4, 5, 6, \."):
        pairwise_topk(*arrays, 1)


@pytest.mark.parametrize(
    ("shapes", "k", "options", "message"),
    [
        (((4,), (4, 2)), 1, {}, r"queries \[n, d\], got shape \(4,\)"),
        (((4, 3), (4, 2)), 1, {}, "one width, got 3 and 2"),
        (((4, 2), (4, 2)), 5, {}, "k from 0 to 4 .* got 5"),
        (((4, 2), (4, 2)), -1, {}, "got -1"),
        (((4, 2), (4, 2)), 4, {"exclude_self": True}, "k from 0 to 3 .* got 4"),
        (((3, 2), (4, 2)), 1, {"exclude_self": True}, "3 queries and 4 points"),
        (((4, 2), (4, 2)), 1, {"metric": "l1"}, "one of euclidean, cosine, dot, got 'l1'"),
    ],
)
def test_what_cannot_be_found_is_refused(shapes, k, options, message):
    with pytest.raises(ValueError, match=message):
        pairwise_topk(np.zeros(shapes[0]), np.zeros(shapes[1]), k, **options)


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
def test_a_gpu_finds_the_same_rows(metric):
    grid = np.random.default_rng(6).integers(-9, 9, size=(3000, 33)).astype(np.float32)
    points = torch.from_numpy(np.concatenate([grid, grid]))
    values, rows = pairwise_topk(points.cuda(), points.cuda(), 8, metric=metric, exclude_self=True)
    expected = pairwise_topk(points, points, 8, metric=metric, exclude_self=True)
    assert rows.is_cuda
    torch.testing.assert_close(values.cpu(), expected[0])
    if metric != "cosine":  # of which equal values may be rounded differently
        assert torch.equal(rows.cpu(), expected[1])
