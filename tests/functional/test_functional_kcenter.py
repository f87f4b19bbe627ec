"""Greedy k-center against exact and brute-force twins."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from alframe.functional import kcenter_greedy, passes

# (dtype, scale, offset) under which scale * (-3 .. 3) + offset is exact.
GRIDS = [
    (np.float16, 1.0, 0.0),
    (np.float16, 2.0**-24, 0.0),
    (np.float16, 2.0**13, 0.0),
    (np.float32, 1.0, 2.0**22),
    (np.float32, 2.0**-149, 0.0),
    (np.float32, 2.0**126, 0.0),
    (np.float64, 1.0, 2.0**45),
    (np.float64, 2.0**-1030, 0.0),
    (np.float64, 2.0**1020, 0.0),
    (np.float64, 2.0**-600, 2.0**-555),
]


def exact_twin(points, size, centers):
    """The definition in exact arithmetic: picks, and squared radii (None = infinite)."""
    exact = [[Fraction(float(value)) for value in point] for point in points]
    mean = [sum(column) / len(exact) for column in zip(*exact, strict=True)]

    def squared(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    chosen, rows, radii = list(centers), [], []
    for _ in range(size):
        free = [i for i in range(len(exact)) if i not in chosen]
        if chosen:
            near = [min(squared(point, exact[c]) for c in chosen) for point in exact]
            rows.append(max(free, key=lambda i: near[i]))  # max and min return the first of equals
            radii.append(max(near))
        else:
            rows.append(min(free, key=lambda i: squared(exact[i], mean)))
            radii.append(None)
        chosen.append(rows[-1])
    return rows, radii


def float_twin(points, size, centers=()):
    """The definition with a full float64 distance matrix."""
    points = np.asarray(points, dtype=np.float64)
    distances = cdist(points, points)
    chosen, radii = list(centers), []
    for _ in range(size):
        if not chosen:
            radii.append(np.inf)
            chosen.append(int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()))
            continue
        near = distances[:, chosen].min(axis=1)
        radii.append(near.max())
        near[chosen] = -1
        chosen.append(int(near.argmax()))
    return chosen[len(centers) :], radii


@st.composite
def grid_problems(draw):
    dtype, scale, offset = draw(st.sampled_from(GRIDS))
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    steps = draw(st.lists(st.integers(-3, 3), min_size=n * d, max_size=n * d))
    points = np.array(steps, dtype=np.float64).reshape(n, d) * scale + offset
    assert (points.astype(dtype) == points).all()
    centers = draw(st.lists(st.integers(0, n - 1), max_size=n))
    size = draw(st.integers(0, n - len(set(centers))))
    return points.astype(dtype), size, centers


@given(grid_problems())
@settings(deadline=None, max_examples=200)
def test_picks_are_those_of_exact_arithmetic(problem):
    points, size, centers = problem
    rows, radii = kcenter_greedy(points, size, centers)
    expected_rows, expected_squares = exact_twin(points, size, centers)
    assert rows.tolist() == expected_rows
    for radius, square in zip(radii, expected_squares, strict=True):
        if square is None:
            assert radius == np.inf
        else:
            assert abs(Fraction(radius) ** 2 - square) <= square * Fraction(1, 10**9)


@pytest.mark.parametrize("chunk", [1, 50, 64, 2**17])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("centers", [(), (5,), (17, 200, 3)])
def test_picks_equal_brute_force_on_random_data(monkeypatch, chunk, dtype, centers):
    monkeypatch.setattr(passes, "_CHUNK", chunk)
    points = np.random.default_rng(0).normal(size=(201, 7)).astype(dtype)
    rows, radii = kcenter_greedy(points, 40, centers)
    expected_rows, expected_radii = float_twin(points, 40, centers)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(radii, expected_radii, rtol=1e-12)


def test_a_large_offset_changes_no_pick():
    points = np.random.default_rng(1).integers(-1000, 1000, size=(150, 5)).astype(np.float64)
    near, _ = kcenter_greedy(points, 30)
    far, _ = kcenter_greedy(points + 2.0**40, 30)
    assert near.tolist() == far.tolist()


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 5e-324])
@pytest.mark.parametrize("centers", [(), (2, 0)])
def test_equal_points_come_back_lowest_first(value, centers):
    points = np.full((6, 3), value)
    rows, radii = kcenter_greedy(points, 6 - len(centers), centers)
    assert rows.tolist() == [i for i in range(6) if i not in centers]
    assert (radii[0 if centers else 1 :] == 0).all()


def test_duplicates_wait_until_every_distinct_point_is_covered():
    rng = np.random.default_rng(2)
    distinct = rng.normal(size=(40, 65)).astype(np.float32)
    copies = rng.permutation(np.repeat(np.arange(40), 3))
    rows, radii = kcenter_greedy(distinct[copies], 120)
    lowest = [int(np.flatnonzero(copies == i)[0]) for i in range(40)]
    assert sorted(rows[:40].tolist()) == sorted(lowest)
    assert rows[40:].tolist() == [i for i in range(120) if i not in lowest]
    assert (radii[:40] > 0).all()
    assert (radii[40:] == 0).all()


def test_picks_go_on_from_centers_and_radii_fall():
    points = np.random.default_rng(3).normal(size=(80, 4))
    rows, radii = kcenter_greedy(points, 80)
    later_rows, later_radii = kcenter_greedy(points, 60, rows[:20])
    assert later_rows.tolist() == rows[20:].tolist()
    np.testing.assert_array_equal(later_radii, radii[20:])
    assert sorted(rows.tolist()) == list(range(80))
    assert (np.diff(radii[1:]) <= 0).all()


def test_renumbered_rows_give_the_renumbered_picks():
    rng = np.random.default_rng(4)
    points, order = rng.normal(size=(90, 6)), rng.permutation(90)
    rows, _ = kcenter_greedy(points, 25)
    renumbered, _ = kcenter_greedy(points[order], 25)
    assert order[renumbered].tolist() == rows.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype):
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows, radii = kcenter_greedy(points.requires_grad_(), 10, torch.tensor([4, 4, 7]))
    expected_rows, expected_radii = float_twin(points.detach().double().numpy(), 10, (4, 7))
    assert (rows.dtype, radii.dtype) == (torch.int64, torch.float64)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(radii.numpy(), expected_radii, rtol=1e-12)


def test_read_only_numpy_is_left_alone_without_a_warning():
    points = np.random.default_rng(5).normal(size=(30, 3))[::-1]
    before = points.copy()
    points.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, radii = kcenter_greedy(points, 5)
    assert (rows.dtype, radii.dtype) == (np.int64, np.float64)
    assert rows.tolist() == float_twin(points, 5)[0]
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("shape", [(0, 4), (5, 0), (5, 4)])
def test_size_zero_gives_nothing(shape):
    rows, radii = kcenter_greedy(np.zeros(shape), 0)
    assert rows.shape == radii.shape == (0,)
    assert rows.dtype == np.int64


def test_points_without_features_are_equal_points():
    assert kcenter_greedy(np.zeros((3, 0)), 3)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_are_refused_with_count_and_first_rows(value):
    points = np.zeros((10, 2))
    points[2:9, 1] = value
    with pytest.raises(ValueError, match=r"7 bad rows of 10: 2, 3, 4, 5, 6, \.\.\.$"):
        kcenter_greedy(points, 1)


@pytest.mark.parametrize(
    ("size", "centers", "message"),
    [
        (-1, None, "from 0 to 4 .* got -1"),
        (5, None, "from 0 to 4 .* got 5"),
        (3, [1, 1, 0], "from 0 to 2 .*2 of them centers.* got 3"),
    ],
)
def test_sizes_out_of_range_are_refused(size, centers, message):
    with pytest.raises(ValueError, match=message):
        kcenter_greedy(np.zeros((4, 2)), size, centers)


@pytest.mark.parametrize("centers", [[4], [-1], [0.0], [True, False, True, False], [[0, 1]]])
def test_centers_that_are_no_positions_are_refused(centers):
    with pytest.raises(ValueError, match="positions from 0 to 3"):
        kcenter_greedy(np.zeros((4, 2)), 1, centers)


def test_embeddings_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"got shape \(4,\)"):
        kcenter_greedy(np.zeros(4), 1)


@pytest.mark.gpu
def test_a_gpu_picks_the_same_rows():
    grid = np.random.default_rng(6).integers(-9, 9, size=(5000, 65)).astype(np.float32)
    points = torch.from_numpy(np.concatenate([grid, grid]))
    rows, radii = kcenter_greedy(points.cuda(), 50)
    assert rows.is_cuda
    assert rows.tolist() == kcenter_greedy(points, 50)[0].tolist()
    assert radii.is_cuda
