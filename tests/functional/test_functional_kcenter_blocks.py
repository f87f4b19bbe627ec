"""Greedy k-center by blocks, bit for bit against one pass over all points for each pick."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.functional import distance_filter, distances, kcenter_blocks, kcenter_greedy, passes

# Blocks, levels, tiles and shares so small that a few points meet all of them, and as they are.
SHAPES = {
    "as_is": {},
    "blocks": {"_BLOCK": 10, "_LEVEL": 2, "_TILE": (20, 7), "_PAIRS": 50},
    "tables": {"_BLOCK": 40, "_LEVEL": 3, "_TILE": (50, 30), "_DENSE": 10**9},
    "by_row": {"_BLOCK": 3, "_LEVEL": 1, "_TILE": (4096, 512), "_DENSE": 0},
    "float64": {"_BLOCK": 20, "_LEVEL": 2, "_TILE": (30, 9), "_WASTE": -1},
    "axes": {
        "_BLOCK": 30,
        "_LEVEL": 2,
        "_TILE": (40, 9),
        "_FEATURES": 1,
        "_LEFT": 0.3,
        "_LEARN": 0,
    },
}


def take_shape(patch, shape):
    for name, value in SHAPES[shape].items():
        modules = (kcenter_blocks, distances, distance_filter)
        patch.setattr(next(m for m in modules if hasattr(m, name)), name, value)


def one_pass_per_pick(points, size, centers=None, weights=None):
    """The definition: after each pick, distances from direct differences to all points.

    Weights are at most 1, and powers of two or of a size that squares well.
    """
    values = torch.from_numpy(np.ascontiguousarray(points)).double()
    n, largest = len(values), float(values.abs().max()) if values.numel() else 0.0
    scale = 1.0
    if largest and not 1e-90 < largest < 1e90:
        scale = 2.0 ** min(900, -int(np.frexp(largest)[1]))
    values = values * scale
    nearest = torch.full((n,), torch.inf, dtype=torch.float64)
    squared_weights = torch.ones(n, dtype=torch.float64)
    if weights is not None:
        squared_weights = torch.from_numpy(np.asarray(weights, dtype=np.float64)).square()
    picked = torch.zeros(n, dtype=torch.bool)
    rows, radii = [], []

    def add(row):
        picked[row] = True
        torch.minimum(nearest, (values - values[row]).square().sum(dim=1), out=nearest)

    for center in centers or []:
        add(center)
    for _ in range(size):
        if picked.any():
            key = (nearest * squared_weights).masked_fill(picked, -1.0)
            rows.append(int(key.argmax()))
            radii.append(float(key[rows[-1]]))
        else:
            rows.append(int((values * n - values.sum(dim=0)).square().sum(dim=1).argmin()))
            radii.append(np.inf)
        add(rows[-1])
    return rows, torch.tensor(radii, dtype=torch.float64).sqrt() / scale


def assert_same(points, size, centers=None, weights=None):
    before = points.copy()
    rows, radii = kcenter_greedy(points, size, centers, weights=weights)
    np.testing.assert_array_equal(points, before)
    expected_rows, expected_radii = one_pass_per_pick(points, size, centers, weights)
    assert rows.tolist() == expected_rows
    np.testing.assert_array_equal(radii, expected_radii.numpy())


KINDS = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "grid": lambda rng, n, d: rng.integers(0, 3, size=(n, d)).astype(np.float64),
    "copies": lambda rng, n, d: rng.normal(size=(12, d))[rng.integers(0, 12, n)],
    "constant": lambda rng, n, d: np.full((n, d), rng.normal()),
    "offset": lambda rng, n, d: rng.normal(size=(n, d)) + 10.0 ** rng.integers(3, 15),
    "tight": lambda rng, n, d: (
        rng.normal(size=(4, d))[rng.integers(0, 4, n)] + rng.normal(size=(n, d)) * 1e-5
    ),
    "huge": lambda rng, n, d: rng.normal(size=(n, d)) * 1e300,
    "tiny": lambda rng, n, d: rng.normal(size=(n, d)) * 1e-300,
    "subnormal": lambda rng, n, d: rng.integers(-3, 4, size=(n, d)) * 5e-324,
    "wide": lambda rng, n, d: rng.normal(size=(n, d)) * 10.0 ** rng.integers(-30, 30, size=(n, 1)),
    "coarse": lambda rng, n, d: np.round(rng.normal(size=(n, d)) * 4) * 2.0**-60,
}


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(sorted(KINDS)))
    n, d = draw(st.integers(1, 300)), draw(st.integers(1, 20))
    points = KINDS[kind](rng, n, d)
    with np.errstate(over="ignore"):
        smaller = points.astype(draw(st.sampled_from([np.float16, np.float32, np.float64])))
    points = smaller if np.isfinite(smaller).all() else points
    centers = sorted(set(rng.integers(0, n, size=draw(st.sampled_from([0, 0, 1, 5, n]))).tolist()))
    size = draw(st.integers(0, min(n - len(centers), 60)) | st.just(n - len(centers)))
    weight = draw(st.sampled_from([None, None, "powers", "zeros", "ones"]))
    weights = {
        None: None,
        "powers": 2.0 ** rng.integers(-9, 1, size=n),
        "zeros": rng.integers(0, 2, size=n).astype(np.float64),
        "ones": np.ones(n),
    }[weight]
    return points, size, centers, weights


@pytest.mark.parametrize("shape", SHAPES)
def test_picks_and_radii_are_those_of_one_pass_per_pick(shape):
    @given(problems())
    @settings(deadline=None, max_examples=60)
    def check(problem):
        assert_same(*problem)

    with pytest.MonkeyPatch.context() as patch:
        take_shape(patch, shape)
        check()


@pytest.mark.parametrize("d", [2, 33])
def test_all_levels_give_the_same_picks_on_more_points(d):
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(40, d)) * 4
    points = (middles[rng.integers(0, 40, 20_000)] + rng.normal(size=(20_000, d))).astype(
        np.float32
    )
    assert len(points) // kcenter_blocks._LEVEL > 2 * kcenter_blocks._BLOCK
    assert_same(points, 300)
    assert_same(points, 100, centers=list(range(0, 20_000, 17)))


def test_copies_of_points_are_left_until_the_others_are_covered(monkeypatch):
    rng = np.random.default_rng(1)
    points = rng.normal(size=(100, 8))[rng.integers(0, 100, 3000)]
    looked_at = []
    catch_up = kcenter_blocks.Cover._catch_up
    monkeypatch.setattr(
        kcenter_blocks.Cover,
        "_catch_up",
        lambda self, rows, floor: (looked_at.extend(rows.tolist()), catch_up(self, rows, floor)),
    )
    assert_same(points, 150)
    assert len(set(looked_at)) <= 100


def test_most_pairs_are_never_computed(monkeypatch):
    points = np.random.default_rng(2).normal(size=(4000, 16)).astype(np.float32)
    pairs = []
    computed = distances.squared_distances
    monkeypatch.setattr(
        distances, "squared_distances", lambda a, b: (pairs.append(len(a)), computed(a, b))[1]
    )
    kcenter_greedy(points, 400)
    assert sum(pairs) < 0.05 * 4000 * 400


def test_a_filter_too_coarse_for_the_data_is_made_finer(monkeypatch):
    rng = np.random.default_rng(3)
    points = (
        rng.normal(size=(5, 8))[rng.integers(0, 5, 3000)] * 10 + rng.normal(size=(3000, 8)) * 1e-4
    )
    dtypes = []
    use = distance_filter.Filter._use
    monkeypatch.setattr(
        distance_filter.Filter,
        "_use",
        lambda self, dtype, axes: (dtypes.append(dtype), use(self, dtype, axes)),
    )
    assert_same(points.astype(np.float32), 300)
    assert dtypes == [torch.float32, torch.float64]


@pytest.mark.parametrize("noise", [1e-5, 1e-3, 1e-1])
def test_points_near_a_subspace_give_the_same_picks(noise):
    rng = np.random.default_rng(10)
    points = rng.normal(size=(4000, 3)) @ rng.normal(size=(3, 40))
    points += noise * rng.normal(size=points.shape)
    assert_same(points, 600)
    assert_same(points.astype(np.float32), 600)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_faster_matrix_products_and_autocast_change_nothing(precision):
    points = np.random.default_rng(4).normal(size=(3000, 64)).astype(np.float32)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(points, 200)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("d", [4, 40])
def test_the_number_of_threads_changes_nothing(d, monkeypatch):
    monkeypatch.setattr(kcenter_blocks, "_ALONE", 1000)
    points = np.random.default_rng(5).normal(size=(4000, d)) * 2.0 ** -np.arange(d)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(kcenter_greedy(points, 200))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    expected_rows, expected_radii = one_pass_per_pick(points, 200)
    for rows, radii in results:
        assert rows.tolist() == expected_rows
        np.testing.assert_array_equal(radii, expected_radii.numpy())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_way_of_other_devices_gives_the_same_picks(shape, monkeypatch):
    for module in (distance_filter, distances, kcenter_blocks, passes):
        monkeypatch.setattr(module, "on_host", lambda _: False)
    take_shape(monkeypatch, shape)
    monkeypatch.setattr(kcenter_blocks, "_TILE_ELSEWHERE", kcenter_blocks._TILE)
    grid = np.random.default_rng(6).integers(-9, 9, size=(400, 7)).astype(np.float32)
    assert_same(grid, 150)  # sums of small whole numbers are exact in any order
    assert_same(grid, 50, centers=[5, 90, 399])


def test_columns_in_another_order_in_memory_give_the_same_picks():
    points = torch.from_numpy(np.random.default_rng(7).normal(size=(500, 30)))
    rows, radii = kcenter_greedy(points, 100)
    turned = points.T.contiguous().T
    assert not turned.is_contiguous()
    turned_rows, turned_radii = kcenter_greedy(turned, 100)
    assert torch.equal(rows, turned_rows)
    assert torch.equal(radii, turned_radii)


def test_weights_pull_picks_to_heavy_points():
    points = np.array([[0.0], [1.0], [-3.0], [10.0]])
    rows, radii = kcenter_greedy(points, 3, [0], weights=np.array([1.0, 8.0, 2.0, 0.5]))
    assert rows.tolist() == [1, 2, 3]  # 8 against 6 and 5; then 6 against 4.5
    assert radii.tolist() == [8.0, 6.0, 4.5]


def test_a_common_factor_of_the_weights_scales_the_radii():
    rng = np.random.default_rng(8)
    points, weights = rng.normal(size=(300, 5)), rng.random(300)
    rows, radii = kcenter_greedy(points, 100, [7], weights=weights)
    for factor in (2.0**40, 2.0**-1000):
        scaled_rows, scaled_radii = kcenter_greedy(points, 100, [7], weights=weights * factor)
        np.testing.assert_array_equal(rows, scaled_rows)
        np.testing.assert_array_equal(radii * factor, scaled_radii)
    tensors = kcenter_greedy(torch.from_numpy(points), 100, [7], weights=torch.from_numpy(weights))
    assert tensors[0].tolist() == rows.tolist()


def test_points_of_weight_zero_come_last_and_lowest_first():
    points = np.random.default_rng(9).normal(size=(30, 2))
    weights = np.where(np.arange(30) % 3 == 0, 0.0, 0.3)
    rows, radii = kcenter_greedy(points, 29, [1], weights=weights)
    assert rows[-10:].tolist() == list(range(0, 30, 3))
    assert (radii[-10:] == 0).all()
    rows, _ = kcenter_greedy(points, 30, weights=np.zeros(30))
    assert rows[1:].tolist() == [i for i in range(30) if i != rows[0]]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0], r"each of 3 points, got \(2,\)"),
        ([1.0, -1.0, 1.0], "at least 0, got 1 bad rows of 3: 1"),
        ([np.nan, 1.0, np.inf], "at least 0, got 2 bad rows of 3: 0, 2"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        kcenter_greedy(np.zeros((3, 2)), 1, weights=np.array(weights))
