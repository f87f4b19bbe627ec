"""Facility location against exact arithmetic, an explicit matrix, apricot and submodlib."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from facility_twins import similarities, twin, value
from hypothesis import given as draws
from hypothesis import settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from alframe.functional import facility_covers
from alframe.functional.facility_location import facility_location_greedy

METRICS = ["cosine", "euclidean", "sqeuclidean"]
# (dtype, scale, offset) under which scale * (-3 .. 3) + offset is exact.
GRIDS = [
    (np.float16, 1.0, 0.0),
    (np.float16, 2.0**-24, 0.0),
    (np.float32, 1.0, 2.0**20),
    (np.float32, 2.0**-149, 0.0),
    (np.float32, 2.0**126, 0.0),
    (np.float64, 1.0, 2.0**40),
    (np.float64, 2.0**-1030, 0.0),
    (np.float64, 2.0**1020, 0.0),
]
# How soon pairs are kept: at once, after some picks, never; and with chunks of a few numbers.
STAGES = {"sparse": (2**20, 128), "later": (0, 12), "dense": (-1, -1)}


@pytest.fixture(params=STAGES)
def stage(request, monkeypatch):
    pairs, per_point = STAGES[request.param]
    monkeypatch.setattr(facility_covers, "_PAIRS", pairs)
    monkeypatch.setattr(facility_covers, "_PAIRS_PER_POINT", per_point)
    monkeypatch.setattr(facility_covers, "_ROWS", 32)
    monkeypatch.setattr(facility_covers, "_LEVELS_CPU", 700)
    monkeypatch.setattr(facility_covers, "_SAMPLE", 4)
    return request.param


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("given", [(), (5,), (17, 90, 3)])
def test_picks_equal_those_on_the_matrix(stage, metric, dtype, given):
    points = np.random.default_rng(0).normal(size=(101, 7)).astype(dtype)
    rows, gains = facility_location_greedy(points, 45, metric=metric, given=given)
    expected_rows, expected_gains = twin(similarities(points, metric), 45, given)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(gains, expected_gains, rtol=1e-8)


@pytest.mark.parametrize("metric", METRICS)
def test_weights_count_a_point_as_often(stage, metric):
    rng = np.random.default_rng(1)
    points, weights = rng.normal(size=(80, 4)), rng.integers(0, 4, size=80) * 1e200
    rows, gains = facility_location_greedy(points, 30, metric=metric, weights=weights)
    expected_rows, expected_gains = twin(similarities(points, metric), 30, (), weights / 1e200)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(gains, np.array(expected_gains) * 1e200, rtol=1e-8)


@pytest.mark.parametrize("metric", METRICS)
def test_copies_of_a_point_weigh_together(stage, metric):
    rng = np.random.default_rng(2)
    distinct = rng.normal(size=(40, 5)).astype(np.float32)
    copies = rng.permutation(np.repeat(np.arange(40), 3))
    rows, gains = facility_location_greedy(distinct[copies], 100, metric=metric, given=[7])
    expected_rows, expected_gains = twin(similarities(distinct[copies], metric), 100, [7])
    assert rows[:39].tolist() == expected_rows[:39]
    np.testing.assert_allclose(gains[:39], expected_gains[:39], rtol=1e-7)
    assert len(set(copies[rows[:39]]) | {copies[7]}) == 40
    left = [row for row in range(120) if row not in {7, *rows[:39].tolist()}]
    assert rows[39:].tolist() == left[:61]  # what gains nothing comes last, lowest first
    assert (gains[39:] == 0).all()


@st.composite
def grid_problems(draw):
    dtype, scale, offset = draw(st.sampled_from(GRIDS))
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    steps = draw(st.lists(st.integers(-3, 3), min_size=n * d, max_size=n * d))
    points = np.array(steps, dtype=np.float64).reshape(n, d) * scale + offset
    given = sorted(draw(st.sets(st.integers(0, n - 1), max_size=n)))
    limit = draw(st.sampled_from([2**20, 1, -1]))
    return points.astype(dtype), draw(st.integers(0, n - len(given))), given, limit


@draws(grid_problems())
@settings(deadline=None, max_examples=200)
def test_medoids_are_those_of_exact_arithmetic(problem):
    points, size, given, limit = problem
    exact = [[Fraction(float(x)) for x in point] for point in points]
    squares = [[sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) for q in exact] for p in exact]
    most = 1 + max(itertools.chain(*squares))
    chosen = list(given)
    for _ in range(size):
        near = [min([most] + [row[j] for j in chosen]) for row in squares]
        costs = [
            sum(min(c, row[j]) for c, row in zip(near, squares, strict=True))
            for j in range(len(exact))
        ]
        chosen.append(min((j for j in range(len(exact)) if j not in chosen), key=costs.__getitem__))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facility_covers, "_PAIRS", limit)
        patch.setattr(facility_covers, "_PAIRS_PER_POINT", -1)
        rows, _ = facility_location_greedy(points, size, metric="sqeuclidean", given=given)
    assert rows.tolist() == chosen[len(given) :]


@pytest.mark.slow
def test_apricot_picks_the_same():
    from apricot import FacilityLocationSelection  # numba compiles for seconds

    points = np.random.default_rng(3).normal(size=(300, 6))
    peer = FacilityLocationSelection(40, metric="euclidean", optimizer="lazy").fit(points)
    rows, gains = facility_location_greedy(points, 40, metric="sqeuclidean")
    assert rows.tolist() == peer.ranking.tolist()
    np.testing.assert_allclose(gains[1:], peer.gains[1:], rtol=1e-6)  # the constant differs


@pytest.mark.parametrize("optimizer", ["NaiveGreedy", "LazyGreedy"])
def test_submodlib_picks_the_same(optimizer):
    from submodlib import FacilityLocationFunction  # imports numba, which takes seconds

    points = np.random.default_rng(4).normal(size=(300, 6))
    peer = FacilityLocationFunction(n=300, mode="dense", data=points, metric="cosine")
    stop = {"stopIfZeroGain": False, "stopIfNegativeGain": False, "show_progress": False}
    expected = peer.maximize(budget=60, optimizer=optimizer, **stop)
    rows, gains = facility_location_greedy(points, 60)
    assert rows.tolist() == [row for row, _ in expected]
    np.testing.assert_allclose(gains, [gain for _, gain in expected], atol=1e-4)  # float32


@pytest.mark.parametrize("metric", METRICS)
def test_gains_are_those_of_the_function_and_fall(stage, metric):
    points = np.random.default_rng(5).normal(size=(90, 3)) + 0.5
    rows, gains = facility_location_greedy(points, 90, metric=metric)
    matrix = similarities(points, metric)
    assert sorted(rows.tolist()) == list(range(90))
    np.testing.assert_allclose(
        gains.cumsum()[[0, 9, 89]], [value(matrix, rows[:i]) for i in (1, 10, 90)]
    )
    assert (np.diff(gains) <= 1e-9 * gains[:-1]).all()
    assert (gains >= 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_picks_go_on_from_given_rows(stage, metric):
    points = np.random.default_rng(6).normal(size=(70, 4))
    rows, gains = facility_location_greedy(points, 60, metric=metric)
    later_rows, later_gains = facility_location_greedy(points, 45, metric=metric, given=rows[:15])
    assert later_rows.tolist() == rows[15:].tolist()
    np.testing.assert_allclose(later_gains, gains[15:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_renumbered_rows_give_the_renumbered_picks(stage, metric):
    rng = np.random.default_rng(7)
    points, order = rng.normal(size=(90, 6)), rng.permutation(90)
    rows, _ = facility_location_greedy(points, 12, metric=metric)  # later picks may be ties
    renumbered, _ = facility_location_greedy(points[order], 12, metric=metric)
    assert order[renumbered].tolist() == rows.tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("power", [-1000, -130, 130, 500, 1000])
def test_units_do_not_matter(metric, power):
    points = np.random.default_rng(8).normal(size=(60, 4))
    rows, gains = facility_location_greedy(points, 20, metric=metric)
    scaled_rows, scaled_gains = facility_location_greedy(points * 2.0**power, 20, metric=metric)
    assert scaled_rows.tolist() == rows.tolist()
    with np.errstate(over="ignore", under="ignore"):
        unit = {"cosine": np.float64(1), "euclidean": np.float64(2.0) ** power}
        factor = unit.get(metric, np.float64(2.0) ** (2 * power))
        np.testing.assert_array_equal(scaled_gains, gains * factor)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_a_large_offset_changes_no_pick(stage, metric):
    points = np.random.default_rng(9).integers(-1000, 1000, size=(100, 5)).astype(np.float64)
    near, near_gains = facility_location_greedy(points, 30, metric=metric)
    far, far_gains = facility_location_greedy(points + 2.0**40, 30, metric=metric)
    assert near.tolist() == far.tolist()
    np.testing.assert_allclose(near_gains[1:], far_gains[1:], rtol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_an_outlier_does_not_blur_the_others(stage, metric):
    points = np.random.default_rng(10).normal(size=(100, 5))
    points[30] += 1e9
    rows, _ = facility_location_greedy(points, 12, metric=metric)
    assert 30 in rows[:2]
    given, _ = facility_location_greedy(points, 10, metric=metric, given=rows[:2])
    assert rows[2:].tolist() == given.tolist()
    expected, _ = twin(-cdist(points, points, metric), 10, rows[:2].tolist())
    assert given.tolist() == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("number", [0.0, 0.1, -1e300, 5e-324])
def test_equal_points_come_back_lowest_first(metric, number):
    rows, gains = facility_location_greedy(np.full((6, 3), number), 5, metric=metric, given=[2])
    assert rows.tolist() == [0, 1, 3, 4, 5]
    assert (gains == 0).all()


def test_zero_vectors_are_covered_by_nothing(stage):
    points = np.random.default_rng(11).normal(size=(50, 3))
    points[[4, 9]] = 0
    rows, gains = facility_location_greedy(points, 50)
    assert rows[-2:].tolist() == [4, 9]
    assert (gains[-2:] == 0).all()
    assert rows[:20].tolist() == twin(similarities(points, "cosine"), 20)[0]


def test_a_misleading_sample_costs_time_only(monkeypatch):
    """The first point, which is the sample, has few neighbors; then keeping pairs is given up."""
    rng = np.random.default_rng(12)
    points = np.concatenate([[[-1.0, 0, 0]], rng.normal(size=(99, 3)) * 0.3 + [1, 0, 0]])
    kept = []
    attempt = facility_covers.DenseCover._sparse
    monkeypatch.setattr(
        facility_covers.DenseCover, "_sparse", lambda *a: kept.append(attempt(*a)) or kept[-1]
    )
    for name, number in (("_PAIRS", 0), ("_PAIRS_PER_POINT", 4), ("_SAMPLE", 1)):
        monkeypatch.setattr(facility_covers, name, number)
    rows, _ = facility_location_greedy(points, 40)
    assert kept[0] is None
    assert len(kept) < 8
    assert rows.tolist() == twin(similarities(points, "cosine"), 40)[0]


@pytest.mark.parametrize("metric", METRICS)
def test_autocast_changes_nothing(stage, metric):
    points = torch.randn(120, 30, generator=torch.Generator().manual_seed(0))
    expected = facility_location_greedy(points, 20, metric=metric)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows, gains = facility_location_greedy(points, 20, metric=metric)
    assert torch.equal(rows, expected[0])
    assert torch.equal(gains, expected[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out_and_nothing_is_written_to(dtype):
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    before, weights = points.clone(), torch.ones(60)
    rows, gains = facility_location_greedy(points.requires_grad_(), 10, weights=weights)
    assert (rows.dtype, gains.dtype) == (torch.int64, torch.float64)
    assert rows.tolist() == twin(similarities(points.detach().double(), "cosine"), 10)[0]
    assert torch.equal(points, before)


@pytest.mark.parametrize("shape", [(0, 4), (5, 0), (5, 4)])
@pytest.mark.parametrize("metric", METRICS)
def test_size_zero_gives_nothing(shape, metric):
    rows, gains = facility_location_greedy(np.zeros(shape), 0, metric=metric)
    assert rows.shape == gains.shape == (0,)
    assert (rows.dtype, gains.dtype) == (np.int64, np.float64)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_are_refused_with_count_and_first_rows(number):
    points, weights = np.zeros((10, 2)), np.ones(10)
    points[2:9, 1] = weights[3:5] = number
    with pytest.raises(ValueError, match=r"7 bad rows of 10: 2, 3, 4, 5, 6, \.\.\.$"):
        facility_location_greedy(points, 1)
    with pytest.raises(ValueError, match=r"weights of 0 or more, got 2 bad rows of 10: 3, 4$"):
        facility_location_greedy(np.zeros((10, 2)), 1, weights=weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, "size from 0 to 4 .* got 5"),
        ({"size": -1}, "size from 0 to 4 .* got -1"),
        ({"size": 3, "given": [1, 1, 0]}, "size from 0 to 2 .*2 of them given.* got 3"),
        ({"given": [4]}, "given to be a list of rows from 0 to 3"),
        ({"given": [0.0]}, "given to be a list of rows"),
        ({"metric": "dot"}, "one of cosine, euclidean, sqeuclidean, got 'dot'"),
        ({"weights": np.ones(3)}, r"as many weights as points, \[4\], got \(3,\)"),
        ({"weights": np.array([1.0, -1, 1, 1])}, "1 bad rows of 4: 1"),
    ],
)
def test_what_cannot_be_picked_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        facility_location_greedy(np.zeros((4, 2)), **{"size": 1, **options})


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
def test_a_gpu_picks_the_same_rows(metric):
    grid = np.random.default_rng(17).normal(size=(3000, 33)).astype(np.float32)
    points = torch.from_numpy(np.concatenate([grid, grid[:500]]))
    rows, gains = facility_location_greedy(points.cuda(), 200, metric=metric)
    expected = facility_location_greedy(points, 200, metric=metric)
    assert rows.is_cuda
    assert torch.equal(rows.cpu(), expected[0])
    torch.testing.assert_close(gains.cpu(), expected[1])
