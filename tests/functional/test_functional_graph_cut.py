"""Graph cut against exact arithmetic, an explicit matrix, and submodlib."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given as draws
from hypothesis import settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from alframe.functional import graph_cut
from alframe.functional.graph_cut import graph_cut_greedy

METRICS = ["cosine", "dot", "euclidean", "sqeuclidean"]
# (dtype, scale, offset) under which scale * (-3 .. 3) + offset is exact.
GRIDS = [
    (np.float16, 1.0, 0.0),
    (np.float32, 1.0, 2.0**6),
    (np.float32, 2.0**-149, 0.0),
    (np.float32, 2.0**126, 0.0),
    (np.float64, 2.0**-1030, 0.0),
    (np.float64, 2.0**1020, 0.0),
]


@pytest.fixture(params=[1, 3, 256])
def block(request, monkeypatch):
    monkeypatch.setattr(graph_cut, "_BLOCK", request.param)
    return request.param


def similarities(points, metric):
    """All similarities [n, n] by their definition."""
    points = np.asarray(points, dtype=np.float64)
    if metric == "dot":
        return points @ points.T
    if metric == "cosine":
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        units = points / np.where(lengths > 0, lengths, 1)
        return units @ units.T
    reach = 2 * np.linalg.norm(points - points.mean(axis=0), axis=1).max()
    return (reach if metric == "euclidean" else reach**2) - cdist(points, points, metric)


def value(matrix, rows, trade_off):
    """f(S), by its definition."""
    rows = list(rows)
    return matrix[:, rows].sum() - trade_off * matrix[np.ix_(rows, rows)].sum()


def twin(matrix, size, trade_off, given=()):
    """Plain greedy on the matrix: picks, the lowest of equals, and gains."""
    chosen, gains = list(given), []
    for _ in range(size):
        gain = np.full(len(matrix), -np.inf)
        for j in set(range(len(matrix))) - set(chosen):
            gain[j] = value(matrix, [*chosen, j], trade_off) - value(matrix, chosen, trade_off)
        chosen.append(int(np.flatnonzero(gain >= gain.max() - 1e-10 * np.abs(matrix).sum())[0]))
        gains.append(gain[chosen[-1]])
    return chosen[len(given) :], gains


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("trade_off", [0, 0.3, 2.0])
@pytest.mark.parametrize("given", [(), (7, 30, 2)])
def test_picks_equal_those_on_the_matrix(block, metric, trade_off, given):
    points = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32) + 0.3
    options = {"metric": metric, "trade_off": trade_off, "given": given}
    rows, gains = graph_cut_greedy(points, 40, **options)
    matrix = similarities(points, metric)
    expected_rows, expected_gains = twin(matrix, 40, trade_off, given)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(gains, expected_gains, atol=1e-12 * np.abs(matrix).sum())


@st.composite
def grid_problems(draw):
    dtype, scale, offset = draw(st.sampled_from(GRIDS))
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    steps = draw(st.lists(st.integers(-3, 3), min_size=n * d, max_size=n * d))
    points = np.array(steps, dtype=np.float64).reshape(n, d) * scale + offset
    given = sorted(draw(st.sets(st.integers(0, n - 1), max_size=n)))
    trade_off = draw(st.integers(0, 8)) / 4
    return points.astype(dtype), draw(st.integers(0, n - len(given))), given, trade_off


@pytest.mark.parametrize("metric", ["dot", "sqeuclidean"])
@draws(grid_problems())
@settings(deadline=None, max_examples=100)
def test_picks_are_those_of_exact_arithmetic(metric, problem):
    points, size, given, trade_off = problem
    exact = [[Fraction(float(x)) for x in point] for point in points]
    if metric == "dot":
        matrix = [[sum(x * y for x, y in zip(p, q, strict=True)) for q in exact] for p in exact]
    else:  # the constant that makes these positive changes no pick
        matrix = [
            [-sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) for q in exact] for p in exact
        ]
    chosen, cost = list(given), Fraction(trade_off)
    for _ in range(size):
        gains = [
            sum(row[j] for row in matrix) - cost * (2 * sum(matrix[i][j] for i in chosen) + own[j])
            for j, own in enumerate(matrix)
        ]
        free = [j for j in range(len(exact)) if j not in chosen]
        chosen.append(max(free, key=gains.__getitem__))  # max returns the first of equals
    rows, _ = graph_cut_greedy(points, size, trade_off=trade_off, metric=metric, given=given)
    assert rows.tolist() == chosen[len(given) :]


@pytest.mark.parametrize("trade_off", [0.1, 0.5, 2.0])
def test_submodlib_picks_the_same(trade_off):
    from submodlib import GraphCutFunction  # imports numba, which takes seconds

    points = np.random.default_rng(1).normal(size=(250, 6))
    matrix = similarities(points, "cosine")
    peer = GraphCutFunction(n=250, mode="dense", lambdaVal=trade_off, ggsijs=matrix)
    stop = {"stopIfZeroGain": False, "stopIfNegativeGain": False, "show_progress": False}
    expected = peer.maximize(budget=100, optimizer="NaiveGreedy", **stop)
    rows, gains = graph_cut_greedy(points, 100, trade_off=trade_off)
    assert rows.tolist() == [row for row, _ in expected]
    np.testing.assert_allclose(gains, [gain for _, gain in expected], atol=1e-4)  # float32


@pytest.mark.parametrize("metric", METRICS)
def test_gains_are_those_of_the_function(block, metric):
    points = np.random.default_rng(2).normal(size=(70, 3)) + 0.5
    rows, gains = graph_cut_greedy(points, 70, metric=metric, trade_off=0.5)
    matrix = similarities(points, metric)
    assert sorted(rows.tolist()) == list(range(70))
    np.testing.assert_allclose(gains.cumsum()[9], value(matrix, rows[:10], 0.5))
    np.testing.assert_allclose(gains.cumsum()[69], value(matrix, rows, 0.5))
    if metric.endswith("euclidean"):  # no similarity is negative: submodular, and monotone
        assert (np.diff(gains) <= 1e-9 * gains[0]).all()
        assert (gains >= -1e-9 * gains[0]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_picks_go_on_from_given_rows(metric):
    points = np.random.default_rng(3).normal(size=(70, 4))
    rows, gains = graph_cut_greedy(points, 60, metric=metric)
    later_rows, later_gains = graph_cut_greedy(points, 45, metric=metric, given=rows[:15])
    assert later_rows.tolist() == rows[15:].tolist()
    np.testing.assert_allclose(later_gains, gains[15:], atol=1e-10 * abs(gains[0]))


@pytest.mark.parametrize("metric", METRICS)
def test_renumbered_rows_give_the_renumbered_picks(metric):
    rng = np.random.default_rng(4)
    points, order = rng.normal(size=(90, 6)), rng.permutation(90)
    rows, _ = graph_cut_greedy(points, 30, metric=metric)
    renumbered, _ = graph_cut_greedy(points[order], 30, metric=metric)
    assert order[renumbered].tolist() == rows.tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("power", [-1000, -130, 130, 500, 1000])
def test_units_do_not_matter(metric, power):
    points = np.random.default_rng(5).normal(size=(60, 4))
    rows, gains = graph_cut_greedy(points, 20, metric=metric)
    scaled_rows, scaled_gains = graph_cut_greedy(points * 2.0**power, 20, metric=metric)
    assert scaled_rows.tolist() == rows.tolist()
    with np.errstate(over="ignore", under="ignore"):
        unit = {"cosine": np.float64(1), "euclidean": np.float64(2.0) ** power}
        factor = unit.get(metric, np.float64(2.0) ** (2 * power))
        np.testing.assert_array_equal(scaled_gains, gains * factor)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("number", [0.0, 0.1, -1e300, 5e-324])
def test_equal_points_come_back_lowest_first(block, metric, number):
    rows, _ = graph_cut_greedy(np.full((9, 3), number), 7, metric=metric, given=[2])
    assert rows.tolist() == [0, 1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("metric", METRICS)
def test_of_copies_the_lowest_comes_first(block, metric):
    rng = np.random.default_rng(6)
    distinct = rng.normal(size=(20, 5)).astype(np.float32)
    copies = rng.permutation(np.repeat(np.arange(20), 4))
    rows, _ = graph_cut_greedy(distinct[copies], 80, metric=metric)
    assert sorted(rows.tolist()) == list(range(80))
    for point in range(20):
        ours = [row for row in rows.tolist() if copies[row] == point]
        assert ours == sorted(ours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out_and_nothing_is_written_to(dtype):
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = points.clone()
    rows, gains = graph_cut_greedy(points.requires_grad_(), 10)
    assert (rows.dtype, gains.dtype) == (torch.int64, torch.float64)
    assert rows.tolist() == twin(similarities(points.detach().double(), "cosine"), 10, 0.5)[0]
    assert torch.equal(points, before)


@pytest.mark.parametrize("shape", [(0, 4), (5, 0), (5, 4)])
@pytest.mark.parametrize("metric", METRICS)
def test_size_zero_gives_nothing(shape, metric):
    rows, gains = graph_cut_greedy(np.zeros(shape), 0, metric=metric)
    assert rows.shape == gains.shape == (0,)
    assert (rows.dtype, gains.dtype) == (np.int64, np.float64)


def test_nonfinite_values_are_refused_with_count_and_first_rows():
    points = np.zeros((10, 2))
    points[2:9, 1] = np.nan
    with pytest.raises(ValueError, match=r"7 bad rows of 10: 2, 3, 4, 5, 6, \.\.\.$"):
        graph_cut_greedy(points, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, "size from 0 to 4 .* got 5"),
        ({"size": 3, "given": [1, 1, 0]}, "size from 0 to 2 .*2 of them given.* got 3"),
        ({"given": [4]}, "given to be a list of rows from 0 to 3"),
        ({"metric": "l1"}, "one of cosine, dot, euclidean, sqeuclidean, got 'l1'"),
        ({"trade_off": -0.1}, "trade_off of 0 or more, got -0.1"),
        ({"trade_off": float("nan")}, "trade_off of 0 or more, got nan"),
    ],
)
def test_what_cannot_be_picked_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        graph_cut_greedy(np.zeros((4, 2)), **{"size": 1, **options})


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
def test_a_gpu_picks_the_same_rows(metric):
    points = np.random.default_rng(7).normal(size=(3000, 33)).astype(np.float32)
    rows, gains = graph_cut_greedy(torch.from_numpy(points).cuda(), 300, metric=metric)
    expected = graph_cut_greedy(points, 300, metric=metric)
    assert rows.is_cuda
    assert rows.tolist() == expected[0].tolist()
    np.testing.assert_allclose(gains.cpu(), expected[1], rtol=1e-9)
